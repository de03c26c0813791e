//! From a request to a reply: when it comes and with which code, and the attempts until then.

mod util;

use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Close, Fault};
use ropewalk_core::time::Instant;
use util::asking::{
    FAR, FAR6, asks, asks_with, code, code_for, downs, lab_with_echoes, outpaced, since_start,
};
use util::say;
use util::{Act, Answer, Behave, End, Link, Person, Setup, Target, addr, ms, same_bytes, secs};

// ---- the reply ----

#[test]
fn the_reply_waits_for_the_real_connection_and_names_its_true_address() {
    for (to, len) in [(FAR, 10), (FAR6, 22)] {
        let mut lab = lab_with_echoes(1);
        let slow = Target { answers: ms(700), ..Target::new(Person::new([Act::Echo])) };
        lab.target(to, slow);
        let who = asks(&mut lab, to);
        lab.finish();
        // Two bytes for the greeting come at once, the reply only when the target has answered.
        assert!(since_start(&lab, who, 1) < ms(100));
        assert!(since_start(&lab, who, 2) >= ms(700), "{:?}", since_start(&lab, who, 2));
        let bound = lab.sock(lab.served(0)).local;
        assert_eq!(bound.is_ipv6(), addr(to).is_ipv6());
        same_bytes(&lab.got(who)[2..2 + len], &say::socks5_reply(0, bound), "the reply");
        assert_eq!(&lab.got(who)[2 + len..], b"ping");
    }
}

#[test]
fn each_failure_has_its_code() {
    let after = ms(20);
    for (behave, wanted) in [
        (Behave::Refuse, 5),
        (Behave::Fail(Fault::Reset, after), 5),
        (Behave::Fail(Fault::NetworkUnreachable, after), 3),
        (Behave::FailNow(Fault::NetworkUnreachable), 3),
        (Behave::Fail(Fault::HostUnreachable, after), 4),
        (Behave::FailNow(Fault::HostUnreachable), 4),
        (Behave::Fail(Fault::TimedOut, secs(2)), 6),
        (Behave::Silent, 6),
        (Behave::FailNow(Fault::NoRoute), 3),
        (Behave::FailNow(Fault::NoDevice), 3),
        (Behave::FailNow(Fault::AddressNotAvailable), 3),
        (Behave::FailNow(Fault::NoDescriptors), 1),
        (Behave::FailNow(Fault::PermissionDenied), 1),
        (Behave::FailNow(Fault::Other(71)), 1),
    ] {
        for uplinks in [0, 1, 2, 5] {
            for to in [FAR, FAR6] {
                let mut lab = lab_with_echoes(uplinks);
                lab.target(to, Target::that(behave));
                assert_eq!(code_for(&mut lab, to), wanted, "{behave:?} through {uplinks}");
                assert!(lab.world.attempts.len() <= 12, "{} attempts", lab.world.attempts.len());
            }
        }
    }
}

#[test]
fn a_name_that_is_not_found_is_host_unreachable() {
    for (fault, after) in [(Fault::NameNotFound, ms(5)), (Fault::NameUnavailable, secs(3))] {
        let mut lab = lab_with_echoes(2);
        lab.name("gone.example", [Answer { after, result: Err(fault) }]);
        let who = asks_with(&mut lab, say::socks5_to_name("gone.example", 80));
        lab.finish();
        assert_eq!(code(&lab, who), 4);
        assert_eq!(lab.refusals(), [Refusal::Name(fault)]);
    }
    // No addresses at all.
    let mut lab = lab_with_echoes(2);
    lab.name("gone.example", [Answer::ips(ms(5), &[])]);
    let who = asks_with(&mut lab, say::socks5_to_name("gone.example", 80));
    lab.finish();
    assert_eq!(code(&lab, who), 4);
}

#[test]
fn a_name_that_is_never_answered_is_given_up_at_the_deadline() {
    let mut lab = lab_with_echoes(2);
    lab.name("slow.example", [Answer::ips(secs(300), &["192.0.2.7"])]);
    let who = asks_with(&mut lab, say::socks5_to_name("slow.example", 80));
    lab.run_for(secs(21));
    assert_eq!(code(&lab, who), 4);
    assert_eq!(lab.world.cancelled, 1, "the resolver was told");
    lab.finish();
    assert!(lab.world.attempts.is_empty(), "the late answer began nothing");
}

