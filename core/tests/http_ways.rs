//! HTTP forwarding, apart from the plain exchange: a change of protocol, kept connections that were
//! closed, messages that go no further, trailers, what comes in front of the first request.

mod util;

use ropewalk_core::machine::event::Refusal;
use util::http::{head_end, ok, passed, send, text, until};
use util::{Act, End, Lab, Person, Reading, Setup, Target, ms, pattern, secs};

const ONE: &str = "192.0.2.1:80";

fn lab() -> Lab {
    Setup::new(2).build()
}

fn request(method: &str, rest: &str) -> String {
    format!("{method} http://192.0.2.1/ HTTP/1.1\r\n{rest}")
}

// ---- a change of protocol ----

const ASK: &str = "GET http://192.0.2.1/chat HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: y\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: y\r\nVia: 1.1 ropewalk\r\n\
                        Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_websocket_in_absolute_form_becomes_a_tunnel() {
    let big = pattern(300_000, 1);
    for segment in [1, 50, usize::MAX] {
        let segment = if segment == 1 { 13 } else { segment };
        let mut lab = lab();
        // Frames come with the 101; then all that comes goes back.
        let origin = [head_end(), send(&[SWITCH, "frame with it"].concat()), Act::Echo];
        lab.target(ONE, Target::new(Person::new(origin).segments(segment, ms(0))));
        let script = [send(ASK), until("frame with it"), Act::Send(big.clone()), Act::Fin, Act::AwaitEnd];
        let who = lab.client(script);
        lab.finish();
        let wanted = [SWITCHED.as_bytes(), b"frame with it", &big].concat();
        assert_eq!(lab.got(who).len(), wanted.len());
        assert!(lab.got(who) == wanted, "{}", text(&lab.got(who)[..300]));
        assert_eq!(lab.end(who), End::Fin);
        let seen = text(lab.got(lab.served(0)));
        let asked = "GET /chat HTTP/1.1\r\nHost: 192.0.2.1\r\nSec-WebSocket-Key: x\r\nVia: 1.1 ropewalk\r\n\
                     Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert!(seen.starts_with(asked), "{seen}");
        // All bytes are accounted for once.
        let (sent, received) = lab.traffic();
        assert_eq!(sent as usize, asked.len() + big.len());
        assert_eq!(received as usize, SWITCH.len() + "frame with it".len() + big.len());
    }
}

#[test]
fn frames_sent_before_the_101_arrive_behind_it() {
    let mut lab = lab();
    let origin =
        [head_end(), Act::Pause(ms(50)), send("HTTP/1.1 103 Early\r\n\r\n"), send(SWITCH), Act::Echo];
    lab.serve(ONE, origin);
    let who =
        lab.client([send(&[ASK, "early frame"].concat()), until("early frame"), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    let interim = "HTTP/1.1 103 Early\r\nVia: 1.1 ropewalk\r\n\r\n";
    assert_eq!(text(lab.got(who)), [interim, SWITCHED, "early frame"].concat());
}

#[test]
fn an_offer_that_is_not_taken_up_is_an_ordinary_exchange() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send(&ok("no")), head_end(), send(&ok("page")), Act::AwaitEnd]);
    let script =
        [send(ASK), until("no"), send(&request("GET", "\r\n")), until("page"), Act::Fin, Act::AwaitEnd];
    let who = lab.client(script);
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("no"), passed("page")].concat());
}

#[test]
fn a_change_that_was_not_offered_is_a_502() {
    let h2c = ASK.replace("websocket", "h2c");
    for (ask, switch) in [
        (request("GET", "\r\n"), SWITCH.to_owned()),
        (h2c, SWITCH.replace("websocket", "h2c")),
        (ASK.to_owned(), SWITCH.replace("websocket", "h2c")),
        (ASK.replace("Connection: Upgrade\r\n", ""), SWITCH.to_owned()),
    ] {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(&switch), Act::AwaitEnd]);
        let who = lab.client([send(&ask), Act::AwaitEnd]);
        lab.finish();
        assert!(text(lab.got(who)).starts_with("HTTP/1.1 502 "), "{ask}");
    }
}

