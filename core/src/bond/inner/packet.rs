//! A checked view of an IPv4 or IPv6 packet: where its parts lie.
//!
//! IPv6 extension headers are walked to the transport header. A chain that is too long, or that
//! ends in the middle, is no error: the packet then counts as one of the protocol at which the walk
//! ended.

use crate::machine::Offload;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ESP: u8 = 50;
pub(super) const ICMPV6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers walked before a packet counts as opaque. RFC 8504 section 5.3 lets a node stop
/// at ten.
const MAX_EXTENSIONS: usize = 10;

/// The least lengths of the headers, in bytes.
pub(super) const V4_HEADER: usize = 20;
pub(super) const V6_HEADER: usize = 40;
pub(super) const TCP_HEADER: usize = 20;
pub(super) const UDP_HEADER: usize = 8;

/// Why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The version field is neither 4 nor 6.
    Version(u8),
    /// The packet has `came` bytes where its headers ask for `expected`.
    Truncated { expected: usize, came: usize },
    /// The IPv4 header claims `came` bytes; 20 is the least, and the total length the most.
    HeaderLength { came: usize, total: usize },
    /// An offload does not fit its packet.
    Offload(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Version(came) => write!(f, "inner packet: expected IP version 4 or 6, got {came}"),
            Malformed::Truncated { expected, came } => {
                write!(f, "inner packet: expected {expected} bytes, got {came}")
            }
            Malformed::HeaderLength { came, total } => {
                write!(f, "inner packet: expected an IPv4 header of 20 to {total} bytes, got {came}")
            }
            Malformed::Offload(why) => write!(f, "inner packet: expected an offload that fits, got {why}"),
        }
    }
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// All of it.
    Whole,
    /// The first fragment, which has the transport header.
    First,
    /// A later fragment, which has none.
    Later,
}

/// Where the parts of a packet lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) v6: bool,
    /// Bytes of the whole packet, as its header says.
    pub(super) len: usize,
    /// Where the headers of IP end; at most `len`.
    pub(super) transport: usize,
    /// The protocol at `transport`.
    pub(super) protocol: u8,
    pub(super) fragment: Fragment,
    /// A routing header names further stops, so the pseudo-header's destination is not the packet's
    /// (RFC 8200 section 8.1): its transport checksum is none of our business.
    pub(super) routed: bool,
}

/// A packet whose headers lie within its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    data: &'a [u8],
    layout: Layout,
}

impl<'a> Packet<'a> {
    /// Checks `data`. Bytes behind the packet's own length are cut off.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let layout = Layout::of(data, None)?;
        Ok(Packet { data: &data[..layout.len], layout })
    }

    /// A packet whose layout is known: what has changed since it was checked are no lengths.
    pub(super) fn of_layout(data: &'a [u8], layout: Layout) -> Packet<'a> {
        Packet { data: &data[..layout.len], layout }
    }

    /// Checks what a TUN gave. A superpacket is as long as `data`, whatever its header says.
    pub(crate) fn parse_with(data: &'a [u8], offload: Offload) -> Result<Packet<'a>, Malformed> {
        match offload {
            Offload::None | Offload::Checksum { .. } => Packet::parse(data),
            Offload::Tcp { .. } | Offload::Udp { .. } => {
                Ok(Packet { data, layout: Layout::of(data, Some(data.len()))? })
            }
        }
    }

    /// The packet, without what came behind it.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.data
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn is_v6(&self) -> bool {
        self.layout.v6
    }

    /// The protocol of the transport header: IPv4's field, or what the last extension header names.
    pub(crate) fn protocol(&self) -> u8 {
        self.layout.protocol
    }

    pub(crate) fn fragment(&self) -> Fragment {
        self.layout.fragment
    }

    pub(crate) fn source(&self) -> IpAddr {
        self.address(12, 8)
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.address(16, 24)
    }

    fn address(&self, v4: usize, v6: usize) -> IpAddr {
        if self.layout.v6 {
            let octets: [u8; 16] = self.data[v6..v6 + 16].try_into().expect("parse found 40 bytes");
            IpAddr::V6(Ipv6Addr::from(octets))
        } else {
            let octets: [u8; 4] = self.data[v4..v4 + 4].try_into().expect("parse found 20 bytes");
            IpAddr::V4(Ipv4Addr::from(octets))
        }
    }

    /// The transport header and what follows it; `None` where a fragment has no transport header.
    pub(super) fn transport(&self) -> Option<&'a [u8]> {
        (self.layout.fragment != Fragment::Later).then(|| &self.data[self.layout.transport..])
    }

    /// The TCP segment, where this is a whole one whose header lies within it.
    pub(super) fn tcp(&self) -> Option<Tcp<'a>> {
        if self.layout.protocol != TCP || self.layout.fragment != Fragment::Whole {
            return None;
        }
        let bytes = self.transport()?;
        let header = usize::from(*bytes.get(12)? >> 4) * 4;
        (header >= TCP_HEADER && bytes.len() >= header).then_some(Tcp { bytes, header })
    }

    /// The UDP datagram, where this is a whole one whose header lies within it.
    pub(super) fn udp(&self) -> Option<&'a [u8]> {
        if self.layout.protocol != UDP || self.layout.fragment != Fragment::Whole {
            return None;
        }
        self.transport().filter(|bytes| bytes.len() >= UDP_HEADER)
    }
}