#[test]
fn a_connect_that_is_never_answered_is_told_at_the_deadline() {
    let mut lab = lab_with_echoes(3);
    lab.target(FAR, Target::that(Behave::Silent));
    let who = asks(&mut lab, FAR);
    lab.finish();
    let told = since_start(&lab, who, 2);
    assert!(told >= secs(20) && told < ms(20_100), "{told:?}");
    assert!(lab.world.attempts.len() <= 4, "{} attempts", lab.world.attempts.len());
    assert!(downs(&lab).is_empty(), "a silent destination hurts no uplink");
}

#[test]
fn each_protocol_says_no_in_its_own_words() {
    let mut lab = lab_with_echoes(1);
    lab.target(FAR, Target::that(Behave::Refuse));
    lab.target("192.0.2.8:80", Target::that(Behave::Silent));
    let four = lab.client([Act::Send(say::socks4(1, [192, 0, 2, 7], 80, b"")), Act::AwaitEnd]);
    let http = lab.client([Act::Send(say::http_connect(FAR)), Act::AwaitEnd]);
    let get = |to: &str| Act::Send(format!("GET http://{to}/ HTTP/1.1\r\n\r\n").into_bytes());
    let forward = lab.client([get(FAR), Act::AwaitEnd]);
    let silent = lab.client([get("192.0.2.8"), Act::AwaitEnd]);
    lab.finish();
    assert_eq!(lab.got(four), [0, 91, 0, 0, 0, 0, 0, 0]);
    assert_eq!(say::status(lab.got(http)), 502);
    assert_eq!(say::status(lab.got(forward)), 502);
    assert_eq!(say::status(lab.got(silent)), 504);
    for who in [four, http, forward, silent] {
        assert_eq!(lab.end(who), End::Fin);
    }
}

// ---- the attempts ----

#[test]
fn the_losing_attempts_are_closed() {
    let mut lab = lab_with_echoes(3);
    lab.link(0, Link::BlackHole);
    lab.link(1, Link::BlackHole);
    let who = asks(&mut lab, FAR);
    lab.run_for(ms(1_500));
    assert_eq!(code(&lab, who), 0);
    assert_eq!(lab.world.attempts.len(), 3);
    for attempt in &lab.world.attempts[..2] {
        assert!(matches!(attempt.closed, Some((_, Close::Reset))), "{attempt:?}");
    }
    lab.finish();
}

#[test]
fn two_attempts_that_both_succeed_leave_one_connection() {
    // Both answer later than the stagger; the second is a little behind.
    let mut lab = lab_with_echoes(2);
    let slow = Target { answers: ms(400), ..Target::new(Person::new([Act::Echo])) };
    lab.target(FAR, slow);
    let who = asks(&mut lab, FAR);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    assert_eq!(lab.world.attempts.len(), 2);
    assert_eq!(lab.world.served.len(), 1, "the second was given up before it stood");
    assert_eq!(outpaced(&lab), 0, "the slower start lost, it was not silent longer");
}

// ---- names with several addresses ----

#[test]
fn a_dead_first_family_costs_a_stagger_or_two() {
    for uplinks in [1, 2] {
        let mut lab = lab_with_echoes(uplinks);
        lab.name("both.example", [Answer::ips(ms(10), &["2001:db8::7", "192.0.2.7"])]);
        lab.target(FAR6, Target::that(Behave::Silent));
        let who = asks_with(&mut lab, say::socks5_to_name("both.example", 80));
        lab.finish();
        assert_eq!(code(&lab, who), 0);
        let took = since_start(&lab, who, 2);
        let most = ms(100) + ms(250) * uplinks as u32;
        assert!(took <= most, "{took:?} through {uplinks}");
        assert!(downs(&lab).is_empty() && outpaced(&lab) == 0, "the address is dead, not the uplink");
    }
}

#[test]
fn a_family_that_fails_at_once_costs_nothing() {
    for behave in [Behave::FailNow(Fault::NetworkUnreachable), Behave::Refuse] {
        let mut lab = lab_with_echoes(2);
        lab.name("both.example", [Answer::ips(ms(10), &["2001:db8::7", "192.0.2.7"])]);
        lab.target(FAR6, Target::that(behave));
        let who = asks_with(&mut lab, say::socks5_to_name("both.example", 80));
        lab.finish();
        assert_eq!(code(&lab, who), 0);
        assert!(since_start(&lab, who, 2) < ms(150), "{:?}", since_start(&lab, who, 2));
    }
}