// ---- kept connections that were closed ----

/// An origin that answers one request on its first connection, and ends when the second has come;
/// later connections answer.
fn closes_on_the_second(end: &[Act]) -> Target {
    let fresh = Person::new([head_end(), send(&ok("again")), Act::AwaitEnd]);
    let mut target = Target::new(fresh);
    let script = [head_end(), send(&ok("first")), head_end()].into_iter().chain(end.iter().cloned());
    target.first.push_back(Person::new(script));
    target
}

#[test]
fn a_request_that_crossed_with_the_close_is_sent_once_more() {
    for end in [Act::Fin, Act::Close, Act::Reset] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            let mut lab = lab();
            lab.target(ONE, closes_on_the_second(std::slice::from_ref(&end)));
            let bodiless = if method == "PUT" { "Content-Length: 0\r\n\r\n" } else { "\r\n" };
            let script =
                [send(&request("GET", "\r\n")), until("first"), send(&request(method, bodiless)), head_end()];
            let who = lab.client(script.into_iter().chain([Act::Pause(secs(1)), Act::Fin, Act::AwaitEnd]));
            lab.finish();
            let got = text(lab.got(who));
            let wanted = if method == "HEAD" {
                passed("again").replace("\r\n\r\nagain", "\r\n\r\n")
            } else {
                passed("again")
            };
            assert_eq!(got, [passed("first"), wanted].concat(), "{method} {end:?}");
            assert_eq!(lab.refusals(), []);
        }
    }
}

#[test]
fn what_cannot_be_sent_once_more_ends_without_an_answer() {
    for (method, rest) in [
        ("POST", "\r\n"),
        ("POST", "Content-Length: 3\r\n\r\nabc"),
        ("PUT", "Content-Length: 3\r\n\r\nabc"),
        ("PATCH", "Content-Length: 0\r\n\r\n"),
        ("PUT", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        for end in [Act::Fin, Act::Reset] {
            let mut lab = lab();
            lab.target(ONE, closes_on_the_second(&[end]));
            let who = lab.client([
                send(&request("GET", "\r\n")),
                until("first"),
                send(&request(method, rest)),
                Act::AwaitEnd,
            ]);
            lab.finish();
            assert_eq!((text(lab.got(who)), lab.end(who)), (passed("first"), End::Fin), "{method} {rest}");
            assert_eq!(lab.world.served.len(), 1, "{method} {rest}: it is not sent again");
            assert_eq!(lab.refusals(), [Refusal::Stale]);
        }
    }
}

#[test]
fn a_request_is_sent_once_more_and_not_twice() {
    // Both connections end: the second is fresh, so its end is an answer.
    let mut lab = lab();
    let mut target = closes_on_the_second(&[Act::Fin]);
    target.first.push_back(Person::new([head_end(), Act::Fin, Act::AwaitEnd]));
    lab.target(ONE, target);
    let who = lab.client([
        send(&request("GET", "\r\n")),
        until("first"),
        send(&request("GET", "\r\n")),
        Act::AwaitEnd,
    ]);
    lab.finish();
    assert_eq!(lab.world.served.len(), 2);
    assert!(text(lab.got(who))[passed("first").len()..].starts_with("HTTP/1.1 502 "));
}

/// Servers that are tired of an idle connection say so in words before they close it.
#[test]
fn a_408_that_crossed_with_a_request_is_no_answer_to_it() {
    let tired = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let run = |second: &str, pieces: [&str; 2]| {
        let mut lab = lab();
        lab.target(ONE, closes_on_the_second(&[send(pieces[0]), send(pieces[1]), Act::Fin]));
        let script = [send(&request("GET", "\r\n")), until("first"), send(second), head_end()];
        let who = lab.client(script.into_iter().chain([Act::Pause(secs(1)), Act::Fin, Act::AwaitEnd]));
        lab.finish();
        (text(lab.got(who)), lab.world.served.len())
    };
    let (got, served) = run(&request("GET", "\r\n"), tired.split_at(20).into());
    assert_eq!((got, served), ([passed("first"), passed("again")].concat(), 2));
    // What may not be sent once more gets the answer.
    for second in [request("POST", "Content-Length: 0\r\n\r\n"), request("PUT", "Content-Length: 1\r\n\r\nx")]
    {
        let (got, served) = run(&second, [tired, ""]);
        assert!(got.contains("HTTP/1.1 408 ") && served == 1, "{got}");
    }
    // On a fresh connection it is an answer, too.
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send(tired), Act::Fin, Act::AwaitEnd]);
    let who = lab.client([send(&request("GET", "\r\n")), head_end(), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert!(text(lab.got(who)).starts_with("HTTP/1.1 408 "));
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    for part in ["H", "HTTP/1.1 2", "HTTP/1.1 103 Early\r\nVia: 1.1 ropewalk\r\n\r\n"] {
        let mut lab = lab();
        let sent = part.replace("Via: 1.1 ropewalk\r\n", "");
        lab.target(ONE, closes_on_the_second(&[send(&sent), Act::Fin]));
        let who = lab.client([
            send(&request("GET", "\r\n")),
            until("first"),
            send(&request("GET", "\r\n")),
            Act::AwaitEnd,
        ]);
        lab.finish();
        assert_eq!(lab.world.served.len(), 1);
        assert_eq!((text(lab.got(who)), lab.end(who)), (passed("first") + part, End::Fin));
    }
}

#[test]
fn pipelined_requests_survive_a_stale_connection_in_order() {
    let mut lab = lab();
    let mut target = closes_on_the_second(&[Act::Fin]);
    target.rest = Person::new([head_end(), send(&ok("b")), head_end(), send(&ok("c")), Act::AwaitEnd]);
    lab.target(ONE, target);
    let two = request("GET", "\r\n").repeat(2);
    let who = lab.client([
        send(&request("GET", "\r\n")),
        until("first"),
        send(&two),
        until("c"),
        Act::Pause(secs(1)),
        Act::Fin,
        Act::AwaitEnd,
    ]);
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("first"), passed("b"), passed("c")].concat());
}

