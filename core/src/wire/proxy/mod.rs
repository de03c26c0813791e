//! The PROXY protocol: before the client's first byte, a balancer names the client.
//!
//! ```text
//!   client 192.0.2.1:5000 --> balancer --> | header | the client's bytes ... -->  this host
//!
//!   version 1   PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 CR LF                      [v1]
//!   version 2   signature, 12 bytes | 2c | ft | length | addresses | TLVs ...         [v2], [tlv]
//!   Simple      56 ec | client, 16 bytes | proxy, 16 bytes | port | port              [spp], datagrams only
//! ```
//!
//! `describe` shows TLVs in a log, `emit` writes headers, `crc32c` is version 2's checksum. Tests:
//! `laws` (of any bytes), `senders` (what real ones wrote), `defects` (of another parser).
//!
//! The first bytes decide which one it is, and one of them must be there: a header is never assumed
//! to be absent, else any peer could name itself.
//!
//! What the parser keeps:
//! - A verdict never changes with the bytes that follow it.
//! - A wrong byte is reported when it is seen, a wrong value when the header is whole: addresses,
//!   ports and TLVs are not read before. So one call costs at most 107 steps until the header is
//!   whole, and its length once.
//! - The bytes after the header are not looked at.
//! - Nothing is allocated.
//!
//! In a datagram a header is whole or it is none: there the caller takes [`Unparsed::Incomplete`]
//! for malformed.
//!
//! Source: HAProxy's doc/proxy-protocol.txt, cited by section; Cloudflare's "Simple Proxy Protocol
//! Header".

mod crc32c;
#[cfg(test)]
mod defects;
mod describe;
pub(crate) mod emit;
#[cfg(test)]
mod senders;
mod spp;
#[cfg(test)]
mod tests;
pub(crate) mod tlv;
mod v1;
mod v2;

pub(crate) use v2::SIGNATURE;

#[cfg(any(test, feature = "laws"))]
pub(crate) mod laws;

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;

use self::tlv::Tlvs;
use super::{Malformed, Parsed, Unparsed};

/// The cap on the length field of version 2, in bytes, where no other is set.
///
/// The specification wants a header to fit into 536 bytes; certificates' names and vendors' TLVs
/// make it grow.
pub(crate) const MAX_LENGTH: usize = 4096;

/// What a listener carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// How a header may look here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// What the listener carries: a header that speaks of the other is refused.
    pub(crate) transport: Transport,
    /// The cap on the length field of version 2, in bytes.
    pub(crate) max_length: usize,
    /// Whether a line of version 1 passes whose destination is of the other family than its source.
    /// nginx writes them where it took the client from a header itself.
    pub(crate) mixed_families: bool,
}

#[cfg(any(test, feature = "laws"))]
impl Rules {
    /// A cap of [`MAX_LENGTH`], no mixed families.
    pub(crate) fn new(transport: Transport) -> Self {
        Rules { transport, max_length: MAX_LENGTH, mixed_families: false }
    }
}

/// What a header said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// In which way it was written.
    pub(crate) version: Version,
    /// The origin of the bytes that follow.
    pub(crate) origin: Origin,
    /// Where its TLVs are in the frame. Empty, and within the frame, where there are none.
    tlvs: Range<usize>,
}

impl Header {
    /// The TLVs, from the bytes the header was parsed from.
    ///
    /// There are none in version 1, in Simple and in LOCAL, whose block is discarded unread.
    pub(crate) fn tlvs<'a>(&self, frame: &'a [u8]) -> Tlvs<'a> {
        Tlvs::new(frame.get(self.tlvs.clone()).unwrap_or_default())
    }

    /// What it said, for a person; `frame` is what it was parsed from.
    pub(crate) fn describe(&self, frame: &[u8]) -> String {
        let Header { version, origin, .. } = self;
        let mut text = match origin {
            Origin::Peer(reason) => format!("{version}, {reason}"),
            Origin::Proxied { source, destination } => format!("{version}, {source} to {destination}"),
        };
        let tlvs = self.tlvs(frame).to_string();
        if !tlvs.is_empty() {
            text.push_str(", ");
            text.push_str(&tlvs);
        }
        text
    }
}

/// In which way a header was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// PROXY protocol version 1, a line of text.
    V1,
    /// PROXY protocol version 2, binary.
    V2,
    /// Cloudflare's Simple Proxy Protocol, for datagrams.
    Simple,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
            Version::Simple => "simple",
        })
    }
}

