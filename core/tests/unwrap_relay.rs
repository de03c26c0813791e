//! TCP through the whole drive: bytes both ways, ends, resets, idle, drain, limits, bytes moved in
//! the kernel.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Fault, Machine};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, Destinations};
use util::lab::Who;
use util::manual::{BALANCER, LISTEN, ManualDriver, SERVER_V4, prefixes, tcp};
use util::{
    Act, Behave, End, Lab, Person, Reading, Setup, SpliceMode, Target, addr, ms, pattern, same_bytes, secs,
};

/// The header of client number `n`.
fn hello(n: u16) -> Vec<u8> {
    emit::v2(
        addr(&format!("192.0.2.1:{}", 5000 + n)),
        addr(LISTEN),
        Transport::Stream,
        &[],
        n.is_multiple_of(2),
    )
}

/// A balancer's connection for client number `n`, which does this.
fn client(n: u16, rest: impl IntoIterator<Item = Act>) -> Person {
    Person::new([Act::Send(hello(n))].into_iter().chain(rest).collect::<Vec<_>>())
}

fn lab(config: &Config) -> Lab {
    Setup::new(1).unwrap(config.clone())
}

fn come(lab: &mut Lab, person: Person) -> Who {
    lab.visitor(ms(0), 0, "10.0.0.1", person)
}

/// All is at rest, nothing has leaked, and the recording replays.
#[track_caller]
fn finish(mut lab: Lab, config: &Config) -> Lab {
    lab.finish();
    lab.replays(config.clone());
    lab
}

#[test]
fn half_closes_go_through_both_ways() {
    for server_first in [false, true] {
        let (up, down) = (pattern(200_000, 1), pattern(300_000, 2));
        let config = tcp();
        let mut lab = lab(&config);
        let (first, second) = match server_first {
            true => (vec![Act::Send(down.clone()), Act::Fin], vec![Act::AwaitEnd, Act::Pause(secs(9))]),
            false => (vec![Act::AwaitEnd, Act::Pause(secs(9)), Act::Send(down.clone()), Act::Fin], vec![]),
        };
        lab.serve(SERVER_V4, first);
        let sends = [Act::Send(up.clone()), Act::Fin, Act::AwaitEnd];
        let who = come(&mut lab, client(1, second.into_iter().chain(sends)));
        let lab = finish(lab, &config);
        same_bytes(lab.got(who), &down, "down");
        same_bytes(lab.got(lab.served(0)), &up, "up");
        assert_eq!((lab.end(who), lab.end(lab.served(0))), (End::Fin, End::Fin));
        assert_eq!(lab.world.attempts[0].via.transparent, Some(addr("192.0.2.1:5001")));
        let closed = |event: &Event| {
            matches!(event, Event::Closed { sent: 200_000, received: 300_000, fault: None, .. })
        };
        assert!(lab.world.events.iter().any(|(_, event)| closed(event)), "what moved is accounted for");
    }
}

#[test]
fn resets_go_through_both_ways_after_what_came_before() {
    let bytes = pattern(50_000, 1);
    let config = tcp();
    let mut one = lab(&config);
    one.serve(SERVER_V4, [Act::AwaitEnd]);
    come(&mut one, client(1, [Act::Send(bytes.clone()), Act::Pause(secs(1)), Act::Reset]));
    let one = finish(one, &config);
    assert_eq!((one.got(one.served(0)), one.end(one.served(0))), (&bytes[..], End::Reset));

    let mut two = lab(&config);
    two.serve(SERVER_V4, [Act::Send(bytes.clone()), Act::Pause(secs(1)), Act::Reset]);
    let who = come(&mut two, client(1, [Act::AwaitEnd]));
    let two = finish(two, &config);
    assert_eq!((two.got(who), two.end(who)), (&bytes[..], End::Reset));
}

#[test]
fn a_client_whose_server_refuses_is_reset_and_served_when_it_is_back() {
    let config = tcp();
    let mut lab = lab(&config);
    lab.target(SERVER_V4, Target::that(Behave::Refuse));
    let early = come(&mut lab, client(1, [Act::AwaitEnd]));
    lab.run();
    assert_eq!(lab.end(early), End::Reset);
    lab.serve(SERVER_V4, [Act::Echo]);
    let late = come(&mut lab, client(2, [Act::Send(b"hi".to_vec()), Act::Fin, Act::AwaitEnd]));
    let lab = finish(lab, &config);
    assert_eq!((lab.got(late), lab.end(late)), (&b"hi"[..], End::Fin));
    assert_eq!(lab.refusals(), [Refusal::Unreachable(Fault::Refused)]);
}