// ---- messages that go no further ----

#[test]
fn max_forwards_0_is_answered_here() {
    let trace = request("TRACE", "Max-Forwards: 0\r\nX: 1\r\n\r\n");
    for before in [String::new(), request("GET", "\r\n")] {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(&ok("first")), Act::AwaitEnd]);
        let who = lab.client([send(&[before.as_str(), &trace].concat()), Act::AwaitEnd]);
        lab.finish();
        let got = text(lab.got(who));
        let answer = if before.is_empty() { &got[..] } else { &got[passed("first").len()..] };
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: message/http\r\n"), "{got}");
        assert!(answer.ends_with(&trace), "{got}");
        assert_eq!((lab.end(who), lab.refusals().len()), (End::Fin, 0));
    }
}

#[test]
fn max_forwards_is_counted_down() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send(&ok("x")), Act::AwaitEnd]);
    let who = lab.client([
        send(&request("OPTIONS", "Max-Forwards: 3\r\n\r\n")),
        until("x"),
        Act::Fin,
        Act::AwaitEnd,
    ]);
    lab.finish();
    assert_eq!(text(lab.got(who)), passed("x"));
    assert!(text(lab.got(lab.served(0))).contains("\r\nMax-Forwards: 2\r\n"));
}

// ---- requests ----

#[test]
fn trailers_of_requests_that_mislead_are_dropped() {
    let head = request("POST", "Transfer-Encoding: chunked\r\nConnection: x-named\r\n\r\n");
    let body = "3\r\nabc\r\n0\r\nContent-Length: 5\r\nDigest: x\r\nX-Named: y\r\nHost: evil\r\n\
                Proxy-Authorization: z\r\n\r\n";
    for segment in [1, 9, usize::MAX] {
        let mut lab = lab();
        lab.serve(ONE, [until("0\r\n"), head_end(), send(&ok("x")), Act::AwaitEnd]);
        let person = Person::new([send(&[&head, body].concat()), until("x"), Act::Fin, Act::AwaitEnd]);
        let who = lab.person(person.segments(segment, ms(0)));
        lab.finish();
        assert_eq!(text(lab.got(who)), passed("x"));
        let seen = text(lab.got(lab.served(0)));
        assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nDigest: x\r\n\r\n"), "{seen}");
    }
}

