//! The payload cut off a TCP segment, so that its sender learns of a congestion at once.
//!
//! A receiver that gets the header alone has lost nothing but the bytes: it passes on what follows,
//! and asks for them again. A packet that never came would hold up all behind it at the other end
//! of the bond, which waits for what is missing.

use super::checksum::write_v4_header;
use super::packet::{ACK, PSH, Packet, V6_HEADER, put16};
use super::prepare::put_partial;
use alloc::vec::Vec;

/// Cuts the payload off, if the packet is a TCP segment that says nothing but its data; its
/// checksum is partial then. Whether it was cut.
pub(crate) fn trim(packet: &mut Vec<u8>) -> bool {
    let Ok(view) = Packet::parse(packet) else { return false };
    let Some(tcp) = view.tcp() else { return false };
    let layout = view.layout();
    if tcp.flags() & !PSH != ACK || tcp.payload() == 0 || layout.routed {
        return false;
    }
    let len = layout.transport + tcp.header;
    packet.truncate(len);
    // Nothing is pushed.
    packet[layout.transport + 13] &= !PSH;
    // Both lengths are below what they were.
    if layout.v6 {
        put16(packet, 4, (len - V6_HEADER) as u16);
    } else {
        put16(packet, 2, len as u16);
        write_v4_header(packet, layout.transport);
    }
    put_partial(packet);
    true
}

#[cfg(test)]
mod tests {
    use super::super::packet::{FIN, SYN};
    use super::super::prepare::complete;
    use super::super::testing::{Build, assert_sums_right};
    use super::*;

    #[test]
    fn a_segment_keeps_its_header_and_its_sums_are_right() {
        for v6 in [false, true] {
            for flags in [ACK, ACK | PSH] {
                let options = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8].to_vec();
                let build = Build { v6, flags, options, ..Build::default() };
                let mut packet = build.tcp(&[7; 1000]);
                assert!(trim(&mut packet));
                complete(&mut packet);
                assert_sums_right(&packet);
                assert_eq!(packet, Build { flags: ACK, ..build }.tcp(&[]));
                assert!(!trim(&mut packet), "nothing is left to cut");
            }
        }
    }

    #[test]
    fn what_says_more_than_its_data_is_left_whole() {
        for flags in [SYN, FIN | ACK, SYN | ACK, ACK | 0x20] {
            let packet = Build { flags, ..Build::default() }.tcp(b"data");
            let mut same = packet.clone();
            assert!(!trim(&mut same));
            assert_eq!(same, packet);
        }
        assert!(!trim(&mut Build::default().udp(b"data")));
        assert!(!trim(&mut alloc::vec![0x45; 12]));
    }
}
