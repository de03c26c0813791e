//! HTTP forwarding when a side does wrong: early ends, garbage, requests with two readings.

mod util;

use ropewalk_core::machine::event::{Excess, Refusal};
use util::http::{get, head_end, ok, origin, passed, send, text, until};
use util::lab::Who;
use util::say;
use util::{Act, End, Lab, Person, Reading, Setup, Target, ms, pattern, secs};

const ONE: &str = "192.0.2.1:80";

fn lab() -> Lab {
    Setup::new(2).build()
}

// ---- early answers and bad origins ----

#[test]
fn a_client_that_has_ended_its_half_hears_what_is_wrong_with_its_body() {
    let mut lab = lab();
    lab.serve(ONE, [Act::AwaitEnd]);
    let request = "POST http://192.0.2.1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n";
    let who = lab.client([send(request), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert_eq!((say::status(lab.got(who)), lab.end(who)), (400, End::Fin));
}

/// A client with a long body, and an origin that answers before it has come.
fn early(lab: &mut Lab, script: Vec<Act>, reading: Reading) -> Who {
    lab.target(ONE, Target::new(Person::new(script).windows(8_000, 8_000)));
    let head = "POST http://192.0.2.1/ HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n";
    let body = Act::Send([head.as_bytes(), &pattern(3_000_000, 1)].concat());
    let client = Person::new([body, Act::AwaitEnd]).windows(64, 8_000).reads(reading);
    lab.person(client)
}

#[test]
fn a_final_answer_before_the_request_is_whole_reaches_the_client() {
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge";
    for reading in [Reading::Fast, Reading::Slow(16, ms(5))] {
        let mut lab = lab();
        let script = vec![
            Act::Read(Reading::Stopped),
            Act::Pause(ms(100)),
            send(answer),
            Act::Pause(secs(5)),
            Act::Close,
        ];
        let who = early(&mut lab, script, reading);
        lab.finish();
        let got = text(lab.got(who));
        assert!(got.starts_with("HTTP/1.1 413 ") && got.ends_with("large"), "{reading:?}: {got}");
    }
}

#[test]
fn a_whole_answer_reaches_a_slow_client_though_the_origin_then_resets() {
    // The answer is with the proxy, all of it, when the connection to the origin breaks under the
    // request's body. What was promised can still be delivered.
    let body = "l".repeat(2_000);
    let answer = format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2000\r\n\r\n{body}");
    let mut lab = lab();
    let script = vec![Act::Pause(ms(100)), send(&answer), Act::Pause(ms(20)), Act::Reset];
    let who = early(&mut lab, script, Reading::Slow(16, ms(5)));
    lab.finish();
    let got = text(lab.got(who));
    assert!(got.ends_with(&body), "{} bytes came: {got}", got.len());
}

#[test]
fn what_goes_wrong_behind_an_interim_response_never_garbles_it() {
    // The interim response is half written to a slow client when the exchange breaks: the rest of
    // it comes before the 502, or a reset does.
    let interim = format!("HTTP/1.1 103 Hints\r\nLink: {}\r\n\r\n", "l".repeat(1_000));
    for (end, body) in [(Act::Reset, ""), (Act::AwaitEnd, "no chunk at all")] {
        let mut lab = lab();
        let script = [head_end(), send(&interim), Act::Pause(ms(30)), end.clone(), Act::AwaitEnd];
        lab.serve(ONE, script);
        let head = "POST http://192.0.2.1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1_000));
        let mut script = vec![send(head), Act::Pause(ms(60))];
        script.extend((0..20).flat_map(|_| [send(&chunk), Act::Pause(ms(2))]));
        script.extend([send(body), Act::AwaitEnd]);
        let client = Person::new(script).windows(64, 64 * 1024).reads(Reading::Slow(16, ms(5)));
        let who = lab.person(client);
        lab.finish();
        let got = text(lab.got(who));
        let whole = got.find("\r\n\r\n").map(|at| &got[at + 4..]);
        let sound = lab.sock(who).got.reset || whole.is_some_and(|rest| rest.starts_with("HTTP/1.1 "));
        assert!(sound && !got.contains("lHTTP"), "{end:?}: {got}");
    }
}

#[test]
fn garbage_from_an_origin_is_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "",
    ] {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(answer), Act::Fin]);
        let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
        lab.finish();
        assert_eq!((say::status(lab.got(who)), lab.end(who)), (502, End::Fin), "{answer:?}");
    }
}

