//! Consecutive segments of one flow joined into one superpacket: what the kernel takes in one write
//! (GRO).
//!
//! The rules are those by which the kernel's own GRO keeps a cut reversible: a run can be cut again
//! into the very packets that made it. A packet that does not fit ends the run and begins the next.
//!
//! A sum that is complete is checked before its packet joins, because the kernel will trust a
//! superpacket: a packet that was damaged before it came into the bond must reach its host damaged.
//! Partial sums (the usual case, see [`super::prepare()`]) cost nothing.

use super::checksum::write_v4_header;
use super::packet::{
    ACK, CWR, FIN, PSH, Packet, TCP, UDP, UDP_HEADER, V4_HEADER, V6_HEADER, be16, be32, put16,
};
use super::prepare::{field, is_partial, offload};
use super::segment::is_right;
use crate::machine::Offload;
use alloc::vec::Vec;

/// The most bytes of a superpacket: what the length fields hold, IPv6's own header included.
const MAX_BYTES: usize = 65_535;

/// The most datagrams that Linux takes in one (`UDP_MAX_SEGMENTS` was 64 until 6.10).
const MAX_DATAGRAMS: u16 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// How IPv4's identification goes on. RFC 6864: it says nothing in a packet that may not be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identification {
    Unknown,
    CountsUp,
    Stays,
}

/// A run of segments that lies in its owner's buffer.
#[derive(Debug)]
pub(crate) struct Run {
    /// What more would have to look like; `None` once nothing can follow.
    open: Option<Kind>,
    v6: bool,
    transport: usize,
    header: usize,
    /// Bytes of payload of each segment but the last.
    size: usize,
    segments: u16,
    /// Whether the first one's checksum has been looked at.
    checked: bool,
    identification: Identification,
}

impl Run {
    /// Starts a run with a packet, which goes into the empty `buf`. Any packet may start one.
    pub(crate) fn start(buf: &mut Vec<u8>, view: &Packet<'_>) -> Run {
        let packet = view.bytes();
        buf.clear();
        buf.extend_from_slice(packet);
        let mut run = Run {
            open: None,
            v6: false,
            transport: 0,
            header: 0,
            size: 0,
            segments: 1,
            checked: false,
            identification: Identification::Unknown,
        };
        let Some((kind, header)) = shape(view) else { return run };
        let layout = view.layout();
        (run.v6, run.transport, run.header) = (layout.v6, layout.transport, header);
        run.size = layout.len - header;
        if run.size > 0 && !ends_run(kind, &packet[layout.transport..]) {
            run.open = Some(kind);
        }
        run
    }

    /// Joins a packet to the run in `buf` if it is the next segment; `false`, and no change, if
    /// not.
    pub(crate) fn push(&mut self, buf: &mut Vec<u8>, view: &Packet<'_>) -> bool {
        let Some(kind) = self.open else { return false };
        if shape(view) != Some((kind, self.header)) || view.is_v6() != self.v6 {
            return false;
        }
        let packet = view.bytes();
        let payload = &packet[self.header..];
        if payload.is_empty() || payload.len() > self.size || buf.len() + payload.len() > MAX_BYTES {
            return false;
        }
        let Some(identification) = self.follows_in_ip(buf, packet) else { return false };
        if !self.follows(kind, buf, packet) || !may_be_trusted(view) {
            return false;
        }
        if !self.checked && !Packet::parse(buf).is_ok_and(|first| may_be_trusted(&first)) {
            self.open = None;
            return false;
        }
        self.checked = true;
        self.identification = identification;
        self.segments += 1;
        if kind == Kind::Tcp {
            buf[self.transport + 13] |= packet[self.transport + 13] & (FIN | PSH);
        }
        buf.extend_from_slice(payload);
        if payload.len() < self.size || ends_run(kind, &packet[self.transport..]) {
            self.open = None;
        }
        true
    }

