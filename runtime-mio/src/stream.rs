//! Sockets held in mio's types, whose events are edges.

use mio::net::{TcpListener, TcpStream};
use ropewalk_core::drive::{Incoming, Moved};
use ropewalk_core::machine::Close;
use ropewalk_sockets::{self as sockets, Tried};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// One connection. `distrusts_short` is set when the event queue has reported an end or urgent
/// data, which a short read does not show.
pub(crate) struct Stream {
    socket: TcpStream,
    distrusts_short: bool,
}

/// Takes one connection from the backlog. `bound` is the listener's own address.
pub(crate) fn accept(listener: &TcpListener, bound: SocketAddr) -> Tried<(Stream, Incoming)> {
    let (socket, incoming) = sockets::accept(bound, || listener.accept())?;
    Ok((Stream { socket, distrusts_short: false }, incoming))
}

impl Stream {
    /// Takes over a socket that does not block.
    pub(crate) fn new(socket: std::net::TcpStream) -> Self {
        Stream { socket: TcpStream::from_std(socket), distrusts_short: false }
    }

    pub(crate) fn source(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// From now on a short read does not mean that the socket is empty.
    pub(crate) fn distrust_short_reads(&mut self) {
        self.distrusts_short = true;
    }

    /// Our own address, once the connection stands.
    pub(crate) fn finish_connect(&self) -> Tried<SocketAddr> {
        sockets::finish_connect(&self.socket)
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Tried<Moved> {
        let whole = buf.len();
        let len = sockets::transfer(|| self.socket.read(buf))?;
        // epoll(7): after a read shorter than asked for, the next would block, and new bytes make a
        // new edge. Not so after an end was reported, or urgent data: a read stops at its mark.
        // Windows must be read until it blocks.
        Ok(Moved { len, more: len == whole || self.distrusts_short || cfg!(windows) })
    }

    pub(crate) fn write(&mut self, buf: &[u8]) -> Tried<Moved> {
        let len = sockets::transfer(|| self.socket.write(buf))?;
        Ok(Moved { len, more: len == buf.len() || cfg!(windows) })
    }

    pub(crate) fn shutdown(&self) {
        sockets::shutdown(&self.socket);
    }

    pub(crate) fn close(self, how: Close) {
        sockets::before_close(&self.socket, how);
    }
}

#[cfg(test)]
mod tests {
    use super::{Stream, TcpStream};

    #[test]
    fn an_idle_connection_is_a_socket_and_a_flag() {
        // 8 bytes on Unix; a debug build of mio remembers which queue the socket belongs to.
        assert_eq!(size_of::<Option<Stream>>(), size_of::<(TcpStream, bool)>());
    }
}
