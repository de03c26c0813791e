//! Does this device have a route to that address? Asked of the kernel for each attempt (some
//! microseconds), so that routes that come and go are seen at once.

use netlink_packet_core::{Emitable, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use ropewalk_core::machine::{Device, Fault, Via};
use std::net::IpAddr;

#[derive(Default)]
pub(super) struct Routes {
    socket: Option<Socket>,
}

impl Routes {
    /// # Errors
    /// [`Fault::NoRoute`] or [`Fault::NoDevice`]. Where the kernel cannot be asked, the connect
    /// itself must tell.
    pub(super) fn check(&mut self, device: Device, to: IpAddr, via: &Via) -> Result<(), Fault> {
        let answer = self.ask(device, to, via);
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

    fn ask(&mut self, device: Device, to: IpAddr, via: &Via) -> std::io::Result<Result<(), Fault>> {
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
        socket.send(&question(index, to, via), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        verdict(&answer)
    }
}

/// `RTM_F_FIB_MATCH`: the entry of the table that matches. Without it the kernel would answer with
/// the neighbour it makes up for a bound device.
const FIB_MATCH: RouteFlags = RouteFlags::from_bits_retain(0x2000);

/// linux/rtnetlink.h
const RTM_GETROUTE: u16 = 26;

fn question(index: u32, to: IpAddr, via: &Via) -> Vec<u8> {
    let address = |ip| match ip {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    };
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 },
        destination_prefix_length: bits,
        source_prefix_length: if via.source.is_some() { bits } else { 0 },
        flags: FIB_MATCH,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Destination(address(to)));
    message.attributes.push(RouteAttribute::Oif(index));
    message.attributes.extend(via.source.map(|source| RouteAttribute::Source(address(source))));
    // Rules may lead packets with another mark, or none, to other tables.
    message.attributes.extend(via.mark.map(RouteAttribute::Mark));
    let mut header = NetlinkHeader::default();
    let start = header.buffer_len();
    header.length = (start + message.buffer_len()) as u32;
    header.message_type = RTM_GETROUTE;
    header.flags = NLM_F_REQUEST;
    let mut bytes = vec![0; start + message.buffer_len()];
    header.emit(&mut bytes);
    message.emit(&mut bytes[start..]);
    bytes
}

/// A route, or the number of an error. No more of the answer is read: whichever route it is will
/// do.
fn verdict(answer: &[u8]) -> std::io::Result<Result<(), Fault>> {
    let answer = NetlinkBuffer::new_checked(answer).map_err(std::io::Error::other)?;
    let code = match answer.message_type() {
        NLMSG_ERROR => answer.payload().first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)),
        _ => 0,
    };
    use rustix::io::Errno;
    Ok(match code.checked_neg() {
        Some(number) if number == Errno::NETUNREACH.raw_os_error() => Err(Fault::NoRoute),
        Some(number) if number == Errno::HOSTUNREACH.raw_os_error() => Err(Fault::NoRoute),
        Some(number) if number == Errno::NODEV.raw_os_error() => Err(Fault::NoDevice),
        // Another answer (an old kernel, a prohibiting route) is left to the connect.
        _ => Ok(()),
    })
}
