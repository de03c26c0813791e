//! HTTP forwarding: one exchange after another, each to its origin, none of them twice.

mod util;

use ropewalk_core::time::Duration;
use util::http::{connections, get, head_end, ok, origin, passed, send, text, until};
use util::say;
use util::{Act, Answer, Behave, End, Lab, Person, Reading, Setup, Target, ms, secs};

const ONE: &str = "192.0.2.1:80";
const TWO: &str = "192.0.2.2:80";

fn lab() -> Lab {
    Setup::new(2).build()
}

// ---- keep-alive ----

#[test]
fn requests_to_one_origin_share_its_connection() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("first"), &ok("second"), &ok("third")]));
    let script = [
        send(&get("192.0.2.1", "/1")),
        until("first"),
        Act::Pause(secs(30)),
        send(&get("192.0.2.1:80", "/2")),
        until("second"),
        send(&get("192.0.2.1", "/3")),
        until("third"),
        Act::Fin,
        Act::AwaitEnd,
    ];
    let who = lab.client(script);
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("first"), passed("second"), passed("third")].concat());
    assert_eq!(connections(&lab, ONE), 1);
    let seen = text(lab.got(lab.served(0)));
    assert!(seen.starts_with("GET /1 HTTP/1.1\r\nHost: 192.0.2.1\r\n"), "{seen}");
    assert_eq!(seen.matches("Via: 1.1 ropewalk\r\n").count(), 3);
    assert_eq!(lab.end(who), End::Fin);
}

#[test]
fn requests_to_two_origins_each_reach_their_own() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("one")]));
    lab.serve(TWO, origin(&[&ok("two")]));
    let mut script = Vec::new();
    for (to, body) in [("192.0.2.1", "one"), ("192.0.2.2", "two"), ("192.0.2.1", "one")] {
        script.extend([send(&get(to, "/")), until(body)]);
    }
    let who = lab.client(script.into_iter().chain([Act::Fin, Act::AwaitEnd]));
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("one"), passed("two"), passed("one")].concat());
    assert_eq!((connections(&lab, ONE), connections(&lab, TWO)), (2, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let all =
        [get("192.0.2.1", "/1"), get("192.0.2.1", "/2"), get("192.0.2.2", "/3"), get("192.0.2.1", "/4")];
    for segment in [1, 7, 60, usize::MAX] {
        let mut lab = lab();
        lab.serve(ONE, origin(&[&ok("r1"), &ok("r2")]));
        lab.serve(TWO, origin(&[&ok("r3")]));
        let script = [Act::Send(all.concat().into_bytes()), until("r3"), head_end(), Act::Fin, Act::AwaitEnd];
        let who = lab.person(Person::new(script).segments(segment, Duration::ZERO));
        lab.finish();
        let wanted = [passed("r1"), passed("r2"), passed("r3"), passed("r1")].concat();
        assert_eq!(text(lab.got(who)), wanted, "segments of {segment}");
    }
}

#[test]
fn a_client_that_half_closes_behind_its_request_gets_its_answer() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), Act::Pause(secs(6)), send(&ok("late")), Act::AwaitEnd]);
    let who = lab.client([send(&get("192.0.2.1", "/")), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert_eq!((text(lab.got(who)), lab.end(who)), (passed("late"), End::Fin));
}

#[test]
fn a_client_that_half_closes_within_its_next_head_gets_its_answer_and_no_more() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), Act::Pause(secs(1)), send(&ok("x")), Act::AwaitEnd]);
    let request = get("192.0.2.1", "/");
    let who = lab.client([send(&request), send(&request[..request.len() - 2]), Act::Fin, Act::AwaitEnd]);
    lab.run_for(secs(3));
    assert_eq!((text(lab.got(who)), lab.end(who)), (passed("x"), End::Fin));
    lab.finish();
}

#[test]
fn an_idle_keep_alive_connection_is_closed_after_its_time() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("x")]));
    let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
    lab.run_for(secs(70));
    assert_eq!(lab.end(who), End::Open);
    lab.run_for(secs(10));
    assert_eq!(lab.end(who), End::Fin);
    lab.finish();
}

#[test]
fn a_later_head_that_dribbles_is_dropped_too() {
    // The first request came at once; the second comes one byte a minute and would take an hour.
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("x")]));
    let second = get("192.0.2.1", "/");
    let script = [send(&get("192.0.2.1", "/")), until("x"), Act::Pace(1, secs(60)), send(&second)];
    let who = lab.client(script);
    lab.run_for(secs(600));
    assert_ne!(lab.end(who), End::Open, "ten minutes for ten bytes of a head");
    lab.finish();
}

