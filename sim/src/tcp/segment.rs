//! IPv4 and TCP headers as octets (RFC 791, RFC 9293, RFC 7323, RFC 2018). The payload is zeros.
//!
//! Sequence numbers are 32 bits on the wire and 64 inside: [`unwrap`] puts a number of the wire
//! near one that is known.

use std::net::{Ipv4Addr, SocketAddrV4};

pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

/// ECN-capable transport, and congestion experienced (RFC 3168 section 5).
pub(super) const ECT0: u8 = 2;
pub(super) const CE: u8 = 3;

/// Octets that the timestamps option takes, with its padding.
pub(super) const TIMESTAMPS: u16 = 12;

/// Everything a segment says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    /// The ECN field of the IP header.
    pub(super) ecn: u8,
    /// As on the wire: the shift is not applied.
    pub(super) window: u16,
    pub(super) payload: u16,
    pub(super) mss: Option<u16>,
    pub(super) shift: Option<u8>,
    pub(super) sack_permitted: bool,
    pub(super) timestamps: Option<(u32, u32)>,
    pub(super) sacks: [(u32, u32); 4],
    pub(super) sack_count: usize,
}

impl Segment {
    /// The whole packet.
    pub(super) fn emit(&self, from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
        let (options, len) = self.options();
        let header = 40 + len;
        let total = header + usize::from(self.payload);
        let mut packet = vec![0; total];
        packet[0] = 0x45;
        packet[1] = self.ecn & 3;
        packet[2..4].copy_from_slice(&u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes());
        // Do not fragment.
        packet[6] = 0x40;
        packet[8] = 64;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&from.ip().octets());
        packet[16..20].copy_from_slice(&to.ip().octets());
        let check = !sum(&packet[..20], 0);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet[20..22].copy_from_slice(&from.port().to_be_bytes());
        packet[22..24].copy_from_slice(&to.port().to_be_bytes());
        packet[24..28].copy_from_slice(&self.seq.to_be_bytes());
        packet[28..32].copy_from_slice(&self.ack.to_be_bytes());
        packet[32] = u8::try_from((20 + len) / 4).unwrap_or(15) << 4;
        packet[33] = self.flags;
        packet[34..36].copy_from_slice(&self.window.to_be_bytes());
        packet[40..header].copy_from_slice(&options[..len]);
        // RFC 9293 section 3.1: the pseudo header. The payload is zeros and adds nothing.
        let pseudo = u32::from(sum(&packet[12..20], 0)) + 6 + (total as u32 - 20);
        let check = !sum(&packet[20..header], pseudo);
        packet[36..38].copy_from_slice(&check.to_be_bytes());
        packet
    }

    /// The options, padded to words.
    fn options(&self) -> ([u8; 40], usize) {
        let mut out = [0; 40];
        let mut at = 0;
        let mut put = |octets: &[u8]| {
            out[at..at + octets.len()].copy_from_slice(octets);
            at += octets.len();
        };
        if let Some(mss) = self.mss {
            put(&[2, 4, (mss >> 8) as u8, mss as u8]);
        }
        if self.sack_permitted {
            put(&[1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            put(&[1, 1, 8, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if let Some(shift) = self.shift {
            put(&[1, 3, 3, shift]);
        }
        if self.sack_count > 0 {
            put(&[1, 1, 5, 2 + 8 * self.sack_count as u8]);
            for (start, end) in &self.sacks[..self.sack_count] {
                put(&start.to_be_bytes());
                put(&end.to_be_bytes());
            }
        }
        (out, at)
    }

    /// What a packet says, with its two ends. None where it is no whole TCP segment over IPv4.
    pub(super) fn parse(packet: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4, Segment)> {
        let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
        let long = |at: usize| Some((u32::from(word(at)?) << 16) | u32::from(word(at + 2)?));
        let first = *packet.first()?;
        let total = usize::from(word(2)?);
        // A fragment has no header, or not the whole payload.
        if first >> 4 != 4 || *packet.get(9)? != 6 || total > packet.len() || word(6)? & 0x3fff != 0 {
            return None;
        }
        let tcp = usize::from(first & 15) * 4;
        let from = SocketAddrV4::new(Ipv4Addr::from(long(12)?), word(tcp)?);
        let to = SocketAddrV4::new(Ipv4Addr::from(long(16)?), word(tcp + 2)?);
        let header = usize::from(packet.get(tcp + 12)? >> 4) * 4;
        if tcp < 20 || header < 20 || total < tcp + header {
            return None;
        }
        let mut segment = Segment {
            seq: long(tcp + 4)?,
            ack: long(tcp + 8)?,
            flags: packet[tcp + 13],
            ecn: packet[1] & 3,
            window: word(tcp + 14)?,
            payload: u16::try_from(total - tcp - header).ok()?,
            ..Segment::default()
        };
        segment.parse_options(&packet[tcp + 20..tcp + header]);
        Some((from, to, segment))
    }

    fn parse_options(&mut self, mut options: &[u8]) {
        let long = |at: &[u8]| u32::from_be_bytes([at[0], at[1], at[2], at[3]]);
        while let [kind, rest @ ..] = options {
            match (kind, rest) {
                (0, _) => return,
                (1, _) => options = rest,
                (_, [len, ..]) if *len >= 2 && usize::from(*len) <= options.len() => {
                    let (option, after) = options.split_at(usize::from(*len));
                    options = after;
                    match (option[0], &option[2..]) {
                        (2, [high, low]) => self.mss = Some(u16::from_be_bytes([*high, *low])),
                        (3, [shift]) => self.shift = Some((*shift).min(14)),
                        (4, []) => self.sack_permitted = true,
                        (5, blocks) => {
                            for block in blocks.chunks_exact(8).take(4) {
                                self.sacks[self.sack_count] = (long(block), long(&block[4..]));
                                self.sack_count += 1;
                            }
                        }
                        (8, stamps) if stamps.len() == 8 => {
                            self.timestamps = Some((long(stamps), long(&stamps[4..])));
                        }
                        _ => {}
                    }
                    self.sack_count = self.sack_count.min(3);
                }
                _ => return,
            }
        }
    }
}

/// The number that ends in `wire` and lies nearest to `near`.
pub(super) fn unwrap(near: u64, wire: u32) -> u64 {
    near.wrapping_add_signed(i64::from(wire.wrapping_sub(near as u32) as i32))
}

/// The internet checksum's sum (RFC 1071), folded.
fn sum(octets: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for two in octets.chunks(2) {
        sum += u32::from(u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
