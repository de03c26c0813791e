//! Bodies of forwarded requests and responses: by length, in chunks, until the end; cut short.

mod util;

use ropewalk_core::time::Duration;
use util::http::{connections, get, head_end, ok, origin, passed, send, text, until};
use util::{Act, End, Lab, Person, Reading, Setup, Target, ms, pattern, same_bytes};

const ONE: &str = "192.0.2.1:80";

fn lab() -> Lab {
    Setup::new(2).build()
}

// ---- bodies ----

#[test]
fn bodies_of_a_length_pass_both_ways() {
    let (up, down) = (pattern(700_000, 1), pattern(500_000, 2));
    for reading in [Reading::Fast, Reading::Slow(9_000, ms(3))] {
        let mut lab = lab();
        lab.machine.quiet = true;
        let answer =
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", down.len()).as_bytes(), &down].concat();
        let head = format!("POST http://192.0.2.1/ HTTP/1.1\r\nContent-Length: {}\r\n\r\n", up.len());
        let script =
            [head_end(), Act::AwaitText(up[up.len() - 64..].to_vec()), Act::Send(answer), Act::AwaitEnd];
        lab.target(ONE, Target::new(Person::new(script).windows(20_000, 20_000)));
        let request = Act::Send([head.as_bytes(), &up].concat());
        let client = Person::new([
            request,
            head_end(),
            Act::AwaitText(down[down.len() - 64..].to_vec()),
            Act::Fin,
            Act::AwaitEnd,
        ]);
        let who = lab.person(client.windows(10_000, 64 * 1024).reads(reading));
        lab.finish();
        let seen = lab.got(lab.served(0));
        same_bytes(&seen[seen.len() - up.len()..], &up, "up");
        let got = lab.got(who);
        same_bytes(&got[got.len() - down.len()..], &down, "down");
        assert_eq!(lab.end(who), End::Fin);
    }
}

#[test]
fn chunked_bodies_pass_both_ways_but_for_their_extensions() {
    let chunks = "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nDigest: x\r\n\r\n";
    let passed = chunks.replace(";ext=1", "");
    for segment in [1, 3, usize::MAX] {
        let mut lab = lab();
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let serve = || [head_end(), until("Digest: x\r\n\r\n"), send(&answer)];
        let script: Vec<Act> = serve().into_iter().chain(serve()).chain([Act::AwaitEnd]).collect();
        lab.target(ONE, Target::new(Person::new(script).segments(segment, Duration::ZERO)));
        let request =
            format!("POST http://192.0.2.1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let script = [
            send(&request),
            until("Digest: x\r\n\r\n"),
            send(&request),
            until("Digest: x\r\n\r\n"),
            Act::Fin,
            Act::AwaitEnd,
        ];
        let who = lab.person(Person::new(script).segments(segment, Duration::ZERO));
        lab.finish();
        let wanted =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 ropewalk\r\n\r\n{passed}");
        assert_eq!(text(lab.got(who)), wanted.repeat(2), "segments of {segment}");
        assert_eq!(text(lab.got(lab.served(0))).matches(&passed).count(), 2);
        assert_eq!(connections(&lab, ONE), 1);
    }
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let answers = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
    ];
    let mut lab = lab();
    let list: Vec<&str> = answers
        .iter()
        .map(|(_, answer)| *answer)
        .chain(["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend"])
        .collect();
    lab.serve(ONE, origin(&list));
    let mut script = Vec::new();
    for (method, _) in answers {
        script.extend([send(&format!("{method} http://192.0.2.1/ HTTP/1.1\r\n\r\n")), head_end()]);
    }
    script.extend([send(&get("192.0.2.1", "/")), until("end"), Act::Fin, Act::AwaitEnd]);
    let who = lab.client(script);
    lab.finish();
    assert_eq!(connections(&lab, ONE), 1);
    assert_eq!(text(lab.got(who)).matches("HTTP/1.1 ").count(), 6);
    assert!(text(lab.got(who)).ends_with(&passed("end")));
}

#[test]
fn a_hundred_continue_comes_through_before_the_body_is_sent() {
    let mut lab = lab();
    let script = [
        head_end(),
        send("HTTP/1.1 100 Continue\r\n\r\n"),
        until("the body"),
        send(&ok("done")),
        Act::AwaitEnd,
    ];
    lab.serve(ONE, script);
    let head = "PUT http://192.0.2.1/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n";
    let who = lab.client([
        send(head),
        until("100 Continue"),
        send("the body"),
        until("done"),
        Act::Fin,
        Act::AwaitEnd,
    ]);
    lab.finish();
    let wanted = format!("HTTP/1.1 100 Continue\r\nVia: 1.1 ropewalk\r\n\r\n{}", passed("done"));
    assert_eq!(text(lab.got(who)), wanted);
}

#[test]
fn interim_responses_in_any_number_and_pieces_pass() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for segment in [1, 50, usize::MAX] {
        let mut lab = lab();
        let answer = [interim.repeat(3), ok("x")].concat();
        let person = Person::new([head_end(), send(&answer), Act::AwaitEnd]);
        lab.target(ONE, Target::new(person.segments(segment, ms(1))));
        let who = lab.client([send(&get("192.0.2.1", "/")), until("\r\n\r\nx"), Act::Fin, Act::AwaitEnd]);
        lab.finish();
        assert_eq!(text(lab.got(who)).matches("103 Early Hints").count(), 3);
        assert!(text(lab.got(who)).ends_with(&passed("x")));
    }
}

