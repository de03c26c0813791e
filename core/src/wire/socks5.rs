//! SOCKS5 as RFC 1928 has it, with the user and password exchange of RFC 1929.
//!
//! ```text
//!   client                                             proxy
//!     | 05 | n | method x n                       -->    |    greeting
//!     |    <--                              05 | method  |
//!     | 01 | ulen | user | plen | password        -->    |    only after method 02
//!     |    <--                              01 | status  |
//!     | 05 | cmd | 00 | type | address | port     -->    |    request
//!     |    <--    05 | reply | 00 | type | bound | port  |
//!
//!   type 01: 4 bytes of IPv4    03: one length byte and a name    04: 16 bytes of IPv6
//!   port: two bytes, most significant first
//! ```
//!
//! A wrong byte is told as soon as it is seen, whatever is still to come. What is well formed but not served
//! (BIND, an unknown command or address type) parses, so that the proxy can answer with the reply meant for
//! it.
//!
//! Sources: RFC 1928, RFC 1929.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, Parsed, Unparsed};

/// The first byte of every SOCKS5 message but those of the user and password exchange.
pub(crate) const VERSION: u8 = 5;

/// The first byte of the messages of the user and password exchange (RFC 1929 section 2).
pub(crate) const AUTH_VERSION: u8 = 1;

/// Authentication methods (RFC 1928 section 3).
pub(crate) mod method {
    /// No authentication.
    pub(crate) const NONE: u8 = 0x00;
    /// User and password (RFC 1929).
    pub(crate) const USER_PASSWORD: u8 = 0x02;
    /// The proxy's answer when it takes none of those offered.
    pub(crate) const UNACCEPTABLE: u8 = 0xff;
}

/// Address types (RFC 1928 section 5).
mod address_type {
    pub(super) const V4: u8 = 0x01;
    pub(super) const NAME: u8 = 0x03;
    pub(super) const V6: u8 = 0x04;
}

/// What a client offers first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Greeting<'a> {
    /// The methods the client can do, in its order; may be empty.
    pub(crate) methods: &'a [u8],
}

/// What a client shows to be let in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserPassword<'a> {
    /// 0 to 255 bytes.
    pub(crate) user: &'a [u8],
    /// 0 to 255 bytes.
    pub(crate) password: &'a [u8],
}

// By hand, so that no log line ever holds a password.
impl core::fmt::Debug for UserPassword<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UserPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a client asks for (RFC 1928 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// 01: a connection to the address.
    Connect,
    /// 02: a connection from the address.
    Bind,
    /// 03: a relay for datagrams.
    UdpAssociate,
    /// Any other byte: answered with [`Reply::CommandNotSupported`].
    Other(u8),
}

/// Where a client wants to go, as it was sent: a name is not checked here but by
/// [`crate::name::Host::parse`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Address<'a> {
    /// Types 01 and 04.
    Ip(IpAddr),
    /// Type 03: 0 to 255 bytes.
    Name(&'a [u8]),
    /// Any other type: answered with [`Reply::AddressTypeNotSupported`].
    Unknown(u8),
}

/// A client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request<'a> {
    /// What to do.
    pub(crate) command: Command,
    /// With whom.
    pub(crate) address: Address<'a>,
    /// At which port; 0 where the address is [`Address::Unknown`].
    pub(crate) port: u16,
}

/// How a request went (RFC 1928 section 6); the number is the byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Reply {
    /// It was done.
    Succeeded = 0,
    /// It failed, for a reason that has no number of its own.
    GeneralFailure = 1,
    /// The rule set forbids it.
    NotAllowed = 2,
    /// No route.
    NetworkUnreachable = 3,
    /// The host does not answer or its name does not resolve.
    HostUnreachable = 4,
    /// The host refused.
    ConnectionRefused = 5,
    /// "TTL expired": also the nearest code to a connect that timed out.
    TtlExpired = 6,
    /// Not a command that is served.
    CommandNotSupported = 7,
    /// Not an address type that is served.
    AddressTypeNotSupported = 8,
}

