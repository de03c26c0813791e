//! Tunnel mode, the guard, and clients that leave while their target is being opened.

mod util;

use ropewalk_core::machine::Fault;
use ropewalk_core::time::Duration;
use util::asking::{FAR, code, code_for, lab_with_echoes};
use util::lab::Who;
use util::say::{self, GREETING};
use util::{Act, Answer, Behave, End, Lab, Person, Setup, Target, addr, ms, secs};

// ---- tunnel mode ----

fn tunnel(endpoints: &[&str]) -> Lab {
    let mut setup = Setup::new(endpoints.len()).with(|config| config.tunnel = true);
    for (uplink, endpoint) in setup.uplinks.iter_mut().zip(endpoints) {
        uplink.endpoint = Some(addr(endpoint));
        uplink.device = None;
    }
    let mut lab = setup.build();
    endpoints.iter().for_each(|endpoint| lab.serve(endpoint, [Act::Echo]));
    lab
}

fn says(lab: &mut Lab, word: &[u8]) -> Who {
    lab.client([Act::Send(word.to_vec()), Act::Fin, Act::AwaitEnd])
}

#[test]
fn a_tunnel_relays_raw_bytes_over_its_endpoints_in_turn() {
    let mut lab = tunnel(&["127.0.0.1:7777", "127.0.0.1:7778"]);
    for _ in 0..4 {
        let who = says(&mut lab, b"\x05\x01\x00 as it comes");
        lab.finish();
        assert_eq!((lab.got(who), lab.end(who)), (&b"\x05\x01\x00 as it comes"[..], End::Fin));
    }
    let to: Vec<u16> = lab.world.attempts.iter().map(|attempt| attempt.to.port()).collect();
    assert_eq!(to, [7777, 7778, 7777, 7778]);
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    for behave in [Behave::Refuse, Behave::Silent, Behave::FailNow(Fault::NetworkUnreachable)] {
        let mut lab = tunnel(&["127.0.0.1:7777", "127.0.0.1:7778"]);
        lab.target("127.0.0.1:7777", Target::that(behave));
        for _ in 0..6 {
            let who = says(&mut lab, b"word");
            lab.finish();
            assert_eq!((lab.got(who), lab.end(who)), (&b"word"[..], End::Fin), "{behave:?}");
        }
        let dead = lab.world.attempts.iter().filter(|attempt| attempt.to.port() == 7777).count();
        assert!(dead <= 4, "{behave:?}: the dead endpoint was tried {dead} times in 6");
    }
}

#[test]
fn a_tunnel_without_a_live_endpoint_ends_its_clients() {
    let mut lab = tunnel(&["127.0.0.1:7777", "127.0.0.1:7778"]);
    for endpoint in ["127.0.0.1:7777", "127.0.0.1:7778"] {
        lab.target(endpoint, Target::that(Behave::Refuse));
    }
    let who = says(&mut lab, b"word");
    lab.finish();
    assert_eq!(lab.got(who), b"");
    assert_ne!(lab.end(who), End::Open);
}

// ---- the guard ----

fn visitor(lab: &mut Lab, words: Vec<u8>) -> Who {
    lab.visitor(Duration::ZERO, 0, "198.51.100.9", Person::new([Act::Send(words), Act::AwaitEnd]))
}

#[test]
fn a_client_from_elsewhere_gets_no_private_destination() {
    for to in ["127.0.0.1:22", "10.1.2.3:80", "169.254.169.254:80", "[::ffff:10.0.0.1]:80", "[fd00::1]:80"] {
        let mut lab = lab_with_echoes(1);
        lab.serve(to, [Act::Echo]);
        let words = say::socks5(addr(to));
        let http = format!("GET http://{to}/ HTTP/1.1\r\n\r\n").into_bytes();
        let (socks, http) = (visitor(&mut lab, words), visitor(&mut lab, http));
        lab.finish();
        assert_eq!(lab.got(socks), [&[5, 0][..], &say::socks5_refusal(2)].concat(), "{to}");
        assert_eq!(say::status(lab.got(http)), 403, "{to}");
        assert!(lab.world.attempts.is_empty());
    }
}

