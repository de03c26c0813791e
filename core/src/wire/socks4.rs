//! SOCKS4 and its extension 4a, by which the proxy looks the name up.
//!
//! ```text
//!   client                                                          proxy
//!     | 04 | cmd | port | ipv4 | user ... 00 |               -->      |    SOCKS4
//!     | 04 | cmd | port | 0.0.0.x | user ... 00 | name ... 00 |  -->  |    SOCKS4a, x is not 0
//!     |      <--                        00 | 5a or 5b | port | ipv4   |
//! ```
//!
//! Neither the user nor the name carries its length, so both are bounded here: 255 bytes before the
//! zero byte. A wrong byte is reported as soon as it is seen.
//!
//! Sources: "SOCKS: A protocol for TCP proxy across firewalls" and "SOCKS 4A: A Simple Extension to
//! SOCKS 4 Protocol", both by Ying-Da Lee.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

use super::{Malformed, Parsed, Unparsed};

/// The first byte of a request.
pub(crate) const VERSION: u8 = 4;

/// The longest user, in bytes. The protocol sets no bound; this one is that of RFC 1929.
pub(crate) const MAX_USER: usize = 255;

/// The longest name, in bytes (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// 1: a connection to the address.
    Connect,
    /// 2: a connection from the address.
    Bind,
    /// Any other byte: refused.
    Other(u8),
}

/// Where a client wants to go; a name is not checked here but by [`crate::name::Host::parse`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Address<'a> {
    /// SOCKS4.
    Ip(Ipv4Addr),
    /// SOCKS4a: 0 to 255 bytes, none of them zero.
    Name(&'a [u8]),
}

/// A client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request<'a> {
    /// What to do.
    pub(crate) command: Command,
    /// The address to connect to.
    pub(crate) address: Address<'a>,
    /// At which port.
    pub(crate) port: u16,
    /// What the client says its user is called: 0 to 255 bytes, none of them zero, proof of
    /// nothing.
    pub(crate) user: &'a [u8],
}

/// Where the user begins in a request.
pub(crate) const USER_AT: usize = 8;

/// Reads a request.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<Request<'_>> {
    // SOCKS4: VN is 4.
    match bytes.first() {
        None => return Err(Unparsed::Incomplete),
        Some(&VERSION) => {}
        Some(&found) => {
            return Err(Malformed { expected: "SOCKS version 4", found: Some(found.into()), at: 0 }.into());
        }
    }
    let Some(&[_, command, high, low, a, b, c, d]) = bytes.first_chunk::<8>() else {
        return Err(Unparsed::Incomplete);
    };
    let command = match command {
        1 => Command::Connect,
        2 => Command::Bind,
        other => Command::Other(other),
    };
    let port = u16::from_be_bytes([high, low]);
    let (user, next) = terminated(bytes, USER_AT, MAX_USER, "a user of at most 255 bytes and a zero byte")?;
    // SOCKS4a: a client that cannot resolve the name sends 0.0.0.x with x not 0, and the name after
    // the user.
    let (address, used) = if a == 0 && b == 0 && c == 0 && d != 0 {
        let (name, used) = terminated(bytes, next, MAX_NAME, "a name of at most 255 bytes and a zero byte")?;
        (Address::Name(name), used)
    } else {
        (Address::Ip(Ipv4Addr::new(a, b, c, d)), next)
    };
    Ok((Request { command, address, port, user }, used))
}

