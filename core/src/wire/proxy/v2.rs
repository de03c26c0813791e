//! Version 2: 16 bytes, then as many as they say.
//!
//! ```text
//!    0             12   13   14       16            16 + block   16 + length
//!   | signature ... | 2c | ft | length | addresses ... | TLVs ... |
//!                     |    |
//!                     |    +-- family: 0 AF_UNSPEC, 1 AF_INET, 2 AF_INET6, 3 AF_UNIX; transport: 0 UNSPEC,
//!                     |        1 STREAM, 2 DGRAM
//!                     +------- version 2; command: 0 LOCAL, 1 PROXY
//! ```
//!
//! The 16 bytes are judged one by one as they come, the length when both of its bytes are there.
//! The rest is not looked at before it is whole: `ppp` reads the addresses, the TLVs are checked
//! here.

use core::net::SocketAddr;

use ppp::v2::Addresses;

use super::{Header, Origin, PeerReason, Rules, Transport, Version, literal, tlv};
use crate::wire::{Malformed, Parsed, Unparsed};

/// What a header begins with.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Where the addresses begin.
pub(crate) const FIXED: usize = 16;

/// Which addresses a header holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

impl Family {
    /// How many bytes its addresses take. AF_UNSPEC has none that could be known.
    fn block(self) -> usize {
        match self {
            Family::Unspecified => 0,
            // Twice an address and a port.
            Family::Inet => 2 * (4 + 2),
            Family::Inet6 => 2 * (16 + 2),
            // Twice a path.
            Family::Unix => 2 * 108,
        }
    }
}

/// What the 13th and 14th byte say.
#[derive(Clone, Copy)]
enum Command {
    Local,
    /// With a family, and whether the transport is one.
    Proxy(Family, bool),
}

/// Reads a header.
pub(crate) fn parse(bytes: &[u8], rules: &Rules) -> Parsed<Header> {
    // proxy-protocol.txt section 2.2: 12 constant bytes.
    literal(bytes, 0, &SIGNATURE, "the signature of version 2")?;
    let command = command(bytes, rules)?;
    let length = length(bytes, command, rules)?;
    // proxy-protocol.txt section 2.2: a header is always exactly 16 bytes and its length.
    let used = FIXED + length;
    // proxy-protocol.txt section 2.2: no address is parsed before the whole block is there.
    let frame = bytes.get(..used).ok_or(Unparsed::Incomplete)?;
    let (origin, tlvs) = match command {
        // proxy-protocol.txt section 2.2: LOCAL uses the real endpoints and discards the block
        // whatever is in it.
        Command::Local => (Origin::Peer(PeerReason::Local), used),
        Command::Proxy(family, transport) => {
            let origin = match (family, transport) {
                // proxy-protocol.txt section 2.2: the real endpoints may be used, address
                // information is ignored.
                (Family::Unspecified, _) => Origin::Peer(PeerReason::UnspecifiedFamily),
                // proxy-protocol.txt section 2.2: a valid combination that is not supported is as
                // UNSPEC.
                (Family::Unix, _) => Origin::Peer(PeerReason::Unix),
                // proxy-protocol.txt section 2.2: as for an unspecified family. It may not be taken
                // for TCP or UDP: the specification says of no other transport what follows the
                // addresses.
                (Family::Inet | Family::Inet6, false) => Origin::Peer(PeerReason::UnspecifiedTransport),
                (Family::Inet | Family::Inet6, true) => addresses(frame)?,
            };
            (origin, tlvs(frame, family)?)
        }
    };
    Ok((Header { version: Version::V2, origin, tlvs: tlvs..used }, used))
}

/// Reads the 13th and 14th byte.
fn command(bytes: &[u8], rules: &Rules) -> Result<Command, Unparsed> {
    let wrong = |expected, nibble: u8, at| Err(Malformed { expected, found: Some(nibble.into()), at }.into());
    let byte = *bytes.get(12).ok_or(Unparsed::Incomplete)?;
    // proxy-protocol.txt section 2.2: the version must be 2.
    if byte >> 4 != 2 {
        return wrong("version 2", byte >> 4, 12);
    }
    let local = match byte & 0x0f {
        0 => true,
        1 => false,
        // proxy-protocol.txt section 2.2: a connection with any other command must be dropped.
        command => return wrong("the command LOCAL (0) or PROXY (1)", command, 12),
    };
    let byte = *bytes.get(13).ok_or(Unparsed::Incomplete)?;
    if local {
        // proxy-protocol.txt section 2.2: the family of LOCAL is ignored, and so it may also be
        // undefined.
        return Ok(Command::Local);
    }
    let family = match byte >> 4 {
        0 => Family::Unspecified,
        1 => Family::Inet,
        2 => Family::Inet6,
        3 => Family::Unix,
        // proxy-protocol.txt section 2.2: other families must be rejected.
        family => {
            return wrong("the family AF_UNSPEC (0), AF_INET (1), AF_INET6 (2) or AF_UNIX (3)", family, 13);
        }
    };
    // proxy-protocol.txt section 2.2: other transports must be rejected. One that is not the
    // listener's speaks of a socket that the bytes after it cannot have come from.
    match (byte & 0x0f, rules.transport) {
        (0, _) => Ok(Command::Proxy(family, false)),
        (1, Transport::Stream) | (2, Transport::Datagram) => Ok(Command::Proxy(family, true)),
        (transport, Transport::Stream) => wrong("the transport UNSPEC (0) or STREAM (1)", transport, 13),
        (transport, Transport::Datagram) => wrong("the transport UNSPEC (0) or DGRAM (2)", transport, 13),
    }
}

