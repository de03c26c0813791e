//! What holds for every header, and for bytes that are none.

use alloc::format;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::Index;

use super::tlv::{Tlv, kind};
use super::*;

/// Both ends, of one family or of two, mapped or not.
fn end() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<Ipv4Addr>().prop_map(Into::into),
        any::<Ipv6Addr>().prop_map(Into::into),
        any::<Ipv4Addr>().prop_map(|ip| ip.to_ipv6_mapped().into()),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Stream), Just(Transport::Datagram)]
}

fn rules() -> impl Strategy<Value = Rules> {
    (transport(), prop_oneof![Just(MAX_LENGTH), 0..100usize], any::<bool>())
        .prop_map(|(transport, max_length, mixed_families)| Rules { transport, max_length, mixed_families })
}

/// Types and values of TLVs that a header may hold.
fn tlvs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let value = prop::collection::vec(any::<u8>(), 0..=128);
    let ssl = (any::<u8>(), any::<u32>(), prop::collection::vec((any::<u8>(), value.clone()), 0..3))
        .prop_map(|(client, verify, inner)| {
            let mut out = Vec::new();
            emit::ssl(client, verify, &borrowed(&inner), &mut out);
            (kind::SSL, out)
        });
    let other =
        any::<u8>().prop_filter("these have a shape", |kind| ![kind::SSL, kind::CRC32C].contains(kind));
    prop::collection::vec(prop_oneof![1 => ssl, 4 => (other, value)], 0..5)
}

fn borrowed(tlvs: &[(u8, Vec<u8>)]) -> Vec<Tlv<'_>> {
    tlvs.iter().map(|(kind, value)| Tlv::new(*kind, value)).collect()
}

/// A header that is right, and the rules by which it is.
fn valid() -> impl Strategy<Value = (Vec<u8>, Rules)> {
    let write = |out: &dyn Fn(&mut Vec<u8>), transport| {
        let mut bytes = Vec::new();
        out(&mut bytes);
        (bytes, Rules::new(transport))
    };
    prop_oneof![
        (end(), end()).prop_map(move |(a, b)| write(&|out| emit::v1(a, b, out), Transport::Stream)),
        Just(()).prop_map(move |()| write(&emit::v1_unknown, Transport::Stream)),
        (end(), end(), transport(), tlvs(), any::<bool>()).prop_map(move |(a, b, transport, tlvs, crc)| {
            write(&|out| emit::v2(a, b, transport, &borrowed(&tlvs), crc, out), transport)
        }),
        (transport(), tlvs()).prop_map(move |(transport, tlvs)| {
            write(&|out| emit::v2_local(&borrowed(&tlvs), out), transport)
        }),
        (end(), end())
            .prop_map(move |(a, b)| write(&|out| out.extend(emit::simple(a, b)), Transport::Datagram)),
    ]
}

