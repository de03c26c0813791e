//! What one client may take, so that there is something left for the others: names, connections,
//! memory, guesses.

mod util;

use ropewalk_core::machine::Input;
use ropewalk_core::machine::event::{Event, Refusal};
use util::say;
use util::{Act, Answer, End, Lab, Person, Setup, Target, addr, ms, secs};

const ONE: &str = "192.0.2.1:80";

fn open(lab: &Lab, wanted: impl Fn(&Event) -> bool) -> usize {
    lab.world.events.iter().filter(|(_, event)| wanted(event)).count()
}

// ---- names ----

/// A client of `ip` that asks for a name with a server behind it, and is answered at once.
fn asks(lab: &mut Lab, ip: &str, name: &str) -> usize {
    let script = [
        Act::Send(say::socks5_to_name(name, 80)),
        Act::AwaitText(b"hello".to_vec()),
        Act::Fin,
        Act::AwaitEnd,
    ];
    lab.visitor(ms(100), 0, ip, Person::new(script))
}

fn hanging(lab: &mut Lab, ip: &str, count: usize) {
    for n in 0..count {
        let name = format!("hangs{n}.example");
        lab.name(&name, [Answer::ips(secs(30), &["192.0.2.1"])]);
        lab.visitor(ms(0), 0, ip, Person::new([Act::Send(say::socks5_to_name(&name, 80)), Act::AwaitEnd]));
    }
}

fn names_lab() -> Lab {
    let mut lab = Setup::new(2).build();
    lab.serve(ONE, [Act::Send(b"hello".to_vec()), Act::AwaitEnd]);
    lab.name("good.example", [Answer::ips(ms(5), &["192.0.2.1"])]);
    lab
}

/// When the client got its greeting.
fn greeted(lab: &Lab, who: usize) -> f64 {
    let at = lab.sock(who).got.times.last().expect("it was greeted").0;
    at.as_nanos() as f64 / 1e9
}

#[test]
fn names_of_one_client_that_hang_do_not_stop_those_of_another() {
    let mut lab = names_lab();
    hanging(&mut lab, "127.0.0.2", 500);
    let who = asks(&mut lab, "127.0.0.3", "good.example");
    lab.finish();
    assert!(greeted(&lab, who) < 0.3, "{}", greeted(&lab, who));
    assert!(open(&lab, |event| matches!(event, Event::LookupLimit { limit: 64, .. })) > 400);
    assert!(lab.machine.counters().lookup_limit > 400);
}

#[test]
fn hanging_names_stop_the_same_client_for_a_short_time_only() {
    let mut lab = names_lab();
    hanging(&mut lab, "127.0.0.1", 60);
    let who = asks(&mut lab, "127.0.0.1", "good.example");
    lab.finish();
    assert!(greeted(&lab, who) < 2.2, "{}", greeted(&lab, who));
}

#[test]
fn a_name_that_hangs_is_given_up_at_its_own_deadline() {
    let mut lab = names_lab();
    hanging(&mut lab, "127.0.0.1", 1);
    lab.finish();
    let (at, _) =
        lab.world.events.iter().find(|(_, event)| matches!(event, Event::Refused { .. })).expect("refused");
    assert_eq!(at.as_nanos() / 1_000_000_000, 8);
    assert!(matches!(lab.refusals()[..], [Refusal::Name(_)]));
}

#[test]
fn localhost_is_nobodys_to_look_up() {
    let mut lab = names_lab();
    hanging(&mut lab, "127.0.0.1", 500);
    lab.serve("127.0.0.1:80", [Act::Send(b"hello".to_vec()), Act::AwaitEnd]);
    for name in ["localhost", "LOCALHOST.", "my.localhost"] {
        let who = asks(&mut lab, "127.0.0.1", name);
        lab.run_for(ms(400));
        assert!(lab.got(who).ends_with(b"hello"), "{name}");
    }
    lab.finish();
}

// ---- connections ----

#[test]
fn a_client_with_all_its_connections_keeps_no_other_out() {
    let mut lab = Setup::new(2).with(|config| config.max_client_connections = Some(3)).build();
    lab.serve(ONE, [Act::Echo]);
    let idle = |lab: &mut Lab, ip: &str, at| {
        let script = [Act::Send(say::socks5(addr(ONE))), Act::Pause(secs(5)), Act::Fin, Act::AwaitEnd];
        lab.visitor(ms(at), 0, ip, Person::new(script))
    };
    let first: Vec<_> = (0..5).map(|n| idle(&mut lab, "198.51.100.7", n * 10)).collect();
    let other = idle(&mut lab, "198.51.100.8", 100);
    let network = [("2001:db8::1", 110), ("2001:db8::2", 120), ("2001:db8::3", 130), ("2001:db8::4", 140)];
    let network = network.map(|(ip, at)| idle(&mut lab, ip, at));
    let later = idle(&mut lab, "198.51.100.7", 8000);
    lab.finish();
    let ends = |who: &[usize]| who.iter().map(|who| lab.end(*who)).collect::<Vec<_>>();
    assert_eq!(ends(&first), [End::Fin, End::Fin, End::Fin, End::Reset, End::Reset]);
    assert_eq!(ends(&network), [End::Fin, End::Fin, End::Fin, End::Reset], "one network is one client");
    assert_eq!(ends(&[other, later]), [End::Fin, End::Fin]);
    assert_eq!(lab.machine.counters().client_limit, 3);
    assert_eq!(open(&lab, |event| matches!(event, Event::ClientLimit { limit: 3, .. })), 3);
}

