//! "Packet too big", told to the sender of what does not fit through the bond: ICMPv4 type 3 code 4
//! (RFC 1191) and ICMPv6 type 2 (RFC 4443 section 3.2).
//!
//! The bond cuts nothing. IPv4 senders that allow fragments are told as well: they cut at the size
//! they learn.

use super::checksum::{fold, pseudo, sum, write_v4_header};
use super::packet::{Fragment, ICMP, ICMPV6, Packet, V4_HEADER, V6_HEADER, put16, put32};
use crate::time::{Duration, Instant};
use core::net::IpAddr;

/// Messages in a row before the limit holds, and the time in which one more is allowed (RFC 4443
/// section 2.4 (f) asks for a token bucket). 100 a second are 50 kbit/s; every new flow needs one.
const BURST: u32 = 50;
const INTERVAL: Duration = Duration::from_millis(10);

/// The most bytes of an ICMPv4 error (RFC 1812 section 4.3.2.3) and of an ICMPv6 one (RFC 4443
/// section 2.4 (c)).
const V4_MAX: usize = 576;
const V6_MAX: usize = 1280;

const ICMP_HEADER: usize = 8;

/// Why no sender was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untold {
    /// The packet is one that no error may answer: an ICMP error, a later fragment, no host at one
    /// of its ends.
    Forbidden,
    /// Too many were sent of late.
    Limited,
    /// It is no packet, or the answerer's address is of the other version of IP.
    Unable,
}

/// Notifies senders, within a limit.
#[derive(Debug)]
pub(crate) struct TooBig {
    tokens: u32,
    /// When the last token came in.
    filled: Instant,
}

impl TooBig {
    pub(crate) const fn new(now: Instant) -> Self {
        TooBig { tokens: BURST, filled: now }
    }

    /// Writes the answer to `packet` into `out`: `from` says that at most `mtu` bytes fit. Returns
    /// its length; `out` has at least 1280 bytes.
    pub(crate) fn tell(
        &mut self,
        now: Instant,
        packet: &[u8],
        mtu: u16,
        from: IpAddr,
        out: &mut [u8; V6_MAX],
    ) -> Result<usize, Untold> {
        let view = Packet::parse(packet).map_err(|_| Untold::Unable)?;
        if view.is_v6() != from.is_ipv6() {
            return Err(Untold::Unable);
        }
        // RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e).
        if view.is_icmp_error() || view.fragment() == Fragment::Later || !view.is_between_hosts() {
            return Err(Untold::Forbidden);
        }
        if !self.take(now) {
            return Err(Untold::Limited);
        }
        Ok(match (from, view.source()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => write_v4(&view, mtu, from.octets(), to.octets(), out),
            (IpAddr::V6(from), IpAddr::V6(to)) => write_v6(&view, mtu, from.octets(), to.octets(), out),
            _ => return Err(Untold::Unable),
        })
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = (now - self.filled).as_nanos() / INTERVAL.as_nanos();
        if earned >= u128::from(BURST - self.tokens) {
            (self.tokens, self.filled) = (BURST, now);
        } else {
            // Below BURST, as just seen. The rest of an interval counts on.
            self.tokens += earned as u32;
            self.filled += INTERVAL * earned as u32;
        }
        let taken = self.tokens.checked_sub(1);
        self.tokens = taken.unwrap_or(0);
        taken.is_some()
    }
}

fn write_v4(view: &Packet<'_>, mtu: u16, from: [u8; 4], to: [u8; 4], out: &mut [u8; V6_MAX]) -> usize {
    let len = quote(view, &mut out[..V4_MAX], V4_HEADER);
    let out = &mut out[..len];
    // Precedence 6, "internetwork control", is what RFC 1812 section 4.3.2.5 asks of errors.
    out[..12].copy_from_slice(&[0x45, 0xc0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0]);
    put16(out, 2, len as u16);
    out[12..16].copy_from_slice(&from);
    out[16..20].copy_from_slice(&to);
    write_v4_header(out, V4_HEADER);
    let icmp = &mut out[V4_HEADER..];
    icmp[..ICMP_HEADER].copy_from_slice(&[3, 4, 0, 0, 0, 0, 0, 0]);
    put16(icmp, 6, mtu); // RFC 1191 section 4: the next hop's MTU.
    let sum = !fold(sum(icmp));
    put16(icmp, 2, sum);
    len
}