const NAMELESS: [&str; 7] = [
    "SSH-2.0-OpenSSH\r\n\r\n",
    "\0\0\0\0",
    "<html>HTTP/0.9</html>",
    "abcdeHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\n\r\n",
    "HT",
    "\r\n",
    "HTTP/1.1 20",
];

#[test]
fn what_has_no_head_reaches_the_client_as_it_came_and_both_connections_end() {
    for answer in NAMELESS {
        for segment in [1, 7, usize::MAX] {
            let mut lab = lab();
            let bad = Person::new([head_end(), send(answer), Act::Fin, Act::AwaitEnd]);
            lab.target(ONE, Target::new(bad.segments(segment, ms(1))));
            // What it asks for next has no answer: it asks anew, as after any connection's end.
            let script =
                [send(&get("192.0.2.1", "/1")), until(answer), send(&get("192.0.2.1", "/2")), Act::AwaitEnd];
            let who = lab.client(script);
            lab.finish();
            assert_eq!((text(lab.got(who)), lab.end(who)), (answer.into(), End::Fin), "{segment}");
            assert_eq!(lab.world.served.len(), 1, "{answer:?}");
            assert!(!text(lab.got(lab.served(0))).contains("/2"), "{answer:?}");
        }
    }
}

/// A client that finds a head behind more bytes than we do takes its connection for one that stays.
#[test]
fn an_origin_whose_answer_has_no_head_never_answers_what_is_asked_next() {
    let first = "abcdeHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send(first), Act::Pause(ms(100)), send(forged), Act::AwaitEnd]);
    let who = lab.client([
        send(&get("192.0.2.1", "/1")),
        until(first),
        send(&get("192.0.2.2", "/2")),
        Act::AwaitEnd,
    ]);
    lab.finish();
    assert_eq!((text(lab.got(who)), lab.end(who)), (first.into(), End::Fin));
    assert_eq!(lab.world.served.len(), 1);
}

#[test]
fn what_has_no_head_has_no_bound() {
    let mut lab = lab();
    let page = pattern(3_000_000, 1);
    lab.serve(ONE, [head_end(), Act::Send(page.clone()), Act::Fin]);
    let client = Person::new([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
    let who = lab.person(client.reads(Reading::Slow(64 * 1024, ms(5))));
    lab.finish();
    assert!(lab.got(who) == page && lab.end(who) == End::Fin);
}

#[test]
fn what_has_no_head_is_a_502_where_a_part_of_it_could_pass_for_the_next_answer() {
    for answer in NAMELESS {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(answer), Act::Fin, Act::AwaitEnd]);
        let who =
            lab.client([send(&[get("192.0.2.1", "/1"), get("192.0.2.2", "/2")].concat()), Act::AwaitEnd]);
        lab.finish();
        assert_eq!((say::status(lab.got(who)), lab.end(who)), (502, End::Fin), "{answer:?}");
        assert_eq!(lab.world.served.len(), 1, "{answer:?}");
    }
}