#[test]
fn a_body_until_close_ends_with_the_clients_connection() {
    let body = pattern(200_000, 5);
    let mut lab = lab();
    lab.serve(ONE, [head_end(), Act::Send([b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat()), Act::Fin]);
    let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
    lab.finish();
    let got = lab.got(who);
    same_bytes(&got[got.len() - body.len()..], &body, "the body");
    assert!(text(&got[..200]).contains("Connection: close\r\n"));
    assert_eq!(lab.end(who), End::Fin);
}

/// What comes of half a body for a client that reads slowly: what it got, and how it ended.
fn truncated(request: &str, head: &str, end: Act) -> (String, End) {
    let mut lab = lab();
    let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n32\r\n{}", "x".repeat(30));
    lab.serve(ONE, [head_end(), send(&answer), end]);
    let client = Person::new(vec![send(request), Act::AwaitEnd]);
    let who = lab.person(client.windows(64, 64 * 1024).reads(Reading::Slow(16, ms(5))));
    lab.finish();
    (text(lab.got(who)), lab.end(who))
}

#[test]
fn a_truncated_body_reaches_the_client_as_far_as_it_came_and_never_looks_whole() {
    let old = "GET http://192.0.2.1/ HTTP/1.0\r\n\r\n";
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let (got, end) = truncated(&get("192.0.2.1", "/"), head, Act::Fin);
        // RFC 9112 section 8: the length or the missing last chunk tells.
        assert!(got.ends_with(&"x".repeat(30)) && end == End::Fin, "{head}: {end:?} {got}");
        assert_eq!(got.matches("HTTP/1.1").count(), 1, "nothing is said behind it: {got}");
        let (_, end) = truncated(&get("192.0.2.1", "/"), head, Act::Reset);
        assert_eq!(end, End::Reset, "{head}");
    }
    assert_eq!(truncated(old, "Content-Length: 100", Act::Fin).1, End::Fin);
    assert_eq!(truncated(old, "Transfer-Encoding: chunked", Act::Fin).1, End::Reset, "nothing would tell");
    // A reset cuts a body until close short as well.
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send("HTTP/1.1 200 OK\r\n\r\nsome"), Act::Pause(ms(100)), Act::Reset]);
    let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
    lab.finish();
    assert_eq!(lab.end(who), End::Reset);
}

#[test]
fn a_head_that_ends_with_the_connection_is_taken_as_browsers_take_it() {
    for (answer, wanted) in [
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\n", Some("302 Found\r\nLocation: /x\r\n")),
        ("HTTP/1.1 200 OK\r\nX: y", Some("200 OK\r\nX: y\r\n")),
        ("HTTP/1.1 200 OK\r\nX: y\r", Some("200 OK\r\nX: y\r\n")),
        ("HTTP/1.1 200 OK\r\nX: y\n", Some("200 OK\r\nX: y\r\n")),
        ("HTTP/1.1 200 OK\r\nX: y\r\n\r", Some("200 OK\r\nX: y\r\n")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Some("200 OK\r\nContent-Length: 2\r\n")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            Some("200 OK\r\nTransfer-Encoding: chunked\r\n"),
        ),
        // Whole, and the client may not go on: who knows which fields are lost.
        ("HTTP/1.1 304 Not Modified\r\nX: y", Some("304 Not Modified\r\nX: y\r\n")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0", Some("200 OK\r\nContent-Length: 0\r\n")),
        ("HTTP/1.1 200 OK", Some("200 OK\r\n")),
        ("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n", Some("200 OK\r\nX: y\r\n")),
        ("HTTP/1.1 100 Continue\r\n", None),
        ("HTTP/1.1 101 Go\r\nUpgrade: x\r\n", None),
        ("HTTP/1.1 20", None),
        ("HTT", None),
        ("", Some("502 Bad Gateway\r\n")),
    ] {
        for segment in [1, 5, 20, usize::MAX] {
            let mut lab = lab();
            let origin = Person::new([head_end(), send(answer), Act::Fin]);
            lab.target(ONE, Target::new(origin.segments(segment, ms(1))));
            let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
            lab.finish();
            assert_eq!(lab.end(who), End::Fin, "{answer:?}");
            let got = text(lab.got(who));
            let Some(wanted) = wanted else {
                // No head even so: the client judges it itself.
                assert_eq!(got, answer);
                continue;
            };
            assert!(got.contains(&format!("HTTP/1.1 {wanted}")), "{answer:?}: {got}");
            assert!(got.contains("\r\nConnection: close\r\n"), "{answer:?}: {got}");
            // Not a byte is added, which would be the body's.
            assert!(got.ends_with("\r\n\r\n") || wanted.starts_with("502"), "{answer:?}: {got:?}");
        }
    }
}

#[test]
fn a_request_body_cut_short_never_looks_whole() {
    for leave in [Act::Fin, Act::Reset, Act::Close] {
        let mut lab = lab();
        lab.serve(ONE, [Act::AwaitEnd]);
        let request = "POST http://192.0.2.1/ HTTP/1.1\r\nContent-Length: 100\r\n\r\nonly a part";
        lab.client([send(request), Act::Pause(ms(100)), leave]);
        lab.finish();
        assert_ne!(lab.end(lab.served(0)), End::Open);
        assert!(text(lab.got(lab.served(0))).ends_with("only a part"));
    }
}
