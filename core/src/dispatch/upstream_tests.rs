//! The handshake with an upstream proxy: in one piece and byte by byte, and whatever it sends.

use super::*;
use crate::name::Host;
use alloc::vec;
use proptest::prelude::*;

fn upstream(protocol: UpstreamProtocol, login: bool) -> Upstream {
    Upstream { protocol, login: login.then(|| (b"user".to_vec(), b"pass word".to_vec())) }
}

fn destination() -> Destination {
    Destination { host: Host::parse(b"host.example").expect("a name"), port: 443 }
}

/// Takes all that is to be written.
fn said(introduction: &mut Introduction) -> Vec<u8> {
    let all = introduction.write_buf().to_vec();
    introduction.written(all.len());
    all
}

/// What a proxy answers, step by step, `cut` bytes at a time, and what was said between.
fn run(upstream: &Upstream, answers: &[u8], cut: usize) -> (Introduced, Vec<u8>) {
    let mut introduction = Introduction::new(upstream, destination());
    let mut told = said(&mut introduction);
    for piece in answers.chunks(cut) {
        let outcome = introduction.read(piece);
        told.extend(said(&mut introduction));
        if outcome != Introduced::More {
            return (outcome, told);
        }
    }
    (Introduced::More, told)
}

const GRANTED: [u8; 10] = [5, 0, 0, 1, 192, 0, 2, 1, 0, 80];

#[test]
fn socks5_is_spoken_to_the_letter_and_the_name_goes_as_it_is() {
    let request = b"\x05\x01\x00\x03\x0chost.example\x01\xbb";
    for cut in [1, 2, 3, 100] {
        let answers = [&[5, 0][..], &GRANTED].concat();
        let (outcome, told) = run(&upstream(UpstreamProtocol::Socks5, false), &answers, cut);
        assert_eq!(outcome, Introduced::Done(vec![]));
        assert_eq!(told, [&[5, 1, 0][..], request].concat());
        let answers = [&[5, 2, 1, 0][..], &GRANTED].concat();
        let (outcome, told) = run(&upstream(UpstreamProtocol::Socks5, true), &answers, cut);
        assert_eq!(outcome, Introduced::Done(vec![]));
        assert_eq!(told, [&[5, 2, 0, 2][..], b"\x01\x04user\x09pass word", request].concat());
    }
    // A login that nobody asks for is not shown.
    let (_, told) = run(&upstream(UpstreamProtocol::Socks5, true), &[5, 0], 2);
    assert_eq!(told, [&[5, 2, 0, 2][..], request].concat());
}

#[test]
fn connect_is_asked_with_the_login_and_bytes_behind_the_answer_are_kept() {
    for cut in [1, 7, 1000] {
        let (outcome, told) = run(&upstream(UpstreamProtocol::Http, true), b"HTTP/1.1 200 OK\r\n\r\n", cut);
        assert_eq!(outcome, Introduced::Done(vec![]));
        let wanted = "CONNECT host.example:443 HTTP/1.1\r\nHost: host.example:443\r\n\
                      Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n\r\n";
        assert_eq!(told, wanted.as_bytes());
    }
    let early = b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n";
    assert_eq!(
        run(&upstream(UpstreamProtocol::Http, false), early, 1000).0,
        Introduced::Done(b"SSH-2.0-x\r\n".to_vec())
    );
    let early = [&[5, 0][..], &GRANTED, b"SSH"].concat();
    let outcome = run(&upstream(UpstreamProtocol::Socks5, false), &early, 1000).0;
    assert_eq!(outcome, Introduced::Done(b"SSH".to_vec()));
}

#[test]
fn a_refusal_of_the_destination_is_told_from_a_failure_of_the_proxy() {
    use Introduced::{Broken, Refused};
    for (code, wanted) in [
        (1, Refused(Fault::ProxyFailed)),
        (2, Refused(Fault::ProxyForbids)),
        (3, Refused(Fault::NetworkUnreachable)),
        (4, Refused(Fault::HostUnreachable)),
        (5, Refused(Fault::Refused)),
        (6, Refused(Fault::TimedOut)),
        (7, Broken(Fault::Unsupported)),
        (8, Refused(Fault::ProxyFailed)),
        (200, Refused(Fault::ProxyFailed)),
    ] {
        assert_eq!(run(&upstream(UpstreamProtocol::Socks5, false), &[5, 0, 5, code], 9).0, wanted, "{code}");
    }
    for (status, wanted) in [
        (302, Refused(Fault::ProxyForbids)),
        (403, Refused(Fault::ProxyForbids)),
        (407, Broken(Fault::ProxyLogin)),
        (405, Broken(Fault::Unsupported)),
        (429, Broken(Fault::ProxyFailed)),
        (502, Refused(Fault::ProxyFailed)),
        (503, Refused(Fault::ProxyFailed)),
        (504, Refused(Fault::TimedOut)),
        (999, Refused(Fault::ProxyFailed)),
    ] {
        let answer = alloc::format!("HTTP/1.1 {status} x\r\nContent-Length: 9\r\n\r\n");
        let outcome = run(&upstream(UpstreamProtocol::Http, false), answer.as_bytes(), 5).0;
        assert_eq!(outcome, wanted, "{status}");
    }
    let socks5 = upstream(UpstreamProtocol::Socks5, true);
    for (answers, wanted) in [
        (&[5, 255][..], Fault::ProxyLogin),
        (&[5, 2, 1, 1], Fault::ProxyLogin),
        (&[5, 1], Fault::ProxyLogin),
        (b"HTTP/1.1 400", Fault::Malformed),
        (&[5, 0, 4], Fault::Malformed),
    ] {
        assert_eq!(run(&socks5, answers, 1).0, Broken(wanted), "{answers:?}");
    }
    assert_eq!(
        run(&upstream(UpstreamProtocol::Socks5, false), &[5, 2], 1).0,
        Broken(Fault::ProxyLogin),
        "it asks for a login, and there is none"
    );
}

