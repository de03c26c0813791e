//! The virtio header that stands before each packet of a TUN device with offload (`struct
//! virtio_net_hdr`, VIRTIO 1.2 section 5.1.6; `IFF_VNET_HDR`). Its numbers are in the host's byte
//! order.
//!
//! ```text
//!   flags 1 | gso type 1 | header length 2 | segment size 2 | checksum start 2 | checksum offset 2
//! ```

use ropewalk_core::machine::Offload;

/// Bytes of the header.
pub(super) const LENGTH: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// The segments may carry ECN's CWR, which concerns the first of them only. The cut minds it either
/// way.
const GSO_ECN: u8 = 0x80;

/// Where TCP and UDP keep their checksum, in bytes from their header.
const TCP_SUM: u16 = 16;
const UDP_SUM: u16 = 6;

/// What the header says of `packet`; `None` where it cannot be true of it, or is not known here.
///
/// The length of the headers is measured: what the kernel writes is how much of the packet lay in
/// one piece, payload included.
pub(super) fn parse(header: &[u8; LENGTH], packet: &[u8]) -> Option<Offload> {
    let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let (size, start, offset) = (number(4), number(6), number(8));
    let tcp = || {
        let words = packet.get(usize::from(start) + 12)? >> 4;
        start.checked_add(u16::from(words) * 4)
    };
    let offload = match header[1] & !GSO_ECN {
        GSO_NONE if header[0] & NEEDS_CSUM != 0 => Offload::Checksum { start, offset },
        GSO_NONE => Offload::None,
        GSO_TCP_V4 => Offload::Tcp { header: tcp()?, size, v6: false },
        GSO_TCP_V6 => Offload::Tcp { header: tcp()?, size, v6: true },
        GSO_UDP_L4 => Offload::Udp { header: start.checked_add(8)?, size },
        _ => return None,
    };
    offload.fits(packet.len()).then_some(offload)
}

/// The header for `packet`; `None` where `offload` cannot be true of it.
pub(super) fn emit(packet: &[u8], offload: Offload) -> Option<[u8; LENGTH]> {
    if !offload.fits(packet.len()) {
        return None;
    }
    let (flags, gso, hdr_len, size, start, offset) = match offload {
        Offload::None => (0, GSO_NONE, 0, 0, 0, 0),
        Offload::Checksum { start, offset } => (NEEDS_CSUM, GSO_NONE, 0, 0, start, offset),
        Offload::Tcp { header, size, v6 } => {
            let gso = if v6 { GSO_TCP_V6 } else { GSO_TCP_V4 };
            (NEEDS_CSUM, gso, header, size, transport(packet, header)?, TCP_SUM)
        }
        Offload::Udp { header, size } => {
            (NEEDS_CSUM, GSO_UDP_L4, header, size, header.checked_sub(8)?, UDP_SUM)
        }
    };
    let mut out = [0; LENGTH];
    (out[0], out[1]) = (flags, gso);
    for (at, number) in [(2, hdr_len), (4, size), (6, start), (8, offset)] {
        out[at..at + 2].copy_from_slice(&u16::to_ne_bytes(number));
    }
    Some(out)
}

/// Where the TCP header begins, if it ends at `header`.
fn transport(packet: &[u8], header: u16) -> Option<u16> {
    // Of the candidates the right one has its own length: TCP's data offset counts words of four
    // bytes.
    let first = if packet[0] >> 4 == 4 { u16::from(packet[0] & 0x0f) * 4 } else { 40 };
    (first..header).step_by(4).find(|start| {
        let offset = packet.get(usize::from(*start) + 12).map(|byte| u16::from(byte >> 4) * 4);
        offset.is_some_and(|words| words >= 20 && start + words == header)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso: u8, numbers: [u16; 4]) -> [u8; LENGTH] {
        let mut out = [flags, gso, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, number) in numbers.into_iter().enumerate() {
            out[2 + at * 2..4 + at * 2].copy_from_slice(&number.to_ne_bytes());
        }
        out
    }

    /// `len` bytes with a TCP header of 32 bytes behind `ip` bytes of IP.
    fn packet(ip: usize, len: usize) -> Vec<u8> {
        let mut packet = vec![0u8; len];
        packet[0] = if ip == 20 { 0x45 } else { 0x60 };
        packet[ip + 12] = 0x80;
        packet
    }

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let packet = packet(20, 9000);
        let read = |flags, gso, numbers| parse(&header(flags, gso, numbers), &packet);
        assert_eq!(read(0, 0, [0; 4]), Some(Offload::None));
        assert_eq!(read(1, 0, [0, 0, 20, 16]), Some(Offload::Checksum { start: 20, offset: 16 }));
        let tcp = Some(Offload::Tcp { header: 52, size: 1448, v6: false });
        assert_eq!(read(1, GSO_TCP_V4, [52, 1448, 20, 16]), tcp);
        assert_eq!(read(1, GSO_TCP_V4, [9000, 1448, 20, 16]), tcp, "all of it lay in one piece");
        assert_eq!(read(1, GSO_TCP_V4 | GSO_ECN, [52, 1448, 20, 16]), tcp);
        let udp = Some(Offload::Udp { header: 28, size: 1200 });
        assert_eq!(read(1, GSO_UDP_L4, [28, 1200, 20, 6]), udp);
    }

    #[test]
    fn nonsense_is_refused_both_ways() {
        let packet = packet(20, 52);
        for (what, flags, gso, numbers) in [
            ("a sum beyond the packet", 1, 0, [0, 0, 40, 19]),
            ("segments of no bytes", 1, GSO_TCP_V4, [52, 0, 20, 16]),
            ("no payload", 1, GSO_TCP_V4, [52, 9, 20, 16]),
            ("a header beyond the packet", 1, GSO_TCP_V6, [60, 9, 60, 16]),
            ("numbers at their end", 1, GSO_UDP_L4, [u16::MAX; 4]),
            ("a type that is not known", 0, 3, [28, 9, 0, 0]),
        ] {
            assert_eq!(parse(&header(flags, gso, numbers), &packet), None, "{what}");
        }
        assert_eq!(emit(&packet, Offload::Tcp { header: 52, size: 9, v6: false }), None);
        assert_eq!(emit(&packet, Offload::Checksum { start: 42, offset: 9 }), None);
        // No TCP header ends there.
        assert_eq!(emit(&[0x45; 400], Offload::Tcp { header: 41, size: 9, v6: false }), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let packet = packet(20, 4000);
        for offload in [
            Offload::None,
            Offload::Checksum { start: 20, offset: 6 },
            Offload::Tcp { header: 52, size: 1400, v6: false },
            Offload::Udp { header: 28, size: 1200 },
        ] {
            let header = emit(&packet, offload).expect("it fits");
            assert_eq!(parse(&header, &packet), Some(offload));
        }
        let header = emit(&packet, Offload::Tcp { header: 52, size: 1400, v6: false }).expect("it fits");
        assert_eq!(header[6..], [20u16.to_ne_bytes(), 16u16.to_ne_bytes()].concat()[..]);
    }
}