#[test]
fn a_request_after_a_pause_longer_than_the_idle_timeout_is_served() {
    // Between requests the keep-alive timeout holds, within one the idle timeout does.
    let mut lab = Setup::new(1).with(|config| config.idle_timeout = Some(secs(20))).build();
    let answers =
        [head_end(), send(&ok("x")), head_end(), Act::Pause(secs(15)), send(&ok("y")), Act::AwaitEnd];
    lab.target(
        ONE,
        Target::new(Person::new(answers).windows(10, 64 * 1024).reads(Reading::Slow(10, ms(50)))),
    );
    let request = get("192.0.2.1", "/");
    let script = [send(&request), until("\r\n\r\nx"), Act::Pause(secs(60)), send(&request)];
    let who = lab.client(script.into_iter().chain([until("\r\n\r\ny"), Act::Fin, Act::AwaitEnd]));
    lab.finish();
    assert_eq!((text(lab.got(who)), lab.end(who)), ([passed("x"), passed("y")].concat(), End::Fin));
}

#[test]
fn an_origin_that_never_answers_is_given_up_after_the_idle_timeout() {
    let mut lab = Setup::new(1).with(|config| config.idle_timeout = Some(secs(20))).build();
    lab.serve(ONE, [Act::AwaitEnd]);
    let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
    lab.run_for(secs(25));
    assert_ne!(lab.end(who), End::Open);
    lab.check_end();
}

#[test]
fn connection_close_is_kept_on_both_sides() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("x")]));
    let request = "GET http://192.0.2.1/ HTTP/1.1\r\nConnection: close\r\n\r\n";
    let who = lab.client([send(request), Act::AwaitEnd]);
    lab.finish();
    assert!(text(lab.got(lab.served(0))).contains("Connection: close\r\n"));
    assert_eq!(lab.end(who), End::Fin);

    // The origin closes: the client may go on, over another connection.
    let mut lab = self::lab();
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    lab.serve(ONE, [head_end(), send(answer), Act::Fin]);
    let script = [
        send(&get("192.0.2.1", "/")),
        head_end(),
        send(&get("192.0.2.1", "/")),
        head_end(),
        Act::Fin,
        Act::AwaitEnd,
    ];
    let who = lab.client(script);
    lab.finish();
    assert_eq!(text(lab.got(who)), passed("x").repeat(2));
    assert_eq!(connections(&lab, ONE), 2);
}

#[test]
fn an_origin_that_closes_while_idle_is_replaced() {
    for end in [Act::Fin, Act::Close, Act::Reset] {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(&ok("x")), Act::Pause(secs(5)), end]);
        let script = [
            send(&get("192.0.2.1", "/")),
            until("x"),
            Act::Pause(secs(10)),
            send(&get("192.0.2.1", "/")),
            until("x"),
            Act::Fin,
            Act::AwaitEnd,
        ];
        let who = lab.client(script);
        lab.finish();
        assert_eq!(text(lab.got(who)), passed("x").repeat(2));
        assert_eq!(connections(&lab, ONE), 2);
    }
}

// ---- shape of a head, what follows it ----

#[test]
fn a_head_may_dribble_byte_by_byte_in_both_directions() {
    let mut lab = lab();
    let person = Person::new(origin(&[&ok("slow but sure")])).segments(1, ms(3));
    lab.target(ONE, Target::new(person));
    let script = [send(&get("192.0.2.1", "/")), until("sure"), Act::Fin, Act::AwaitEnd];
    let who = lab.person(Person::new(script).segments(1, ms(3)));
    lab.finish();
    assert_eq!(text(lab.got(who)), passed("slow but sure"));
}

#[test]
fn connect_after_a_forwarded_request_opens_a_tunnel() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("page")]));
    lab.serve(TWO, [Act::Echo]);
    let tunnel = [say::http_connect(TWO), b"through the tunnel".to_vec()].concat();
    for pipelined in [false, true] {
        let script = if pipelined {
            vec![Act::Send([get("192.0.2.1", "/").into_bytes(), tunnel.clone()].concat())]
        } else {
            vec![send(&get("192.0.2.1", "/")), until("page"), Act::Send(tunnel.clone())]
        };
        let who =
            lab.client(script.into_iter().chain([until("through the tunnel"), Act::Fin, Act::AwaitEnd]));
        lab.finish();
        let wanted = [passed("page").as_bytes(), say::HTTP_GRANTED, b"through the tunnel"].concat();
        assert_eq!(text(lab.got(who)), text(&wanted), "pipelined: {pipelined}");
    }
}

