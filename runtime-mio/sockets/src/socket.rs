//! TCP sockets: listen, accept, read, write, end.

use crate::AsSocket;
use ropewalk_core::drive::{Incoming, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::Close;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

/// Connections the kernel keeps waiting for us; it may cap this lower (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A peer that vanished without a word is found out in about two minutes.
#[cfg(target_os = "linux")]
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);
#[cfg(not(target_os = "linux"))]
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));

/// What a try gives.
pub type Tried<T> = std::result::Result<T, TryError>;

/// A socket that listens on `address`; with `share_port`, further sockets may listen there too and
/// the kernel spreads the connections over them (Linux).
///
/// # Errors
/// What the system says; [`ErrorKind::AddrInUse`] when another socket listens there.
pub fn listen(address: SocketAddr, share_port: bool) -> Result<TcpListener> {
    let socket = bound(address, Type::STREAM, Protocol::TCP, |socket| {
        #[cfg(unix)]
        {
            socket.set_reuse_address(true)?;
            #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
            if share_port {
                socket.set_reuse_port(true)?;
            }
        }
        #[cfg(not(unix))]
        let _ = (share_port, socket);
        // On Linux the accepted sockets inherit the options: six calls less for each connection.
        tune(socket);
        keep_alive(socket);
        Ok(())
    })?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket bound to `address`, that does not block. `options` sets what has to be set before it is
/// bound.
pub(super) fn bound(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: impl FnOnce(&Socket) -> Result<()>,
) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // Set here, not inherited from a sysctl: [::] means IPv6 here, and 0.0.0.0 can be bound as
        // well.
        socket.set_only_v6(true)?;
    }
    options(&socket)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Dead peers are noticed. That is not worth failing for. It takes four calls, and need not be at
/// once: nothing is asked of a peer before a minute of silence.
pub fn keep_alive(socket: &impl AsSocket) {
    if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&KEEPALIVE) {
        log::debug!("SO_KEEPALIVE: {error}");
    }
}

/// Small messages leave at once, urgent ones in their place. Neither is worth failing for.
pub(super) fn tune(socket: &impl AsSocket) {
    let socket = SockRef::from(socket);
    if let Err(error) = socket.set_tcp_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
    // Urgent bytes stay in their place among the others; else they would be lost on the way.
    if let Err(error) = socket.set_out_of_band_inline(true) {
        log::debug!("SO_OOBINLINE: {error}");
    }
}

pub(super) fn try_error(error: Error) -> TryError {
    match error.kind() {
        ErrorKind::WouldBlock => TryError::WouldBlock,
        _ => TryError::Fault(fault(&error)),
    }
}

/// Makes the call again while its error `passes`.
pub(super) fn again<T>(passes: fn(ErrorKind) -> bool, mut call: impl FnMut() -> Result<T>) -> Tried<T> {
    loop {
        match call() {
            Err(error) if passes(error.kind()) => {}
            result => return result.map_err(try_error),
        }
    }
}

/// Reads or writes.
///
/// # Errors
/// As [`TryError`] says.
pub fn transfer(call: impl FnMut() -> Result<usize>) -> Tried<usize> {
    again(|kind| kind == ErrorKind::Interrupted, call)
}

/// Connections with a fault that are passed over in one call.
const PASSED: usize = 64;