// ---- memory ----

#[test]
fn what_is_kept_before_relays_stand_has_a_limit_and_nobody_is_starved_for_good() {
    // Targets answer late; clients send much behind their requests meanwhile.
    let mut lab = Setup::new(2).with(|config| config.max_kept = 100_000).build();
    let mut target = Target::new(Person::new([Act::Echo]));
    target.answers = secs(3);
    lab.target(ONE, target);
    let early = util::pattern(40_000, 1);
    let all: Vec<usize> = (0..100)
        .map(|_| {
            let bytes = [say::socks5(addr(ONE)), early.clone()].concat();
            lab.client([Act::Send(bytes), Act::AwaitTotal(40_000), Act::Fin, Act::AwaitEnd])
        })
        .collect();
    lab.run_for(secs(1));
    // Each may keep 4 KiB; the rest of what they sent is still theirs.
    let read: usize = all.iter().map(|who| lab.sock(*who).proxy_read).sum();
    assert!(read < 100_000 + 100 * (4096 + 64) + 16_384, "{read} bytes were read");
    lab.finish();
    for who in all {
        assert!(lab.got(who).ends_with(&early), "all of it came back");
    }
    assert!(lab.machine.counters().kept_limit > 0);
    assert!(open(&lab, |event| matches!(event, Event::KeptLimit { limit: 100_000 })) > 0);
}

#[test]
fn who_was_not_read_for_lack_of_memory_is_read_as_soon_as_another_is_relayed() {
    let mut lab = Setup::new(2).with(|config| config.max_kept = 10_000).build();
    for (to, answers) in [(ONE, secs(2)), ("192.0.2.2:80", secs(9))] {
        lab.target(to, Target { answers, ..Target::new(Person::new([Act::Echo])) });
    }
    let early = util::pattern(9_000, 1);
    let sends = |to| Act::Send([say::socks5(addr(to)), early.clone()].concat());
    let ends = [Act::AwaitTotal(9_000), Act::Fin, Act::AwaitEnd];
    let first = lab.client([sends(ONE)].into_iter().chain(ends.clone()));
    let fills = lab.client([sends(ONE)].into_iter().chain(ends.clone()));
    let second = [Act::Pause(secs(1)), sends("192.0.2.2:80")].into_iter().chain(ends);
    let second = lab.client(second);
    let read = |lab: &Lab| lab.sock(second).proxy_read;
    lab.run_for(ms(1900));
    assert!((4_000..5_000).contains(&read(&lab)), "{}", read(&lab));
    lab.run_for(ms(1000));
    assert!(read(&lab) > 9_000, "{} were read while there is room again", read(&lab));
    lab.finish();
    for who in [first, fills, second] {
        assert!(lab.got(who).ends_with(&early), "all of it came back");
    }
}

#[test]
fn heads_and_pipelined_requests_are_kept_within_the_limit_too() {
    let mut lab = Setup::new(2).with(|config| config.max_kept = 50_000).build();
    lab.serve(
        ONE,
        [Act::Pause(secs(3)), Act::AwaitText(b"\r\n\r\n".to_vec()), Act::Pause(secs(3)), Act::Fin],
    );
    let all: Vec<usize> = (0..40)
        .map(|_| {
            let request = b"GET http://192.0.2.1/ HTTP/1.1\r\n\r\n".to_vec();
            let behind = format!("GET http://192.0.2.1/ HTTP/1.1\r\nX: {}", "x".repeat(30_000)).into_bytes();
            lab.client([Act::Send([request, behind].concat()), Act::AwaitEnd])
        })
        .collect();
    lab.run_for(secs(2));
    let read: usize = all.iter().map(|who| lab.sock(*who).proxy_read).sum();
    assert!(read < 50_000 + 40 * 4200 + 16_384, "{read} bytes were read");
    lab.run_for(secs(200));
    lab.finish();
}

// ---- guesses ----

#[test]
fn a_wrong_password_costs_a_second_and_a_right_one_nothing() {
    let credentials = || ropewalk_core::dispatch::Credentials::parse(b"ann:secret\n").expect("valid");
    for (password, least) in [("wrong", 1.0), ("secret", 0.0)] {
        let mut lab = Setup::new(2).with(|config| config.credentials = Some(credentials())).build();
        lab.serve(ONE, [Act::Send(b"hello".to_vec()), Act::AwaitEnd]);
        let login = say::user_password(b"ann", password.as_bytes());
        let bytes = [vec![5, 1, 2], login, say::socks5_request(1, addr(ONE))].concat();
        let who = lab.client([Act::Send(bytes), Act::AwaitEnd, Act::Fin]);
        lab.run_for(secs(10));
        let at = greeted(&lab, who);
        assert!(at >= least && at < least + 0.5, "{password}: {at}");
        lab.input(Input::Drain);
        lab.run_for(secs(10));
    }
}

