//! IPv4, UDP and ICMP as the hosts write and read them. What comes out of a tunnel is checked: it
//! may be anything.

use std::net::Ipv4Addr;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// An IPv4 header without options.
pub(super) const HEADER: usize = 20;

/// RFC 1071, over `bytes` and what `start` holds already.
pub(in crate::packet) fn checksum(bytes: &[u8], start: u32) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut sum =
        u64::from(start) + pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The addresses and the numbers of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    /// The port, or the identifier of an echo.
    pub(super) from_port: u16,
    pub(super) to_port: u16,
}

/// The header of a packet of `size` bytes, with room for the rest.
fn ipv4(size: usize, protocol: u8, ends: &Ends, id: u16) -> Vec<u8> {
    let mut packet = vec![0; size];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(size as u16).to_be_bytes());
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    // Do not fragment.
    packet[6] = 0x40;
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&ends.from.octets());
    packet[16..20].copy_from_slice(&ends.to.octets());
    let sum = checksum(&packet[..HEADER], 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A UDP datagram whose IP packet has `size` bytes and whose payload begins with `head`.
pub(super) fn udp(size: usize, ends: &Ends, id: u16, head: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(size, UDP, ends, id);
    packet[20..22].copy_from_slice(&ends.from_port.to_be_bytes());
    packet[22..24].copy_from_slice(&ends.to_port.to_be_bytes());
    packet[24..26].copy_from_slice(&((size - HEADER) as u16).to_be_bytes());
    packet[28..28 + head.len()].copy_from_slice(head);
    // RFC 768: the pseudo header is summed too; a sum of 0 is sent as all ones.
    let pseudo: u32 = packet[12..20].chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    let sum = checksum(&packet[HEADER..], pseudo + u32::from(UDP) + (size - HEADER) as u32);
    packet[26..28].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    packet
}

/// An echo request, or a reply, of `size` bytes in all, with `head` as the first of its data.
pub(super) fn echo(size: usize, ends: &Ends, reply: bool, sequence: u16, head: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(size, ICMP, ends, sequence);
    packet[20] = if reply { 0 } else { 8 };
    let identifier = if reply { ends.from_port } else { ends.to_port };
    packet[24..26].copy_from_slice(&identifier.to_be_bytes());
    packet[26..28].copy_from_slice(&sequence.to_be_bytes());
    packet[28..28 + head.len()].copy_from_slice(head);
    let sum = checksum(&packet[HEADER..], 0);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What of a packet a host looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View<'a> {
    pub(super) protocol: u8,
    /// The port, or the identifier of an echo.
    pub(super) port: u16,
    /// ICMP's type.
    pub(super) kind: u8,
    /// After the UDP or ICMP header.
    pub(super) payload: &'a [u8],
}

/// Reads a packet for `to`; `None` for any other and for what is no packet.
pub(super) fn read(packet: &[u8], to: Ipv4Addr) -> Option<View<'_>> {
    let length = usize::from(u16::from_be_bytes(*packet.get(2..4)?.first_chunk()?));
    let header = usize::from(packet.first()? & 15) * 4;
    let valid = packet[0] >> 4 == 4 && header >= HEADER && length == packet.len() && length >= header + 8;
    if !valid || packet[16..20] != to.octets() || checksum(&packet[..header], 0) != 0 {
        return None;
    }
    let protocol = packet[9];
    let rest = &packet[header..];
    let port = match protocol {
        ICMP if checksum(rest, 0) == 0 => u16::from_be_bytes([rest[4], rest[5]]),
        TCP | UDP => u16::from_be_bytes([rest[2], rest[3]]),
        _ => return None,
    };
    Some(View { protocol, port, kind: rest[0], payload: &rest[8..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = Ends {
        from: Ipv4Addr::new(10, 0, 0, 1),
        to: Ipv4Addr::new(10, 0, 0, 2),
        from_port: 10_001,
        to_port: 20_001,
    };

    #[test]
    fn what_is_written_is_read() {
        let packet = udp(100, &ENDS, 7, b"head");
        let view = read(&packet, ENDS.to).expect("it is well formed");
        assert_eq!((view.protocol, view.port, &view.payload[..4]), (UDP, 20_001, &b"head"[..]));
        let packet = echo(84, &ENDS, false, 9, b"head");
        let view = read(&packet, ENDS.to).expect("it is well formed");
        assert_eq!((view.protocol, view.port, view.kind), (ICMP, 20_001, 8));
        assert_eq!(read(&packet, ENDS.from), None);
    }

    #[test]
    fn a_packet_that_was_cut_or_changed_is_not_read() {
        let packet = echo(84, &ENDS, false, 9, b"head");
        for end in 0..packet.len() {
            assert_eq!(read(&packet[..end], ENDS.to), None);
        }
        for at in 0..packet.len() {
            let mut other = packet.clone();
            other[at] ^= 0x40;
            assert_eq!(read(&other, ENDS.to), None, "byte {at}");
        }
    }
}
