//! Superpackets cut into segments, one at a time.
//!
//! A TUN with offload hands over up to 64 KiB under one header (TSO, USO). Segment k is computed
//! from k alone, so the scheduler pulls segments as paths become free, and each is written straight
//! into the packet that leaves.

use super::checksum::{fold, pseudo, sum, write_v4_header};
use super::packet::{
    CWR, FIN, Malformed, PSH, Packet, TCP, UDP, UDP_HEADER, V6_HEADER, be16, be32, put16, put32,
};
use super::prepare::{complete, field};
use crate::machine::Offload;

/// What becomes of the transport checksums of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    /// They are computed here.
    Complete,
    /// They hold the pseudo-header's sum; see `prepare::offload`.
    Partial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Tcp,
    Udp,
}

/// How a packet or superpacket is cut. The bytes stay with their owner and are given to each call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments {
    kind: Kind,
    v6: bool,
    transport: usize,
    /// Bytes of all headers, which every segment begins with.
    header: usize,
    /// Bytes of payload of every segment but the last.
    size: usize,
    /// Bytes of payload of all segments.
    payload: usize,
    /// How many there are: it is asked several times for each of them, and dividing takes long.
    count: usize,
}

impl Segments {
    /// Looks at a packet from a TUN. The headers are measured here: the length that the kernel
    /// gives is a hint.
    pub(crate) fn of(packet: &[u8], offload: Offload) -> Result<Segments, Malformed> {
        let view = Packet::parse_with(packet, offload)?;
        let layout = view.layout();
        let (kind, header, size) = match offload {
            Offload::None | Offload::Checksum { .. } => (Kind::Whole, 0, layout.len),
            Offload::Tcp { v6, .. } if v6 != layout.v6 => {
                return Err(Malformed::Offload("TCP segments of the other version of IP"));
            }
            Offload::Tcp { size, .. } => {
                let tcp = view.tcp().ok_or(Malformed::Offload("TCP segments of no TCP"))?;
                (Kind::Tcp, layout.transport + tcp.header, usize::from(size))
            }
            Offload::Udp { size, .. } => {
                view.udp().ok_or(Malformed::Offload("UDP datagrams of no UDP"))?;
                (Kind::Udp, layout.transport + UDP_HEADER, usize::from(size))
            }
        };
        if kind != Kind::Whole && field(&view).is_none() {
            return Err(Malformed::Offload("segments under a routing header"));
        }
        if size == 0 {
            return Err(Malformed::Offload("segments of no bytes"));
        }
        let payload = layout.len - header;
        let count = payload.div_ceil(size).max(1);
        Ok(Segments { kind, v6: layout.v6, transport: layout.transport, header, size, payload, count })
    }

    /// How many there are; at least one.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of segment `index`, headers included.
    pub(crate) fn len(&self, index: usize) -> Option<usize> {
        Some(self.header + self.range(index)?.len())
    }

    /// Bytes of segment `index` and all behind it, each with its headers.
    pub(crate) fn len_from(&self, index: usize) -> usize {
        let left = self.count().saturating_sub(index);
        let payload = self.payload.saturating_sub(index.saturating_mul(self.size));
        left * self.header + payload
    }

    fn range(&self, index: usize) -> Option<core::ops::Range<usize>> {
        let start = (index < self.count()).then(|| index * self.size)?;
        Some(start..self.payload.min(start + self.size))
    }

    /// Writes segment `index` of `packet` to the front of `out` and returns its length. `None`
    /// where there is no such segment, or `out` is shorter than it.
    pub(crate) fn write(&self, packet: &[u8], index: usize, out: &mut [u8], sums: Sums) -> Option<usize> {
        let range = self.range(index)?;
        let len = self.header + range.len();
        let out = out.get_mut(..len)?;
        let (header, payload) = packet.split_at_checked(self.header)?;
        out[..self.header].copy_from_slice(header);
        out[self.header..].copy_from_slice(payload.get(range.clone())?);
        match self.kind {
            Kind::Whole => {}
            Kind::Tcp => self.fix_tcp(out, index, range),
            Kind::Udp => self.fix_udp(out, index),
        }
        if sums == Sums::Complete {
            complete(out);
        }
        Some(len)
    }

    fn fix_tcp(&self, out: &mut [u8], index: usize, range: core::ops::Range<usize>) {
        self.fix_ip(out, index);
        let tcp = self.transport;
        // Range ends are below 64 KiB, because IP's lengths are.
        put32(out, tcp + 4, be32(out, tcp + 4).wrapping_add(range.start as u32));
        if range.end != self.payload {
            out[tcp + 13] &= !(FIN | PSH);
        }
        // RFC 3168 section 6.1.2: CWR is said once, on the first new segment.
        if index != 0 {
            out[tcp + 13] &= !CWR;
        }
        self.put_sum(out, TCP, 16);
    }

    fn fix_udp(&self, out: &mut [u8], index: usize) {
        self.fix_ip(out, index);
        put16(out, self.transport + 4, (out.len() - self.transport) as u16);
        self.put_sum(out, UDP, 6);
    }

    /// The lengths of the IP header, and IPv4's identification: it counts up, as kernels do it.
    fn fix_ip(&self, out: &mut [u8], index: usize) {
        if self.v6 {
            put16(out, 4, (out.len() - V6_HEADER) as u16);
            return;
        }
        put16(out, 2, out.len() as u16);
        put16(out, 4, be16(out, 4).wrapping_add(index as u16));
        // IP options fit in the header, which `of` measured.
        write_v4_header(out, self.transport);
    }

    fn put_sum(&self, out: &mut [u8], protocol: u8, offset: usize) {
        let partial = fold(pseudo(out, self.v6, protocol, out.len() - self.transport));
        put16(out, self.transport + offset, partial);
    }
}

/// Whether a packet's transport checksum is right.
pub(super) fn is_right(view: &Packet<'_>) -> bool {
    let transport = &view.bytes()[view.layout().transport..];
    fold(super::checksum::pseudo_of(view) + sum(transport)) == 0xffff
}