#[test]
fn a_stranger_is_reset_and_nothing_of_it_is_read() {
    let config = tcp();
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    let who = lab.visitor(ms(0), 0, "192.0.2.66", client(1, [Act::Send(pattern(9_000, 1)), Act::AwaitEnd]));
    let lab = finish(lab, &config);
    assert_eq!((lab.end(who), lab.sock(who).proxy_read, lab.world.attempts.len()), (End::Reset, 0, 0));
    assert_eq!(lab.refusals(), [Refusal::PeerNotAllowed]);
}

#[test]
fn a_drip_of_header_bytes_ends_after_3_seconds() {
    let config = tcp();
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    let who = come(&mut lab, client(1, [Act::AwaitEnd]).segments(1, ms(200)).latency(ms(0)));
    let lab = finish(lab, &config);
    assert_eq!((lab.end(who), lab.refusals()), (End::Reset, vec![Refusal::HandshakeTimeout]));
    let ended = lab.sock(who).got.ended_at.expect("it ended");
    assert_eq!(ended.as_nanos(), secs(3).as_nanos() as u64);
}

#[test]
fn an_idle_relay_is_closed_and_a_busy_one_is_not() {
    let config = Config { idle_timeout: Some(secs(20)), ..tcp() };
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    let idle = come(&mut lab, client(1, [Act::Send(b"x".to_vec()), Act::AwaitEnd]));
    let chat = (0..10).flat_map(|_| [Act::Pause(secs(15)), Act::Send(b"x".to_vec())]);
    let busy = come(&mut lab, client(2, chat.chain([Act::Fin, Act::AwaitEnd])));
    let lab = finish(lab, &config);
    assert_eq!((lab.end(idle), lab.end(busy), lab.got(busy).len()), (End::Reset, End::Fin, 10));
    let at = lab.sock(idle).got.ended_at.expect("it ended").as_nanos();
    assert!((20_000_000_000..21_000_000_000).contains(&at), "{at}");
}

#[test]
fn a_drain_takes_nobody_new_and_finishes_what_is_open() {
    let config = tcp();
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    let bytes = pattern(30_000, 4);
    let open =
        [Act::Send(bytes[..10_000].to_vec()), Act::Pause(secs(30)), Act::Send(bytes[10_000..].to_vec())];
    let who = come(&mut lab, client(1, open.into_iter().chain([Act::Fin, Act::AwaitEnd])));
    // Within its header when the drain comes: it is still served.
    let within = client(2, [Act::Send(b"hi".to_vec()), Act::Fin, Act::AwaitEnd]).segments(20, ms(900));
    let within = come(&mut lab, within);
    lab.drain_at(secs(1));
    let late = lab.visitor(secs(2), 0, "10.0.0.1", client(3, [Act::AwaitEnd]));
    lab.run_for(secs(20));
    assert!(!lab.finished);
    let lab = finish(lab, &config);
    assert!(lab.finished);
    assert_eq!((lab.got(who) == bytes, lab.end(who)), (true, End::Fin));
    assert_eq!((lab.got(within), lab.end(within), lab.end(late)), (&b"hi"[..], End::Fin, End::Reset));
}

#[test]
fn more_than_the_limit_wait_and_are_served_in_turn() {
    let config = Config { max_connections: 3, ..tcp() };
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    let all: Vec<Who> = (0..12)
        .map(|n| {
            let script = [Act::Pause(secs(1)), Act::Send(vec![n as u8]), Act::Fin, Act::AwaitEnd];
            come(&mut lab, client(n, script))
        })
        .collect();
    for _ in 0..100 {
        lab.run_for(ms(97));
        assert!(lab.machine.counters().open <= 3);
    }
    let lab = finish(lab, &config);
    for (n, who) in all.into_iter().enumerate() {
        assert_eq!((lab.got(who), lab.end(who)), (&[n as u8][..], End::Fin));
    }
}

#[test]
fn a_client_that_comes_while_there_are_no_descriptors_left_for_its_server_is_reset() {
    let config = tcp();
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    lab.world.fd_limit = 1;
    let who = come(&mut lab, client(1, [Act::AwaitEnd]));
    let lab = finish(lab, &config);
    assert_eq!(lab.end(who), End::Reset);
    assert_eq!(lab.refusals(), [Refusal::Unreachable(Fault::NoDescriptors)]);
}

#[test]
fn bulk_moves_in_the_kernel_and_is_the_same() {
    let (up, down) = (pattern(900_000, 1), pattern(1_200_000, 2));
    for mode in [SpliceMode::Never, SpliceMode::Pipe(64 * 1024), SpliceMode::Moody(5_000)] {
        let config = Config { buffer_size: 4096, ..tcp() };
        let mut setup = Setup::new(1);
        setup.splice = mode;
        let mut lab = setup.unwrap(config.clone());
        lab.machine.quiet = true;
        lab.target(SERVER_V4, Target::new(Person::new([Act::Send(down.clone()), Act::Fin, Act::AwaitEnd])));
        let who = come(&mut lab, client(1, [Act::Send(up.clone()), Act::Fin, Act::AwaitEnd]));
        let lab = finish(lab, &config);
        same_bytes(lab.got(who), &down, "down");
        same_bytes(lab.got(lab.served(0)), &up, "up");
        assert_eq!(lab.world.spliced > 0, mode != SpliceMode::Never);
        let closed =
            |event: &Event| matches!(event, Event::Closed { sent: 900_000, received: 1_200_000, .. });
        assert!(lab.world.events.iter().any(|(_, event)| closed(event)), "{mode:?}");
    }
}