#[test]
fn empty_lines_in_front_of_the_first_request_are_ignored() {
    for before in ["\r\n", "\n", "\r\n\r\n", "\r\n\n\r\n"] {
        for segment in [1, usize::MAX] {
            let mut lab = lab();
            lab.serve(ONE, [head_end(), send(&ok("x")), Act::AwaitEnd]);
            let script =
                [send(&[before, &request("GET", "\r\n")].concat()), until("x"), Act::Fin, Act::AwaitEnd];
            let who = lab.person(Person::new(script).segments(segment, ms(0)));
            lab.finish();
            assert_eq!(text(lab.got(who)), passed("x"), "{before:?}");
        }
    }
    // In front of nothing else, and not for ever.
    for (text, status) in
        [("\r\n\x05\x01\0", ""), ("\rGET", "HTTP/1.1 400 "), (&"\r\n".repeat(140_000), "HTTP/1.1 431 ")]
    {
        let mut lab = lab();
        let who = lab.client([send(text), Act::AwaitEnd]);
        lab.finish();
        let got = String::from_utf8_lossy(lab.got(who)).into_owned();
        assert!(got.starts_with(status) && got.is_empty() == status.is_empty(), "{got}");
        assert_eq!(lab.refusals().len(), 1);
    }
}

#[test]
fn bytes_that_are_no_utf_8_reach_the_origin() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send(&ok("x")), Act::AwaitEnd]);
    let get = b"GET http://192.0.2.1/\xe4\xff?q=\x80 HTTP/1.1\r\n\r\n".to_vec();
    let who = lab.client([Act::Send(get), until("x"), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert_eq!(text(lab.got(who)), passed("x"));
    assert!(lab.got(lab.served(0)).starts_with(b"GET /\xe4\xff?q=\x80 HTTP/1.1\r\n"));
}

// ---- which connection to an origin is used again ----

#[test]
fn another_port_of_the_same_host_is_another_origin() {
    let other = "192.0.2.1:8080";
    for pipelined in [true, false] {
        let mut lab = lab();
        lab.serve(ONE, origin_of("first"));
        lab.serve(other, origin_of("second"));
        let requests = [ONE, other].map(|at| format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n"));
        let mut script = if pipelined {
            vec![send(&requests.concat())]
        } else {
            vec![send(&requests[0]), until("first"), send(&requests[1])]
        };
        script.extend([until("second"), Act::Fin, Act::AwaitEnd]);
        let who = lab.client(script);
        lab.finish();
        assert_eq!(text(lab.got(who)), [passed("first"), passed("second")].concat());
        assert_eq!(lab.world.served.len(), 2, "pipelined: {pipelined}");
    }
}

fn origin_of(body: &str) -> Vec<Act> {
    vec![head_end(), send(&ok(body)), Act::AwaitEnd]
}

#[test]
fn an_origin_that_answered_early_is_not_used_again_while_bytes_of_the_request_are_unsent() {
    // It answers from the head alone, reads nothing more for a while, and stays.
    let mut lab = lab();
    let early = [head_end(), Act::Read(Reading::Stopped), send(&ok("early")), Act::Pause(secs(1))];
    let later = [Act::Read(Reading::Fast), Act::AwaitEnd];
    let mut target = Target::new(Person::new(origin_of("second")));
    target.first.push_back(Person::new(early.into_iter().chain(later)).windows(4_000, 64_000));
    lab.target(ONE, target);
    // All of it is with the proxy, and less than half fits into the origin's system.
    let body = "x".repeat(10_000);
    let post = format!("POST http://{ONE}/ HTTP/1.1\r\nHost: {ONE}\r\nContent-Length: 10000\r\n\r\n{body}");
    let end = [until("second"), Act::Fin, Act::AwaitEnd];
    let script = [send(&post), until("early"), send(&request("GET", "\r\n"))];
    let who = lab.client(script.into_iter().chain(end));
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("early"), passed("second")].concat());
    assert_eq!(lab.world.served.len(), 2, "the rest of the body would have been read as a request");
}