    /// Whether the IP headers are those of one flow, and how the identification went on.
    fn follows_in_ip(&self, first: &[u8], next: &[u8]) -> Option<Identification> {
        if self.v6 {
            // All but the payload length: version, class with ECN, flow label, next header, hop
            // limit, addresses.
            let same = first[..4] == next[..4] && first[6..V6_HEADER] == next[6..V6_HEADER];
            return same.then_some(Identification::Unknown);
        }
        // All but the total length, the identification and the checksum. `shape` saw that there are
        // no options.
        let same = first[..2] == next[..2] && first[6..10] == next[6..10] && first[12..20] == next[12..20];
        let gone = be16(next, 4).wrapping_sub(be16(first, 4));
        let never_cut = first[6] & 0x40 != 0;
        let counts_up = gone == self.segments;
        match self.identification {
            _ if !same => None,
            Identification::Unknown if counts_up => Some(Identification::CountsUp),
            Identification::Unknown if never_cut && gone == 0 => Some(Identification::Stays),
            Identification::CountsUp if counts_up => Some(Identification::CountsUp),
            Identification::Stays if gone == 0 => Some(Identification::Stays),
            _ => None,
        }
    }

    /// Whether the transport header is the next of the same flow.
    fn follows(&self, kind: Kind, buf: &[u8], next: &[u8]) -> bool {
        let (first, next) = (&buf[self.transport..], &next[self.transport..]);
        if first[..4] != next[..4] {
            return false;
        }
        match kind {
            Kind::Udp => self.segments < MAX_DATAGRAMS,
            Kind::Tcp => {
                let got = (buf.len() - self.header) as u32;
                be32(next, 4) == be32(first, 4).wrapping_add(got)
                    && first[8..13] == next[8..13]
                    && (first[13] ^ next[13]) & !(FIN | PSH) == 0
                    && first[14..16] == next[14..16]
                    && first[18..20] == next[18..20]
                    && first[20..self.header - self.transport] == next[20..self.header - self.transport]
            }
        }
    }

    /// Ends the run: writes the lengths of the superpacket and says what the kernel has to do with
    /// it.
    pub(crate) fn finish(self, buf: &mut [u8]) -> Offload {
        if self.segments == 1 {
            return offload(buf);
        }
        let total = buf.len();
        if self.v6 {
            put16(buf, 4, (total - V6_HEADER) as u16);
        } else {
            put16(buf, 2, total as u16);
            write_v4_header(buf, V4_HEADER);
        }
        let (header, size) = (self.header as u16, self.size as u16);
        let udp = self.header - self.transport == UDP_HEADER;
        if udp {
            put16(buf, self.transport + 4, (total - self.transport) as u16);
        }
        super::prepare::put_partial(buf);
        if udp { Offload::Udp { header, size } } else { Offload::Tcp { header, size, v6: self.v6 } }
    }
}

/// What a packet could be joined as, and the length of its headers. IP options and extension
/// headers are rare: their packets go alone.
fn shape(view: &Packet<'_>) -> Option<(Kind, usize)> {
    let layout = view.layout();
    if layout.transport != view.base_header() {
        return None;
    }
    match layout.protocol {
        TCP => {
            let tcp = view.tcp()?;
            // SYN, RST and URG go alone, so does what has no acknowledgement.
            let plain = tcp.flags() & !(PSH | FIN | CWR | super::packet::ECE) == ACK;
            plain.then_some((Kind::Tcp, layout.transport + tcp.header))
        }
        UDP => {
            let udp = view.udp()?;
            // A length of its own that differs is nothing to be cut again. No checksum cannot be
            // offloaded.
            let plain = usize::from(be16(udp, 4)) == udp.len() && be16(udp, 6) != 0;
            plain.then_some((Kind::Udp, layout.transport + UDP_HEADER))
        }
        _ => None,
    }
}

/// Whether nothing may follow this segment: PSH and FIN stay on the last one. One with CWR goes
/// alone, because a cut would leave the mark on the first segment only where the device knows how.
fn ends_run(kind: Kind, transport: &[u8]) -> bool {
    kind == Kind::Tcp && transport[13] & (PSH | FIN | CWR) != 0
}

/// Whether a superpacket may vouch for this packet's checksum.
fn may_be_trusted(view: &Packet<'_>) -> bool {
    debug_assert!(field(view).is_some(), "shape saw TCP or UDP");
    is_partial(view) || is_right(view)
}
