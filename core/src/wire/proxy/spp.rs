//! Cloudflare's Simple Proxy Protocol: 38 bytes before the payload of a datagram.
//!
//! ```text
//!    0    2                  18                 34            36           38
//!   | 56ec | client, 16 bytes | proxy, 16 bytes | client port | proxy port | payload ...
//! ```
//!
//! Big endian. An IPv4 address is written IPv4-mapped. The proxy is the end the client sent to.
//! Replies carry the same header, unchanged, back to the proxy.
//!
//! Source: developers.cloudflare.com, Spectrum, "Simple Proxy Protocol Header".

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Header, Origin, Version, literal};
use crate::wire::{Parsed, Unparsed};

/// What a header begins with.
pub(crate) const MAGIC: [u8; 2] = [0x56, 0xec];

/// How long a header is, in bytes.
pub(crate) const LENGTH: usize = 38;

/// Reads a header.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<Header> {
    // Simple Proxy Protocol: the magic number identifies the header and its 38 bytes.
    literal(bytes, 0, &MAGIC, "the magic number 0x56ec of the Simple Proxy Protocol")?;
    let header = bytes.first_chunk::<LENGTH>().ok_or(Unparsed::Incomplete)?;
    let (_, rest) = split::<2>(header);
    let (client, rest) = split::<16>(rest);
    let (proxy, rest) = split::<16>(rest);
    let (client_port, rest) = split::<2>(rest);
    let (proxy_port, _) = split::<2>(rest);
    let end = |ip: [u8; 16], port: [u8; 2]| {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), u16::from_be_bytes(port))
    };
    let origin = Origin::proxied(end(client, client_port), end(proxy, proxy_port));
    Ok((Header { version: Version::Simple, origin, tlvs: LENGTH..LENGTH }, LENGTH))
}

/// The first `N` bytes of a field we know to be there, and the rest.
fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (field, rest) = bytes.split_first_chunk::<N>().expect("the fields' lengths add up to LENGTH");
    (*field, rest)
}

#[cfg(test)]
mod tests {
    use super::super::{Rules, Transport, emit, parse};
    use super::*;
    use crate::wire::Malformed;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("a literal")
    }

    #[test]
    fn the_fields_stand_where_the_picture_says() {
        let header = emit::simple(address("192.0.2.1:5000"), address("[2001:db8::2]:53"));
        assert_eq!(header[..2], [0x56, 0xec]);
        assert_eq!(header[2..18], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(header[18..34], [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(header[34..], [0x13, 0x88, 0, 53]);
    }

    #[test]
    fn a_datagram_may_begin_with_it() {
        let rules = Rules::new(Transport::Datagram);
        let (source, destination) = (address("192.0.2.1:5000"), address("198.51.100.2:53"));
        let datagram = [&emit::simple(source, destination)[..], b"query"].concat();
        let (header, used) = parse(&datagram, &rules).expect("it is right");
        assert_eq!((header.version, used), (Version::Simple, 38));
        assert_eq!(header.origin, Origin::Proxied { source, destination });
        for end in 0..38 {
            assert_eq!(parse(&datagram[..end], &rules), Err(Unparsed::Incomplete));
        }
        let Err(Unparsed::Malformed(why)) = parse(&[0x56, 0xed], &rules) else { panic!("it passed") };
        assert_eq!((why.found, why.at), (Some(0xed), 1));
    }

    #[test]
    fn a_stream_may_not_begin_with_it() {
        let header = emit::simple(address("192.0.2.1:5000"), address("198.51.100.2:53"));
        let told = parse(&header, &Rules::new(Transport::Stream));
        assert!(matches!(told, Err(Unparsed::Malformed(Malformed { found: Some(0x56), at: 0, .. }))));
    }
}
