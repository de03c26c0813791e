//! TCP sockets: listen, accept, read, write, end.

use crate::io::try_error;
use mio::net::{TcpListener, TcpStream};
use ropewalk_core::drive::{Incoming, Moved, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::Close;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// Connections the kernel keeps waiting for us; it may cap this lower (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A peer that vanished without a word is found out in about two minutes.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));

/// A socket that listens on `address`; with `share_port`, further sockets may listen there too and the kernel
/// spreads the connections over them (Linux).
///
/// # Errors
/// What the system says; [`ErrorKind::AddrInUse`] when somebody else listens there.
pub fn listen(address: SocketAddr, share_port: bool) -> Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Said, not inherited from a sysctl: [::] means IPv6 here, and 0.0.0.0 can stand beside it.
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
        if share_port {
            socket.set_reuse_port(true)?;
        }
    }
    #[cfg(not(unix))]
    let _ = share_port;
    socket.set_nonblocking(true)?;
    // On Linux the accepted sockets inherit both options: two calls less for each connection.
    tune(&socket);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Small messages leave at once; dead peers are noticed. Neither is worth failing for.
pub(crate) fn tune(socket: &Socket) {
    if let Err(error) = socket.set_tcp_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
    if let Err(error) = socket.set_tcp_keepalive(&KEEPALIVE) {
        log::debug!("SO_KEEPALIVE: {error}");
    }
}

/// One connection. `expects_end` is set when the event queue has told of an end that a short read does not show.
pub(crate) struct Stream {
    socket: TcpStream,
    expects_end: bool,
}

/// Takes one connection from the backlog. Those that were reset while they waited are passed over.
/// `bound` is the listener's own address.
pub(crate) fn accept(
    listener: &TcpListener,
    bound: SocketAddr,
) -> std::result::Result<(Stream, Incoming), TryError> {
    loop {
        match listener.accept() {
            Ok((socket, peer)) => {
                #[cfg(not(target_os = "linux"))]
                {
                    let _ = socket.set_nodelay(true);
                    let _ = SockRef::from(&socket).set_tcp_keepalive(&KEEPALIVE);
                }
                let local = match bound.ip().is_unspecified() {
                    true => socket.local_addr().unwrap_or(bound),
                    false => bound,
                };
                return Ok((Stream::new(socket), Incoming { peer, local }));
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            // Linux hands on errors of the network that the new connection met: accept(2) asks to retry.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset
                        | ErrorKind::NetworkDown
                        | ErrorKind::NetworkUnreachable
                        | ErrorKind::HostUnreachable
                        | ErrorKind::PermissionDenied
                ) => {}
            Err(error) => return Err(try_error(&error)),
        }
    }
}

impl Stream {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Stream { socket, expects_end: false }
    }

    pub(crate) fn source(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn expect_end(&mut self) {
        self.expects_end = true;
    }

    /// Our own address, once the connection stands.
    pub(crate) fn finish_connect(&mut self) -> std::result::Result<SocketAddr, TryError> {
        if let Some(error) = self.socket.take_error().map_err(|error| try_error(&error))? {
            return Err(TryError::Fault(fault(&error)));
        }
        match self.socket.peer_addr() {
            Ok(_) => self.socket.local_addr().map_err(|error| try_error(&error)),
            Err(error) if error.kind() == ErrorKind::NotConnected => Err(TryError::WouldBlock),
            Err(error) => Err(TryError::Fault(fault(&error))),
        }
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> std::result::Result<Moved, TryError> {
        loop {
            match self.socket.read(buf) {
                // epoll(7): after a read shorter than asked for, the next would block, and new bytes make a new
                // edge. Only an end that was told already makes none. Windows must be read until it blocks.
                Ok(len) => {
                    let more = len == buf.len() || self.expects_end || cfg!(windows);
                    return Ok(Moved { len, more });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(try_error(&error)),
            }
        }
    }

    pub(crate) fn write(&mut self, buf: &[u8]) -> std::result::Result<Moved, TryError> {
        loop {
            match self.socket.write(buf) {
                Ok(len) => return Ok(Moved { len, more: len == buf.len() || cfg!(windows) }),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(try_error(&error)),
            }
        }
    }

    pub(crate) fn shutdown(&mut self) {
        if let Err(error) = self.socket.shutdown(Shutdown::Write) {
            // The other side has reset: reading will tell.
            log::trace!("shutdown: {error}");
        }
    }

    pub(crate) fn close(self, how: Close) {
        if how == Close::Reset
            && let Err(error) = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))
        {
            log::trace!("SO_LINGER: {error}");
        }
    }
}
