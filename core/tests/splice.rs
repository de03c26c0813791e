//! Parity: bytes that move in the kernel arrive as bytes that are copied do, and end as they do.

mod util;

use ropewalk_core::dispatch::{Config, Rate};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Close, Fault, Input, Machine, Output, Report, Splice, StreamId, StreamMachine};
use ropewalk_core::time::Instant;
use util::bare::Bare;
use util::lab::Who;
use util::say::{self, SOCKS5_GRANTED};
use util::{Act, End, Lab, Person, Reading, Setup, SpliceMode, Target, addr, ms, pattern, same_bytes, secs};

const FAR: &str = "192.0.2.7:80";

const MODES: [SpliceMode; 5] = [
    SpliceMode::Never,
    SpliceMode::Pipe(64 * 1024),
    SpliceMode::Pipe(4096),
    SpliceMode::Moody(64 * 1024),
    SpliceMode::Moody(1000),
];

/// What both sides of one relay saw.
#[derive(PartialEq, Eq)]
struct Seen {
    client: (Vec<u8>, End),
    target: (Vec<u8>, End),
}

fn relay(mode: SpliceMode, seed: u64, client: Person, target: Person) -> (Seen, Lab) {
    let mut setup =
        Setup::new(1).with(|config| (config.buffer_size, config.idle_timeout) = (4096, Some(secs(900))));
    (setup.splice, setup.seed) = (mode, seed);
    let mut lab = setup.build();
    lab.machine.quiet = true;
    lab.target(FAR, Target::new(target));
    let who = lab.person(client);
    lab.finish();
    let target = lab.served(0);
    let seen = |who: Who, skip: usize| (lab.got(who)[skip..].to_vec(), lab.end(who));
    (Seen { client: seen(who, SOCKS5_GRANTED), target: seen(target, 0) }, lab)
}

fn connected(rest: impl IntoIterator<Item = Act>) -> Person {
    let hello = [Act::Send(say::socks5(addr(FAR))), Act::AwaitTotal(SOCKS5_GRANTED)];
    Person::new(hello.into_iter().chain(rest).collect::<Vec<_>>())
}

/// Runs the same two persons in each mode; all must see the same. Says whether bytes moved in the
/// kernel.
#[track_caller]
fn parity(client: &Person, target: &Person) -> Seen {
    let (plain, _) = relay(SpliceMode::Never, 1, client.clone(), target.clone());
    for mode in MODES {
        for seed in 1..4 {
            let (seen, lab) = relay(mode, seed, client.clone(), target.clone());
            same_bytes(&seen.client.0, &plain.client.0, &format!("down, {mode:?}"));
            same_bytes(&seen.target.0, &plain.target.0, &format!("up, {mode:?}"));
            assert_eq!((seen.client.1, seen.target.1), (plain.client.1, plain.target.1), "ends, {mode:?}");
            assert_eq!(lab.world.spliced > 0, mode != SpliceMode::Never, "{mode:?} was not used");
        }
    }
    plain
}

#[test]
fn bulk_both_ways_with_half_closes_is_the_same() {
    let (up, down) = (pattern(600_000, 1), pattern(400_000, 2));
    for (client_window, target_window) in [(64 * 1024, 64 * 1024), (3_000, 200_000)] {
        let client = connected([Act::Send(up.clone()), Act::Fin, Act::AwaitEnd]);
        let target = Person::new([Act::AwaitEnd, Act::Pause(secs(6)), Act::Send(down.clone()), Act::Fin]);
        let bulk = |person: Person, window| person.windows(window, 64 * 1024).segments(20_000, ms(0));
        let seen = parity(&bulk(client, client_window), &bulk(target, target_window));
        same_bytes(&seen.target.0, &up, "up");
        same_bytes(&seen.client.0, &down, "down");
        assert_eq!((seen.client.1, seen.target.1), (End::Fin, End::Fin));
    }
}

#[test]
fn both_ways_at_once_are_the_same() {
    let (up, down) = (pattern(500_000, 1), pattern(500_000, 2));
    let client = connected([Act::Send(up.clone()), Act::Fin, Act::AwaitEnd]);
    let target = Person::new([Act::Send(down.clone()), Act::Fin, Act::AwaitEnd]);
    let seen = parity(&client.windows(5_000, 30_000), &target.windows(20_000, 64 * 1024));
    assert!(seen.target.0 == up && seen.client.0 == down);
}

