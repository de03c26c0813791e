//! What a kernel does for a TUN device with segmentation offload: the segments of a burst come out
//! of it as one superpacket (TSO), and a superpacket that goes into it is cut (GSO).
//!
//! ```text
//!   host ── segment, segment, segment ──▶ join ── superpacket ──▶ machine
//!   host ◀─ segment, segment, segment ─── cut ◀── superpacket ─── machine
//! ```
//!
//! Every packet that comes out of such a device has its TCP checksum left open: the field holds the
//! sum of the pseudo header. Only TCP over IPv4 is joined: the hosts speak no IPv6, and send their
//! datagrams one by one.
//!
//! Invariant: what is cut from a superpacket are the very segments that were joined, but for IPv4's
//! identification, which counts up from the first one's.

use super::host::checksum;
use ropewalk_core::machine::{Fault, Offload};
use std::collections::VecDeque;

/// An IPv4 header without options, and the least of TCP.
const IP: usize = 20;
const LEAST: usize = IP + 20;
/// What the length field of IP holds.
const MOST: usize = 65_535;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The flags that only the last segment of a superpacket has, and the one that only the first has.
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

fn be16(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn put16(packet: &mut [u8], at: usize, value: usize) {
    // Lengths of IP packets, which the callers bound.
    packet[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

fn seq(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]])
}

/// Bytes of both headers, where it is TCP over IPv4 without IP options.
fn headers(packet: &[u8]) -> Option<usize> {
    let tcp = packet.len() >= LEAST && packet[0] == 0x45 && packet[9] == TCP;
    let header = IP + usize::from(*packet.get(32)? >> 4) * 4;
    (tcp && (LEAST..=packet.len()).contains(&header)).then_some(header)
}

/// The sum of the pseudo header (RFC 9293 section 3.1), not complemented.
fn pseudo(packet: &[u8]) -> u16 {
    let rest = (packet.len() - IP) as u16;
    let [high, low] = rest.to_be_bytes();
    let mut words = packet[12..IP].to_vec();
    words.extend([0, packet[9], high, low]);
    !checksum(&words, 0)
}

/// Writes the length and the checksum of the IP header.
fn fix_ip(packet: &mut [u8]) {
    put16(packet, 2, packet.len());
    put16(packet, 10, 0);
    let sum = checksum(&packet[..IP], 0);
    put16(packet, 10, usize::from(sum));
}

/// Whether `next` goes on where the `payload` bytes behind the headers of `first` end.
fn follows(first: &[u8], header: usize, payload: usize, next: &[u8]) -> bool {
    headers(next) == Some(header)
        && next.len() > header
        // All of the IP header but length, identification and checksum.
        && first[1] == next[1]
        && first[6..10] == next[6..10]
        && first[12..24] == next[12..24]
        && seq(next) == seq(first).wrapping_add(payload as u32)
        // The acknowledgement, the flags but for the last one's, the window, the options.
        && first[28..33] == next[28..33]
        && (first[33] & !CWR) == (next[33] & !FIN_PSH)
        && first[34..36] == next[34..36]
        && first[38..header] == next[38..header]
}

/// Takes the next packet of a device with offload, with all that joins it.
pub(super) fn join(queue: &mut VecDeque<Vec<u8>>) -> Option<(Vec<u8>, Offload)> {
    let mut packet = queue.pop_front()?;
    let Some(header) = headers(&packet) else { return Some((packet, Offload::None)) };
    let size = packet.len() - header;
    let mut last = size;
    let mut ended = packet[33] & FIN_PSH != 0;
    while size > 0
        && last == size
        && !ended
        && let Some(next) = queue.front()
        && next.len() - header.min(next.len()) <= size
        && packet.len() + size <= MOST
        && follows(&packet, header, packet.len() - header, next)
    {
        last = next.len() - header;
        ended = next[33] & FIN_PSH != 0;
        packet[33] |= next[33] & FIN_PSH;
        packet.extend_from_slice(&next[header..]);
        queue.pop_front();
    }
    fix_ip(&mut packet);
    let open = pseudo(&packet);
    put16(&mut packet, 36, usize::from(open));
    let offload = if packet.len() - header > size {
        Offload::Tcp { header: header as u16, size: size as u16, v6: false }
    } else {
        Offload::Checksum { start: IP as u16, offset: 16 }
    };
    Some((packet, offload))
}