/// Takes one connection from the backlog of a listener `bound` to this address. Those that were
/// reset while they waited are passed over; Linux also hands on errors of the network that the new
/// connection met, and accept(2) asks to retry.
///
/// # Errors
/// `WouldBlock` when the backlog is empty; a fault otherwise.
pub fn accept<S: AsSocket>(
    bound: SocketAddr,
    mut call: impl FnMut() -> Result<(S, SocketAddr)>,
) -> Tried<(S, Incoming)> {
    use ErrorKind::*;
    const PASSING: [ErrorKind; 7] = [
        Interrupted,
        ConnectionAborted,
        ConnectionReset,
        NetworkDown,
        NetworkUnreachable,
        HostUnreachable,
        PermissionDenied,
    ];
    // Such a fault belongs to one connection, and the next has none. One that stays is the
    // listener's own (a security module forbids accepting, for instance): retried for ever it would
    // spin.
    let mut left = PASSED;
    let (socket, peer) = loop {
        match call() {
            Err(error) if left > 0 && PASSING.contains(&error.kind()) => left -= 1,
            result => break result.map_err(try_error)?,
        }
    };
    #[cfg(not(target_os = "linux"))]
    {
        tune(&socket);
        keep_alive(&socket);
    }
    let own = || SockRef::from(&socket).local_addr().ok()?.as_socket();
    let local = if bound.ip().is_unspecified() { own().unwrap_or(bound) } else { bound };
    Ok((socket, Incoming { peer, local }))
}

/// Our own address, once the connection stands.
///
/// # Errors
/// `WouldBlock` while connecting goes on; a fault when it failed.
pub fn finish_connect(socket: &impl AsSocket) -> Tried<SocketAddr> {
    let asked = SockRef::from(socket);
    // getpeername works once the socket is connected, so SO_ERROR is read only on failure: one call
    // less for each connection.
    if let Err(error) = asked.peer_addr() {
        return Err(match asked.take_error().map_err(try_error)? {
            Some(cause) => TryError::Fault(fault(&cause)),
            None if error.kind() == ErrorKind::NotConnected => TryError::WouldBlock,
            None => try_error(error),
        });
    }
    own_address(socket)
}

/// Our own address on a connection that stands.
///
/// # Errors
/// A fault of the system.
pub fn own_address(socket: &impl AsSocket) -> Tried<SocketAddr> {
    let local = SockRef::from(socket).local_addr().map_err(try_error)?;
    // A Unix socket has no address of this kind.
    Ok(local.as_socket().unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)))
}

/// Ends our half.
pub fn shutdown(socket: &impl AsSocket) {
    if let Err(error) = SockRef::from(socket).shutdown(Shutdown::Write) {
        // The other side has reset: reading will tell.
        log::trace!("shutdown: {error}");
    }
}

/// Says how the socket, which is dropped next, shall end.
pub fn before_close(socket: &impl AsSocket, how: Close) {
    if how == Close::Reset
        && let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO))
    {
        log::trace!("SO_LINGER: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::machine::Fault;

    fn accepted(mut errors: Vec<ErrorKind>) -> (Tried<()>, usize) {
        let (mut calls, bound) = (0, SocketAddr::from(([127, 0, 0, 1], 1)));
        let result = accept(bound, || {
            calls += 1;
            match errors.pop() {
                Some(kind) => Err(kind.into()),
                None => Socket::new(Domain::IPV4, Type::STREAM, None).map(|socket| (socket, bound)),
            }
        });
        (result.map(drop), calls)
    }

    #[test]
    fn faults_of_connections_in_the_backlog_are_passed_over() {
        let some = [ErrorKind::NetworkUnreachable, ErrorKind::ConnectionAborted, ErrorKind::PermissionDenied];
        let (result, calls) = accepted(some.repeat(20));
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(calls, 61);
    }

    #[test]
    fn a_fault_that_stays_is_told_and_does_not_spin() {
        use ErrorKind::{ConnectionAborted, Interrupted, NetworkDown, PermissionDenied};
        for kind in [PermissionDenied, NetworkDown, ConnectionAborted, Interrupted] {
            let (result, calls) = accepted(vec![kind; 10_000]);
            assert!(matches!(result, Err(TryError::Fault(_))), "{kind:?}: {result:?}");
            assert_eq!(calls, PASSED + 1);
        }
        let (result, _) = accepted(vec![ErrorKind::WouldBlock]);
        assert_eq!(result, Err(TryError::WouldBlock));
        let (result, _) = accepted(vec![ErrorKind::OutOfMemory]);
        assert!(matches!(result, Err(TryError::Fault(fault)) if fault != Fault::Refused));
    }
}
