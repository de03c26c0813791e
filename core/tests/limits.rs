//! When something runs out, or the proxy is to end: buffers, descriptors, connections, drain.

mod util;

use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Fault, Input, ListenerId, Output, StreamId};
use ropewalk_core::time::Duration;
use util::asking::{connected, payload, serve};
use util::bare::Bare;
use util::lab::Who;
use util::place::Ev;
use util::say::{self, SOCKS5_GRANTED};
use util::{Act, End, Lab, Person, Reading, Setup, addr, ms, pattern, same_bytes, secs};

fn lab() -> Lab {
    Setup::new(2).build()
}

// ---- buffers ----

/// Many clients that read nothing for a while, with few buffers.
fn crowd(lab: &mut Lab, count: usize, bytes: &[u8], pause: Duration) -> Vec<Who> {
    let sender = Person::new([Act::Send(bytes.to_vec()), Act::Fin, Act::AwaitEnd]).whole();
    serve(lab, sender);
    let rest = [Act::Read(Reading::Stopped), Act::Pause(pause), Act::Read(Reading::Fast), Act::AwaitEnd];
    let client = || Person::new(connected(rest.clone())).windows(2_000, 2_000);
    (0..count).map(|_| lab.person(client())).collect()
}

/// Bytes that the proxy has read and not written.
fn inside(lab: &Lab) -> usize {
    let sum = |f: fn(&util::sock::Sock) -> usize| lab.world.socks.iter().map(f).sum::<usize>();
    sum(|sock| sock.proxy_read).saturating_sub(sum(|sock| sock.proxy_wrote))
}

#[test]
fn when_slow_readers_hold_all_buffers_memory_is_bounded_and_all_are_served() {
    let bytes = pattern(300_000, 6);
    let mut setup = Setup::new(2);
    (setup.config.buffer_size, setup.config.buffer_limit) = (64 * 1024, 4);
    let mut lab = setup.build();
    let all = crowd(&mut lab, 40, &bytes, secs(30));
    let mut most = 0;
    for _ in 0..200 {
        lab.run_for(ms(100));
        most = most.max(inside(&lab));
    }
    // Four buffers, and a small piece for each way of each of the others.
    let bound = 4 * 64 * 1024 + 40 * 2 * 4096 + 40 * 64;
    assert!(most > 200_000 && most <= bound, "{most} bytes were inside, {bound} may be");
    assert!(lab.machine.counters().buffers_exhausted > 0);
    assert!(lab.world.events.iter().any(|(_, e)| matches!(e, Event::BuffersExhausted { limit: 4 })));
    lab.finish();
    for who in all {
        same_bytes(payload(&lab, who), &bytes, "down");
    }
}

#[test]
fn a_newcomer_is_served_while_slow_readers_hold_all_buffers() {
    let bytes = pattern(100_000, 6);
    let mut lab =
        Setup::new(2).with(|config| (config.buffer_size, config.buffer_limit) = (16_384, 4)).build();
    crowd(&mut lab, 8, &bytes, secs(120));
    lab.run_for(secs(5));
    lab.serve("192.0.2.8:80", [Act::Fin]);
    let late = lab.client([Act::Send(say::socks5(addr("192.0.2.8:80"))), Act::AwaitEnd]);
    lab.run_for(secs(20));
    assert!(lab.got(late).len() >= SOCKS5_GRANTED, "the newcomer got no reply: {:?}", lab.got(late));
    lab.finish();
}

#[test]
fn ends_and_resets_are_heard_while_slow_readers_hold_all_buffers() {
    let bytes = pattern(100_000, 6);
    let mut lab =
        Setup::new(2).with(|config| (config.buffer_size, config.buffer_limit) = (16_384, 4)).build();
    lab.serve("192.0.2.8:80", [Act::AwaitEnd]);
    let script =
        [Act::Send(say::socks5(addr("192.0.2.8:80"))), Act::Pause(secs(10)), Act::Fin, Act::AwaitEnd];
    lab.client(script);
    lab.run_for(secs(1));
    crowd(&mut lab, 8, &bytes, secs(120));
    lab.run_for(secs(15));
    assert_eq!(lab.end(lab.served(0)), End::Fin, "an end needs no buffer");
    lab.finish();
}

#[test]
fn exhausted_buffers_do_not_hang_relays_that_echo() {
    let bytes = pattern(50_000, 6);
    let mut lab = Setup::new(2).with(|config| (config.buffer_size, config.buffer_limit) = (1024, 1)).build();
    serve(&mut lab, Person::new([Act::Echo]).windows(3_000, 3_000));
    let script = || connected([Act::Send(bytes.clone()), Act::Fin, Act::AwaitEnd]);
    let all: Vec<Who> = (0..10).map(|_| lab.person(Person::new(script()).windows(2_000, 2_000))).collect();
    lab.finish();
    for who in all {
        same_bytes(payload(&lab, who), &bytes, "the echo");
    }
}

// ---- limits ----

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Echo]));
    lab.world.fd_limit = 4;
    let word =
        |n: u64| connected([Act::Send(b"word".to_vec()), Act::Pause(secs(n)), Act::Fin, Act::AwaitEnd]);
    let all: Vec<Who> = (0..10).map(|_| lab.client(word(3))).collect();
    let before = lab.world.operations;
    lab.run_for(secs(2));
    let spent = lab.world.operations - before;
    assert!(spent < 2_000, "it spins: {spent} operations in two seconds of want");
    assert!(lab.machine.counters().accept_failures > 0);
    assert!(lab.world.events.iter().any(|(_, e)| matches!(e, Event::AcceptPaused { .. })));
    lab.run_for(secs(5));
    lab.world.fd_limit = 1000;
    lab.finish();
    let served = all.iter().filter(|who| payload(&lab, **who) == b"word").count();
    let told = all.iter().filter(|who| lab.got(**who).get(3) == Some(&1)).count();
    assert_eq!(served + told, 10, "each got its echo or a general failure");
    assert!(served >= 1, "{served}");
}