#[test]
fn an_origin_that_ends_behind_an_interim_response_has_answered_that_and_no_more() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for pause in [0, 50] {
        for (request, answer) in [
            (get("192.0.2.1", "/"), "HTTP/1.1 100 Continue\r\nVia: 1.1 ropewalk\r\n\r\n"),
            // It is sent none: RFC 9110 section 15.2.
            ("GET http://192.0.2.1/ HTTP/1.0\r\n\r\n".into(), "HTTP/1.1 502 "),
        ] {
            let mut lab = lab();
            lab.serve(ONE, [head_end(), send(interim), Act::Pause(ms(pause)), Act::Fin, Act::AwaitEnd]);
            let who = lab.client([send(&request), Act::AwaitEnd]);
            lab.finish();
            let got = text(lab.got(who));
            assert!(got.starts_with(answer) && lab.end(who) == End::Fin, "{request}: {got}");
            assert_eq!(got.contains("502"), answer.contains("502"), "{got}");
            assert!(matches!(lab.refusals()[..], [Refusal::BadResponse(_)]), "{:?}", lab.refusals());
        }
    }
}

#[test]
fn an_endless_head_from_an_origin_is_a_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(300_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(2_001));
    for (head, why) in [(long, Excess::Bytes(262_144)), (many, Excess::Fields(2_000))] {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(&head), Act::AwaitEnd]);
        let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
        lab.finish();
        assert_eq!(say::status(lab.got(who)), 502);
        assert_eq!(lab.refusals(), [Refusal::ResponseTooLarge(why)]);
    }
}

#[test]
fn an_endless_head_from_a_client_is_a_431() {
    let start = "GET http://192.0.2.1/ HTTP/1.1\r\n";
    let unended = format!("{start}X: {}", "x".repeat(3_000_000));
    let many = format!("{start}{}", "X: y\r\n".repeat(2_001));
    for (head, why) in [(unended, Excess::Bytes(262_144)), (many, Excess::Fields(2_000))] {
        for before in [String::new(), get("192.0.2.1", "/")] {
            let mut lab = lab();
            lab.serve(ONE, origin(&[&ok("first")]));
            let text = [before.clone(), head.clone(), "\r\n".into()].concat();
            let who = lab.person(Person::new([send(&text), Act::AwaitEnd]).segments(1_000, ms(1)));
            lab.finish();
            let got = lab.got(who);
            let answer = if before.is_empty() { got } else { &got[passed("first").len()..] };
            assert_eq!((say::status(answer), lab.end(who)), (431, End::Fin));
            assert_eq!(lab.refusals(), [Refusal::RequestTooLarge(why)]);
        }
    }
}

#[test]
fn an_origin_that_speaks_unasked_is_not_asked_again() {
    let mut lab = lab();
    let bad = Person::new([head_end(), send(&[ok("first"), ok("forged")].concat()), Act::AwaitEnd]);
    let mut target = Target::new(Person::new(origin(&[&ok("second")])));
    target.first.push_back(bad.whole());
    lab.target(ONE, target);
    let script = [
        send(&get("192.0.2.1", "/")),
        until("first"),
        send(&get("192.0.2.1", "/")),
        head_end(),
        Act::Pause(secs(1)),
        Act::Fin,
        Act::AwaitEnd,
    ];
    let who = lab.client(script);
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("first"), passed("second")].concat());
}

#[test]
fn bytes_behind_an_answer_before_the_next_request_are_dropped() {
    let mut lab = lab();
    let bad =
        Person::new([head_end(), send(&ok("first")), Act::Pause(ms(50)), send(&ok("forged")), Act::AwaitEnd]);
    let mut target = Target::new(Person::new(origin(&[&ok("second")])));
    target.first.push_back(bad);
    lab.target(ONE, target);
    let script = [
        send(&get("192.0.2.1", "/")),
        until("first"),
        Act::Pause(secs(1)),
        send(&get("192.0.2.1", "/")),
        head_end(),
        Act::Pause(secs(1)),
        Act::Fin,
        Act::AwaitEnd,
    ];
    let who = lab.client(script);
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("first"), passed("second")].concat());
}

// ---- smuggling ----