#[test]
fn a_client_that_offers_a_login_only_is_let_in_where_none_is_asked_for() {
    let mut lab = Setup::new(2).build();
    lab.serve(ONE, [Act::Send(b"hello".to_vec()), Act::AwaitEnd]);
    let login = say::user_password(b"anybody", b"anything");
    let bytes = [vec![5, 1, 2], login, say::socks5_request(1, addr(ONE))].concat();
    let who = lab.client([Act::Send(bytes), Act::AwaitText(b"hello".to_vec()), Act::Fin, Act::AwaitEnd]);
    // A client that offers to go without a login is not asked for one.
    let plain = [vec![5, 2, 2, 0], say::socks5_request(1, addr(ONE))].concat();
    let other = lab.client([Act::Send(plain), Act::AwaitText(b"hello".to_vec()), Act::Fin, Act::AwaitEnd]);
    lab.finish();
    assert_eq!(lab.got(who)[..4], [5, 2, 1, 0]);
    assert_eq!(lab.got(other)[..2], [5, 0]);
    assert_eq!(open(&lab, |event| matches!(event, Event::LoginIgnored { .. })), 1);
}

// ---- addresses that this host loses ----

#[test]
fn connections_end_when_the_address_they_leave_from_is_lost_and_others_do_not() {
    for http in [false, true] {
        let mut lab = Setup::new(1).build();
        lab.serve(ONE, [Act::AwaitText(b"\r\n\r\n".to_vec()), Act::Pause(secs(60)), Act::Fin, Act::AwaitEnd]);
        let begin = match http {
            true => b"GET http://192.0.2.1/ HTTP/1.1\r\n\r\n".to_vec(),
            false => [say::socks5(addr(ONE)), b"x\r\n\r\n".to_vec()].concat(),
        };
        let who = lab.client([Act::Send(begin), Act::AwaitEnd]);
        lab.run_for(secs(5));
        let local = lab.sock(lab.served(0)).local.ip();
        let other = "203.0.113.77".parse().expect("literal");
        lab.input(Input::LocalAddresses { addresses: &[local, other] });
        // One that nothing leaves from goes.
        lab.input(Input::LocalAddresses { addresses: &[local] });
        lab.run_for(secs(1));
        assert_eq!(lab.end(who), End::Open);
        lab.input(Input::LocalAddresses { addresses: &[other] });
        lab.run_for(secs(3));
        assert_ne!(lab.end(who), End::Open, "http: {http}");
        lab.finish();
    }
}

// ---- handshakes that stall ----

#[test]
fn as_many_may_stall_as_the_limit_says_and_not_one_less() {
    let mut lab =
        Setup::new(2).with(|config| (config.max_connections, config.max_half_open) = (20, 10)).build();
    let stalled: Vec<usize> = (0..11)
        .map(|n| lab.visitor(ms(10 * n), 0, "127.0.0.2", Person::new([Act::Send(vec![5]), Act::AwaitEnd])))
        .collect();
    lab.run_for(ms(95));
    assert!(lab.refusals().is_empty(), "ten have come: {:?}", lab.refusals());
    lab.run_for(ms(100));
    let open: Vec<bool> = stalled.iter().map(|who| lab.end(*who) == End::Open).collect();
    assert_eq!(open, [[false].as_slice(), &[true; 10]].concat());
    lab.finish();
}

#[test]
fn who_stalls_goes_for_who_comes_and_the_oldest_first() {
    let mut lab =
        Setup::new(2).with(|config| (config.max_connections, config.max_half_open) = (20, 10)).build();
    lab.serve(ONE, [Act::Send(b"hello".to_vec()), Act::AwaitEnd]);
    let stalled: Vec<usize> = (0..30)
        .map(|n| lab.visitor(ms(10 * n), 0, "127.0.0.2", Person::new([Act::Send(vec![5]), Act::AwaitEnd])))
        .collect();
    // Connections whose handshake is complete are not counted.
    let relays: Vec<usize> = (0..5)
        .map(|n| {
            let script = [Act::Send(say::socks5(addr(ONE))), Act::Pause(secs(3)), Act::Fin, Act::AwaitEnd];
            lab.visitor(ms(400 + n), 0, "127.0.0.3", Person::new(script))
        })
        .collect();
    lab.run_for(secs(2));
    for who in &relays {
        assert!(lab.got(*who).ends_with(b"hello"));
    }
    let open: Vec<bool> = stalled.iter().map(|who| lab.end(*who) == End::Open).collect();
    let first = open.iter().position(|open| *open).expect("the newest are open");
    assert!((20..=26).contains(&first) && open[first..].iter().all(|open| *open), "{open:?}");
    lab.finish();
    let crowded =
        lab.refusals().iter().filter(|why| matches!(why, Refusal::CrowdedOut { limit: 10 })).count();
    assert_eq!(crowded, first);
}
