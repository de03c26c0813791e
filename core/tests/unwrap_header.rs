//! TCP, until the header is complete: in any pieces, late, or never.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::event::Refusal;
use ropewalk_core::machine::{Close, Input};
use ropewalk_core::unwrap::emit::{self, Tlv, Transport, kind};
use ropewalk_core::unwrap::{Config, Target};
use util::manual::{BALANCER, ManualDriver, SERVER_V4, SERVER_V6, tcp};
use util::{addr, ms, pattern, secs};

const CLIENT: &str = "192.0.2.1:5000";
const CLIENT_V6: &str = "[2001:db8::1]:5000";

/// Good headers: the client that each names, and the bytes.
fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let (v4, v6) = ([addr(CLIENT), addr("198.51.100.1:443")], [addr(CLIENT_V6), addr("[2001:db8::2]:443")]);
    let tlvs = [Tlv::new(kind::AUTHORITY, b"example.org"), Tlv::new(kind::NOOP, &[0; 300])];
    vec![
        (CLIENT, emit::v1(v4[0], v4[1])),
        (CLIENT_V6, emit::v1(v6[0], v6[1])),
        (CLIENT, emit::v2(v4[0], v4[1], Transport::Stream, &[], false)),
        (CLIENT_V6, emit::v2(v6[0], v6[1], Transport::Stream, &[], true)),
        (CLIENT, emit::v2(v4[0], v4[1], Transport::Stream, &tlvs, true)),
        // An IPv4 client and an IPv6 balancer: mapped.
        (CLIENT, emit::v2(v4[0], v6[1], Transport::Stream, &[], false)),
    ]
}

/// Sends `pieces` one by one; gives what the server got. Nothing may be asked for before byte
/// `whole`.
fn through(client: &str, pieces: &[&[u8]], whole: usize) -> Vec<u8> {
    let mut driver = ManualDriver::new(Config { mark: Some(77), request_events: true, ..tcp() });
    let stream = driver.accept(BALANCER);
    let mut rest = Vec::new();
    let mut came = 0;
    for piece in pieces {
        if piece.is_empty() {
            continue;
        }
        driver.advance(ms(1));
        let read = driver.read(stream, piece);
        rest.extend_from_slice(&piece[read..]);
        came += read;
        assert_eq!(driver.connects.len(), usize::from(came >= whole), "after {came} of {whole} bytes");
    }
    let asked = driver.only_connect();
    let server = if addr(client).is_ipv4() { SERVER_V4 } else { SERVER_V6 };
    assert_eq!(asked.to, Target::Address(addr(server)));
    assert_eq!((asked.via.transparent, asked.via.mark), (Some(addr(client)), Some(77)));
    assert_eq!((asked.via.source, asked.via.device), (None, None));
    assert!(!driver.wants_read(stream), "bytes that nobody can take yet");
    driver.connected(asked.stream);
    let mut got = driver.written(asked.stream);
    while !rest.is_empty() {
        let read = driver.read(stream, &rest);
        assert!(read > 0, "the relay stands still");
        rest.drain(..read);
        got.extend(driver.written(asked.stream));
    }
    assert!(driver.written(stream).is_empty(), "the client is told nothing");
    got
}

#[test]
fn a_header_byte_by_byte_is_the_same_as_one_at_once() {
    for (client, bytes) in headers() {
        let payload = pattern(3000, 1);
        let all = [&bytes[..], &payload].concat();
        assert_eq!(through(client, &[&all], bytes.len()), payload);
        assert_eq!(through(client, &[&bytes, &payload], bytes.len()), payload);
        let single: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(through(client, &single, bytes.len()), payload);
    }
}

#[test]
fn a_header_in_two_parts_at_any_place_is_the_same() {
    for (client, bytes) in headers() {
        let all = [&bytes[..], b"payload"].concat();
        for at in 1..all.len() {
            let (head, tail) = all.split_at(at);
            assert_eq!(through(client, &[head, tail], bytes.len()), b"payload", "cut at {at}");
        }
    }
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let (_, bytes) = headers().remove(0);
    let mut driver = ManualDriver::new(tcp());
    let stream = driver.arrives(BALANCER, &bytes);
    let server = driver.only_connect().stream;
    driver.connected(server);
    assert!(driver.written(server).is_empty());
    assert_eq!(driver.read(server, b"220 hello"), 9);
    assert_eq!(driver.written(stream), b"220 hello");
}

#[test]
fn the_largest_header_allowed_passes_and_one_byte_more_does_not() {
    let (from, to) = (addr(CLIENT), addr("198.51.100.1:443"));
    for (noop, good) in [(4096 - 12 - 3, true), (4096 - 12 - 2, false)] {
        let noop = vec![0; noop];
        let tlvs = [Tlv::new(kind::NOOP, &noop)];
        let bytes = emit::v2(from, to, Transport::Stream, &tlvs, false);
        let mut driver = ManualDriver::new(tcp());
        let stream = driver.accept(BALANCER);
        let judged = if good { bytes.len() } else { 16 };
        for byte in bytes[..judged].chunks(1) {
            assert_eq!(driver.read(stream, byte), 1);
        }
        assert_eq!(driver.connects.len(), usize::from(good));
        assert_eq!(matches!(driver.refusals()[..], [Refusal::BadHeader(_)]), !good);
    }
}

