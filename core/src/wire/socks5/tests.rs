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
    let v4 = Request { command: Command::Connect, address: Address::Ip([1, 2, 3, 4].into()), port: 0x1f90 };
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

/// Every strict prefix waits; the message, with whatever comes after it, is `value` and takes its
/// own length.
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
