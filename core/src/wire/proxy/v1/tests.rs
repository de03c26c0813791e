//! Lines of version 1, whole, in part and wrong.

use super::super::{Transport, parse};
use super::*;

const STREAM: Rules = Rules { transport: Transport::Stream, max_length: 4096, mixed_families: false };

fn proxied(line: &[u8]) -> (SocketAddr, SocketAddr) {
    match parse(line, &STREAM) {
        Ok((Header { version: Version::V1, origin: Origin::Proxied { source, destination }, .. }, used)) => {
            assert_eq!(&line[used - 2..used], b"\r\n");
            (source, destination)
        }
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

/// What came and where; the last byte is the first that can tell.
fn told_at_its_last_byte(line: &[u8]) -> (Option<u32>, usize) {
    let Err(Unparsed::Malformed(why)) = parse(line, &STREAM) else {
        panic!("{} passed", line.escape_ascii())
    };
    for end in 0..line.len() {
        let early = parse(&line[..end], &STREAM);
        assert_eq!(early, Err(Unparsed::Incomplete), "{} of {}", end, line.escape_ascii());
    }
    (why.found, why.at)
}

fn byte(byte: u8) -> Option<u32> {
    Some(byte.into())
}

#[test]
fn a_line_names_both_ends() {
    assert_eq!(
        proxied(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n"),
        (address("192.168.0.1:56324"), address("192.168.0.11:443"))
    );
    assert_eq!(
        proxied(b"PROXY TCP6 2001:DB8::1 2001:0db8:0:0:0:0:0:2 0 65535\r\n"),
        (address("[2001:db8::1]:0"), address("[2001:db8::2]:65535"))
    );
}

#[test]
fn the_longest_lines_pass() {
    let v4 = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    assert_eq!((v4.len(), proxied(v4).0), (56, address("255.255.255.255:65535")));
    let v6 = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
               65535 65535\r\n";
    assert_eq!(v6.len(), 104);
    proxied(v6);
}

#[test]
fn ipv4_mapped_ends_become_ipv4_each_for_itself() {
    assert_eq!(
        proxied(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 1 2\r\n"),
        (address("192.0.2.1:1"), address("198.51.100.2:2"))
    );
    assert_eq!(
        proxied(b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"),
        (address("192.0.2.1:1"), address("[2001:db8::2]:2"))
    );
    assert_eq!(
        proxied(b"PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 1 2\r\n"),
        (address("[2001:db8::1]:1"), address("198.51.100.2:2"))
    );
}

#[test]
fn a_wrong_byte_is_told_when_it_comes() {
    for (line, found) in [
        (&b"GE"[..1], byte(b'G')),
        (b"PROXX", byte(b'X')),
        (b"PROXY\t", byte(b'\t')),
        (b"PROXY  ", byte(b' ')),
        (b"PROXY t", byte(b't')),
        (b"PROXY UD", byte(b'D')),
        (b"PROXY TCP5", byte(b'5')),
        (b"PROXY TCP4\r", byte(b'\r')),
        // The word of one version of the protocol is not the beginning of a longer one.
        (b"PROXY TCP46", byte(b'6')),
        (b"PROXY UNKNOWNS", byte(b'S')),
        // Exactly one space.
        (b"PROXY TCP4  ", byte(b' ')),
        (b"PROXY TCP4 1.2.3.4  ", byte(b' ')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8  ", byte(b' ')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1  ", byte(b' ')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ", byte(b' ')),
        (b"PROXY TCP4 1.2.3.4\t", byte(b'\t')),
        // A field is missing.
        (b"PROXY TCP4 1.2.3.4\r", byte(b'\r')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8\r", byte(b'\r')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r", byte(b'\r')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r", byte(b'\r')),
        // No sign.
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +", byte(b'+')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 +", byte(b'+')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 -", byte(b'-')),
        // The family dictates the format.
        (b"PROXY TCP4 2001:", byte(b':')),
        (b"PROXY TCP6 fe80::1%", byte(b'%')),
        (b"PROXY TCP6 [", byte(b'[')),
        // What is too long to be one.
        (b"PROXY TCP4 123.123.123.1234", byte(b'4')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 123456", byte(b'6')),
        // Neither CR nor LF alone.
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", byte(b'\n')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rG", byte(b'G')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r", byte(b'\r')),
        (b"PROXY UNKNOWN\n", byte(b'\n')),
        (b"PROXY UNKNOWN\rG", byte(b'G')),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xff", byte(0xff)),
    ] {
        assert_eq!(told_at_its_last_byte(line), (found, line.len() - 1), "{}", line.escape_ascii());
    }
}

#[test]
fn a_leading_zero_is_told_when_the_next_digit_comes() {
    assert_eq!(told_at_its_last_byte(b"PROXY TCP4 1.2.3.4 5.6.7.8 08"), (byte(b'0'), 27));
    assert_eq!(told_at_its_last_byte(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 00"), (byte(b'0'), 29));
    assert_eq!(proxied(b"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n").0.port(), 0);
}

#[test]
fn a_wrong_value_is_told_when_the_line_is_whole() {
    for (line, found, at) in [
        (&b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n"[..], Some(99999), 29),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 1\r\n", Some(65536), 27),
        (b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", None, 11),
        (b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", None, 11),
        (b"PROXY TCP4 1.2.3.4 5.6.7.08 1 2\r\n", None, 19),
        (b"PROXY TCP4 12 5.6.7.8 1 2\r\n", Some(12), 11),
        (b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", None, 11),
        (b"PROXY TCP6 ::1 5.6.7.8 1 2\r\n", None, 15),
        (b"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", None, 11),
        (b"PROXY TCP6 1::2::3 ::1 1 2\r\n", None, 11),
        (b"PROXY TCP6 ::1 12345::1 1 2\r\n", None, 15),
    ] {
        assert_eq!(told_at_its_last_byte(line), (found, at), "{}", line.escape_ascii());
    }
}

#[test]
fn unknown_may_be_followed_by_anything_up_to_crlf() {
    for rest in [
        &b""[..],
        b" ",
        b" ffff::1 ffff::2 1 2",
        b" \xff\xfe\0",
        b" a\nb\rc",
        b" \r",
        b" PROXY TCP4",
        &[b' '; 92],
    ] {
        let line = [b"PROXY UNKNOWN", rest, b"\r\n"].concat();
        let (header, used) = parse(&[&line[..], b"more\r\n"].concat(), &STREAM).expect("it is UNKNOWN");
        assert_eq!((header.origin, used), (Origin::Peer(PeerReason::Unknown), line.len()));
        assert_eq!(header.tlvs(&line).next(), None);
    }
}

#[test]
fn crlf_comes_within_107_bytes() {
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(105, b'x');
    let longest = [&line[..], b"\r\n"].concat();
    assert_eq!(parse(&longest, &STREAM).map(|(_, used)| used), Ok(107));
    assert_eq!(told_at_its_last_byte(&[&line[..], b"x"].concat()), (byte(b'x'), 105));
    assert_eq!(told_at_its_last_byte(&[&line[..], b"\r\r"].concat()), (byte(b'\r'), 106));
}

#[test]
fn datagrams_have_no_version_1() {
    let rules = Rules { transport: Transport::Datagram, ..STREAM };
    let Err(Unparsed::Malformed(why)) = parse(b"PROXY UNKNOWN\r\n", &rules) else { panic!("a line passed") };
    assert_eq!((why.found, why.at), (byte(b'P'), 0));
}

#[test]
fn a_destination_of_the_other_family_passes_only_where_it_may() {
    let line = b"PROXY TCP6 2001:db8::1 198.51.100.2 5000 443\r\n";
    assert_eq!(told_at_its_last_byte(line), (None, 23));
    let rules = Rules { mixed_families: true, ..STREAM };
    let (header, used) = parse(line, &rules).expect("the switch is on");
    let (source, destination) = (address("[2001:db8::1]:5000"), address("198.51.100.2:443"));
    assert_eq!((header.origin, used), (Origin::Proxied { source, destination }, line.len()));
    // As nginx writes them for a client that another balancer named, on a listener of both
    // families.
    for (line, destination) in [
        (&b"PROXY TCP4 192.0.2.7 ::1 40000 8000\r\n"[..], "[::1]:8000"),
        (b"PROXY TCP4 192.0.2.7 ::ffff:127.0.0.1 40000 8001\r\n", "127.0.0.1:8001"),
    ] {
        let (header, used) = parse(line, &rules).expect("the switch is on");
        let (source, destination) = (address("192.0.2.7:40000"), address(destination));
        assert_eq!((header.origin, used), (Origin::Proxied { source, destination }, line.len()));
        assert!(matches!(parse(line, &STREAM), Err(Unparsed::Malformed(_))));
    }
    for usual in [&b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"[..], b"PROXY TCP6 ::1 ::2 1 2\r\n"] {
        assert_eq!(parse(usual, &rules), parse(usual, &STREAM), "the switch changes nothing else");
        assert!(parse(usual, &rules).is_ok());
    }
    for wrong in [
        &b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n"[..],
        b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n",
        b"PROXY TCP6 ::1 5.6.7 1 2\r\n",
        b"PROXY TCP6 ::1 5.6.7.8 65536 2\r\n",
        b"PROXY TCP6 ::1 5.6.7.8 1 65536\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 ::g 1 2\r\n",
    ] {
        assert!(matches!(parse(wrong, &rules), Err(Unparsed::Malformed(_))), "{}", wrong.escape_ascii());
    }
}
