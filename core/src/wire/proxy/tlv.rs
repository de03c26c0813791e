//! What version 2 says besides addresses: a list of type, length and value.
//!
//! ```text
//!   | type | length, 2 bytes | value ... | type | ...
//!
//!   of type SSL the value is   | client | verify, 4 bytes | type | length | value ... | ...
//! ```
//!
//! [`check`] judges a whole list once, before anyone connects for it. [`Tlvs`] then goes through
//! it.

use super::crc32c::crc32c;
use crate::wire::Malformed;

/// Types of TLVs, and of those within [`SSL`](kind::SSL).
pub mod kind {
    /// The upper protocol, as ALPN (RFC 7301) names it.
    pub const ALPN: u8 = 0x01;
    /// The host the client asked for, UTF-8: the server name of TLS.
    pub const AUTHORITY: u8 = 0x02;
    /// The checksum of the header, 4 bytes.
    pub const CRC32C: u8 = 0x03;
    /// Padding, to be ignored.
    pub const NOOP: u8 = 0x04;
    /// What the sender calls the connection, at most 128 bytes.
    pub const UNIQUE_ID: u8 = 0x05;
    /// How the client spoke TLS with the sender.
    pub const SSL: u8 = 0x20;
    /// In SSL: the version of TLS.
    pub const SSL_VERSION: u8 = 0x21;
    /// In SSL: the common name of the client's certificate.
    pub const SSL_CN: u8 = 0x22;
    /// In SSL: the cipher.
    pub const SSL_CIPHER: u8 = 0x23;
    /// In SSL: the algorithm that signed the sender's certificate.
    pub const SSL_SIG_ALG: u8 = 0x24;
    /// In SSL: the algorithm of the key of the sender's certificate.
    pub const SSL_KEY_ALG: u8 = 0x25;
    /// The name of the network namespace.
    pub const NETNS: u8 = 0x30;
    /// Google: the id of the Private Service Connect connection, 8 bytes, big endian.
    pub const GCP: u8 = 0xe0;
    /// Amazon: subtype 1 is the id of the VPC endpoint, text.
    pub const AWS: u8 = 0xea;
    /// Microsoft: subtype 1 is the link id of the private endpoint, 4 bytes, little endian.
    pub const AZURE: u8 = 0xee;
}

/// The longest unique id, in bytes (proxy-protocol.txt section 2.2.5).
const MAX_UNIQUE_ID: usize = 128;

/// A type and a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tlv<'a> {
    /// What the value is; see [`kind`].
    pub kind: u8,
    /// At most 65,535 bytes.
    pub value: &'a [u8],
}

impl<'a> Tlv<'a> {
    /// A type and a value.
    pub fn new(kind: u8, value: &'a [u8]) -> Self {
        Tlv { kind, value }
    }
}

/// A list of TLVs, to go through and to show.
///
/// It ends where no whole TLV follows. In a header that was accepted that is its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// The list in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Tlvs { rest: bytes }
    }

    /// The bytes that are still to be gone through.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (tlv, next) = one(self.rest, 0).ok()?;
        self.rest = self.rest.get(next..)?;
        Some(tlv)
    }
}

/// How the client spoke TLS: the value of [`kind::SSL`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ssl<'a> {
    /// Bits: 1, over TLS; 2, with a certificate on this connection; 4, with one at least once in
    /// this session.
    pub client: u8,
    /// 0 where there was a certificate and it was verified.
    pub verify: u32,
    /// What else the header says of it.
    pub tlvs: Tlvs<'a>,
}

impl<'a> Ssl<'a> {
    /// How many bytes come before its TLVs.
    const FIXED: usize = 5;

    /// Reads the value of an SSL TLV; `None` where it is too short.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (&[client, a, b, c, d], rest) = value.split_first_chunk::<{ Ssl::FIXED }>()?;
        Some(Ssl { client, verify: u32::from_be_bytes([a, b, c, d]), tlvs: Tlvs::new(rest) })
    }
}

/// The TLV at `at`, and where the next one begins.
fn one(bytes: &[u8], at: usize) -> Result<(Tlv<'_>, usize), Malformed> {
    let rest = bytes.get(at..).unwrap_or_default();
    // proxy-protocol.txt section 2.2: type, high and low byte of the length, then the value.
    let Some((&[kind, high, low], rest)) = rest.split_first_chunk::<3>() else {
        let found = u32::try_from(rest.len()).ok();
        return Err(Malformed { expected: "no bytes after the last TLV", found, at });
    };
    let length = u16::from_be_bytes([high, low]);
    let Some(value) = rest.get(..usize::from(length)) else {
        let expected = "a TLV that ends where the header does, or before";
        return Err(Malformed { expected, found: Some(length.into()), at: at + 1 });
    };
    Ok((Tlv { kind, value }, at + 3 + value.len()))
}