#[test]
fn a_request_is_never_repeated_once_bytes_of_it_have_left() {
    for method in ["GET", "POST"] {
        for end in [Act::Fin, Act::Reset, Act::Close] {
            let mut lab = lab();
            lab.serve(ONE, [head_end(), end.clone()]);
            let request = format!("{method} http://192.0.2.1/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
            let who = lab.client([send(&request), Act::AwaitEnd]);
            lab.finish();
            assert_eq!(say::status(lab.got(who)), 502, "{method} {end:?}");
            let seen: usize = (0..lab.world.served.len())
                .map(|n| text(lab.got(lab.served(n))).matches(&format!("{method} / ")).count())
                .sum();
            assert_eq!((lab.world.attempts.len(), seen), (1, 1), "{method} {end:?}");
        }
    }
}

#[test]
fn an_http_1_0_client_gets_no_chunks_and_no_interim_response() {
    let mut lab = lab();
    let answer = [String::from("HTTP/1.1 103 Early\r\n\r\n"), ok("old")].concat();
    lab.serve(ONE, origin(&[&answer]));
    let who = lab.client([send("GET http://192.0.2.1/ HTTP/1.0\r\n\r\n"), Act::AwaitEnd]);
    lab.finish();
    let got = text(lab.got(who));
    assert!(!got.contains("103") && got.ends_with("old"), "{got}");
    assert_eq!(lab.end(who), End::Fin);
    assert!(text(lab.got(lab.served(0))).starts_with("GET / HTTP/1.0\r\n"));
}

#[test]
fn names_are_looked_up_for_each_request_anew() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("one"), &ok("again")]));
    lab.name("one.example", [Answer::ips(ms(5), &["192.0.2.1"]), Answer::ips(ms(5), &["10.0.0.1"])]);
    lab.serve(TWO, origin(&[&ok("two")]));
    let script = [
        send(&get("one.example", "/")),
        until("one"),
        send(&get("192.0.2.2", "/")),
        until("two"),
        send(&get("one.example", "/")),
        Act::AwaitEnd,
    ];
    let who = lab.visitor(Duration::ZERO, 0, "198.51.100.9", Person::new(script));
    lab.finish();
    let got = text(lab.got(who));
    assert!(got.contains("403 Forbidden"), "the name has turned to a private address: {got}");
}

#[test]
fn an_origin_that_cannot_be_reached_is_told_and_the_connection_ends() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("one")]));
    lab.target(TWO, Target::that(Behave::Refuse));
    let who =
        lab.client([send(&get("192.0.2.1", "/")), until("one"), send(&get("192.0.2.2", "/")), Act::AwaitEnd]);
    lab.finish();
    let got = lab.got(who);
    assert_eq!(say::status(&got[passed("one").len()..]), 502);
    assert_eq!(lab.end(who), End::Fin);
}

// ---- draining ----

#[test]
fn a_client_that_was_silent_when_the_drain_began_is_served_once_and_told_to_close() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("only"), &ok("never")]));
    let script =
        [Act::Pause(secs(2)), send(&get("192.0.2.1", "/1")), send(&get("192.0.2.1", "/2")), Act::AwaitEnd];
    let who = lab.client(script);
    lab.drain_at(secs(1));
    lab.finish();
    let got = text(lab.got(who));
    assert!(got.contains("Connection: close\r\n") && got.ends_with("only"), "{got}");
}

#[test]
fn an_exchange_that_goes_on_when_the_drain_begins_is_the_last() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), Act::Pause(secs(3)), send(&ok("x")), Act::AwaitEnd]);
    let who = lab.client([send(&get("192.0.2.1", "/")), until("x"), Act::AwaitEnd]);
    lab.drain_at(secs(1));
    lab.finish();
    let got = text(lab.got(who));
    assert!(got.contains("Connection: close\r\n") && got.ends_with("\r\n\r\nx"), "{got}");
    assert_eq!(lab.end(who), End::Fin);
}