/// Reads the client's first message.
pub(crate) fn parse_greeting(bytes: &[u8]) -> Parsed<Greeting<'_>> {
    // RFC 1928 section 3: VER is X'05'.
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    // RFC 1928 section 3: NMETHODS is one byte, METHODS 1 to 255 of them. None at all is as easy to answer:
    // no method of it is acceptable.
    let (methods, used) = counted(bytes, 1)?;
    Ok((Greeting { methods }, used))
}

/// Reads a user and a password.
pub(crate) fn parse_user_password(bytes: &[u8]) -> Parsed<UserPassword<'_>> {
    // RFC 1929 section 2: VER is the version of this exchange, X'01', not that of SOCKS.
    expect_byte(bytes, 0, AUTH_VERSION, "user and password exchange version 1")?;
    // RFC 1929 section 2: ULEN and PLEN are 1 to 255. Nothing is ambiguous about 0, which then fails as a
    // wrong password does.
    let (user, next) = counted(bytes, 1)?;
    let (password, used) = counted(bytes, next)?;
    Ok((UserPassword { user, password }, used))
}

/// Reads a request. With an address type that is not known the request ends nowhere: it is given as soon as
/// the type is seen and takes all bytes there are, for nothing after it could be understood.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<Request<'_>> {
    // RFC 1928 section 4: VER is X'05'.
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    let command = match byte(bytes, 1)? {
        1 => Command::Connect,
        2 => Command::Bind,
        3 => Command::UdpAssociate,
        other => Command::Other(other),
    };
    // RFC 1928 section 4: RSV is X'00'. Some clients leave what was in their buffer there; it means nothing
    // and moves nothing, so any byte is taken.
    byte(bytes, 2)?;
    // RFC 1928 section 5: the address types.
    let (address, next) = match byte(bytes, 3)? {
        address_type::V4 => (Address::Ip(Ipv4Addr::from(array::<4>(bytes, 4)?).into()), 8),
        address_type::V6 => (Address::Ip(Ipv6Addr::from(array::<16>(bytes, 4)?).into()), 20),
        address_type::NAME => {
            let (name, next) = counted(bytes, 4)?;
            (Address::Name(name), next)
        }
        unknown => {
            let request = Request { command, address: Address::Unknown(unknown), port: 0 };
            return Ok((request, bytes.len()));
        }
    };
    // RFC 1928 section 4: DST.PORT in network octet order.
    let port = u16::from_be_bytes(array::<2>(bytes, next)?);
    Ok((Request { command, address, port }, next + 2))
}

/// The proxy's choice of a method (RFC 1928 section 3).
pub(crate) fn emit_method(method: u8) -> [u8; 2] {
    [VERSION, method]
}

/// Whether user and password were right.
pub(crate) fn emit_auth_status(ok: bool) -> [u8; 2] {
    // RFC 1929 section 2: X'00' is success; any other value is failure, after which the connection MUST
    // close.
    [AUTH_VERSION, u8::from(!ok)]
}

/// Appends the answer to a request.
pub(crate) fn emit_reply(reply: Reply, bound: SocketAddr, out: &mut Vec<u8>) {
    // RFC 1928 section 6: VER, REP, RSV X'00', ATYP, BND.ADDR, BND.PORT.
    out.extend_from_slice(&[VERSION, reply as u8, 0]);
    emit_ip(bound.ip(), out);
    out.extend_from_slice(&bound.port().to_be_bytes());
}