#[test]
fn a_slow_reader_is_the_same() {
    let down = pattern(200_000, 2);
    let reader = connected([Act::AwaitEnd, Act::Fin]).windows(8_000, 8_000);
    let target = Person::new([Act::Send(down.clone()), Act::Fin, Act::AwaitEnd]);
    let seen = parity(&reader.reads(Reading::Slow(3_000, ms(7))), &target);
    assert!(seen.client == (down, End::Fin));
}

#[test]
fn a_reset_after_bulk_is_the_same() {
    let bytes = pattern(200_000, 2);
    for reading in [Reading::Fast, Reading::Slow(3_000, ms(7))] {
        let target = Person::new([Act::Send(bytes.clone()), Act::Reset]);
        let seen = parity(&connected([Act::AwaitEnd]).windows(8_000, 8_000).reads(reading), &target);
        assert!(seen.client == (bytes.clone(), End::Reset), "{reading:?}: {} bytes", seen.client.0.len());

        let client = connected([Act::Send(bytes.clone()), Act::Reset]);
        let seen = parity(&client, &Person::new([Act::AwaitEnd]).windows(8_000, 8_000).reads(reading));
        assert!(seen.target == (bytes.clone(), End::Reset), "{reading:?}: {} bytes", seen.target.0.len());
    }
}

#[test]
fn a_sink_that_closes_under_a_splice_resets_its_source() {
    for mode in MODES {
        let client = connected([Act::Send(pattern(3_000_000, 1)), Act::Fin, Act::AwaitEnd]);
        let target = Person::new([Act::AwaitTotal(200_000), Act::Close]);
        let (seen, lab) = relay(mode, 1, client.segments(20_000, ms(0)), target);
        assert_ne!(seen.client.1, End::Open, "{mode:?}");
        assert!(lab.sock(0).got.reset, "{mode:?}");
    }
}

#[test]
fn thin_traffic_returns_to_copying() {
    // Bulk makes it splice; then single small messages, each of which would cost two calls and a
    // pipe.
    let mut script = vec![Act::Send(pattern(300_000, 1)), Act::Pause(secs(1))];
    for i in 0..50 {
        script.extend([Act::Send(vec![i; 100]), Act::Pause(ms(50))]);
    }
    script.extend([Act::Fin, Act::AwaitEnd]);
    let client = connected(script).segments(20_000, ms(0));
    let (seen, lab) = relay(SpliceMode::Pipe(64 * 1024), 1, client, Person::new([Act::AwaitEnd]));
    assert_eq!(seen.target.0.len(), 305_000);
    assert!(lab.world.spliced > 100_000, "bulk went through the kernel");
    assert!(lab.world.spliced < 302_000, "small messages were copied again: {}", lab.world.spliced);
}

#[test]
fn small_messages_are_never_spliced() {
    let mut script = Vec::new();
    for i in 0..100 {
        script.extend([Act::Send(vec![i; 1000]), Act::Pause(ms(10))]);
    }
    let (_, lab) = relay(SpliceMode::Pipe(64 * 1024), 1, connected(script), Person::new([]));
    assert_eq!(lab.world.splice_calls, 0);
}

#[test]
fn a_splice_after_of_0_never_splices() {
    let mut setup = Setup::new(1).with(|config| (config.buffer_size, config.splice_after) = (1024, 0));
    setup.splice = SpliceMode::Pipe(64 * 1024);
    let mut lab = setup.build();
    lab.serve(FAR, [Act::Echo]);
    lab.person(connected([Act::Send(pattern(300_000, 1)), Act::Fin, Act::AwaitEnd]));
    lab.finish();
    assert_eq!(lab.world.splice_calls, 0);
}

#[test]
fn spliced_bytes_count_for_the_idle_timeout_and_the_accounts() {
    let mut setup = Setup::new(1).with(|config| {
        (config.buffer_size, config.idle_timeout) = (1024, Some(secs(10)));
    });
    setup.splice = SpliceMode::Pipe(64 * 1024);
    let mut lab = setup.build();
    let trickle: Vec<Act> =
        (0..30).flat_map(|_| [Act::Pause(secs(7)), Act::Send(pattern(40_000, 3))]).collect();
    lab.target(FAR, Target::new(Person::new([Act::AwaitEnd])));
    let who = lab.person(connected(trickle.into_iter().chain([Act::Fin, Act::AwaitEnd])));
    lab.finish();
    assert_eq!(lab.end(who), End::Fin);
    assert_eq!(lab.got(lab.served(0)).len(), 1_200_000);
    let sent: u64 =
        lab.world.reports.iter().map(|r| if let Report::Traffic { sent, .. } = r { *sent } else { 0 }).sum();
    assert_eq!(sent, 1_200_000);
}

