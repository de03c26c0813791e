//! Sockets that leave this host the way `Via` says, or not at all.
//!
//! On Linux a device is bound with `SO_BINDTODEVICE`, which needs no privilege since 5.7. A device
//! without a route to the target would make IPv4 believe that the target is its neighbour, and wait
//! for ARP in vain: so the routing table is asked first, for this device. Elsewhere the index of
//! the device is bound (`IP_BOUND_IF` on macOS, `IP_UNICAST_IF` on Windows), or the source address
//! decides.

use super::socket::tune;
use ropewalk_core::errno::fault;
#[cfg(unix)]
use ropewalk_core::machine::LocalPath;
use ropewalk_core::machine::{Device, Fault, Via};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Opens the sockets that go out.
#[derive(Default)]
pub struct Binder {
    options: SocketOptions,
    #[cfg(target_os = "linux")]
    routes: super::route::Routes,
    /// The missing privilege was logged; once is enough.
    #[cfg(target_os = "linux")]
    told: bool,
    #[cfg(windows)]
    interfaces: super::windows::Interfaces,
}

/// What people may set of TCP sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// `TCP_USER_TIMEOUT` of what leaves by an uplink: bytes that are not acknowledged for so long
    /// break the connection. `None`: as the system has it (about a quarter of an hour). Default 120
    /// s, the time in which keep-alive finds a silent peer.
    pub user_timeout: Option<Duration>,
    /// Bytes of each of the two buffers of a socket. `None`: as the system grows them. Default
    /// none.
    pub buffer: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions { user_timeout: Some(Duration::from_secs(120)), buffer: None }
    }
}

impl SocketOptions {
    /// Bounds the buffers. Those of a listener are what its clients get.
    ///
    /// # Errors
    /// What the system says.
    pub fn bound<'s>(&self, socket: impl Into<socket2::SockRef<'s>>) -> std::io::Result<()> {
        let Some(bytes) = self.buffer else { return Ok(()) };
        let socket = socket.into();
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)
    }
}

impl Binder {
    /// With these options.
    pub fn new(options: SocketOptions) -> Self {
        Binder {
            options,
            #[cfg(target_os = "linux")]
            routes: super::route::Routes::default(),
            #[cfg(target_os = "linux")]
            told: false,
            #[cfg(windows)]
            interfaces: super::windows::Interfaces::default(),
        }
    }

    /// Begins to connect, without blocking. The attempt fails if any part of the binding is not
    /// available. [`keep_alive`](crate::keep_alive) is the caller's to give, if it lasts.
    ///
    /// # Errors
    /// What is known at once.
    pub fn connect(&mut self, to: SocketAddr, via: &Via) -> Result<TcpStream, Fault> {
        let socket = self.open(Type::STREAM, Protocol::TCP, to, via)?;
        tune(&socket);
        if let Err(error) = self.options.bound(&socket) {
            log::debug!("socket buffers: {error}");
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if via.device.is_some() || via.source.is_some() {
            give_up_in_time(&socket, self.options.user_timeout);
        }
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if in_progress(&error) => {}
            Err(error) => return Err(fault(&error)),
        }
        Ok(socket.into())
    }

    /// A socket that will leave for `to` as `via` says.
    ///
    /// # Errors
    /// What is not available.
    pub(super) fn open(
        &mut self,
        kind: Type,
        protocol: Protocol,
        to: SocketAddr,
        via: &Via,
    ) -> Result<Socket, Fault> {
        let socket = open(Domain::for_address(to), kind, protocol).map_err(|e| fault(&e))?;
        if let Some(device) = via.device {
            self.bind_device(&socket, device, to.ip(), via)?;
        }
        if let Some(source) = via.source {
            bind_source(&socket, source)?;
        }
        mark_and_disguise(&socket, via)?;
        Ok(socket)
    }

    /// A datagram socket at `local` that leaves as `via` says, and has a way to `to`.
    ///
    /// # Errors
    /// What is not available.
    pub(super) fn bind_datagrams(
        &mut self,
        local: SocketAddr,
        to: SocketAddr,
        via: &Via,
    ) -> Result<Socket, Fault> {
        let socket = open(Domain::for_address(local), Type::DGRAM, Protocol::UDP).map_err(|e| fault(&e))?;
        if local.is_ipv6() {
            socket.set_only_v6(true).map_err(|e| fault(&e))?;
        }
        if let Some(device) = via.device {
            self.bind_device(&socket, device, to.ip(), via)?;
        }
        mark_and_disguise(&socket, via)?;
        socket.bind(&local.into()).map_err(|e| fault(&e))?;
        Ok(socket)
    }