fn emit_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            out.push(address_type::V4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(address_type::V6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Unparsed> {
    bytes.get(at).copied().ok_or(Unparsed::Incomplete)
}

fn expect_byte(bytes: &[u8], at: usize, wanted: u8, expected: &'static str) -> Result<(), Unparsed> {
    match byte(bytes, at)? {
        found if found == wanted => Ok(()),
        found => Err(Malformed { expected, found: Some(found.into()), at }.into()),
    }
}

/// A length byte at `at` and as many bytes after it; also the offset after them.
fn counted(bytes: &[u8], at: usize) -> Parsed<&[u8]> {
    let end = at + 1 + usize::from(byte(bytes, at)?);
    let value = bytes.get(at + 1..end).ok_or(Unparsed::Incomplete)?;
    Ok((value, end))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Unparsed> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(Unparsed::Incomplete)
}

/// The client's side of the codec: no part of the proxy, but what its tests speak.
#[cfg(test)]
pub(crate) mod client {
    use super::*;

    /// Appends a greeting; at most 255 methods.
    pub(crate) fn emit_greeting(methods: &[u8], out: &mut Vec<u8>) {
        out.push(VERSION);
        emit_counted(methods, out);
    }

    /// Appends user and password, at most 255 bytes each.
    pub(crate) fn emit_user_password(user: &[u8], password: &[u8], out: &mut Vec<u8>) {
        out.push(AUTH_VERSION);
        emit_counted(user, out);
        emit_counted(password, out);
    }

    /// Appends a request.
    pub(crate) fn emit_request(request: &Request<'_>, out: &mut Vec<u8>) {
        let command = match request.command {
            Command::Connect => 1,
            Command::Bind => 2,
            Command::UdpAssociate => 3,
            Command::Other(other) => other,
        };
        out.extend_from_slice(&[VERSION, command, 0]);
        match request.address {
            Address::Ip(ip) => emit_ip(ip, out),
            Address::Name(name) => {
                out.push(address_type::NAME);
                emit_counted(name, out);
            }
            Address::Unknown(unknown) => return out.push(unknown),
        }
        out.extend_from_slice(&request.port.to_be_bytes());
    }

    /// Reads a reply: its code and the bound address.
    pub(crate) fn parse_reply(bytes: &[u8]) -> Parsed<(u8, SocketAddr)> {
        expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
        let code = byte(bytes, 1)?;
        expect_byte(bytes, 2, 0, "a reserved byte of zero")?;
        let (ip, next): (IpAddr, usize) = match byte(bytes, 3)? {
            address_type::V4 => (Ipv4Addr::from(array::<4>(bytes, 4)?).into(), 8),
            address_type::V6 => (Ipv6Addr::from(array::<16>(bytes, 4)?).into(), 20),
            found => {
                let expected = "an IPv4 or IPv6 address";
                return Err(Malformed { expected, found: Some(found.into()), at: 3 }.into());
            }
        };
        let port = u16::from_be_bytes(array::<2>(bytes, next)?);
        Ok(((code, SocketAddr::new(ip, port)), next + 2))
    }

    fn emit_counted(bytes: &[u8], out: &mut Vec<u8>) {
        out.push(bytes.len().try_into().expect("tests keep to 255 bytes"));
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::client::{emit_greeting, emit_request, emit_user_password, parse_reply};
    use super::*;

    fn malformed<T>(parsed: Parsed<T>) -> Option<Malformed> {
        match parsed {
            Err(Unparsed::Malformed(malformed)) => Some(malformed),
            Err(Unparsed::Incomplete) | Ok(_) => None,
        }
    }

    #[test]
    fn a_greeting_offers_none_one_or_255_methods() {
        assert_eq!(parse_greeting(&[5, 0]), Ok((Greeting { methods: &[] }, 2)));
        assert_eq!(parse_greeting(&[5, 1, 2, 9]), Ok((Greeting { methods: &[2] }, 3)));
        let mut all = vec![5, 255];
        all.extend(0..255);
        let (greeting, used) = parse_greeting(&all).expect("well formed");
        assert_eq!((greeting.methods, used), (&all[2..], 257));
    }

    #[test]
    fn a_wrong_version_is_told_at_its_byte() {
        let expected = "SOCKS version 5";
        let wrong = Some(Malformed { expected, found: Some(4), at: 0 });
        assert_eq!(malformed(parse_greeting(&[4])), wrong);
        assert_eq!(malformed(parse_request(&[4])), wrong);
        // A client that puts the version of SOCKS in front of its password.
        assert_eq!(malformed(parse_user_password(&[5])).map(|m| (m.found, m.at)), Some((Some(5), 0)));
    }

    #[test]
    fn user_and_password_may_have_0_to_255_bytes() {
        let empty = UserPassword { user: b"", password: b"" };
        assert_eq!(parse_user_password(&[1, 0, 0]), Ok((empty, 3)));
        let long = [b'x'; 255];
        let mut bytes = Vec::new();
        emit_user_password(&long, &long, &mut bytes);
        assert_eq!(parse_user_password(&bytes), Ok((UserPassword { user: &long, password: &long }, 513)));
    }

    #[test]
    fn a_password_is_never_printed() {
        let shown = alloc::format!("{:?}", UserPassword { user: b"", password: &[211, 212] });
        assert!(!shown.contains("211") && !shown.contains("password"), "{shown}");
    }

    #[test]
    fn requests_of_each_address_type_parse() {
        let v4 =
            Request { command: Command::Connect, address: Address::Ip([1, 2, 3, 4].into()), port: 0x1f90 };
        assert_eq!(parse_request(&[5, 1, 0, 1, 1, 2, 3, 4, 0x1f, 0x90]), Ok((v4, 10)));
        let name = Request { command: Command::UdpAssociate, address: Address::Name(b"ab"), port: 80 };
        assert_eq!(parse_request(b"\x05\x03\0\x03\x02ab\0\x50"), Ok((name, 9)));
        let nameless = Request { command: Command::Bind, address: Address::Name(b""), port: 0 };
        assert_eq!(parse_request(&[5, 2, 0, 3, 0, 0, 0]), Ok((nameless, 7)));
        let mut v6 = vec![5, 1, 0, 4];
        v6.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        v6.extend_from_slice(&[0, 1]);
        let address = Address::Ip(Ipv6Addr::LOCALHOST.into());
        assert_eq!(parse_request(&v6), Ok((Request { command: Command::Connect, address, port: 1 }, 22)));
    }

    #[test]
    fn any_reserved_byte_is_taken() {
        assert_eq!(
            parse_request(&[5, 1, 7, 1, 1, 2, 3, 4, 0, 1]),
            parse_request(&[5, 1, 0, 1, 1, 2, 3, 4, 0, 1])
        );
    }

    #[test]
    fn an_unknown_address_type_is_given_as_soon_as_it_is_seen() {
        let request = Request { command: Command::Connect, address: Address::Unknown(9), port: 0 };
        assert_eq!(parse_request(&[5, 1, 0]), Err(Unparsed::Incomplete));
        assert_eq!(parse_request(&[5, 1, 0, 9]), Ok((request, 4)));
        assert_eq!(parse_request(&[5, 1, 0, 9, 1, 2, 3]), Ok((request, 7)));
    }

    #[test]
    fn an_unknown_command_is_read_to_its_end() {
        let request = Request { command: Command::Other(0), address: Address::Ip([0; 4].into()), port: 0 };
        assert_eq!(parse_request(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 99]), Ok((request, 10)));
    }

    #[test]
    fn answers_are_as_the_rfcs_draw_them() {
        assert_eq!(emit_method(method::NONE), [5, 0]);
        assert_eq!(emit_method(method::USER_PASSWORD), [5, 2]);
        assert_eq!(emit_method(method::UNACCEPTABLE), [5, 0xff]);
        assert_eq!((emit_auth_status(true), emit_auth_status(false)), ([1, 0], [1, 1]));
        let mut out = vec![0xee];
        emit_reply(Reply::TtlExpired, "1.2.3.4:258".parse().expect("literal"), &mut out);
        assert_eq!(out, [0xee, 5, 6, 0, 1, 1, 2, 3, 4, 1, 2]);
        out.clear();
        emit_reply(Reply::AddressTypeNotSupported, "[::1]:258".parse().expect("literal"), &mut out);
        assert_eq!(out, [5, 8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
    }

    /// Every strict prefix waits; the message, with whatever comes after it, is `value` and takes its own
    /// length.
    fn reads_at_its_end<'a, T: PartialEq + core::fmt::Debug>(
        with_junk: &'a [u8],
        len: usize,
        value: T,
        parse: impl Fn(&'a [u8]) -> Parsed<T>,
    ) -> Result<(), TestCaseError> {
        for end in 0..len {
            prop_assert_eq!(parse(&with_junk[..end]), Err(Unparsed::Incomplete), "prefix of {} bytes", end);
        }
        prop_assert_eq!(parse(&with_junk[..len]), parse(with_junk));
        prop_assert_eq!(parse(with_junk), Ok((value, len)));
        Ok(())
    }

    fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=255)
    }

    fn command() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Connect),
            Just(Command::Bind),
            Just(Command::UdpAssociate),
            (4u8..).prop_map(Command::Other),
        ]
    }

    #[derive(Clone, Debug)]
    enum Target {
        Ip(IpAddr),
        Name(Vec<u8>),
    }

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![any::<IpAddr>().prop_map(Target::Ip), some_bytes().prop_map(Target::Name)]
    }

    proptest! {
        #[test]
        fn a_greeting_is_read_at_its_end_and_no_sooner(methods in some_bytes(), junk in some_bytes()) {
            let mut bytes = Vec::new();
            emit_greeting(&methods, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&junk);
            reads_at_its_end(&bytes, len, Greeting { methods: &methods }, parse_greeting)?;
        }

        #[test]
        fn user_and_password_are_read_at_their_end_and_no_sooner(
            user in some_bytes(), password in some_bytes(), junk in some_bytes(),
        ) {
            let mut bytes = Vec::new();
            emit_user_password(&user, &password, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&junk);
            let value = UserPassword { user: &user, password: &password };
            reads_at_its_end(&bytes, len, value, parse_user_password)?;
        }

        #[test]
        fn a_request_is_read_at_its_end_and_no_sooner(
            command in command(), target in target(), port: u16, junk in some_bytes(),
        ) {
            let address = match &target {
                Target::Ip(ip) => Address::Ip(*ip),
                Target::Name(name) => Address::Name(name),
            };
            let request = Request { command, address, port };
            let mut bytes = Vec::new();
            emit_request(&request, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&junk);
            reads_at_its_end(&bytes, len, request, parse_request)?;
        }

        #[test]
        fn a_reply_is_read_back_by_a_client(bound: SocketAddr, code in 0usize..9, junk in some_bytes()) {
            use Reply::*;
            let all = [
                Succeeded, GeneralFailure, NotAllowed, NetworkUnreachable, HostUnreachable, ConnectionRefused,
                TtlExpired, CommandNotSupported, AddressTypeNotSupported,
            ];
            // The wire has no flow label and no scope.
            let bound = SocketAddr::new(bound.ip(), bound.port());
            let mut bytes = Vec::new();
            emit_reply(all[code], bound, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&junk);
            reads_at_its_end(&bytes, len, (code as u8, bound), parse_reply)?;
        }

        #[test]
        fn no_bytes_panic_and_a_refusal_stands_whatever_follows(
            // Often with a right version, or hardly any case would get past the first byte.
            first in prop_oneof![Just(VERSION), Just(AUTH_VERSION), any::<u8>()],
            rest in prop::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..64),
        ) {
            let mut bytes = vec![first];
            bytes.extend_from_slice(&rest);
            for end in 0..=bytes.len() {
                let seen = &bytes[..end];
                for (early, late) in [
                    (malformed(parse_greeting(seen)), malformed(parse_greeting(&bytes))),
                    (malformed(parse_user_password(seen)), malformed(parse_user_password(&bytes))),
                    (malformed(parse_request(seen)), malformed(parse_request(&bytes))),
                ] {
                    prop_assert_eq!(early, if end == 0 { None } else { late });
                }
                for used in [
                    parse_greeting(seen).map(|p| p.1),
                    parse_user_password(seen).map(|p| p.1),
                    parse_request(seen).map(|p| p.1),
                ].into_iter().flatten() {
                    prop_assert!(used <= end);
                }
            }
        }
    }
}