#[test]
fn an_address_after_many_dead_ones_is_reached_within_the_deadline() {
    let mut lab = lab_with_echoes(1);
    let ips: Vec<String> =
        (0..5).map(|i| format!("192.0.2.{}", 100 + i)).chain(["192.0.2.7".into()]).collect();
    for ip in &ips[..5] {
        lab.target(&format!("{ip}:80"), Target::that(Behave::Refuse));
    }
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    lab.name("many.example", [Answer::ips(ms(10), &ips)]);
    let who = asks_with(&mut lab, say::socks5_to_name("many.example", 80));
    lab.finish();
    assert_eq!(code(&lab, who), 0, "five refuse, the sixth serves");
}

#[test]
fn an_address_behind_silent_ones_gets_its_turn() {
    let mut lab = lab_with_echoes(2);
    for ip in ["192.0.2.101:80", "192.0.2.102:80"] {
        lab.target(ip, Target::that(Behave::Silent));
    }
    lab.name("many.example", [Answer::ips(ms(10), &["192.0.2.101", "192.0.2.102", "192.0.2.7"])]);
    let who = asks_with(&mut lab, say::socks5_to_name("many.example", 80));
    lab.finish();
    assert_eq!(code(&lab, who), 0, "two silent addresses must not use up all attempts");
}

#[test]
fn at_most_four_attempts_of_a_connection_go_on_at_a_time() {
    let mut lab = lab_with_echoes(1);
    let ips: Vec<String> = (0..8).map(|i| format!("192.0.2.{}", 100 + i)).collect();
    for ip in &ips {
        lab.target(&format!("{ip}:80"), Target::that(Behave::Silent));
    }
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    lab.name("many.example", [Answer::ips(ms(10), &ips)]);
    asks_with(&mut lab, say::socks5_to_name("many.example", 80));
    lab.finish();
    let attempts = &lab.world.attempts;
    let open_at = |at: Instant| {
        let lasts = |end: Option<(Instant, Close)>| end.is_none_or(|(end, _)| end > at);
        attempts.iter().filter(|other| other.at <= at && lasts(other.closed)).count()
    };
    assert_eq!(attempts.iter().map(|attempt| open_at(attempt.at)).max(), Some(4));
    assert!(attempts.len() > 4, "the oldest makes room");
}

#[test]
fn attempts_for_one_connection_have_an_end_that_is_told_once() {
    let mut lab = lab_with_echoes(3);
    let ips: Vec<String> = (0..8).map(|i| format!("192.0.2.{}", 100 + i)).collect();
    for ip in &ips {
        lab.target(&format!("{ip}:80"), Target::that(Behave::Fail(Fault::HostUnreachable, ms(20))));
    }
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    lab.name("many.example", [Answer::ips(ms(10), &ips)]);
    let who = asks_with(&mut lab, say::socks5_to_name("many.example", 80));
    lab.finish();
    assert_eq!(code(&lab, who), 4);
    let attempts = lab.world.events.iter().filter(|(_, event)| matches!(event, Event::AttemptFailed { .. }));
    assert_eq!(attempts.count(), 12);
    let limits = lab.world.events.iter().filter(|(_, event)| matches!(event, Event::FixedLimit { .. }));
    assert_eq!(limits.count(), 1);
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_dialled_as_ipv4() {
    let mut lab = Setup::new(1).build();
    lab.serve("192.0.2.1:80", [Act::Send(b"hello".to_vec()), Act::AwaitEnd]);
    lab.name("mapped.example", [Answer::ips(ms(5), &["::ffff:192.0.2.1"])]);
    let who = lab.client([
        Act::Send(say::socks5_to_name("mapped.example", 80)),
        Act::AwaitText(b"hello".to_vec()),
        Act::Fin,
        Act::AwaitEnd,
    ]);
    lab.finish();
    assert!(lab.got(who).ends_with(b"hello"));
    assert!(lab.world.served.iter().all(|(to, _)| to.is_ipv4()), "{:?}", lab.world.served);
}