    #[cfg(target_os = "linux")]
    fn bind_device(&mut self, socket: &Socket, device: Device, to: IpAddr, via: &Via) -> Result<(), Fault> {
        socket.bind_device(Some(device.as_str().as_bytes())).map_err(|error| {
            if error.kind() == ErrorKind::PermissionDenied && !self.told {
                self.told = true;
                log::warn!("cannot bind to {device}: {error}; before Linux 5.7 this needs CAP_NET_RAW");
            }
            fault(&error)
        })?;
        self.routes.check(device, to, via)
    }

    #[cfg(any(target_os = "macos", target_os = "ios"))]
    fn bind_device(&mut self, socket: &Socket, device: Device, to: IpAddr, _: &Via) -> Result<(), Fault> {
        let index = nix::net::if_::if_nametoindex(device.as_str()).map_err(|_| Fault::NoDevice)?;
        let index = std::num::NonZeroU32::new(index);
        let bound = match to {
            IpAddr::V4(_) => socket.bind_device_by_index_v4(index),
            IpAddr::V6(_) => socket.bind_device_by_index_v6(index),
        };
        bound.map_err(|e| fault(&e))
    }

    #[cfg(windows)]
    fn bind_device(&mut self, socket: &Socket, device: Device, to: IpAddr, _: &Via) -> Result<(), Fault> {
        let index = self.interfaces.index(device).ok_or(Fault::NoDevice)?;
        super::windows::hold(socket, index, to).map_err(|e| fault(&e))
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "ios", windows)))]
    fn bind_device(&mut self, _: &Socket, _: Device, _: IpAddr, via: &Via) -> Result<(), Fault> {
        // Without a source address nothing would hold the traffic to the device.
        via.source.map(|_| ()).ok_or(Fault::Unsupported)
    }
}

/// tcp(7), TCP_USER_TIMEOUT: what leaves by an uplink and is never acknowledged breaks the
/// connection then.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn give_up_in_time(socket: &Socket, timeout: Option<Duration>) {
    if timeout.is_some()
        && let Err(error) = socket.set_tcp_user_timeout(timeout)
    {
        log::debug!("TCP_USER_TIMEOUT: {error}");
    }
}

/// Begins to connect to a Unix socket, without blocking. It is lent in the type of a TCP socket: a
/// descriptor that is read, written and ended in the same way.
///
/// # Errors
/// What is known at once, which is all there is: such a connect does not wait.
#[cfg(unix)]
pub fn connect_local(path: &LocalPath) -> Result<TcpStream, Fault> {
    use std::os::unix::ffi::OsStrExt;
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let address = socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(path.as_bytes()))?;
        socket.connect(&address).map(|()| socket)
    };
    match connect() {
        Ok(socket) => Ok(socket.into()),
        // unix(7): its backlog is full.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Fault::Refused),
        Err(error) => Err(fault(&error)),
    }
}

/// Sets what `via` says of marks, and binds to an address that need not be ours.
#[cfg(target_os = "linux")]
fn mark_and_disguise(socket: &Socket, via: &Via) -> Result<(), Fault> {
    let bind = || {
        if let Some(mark) = via.mark {
            socket.set_mark(mark)?;
        }
        let Some(address) = via.transparent else { return Ok(()) };
        match address {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        // A client may be connected to two of our servers by one port.
        socket.set_reuse_address(true)?;
        if address.port() == 0 {
            choose_port_late(socket);
        }
        socket.bind(&address.into())
    };
    bind().map_err(|error| fault(&error))
}

#[cfg(not(target_os = "linux"))]
fn mark_and_disguise(_: &Socket, via: &Via) -> Result<(), Fault> {
    match (via.mark, via.transparent) {
        (None, None) => Ok(()),
        _ => Err(Fault::Unsupported),
    }
}

/// A non-blocking socket.
fn open(domain: Domain, kind: Type, protocol: Protocol) -> std::io::Result<Socket> {
    // One call where the system can; two more elsewhere.
    #[cfg(target_os = "linux")]
    return Socket::new(domain, kind.nonblocking(), Some(protocol));
    #[cfg(not(target_os = "linux"))]
    {
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

fn bind_source(socket: &Socket, source: IpAddr) -> Result<(), Fault> {
    #[cfg(target_os = "linux")]
    choose_port_late(socket);
    socket.bind(&SocketAddr::new(source, 0).into()).map_err(|e| fault(&e))
}

/// ip(7), since Linux 4.2: the bind chooses no port yet. The connect does, and can then give one
/// port to many connections with different targets.
#[cfg(target_os = "linux")]
fn choose_port_late(socket: &Socket) {
    let option = nix::sys::socket::sockopt::IpBindAddressNoPort;
    if let Err(error) = nix::sys::socket::setsockopt(socket, option, &true) {
        // Only the number of connections from one address is the smaller without it.
        log::debug!("IP_BIND_ADDRESS_NO_PORT: {error}");
    }
}

fn in_progress(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}