/// A TCP segment whose header lies within it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes of the header with its options.
    pub(super) header: usize,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

impl Tcp<'_> {
    pub(super) fn flags(&self) -> u8 {
        self.bytes[13]
    }

    pub(super) fn payload(&self) -> usize {
        self.bytes.len() - self.header
    }
}

impl Layout {
    /// Looks for the parts of `data`. `len` is its length, unless its header is to say that.
    fn of(data: &[u8], len: Option<usize>) -> Result<Layout, Malformed> {
        let first = *data.first().ok_or(Malformed::Truncated { expected: V4_HEADER, came: 0 })?;
        match first >> 4 {
            4 => Layout::of_v4(data, len),
            6 => Layout::of_v6(data, len),
            version => Err(Malformed::Version(version)),
        }
    }

    fn of_v4(data: &[u8], len: Option<usize>) -> Result<Layout, Malformed> {
        let came = data.len();
        if came < V4_HEADER {
            return Err(Malformed::Truncated { expected: V4_HEADER, came });
        }
        let transport = usize::from(data[0] & 0x0f) * 4;
        let len = len.unwrap_or_else(|| usize::from(be16(data, 2)));
        if transport < V4_HEADER || transport > len {
            return Err(Malformed::HeaderLength { came: transport, total: len });
        }
        if came < len {
            return Err(Malformed::Truncated { expected: len, came });
        }
        // RFC 791 section 3.1: bit 13 is "more fragments", the low 13 bits are the offset.
        let fragment = fragment(be16(data, 6) & 0x1fff != 0, data[6] & 0x20 != 0);
        Ok(Layout { v6: false, len, transport, protocol: data[9], fragment, routed: false })
    }

    fn of_v6(data: &[u8], len: Option<usize>) -> Result<Layout, Malformed> {
        let came = data.len();
        if came < V6_HEADER {
            return Err(Malformed::Truncated { expected: V6_HEADER, came });
        }
        let len = len.unwrap_or_else(|| V6_HEADER + usize::from(be16(data, 4)));
        if came < len {
            return Err(Malformed::Truncated { expected: len, came });
        }
        let (protocol, fragment) = (data[6], Fragment::Whole);
        let mut layout = Layout { v6: true, len, transport: V6_HEADER, protocol, fragment, routed: false };
        for _ in 0..MAX_EXTENSIONS {
            if !layout.step(&data[..len]) {
                break;
            }
        }
        Ok(layout)
    }

    /// Moves over one IPv6 extension header; whether there was one, whole, with more to see behind
    /// it.
    fn step(&mut self, data: &[u8]) -> bool {
        let header = &data[self.transport..];
        let bytes = match self.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS if header.len() >= 2 => 8 + usize::from(header[1]) * 8,
            FRAGMENT if header.len() >= 8 => {
                self.fragment = fragment(be16(header, 2) & 0xfff8 != 0, header[3] & 1 != 0);
                8
            }
            _ => return false,
        };
        if bytes > header.len() {
            return false;
        }
        // RFC 8200 section 4.4: the fourth byte of a routing header counts the stops that are left.
        self.routed |= self.protocol == ROUTING && header[3] != 0;
        self.protocol = header[0];
        self.transport += bytes;
        self.fragment != Fragment::Later
    }
}

fn fragment(has_offset: bool, more: bool) -> Fragment {
    match (has_offset, more) {
        (true, _) => Fragment::Later,
        (false, true) => Fragment::First,
        (false, false) => Fragment::Whole,
    }
}

/// The big-endian number at `at`, which the caller knows to lie within `data`.
pub(super) fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// As [`be16`], of four bytes.
pub(super) fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// Writes a big-endian number at `at`, which the caller knows to lie within `data`.
pub(super) fn put16(data: &mut [u8], at: usize, value: u16) {
    data[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// As [`put16`], of four bytes.
pub(super) fn put32(data: &mut [u8], at: usize, value: u32) {
    data[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