/// Reads the length.
fn length(bytes: &[u8], command: Command, rules: &Rules) -> Result<usize, Unparsed> {
    let &[.., high, low] = bytes.first_chunk::<FIXED>().ok_or(Unparsed::Incomplete)?;
    let length = u16::from_be_bytes([high, low]);
    let wrong = |expected| Err(Malformed { expected, found: Some(length.into()), at: 14 }.into());
    // Our own limit: a sender of headers must not make us keep 64 KiB for one.
    if usize::from(length) > rules.max_length {
        return wrong("a length within the cap for headers");
    }
    let family = match command {
        // proxy-protocol.txt section 2.2: with LOCAL the length is any, and that many bytes are
        // skipped.
        Command::Local => return Ok(length.into()),
        Command::Proxy(family, _) => family,
    };
    // proxy-protocol.txt section 2.2: the addresses are 12, 36 or 216 bytes, by family.
    if usize::from(length) < family.block() {
        return wrong(match family {
            Family::Unspecified => "a length of 0 or more",
            Family::Inet => "a length of 12 or more for AF_INET",
            Family::Inet6 => "a length of 36 or more for AF_INET6",
            Family::Unix => "a length of 216 or more for AF_UNIX",
        });
    }
    Ok(length.into())
}

/// The addresses of a whole header of AF_INET or AF_INET6.
fn addresses(frame: &[u8]) -> Result<Origin, Malformed> {
    match ppp::v2::Header::try_from(frame).map(|header| header.addresses) {
        Ok(Addresses::IPv4(v4)) => Ok(Origin::proxied(
            SocketAddr::from((v4.source_address, v4.source_port)),
            SocketAddr::from((v4.destination_address, v4.destination_port)),
        )),
        Ok(Addresses::IPv6(v6)) => Ok(Origin::proxied(
            SocketAddr::from((v6.source_address, v6.source_port)),
            SocketAddr::from((v6.destination_address, v6.destination_port)),
        )),
        // The 16 bytes leave room for no other.
        Ok(Addresses::Unspecified | Addresses::Unix(_)) | Err(_) => {
            Err(Malformed { expected: "addresses of AF_INET or AF_INET6", found: None, at: FIXED })
        }
    }
}