#[test]
fn an_end_before_the_question_is_the_proxys_and_after_it_may_be_the_destinations() {
    let mut introduction = Introduction::new(&upstream(UpstreamProtocol::Socks5, false), destination());
    assert_eq!(introduction.ended(), Introduced::Broken(Fault::Reset));
    assert_eq!(introduction.read(&[5, 0]), Introduced::More);
    assert_eq!(introduction.ended(), Introduced::Refused(Fault::ProxyFailed));
}

#[test]
fn a_login_is_in_no_debug_print() {
    let upstream = upstream(UpstreamProtocol::Socks5, true);
    let introduction = Introduction::new(&upstream, destination());
    let text = alloc::format!("{upstream:?} {introduction:?}");
    assert!(!text.contains("user") && !text.contains("117") && !text.contains("host.example"), "{text}");
}

#[test]
fn an_answer_without_an_end_is_ended() {
    let mut introduction = Introduction::new(&upstream(UpstreamProtocol::Http, false), destination());
    let mut read = 0;
    let mut outcome = introduction.read(b"HTTP/1.1 200 OK\r\n");
    while outcome == Introduced::More {
        let wants = introduction.wants().min(1000);
        assert!(wants > 0, "nothing is wanted, and there is no outcome after {read} bytes");
        outcome = introduction.read(&vec![b'a'; wants]);
        read += wants;
    }
    assert_eq!(outcome, Introduced::Broken(Fault::Malformed));
    assert!(read <= MAX_ANSWER);
}

#[test]
fn what_is_no_answer_is_malformed_in_large_pieces_too() {
    let http = upstream(UpstreamProtocol::Http, false);
    for len in [10, 1024, 1025, 4000] {
        let (outcome, _) = run(&http, &vec![0; len], len);
        assert_eq!(outcome, Introduced::Broken(Fault::Malformed), "{len} bytes");
    }
    // Behind much that is well it is known when the proxy hangs up, however it was cut.
    let late = [&b"HTTP/1.1 100 x\r\n\r\n".repeat(70)[..], b"garbage"].concat();
    for cut in [1, 7, 5000] {
        let mut introduction = Introduction::new(&http, destination());
        let outcome =
            late.chunks(cut).map(|piece| introduction.read(piece)).find(|it| *it != Introduced::More);
        let outcome = outcome.unwrap_or_else(|| introduction.ended());
        assert_eq!(outcome, Introduced::Broken(Fault::Malformed), "in pieces of {cut}");
    }
}

proptest! {
    /// Whatever a proxy sends, cut wherever: no panic, the same outcome as in one piece, and
    /// something is wanted while there is none.
    #[test]
    fn any_bytes_have_one_meaning_however_they_are_cut(
        script in prop::collection::vec(prop_oneof![
            Just(vec![5, 0]), Just(vec![5, 2]), Just(vec![1, 0]), Just(GRANTED.to_vec()),
            Just(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Just(b"HTTP/1.1 100 \r\n\r\n".to_vec()),
            Just(b"HTTP/1.0 50".to_vec()), Just(b"\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
        ], 0..6),
        login in any::<bool>(), http in any::<bool>(), cuts in prop::collection::vec(1usize..20, 1..20),
    ) {
        let protocol = if http { UpstreamProtocol::Http } else { UpstreamProtocol::Socks5 };
        let upstream = upstream(protocol, login);
        let bytes = script.concat();
        let mut whole = Introduction::new(&upstream, destination());
        let wanted = whole.read(&bytes);
        let mut pieces = Introduction::new(&upstream, destination());
        let (mut outcome, mut at) = (Introduced::More, 0);
        for cut in cuts.iter().cycle() {
            if at == bytes.len() || outcome != Introduced::More {
                break;
            }
            prop_assert!(pieces.wants() > 0);
            let end = (at + cut).min(bytes.len());
            outcome = pieces.read(&bytes[at..end]);
            at = end;
        }
        if let Introduced::Done(early) = &mut outcome {
            early.extend_from_slice(&bytes[at..]);
        }
        prop_assert_eq!(outcome, wanted);
    }
}