proptest! {
    #[test]
    fn a_header_is_read_at_its_end_and_no_sooner(
        (bytes, rules) in valid(),
        junk in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        for end in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..end], &rules), Err(Unparsed::Incomplete), "prefix of {}", end);
        }
        let (header, used) = parse(&bytes, &rules).expect("it is right");
        prop_assert_eq!(used, bytes.len());
        let followed = [&bytes[..], &junk].concat();
        prop_assert_eq!(parse(&followed, &rules), Ok((header, used)));
        laws::hold(&followed, &rules);
    }

    #[test]
    fn what_version_1_says_is_read_back(source in end(), destination in end()) {
        let mut bytes = Vec::new();
        emit::v1(source, destination, &mut bytes);
        let (header, _) = parse(&bytes, &Rules::new(Transport::Stream)).expect("it is right");
        prop_assert_eq!((header.version, header.origin), (Version::V1, Origin::proxied(source, destination)));
    }

    #[test]
    fn what_version_2_says_is_read_back(
        source in end(),
        destination in end(),
        transport in transport(),
        tlvs in tlvs(),
        crc: bool,
    ) {
        let mut bytes = Vec::new();
        emit::v2(source, destination, transport, &borrowed(&tlvs), crc, &mut bytes);
        let (header, _) = parse(&bytes, &Rules::new(transport)).expect("it is right");
        prop_assert_eq!((header.version, header.origin), (Version::V2, Origin::proxied(source, destination)));
        let mut listed: Vec<_> = header.tlvs(&bytes).collect();
        if crc {
            prop_assert_eq!(listed.pop().map(|tlv| (tlv.kind, tlv.value.len())), Some((kind::CRC32C, 4)));
        }
        prop_assert_eq!(listed, borrowed(&tlvs));
    }

    #[test]
    fn what_simple_says_is_read_back(source in end(), destination in end()) {
        let bytes = emit::simple(source, destination);
        let (header, used) = parse(&bytes, &Rules::new(Transport::Datagram)).expect("it is right");
        prop_assert_eq!(used, 38);
        prop_assert_eq!(header.version, Version::Simple);
        prop_assert_eq!(header.origin, Origin::proxied(source, destination));
    }

    #[test]
    fn what_local_holds_is_skipped(
        family: u8, rest in prop::collection::vec(any::<u8>(), 0..600), rules in rules()
    ) {
        let length = u16::try_from(rest.len()).expect("short");
        let bytes = [&v2::SIGNATURE[..], &[0x20, family], &length.to_be_bytes(), &rest].concat();
        match parse(&bytes, &rules) {
            Ok((header, used)) => {
                prop_assert_eq!((header.origin, used), (Origin::Peer(PeerReason::Local), bytes.len()));
            }
            Err(_) => prop_assert!(rest.len() > rules.max_length),
        }
        laws::hold(&bytes, &rules);
    }

    #[test]
    fn what_follows_unknown_is_skipped(rest in prop::collection::vec(any::<u8>(), 0..=91)) {
        prop_assume!(!rest.windows(2).any(|pair| pair == b"\r\n"));
        let bytes = [b"PROXY UNKNOWN ", &rest[..], b"\r\n"].concat();
        let (header, used) = parse(&bytes, &Rules::new(Transport::Stream)).expect("it is UNKNOWN");
        prop_assert_eq!((header.origin, used), (Origin::Peer(PeerReason::Unknown), bytes.len()));
    }

    #[test]
    fn a_line_with_crlf_is_never_incomplete(
        start in prop::sample::select(&["", "PROXY ", "PROXY TCP4 ", "PROXY TCP6 ::1 ", "PROXY UNKNOWN"][..]),
        rest in "[ -~]{0,40}",
    ) {
        let line = [start, &rest, "\r\n"].concat().into_bytes();
        let told = parse(&line, &Rules::new(Transport::Stream));
        // Only CRLF itself begins something else: version 2.
        prop_assert!(line == b"\r\n" || told != Err(Unparsed::Incomplete), "{}", line.escape_ascii());
    }

    #[test]
    fn no_bytes_break_a_law(bytes in prop::collection::vec(any::<u8>(), 0..200), rules in rules()) {
        laws::hold(&bytes, &rules);
        let texts = [&b"P"[..], b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
        for beginning in texts.into_iter().chain([&v2::SIGNATURE[..], &spp::MAGIC]) {
            laws::hold(&[beginning, &bytes].concat(), &rules);
        }
    }

    #[test]
    fn no_list_of_tlvs_breaks_a_law(
        family in prop::sample::select(&[0x00u8, 0x01, 0x10, 0x11, 0x21, 0x31][..]),
        rest in prop::collection::vec(prop_oneof![4 => 0u8..6, 1 => 0x20u8..0x26, 1 => any::<u8>()], 0..60),
        rules in rules(),
    ) {
        let block = [0, 12, 36, 216][usize::from(family >> 4)];
        let length = u16::try_from(block + rest.len()).expect("short");
        let head = [&v2::SIGNATURE[..], &[0x21, family], &length.to_be_bytes()].concat();
        laws::hold(&[&head[..], &[1; 216][..block], &rest].concat(), &rules);
    }

    #[test]
    fn no_damage_to_a_header_breaks_a_law(
        (bytes, valid) in valid(),
        rules in rules(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = bytes;
        for (at, byte, how) in damage {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => _ = bytes.remove(at),
                _ => bytes.insert(at, byte),
            }
        }
        laws::hold(&bytes, &valid);
        laws::hold(&bytes, &rules);
    }

    #[test]
    fn ppp_reads_the_same_addresses((bytes, rules) in valid()) {
        let (header, used) = parse(&bytes, &rules).expect("it is right");
        let theirs = match ppp::HeaderResult::parse(&bytes) {
            ppp::HeaderResult::V1(Ok(theirs)) => {
                prop_assert_eq!((header.version, used), (Version::V1, theirs.header.len()));
                match theirs.addresses {
                    ppp::v1::Addresses::Unknown => None,
                    ppp::v1::Addresses::Tcp4(a) => Some((
                        SocketAddr::from((a.source_address, a.source_port)),
                        SocketAddr::from((a.destination_address, a.destination_port)),
                    )),
                    ppp::v1::Addresses::Tcp6(a) => Some((
                        SocketAddr::from((a.source_address, a.source_port)),
                        SocketAddr::from((a.destination_address, a.destination_port)),
                    )),
                }
            }
            ppp::HeaderResult::V2(Ok(theirs)) => {
                prop_assert_eq!((header.version, used), (Version::V2, theirs.len()));
                match theirs.addresses {
                    ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => None,
                    ppp::v2::Addresses::IPv4(a) => Some((
                        SocketAddr::from((a.source_address, a.source_port)),
                        SocketAddr::from((a.destination_address, a.destination_port)),
                    )),
                    ppp::v2::Addresses::IPv6(a) => Some((
                        SocketAddr::from((a.source_address, a.source_port)),
                        SocketAddr::from((a.destination_address, a.destination_port)),
                    )),
                }
            }
            _ => {
                prop_assert_eq!(header.version, Version::Simple, "ppp refuses {}", format!("{bytes:02x?}"));
                return Ok(());
            }
        };
        match (header.origin, theirs) {
            (Origin::Peer(_), None) => {}
            (origin, Some((source, destination))) => {
                prop_assert_eq!(origin, Origin::proxied(source, destination));
            }
            (origin, None) => prop_assert!(false, "{origin:?} is nothing to ppp"),
        }
    }
}