/// The origin of the bytes that follow the header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// The peer's own, or those of a client without an internet address: the peer's addresses hold.
    Peer(PeerReason),
    /// Those of a client behind the peer.
    ///
    /// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is returned as the IPv4 address it is, each
    /// end for itself. So a filter of sources cannot be passed by writing `::ffff:127.0.0.1`, and
    /// an IPv4 client is one also where the balancer's own end is IPv6. The two ends may thus be of
    /// different families: a caller that connects from the source must check the family of the
    /// source, and one that also dials the destination must check both.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What the client connected or sent to.
        destination: SocketAddr,
    },
}

impl Origin {
    /// A client behind the peer; IPv4-mapped addresses become IPv4.
    fn proxied(source: SocketAddr, destination: SocketAddr) -> Self {
        Origin::Proxied { source: canonical(source), destination: canonical(destination) }
    }
}

/// Why the peer's own addresses hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PeerReason {
    /// Version 2, LOCAL: the balancer speaks for itself, as for a health check.
    Local,
    /// Version 1, UNKNOWN: the sender could not say.
    Unknown,
    /// Version 2, a family of AF_UNSPEC: the sender could not say.
    UnspecifiedFamily,
    /// Version 2, a family with a transport of UNSPEC: the addresses may not be those of TCP or
    /// UDP.
    UnspecifiedTransport,
    /// Version 2, AF_UNIX: the client came by a Unix socket.
    Unix,
}

impl fmt::Display for PeerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerReason::Local => "LOCAL",
            PeerReason::Unknown => "UNKNOWN",
            PeerReason::UnspecifiedFamily => "AF_UNSPEC",
            PeerReason::UnspecifiedTransport => "an unspecified transport",
            PeerReason::Unix => "AF_UNIX",
        })
    }
}

/// Reads a header; also how many bytes it took.
pub(crate) fn parse(bytes: &[u8], rules: &Rules) -> Parsed<Header> {
    let Some(&first) = bytes.first() else {
        return Err(Unparsed::Incomplete);
    };
    // proxy-protocol.txt section 2.2: the signature decides the version; anything else is dropped.
    // Section 2: a receiver must not guess whether there is a header.
    let expected = match (first, rules.transport) {
        (b'\r', _) => return v2::parse(bytes, rules),
        // proxy-protocol.txt section 2.1: version 1 knows TCP4 and TCP6 and no other transport.
        (b'P', Transport::Stream) => return v1::parse(bytes, rules),
        // Simple Proxy Protocol: it is prepended to UDP datagrams.
        (0x56, Transport::Datagram) => return spp::parse(bytes),
        (_, Transport::Stream) => "a PROXY protocol header of version 1 or 2",
        (_, Transport::Datagram) => "a PROXY protocol header of version 2 or Simple (version 1 is for TCP)",
    };
    Err(Malformed { expected, found: Some(first.into()), at: 0 }.into())
}

/// How many bytes of what is no PROXY header were looked at, at most: what a line of version 1, a
/// header of version 2 or of Simple Proxy Protocol may have.
pub(crate) fn looked_at(bytes: &[u8]) -> usize {
    let most = match bytes {
        [b'\r', ..] if bytes.starts_with(&SIGNATURE) => {
            let len = bytes.get(14..16).map_or(0, |len| usize::from(len[0]) << 8 | usize::from(len[1]));
            16 + len
        }
        [b'\r', ..] => 16,
        [b'P', ..] => 108,
        [0x56, ..] => 38,
        _ => 1,
    };
    most.min(bytes.len())
}

/// Whether the bytes at `at` are `wanted`, as far as there are any.
fn literal(bytes: &[u8], at: usize, wanted: &[u8], expected: &'static str) -> Result<(), Unparsed> {
    let rest = bytes.get(at..).ok_or(Unparsed::Incomplete)?;
    match rest.iter().zip(wanted).position(|(came, want)| came != want) {
        Some(wrong) => {
            Err(Malformed { expected, found: rest.get(wrong).map(|b| (*b).into()), at: at + wrong }.into())
        }
        None if rest.len() < wanted.len() => Err(Unparsed::Incomplete),
        None => Ok(()),
    }
}

/// The same address, in IPv4 where it is IPv4-mapped (RFC 4291 section 2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