/// Appends the answer to a request.
pub(crate) fn emit_reply(granted: bool, bound: SocketAddr, out: &mut Vec<u8>) {
    // SOCKS4: VN of the reply is 0; CD is 90 for granted, 91 for rejected or failed.
    out.extend_from_slice(&[0, if granted { 90 } else { 91 }]);
    out.extend_from_slice(&bound.port().to_be_bytes());
    // There is no room for IPv6. 0.0.0.0 is what SOCKS4 has for "no address of interest".
    let ip = match bound {
        SocketAddr::V4(v4) => *v4.ip(),
        SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    out.extend_from_slice(&ip.octets());
}

/// The bytes from `at` up to a zero byte; also the offset after it.
fn terminated<'a>(bytes: &'a [u8], at: usize, max: usize, expected: &'static str) -> Parsed<&'a [u8]> {
    let rest = bytes.get(at..).ok_or(Unparsed::Incomplete)?;
    match rest.iter().take(max + 1).position(|b| *b == 0) {
        Some(len) => Ok((&rest[..len], at + len + 1)),
        None => match rest.get(max) {
            Some(&found) => Err(Malformed { expected, found: Some(found.into()), at: at + max }.into()),
            None => Err(Unparsed::Incomplete),
        },
    }
}

/// The client's side of the codec: no part of the proxy, but what its tests speak.
#[cfg(test)]
pub(crate) mod client {
    use super::*;

    /// Appends a request; neither user nor name may hold a zero byte.
    pub(crate) fn emit_request(request: &Request<'_>, out: &mut Vec<u8>) {
        let command = match request.command {
            Command::Connect => 1,
            Command::Bind => 2,
            Command::Other(other) => other,
        };
        out.extend_from_slice(&[VERSION, command]);
        out.extend_from_slice(&request.port.to_be_bytes());
        let (ip, name) = match request.address {
            Address::Ip(ip) => (ip, None),
            Address::Name(name) => (Ipv4Addr::new(0, 0, 0, 1), Some(name)),
        };
        out.extend_from_slice(&ip.octets());
        for text in core::iter::once(request.user).chain(name) {
            out.extend_from_slice(text);
            out.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::client::emit_request;
    use super::*;

    #[test]
    fn a_request_by_address_parses() {
        let address = Address::Ip(Ipv4Addr::new(66, 102, 7, 99));
        let request = Request { command: Command::Connect, address, port: 80, user: b"Fred" };
        assert_eq!(parse_request(b"\x04\x01\0\x50\x42\x66\x07\x63Fred\0GET"), {
            let address = Address::Ip(Ipv4Addr::new(0x42, 0x66, 7, 0x63));
            Ok((Request { address, ..request }, 13))
        });
    }

    #[test]
    fn a_request_by_name_parses() {
        let address = Address::Name(b"example.org");
        let request = Request { command: Command::Bind, address, port: 0x0102, user: b"" };
        assert_eq!(parse_request(b"\x04\x02\x01\x02\0\0\0\xff\0example.org\0"), Ok((request, 21)));
    }

    #[test]
    fn only_0_0_0_x_with_x_not_zero_announces_a_name() {
        for ip in [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 0, 1]] {
            let mut bytes = vec![4, 1, 0, 80];
            bytes.extend_from_slice(&ip);
            bytes.extend_from_slice(b"\0name\0");
            let (request, used) = parse_request(&bytes).expect("well formed");
            assert_eq!((request.address, used), (Address::Ip(ip.into()), 9));
        }
    }

    #[test]
    fn a_wrong_version_is_told_at_its_byte() {
        let wrong = Malformed { expected: "SOCKS version 4", found: Some(5), at: 0 };
        assert_eq!(parse_request(&[5]), Err(Unparsed::Malformed(wrong)));
    }

    #[test]
    fn an_unknown_command_parses() {
        let (request, _) = parse_request(&[4, 7, 0, 1, 1, 1, 1, 1, 0]).expect("well formed");
        assert_eq!(request.command, Command::Other(7));
    }

    #[test]
    fn user_and_name_end_within_255_bytes() {
        let head = [4, 1, 0, 80, 0, 0, 0, 1];
        let longest = [b'a'; 255];
        let fits = [&head[..], &longest, &[0], &longest, &[0]].concat();
        let (request, used) = parse_request(&fits).expect("well formed");
        assert_eq!(
            (request.user, request.address, used),
            (&longest[..], Address::Name(&longest), 8 + 2 * 256)
        );

        let user = [&head[..], &longest, b"b"].concat();
        let Err(Unparsed::Malformed(told)) = parse_request(&user) else {
            panic!("a user of 256 bytes passed")
        };
        assert_eq!((told.found, told.at), (Some(u32::from(b'b')), 8 + 255));
        assert_eq!(parse_request(&user[..user.len() - 1]), Err(Unparsed::Incomplete));

        let name = [&head[..], &[0], &longest, b"b"].concat();
        let Err(Unparsed::Malformed(told)) = parse_request(&name) else {
            panic!("a name of 256 bytes passed")
        };
        assert_eq!((told.found, told.at), (Some(u32::from(b'b')), 9 + 255));
        assert_eq!(parse_request(&name[..name.len() - 1]), Err(Unparsed::Incomplete));
    }

    #[test]
    fn answers_have_eight_bytes_and_no_ipv6() {
        let mut out = vec![0xee];
        emit_reply(true, "1.2.3.4:258".parse().expect("literal"), &mut out);
        assert_eq!(out, [0xee, 0, 0x5a, 1, 2, 1, 2, 3, 4]);
        out.clear();
        emit_reply(false, "[2001:db8::1]:258".parse().expect("literal"), &mut out);
        assert_eq!(out, [0, 0x5b, 1, 2, 0, 0, 0, 0]);
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1u8.., 0..=255)
    }

    proptest! {
        #[test]
        fn a_request_is_read_at_its_end_and_no_sooner(
            command in prop_oneof![
                Just(Command::Connect),
                Just(Command::Bind),
                (3u8..).prop_map(Command::Other),
            ],
            ip in any::<Ipv4Addr>().prop_filter("would announce a name", |ip| {
                !matches!(ip.octets(), [0, 0, 0, x] if x != 0)
            }),
            name in prop::option::of(text()),
            user in text(),
            port: u16,
            junk in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let address = match &name {
                Some(name) => Address::Name(name),
                None => Address::Ip(ip),
            };
            let request = Request { command, address, port, user: &user };
            let mut bytes = Vec::new();
            emit_request(&request, &mut bytes);
            let len = bytes.len();
            for end in 0..len {
                prop_assert_eq!(parse_request(&bytes[..end]), Err(Unparsed::Incomplete), "prefix of {}", end);
            }
            prop_assert_eq!(parse_request(&bytes), Ok((request, len)));
            bytes.extend_from_slice(&junk);
            prop_assert_eq!(parse_request(&bytes), Ok((request, len)));
        }

        #[test]
        fn no_bytes_panic_and_what_is_settled_stays_settled(
            first in prop_oneof![9 => Just(VERSION), 1 => any::<u8>()],
            fixed: [u8; 3],
            ip in prop_oneof![Just([0, 0, 0, 9]), any::<[u8; 4]>()],
            rest in prop::collection::vec(prop_oneof![1 => Just(0u8), 300 => any::<u8>()], 0..600),
        ) {
            let bytes = [&[first][..], &fixed, &ip, &rest].concat();
            let whole = parse_request(&bytes);
            for end in 0..bytes.len() {
                let early = parse_request(&bytes[..end]);
                prop_assert!(early == Err(Unparsed::Incomplete) || early == whole, "{:?} {:?}", early, whole);
            }
            if let Ok((_, used)) = whole {
                prop_assert!(used <= bytes.len() && bytes[used - 1] == 0);
            }
        }
    }
}