#[test]
fn a_name_that_turns_to_a_private_address_is_refused_each_time_anew() {
    let mut lab = lab_with_echoes(1);
    lab.serve("10.0.0.1:80", [Act::Echo]);
    lab.name(
        "rebind.example",
        [
            Answer::ips(ms(5), &["192.0.2.7"]),
            Answer::ips(ms(5), &["10.0.0.1"]),
            Answer::ips(ms(5), &["127.0.0.1", "::1", "10.0.0.1"]),
        ],
    );
    let words = || say::socks5_to_name("rebind.example", 80);
    let good = visitor(&mut lab, [words(), b"hello".to_vec()].concat());
    lab.run_for(secs(1));
    let bad = [visitor(&mut lab, words()), visitor(&mut lab, words())];
    lab.run_for(secs(5));
    assert_eq!(code(&lab, good), 0);
    for who in bad {
        assert_eq!(code(&lab, who), 2);
    }
    assert_eq!(lab.world.attempts.len(), 1);
}

#[test]
fn of_a_names_addresses_only_the_public_ones_are_tried() {
    let mut lab = lab_with_echoes(1);
    lab.serve("10.0.0.1:80", [Act::Echo]);
    lab.name("mixed.example", [Answer::ips(ms(5), &["10.0.0.1", "192.0.2.7", "127.0.0.1"])]);
    let who = visitor(&mut lab, say::socks5_to_name("mixed.example", 80));
    lab.run_for(secs(5));
    assert_eq!(code(&lab, who), 0);
    assert_eq!(lab.world.attempts.iter().map(|attempt| attempt.to).collect::<Vec<_>>(), [addr(FAR)]);
}

#[test]
fn nobody_reaches_the_proxy_through_itself() {
    for to in ["127.0.0.1:1080", "[::ffff:127.0.0.1]:1080"] {
        let mut lab = lab_with_echoes(1);
        assert_eq!(code_for(&mut lab, to), 2, "{to}");
    }
}

// ---- clients that leave ----

#[test]
fn a_client_that_resets_while_connecting_leaves_nothing_behind() {
    for behave in [Behave::Listen, Behave::Silent] {
        for after in [0, 1, 10, 300] {
            let mut lab = lab_with_echoes(2);
            lab.target(FAR, Target { answers: ms(400), ..Target::that(behave) });
            let words = say::socks5(addr(FAR));
            lab.client([Act::Send(words), Act::Pause(ms(after)), Act::Reset]);
            lab.finish();
        }
    }
}

#[test]
fn a_client_that_resets_while_its_name_is_looked_up_leaves_nothing_behind() {
    let mut lab = lab_with_echoes(2);
    lab.name("slow.example", [Answer::ips(secs(2), &["192.0.2.7"])]);
    lab.client([Act::Send(say::socks5_to_name("slow.example", 80)), Act::Pause(ms(50)), Act::Reset]);
    lab.finish();
}

#[test]
fn attempts_end_soon_after_their_client_has_gone() {
    // A client that resets its connection wants no target any more; a slot and its sockets must not
    // be held until the connect deadline.
    let mut lab = lab_with_echoes(1);
    lab.target(FAR, Target::that(Behave::Silent));
    lab.client([Act::Send(say::socks5(addr(FAR))), Act::Pause(ms(50)), Act::Reset]);
    lab.run_for(secs(2));
    assert_eq!(lab.machine.counters().open, 0, "the client is long gone");
}

#[test]
fn a_client_that_half_closes_at_once_is_served() {
    let mut lab = lab_with_echoes(1);
    let words = [&say::socks5(addr(FAR))[..], b"ping"].concat();
    let who = lab.client([Act::Send(words), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert_eq!(&lab.got(who)[12..], b"ping");
    assert_eq!(lab.end(who), End::Fin);
}

#[test]
fn greeting_only_is_answered_before_the_request_comes() {
    let mut lab = lab_with_echoes(1);
    let request = say::socks5_request(1, addr(FAR));
    let script =
        [Act::Send(GREETING.to_vec()), Act::AwaitTotal(2), Act::Send(request), Act::AwaitTotal(12), Act::Fin];
    let who = lab.client(script);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
}