// ---- the machine alone, with a splice half done ----

impl Bare {
    /// A relay whose direction from the target may splice.
    fn splicing() -> Bare {
        let listeners = vec![addr("127.0.0.1:1080")];
        let config = Config { listeners, buffer_size: 1024, splice_after: 1, ..Config::default() };
        let mut bare = Bare::opening(config, &say::socks5(addr(FAR)));
        bare.connected();
        bare.flush(bare.client);
        bare.read(bare.target, &[7; 1024]);
        bare.flush(bare.client);
        bare.said.clear();
        let splice = bare.machine.splice(bare.target);
        assert!(matches!(splice, Some(Splice { to, .. }) if to == bare.client), "{splice:?}");
        bare
    }

    fn spliced(&mut self, taken: usize, given: usize, eof: bool) {
        self.input(Input::Spliced { from: self.target, to: self.client, taken, given, eof });
    }
}

#[test]
fn no_end_is_said_while_a_splice_holds_bytes() {
    let mut bare = Bare::splicing();
    bare.spliced(5000, 2000, false);
    bare.spliced(0, 0, true);
    bare.spliced(0, 1000, true);
    assert_eq!(bare.said, []);
    assert!(bare.machine.splice(bare.target).is_some(), "what is inside may always be given");
    bare.spliced(0, 2000, true);
    assert_eq!(bare.said, [Output::Shutdown { stream: bare.client }]);
    assert_eq!(bare.machine.splice(bare.target), None);
}

#[test]
fn a_reset_of_the_source_waits_for_the_bytes_inside_the_pipe() {
    // relay.rs: "a reset goes through as a reset, after what was read before it". Where the driver
    // copies, the held buffer is delivered first; bytes inside a pipe were read before the reset,
    // too.
    let mut bare = Bare::splicing();
    bare.spliced(5000, 2000, false);
    // Found by a write of the other direction, or reported by the event queue.
    bare.input(Input::Failed { stream: bare.target, fault: Fault::Reset });
    let closes_client =
        bare.said.iter().any(|o| matches!(o, Output::Close { stream, .. } if *stream == bare.client));
    assert!(!closes_client, "3000 bytes are inside: {:?}", bare.said);
}

#[test]
fn thin_moves_do_not_end_a_splice_that_holds_bytes() {
    let mut bare = Bare::splicing();
    bare.spliced(100, 0, false);
    for _ in 0..20 {
        bare.spliced(1, 1, false);
        assert!(bare.machine.splice(bare.target).is_some());
        assert!(bare.machine.read_buf(bare.target).is_empty());
    }
    bare.spliced(0, 100, false);
    bare.spliced(0, 0, false);
    assert!(bare.machine.splice(bare.target).is_none() && !bare.machine.read_buf(bare.target).is_empty());
}

#[test]
fn a_rate_that_comes_by_a_reload_ends_a_splice_whose_pipe_never_empties() {
    let mut bare = Bare::splicing();
    bare.spliced(5000, 2000, false);
    assert!(bare.machine.splice(bare.target).is_some_and(|splice| splice.max > 0));
    let rate = Rate { sent: None, received: Some(1_000_000) };
    let config = Config { rates: vec![Some(rate)], ..bare.machine.config().clone() };
    bare.machine.reconfigure(Instant::ZERO, config).expect("valid");
    assert!(bare.machine.splice(bare.target).is_some_and(|splice| splice.max == 0), "no more comes in");
    bare.spliced(0, 3000, false);
    assert_eq!(bare.machine.splice(bare.target), None);
    assert!(!bare.machine.read_buf(bare.target).is_empty(), "it is read, and counted");
}

impl Bare {
    /// What was accounted for at the end: how it ended, and the bytes from the target.
    fn end(&self) -> (Vec<(StreamId, Close)>, Option<u64>) {
        let closed = self.said.iter().filter_map(|o| match o {
            Output::Close { stream, how } => Some((*stream, *how)),
            _ => None,
        });
        let received = self.said.iter().find_map(|o| match o {
            Output::Event(Event::Closed { received, .. }) => Some(*received),
            _ => None,
        });
        (closed.collect(), received)
    }