#[test]
fn requests_with_two_readings_are_refused() {
    for (fields, body) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length : 5\r\n", "hello"),
        ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: x\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Host: a\r\nHost: b\r\n", ""),
    ] {
        let mut lab = lab();
        lab.serve(ONE, origin(&[&ok("no")]));
        let request = format!("POST http://192.0.2.1/ HTTP/1.1\r\n{fields}\r\n{body}");
        let who = lab.client([send(&request), Act::AwaitEnd]);
        lab.finish();
        let status = say::status(lab.got(who));
        assert!(status == 400 || status == 501, "{fields:?}: {status}");
        assert!(lab.world.attempts.is_empty(), "{fields:?}");
        assert_eq!(lab.end(who), End::Fin);
    }
}

#[test]
fn a_bad_chunk_ends_the_exchange() {
    for body in [
        "zz\r\n",
        "5\r\nhelloXX",
        "5\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "-1\r\n",
        "0\r\nX\r\n\r\n",
    ] {
        for segment in [1, usize::MAX] {
            let mut lab = lab();
            lab.serve(ONE, [Act::AwaitEnd]);
            let request =
                format!("POST http://192.0.2.1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            let who = lab.person(Person::new([send(&request), Act::AwaitEnd]).segments(segment, ms(1)));
            lab.finish();
            assert_eq!(say::status(lab.got(who)), 400, "{body:?}");
            if let Some((_, target)) = lab.world.served.first() {
                assert_ne!(lab.end(*target), End::Open);
                assert!(!text(lab.got(*target)).contains("0\r\n\r\n"), "it must not look whole");
            }
        }
    }
}

#[test]
fn a_bad_second_request_is_refused_behind_the_first_answer() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("first")]));
    let both = [get("192.0.2.1", "/"), "GET / HTTP/1.1\r\nHost: inside\r\n\r\n".into()].concat();
    let who = lab.client([send(&both), Act::AwaitEnd]);
    lab.finish();
    let got = text(lab.got(who));
    assert!(got.starts_with(&passed("first")), "{got}");
    assert_eq!(say::status(&lab.got(who)[passed("first").len()..]), 400);
    assert_eq!(lab.end(who), End::Fin);
}

#[test]
fn origin_form_and_other_schemes_are_refused() {
    for line in [
        "GET / HTTP/1.1",
        "GET https://192.0.2.1/ HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT 192.0.2.1 HTTP/1.1",
        "GET http://u@192.0.2.1/ HTTP/1.1",
    ] {
        let mut lab = lab();
        let who = lab.client([send(&format!("{line}\r\nHost: 192.0.2.1\r\n\r\n")), Act::AwaitEnd]);
        lab.finish();
        assert_eq!((say::status(lab.got(who)), lab.end(who)), (400, End::Fin), "{line}");
    }
}

// ---- who stands still ----

#[test]
fn a_mute_origin_is_a_504_and_a_stalled_body_a_reset_after_a_quarter_of_an_hour() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    let post = "POST http://192.0.2.1/ HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf";
    for (request, answer, status) in
        [(get("192.0.2.1", "/"), "", Some(504)), (get("192.0.2.1", "/"), part, None), (post.into(), "", None)]
    {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(answer), Act::AwaitEnd]);
        let who = lab.client([send(&request), Act::AwaitEnd]);
        lab.run_for(secs(899));
        assert_eq!(lab.end(who), End::Open, "{request}: too early");
        lab.run_for(secs(2));
        match status {
            Some(status) => assert_eq!(say::status(lab.got(who)), status),
            None => assert_eq!(lab.end(who), End::Reset, "{request}"),
        }
        lab.finish();
    }
}

#[test]
fn an_exchange_on_which_something_moves_has_no_limit() {
    let mut lab = lab();
    let mut script = vec![head_end(), send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")];
    script.extend("drops".split_inclusive(|_| true).flat_map(|drop| [Act::Pause(secs(800)), send(drop)]));
    script.push(Act::AwaitEnd);
    lab.serve(ONE, script);
    let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitText(b"drops".to_vec()), Act::Fin]);
    lab.finish();
    assert_eq!((text(lab.got(who)), lab.end(who)), (passed("drops"), End::Fin));
}
