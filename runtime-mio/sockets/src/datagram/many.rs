//! Several datagrams to several receivers in one call, where the system can.

use crate::AsSocket;
use ropewalk_core::machine::Transmit;
use std::io::Result;

/// Sends single datagrams that leave in the same way; their bytes stand one behind the other. How
/// many were sent: at least one, or 0 where the system cannot.
///
/// # Errors
/// What the system says of the first.
#[cfg(target_os = "linux")]
pub(super) fn send_many(socket: &impl AsSocket, list: &[Transmit], bytes: &[u8]) -> Result<usize> {
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
    use std::io::IoSlice;
    use std::net::IpAddr;
    use std::os::fd::AsRawFd;

    let Some(&Transmit { to: Some(to), from, ecn, .. }) = list.first() else { return Ok(0) };
    let (v4, v6);
    let (tos, class) = (ecn, i32::from(ecn));
    let mut control = Vec::with_capacity(2);
    // Size it exactly: the kernel reads spare space as a malformed control message.
    let mut space = 0;
    match from {
        Some(IpAddr::V4(from)) => {
            let own = in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
            v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: in_addr { s_addr: 0 } };
            control.push(ControlMessage::Ipv4PacketInfo(&v4));
            space += nix::cmsg_space!(in_pktinfo).capacity();
        }
        Some(IpAddr::V6(from)) => {
            v6 = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 };
            control.push(ControlMessage::Ipv6PacketInfo(&v6));
            space += nix::cmsg_space!(in6_pktinfo).capacity();
        }
        None => {}
    }
    if to.is_ipv4() {
        control.push(ControlMessage::Ipv4Tos(&tos));
        space += nix::cmsg_space!(u8).capacity();
    } else {
        control.push(ControlMessage::Ipv6TClass(&class));
        space += nix::cmsg_space!(i32).capacity();
    }
    let mut at = 0;
    let slices: Vec<[IoSlice<'_>; 1]> = list
        .iter()
        .map(|transmit| {
            let own = &bytes[at..at + transmit.len];
            at += transmit.len;
            [IoSlice::new(own)]
        })
        .collect();
    let receivers: Vec<Option<SockaddrStorage>> =
        list.iter().map(|transmit| transmit.to.map(SockaddrStorage::from)).collect();
    let mut headers = MultiHeaders::preallocate(list.len(), Some(Vec::with_capacity(space)));
    let socket = socket.as_fd().as_raw_fd();
    let sent = sendmmsg(socket, &mut headers, slices.iter(), receivers, control, MsgFlags::empty())?;
    Ok(sent.count())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn send_many(_: &impl AsSocket, _: &[Transmit], _: &[u8]) -> Result<usize> {
    Ok(0)
}
