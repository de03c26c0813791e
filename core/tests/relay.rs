//! Bytes both ways until both have ended: half-close, resets, back-pressure, limits, drain.

mod util;

use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Fault, Report};
use util::asking::{connected, payload, serve};
use util::{Act, Behave, End, Lab, Person, Reading, Setup, Target, ms, pattern, same_bytes, secs};

fn lab() -> Lab {
    Setup::new(2).build()
}

// ---- half-close ----

#[test]
fn eight_mebibytes_then_a_fin_then_one_mebibyte_back_after_a_long_pause() {
    let (up, down) = (pattern(8 << 20, 1), pattern(1 << 20, 2));
    let mut lab = lab();
    lab.machine.quiet = true;
    serve(&mut lab, Person::new([Act::AwaitEnd, Act::Pause(secs(6)), Act::Send(down.clone()), Act::Fin]));
    let who = lab.client(connected([Act::Send(up.clone()), Act::Fin, Act::AwaitEnd]));
    lab.finish();
    let target = lab.served(0);
    same_bytes(lab.got(target), &up, "up");
    same_bytes(payload(&lab, who), &down, "down");
    assert_eq!((lab.end(who), lab.end(target)), (End::Fin, End::Fin));
    let moved = lab.world.reports.iter().fold((0, 0), |(s, r), report| match report {
        Report::Traffic { sent, received, .. } => (s + sent, r + received),
        _ => (s, r),
    });
    assert_eq!(moved, (8 << 20, 1 << 20), "what the pool was told");
}

#[test]
fn a_target_may_end_first_and_still_be_sent_to() {
    let (up, down) = (pattern(300_000, 1), pattern(500_000, 2));
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Send(down.clone()), Act::Fin, Act::AwaitEnd]));
    let rest = [Act::AwaitEnd, Act::Pause(secs(6)), Act::Send(up.clone()), Act::Fin];
    let who = lab.client(connected(rest));
    lab.finish();
    same_bytes(lab.got(lab.served(0)), &up, "up");
    same_bytes(payload(&lab, who), &down, "down");
    assert_eq!((lab.end(who), lab.end(lab.served(0))), (End::Fin, End::Fin));
}

#[test]
fn a_half_close_comes_through_while_the_other_way_is_silent() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Pause(secs(30)), Act::Send(b"late".to_vec()), Act::Fin]));
    let who = lab.client(connected([Act::Send(b"early".to_vec()), Act::Fin]));
    lab.run_for(secs(1));
    assert_eq!((lab.got(lab.served(0)), lab.end(lab.served(0))), (&b"early"[..], End::Fin));
    assert_eq!(lab.end(who), End::Open);
    lab.finish();
    assert_eq!((payload(&lab, who), lab.end(who)), (&b"late"[..], End::Fin));
}

#[test]
fn both_ways_at_once_are_whole() {
    let (up, down) = (pattern(2_000_000, 1), pattern(1_500_000, 2));
    for (segment, gap) in [(1448, 0), (60_000, 1), (usize::MAX, 0)] {
        let mut lab = lab();
        lab.machine.quiet = true;
        let both = |bytes: &[u8]| [Act::Send(bytes.to_vec()), Act::Fin, Act::AwaitEnd];
        serve(&mut lab, Person::new(both(&down)).segments(segment, ms(gap)).windows(300_000, 200_000));
        let client = Person::new(connected(both(&up))).segments(segment, ms(gap));
        let who = lab.person(client.windows(3000, 1 << 20));
        lab.finish();
        same_bytes(lab.got(lab.served(0)), &up, "up");
        same_bytes(payload(&lab, who), &down, "down");
    }
}

// ---- resets ----

#[test]
fn a_reset_goes_through_as_a_reset_both_ways() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::AwaitEnd]));
    lab.client(connected([Act::Pause(ms(100)), Act::Reset]));
    lab.finish();
    assert_eq!(lab.end(lab.served(0)), End::Reset);

    let mut lab = self::lab();
    serve(&mut lab, Person::new([Act::Pause(ms(100)), Act::Reset]));
    let who = lab.client(connected([Act::AwaitEnd]));
    lab.finish();
    assert_eq!(lab.end(who), End::Reset);
    let fault = lab.world.events.iter().find_map(|(_, event)| match event {
        Event::Closed { fault, .. } => *fault,
        _ => None,
    });
    assert_eq!(fault, Some(Fault::Reset));
}