fn write_v6(view: &Packet<'_>, mtu: u16, from: [u8; 16], to: [u8; 16], out: &mut [u8; V6_MAX]) -> usize {
    let len = quote(view, out, V6_HEADER);
    let out = &mut out[..len];
    out[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, ICMPV6, 64]);
    put16(out, 4, (len - V6_HEADER) as u16);
    out[8..24].copy_from_slice(&from);
    out[24..40].copy_from_slice(&to);
    let pseudo = pseudo(out, true, ICMPV6, len - V6_HEADER);
    let icmp = &mut out[V6_HEADER..];
    icmp[..ICMP_HEADER].copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
    put32(icmp, 4, u32::from(mtu));
    let sum = !fold(pseudo + sum(icmp));
    put16(icmp, 2, sum);
    len
}

/// Copies as much of the packet as fits behind both headers; the length of the answer.
fn quote(view: &Packet<'_>, out: &mut [u8], header: usize) -> usize {
    let start = header + ICMP_HEADER;
    let len = view.bytes().len().min(out.len() - start);
    out[start..start + len].copy_from_slice(&view.bytes()[..len]);
    start + len
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Build, assert_sums_right};
    use super::*;
    use alloc::vec;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe));

    fn tell(packet: &[u8], from: IpAddr) -> Result<alloc::vec::Vec<u8>, Untold> {
        let mut out = [0; V6_MAX];
        let len = TooBig::new(Instant::ZERO).tell(Instant::ZERO, packet, 1400, from, &mut out)?;
        Ok(out[..len].to_vec())
    }

    #[test]
    fn the_sender_learns_the_size() {
        let packet = Build::default().tcp(&[7; 1460]);
        let answer = tell(&packet, V4).expect("it may be told");
        assert_eq!((answer.len(), answer[20], answer[21], answer[27]), (576, 3, 4, (1400 % 256) as u8));
        assert_eq!(answer[28..], packet[..548]);
        assert_eq!(Packet::parse(&answer).expect("a packet").destination(), IpAddr::from([10, 0, 0, 1]));
        assert_sums_right(&answer);
        let packet = Build { v6: true, ..Build::default() }.udp(&[7; 1460]);
        let answer = tell(&packet, V6).expect("it may be told");
        assert_eq!((answer.len(), answer[40], answer[41]), (1280, 2, 0));
        assert_eq!(answer[44..48], 1400u32.to_be_bytes());
        assert_eq!(answer[48..], packet[..1232]);
        assert_sums_right(&answer);
    }

    #[test]
    fn an_error_is_never_answered() {
        for (v6, protocol, from, kinds) in
            [(false, ICMP, V4, vec![3, 5, 11, 12]), (true, ICMPV6, V6, vec![1, 2, 3, 4, 127, 137])]
        {
            let build = Build { v6, ..Build::default() };
            for kind in kinds {
                let error = build.ip(protocol, &[kind, 0, 0, 0, 0, 0, 0, 0]);
                assert_eq!(tell(&error, from), Err(Untold::Forbidden), "type {kind}");
            }
            assert_eq!(tell(&build.ip(protocol, &[]), from), Err(Untold::Forbidden), "no type");
            let echo = build.ip(protocol, &[if v6 { 128 } else { 8 }, 0, 0, 0, 0, 0, 0, 0]);
            assert!(tell(&echo, from).is_ok());
        }
        // An answer of ours is an error too.
        let answer = tell(&Build::default().tcp(&[7; 1460]), V4).expect("it may be told");
        assert_eq!(tell(&answer, V4), Err(Untold::Forbidden));
    }

    #[test]
    fn a_crowd_is_never_told() {
        let packet = Build::default().udp(b"x");
        for octets in [[224, 0, 0, 1], [255; 4], [0; 4], [127, 0, 0, 1]] {
            for at in [12, 16] {
                let mut packet = packet.clone();
                packet[at..at + 4].copy_from_slice(&octets);
                assert_eq!(tell(&packet, V4), Err(Untold::Forbidden), "{octets:?} at {at}");
            }
        }
        let mut group = Build { v6: true, ..Build::default() }.udp(b"x");
        group[24] = 0xff;
        assert_eq!(tell(&group, V6), Err(Untold::Forbidden));
        let mut later = packet.clone();
        later[7] = 1;
        assert_eq!(tell(&later, V4), Err(Untold::Forbidden));
        assert_eq!(tell(&packet, V6), Err(Untold::Unable));
        assert_eq!(tell(&packet[..9], V4), Err(Untold::Unable));
    }

    #[test]
    fn a_flood_draws_a_hundred_answers_a_second() {
        let packet = Build::default().tcp(&[7; 1460]);
        let mut too_big = TooBig::new(Instant::ZERO);
        let mut told = 0;
        for millisecond in 0..10_000u64 {
            let now = Instant::from_nanos(millisecond * 1_000_000);
            told += usize::from(too_big.tell(now, &packet, 1400, V4, &mut [0; V6_MAX]).is_ok());
        }
        // 50 at once, and one each full 10 ms after the first.
        assert_eq!(told, 50 + 999);
    }
}
