//! Sockets that leave this host the way they are told to, or not at all.
//!
//! On Linux a device is bound with `SO_BINDTODEVICE`, which needs no privilege since 5.7. A device without a route to
//! the target would make IPv4 believe that the target is its neighbour, and wait for ARP in vain: so the routing
//! table is asked first, for this device. Elsewhere the index of the device is bound (macOS) or the source address
//! decides (Windows, whose host model is strong).

use crate::stream::{Stream, tune};
use mio::net::TcpStream;
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Device, Fault, Via};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

#[derive(Default)]
pub(crate) struct Binder {
    #[cfg(target_os = "linux")]
    routes: linux::Routes,
    /// The lack of a privilege was told; once is enough.
    #[cfg(target_os = "linux")]
    told: bool,
}

impl Binder {
    /// Begins to connect. Any part of the binding that cannot be had fails the attempt.
    pub(crate) fn connect(&mut self, to: SocketAddr, via: &Via) -> Result<Stream, Fault> {
        let socket = open(Domain::for_address(to)).map_err(|e| fault(&e))?;
        if let Some(device) = via.device {
            self.bind_device(&socket, device, to, via.source)?;
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
        Ok(Stream::new(TcpStream::from_std(socket.into())))
    }

    #[cfg(target_os = "linux")]
    fn bind_device(
        &mut self,
        socket: &Socket,
        device: Device,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<(), Fault> {
        socket.bind_device(Some(device.as_str().as_bytes())).map_err(|error| {
            if error.kind() == ErrorKind::PermissionDenied && !self.told {
                self.told = true;
                log::warn!("cannot bind to {device}: {error}; before Linux 5.7 this needs CAP_NET_RAW");
            }
            fault(&error)
        })?;
        self.routes.check(device, to.ip(), source)
    }

    #[cfg(any(target_os = "macos", target_os = "ios"))]
    fn bind_device(
        &mut self,
        socket: &Socket,
        device: Device,
        to: SocketAddr,
        _: Option<IpAddr>,
    ) -> Result<(), Fault> {
        let index = nix::net::if_::if_nametoindex(device.as_str()).map_err(|_| Fault::NoDevice)?;
        let index = std::num::NonZeroU32::new(index);
        let bound = match to {
            SocketAddr::V4(_) => socket.bind_device_by_index_v4(index),
            SocketAddr::V6(_) => socket.bind_device_by_index_v6(index),
        };
        bound.map_err(|e| fault(&e))
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "ios")))]
    fn bind_device(
        &mut self,
        _: &Socket,
        _: Device,
        _: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<(), Fault> {
        // Without a source address nothing would hold the traffic to the device.
        source.map(|_| ()).ok_or(Fault::Unsupported)
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

#[cfg(target_os = "linux")]
mod linux {
    //! Does this device have a route to that address? Asked of the kernel for each attempt (some microseconds), so
    //! that routes that come and go are seen at once.

    use super::{Device, Fault};
    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage};
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
    use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
    use std::net::IpAddr;

    #[derive(Default)]
    pub(super) struct Routes {
        socket: Option<Socket>,
    }

    impl Routes {
        /// # Errors
        /// [`Fault::NoRoute`] or [`Fault::NoDevice`]. Where the kernel cannot be asked, the connect itself must tell.
        pub(super) fn check(
            &mut self,
            device: Device,
            to: IpAddr,
            source: Option<IpAddr>,
        ) -> Result<(), Fault> {
            let answer = self.ask(device, to, source);
            if answer.is_err() {
                self.socket = None;
            }
            match answer {
                Ok(verdict) => verdict,
                Err(error) => {
                    log::debug!("cannot ask for a route through {device}: {error}");
                    Ok(())
                }
            }
        }

        fn ask(
            &mut self,
            device: Device,
            to: IpAddr,
            source: Option<IpAddr>,
        ) -> std::io::Result<Result<(), Fault>> {
            let socket = match &mut self.socket {
                Some(socket) => socket,
                None => {
                    let mut socket = Socket::new(NETLINK_ROUTE)?;
                    socket.bind_auto()?;
                    socket.connect(&SocketAddr::new(0, 0))?;
                    self.socket.insert(socket)
                }
            };
            let index = match rustix::net::netdevice::name_to_index(&*socket, device.as_str()) {
                Ok(index) => index,
                Err(rustix::io::Errno::NODEV) => return Ok(Err(Fault::NoDevice)),
                Err(error) => return Err(error.into()),
            };
            let request = question(index, to, source);
            let mut bytes = vec![0; request.buffer_len()];
            request.serialize(&mut bytes);
            socket.send(&bytes, 0)?;
            let (answer, _) = socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            Ok(verdict(&answer.payload))
        }
    }

    /// `RTM_F_FIB_MATCH`: the entry of the table that matches. Without it the kernel would answer with the neighbour
    /// it makes up for a bound device.
    const FIB_MATCH: RouteFlags = RouteFlags::from_bits_retain(0x2000);

    fn question(index: u32, to: IpAddr, source: Option<IpAddr>) -> NetlinkMessage<RouteNetlinkMessage> {
        let address = |ip| match ip {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        let bits = if to.is_ipv4() { 32 } else { 128 };
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 },
            destination_prefix_length: bits,
            source_prefix_length: if source.is_some() { bits } else { 0 },
            flags: FIB_MATCH,
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Destination(address(to)));
        message.attributes.push(RouteAttribute::Oif(index));
        message.attributes.extend(source.map(|source| RouteAttribute::Source(address(source))));
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(message));
        let mut request = NetlinkMessage::new(header, payload);
        request.finalize();
        request
    }

    fn verdict(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Result<(), Fault> {
        let NetlinkPayload::Error(error) = payload else { return Ok(()) };
        let errno = rustix::io::Errno::from_raw_os_error(-error.raw_code());
        match errno {
            rustix::io::Errno::NETUNREACH | rustix::io::Errno::HOSTUNREACH => Err(Fault::NoRoute),
            rustix::io::Errno::NODEV => Err(Fault::NoDevice),
            // Another answer (an old kernel, a prohibiting route) is left to the connect.
            _ => Ok(()),
        }
    }
}