#[test]
fn a_client_between_two_requests_ends_as_soon_as_the_drain_begins() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("x")]));
    let who = lab.client([send(&get("192.0.2.1", "/")), until("x"), Act::AwaitEnd]);
    lab.drain_at(secs(2));
    lab.run_for(ms(1_900));
    assert_eq!((text(lab.got(who)), lab.end(who)), (passed("x"), End::Open));
    // Long before the time for an idle connection is over.
    lab.run_for(ms(600));
    assert_eq!(lab.end(who), End::Fin);
    lab.finish();
}

#[test]
fn a_client_that_leaves_while_its_origin_is_mute_does_not_hold_its_place_for_ever() {
    let mut lab = lab();
    lab.serve(ONE, [Act::AwaitEnd]);
    lab.client([send(&get("192.0.2.1", "/poll")), Act::Pause(secs(1)), Act::Fin, Act::AwaitEnd]);
    lab.run_for(secs(120));
    assert_eq!(lab.machine.counters().open, 0, "given up after the keep-alive's time");
}

// ---- what is remembered between events ----

#[test]
fn two_ports_of_one_host_are_two_origins() {
    let mut lab = lab();
    lab.serve(ONE, origin(&[&ok("one")]));
    lab.serve("192.0.2.1:8080", origin(&[&ok("two")]));
    let all = [get("192.0.2.1", "/"), get("192.0.2.1:8080", "/"), get("192.0.2.1:80", "/")].concat();
    let who = lab.client([send(&all), until("one"), until("two"), until("one"), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("one"), passed("two"), passed("one")].concat());
    assert_eq!((connections(&lab, ONE), connections(&lab, "192.0.2.1:8080")), (2, 1));
}

#[test]
fn an_origin_that_answered_before_it_took_the_request_is_not_asked_again() {
    let mut lab = lab();
    // It reads nothing for a while, so that most of the body is still with the proxy when its
    // answer comes.
    let first = Person::new([
        Act::Read(Reading::Stopped),
        Act::Pause(ms(100)),
        send(&ok("early")),
        Act::Pause(secs(2)),
        Act::Read(Reading::Fast),
        Act::AwaitEnd,
    ]);
    let mut target = Target::new(Person::new(origin(&[&ok("second")])));
    target.first.push_back(first.windows(4_000, 64 * 1024));
    lab.target(ONE, target);
    let body = "x".repeat(12_000);
    let post = format!("POST http://192.0.2.1/ HTTP/1.1\r\nContent-Length: 12000\r\n\r\n{body}");
    let client = Person::new([
        send(&post),
        until("early"),
        send(&get("192.0.2.1", "/second")),
        until("second"),
        Act::Fin,
        Act::AwaitEnd,
    ]);
    let who = lab.person(client.whole());
    lab.finish();
    assert_eq!(text(lab.got(who)), [passed("early"), passed("second")].concat());
    assert_eq!(connections(&lab, ONE), 2);
    assert!(text(lab.got(lab.served(1))).starts_with("GET /second "));
}

#[test]
fn what_comes_behind_a_request_waits_with_its_client_while_the_origin_is_mute() {
    let mut lab = lab();
    lab.serve(ONE, [head_end(), Act::Pause(secs(30)), send(&ok("late")), Act::AwaitEnd]);
    let behind = get("192.0.2.1", "/").repeat(20_000);
    let who = lab.client([send(&[get("192.0.2.1", "/"), behind].concat()), Act::AwaitEnd]);
    lab.run_for(secs(4));
    let read = lab.sock(who).proxy_read;
    assert!(read <= 16 * 1024 + 16 * 1024, "{read} bytes are kept for one client");
}

#[test]
fn an_uplink_that_vanishes_ends_the_exchanges_on_it() {
    use ropewalk_core::machine::{Input, UplinkId};
    for half in [false, true] {
        let mut lab = Setup::new(1).build();
        let answer = if half { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf" } else { "" };
        lab.serve(ONE, [head_end(), send(answer), Act::Pause(secs(60)), Act::Fin, Act::AwaitEnd]);
        let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
        lab.run_for(secs(1));
        lab.input(Input::UplinkGone { uplink: UplinkId(1) });
        lab.run_for(secs(1));
        assert_eq!(lab.end(who), End::Open, "it concerns another");
        lab.input(Input::UplinkGone { uplink: UplinkId(0) });
        lab.run_for(secs(3));
        match half {
            true => assert_eq!(lab.end(who), End::Reset),
            false => assert_eq!((say::status(lab.got(who)), lab.end(who)), (502, End::Fin)),
        }
        lab.finish();
    }
}
