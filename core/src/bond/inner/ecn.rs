//! Explicit congestion notification (RFC 3168) in the inner header, and what a tunnel's end makes
//! of the outer one (RFC 6040).

use super::checksum::update;
use super::packet::{Malformed, Packet, be16};

/// The two bits of the ECN field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ecn {
    /// The transport does not know ECN.
    NotEct,
    /// ECN-capable, codepoint 01 (L4S, RFC 9331).
    Ect1,
    /// ECN-capable, codepoint 10.
    Ect0,
    /// Congestion was experienced.
    Ce,
}

impl Ecn {
    /// The codepoint in the lowest two bits of `bits`.
    pub(crate) const fn from_bits(bits: u8) -> Ecn {
        match bits & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// The codepoint as the header has it, 0 to 3.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Ecn::NotEct => 0,
            Ecn::Ect1 => 1,
            Ecn::Ect0 => 2,
            Ecn::Ce => 3,
        }
    }
}

impl Packet<'_> {
    pub(crate) fn ecn(&self) -> Ecn {
        let data = self.bytes();
        Ecn::from_bits(if self.is_v6() { data[1] >> 4 } else { data[1] })
    }
}

/// Writes the codepoint of a packet; the IPv4 header's checksum follows.
fn set(packet: &mut [u8], ecn: Ecn) -> Result<(), Malformed> {
    let view = Packet::parse(packet)?;
    let v6 = view.is_v6();
    if v6 {
        // RFC 8200 section 3: the traffic class lies across the first two bytes.
        packet[1] = packet[1] & 0xcf | ecn.bits() << 4;
    } else {
        let old = be16(packet, 0);
        packet[1] = packet[1] & 0xfc | ecn.bits();
        let new = be16(packet, 0);
        if new != old {
            update(packet, 10, old, new);
        }
    }
    Ok(())
}

/// Marks a packet instead of dropping it. `false`, and no change, where its transport does not know
/// ECN (RFC 3168 section 5) or the bytes are no packet.
pub(crate) fn mark_ce(packet: &mut [u8]) -> bool {
    let capable = Packet::parse(packet).is_ok_and(|view| view.ecn() != Ecn::NotEct);
    capable && set(packet, Ecn::Ce).is_ok()
}

/// Carries the outer header's mark over to the inner packet, at the end of the tunnel. `None` where
/// the packet must be dropped: it is none, or congestion was marked on a packet whose transport
/// would never learn of it.
pub(crate) fn decapsulate(outer: Ecn, packet: &mut [u8]) -> Option<Packet<'_>> {
    let view = Packet::parse(packet).ok()?;
    let (inner, layout) = (view.ecn(), view.layout());
    let new = combine(outer, inner)?;
    if new != inner {
        set(packet, new).ok()?;
    }
    Some(Packet::of_layout(packet, layout))
}

/// RFC 6040 section 4.2, figure 4.
fn combine(outer: Ecn, inner: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1) => Some(Ecn::NotEct),
        (Ecn::Ce, _) | (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (Ecn::Ect0, Ecn::NotEct | Ecn::Ect0) => Some(Ecn::Ect0),
        (Ecn::Ect1, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1) => Some(Ecn::Ect1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Build};
    use super::*;
    use Ecn::{Ce, Ect0, Ect1, NotEct};

    #[test]
    fn the_table_of_rfc_6040_figure_4() {
        // Rows are the inner field, columns the outer one: Not-ECT, ECT(0), ECT(1), CE.
        let outer = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce); 4]),
        ];
        for (inner, row) in table {
            assert_eq!(outer.map(|outer| combine(outer, inner)), row, "inner {inner:?}");
        }
    }

    #[test]
    fn a_mark_keeps_the_header_right() {
        for v6 in [false, true] {
            for ecn in [Ect0, Ect1, Ce] {
                let mut packet = Build { v6, ecn: ecn.bits(), ..Build::default() }.tcp(b"data");
                assert!(mark_ce(&mut packet));
                assert_eq!(Packet::parse(&packet).expect("a packet").ecn(), Ce);
                testing::assert_sums_right(&packet);
            }
        }
    }

    #[test]
    fn without_ecn_there_is_no_mark() {
        let mut packet = Build::default().tcp(b"data");
        let before = packet.clone();
        assert!(!mark_ce(&mut packet));
        assert!(decapsulate(Ce, &mut packet).is_none());
        assert!(decapsulate(Ect0, &mut packet).is_some());
        assert_eq!(packet, before);
    }
}