/// Whether the bytes from `start` on are TLVs to the end.
pub(crate) fn divides(frame: &[u8], start: usize) -> bool {
    let mut at = start;
    while at < frame.len() {
        match one(frame, at) {
            Ok((_, next)) => at = next,
            Err(_) => return false,
        }
    }
    true
}

/// Whether the TLVs of a whole header, from `start` on, are right.
pub(crate) fn check(frame: &[u8], start: usize) -> Result<(), Malformed> {
    let mut at = start;
    let mut sums = 0;
    while at < frame.len() {
        let (tlv, next) = one(frame, at)?;
        let value = at + 3;
        let length = tlv.value.len();
        let wrong = |expected| Err(Malformed { expected, found: u32::try_from(length).ok(), at: at + 1 });
        match tlv.kind {
            // proxy-protocol.txt section 2.2.3: a 32-bit number. It is one field, so there is one
            // of it.
            kind::CRC32C if length != 4 => return wrong("a CRC32C of 4 bytes"),
            kind::CRC32C if sums > 0 => {
                return Err(Malformed { expected: "one CRC32C", found: Some(kind::CRC32C.into()), at });
            }
            kind::CRC32C => {
                sums += 1;
                checksum(frame, value)?;
            }
            // proxy-protocol.txt section 2.2.5: up to 128 bytes.
            kind::UNIQUE_ID if length > MAX_UNIQUE_ID => return wrong("a unique id of at most 128 bytes"),
            // proxy-protocol.txt section 2.2.6: a byte, a 32-bit number, and TLVs that fill the
            // rest.
            kind::SSL if length < Ssl::FIXED => return wrong("an SSL TLV of at least 5 bytes"),
            kind::SSL => nested(frame.get(..next).unwrap_or_default(), value + Ssl::FIXED)?,
            // proxy-protocol.txt section 2.2.4: NOOP is ignored. Section 2.2: and so is what is not
            // understood.
            _ => {}
        }
        at = next;
    }
    Ok(())
}

/// Whether the bytes from `start` on are TLVs to the end; else where they are not.
fn nested(frame: &[u8], start: usize) -> Result<(), Malformed> {
    let mut at = start;
    while at < frame.len() {
        (_, at) = one(frame, at)?;
    }
    Ok(())
}