/// Where the TLVs of a whole header begin; they are right from there to its end.
fn tlvs(frame: &[u8], family: Family) -> Result<usize, Malformed> {
    let start = FIXED + family.block();
    // How long the addresses of AF_UNSPEC are is nowhere said. HAProxy writes none, so what divides
    // evenly into TLVs is taken for them. proxy-protocol.txt section 2.2: else it is address
    // information, and ignored.
    if family == Family::Unspecified && !tlv::divides(frame, start) {
        return Ok(frame.len());
    }
    tlv::check(frame, start).map(|()| start)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::{emit, parse};
    use super::*;

    const STREAM: Rules = Rules { transport: Transport::Stream, max_length: 4096, mixed_families: false };
    const DATAGRAM: Rules = Rules { transport: Transport::Datagram, ..STREAM };

    /// A header with these two bytes, as much after them as is said, and a length that says so.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short");
        [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), rest].concat()
    }

    /// What came and where; the last byte is the first that can tell.
    fn told_at_its_last_byte(bytes: &[u8], rules: &Rules) -> (Option<u32>, usize) {
        let Err(Unparsed::Malformed(why)) = parse(bytes, rules) else { panic!("{bytes:02x?} passed") };
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end], rules), Err(Unparsed::Incomplete), "{end} of {bytes:02x?}");
        }
        (why.found, why.at)
    }

    fn origin(bytes: &[u8], rules: &Rules) -> Origin {
        let (header, used) = parse(bytes, rules).expect("it is right");
        assert_eq!((header.version, used), (Version::V2, bytes.len()));
        header.origin
    }

    #[test]
    fn a_header_names_both_ends() {
        let v4 = header(0x21, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb]);
        let source: SocketAddr = "192.0.2.1:5000".parse().expect("a literal");
        let destination = "198.51.100.2:443".parse().expect("a literal");
        assert_eq!(origin(&v4, &STREAM), Origin::Proxied { source, destination });

        let mut block = [0; 36];
        block[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        (block[15], block[31], block[33], block[35]) = (1, 1, 7, 9);
        let source = "[2001:db8::1]:7".parse().expect("a literal");
        let destination = "[::1]:9".parse().expect("a literal");
        assert_eq!(origin(&header(0x21, 0x22, &block), &DATAGRAM), Origin::Proxied { source, destination });
    }

    #[test]
    fn ipv4_mapped_ends_become_ipv4() {
        let (source, destination): (SocketAddr, SocketAddr) =
            ("127.0.0.1:1".parse().expect("a literal"), "[2001:db8::2]:2".parse().expect("a literal"));
        let mut bytes = Vec::new();
        emit::v2(source, destination, Transport::Stream, &[], false, &mut bytes);
        assert_eq!(bytes.len(), 16 + 36);
        assert_eq!(origin(&bytes, &STREAM), Origin::Proxied { source, destination });
    }

    #[test]
    fn the_fixed_bytes_are_told_when_they_come() {
        let at = |end: usize, bytes: Vec<u8>| bytes[..end].to_vec();
        for (bytes, found, told) in [
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), u32::from(b'X'), 10),
            (b"\rG".to_vec(), u32::from(b'G'), 1),
            (at(13, header(0x11, 0x11, &[])), 1, 12),
            (at(13, header(0x31, 0x11, &[])), 3, 12),
            (at(13, header(0x01, 0x11, &[])), 0, 12),
            (at(13, header(0x22, 0x11, &[])), 2, 12),
            (at(13, header(0x2f, 0x11, &[])), 15, 12),
            (at(14, header(0x21, 0x41, &[])), 4, 13),
            (at(14, header(0x21, 0xf1, &[])), 15, 13),
            (at(14, header(0x21, 0x13, &[])), 3, 13),
            (at(14, header(0x21, 0x0f, &[])), 15, 13),
            (header(0x21, 0x11, &[]), 0, 14),
            (at(16, header(0x21, 0x11, &[0; 11])), 11, 14),
            (at(16, header(0x21, 0x21, &[0; 35])), 35, 14),
            (at(16, header(0x21, 0x31, &[0; 215])), 215, 14),
            (at(16, header(0x21, 0x10, &[0; 11])), 11, 14),
        ] {
            assert_eq!(told_at_its_last_byte(&bytes, &STREAM), (Some(found), told), "{bytes:02x?}");
        }
    }

    #[test]
    fn the_transport_is_the_listeners() {
        for family in [0x00, 0x10, 0x20, 0x30] {
            assert_eq!(told_at_its_last_byte(&header(0x21, family | 2, &[])[..14], &STREAM), (Some(2), 13));
            assert_eq!(told_at_its_last_byte(&header(0x21, family | 1, &[])[..14], &DATAGRAM), (Some(1), 13));
            for (transport, rules) in [(1, STREAM), (2, DATAGRAM), (0, STREAM), (0, DATAGRAM)] {
                origin(&header(0x21, family | transport, &[0; 216]), &rules);
            }
        }
    }

    #[test]
    fn an_unspecified_transport_means_the_peer_itself() {
        for (family, block) in [(0x10, 12), (0x20, 36)] {
            let bytes = header(0x21, family, &[1; 36][..block]);
            assert_eq!(origin(&bytes, &STREAM), Origin::Peer(PeerReason::UnspecifiedTransport));
        }
    }

    #[test]
    fn local_means_the_peer_itself_whatever_else_it_says() {
        for family in 0..=255 {
            for rest in [&[][..], &[7], &[0xff; 12], &[0; 300]] {
                let bytes = header(0x20, family, rest);
                let (header, used) = parse(&[&bytes[..], b"more"].concat(), &DATAGRAM).expect("it is LOCAL");
                assert_eq!((header.origin, used), (Origin::Peer(PeerReason::Local), bytes.len()));
                assert_eq!(header.tlvs(&bytes).next(), None, "the block of LOCAL is discarded");
            }
        }
    }

    #[test]
    fn unspec_and_unix_mean_the_peer_itself() {
        for rest in [&[][..], &[4, 0, 1, 0], &[127, 0, 0, 1, 127, 0, 0, 2, 0, 80, 1, 187], &[1, 2]] {
            let bytes = header(0x21, 0x00, rest);
            assert_eq!(origin(&bytes, &STREAM), Origin::Peer(PeerReason::UnspecifiedFamily));
        }
        assert_eq!(origin(&header(0x21, 0x31, &[b'/'; 216]), &STREAM), Origin::Peer(PeerReason::Unix));
    }

    #[test]
    fn a_length_above_the_cap_is_refused_whatever_the_command() {
        for command in [0x20, 0x21] {
            let fits = header(command, 0, &[0; 4095]);
            assert!(parse(&fits, &STREAM).is_ok());
            let most = header(command, 0, &[0; 4096]);
            assert!(parse(&most, &STREAM).is_ok());
            let over = header(command, 0, &[0; 4097]);
            assert_eq!(told_at_its_last_byte(&over[..16], &STREAM), (Some(4097), 14));
            let all = Rules { max_length: usize::MAX, ..STREAM };
            assert!(parse(&header(command, 0, &[0; 65535]), &all).is_ok());
        }
    }

    #[test]
    fn bytes_after_the_header_are_not_its_own() {
        let bytes = header(0x21, 0x11, &[1; 12]);
        let followed = [&bytes[..], &bytes].concat();
        assert_eq!(parse(&followed, &STREAM), parse(&bytes, &STREAM));
    }
}
