//! PROXY protocol headers, written; and what they say, shown. For tests, simulators and senders.
//!
//! The parser is private, as all codecs are.
//!
//! ```
//! use ropewalk_core::unwrap::emit::{self, Tlv, Tlvs, Transport, kind};
//!
//! let client = "192.0.2.1:5000".parse()?;
//! let server = "198.51.100.2:443".parse()?;
//!
//! assert_eq!(emit::v1(client, server), b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n");
//!
//! let name = [Tlv::new(kind::AUTHORITY, b"example.org")];
//! let bytes = emit::v2(client, server, Transport::Stream, &name, true);
//! assert_eq!(bytes.len(), 16 + 12 + (3 + 11) + (3 + 4));
//! assert_eq!(Tlvs::new(&bytes[28..]).to_string(), r#"authority "example.org""#);
//! # Ok::<(), core::net::AddrParseError>(())
//! ```

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::wire::proxy::emit;
pub use crate::wire::proxy::tlv::{Ssl, Tlv, Tlvs, kind};
pub use crate::wire::proxy::{Origin, PeerReason, Transport, Version};

/// A line of version 1.
///
/// Where only one end is IPv4, it is written IPv4-mapped under `TCP6`.
pub fn v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    emit::v1(source, destination, &mut out);
    out
}

/// The line of version 1 that says `UNKNOWN`, and nothing else.
pub fn v1_unknown() -> Vec<u8> {
    let mut out = Vec::new();
    emit::v1_unknown(&mut out);
    out
}

/// A header of version 2 that says `PROXY`; with `crc` its checksum is the last TLV.
///
/// Where only one end is IPv4, it is written IPv4-mapped under `AF_INET6`. The TLVs are written as
/// they are, also those that a receiver will refuse.
///
/// # Panics
///
/// Panics if addresses and TLVs take more than 65,535 bytes.
pub fn v2(
    source: SocketAddr,
    destination: SocketAddr,
    transport: Transport,
    tlvs: &[Tlv<'_>],
    crc: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    emit::v2(source, destination, transport, tlvs, crc, &mut out);
    out
}

/// A header of version 2 that says `LOCAL`, as balancers send for their health checks.
///
/// # Panics
///
/// Panics if the TLVs take more than 65,535 bytes.
pub fn v2_local(tlvs: &[Tlv<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    emit::v2_local(tlvs, &mut out);
    out
}

/// The value of a TLV of type [`kind::SSL`]; the fields are those of [`Ssl`].
///
/// # Panics
///
/// Panics if a TLV takes more than 65,535 bytes.
pub fn ssl(client: u8, verify: u32, tlvs: &[Tlv<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    emit::ssl(client, verify, tlvs, &mut out);
    out
}

/// A header of Cloudflare's Simple Proxy Protocol; `proxy` is what the client sent to.
pub fn simple(client: SocketAddr, proxy: SocketAddr) -> [u8; 38] {
    emit::simple(client, proxy)
}

/// Panics where a law of the parser does not hold for these bytes. For the fuzzer and for the test
/// of its corpus.
#[cfg(feature = "laws")]
#[doc(hidden)]
pub fn assert_laws(bytes: &[u8]) {
    crate::wire::proxy::laws::hold_for_input(bytes);
}