#[test]
fn a_reset_after_a_half_close_goes_through_too() {
    for client_first in [true, false] {
        let mut lab = lab();
        let (fin, reset) =
            (vec![Act::Fin, Act::AwaitEnd], vec![Act::AwaitEnd, Act::Pause(ms(50)), Act::Reset]);
        let (client, target) = if client_first { (fin, reset) } else { (reset, fin) };
        serve(&mut lab, Person::new(target));
        let who = lab.client(connected(client));
        lab.finish();
        let sees = if client_first { who } else { lab.served(0) };
        assert_eq!(lab.end(sees), End::Reset, "client first: {client_first}");
    }
}

#[test]
fn the_last_bytes_before_a_reset_are_delivered() {
    let last = pattern(40_000, 9);
    for slow in [false, true] {
        let reading = if slow { Reading::Slow(1000, ms(20)) } else { Reading::Fast };
        let mut lab = lab();
        serve(&mut lab, Person::new([Act::Send(last.clone()), Act::Reset]));
        let reader = Person::new(connected([Act::AwaitEnd])).windows(8_000, 8_000).reads(reading);
        let who = lab.person(reader);
        lab.finish();
        same_bytes(payload(&lab, who), &last, "down");
        assert_eq!(lab.end(who), End::Reset);

        let mut lab = self::lab();
        serve(&mut lab, Person::new([Act::AwaitEnd]).windows(8_000, 8_000).reads(reading));
        lab.client(connected([Act::Send(last.clone()), Act::Reset]));
        lab.finish();
        same_bytes(lab.got(lab.served(0)), &last, "up");
        assert_eq!(lab.end(lab.served(0)), End::Reset);
    }
}

/// A write towards the target finds the reset while a buffer is on its way to the client, which
/// reads this many bytes every 100 ms.
fn reset_behind_a_buffer(sip: usize) {
    let last = pattern(60_000, 9);
    let mut lab = lab();
    let target = Person::new([Act::Send(last.clone()), Act::Pause(ms(200)), Act::Reset]).whole();
    serve(&mut lab, target.windows(1_000, 200_000));
    let words = (0..100).flat_map(|_| [Act::Pause(ms(50)), Act::Send(vec![1; 500])]);
    let client = Person::new(connected(words.chain([Act::AwaitEnd])));
    let who = lab.person(client.windows(4_000, 64_000).reads(Reading::Slow(sip, ms(100))));
    lab.finish();
    same_bytes(payload(&lab, who), &last, "down");
    assert_eq!(lab.end(who), End::Reset);
}

#[test]
fn bytes_read_before_a_reset_reach_a_reader_that_takes_a_second() {
    reset_behind_a_buffer(4_000);
}

#[test]
fn bytes_read_before_a_reset_reach_a_slow_reader_that_goes_on_reading() {
    reset_behind_a_buffer(1_000);
}

#[test]
fn a_target_that_closes_on_a_talking_client_resets_it() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::AwaitTotal(10_000), Act::Close]));
    let who = lab.client(connected([Act::Send(pattern(3_000_000, 1)), Act::Fin, Act::AwaitEnd]));
    lab.finish();
    assert_ne!(lab.end(who), End::Open);
}

#[test]
fn a_reset_towards_a_reader_that_never_reads_is_not_waited_for_for_ever() {
    // The target is gone, what is left for the client does not move: with an idle timeout it ends.
    let mut lab = Setup::new(1).with(|config| config.idle_timeout = Some(secs(60))).build();
    serve(&mut lab, Person::new([Act::Send(pattern(200_000, 1)), Act::Reset]));
    let client = connected([Act::Read(Reading::Stopped), Act::Pause(secs(600))]);
    lab.person(Person::new(client).windows(4_000, 4_000));
    lab.run_for(secs(70));
    lab.check_end();
}

// ---- back-pressure ----

#[test]
fn a_slow_reader_loses_nothing_and_holds_its_sender() {
    let bytes = pattern(1_000_000, 4);
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Send(bytes.clone()), Act::Fin, Act::AwaitEnd]).windows(16_000, 16_000));
    let reader = Person::new(connected([Act::AwaitEnd, Act::Fin])).windows(8_000, 8_000);
    let who = lab.person(reader.reads(Reading::Slow(4_000, ms(10))));
    let mut most = 0;
    while lab.step(ropewalk_core::time::Instant::from_nanos(u64::MAX)) {
        if let Some((_, target)) = lab.world.served.first() {
            most = most.max(lab.sock(*target).got.sent - lab.sock(who).got.bytes.len().saturating_sub(12));
            assert!(lab.machine.buffers_taken() <= 2, "one buffer for each way");
        }
    }
    lab.check_end();
    same_bytes(payload(&lab, who), &bytes, "down");
    // The target's window, one buffer, the client's window.
    assert!(most <= 16_000 + 128 * 1024 + 8_000, "{most} bytes were on the way");
}

