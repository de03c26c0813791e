//! Echo requests of ICMP (RFC 792), as `ping` sends them.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The type, code, sum, identifier and number of an echo, before its data.
pub(super) const HEADER: usize = 8;

/// A request with `number` and zeros, `len` bytes in all.
pub(super) fn request(id: u16, number: u32, len: usize) -> Vec<u8> {
    let mut echo = vec![8, 0, 0, 0];
    echo.extend(id.to_be_bytes());
    echo.extend((number as u16).to_be_bytes());
    echo.extend(number.to_be_bytes());
    echo.resize(len.max(HEADER + 4), 0);
    let sum = echo.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0)));
    let sum: u32 = sum.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    echo
}

/// The number in an answer, an IPv4 packet whole; none where it is another's.
pub(super) fn answer(packet: &[u8], id: u16) -> Option<u32> {
    let header = usize::from(packet.first()? & 15) * 4;
    let echo = packet.get(header..)?;
    let [0, 0, _, _, high, low, _, _, a, b, c, d, ..] = *echo else { return None };
    (u16::from_be_bytes([high, low]) == id).then(|| u32::from_be_bytes([a, b, c, d]))
}

/// Where requests go.
pub(super) fn target(address: Ipv4Addr) -> socket2::SockAddr {
    SocketAddrV4::new(address, 0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_right_sum_and_its_answer_is_known_again() {
        let echo = request(0x1234, 70_000, 64);
        let sum: u32 = echo.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let mut packet = vec![0x45; 20];
        packet.extend(&echo);
        assert_eq!(answer(&packet, 0x1234), None, "a request is no answer");
        packet[20] = 0;
        assert_eq!(answer(&packet, 0x1234), Some(70_000));
        assert_eq!(answer(&packet, 0x4321), None);
        assert_eq!(answer(&packet[..30], 0x1234), None);
    }
}
