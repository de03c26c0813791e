//! What `ppp` 2.3.0 does otherwise than the specification, and what is done about it here.
//!
//! Each test pins both. A failure after an upgrade means that the defect is mended: then the code
//! around it may go.

use alloc::vec::Vec;

use ppp::{HeaderResult, PartialResult, v1, v2};

use super::tlv::Tlv;
use super::*;

const STREAM: Rules = Rules { transport: Transport::Stream, max_length: 4096, mixed_families: false };

fn malformed(bytes: &[u8]) -> Malformed {
    match parse(bytes, &STREAM) {
        Err(Unparsed::Malformed(why)) => why,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short");
    [v2::PROTOCOL_PREFIX, &[command, family], &length.to_be_bytes(), rest].concat()
}

#[test]
fn a_line_cut_before_the_last_port_is_told_to_be_final() {
    let cut = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 ";
    assert!(HeaderResult::parse(cut).is_complete());
    assert_eq!(parse(cut, &STREAM), Err(Unparsed::Incomplete));
}

#[test]
fn garbage_with_crlf_is_told_to_be_incomplete() {
    for line in [&b"PROXY TCP4\r\n"[..], b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8\r\n"] {
        assert!(HeaderResult::parse(line).is_incomplete(), "{}", line.escape_ascii());
        malformed(line);
    }
}

#[test]
fn unknown_with_bytes_that_are_no_text_is_refused() {
    let line = b"PROXY UNKNOWN \xff\r\n";
    assert!(matches!(v1::Header::try_from(&line[..]), Err(v1::BinaryParseError::InvalidUtf8(_))));
    assert_eq!(parse(line, &STREAM).map(|(header, used)| (header.origin, used)), {
        Ok((Origin::Peer(PeerReason::Unknown), line.len()))
    });
}

#[test]
fn a_plus_is_taken_for_part_of_a_port() {
    let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 +80 1\r\n";
    assert!(v1::Header::try_from(&line[..]).is_ok());
    assert_eq!(malformed(line).at, 27);
}

#[test]
fn local_with_a_short_or_undefined_family_is_refused() {
    let short = v2(0x20, 0x11, &[]);
    assert_eq!(v2::Header::try_from(&short[..]), Err(v2::ParseError::InvalidAddresses(0, 12)));
    let undefined = v2(0x20, 0xf7, &[]);
    assert_eq!(v2::Header::try_from(&undefined[..]), Err(v2::ParseError::AddressFamily(0xf0)));
    for bytes in [short, undefined] {
        assert_eq!(
            parse(&bytes, &STREAM).map(|(header, _)| header.origin),
            Ok(Origin::Peer(PeerReason::Local))
        );
    }
}

#[test]
fn the_error_of_a_bad_version_2_is_lost_behind_one_of_version_1() {
    let bytes = v2(0x2f, 0x11, &[0; 12]);
    assert!(matches!(HeaderResult::parse(&bytes), HeaderResult::V1(Err(_))));
    assert_eq!((malformed(&bytes).found, malformed(&bytes).at), (Some(15), 12));
}

#[test]
fn the_tlvs_of_unspec_are_hidden() {
    let bytes = v2(0x21, 0x00, b"\x01\0\x02h2");
    assert_eq!(v2::Header::try_from(&bytes[..]).expect("it is right").tlvs().count(), 0);
    let (header, _) = parse(&bytes, &STREAM).expect("it is right");
    assert_eq!(header.tlvs(&bytes).collect::<Vec<_>>(), [Tlv::new(tlv::kind::ALPN, b"h2")]);
}

#[test]
fn a_wrong_checksum_passes() {
    let bytes = v2(0x21, 0x11, b"addr\0addr\0pp\x03\0\x04\0\0\0\0");
    assert!(v2::Header::try_from(&bytes[..]).is_ok());
    malformed(&bytes);
}

#[test]
fn tlvs_that_are_wrong_pass_until_they_are_asked_for() {
    for rest in [&b"\x01\0\x03h2"[..], b"\x01\0", b"\x20\0\x01\0", b"\x03\0\x01\0"] {
        let bytes = v2(0x21, 0x11, &[b"addr\0addr\0pp", rest].concat());
        assert!(v2::Header::try_from(&bytes[..]).is_ok());
        malformed(&bytes);
    }
}

#[test]
fn lengths_up_to_65535_pass() {
    let bytes = v2(0x21, 0x00, &[0; 65535]);
    assert!(v2::Header::try_from(&bytes[..]).is_ok());
    assert_eq!((malformed(&bytes[..16]).found, malformed(&bytes[..16]).at), (Some(65535), 14));
}
