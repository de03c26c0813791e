//! What a link carries: anything that has a size and perhaps can be marked.

/// What goes over a link.
pub trait Payload {
    /// IP bytes: what the rate and the queue count.
    fn size(&self) -> usize;

    /// Marks it as having met congestion (RFC 3168); false where it cannot be marked, and then it
    /// is dropped instead.
    fn mark(&mut self) -> bool {
        false
    }
}

/// An IP packet, the whole of it.
impl Payload for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn mark(&mut self) -> bool {
        match self.as_mut_slice() {
            // IPv4: the ECN field is the low bits of the second byte, under the header's checksum.
            [first, tos, _, _, _, _, _, _, _, _, high, low, ..] if *first >> 4 == 4 && *tos & 3 != 0 => {
                let old = u16::from_be_bytes([*first, *tos]);
                *tos |= 3;
                let new = u16::from_be_bytes([*first, *tos]);
                // RFC 1624 section 3: HC' = ~(~HC + ~m + m').
                let sum = u32::from(!u16::from_be_bytes([*high, *low])) + u32::from(!old) + u32::from(new);
                let sum = (sum & 0xffff) + (sum >> 16);
                let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
                [*high, *low] = (!sum).to_be_bytes();
                true
            }
            // IPv6: bits 10 and 11 of the first word.
            [first, second, ..] if *first >> 4 == 6 && *second & 0x30 != 0 => {
                *second |= 0x30;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum over a header, which is 0xffff where the checksum is right (RFC 1071).
    fn sum(header: &[u8]) -> u32 {
        let sum = header.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum::<u32>();
        (sum & 0xffff) + (sum >> 16)
    }

    #[test]
    fn a_mark_keeps_the_checksum_of_ipv4_right() {
        for ect in [1, 2] {
            let mut packet = vec![0x45, ect, 0, 20, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let right = !(sum(&packet) as u16);
            packet[10..12].copy_from_slice(&right.to_be_bytes());
            assert!(packet.mark());
            assert_eq!((packet[1], sum(&packet)), (3, 0xffff));
        }
    }

    #[test]
    fn who_does_not_speak_ecn_is_not_marked() {
        assert!(!vec![0x45, 0, 0, 20, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2].mark());
        assert!(!vec![0x60, 0, 0, 0].mark());
        assert!(vec![0x60, 0x20, 0, 0].mark());
        assert!(!Vec::new().mark());
    }
}
