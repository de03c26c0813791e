//! Sockets that leave this host the way they are told to, or not at all.
//!
//! On Linux a device is bound with `SO_BINDTODEVICE`, which needs no privilege since 5.7. A device without a route to
//! the target would make IPv4 believe that the target is its neighbour, and wait for ARP in vain: so the routing
//! table is asked first, for this device. Elsewhere the index of the device is bound (macOS) or the source address
//! decides (Windows, whose host model is strong).

use super::socket::tune;
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Device, Fault, Via};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};

/// Opens the sockets that go out.
#[derive(Default)]
pub struct Binder {
    #[cfg(target_os = "linux")]
    routes: super::route::Routes,
    /// The lack of a privilege was told; once is enough.
    #[cfg(target_os = "linux")]
    told: bool,
}

impl Binder {
    /// Begins to connect, without blocking. Any part of the binding that cannot be had fails the attempt.
    ///
    /// # Errors
    /// What is known at once.
    pub fn connect(&mut self, to: SocketAddr, via: &Via) -> Result<TcpStream, Fault> {
        let socket = open(Domain::for_address(to)).map_err(|e| fault(&e))?;
        if let Some(device) = via.device {
            self.bind_device(&socket, device, to.ip(), via)?;
        }
        if let Some(source) = via.source {
            bind_source(&socket, source)?;
        }
        tune(&socket);
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if in_progress(&error) => {}
            Err(error) => return Err(fault(&error)),
        }
        Ok(socket.into())
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
        self.routes.check(device, to, via.source)
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

    #[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "ios")))]
    fn bind_device(&mut self, _: &Socket, _: Device, _: IpAddr, via: &Via) -> Result<(), Fault> {
        // Without a source address nothing would hold the traffic to the device.
        via.source.map(|_| ()).ok_or(Fault::Unsupported)
    }
}

/// A non-blocking socket.
fn open(domain: Domain) -> std::io::Result<Socket> {
    // One call where the system can; two more elsewhere.
    #[cfg(target_os = "linux")]
    return Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP));
    #[cfg(not(target_os = "linux"))]
    {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

fn bind_source(socket: &Socket, source: IpAddr) -> Result<(), Fault> {
    // ip(7), since Linux 4.2: the bind chooses no port yet. The connect does, and can then give one port to many
    // connections with different targets.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)
    {
        // Only the number of connections from one address is the smaller without it.
        log::debug!("IP_BIND_ADDRESS_NO_PORT: {error}");
    }
    socket.bind(&SocketAddr::new(source, 0).into()).map_err(|e| fault(&e))
}

fn in_progress(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}
