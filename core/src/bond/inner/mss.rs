//! The largest segment that a SYN promises to take, lowered to what fits through the bond: a TCP
//! that learns it so needs no packet-too-big later.

use super::checksum::update;
use super::packet::{Packet, SYN, TCP_HEADER, be16, put16};
use super::prepare::is_partial;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;

/// Lowers the MSS option of a SYN to what a tunnel of `mtu` bytes takes. Whether it changed the
/// packet.
///
/// A SYN without the option is left: it promises 536 bytes (RFC 9293 section 3.7.1), which fit.
pub(crate) fn clamp_mss(packet: &mut [u8], mtu: usize) -> bool {
    let Ok(view) = Packet::parse(packet) else { return false };
    let Some(tcp) = view.tcp().filter(|tcp| tcp.flags() & SYN != 0) else { return false };
    // RFC 6691: the MSS counts neither IP options nor TCP options.
    let room = mtu.saturating_sub(view.base_header() + TCP_HEADER);
    let Ok(room @ 1..) = u16::try_from(room) else { return false };
    let Some(option) = find(&tcp.bytes[TCP_HEADER..tcp.header]) else { return false };
    let (transport, partial) = (view.layout().transport, is_partial(&view));
    // The option's value, two bytes behind its kind and length.
    let at = transport + TCP_HEADER + option + 2;
    let old = be16(packet, at);
    if old <= room {
        return false;
    }
    put16(packet, at, room);
    if !partial {
        // A value at an odd place lies across two words: its bytes count the other way round in
        // both.
        let swap = |word: u16| if (at - transport).is_multiple_of(2) { word } else { word.swap_bytes() };
        update(packet, transport + 16, swap(old), swap(room));
    }
    true
}

/// Where the MSS option lies among `options`, if it is whole. RFC 9293 section 3.1.
fn find(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match (*options.get(at)?, options.get(at + 1).copied()) {
            (END, _) => return None,
            (NOP, _) => at += 1,
            (MSS, Some(4)) => return (at + 4 <= options.len()).then_some(at),
            (_, Some(len @ 2..)) => at += usize::from(len),
            (_, _) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Build, assert_sums_right};
    use super::*;
    use alloc::vec::Vec;

    fn syn(v6: bool, partial: bool, options: &[u8]) -> Vec<u8> {
        Build { v6, partial, flags: SYN, options: options.to_vec(), ..Build::default() }.tcp(b"")
    }

    #[test]
    fn a_syn_promises_no_more_than_fits() {
        for (v6, room) in [(false, 1396u16), (true, 1376)] {
            let [high, low] = room.to_be_bytes();
            let mut packet = syn(v6, false, &[2, 4, 5, 0xb4]);
            assert!(clamp_mss(&mut packet, 1436));
            assert_eq!(packet, syn(v6, false, &[2, 4, high, low]));
            assert!(!clamp_mss(&mut packet, 1436), "it fits now");
        }
    }

    #[test]
    fn an_option_at_an_odd_place_keeps_the_sum_right() {
        let mut packet = syn(false, false, &[1, 2, 4, 5, 0xb4, 1, 1, 0]);
        assert!(clamp_mss(&mut packet, 1000));
        assert_eq!(&packet[43..45], 960u16.to_be_bytes());
        assert_sums_right(&packet);
    }

    #[test]
    fn a_partial_sum_does_not_cover_the_option() {
        let mut packet = syn(false, true, &[2, 4, 5, 0xb4]);
        assert!(clamp_mss(&mut packet, 1000));
        assert_eq!(packet, syn(false, true, &[2, 4, 960u16.to_be_bytes()[0], 960u16.to_be_bytes()[1]]));
    }

    #[test]
    fn what_promises_nothing_is_left_alone() {
        let broken: [&[u8]; 6] =
            [&[], &[2, 3, 9, 9], &[2, 0, 9, 9], &[1, 1, 1, 2], &[8, 40, 2, 4], &[0, 2, 4, 9]];
        for options in broken {
            assert!(!clamp_mss(&mut syn(false, false, options), 1000), "{options:?}");
        }
        assert!(!clamp_mss(&mut syn(false, false, &[2, 4, 5, 0xb4]), 40));
        let data = Build { options: [2, 4, 5, 0xb4].to_vec(), ..Build::default() };
        assert!(!clamp_mss(&mut data.tcp(b"no SYN"), 1000));
    }
}