#[test]
fn a_reader_that_stops_stops_its_sender_until_it_goes_on() {
    let bytes = pattern(2_000_000, 4);
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Send(bytes.clone()), Act::Fin, Act::AwaitEnd]));
    let rest = [Act::Read(Reading::Stopped), Act::Pause(secs(60)), Act::Read(Reading::Fast), Act::AwaitEnd];
    let who = lab.client(connected(rest));
    lab.run_for(secs(30));
    let sent = lab.sock(lab.served(0)).got.sent;
    assert!(sent <= 64 * 1024 * 2 + 128 * 1024, "{sent} bytes were taken from the target");
    lab.run_for(secs(20));
    assert_eq!(lab.sock(lab.served(0)).got.sent, sent);
    lab.finish();
    same_bytes(payload(&lab, who), &bytes, "down");
}

// ---- idle ----

#[test]
fn an_idle_tunnel_survives_without_an_idle_timeout() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Echo]));
    let rest = [Act::Pause(secs(20_000)), Act::Send(b"still here".to_vec()), Act::Fin, Act::AwaitEnd];
    let who = lab.client(connected(rest));
    lab.finish();
    assert_eq!((payload(&lab, who), lab.end(who)), (&b"still here"[..], End::Fin));
}

#[test]
fn an_idle_tunnel_is_closed_when_its_time_is_over() {
    let mut lab = Setup::new(1).with(|config| config.idle_timeout = Some(secs(300))).build();
    serve(&mut lab, Person::new([Act::Echo]));
    let who = lab.client(connected([Act::Send(b"word".to_vec()), Act::AwaitEnd]));
    lab.run_for(secs(299));
    assert_eq!((payload(&lab, who), lab.end(who)), (&b"word"[..], End::Open));
    lab.run_for(secs(2));
    lab.check_end();
    assert_ne!(lab.end(who), End::Open);
}

#[test]
fn an_active_tunnel_is_not_closed() {
    let mut lab = Setup::new(1).with(|config| config.idle_timeout = Some(secs(10))).build();
    for up in [true, false] {
        let words: Vec<Act> = (0..30).flat_map(|i| [Act::Pause(secs(7)), Act::Send(vec![i])]).collect();
        let (talks, listens) = (words.into_iter().chain([Act::Fin, Act::AwaitEnd]), [Act::AwaitEnd]);
        let who = if up {
            serve(&mut lab, Person::new(listens));
            lab.client(connected(talks))
        } else {
            serve(&mut lab, Person::new(talks));
            lab.client(connected(listens))
        };
        lab.finish();
        assert_eq!(lab.end(who), End::Fin, "up: {up}");
    }
}

#[test]
fn a_half_closed_tunnel_is_idle_only_when_nothing_moves() {
    let mut lab = Setup::new(1).with(|config| config.idle_timeout = Some(secs(10))).build();
    let words: Vec<Act> = (0..10).flat_map(|i| [Act::Pause(secs(7)), Act::Send(vec![i])]).collect();
    serve(&mut lab, Person::new(words));
    let who = lab.client(connected([Act::Fin, Act::AwaitEnd]));
    lab.finish();
    assert_eq!((payload(&lab, who).len(), lab.end(who)), (10, End::Fin));
}

// ---- accounting ----

#[test]
fn the_pool_hears_once_of_what_a_connection_moved_and_of_its_end() {
    let mut lab = lab();
    serve(&mut lab, Person::new([Act::Echo]));
    let rest = [Act::Send(pattern(5_000, 1)), Act::Pause(secs(60)), Act::Send(pattern(700, 2)), Act::Fin];
    lab.client(connected(rest));
    let sums = |lab: &Lab| {
        lab.world.pool.accounts(lab.now()).fold((0, 0, 0), |(s, r, o), (_, account, _)| {
            (s + account.sent, r + account.received, o + account.open)
        })
    };
    lab.run_for(secs(10));
    assert_eq!(sums(&lab).2, 1);
    lab.finish();
    assert_eq!(sums(&lab), (5_700, 5_700, 0));
}

#[test]
fn a_thousand_clients_come_and_go_and_nothing_is_left() {
    let mut lab = lab();
    lab.machine.quiet = true;
    serve(&mut lab, Person::new([Act::Echo]));
    lab.target("192.0.2.8:80", Target::that(Behave::Refuse));
    let bytes = pattern(4_000, 1);
    let mut all = Vec::new();
    for n in 0..1000u64 {
        let client = Person::new(connected([Act::Send(bytes.clone()), Act::Fin, Act::AwaitEnd]));
        all.push(lab.visitor(ms(n % 50), 0, "127.0.0.1", client));
    }
    lab.finish();
    for who in all {
        same_bytes(payload(&lab, who), &bytes, "the echo");
    }
    assert_eq!(lab.machine.counters().accepted, 1000);
}