#[test]
fn a_long_want_of_descriptors_ends_with_all_served() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Echo]));
    lab.world.fd_limit = 0;
    lab.world.after(secs(120), Ev::SetFdLimit(100));
    let word = || connected([Act::Send(b"word".to_vec()), Act::Fin, Act::AwaitEnd]);
    let all: Vec<Who> = (0..10).map(|_| lab.client(word())).collect();
    lab.finish();
    for who in all {
        assert_eq!(payload(&lab, who), b"word");
    }
}

#[test]
fn beyond_the_limit_of_connections_clients_wait_and_are_served() {
    let mut lab = Setup::new(2).with(|config| config.max_connections = 3).build();
    serve(&mut lab, Person::new([Act::Echo]));
    let word = || connected([Act::Send(b"word".to_vec()), Act::Pause(secs(5)), Act::Fin, Act::AwaitEnd]);
    let all: Vec<Who> = (0..10).map(|_| lab.client(word())).collect();
    for _ in 0..30 {
        lab.run_for(secs(1));
        assert!(lab.machine.counters().open <= 3, "{} are open", lab.machine.counters().open);
    }
    lab.finish();
    assert!(lab.machine.counters().connection_limit >= 1);
    for who in all {
        assert_eq!(payload(&lab, who), b"word");
    }
}

#[test]
fn the_limit_of_connections_holds_over_all_listeners() {
    let mut setup = Setup::new(2).with(|config| config.max_connections = 3);
    setup.config.listeners = (0..4).map(|i| addr(&format!("127.0.0.1:{}", 1080 + i))).collect();
    let mut lab = setup.build();
    serve(&mut lab, Person::new([Act::Echo]));
    let word = || connected([Act::Send(b"word".to_vec()), Act::Pause(secs(5)), Act::Fin, Act::AwaitEnd]);
    let all: Vec<Who> =
        (0..12).map(|i| lab.visitor(ms(0), i % 4, "127.0.0.1", Person::new(word()))).collect();
    let mut most = 0;
    for _ in 0..300 {
        lab.run_for(ms(100));
        most = most.max(lab.machine.counters().open);
    }
    lab.finish();
    for who in all {
        assert_eq!(payload(&lab, who), b"word");
    }
    assert!(most <= 3, "{most} were open at once");
}

// ---- drain ----

#[test]
fn a_drain_finishes_when_the_last_connection_has_ended() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Echo]));
    let rest = [Act::Send(b"word".to_vec()), Act::Pause(secs(10)), Act::Send(b"more".to_vec()), Act::Fin];
    let open = lab.client(connected(rest));
    let handshaking = lab.person(Person::new(connected([Act::Fin, Act::AwaitEnd])).segments(1, ms(100)));
    lab.drain_at(secs(1));
    let late = lab.visitor(secs(2), 0, "127.0.0.1", Person::new(connected([Act::AwaitEnd])));
    lab.run_for(secs(5));
    assert!(!lab.finished && lab.world.unlistened.len() == 1);
    lab.finish();
    assert!(lab.finished);
    assert_eq!(payload(&lab, open), b"wordmore");
    assert_eq!(lab.end(handshaking), End::Fin);
    assert_eq!((lab.got(late), lab.end(late)), (&b""[..], End::Reset));
}

#[test]
fn a_drain_of_nothing_finishes_at_once_and_while_paused_or_full_too() {
    let mut lab = lab();
    lab.drain_at(secs(1));
    lab.drain_at(secs(2));
    lab.finish();
    assert!(lab.finished && lab.machine.finished == 1);

    let mut lab = self::lab();
    lab.world.fd_limit = 0;
    lab.client([Act::AwaitEnd]);
    lab.drain_at(ms(50));
    lab.finish();
    assert!(lab.finished);

    let mut lab = Setup::new(1).with(|config| config.max_connections = 1).build();
    serve(&mut lab, Person::new([Act::Echo]));
    (0..3).for_each(|_| {
        lab.client(connected([Act::Pause(secs(5)), Act::Fin]));
    });
    lab.drain_at(secs(1));
    lab.finish();
    assert!(lab.finished);
    assert_eq!(lab.machine.counters().accepted, 1);
}

#[test]
fn a_listener_that_pauses_is_not_asked_when_there_is_room_again() {
    let listeners = vec![addr("127.0.0.1:1080"), addr("127.0.0.1:1081")];
    let mut bare = Bare::accepted(Config { listeners, max_connections: 2, ..Config::default() });
    let asked = |bare: &Bare| -> Vec<(ListenerId, StreamId)> {
        let accept = |output: &Output| match output {
            Output::Accept { listener, stream } => Some((*listener, *stream)),
            _ => None,
        };
        bare.said.iter().filter_map(accept).collect()
    };
    let [(ListenerId(1), pauses), (ListenerId(0), comes)] = asked(&bare)[..] else {
        panic!("{:?}", bare.said)
    };
    bare.input(Input::AcceptFailed { stream: pauses, fault: Fault::NoDescriptors });
    let (peer, local) = (addr("127.0.0.1:10"), addr("127.0.0.1:1080"));
    bare.input(Input::Accepted { stream: comes, peer, local });
    bare.said.clear();
    // There are as many as may be, and one goes.
    bare.input(Input::Failed { stream: bare.client, fault: Fault::Reset });
    assert_eq!(asked(&bare).iter().map(|(listener, _)| listener.0).collect::<Vec<_>>(), [0]);
}
