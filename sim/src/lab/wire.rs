//! The ends of a link: packet sockets on devices that nobody else uses.
//!
//! A device of the client's namespace has its peer in a namespace of the lab's own, where a packet
//! socket takes every frame that the client sends, and puts what shall come to the client. The
//! kernel must cut what it sends into packets itself: `ip link set DEVICE gso_max_segs 1`.

use crate::link::Payload;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Of the kernel's receive buffer: a burst must wait in the link's queue, not be lost before it.
const BUFFER: usize = 16 << 20;
/// Two addresses and a type.
pub(super) const ETHERNET: usize = 14;

/// Opens the end of a link: `device` of the calling thread's network namespace, which must be up.
///
/// # Errors
/// There is no such device, or no right to packet sockets (CAP_NET_RAW).
pub fn open(device: &str) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    let all = getifaddrs()?;
    let address = all
        .filter(|one| one.interface_name == device)
        .find_map(|one| one.address.and_then(|address| address.as_link_addr().copied()));
    let address = address.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("expected a network device {device}, found none"))
    })?;
    socket::bind(socket.as_raw_fd(), &address)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    Ok(socket)
}

/// A frame of Ethernet. What the link counts is the IP packet in it.
pub(super) struct Frame(pub(super) Vec<u8>);

impl Frame {
    /// Whether it has an IP packet. Other frames (ARP) are no part of the model.
    pub(super) fn is_ip(&self) -> bool {
        matches!(self.0.get(12..ETHERNET), Some([0x08, 0x00] | [0x86, 0xdd]))
    }

    /// The kernel leaves the sum of TCP and UDP to the device. Finishes it.
    pub(super) fn finish_checksum(&mut self) {
        let Some(packet) =
            self.0.get_mut(ETHERNET..).filter(|packet| packet.len() >= 20 && packet[0] >> 4 == 4)
        else {
            return;
        };
        let header = usize::from(packet[0] & 15) * 4;
        let end = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
        // A fragment has no sum of its own.
        let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
        let at = match packet[9] {
            6 => header + 16,
            17 => header + 6,
            _ => return,
        };
        if fragment || header < 20 || end < at + 2 {
            return;
        }
        packet[at..at + 2].fill(0);
        let mut sum = u64::from(packet[9]) + (end - header) as u64;
        sum += packet[12..20].chunks(2).chain(packet[header..end].chunks(2)).map(word).sum::<u64>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // RFC 768: a sum of zero is sent as all ones.
        let sum = if sum == 0xffff { 0xffff } else { !(sum as u16) };
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

fn word(two: &[u8]) -> u64 {
    u64::from(two[0]) << 8 | u64::from(two.get(1).copied().unwrap_or(0))
}

impl Payload for Frame {
    fn size(&self) -> usize {
        self.0.len().saturating_sub(ETHERNET)
    }

    fn mark(&mut self) -> bool {
        let mut packet = self.0.split_off(ETHERNET.min(self.0.len()));
        let marked = packet.mark();
        self.0.append(&mut packet);
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 and UDP around `data`.
    fn udp(data: &[u8]) -> Frame {
        let len = 28 + data.len() as u16;
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0, 0x45, 0]);
        frame.extend(len.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 1, 2, 198, 51, 100, 1, 0x9c, 0x40, 0x11, 0x94]);
        frame.extend((len - 20).to_be_bytes());
        frame.extend([0xab, 0xcd]);
        frame.extend(data);
        Frame(frame)
    }

    #[test]
    fn a_receiver_finds_the_sum_right_whatever_was_there() {
        for data in [&b""[..], b"a", b"four", &[255; 1001]] {
            let mut frame = udp(data);
            frame.finish_checksum();
            let packet = &frame.0[ETHERNET..];
            let mut sum = 17 + (packet.len() - 20) as u64;
            sum += packet[12..].chunks(2).map(word).sum::<u64>();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            assert_eq!(sum, 0xffff, "{} bytes", data.len());
        }
    }

    #[test]
    fn what_is_no_whole_packet_stays_as_it_is() {
        let whole = udp(b"data").0;
        for len in 0..whole.len() - 4 {
            let mut frame = Frame(whole[..len].to_vec());
            frame.finish_checksum();
            // Nothing but the field itself may change.
            assert!(len >= ETHERNET + 28 || frame.0 == whole[..len], "{len}");
        }
    }

    #[test]
    fn the_link_counts_the_packet_and_marks_it() {
        let mut frame = udp(b"data");
        assert_eq!((frame.size(), frame.is_ip()), (32, true));
        assert!(!frame.mark(), "it does not speak ECN");
        frame.0[ETHERNET + 1] = 2;
        assert!(frame.mark());
        assert_eq!((frame.0[ETHERNET + 1], frame.0.len()), (3, ETHERNET + 32));
    }
}