#[test]
fn a_header_that_drips_is_refused_at_its_deadline_and_not_before() {
    let (_, bytes) = headers().remove(0);
    let mut driver = ManualDriver::new(tcp());
    let stream = driver.accept(BALANCER);
    for byte in bytes[..29].chunks(1) {
        driver.advance(ms(100));
        assert_eq!(driver.read(stream, byte), 1);
    }
    driver.advance(ms(100) - ropewalk_core::time::Duration::from_nanos(1));
    assert_eq!(driver.how_closed(stream), None, "a nanosecond is left");
    driver.advance(ropewalk_core::time::Duration::from_nanos(1));
    assert_eq!(driver.how_closed(stream), Some(Close::Reset));
    assert_eq!(driver.refusals(), [Refusal::HandshakeTimeout]);
    assert_eq!((driver.connects.len(), driver.machine.machine().counters().open), (0, 0));
}

#[test]
fn a_silent_peer_is_refused_at_the_deadline_that_was_set() {
    let mut driver = ManualDriver::new(Config { header_timeout: secs(7), ..tcp() });
    let stream = driver.accept(BALANCER);
    driver.advance(ms(6_999));
    assert_eq!(driver.how_closed(stream), None);
    driver.advance(ms(1));
    assert_eq!(driver.refusals(), [Refusal::HandshakeTimeout]);
}

#[test]
fn a_header_in_time_is_not_cut_off_by_the_headers_deadline_later() {
    let (_, bytes) = headers().remove(0);
    let mut driver = ManualDriver::new(tcp());
    let stream = driver.accept(BALANCER);
    driver.advance(ms(2_999));
    assert_eq!(driver.read(stream, &bytes), bytes.len());
    driver.advance(secs(5));
    let server = driver.only_connect().stream;
    driver.connected(server);
    driver.advance(secs(3600));
    assert_eq!((driver.how_closed(stream), driver.how_closed(server)), (None, None));
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for (bytes, judged) in [
        (&b"GET / HTTP/1.1\r\n"[..], 1),
        (b"\x16\x03\x01", 1),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 99999 443\r\n", 45),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 -5 443\r\n", 42),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 +80 443\r\n", 43),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 5000 443\r\n", 45),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443 x\r\n", 47),
        (b"PROXY UDP4 192.0.2.1 198.51.100.1 5000 443\r\n", 8),
        // PROXY, AF_INET, length 0: the peers' crash.
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0", 16),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b", 16),
        (b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c", 13),
        (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c", 13),
        // A datagram's header.
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c", 14),
        (b"\x56\xec", 1),
    ] {
        let text = bytes.escape_ascii();
        let mut driver = ManualDriver::new(tcp());
        let stream = driver.accept(BALANCER);
        for (at, byte) in bytes.iter().enumerate() {
            if driver.read(stream, &[*byte]) == 0 {
                assert!(at <= judged, "{text}: judged at {at}");
                break;
            }
        }
        assert!(matches!(driver.refusals()[..], [Refusal::BadHeader(_)]), "{text}: {:?}", driver.refusals());
        assert_eq!(driver.how_closed(stream), Some(Close::Reset));
        assert!(driver.connects.is_empty());
    }
}

#[test]
fn a_version_1_line_without_an_end_is_refused_after_107_bytes() {
    let mut driver = ManualDriver::new(tcp());
    let stream = driver.accept(BALANCER);
    let line = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    let taken = line.chunks(1).map(|byte| driver.read(stream, byte)).sum::<usize>();
    // The 106th would have to be the CR.
    assert_eq!(taken, 106);
    assert!(matches!(driver.refusals()[..], [Refusal::BadHeader(_)]));
}

#[test]
fn who_comes_and_goes_without_a_word_is_no_refusal() {
    let mut driver = ManualDriver::new(tcp());
    let stream = driver.accept(BALANCER);
    driver.input(Input::ReadClosed { stream });
    assert_eq!(driver.how_closed(stream), Some(Close::Graceful));
    assert!(driver.refusals().is_empty());
}

#[test]
fn who_leaves_within_the_header_is_refused_and_forgotten() {
    let (_, bytes) = headers().remove(0);
    let mut driver = ManualDriver::new(tcp());
    let stream = driver.arrives(BALANCER, &bytes[..20]);
    driver.input(Input::ReadClosed { stream });
    assert_eq!(driver.refusals(), [Refusal::Left]);
    assert_eq!(driver.how_closed(stream), Some(Close::Reset));
    driver.advance(secs(60));
    assert_eq!((driver.closed.len(), driver.machine.machine().counters().open), (1, 0));
    assert!(driver.machine.machine().buffers_taken() == 0);
}

proptest! {
    #![proptest_config(util::cases(150))]

    #[test]
    fn any_split_of_header_and_payload_is_the_same(
        which in 0usize..6,
        len in 0usize..40_000,
        cuts in proptest::collection::vec(0usize..60_000, 0..12),
    ) {
        let (client, bytes) = headers().swap_remove(which);
        let payload = pattern(len, 3);
        let all = [&bytes[..], &payload].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (all.len() + 1)).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
        prop_assert_eq!(through(client, &pieces, bytes.len()), payload);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic_and_nobody_is_reached_by_chance(
        start in proptest::sample::select(vec![
            &b""[..], b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n", b"PROXY UNKNOWN",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        split in 1usize..50,
    ) {
        let mut driver = ManualDriver::new(Config { request_events: true, ..tcp() });
        let stream = driver.accept(BALANCER);
        for piece in [start, &bytes].concat().chunks(split) {
            driver.read(stream, piece);
        }
        if start.is_empty() {
            prop_assert!(driver.connects.is_empty());
        }
        driver.advance(secs(20));
        prop_assert_eq!(driver.machine.machine().counters().open, 0);
    }
}
