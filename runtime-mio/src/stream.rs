//! Sockets held in mio's types, whose events are edges.

use mio::net::{TcpListener, TcpStream};
use ropewalk_core::drive::{Incoming, Moved};
use ropewalk_core::machine::Close;
use ropewalk_sockets::{self as sockets, Tried};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// One connection, and what the event queue has told of it.
pub(crate) struct Stream {
    socket: TcpStream,
    /// An end or urgent data, which a short read does not show.
    distrusts_short: bool,
    /// Room to write and no error: a connect has succeeded.
    stands: bool,
    /// It is a connection out that has no keep-alive yet.
    is_young: bool,
}

/// epoll(7) tells of room only where a connect has succeeded, so one call need not be made.
///
/// An accepted socket is read at once, although epoll would tell of what is there: else a crowd of
/// clients is accepted before one of them is heard, and has all descriptors, or each other's place
/// among the unfinished handshakes.
const TELLS: bool = cfg!(target_os = "linux");

/// Takes one connection from the backlog. `bound` is the listener's own address.
pub(crate) fn accept(listener: &TcpListener, bound: SocketAddr) -> Tried<(Stream, Incoming)> {
    let (socket, incoming) = sockets::accept(bound, || listener.accept())?;
    Ok((Stream::from(socket), incoming))
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Stream { socket, distrusts_short: false, stands: false, is_young: false }
    }
}

impl Stream {
    /// A connection out, to be kept alive if it lasts.
    pub(crate) fn begun(socket: TcpStream) -> Self {
        Stream { is_young: true, ..Stream::from(socket) }
    }

    /// Gives it keep-alive, if it has none: true.
    pub(crate) fn keep_alive(&mut self) -> bool {
        let is_young = std::mem::take(&mut self.is_young);
        if is_young {
            sockets::keep_alive(&self.socket);
        }
        is_young
    }

    pub(crate) fn source(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The event queue has told of it: with `distrust` of what makes a short read no sign that the
    /// socket is empty from now on; with `stands` of room to write and no error.
    pub(crate) fn told(&mut self, distrust: bool, stands: bool) {
        self.distrusts_short |= distrust;
        self.stands |= stands;
    }

    /// Our own address, once the connection stands.
    pub(crate) fn finish_connect(&self) -> Tried<SocketAddr> {
        match TELLS && self.stands {
            true => sockets::own_address(&self.socket),
            false => sockets::finish_connect(&self.socket),
        }
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
    fn an_idle_connection_is_a_socket_and_some_flags() {
        // 8 bytes on Unix; a debug build of mio remembers which queue the socket belongs to.
        assert_eq!(size_of::<Option<Stream>>(), size_of::<(TcpStream, [bool; 3])>());
    }
}