#[test]
fn ten_thousand_clients_come_and_go() {
    let config = Config { buffer_size: 1024, ..tcp() };
    let mut lab = lab(&config);
    lab.machine.quiet = true;
    lab.serve(SERVER_V4, [Act::Echo]);
    let all: Vec<Who> = (0..10_000)
        .map(|n: u16| {
            let script = [Act::Send(n.to_be_bytes().to_vec()), Act::Fin, Act::AwaitEnd];
            lab.visitor(ms(u64::from(n) / 50), 0, "10.0.0.1", client(n, script))
        })
        .collect();
    let lab = finish(lab, &config);
    for (n, who) in all.into_iter().enumerate() {
        assert_eq!((lab.got(who), lab.end(who)), (&(n as u16).to_be_bytes()[..], End::Fin));
    }
}

proptest! {
    #![proptest_config(util::cases(40))]

    /// Whatever persons and servers do: what arrives is a prefix of what its own other side sent,
    /// whole where both end in order, nothing leaks, and the run replays.
    #[test]
    fn nobody_gets_what_is_anothers(
        seed in any::<u64>(),
        people in proptest::collection::vec((0usize..40_000, 0usize..40_000, 0usize..6, 1usize..3_000), 1..12),
        pipe in 0usize..3,
        drain in proptest::option::of(0u64..3_000),
    ) {
        let limits = Config { buffer_size: 2048, buffer_limit: 3, max_connections: 5, ..tcp() };
        let mut config = Config { idle_timeout: Some(secs(40)), ..limits };
        // Each client has a server of its own.
        let all = Destinations { network: prefixes(&["203.0.113.0/24"])[0], ports: 1..=65535 };
        config.listeners[0].to_header = Some([all].into());
        let mut setup = Setup::new(1);
        (setup.seed, setup.rumours, setup.fuel) = (seed, seed.is_multiple_of(2), 1 + (seed % 40) as usize);
        setup.splice = [SpliceMode::Never, SpliceMode::Pipe(4096), SpliceMode::Moody(3000)][pipe];
        let mut lab = setup.unwrap(config.clone());
        lab.machine.quiet = true;
        let mut who = Vec::new();
        for (n, &(up, down, kind, segment)) in people.iter().enumerate() {
            let (from, to) = (format!("192.0.2.{}:{}", n + 1, 9000 + n), format!("203.0.113.{}:80", n + 1));
            let last = match kind { 0 => Act::Reset, 1 => Act::Close, _ => Act::Fin };
            let server = [Act::Send(pattern(down, 100 + n as u8)), last, Act::AwaitEnd];
            lab.serve(&to, server);
            let header = emit::v2(addr(&from), addr(&to), Transport::Stream, &[], false);
            let last = match kind { 2 => Act::Reset, 3 => Act::Close, _ => Act::Fin };
            let script = [Act::Send([&header[..], &pattern(up, n as u8)].concat()), last, Act::AwaitEnd];
            let reading = if kind == 4 { Reading::Slow(700, ms(9)) } else { Reading::Fast };
            let person = Person::new(script).segments(segment, ms((segment % 3) as u64)).reads(reading);
            who.push(lab.visitor(ms((segment * 7 % 400) as u64), 0, "10.0.0.1", person));
        }
        if let Some(at) = drain {
            lab.drain_at(ms(at));
        }
        lab.finish();
        lab.replays(config);
        for (n, &(up, down, kind, _)) in people.iter().enumerate() {
            let (sent_up, sent_down) = (pattern(up, n as u8), pattern(down, 100 + n as u8));
            prop_assert!(sent_down.starts_with(lab.got(who[n])), "client {} got what is not its own", n);
            let to = addr(&format!("203.0.113.{}:80", n + 1));
            let server = lab.world.served.iter().find(|(at, _)| *at == to).map(|(_, sock)| *sock);
            if let Some(server) = server {
                prop_assert!(sent_up.starts_with(lab.got(server)), "server {} got what is not its own", n);
                let client = addr(&format!("192.0.2.{}:{}", n + 1, 9000 + n));
                prop_assert_eq!(lab.sock(server).local, client);
                if kind > 3 {
                    prop_assert_eq!((lab.got(server).len(), lab.got(who[n]).len()), (up, down));
                }
            }
        }
    }
}

