//! The Internet checksum (RFC 1071): of a whole packet, of a pseudo-header, and after a change (RFC
//! 1624).
//!
//! Sums are kept as `u64` until they are folded, so that no carry is lost in 64 KiB.

use super::packet::{Packet, be16, put16};

/// The sum of `data`'s 16-bit words, to be added to others. An odd last byte counts as the upper
/// half of a word.
pub(super) fn sum(data: &[u8]) -> u64 {
    // Words of 32 bits leave the folded sum the same, and so do words in the machine's own order,
    // but for the order of its two bytes (RFC 1071 section 2 (B), (C)). That order needs no swap
    // for each word.
    let mut words = data.chunks_exact(4);
    let mut total: u64 = 0;
    for word in &mut words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let rest = words.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let folded = fold(total + u64::from(u32::from_ne_bytes(last)));
    u64::from(u16::from_be_bytes(folded.to_ne_bytes()))
}

/// Folds a sum to 16 bits. Only a sum of zeros folds to zero.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The sum of the pseudo-header of TCP, UDP or ICMPv6 for `len` bytes from the transport header on
/// (RFC 9293 section 3.1, RFC 8200 section 8.1), not folded.
pub(super) fn pseudo(packet: &[u8], v6: bool, protocol: u8, len: usize) -> u64 {
    let addresses = if v6 { &packet[8..40] } else { &packet[12..20] };
    sum(addresses) + u64::from(protocol) + len as u64
}

/// [`pseudo`] of a packet that is whole.
pub(super) fn pseudo_of(packet: &Packet<'_>) -> u64 {
    let layout = packet.layout();
    pseudo(packet.bytes(), layout.v6, layout.protocol, layout.len - layout.transport)
}

/// The checksum at `at` after a word under it went from `old` to `new`: RFC 1624 section 3,
/// equation 3.
pub(super) fn update(data: &mut [u8], at: usize, old: u16, new: u16) {
    let sum = u64::from(!be16(data, at)) + u64::from(!old) + u64::from(new);
    put16(data, at, !fold(sum));
}

/// Writes the checksum of an IPv4 header, which is the first `len` bytes.
pub(super) fn write_v4_header(packet: &mut [u8], len: usize) {
    put16(packet, 10, 0);
    let sum = !fold(sum(&packet[..len]));
    put16(packet, 10, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_updates_to_zero() {
        // Section 4: checksum dd2f, a word changes from 5555 to 3285, and the new checksum is 0000.
        let mut data = vec![0xdd, 0x2f];
        update(&mut data, 0, 0x5555, 0x3285);
        assert_eq!(data, [0, 0]);
    }

    proptest! {
        #[test]
        fn words_of_any_width_fold_to_the_same(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let plain = data.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0))).sum();
            prop_assert_eq!(fold(sum(&data)), fold(plain));
        }

        #[test]
        fn an_update_equals_a_new_sum(
            mut data in prop::collection::vec(any::<u8>(), 20..60), at in 0usize..4, new in any::<u16>()
        ) {
            data[0] |= 1; // A sum of zeros alone has two forms.
            let len = data.len() & !1;
            write_v4_header(&mut data, len);
            let at = at * 2 + 2;
            let old = be16(&data, at);
            put16(&mut data, at, new);
            update(&mut data, 10, old, new);
            let updated: Vec<u8> = data.clone();
            write_v4_header(&mut data, len);
            prop_assert_eq!(updated, data);
        }
    }
}