    /// Nothing is left, neither connection nor buffer.
    #[track_caller]
    fn is_over(&self, received: u64) {
        let (mut closed, accounted) = self.end();
        closed.sort_by_key(|(stream, _)| *stream);
        let mut both = vec![(self.client, Close::Reset), (self.target, Close::Reset)];
        both.sort_by_key(|(stream, _)| *stream);
        assert_eq!((closed, accounted), (both, Some(received)));
        assert_eq!((self.machine.counters().open, self.machine.buffers_taken()), (0, 0));
    }
}

#[test]
fn what_a_side_sent_before_its_write_failed_is_delivered_by_copying() {
    let mut bare = Bare::splicing();
    // The client's bytes for the target are lost with its write; those of the target are not.
    bare.read(bare.client, &[1; 500]);
    bare.input(Input::WriteFailed { stream: bare.target, fault: Fault::Reset });
    assert_eq!(bare.machine.splice(bare.target), None, "a read tells of the end");
    for piece in [1000, 24] {
        bare.read(bare.target, &vec![2; piece]);
        assert_eq!(bare.flush(bare.client), vec![2; piece]);
    }
    assert!(bare.machine.write_buf(bare.target).is_empty(), "nothing can be written there");
    assert_eq!(bare.end(), (Vec::new(), None));
    bare.input(Input::ReadClosed { stream: bare.target });
    bare.is_over(1024 + 1024);
}

#[test]
fn what_is_in_the_pipe_when_a_write_fails_is_delivered_too() {
    let mut bare = Bare::splicing();
    bare.spliced(5000, 2000, false);
    bare.input(Input::WriteFailed { stream: bare.target, fault: Fault::Reset });
    let splice = bare.machine.splice(bare.target);
    assert!(matches!(splice, Some(Splice { max: 0, .. })), "what is inside, and no more: {splice:?}");
    bare.spliced(0, 3000, false);
    bare.read(bare.target, &[3; 10]);
    assert_eq!(bare.flush(bare.client), [3; 10]);
    bare.input(Input::Failed { stream: bare.target, fault: Fault::Reset });
    bare.is_over(1024 + 5000 + 10);
}

#[test]
fn a_write_that_fails_behind_the_other_sides_end_ends_all_at_once() {
    let mut bare = Bare::splicing();
    bare.spliced(0, 0, true);
    bare.input(Input::WriteFailed { stream: bare.target, fault: Fault::Reset });
    bare.is_over(1024);
}

#[test]
fn what_moves_in_the_kernel_is_told_while_the_connection_is_open() {
    for mode in MODES {
        let mut setup = Setup::new(1);
        setup.splice = mode;
        let mut lab = setup.build();
        // After the pause nothing is left of what the first bytes have set going.
        let half = || Act::Send(pattern(500_000, 3));
        lab.target(FAR, Target::new(Person::new([half(), Act::Pause(secs(5)), half(), Act::AwaitEnd])));
        let who = lab.person(connected([Act::AwaitEnd]));
        lab.run_for(secs(10));
        let told = |(_, event): &(_, Event)| match event {
            Event::Moved { received, .. } => *received,
            _ => 0,
        };
        let told: u64 = lab.world.events.iter().map(told).sum();
        assert_eq!((told, lab.end(who)), (1_000_000, End::Open), "{mode:?}");
    }
}

#[test]
fn a_splice_moves_the_idle_deadline_as_a_read_does() {
    let mut bare = Bare::splicing();
    let at = |second| Instant::ZERO + secs(second);
    // No limit is set: it is the linger of a broken relay that tells.
    bare.spliced(5000, 1000, false);
    bare.machine.handle_input(at(5), Input::Failed { stream: bare.target, fault: Fault::Reset });
    for second in [6, 8, 10] {
        let given = Input::Spliced { from: bare.target, to: bare.client, taken: 0, given: 1000, eof: false };
        bare.machine.handle_input(at(second), given);
        bare.machine.handle_timeout(at(second) + ms(1999));
        assert_eq!(bare.machine.counters().open, 1, "it gave something at {second} s");
    }
    bare.machine.handle_timeout(at(12));
    assert_eq!((bare.machine.counters().open, bare.machine.buffers_taken()), (0, 0));
}