/// Whether the checksum at `at` is that of the frame.
fn checksum(frame: &[u8], at: usize) -> Result<(), Malformed> {
    let told = frame.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes);
    // proxy-protocol.txt section 2.2.3: over the whole header, with the 32 bits of the field
    // replaced by zeroes.
    let (head, tail) = (frame.get(..at).unwrap_or_default(), frame.get(at + 4..).unwrap_or_default());
    if told == Some(crc32c(&[head, &[0; 4], tail])) {
        return Ok(());
    }
    Err(Malformed { expected: "the CRC32C of the header", found: told, at })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::SocketAddr;

    use super::super::{Rules, Transport, emit, parse};
    use super::*;
    use crate::wire::Unparsed;

    fn header(tlvs: &[Tlv<'_>], crc: bool) -> Vec<u8> {
        let (source, destination): (SocketAddr, SocketAddr) =
            ("192.0.2.1:5000".parse().expect("a literal"), "198.51.100.2:443".parse().expect("a literal"));
        let mut out = Vec::new();
        emit::v2(source, destination, Transport::Stream, tlvs, crc, &mut out);
        out
    }

    fn refused(bytes: &[u8]) -> (Option<u32>, usize) {
        match parse(bytes, &Rules::new(Transport::Stream)) {
            Err(Unparsed::Malformed(why)) => (why.found, why.at),
            other => panic!("{bytes:02x?}: {other:?}"),
        }
    }

    fn accepted(bytes: &[u8]) -> Tlvs<'_> {
        parse(bytes, &Rules::new(Transport::Stream)).expect("it is right").0.tlvs(bytes)
    }

    /// The header without its last bytes, with the right length.
    fn shortened(mut bytes: Vec<u8>, by: usize) -> Vec<u8> {
        bytes.truncate(bytes.len() - by);
        bytes[15] -= u8::try_from(by).expect("short");
        bytes
    }

    const TLVS: usize = 16 + 12;

    #[test]
    fn a_tlv_that_overruns_the_header_is_refused() {
        let bytes = header(&[Tlv::new(0xe4, b"1"), Tlv::new(0xe5, b"12345")], false);
        assert_eq!(refused(&shortened(bytes, 1)), (Some(5), TLVS + 4 + 1));
    }

    #[test]
    fn a_rest_that_is_no_tlv_is_refused() {
        let bytes = header(&[Tlv::new(kind::ALPN, b"h2"), Tlv::new(0xe5, b"")], false);
        assert_eq!(refused(&shortened(bytes.clone(), 1)), (Some(2), TLVS + 5));
        assert_eq!(refused(&shortened(bytes, 2)), (Some(1), TLVS + 5));
    }

    #[test]
    fn a_unique_id_has_at_most_128_bytes() {
        assert_eq!(accepted(&header(&[Tlv::new(kind::UNIQUE_ID, &[7; 128])], false)).count(), 1);
        assert_eq!(refused(&header(&[Tlv::new(kind::UNIQUE_ID, &[7; 129])], false)), (Some(129), TLVS + 1));
    }

    #[test]
    fn padding_and_unknown_types_are_ignored() {
        let tlvs =
            [Tlv::new(kind::NOOP, &[0; 9]), Tlv::new(0x7f, b"?"), Tlv::new(0, b""), Tlv::new(0xff, b"")];
        let bytes = header(&tlvs, true);
        assert_eq!(accepted(&bytes).take(4).collect::<Vec<_>>(), tlvs);
    }

    #[test]
    fn the_checksum_is_over_the_whole_header() {
        let bytes = header(&[Tlv::new(kind::AUTHORITY, b"example.org")], true);
        accepted(&bytes);
        // A bit of an address, of a port, of the name, of the sum.
        for at in [16, 27, TLVS + 5, bytes.len() - 1] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            let (_, told) = refused(&wrong);
            assert_eq!(told, bytes.len() - 4, "bit of byte {at}");
        }
    }

    #[test]
    fn a_checksum_that_another_sender_made_is_right() {
        // The sum of these 35 bytes with the last four zero, by a second implementation, bit by
        // bit.
        let mut bytes = header(&[Tlv::new(kind::CRC32C, &[0; 4])], false);
        assert_eq!(bytes.len(), 35);
        bytes[31..].copy_from_slice(&0xede8_dc83u32.to_be_bytes());
        accepted(&bytes);
    }

    #[test]
    fn the_checksum_need_not_come_last() {
        let mut bytes = header(&[Tlv::new(kind::CRC32C, &[0; 4]), Tlv::new(kind::ALPN, b"h2")], false);
        let sum = crc32c(&[&bytes]);
        bytes[TLVS + 3..TLVS + 7].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(accepted(&bytes).last(), Some(Tlv::new(kind::ALPN, b"h2")));
    }

    #[test]
    fn a_checksum_has_four_bytes_and_there_is_one() {
        for length in [0, 3, 5] {
            let bytes = header(&[Tlv::new(kind::CRC32C, &[0; 5][..length])], false);
            assert_eq!(refused(&bytes), (u32::try_from(length).ok(), TLVS + 1));
        }
        let mut bytes = header(&[Tlv::new(kind::CRC32C, &[0; 4]), Tlv::new(kind::CRC32C, &[0; 4])], false);
        let sum = crc32c(&[&bytes]);
        bytes[TLVS + 3..TLVS + 7].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(refused(&bytes), (Some(3), TLVS + 7));
    }

    #[test]
    fn what_is_in_ssl_is_checked_as_well() {
        for value in [&b""[..], b"\x01\0\0\0"] {
            assert_eq!(
                refused(&header(&[Tlv::new(kind::SSL, value)], false)),
                (u32::try_from(value.len()).ok(), TLVS + 1)
            );
        }
        accepted(&header(&[Tlv::new(kind::SSL, b"\x01\0\0\0\0")], false));
        // The value goes on behind the SSL TLV, in the next one: it is no less an overrun.
        let tlvs = [Tlv::new(kind::SSL, b"\x01\0\0\0\0\x21\0\x05TLS"), Tlv::new(kind::ALPN, b"h2")];
        assert_eq!(refused(&header(&tlvs, false)), (Some(5), TLVS + 3 + 5 + 1));
        let tlvs = [Tlv::new(kind::SSL, b"\x01\0\0\0\0\x21\0")];
        assert_eq!(refused(&header(&tlvs, false)), (Some(2), TLVS + 3 + 5));
    }
}