#[test]
fn bytes_are_told_while_they_move_and_once_each() {
    let config = tcp();
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Pace(1_000, ms(100)), Act::Send(pattern(30_000, 2)), Act::AwaitEnd]);
    let who = come(&mut lab, client(1, [Act::Send(pattern(500, 1)), Act::Pause(secs(9)), Act::Fin]));
    let moved = |lab: &Lab| {
        let each = lab.world.events.iter().filter_map(|(_, event)| match event {
            Event::Moved { sent, received } => Some((*sent, *received)),
            _ => None,
        });
        each.fold((0, 0, 0), |sum, one| (sum.0 + 1, sum.1 + one.0, sum.2 + one.1))
    };
    lab.run_for(ms(1500));
    let (times, sent, received) = moved(&lab);
    assert!(times == 1 && sent == 500 && (8_000..12_000).contains(&received), "{:?}", moved(&lab));
    lab.run_for(secs(3));
    let (times, _, received) = moved(&lab);
    assert!((3..=5).contains(&times) && received == 30_000, "{:?}", moved(&lab));
    // What is idle has nothing to tell.
    lab.run_for(secs(3));
    assert_eq!(moved(&lab).0, times);
    let lab = finish(lab, &config);
    assert_eq!((moved(&lab).1, moved(&lab).2), (500, 30_000));
    assert_eq!(lab.got(who).len(), 30_000);
}

#[test]
fn what_came_with_the_header_is_told_though_the_server_takes_nothing() {
    let told = |early: &[u8]| {
        let mut driver = ManualDriver::new(tcp());
        let named = emit::v2(addr("192.0.2.1:5000"), addr(LISTEN), Transport::Stream, &[], false);
        driver.arrives(BALANCER, &[&named, early].concat());
        let server = driver.only_connect().stream;
        driver.connected(server);
        driver.advance(secs(10));
        let moved = |event: &Event| match event {
            Event::Moved { sent, received } => Some((*sent, *received)),
            _ => None,
        };
        let timer = driver.machine.poll_timeout();
        (driver.events.iter().filter_map(moved).collect::<Vec<_>>(), timer)
    };
    assert_eq!(told(b"early"), (vec![(5, 0)], None));
    assert_eq!(told(b""), (vec![], None));
}

// ---- who stalls ----

#[test]
fn of_headers_that_stall_the_oldest_goes_for_who_comes() {
    let config = Config { max_half_open: 4, ..tcp() };
    let mut lab = lab(&config);
    lab.serve(SERVER_V4, [Act::Echo]);
    let stalled: Vec<Who> = (0..7)
        .map(|n| lab.visitor(ms(10 * n), 0, "10.0.0.1", Person::new([Act::Send(vec![13]), Act::AwaitEnd])))
        .collect();
    // Those whose header is whole are not counted.
    let word = |n| client(n, [Act::Send(b"word".to_vec()), Act::Pause(secs(1)), Act::Fin, Act::AwaitEnd]);
    let served: Vec<Who> =
        (0..6).map(|n| lab.visitor(ms(100 + 20 * u64::from(n)), 0, "10.0.0.1", word(n))).collect();
    lab.run_for(secs(2));
    let open: Vec<bool> = stalled.iter().map(|who| lab.end(*who) == End::Open).collect();
    let first = open.iter().position(|open| *open).expect("the newest are open");
    assert!((3..=5).contains(&first) && open[first..].iter().all(|open| *open), "{open:?}");
    for who in served {
        assert_eq!(lab.got(who), b"word");
    }
    let lab = finish(lab, &config);
    let crowded = lab.refusals().iter().filter(|why| matches!(why, Refusal::CrowdedOut { limit: 4 })).count();
    assert_eq!(crowded, first);
}

#[test]
fn a_client_that_reads_nothing_goes_when_the_system_keeps_too_much_for_it() {
    let config = Config { buffer_size: 4096, ..tcp() };
    let mut lab = lab(&config);
    let sender = Person::new([Act::Send(pattern(600_000, 3)), Act::AwaitEnd]).whole();
    lab.target(SERVER_V4, Target::new(sender));
    let still = client(2, [Act::Read(Reading::Stopped), Act::AwaitEnd]).windows(200_000, 64 * 1024);
    let (still, reader) = (come(&mut lab, still), come(&mut lab, client(4, [Act::AwaitEnd])));
    lab.run_for(secs(3));
    lab.measure(50_000);
    assert!(lab.sock(still).out_rst && !lab.sock(reader).out_rst);
    let fault = |(_, event): &(_, Event)| match event {
        Event::Closed { fault, .. } => Some(*fault),
        _ => None,
    };
    assert_eq!(lab.world.events.iter().filter_map(fault).collect::<Vec<_>>(), [Some(Fault::NoMemory)]);
}