/// Puts what a device with offload is given into `out`, packet by packet.
///
/// # Errors
/// It is not what the kernel could cut.
pub(super) fn cut(packet: &[u8], offload: Offload, out: &mut VecDeque<Vec<u8>>) -> Result<(), Fault> {
    let invalid = Fault::Other(22);
    if !offload.fits(packet.len()) {
        return Err(invalid);
    }
    let (header, size) = match offload {
        Offload::None => {
            out.push_back(packet.to_vec());
            return Ok(());
        }
        Offload::Checksum { start, offset } => {
            let (start, offset) = (usize::from(start), usize::from(offset));
            let mut whole = packet.to_vec();
            let sum = checksum(&whole[start..], 0);
            put16(&mut whole, start + offset, usize::from(sum));
            out.push_back(whole);
            return Ok(());
        }
        Offload::Tcp { header, size, v6: false } if headers(packet) == Some(usize::from(header)) => {
            (usize::from(header), usize::from(size))
        }
        Offload::Udp { size, .. } if packet[0] == 0x45 && packet[9] == UDP => (IP + 8, usize::from(size)),
        _ => return Err(invalid),
    };
    let (head, payload) = packet.split_at(header);
    let count = payload.len().div_ceil(size);
    for (index, piece) in payload.chunks(size).enumerate() {
        let mut segment = [head, piece].concat();
        let identification = be16(head, 4).wrapping_add(index as u16);
        put16(&mut segment, 4, usize::from(identification));
        fix_ip(&mut segment);
        let sum_at = if segment[9] == TCP {
            let number = seq(head).wrapping_add((index * size) as u32);
            segment[24..28].copy_from_slice(&number.to_be_bytes());
            segment[33] &= if index + 1 < count { !FIN_PSH } else { !0 };
            segment[33] &= if index > 0 { !CWR } else { !0 };
            36
        } else {
            let len = segment.len() - IP;
            put16(&mut segment, 24, len);
            26
        };
        put16(&mut segment, sum_at, 0);
        let sum = checksum(&segment[IP..], u32::from(pseudo(&segment)));
        // RFC 768: a sum of 0 is sent as all ones.
        let sum = if sum == 0 && segment[9] == UDP { 0xffff } else { sum };
        put16(&mut segment, sum_at, usize::from(sum));
        out.push_back(segment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A segment with timestamps and a right checksum.
    fn segment(flow: u8, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; LEAST + 12];
        packet[0] = 0x45;
        packet[6] = 0x40;
        packet[8..10].copy_from_slice(&[64, TCP]);
        packet[12..IP].copy_from_slice(&[10, 77, 0, 2, 192, 0, 2, 1]);
        packet[20..24].copy_from_slice(&[0x9c, flow, 0, 80]);
        packet[24..28].copy_from_slice(&seq.to_be_bytes());
        packet[32..36].copy_from_slice(&[8 << 4, flags, 0xff, 0xff]);
        packet.extend_from_slice(payload);
        fix_ip(&mut packet);
        let sum = checksum(&packet[IP..], u32::from(pseudo(&packet)));
        put16(&mut packet, 36, usize::from(sum));
        packet
    }

    /// The same without its identification, and the checksum over it.
    fn anonymous(mut packet: Vec<u8>) -> Vec<u8> {
        put16(&mut packet, 4, 0);
        fix_ip(&mut packet);
        packet
    }

    fn bursts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let one = (
            0u8..2,
            0usize..4,
            prop_oneof![8 => Just(0x10u8), 1 => Just(0x18), 1 => Just(0x90)],
            any::<bool>(),
        );
        proptest::collection::vec(one, 1..80).prop_map(|steps| {
            let mut next = [u32::MAX - 5000, 7];
            let step = |(flow, len, flags, gap): (u8, usize, u8, bool)| {
                let len = [1448, 1448, 700, 0][len];
                let at = &mut next[usize::from(flow)];
                *at = at.wrapping_add(u32::from(gap && len == 700));
                let payload: Vec<u8> = (0..len).map(|n| (n as u8) ^ flow).collect();
                let packet = segment(flow, *at, flags, &payload);
                *at = at.wrapping_add(len as u32);
                packet
            };
            steps.into_iter().map(step).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_joined_is_cut_into_the_same_segments(packets in bursts()) {
            let mut queue: VecDeque<_> = packets.iter().cloned().collect();
            let (mut out, mut given) = (VecDeque::new(), 0);
            while let Some((packet, offload)) = join(&mut queue) {
                given += 1;
                prop_assert!(offload.fits(packet.len()), "{offload:?} of {} bytes", packet.len());
                prop_assert_eq!(usize::from(be16(&packet, 2)), packet.len());
                prop_assert_eq!(cut(&packet, offload, &mut out), Ok(()));
            }
            prop_assert!(given <= packets.len());
            let out: Vec<_> = out.into_iter().map(anonymous).collect();
            prop_assert_eq!(out, packets);
        }

        #[test]
        fn any_bytes_are_cut_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            header in 0u16..100,
            size in 0u16..100,
            tcp in any::<bool>(),
        ) {
            let offload = match tcp {
                true => Offload::Tcp { header, size, v6: false },
                false => Offload::Udp { header, size },
            };
            let mut out = VecDeque::new();
            let _ = cut(&bytes, offload, &mut out);
            let _ = join(&mut [bytes].into());
        }
    }

    #[test]
    fn a_burst_of_the_model_is_one_superpacket() {
        let mut queue: VecDeque<_> = (0..44).map(|n| segment(0, n * 1448, 0x10, &[7; 1448])).collect();
        let (packet, offload) = join(&mut queue).expect("there are some");
        assert_eq!(packet.len(), 52 + 44 * 1448);
        assert_eq!(offload, Offload::Tcp { header: 52, size: 1448, v6: false });
        assert!(queue.is_empty());
    }
}
