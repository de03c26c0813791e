//! One turn of a driver, call by call.

mod stage;

use ropewalk_core::drive::{SpliceError, SpliceMoved};
use ropewalk_core::machine::{Close, Fault, Output, QueryId, SocketId, Splice, StreamId, StreamMachine, Via};
use ropewalk_core::name::Host;
use ropewalk_core::time::{Duration, Instant};
use stage::Says::{Blocks, Fails, Last, Len};
use stage::{LISTENER, Stage, peer, run, socket, stream};

fn open(socket: SocketId) -> Output {
    Output::OpenSocket { socket, to: peer(), via: Via::default(), fragments: true }
}

// ---- shares ----

#[test]
fn a_stream_has_its_share_and_then_the_others_have_theirs() {
    let mut stage = Stage::with(2);
    for index in [0, 1] {
        stage.system.say("read", index, [Len(1); 20]);
        stage.drive.ready(index, true, false);
    }
    assert!(stage.turn(8).more);
    assert_eq!(stage.system.runs(), [run("read 0", 8)]);
    assert!(stage.turn(16).more);
    assert_eq!(stage.system.runs(), [run("read 1", 8), run("read 0", 8)]);
    // What is left, and for each the one that blocks.
    assert!(!stage.turn(1000).more);
    assert_eq!(stage.system.runs(), [run("read 1", 8), run("read 0", 5), run("read 1", 5)]);
}

#[test]
fn many_bytes_count_as_more_operations() {
    for (bytes, reads) in [(32 * 1024 - 1, 8), (32 * 1024, 4), (224 * 1024, 1)] {
        let mut stage = Stage::with(1);
        stage.system.say("read", 0, [Len(bytes); 20]);
        stage.drive.ready(0, true, false);
        stage.turn(1);
        assert_eq!(stage.system.runs(), [run("read 0", reads)], "{bytes}");
    }
    for (taken, calls) in [(128 * 1024 - 1, 8), (128 * 1024, 4)] {
        let mut stage = Stage::with(2);
        stage.toy.splices.insert(stream(0), Splice { to: stream(1), max: 1 << 20 });
        stage.system.splices.extend([Ok(SpliceMoved { taken, given: taken, ..SpliceMoved::default() }); 9]);
        stage.drive.ready(0, true, false);
        stage.turn(1);
        assert_eq!(stage.system.runs(), [run("splice 0", calls)], "{taken}");
    }
}

#[test]
fn bytes_of_datagrams_count_too() {
    let mut stage = Stage::default();
    [0, 1].into_iter().for_each(|index| stage.ask(open(socket(index))));
    while stage.turn(1000).more {}
    stage.forget();
    // One call and twice 32 KiB: the other socket's turn comes when there is fuel for more.
    for (call, cost) in [("transmit", 3), ("receive", 4)] {
        for (fuel, other) in [(cost, false), (cost + 1, true)] {
            (stage.toy.sends, stage.toy.len) = (usize::from(call == "transmit"), 64 * 1024);
            stage.system.say(call, 0, [Last(64 * 1024)]);
            stage.drive.socket_ready(0, call == "receive", true);
            stage.drive.socket_ready(1, true, false);
            stage.turn(fuel);
            let made = std::mem::take(&mut stage.system.made);
            assert_eq!(made.iter().any(|made| made == "receive 1"), other, "{made:?}");
            while stage.turn(1000).more {}
            stage.forget();
        }
    }
}

#[test]
fn writes_are_part_of_a_streams_share() {
    let mut stage = Stage::with(1);
    stage.toy.writes.insert(stream(0), vec![1; 10]);
    stage.system.say("write", 0, [Len(1); 10]);
    stage.system.say("read", 0, [Len(1)]);
    stage.drive.ready(0, true, true);
    assert!(stage.turn(1).more);
    assert_eq!(stage.system.runs(), [run("write 0", 10)]);
    stage.turn(1);
    assert_eq!(stage.system.runs(), [run("read 0", 2)]);
}

#[test]
fn a_listener_has_its_share_and_accepts_nothing_that_was_not_asked_for() {
    let mut stage = Stage::default();
    for index in 0..12 {
        stage.system.say("accept", index, [Len(0)]);
        stage.ask(Output::Accept { listener: LISTENER, stream: stream(index) });
    }
    stage.drive.listener_ready(LISTENER);
    stage.turn(1);
    let first: Vec<_> = (0..8).map(|index| run(&format!("accept {index}"), 1)).collect();
    assert_eq!(stage.system.runs(), first);
    stage.toy.heard.clear();
    while stage.turn(1000).more {}
    assert_eq!(stage.toy.heard, ["Accepted 8", "Accepted 9", "Accepted 10", "Accepted 11"]);
    stage.forget();
    stage.drive.listener_ready(LISTENER);
    stage.shows(&[], &[]);
}

#[test]
fn a_socket_has_its_share_both_ways() {
    let mut stage = Stage::default();
    for index in [0, 1] {
        stage.ask(open(socket(index)));
        stage.system.say("receive", index, [Len(1); 6]);
    }
    while stage.turn(1).more && stage.system.made.len() < 6 {}
    assert_eq!(stage.system.runs()[2..], [run("receive 0", 4)]);
    while stage.turn(1000).more {}
    assert_eq!(stage.system.runs(), [run("receive 1", 4), run("receive 0", 3), run("receive 1", 3)]);
    stage.toy.sends = 10;
    stage.system.say("transmit", 0, [Len(1); 20]);
    stage.toy.dirty_sockets.push_back(socket(0));
    assert!(stage.turn(0).more, "its share is over");
    assert_eq!((stage.system.runs(), stage.toy.sends), (vec![run("transmit 0", 4)], 6));
    while stage.turn(1000).more {}
    assert_eq!((stage.system.runs(), stage.toy.sends), (vec![run("transmit 0", 6)], 0));
}

#[test]
fn due_timers_do_not_hold_a_turn_for_ever() {
    let mut stage = Stage::with(0);
    stage.toy.due = Some(Instant::ZERO);
    let turn = stage.turn(64);
    assert_eq!((turn.more, turn.timeout, stage.toy.heard.len()), (true, Some(Instant::ZERO), 8));
    stage.forget();
    stage.toy.due = Some(Instant::ZERO + Duration::from_nanos(1));
    let turn = stage.turn(64);
    assert_eq!((turn.more, turn.timeout, stage.toy.heard.len()), (false, stage.toy.due, 0));
    stage.system.now += Duration::from_nanos(1);
    stage.turn(64);
    assert!(!stage.toy.heard.is_empty(), "it is due when its time has come");
}

// ---- what would block, what ends, what fails ----

#[test]
fn what_would_block_is_not_tried_until_it_is_ready() {
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Len(5), Blocks, Last(5)]);
    stage.drive.ready(0, true, false);
    stage.shows(&["read 0", "read 0"], &["Read 0"]);
    stage.toy.dirty.push_back(stream(0));
    stage.shows(&[], &[]);
    stage.drive.ready(0, false, true);
    stage.shows(&[], &[]);
    stage.drive.ready(0, true, false);
    stage.shows(&["read 0"], &["Read 0"]);

    stage.toy.writes.insert(stream(0), vec![1; 10]);
    stage.system.say("write", 0, [Len(3), Last(3), Blocks]);
    stage.toy.dirty.push_back(stream(0));
    stage.shows(&["write 0", "write 0"], &["Written 0", "Written 0"]);
    stage.drive.ready(0, true, false);
    stage.shows(&["read 0"], &[]);
    stage.drive.ready(0, false, true);
    stage.shows(&["write 0"], &[]);
    assert_eq!(stage.toy.write_buf(stream(0)).len(), 4);
}

#[test]
fn an_end_is_told_once() {
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Len(0)]);
    stage.drive.ready(0, true, false);
    stage.shows(&["read 0"], &["ReadClosed 0"]);
    stage.toy.dirty.push_back(stream(0));
    stage.shows(&[], &[]);
}

#[test]
fn a_stream_that_failed_is_left_alone() {
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Fails]);
    stage.toy.writes.insert(stream(0), vec![1]);
    stage.system.say("write", 0, [Blocks]);
    stage.drive.ready(0, true, false);
    stage.shows(&["write 0", "read 0"], &["Failed 0"]);
    stage.toy.dirty.push_back(stream(0));
    stage.shows(&[], &[]);
}

#[test]
fn after_a_write_that_failed_what_has_come_is_read() {
    let mut stage = Stage::with(1);
    stage.toy.writes.insert(stream(0), vec![1]);
    stage.system.say("write", 0, [Fails]);
    stage.system.say("read", 0, [Len(5), Len(0)]);
    stage.toy.dirty.push_back(stream(0));
    stage.shows(&["write 0", "read 0", "read 0"], &["WriteFailed 0", "Read 0", "ReadClosed 0"]);
}

#[test]
fn an_error_that_no_read_would_meet_is_told_at_once() {
    // The machine reads: the read meets it.
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Len(5), Fails]);
    stage.drive.failed(0);
    stage.shows(&["read 0", "read 0"], &["Read 0", "Failed 0"]);

    // It does not, and does not care: the error waits for its next read.
    let mut stage = Stage::with(1);
    stage.toy.reads.clear();
    stage.drive.failed(0);
    stage.shows(&[], &[]);
    stage.toy.reads.insert(stream(0));
    stage.system.say("read", 0, [Fails]);
    stage.toy.dirty.push_back(stream(0));
    stage.shows(&["read 0"], &["Failed 0"]);

    // It does not, and cares.
    let mut stage = Stage::with(1);
    stage.toy.reads.clear();
    stage.toy.hears.insert(stream(0));
    stage.drive.failed(0);
    stage.shows(&[], &["Failed 0"]);
    stage.drive.ready(0, true, true);
    stage.shows(&[], &[]);

    // The other side has ended, so nothing is read any more.
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Len(0)]);
    stage.drive.ready(0, true, false);
    stage.shows(&["read 0"], &["ReadClosed 0"]);
    stage.toy.reads.clear();
    stage.drive.ready(0, true, true);
    stage.shows(&[], &[]);
    stage.drive.failed(0);
    stage.shows(&[], &["Failed 0"]);
}

// ---- connects, indices, what the machine asks for ----

#[test]
fn an_attempt_ends_before_streams_have_their_turn() {
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Len(1); 3]);
    stage.ask(Output::Connect { stream: stream(1), to: peer(), via: Via::default() });
    stage.shows(&["connect 1"], &[]);
    stage.drive.ready(1, true, true);
    stage.shows(&["finish 1"], &[]);
    stage.system.say("finish", 1, [Len(0)]);
    stage.system.say("write", 1, [Len(9)]);
    stage.toy.writes.insert(stream(1), vec![1; 9]);
    stage.drive.ready(0, true, false);
    stage.drive.ready(1, false, true);
    stage.turn(1);
    assert_eq!(stage.system.made, ["finish 1", "write 1"], "what is to be said goes with it");
    assert_eq!(stage.toy.heard, ["Connected 1", "Written 1"]);

    let mut stage = Stage::with(0);
    stage.system.say("connect", 0, [Fails]);
    stage.ask(Output::Connect { stream: stream(0), to: peer(), via: Via::default() });
    stage.shows(&["connect 0"], &["ConnectFailed 0"]);
    stage.ask(Output::Connect { stream: stream(0), to: peer(), via: Via::default() });
    stage.system.say("finish", 0, [Fails]);
    stage.shows(&["connect 0"], &[]);
    stage.drive.ready(0, true, true);
    stage.shows(&["finish 0"], &["ConnectFailed 0"]);
    stage.drive.ready(0, true, true);
    stage.ask(Output::Close { stream: stream(0), how: Close::Reset });
    stage.shows(&[], &[]);
}

#[test]
fn what_is_known_of_a_stream_ends_with_it() {
    let mut stage = Stage::with(1);
    stage.system.say("read", 0, [Len(1); 9]);
    stage.drive.ready(0, true, true);
    stage.ask(Output::Shutdown { stream: stream(0) });
    stage.ask(Output::Close { stream: stream(0), how: Close::Graceful });
    stage.ask(Output::Shutdown { stream: stream(0) });
    stage.ask(Output::Close { stream: stream(0), how: Close::Graceful });
    stage.shows(&["shutdown 0", "close 0"], &[]);
    stage.drive.ready(0, true, true);
    stage.drive.failed(77);
    stage.shows(&[], &[]);
    // Its index is another's now, of whom nothing is known but that it connects.
    let next = StreamId::from_parts(0, 1);
    stage.toy.reads.insert(next);
    stage.ask(Output::Connect { stream: next, to: peer(), via: Via::default() });
    stage.ask(Output::Shutdown { stream: stream(0) });
    stage.ask(Output::Close { stream: stream(0), how: Close::Graceful });
    stage.shows(&["connect 0"], &[]);
    stage.system.say("finish", 0, [Len(0)]);
    stage.drive.ready(0, false, true);
    stage.shows(&["finish 0"], &["Connected 0"]);
}

#[test]
fn accepts_are_made_as_long_as_they_are_asked_for() {
    let mut stage = Stage::default();
    for index in [0, 1, 2] {
        stage.ask(Output::Accept { listener: LISTENER, stream: stream(index) });
    }
    stage.ask(Output::CancelAccept { listener: LISTENER, stream: stream(1) });
    stage.system.say("accept", 0, [Blocks, Fails]);
    stage.system.say("accept", 2, [Len(0)]);
    stage.shows(&[], &[]);
    stage.drive.listener_ready(LISTENER);
    stage.shows(&["accept 0"], &[]);
    stage.shows(&[], &[]);
    // The first asked for stays the first; one that fails does not keep the next out.
    stage.drive.listener_ready(LISTENER);
    stage.turn(1000);
    assert_eq!(stage.toy.heard, ["AcceptFailed 0", "Accepted 2"]);
    stage.forget();
    stage.ask(Output::Accept { listener: LISTENER, stream: stream(3) });
    stage.ask(Output::Unlisten { listener: LISTENER });
    stage.shows(&["unlisten"], &[]);
}

#[test]
fn names_that_nobody_looks_up_fail_at_once_and_an_end_is_told() {
    let mut stage = Stage::default();
    let query = QueryId::from_parts(4, 0);
    let Ok(Host::Name(name)) = Host::parse(b"host.example") else { panic!("it is a name") };
    stage.ask(Output::Resolve { query, name });
    stage.shows(&[], &["ResolveFailed 4"]);
    let Stage { toy, system, drive } = &mut stage;
    drive.resolved(toy, system, query, Ok(&[]));
    drive.resolved(toy, system, query, Ok(&[peer().ip()]));
    drive.resolved(toy, system, query, Err(Fault::Refused));
    stage.shows(&[], &["ResolveFailed 4", "Resolved 4", "ResolveFailed 4"]);
    assert!(!stage.turn(1).finished);
    stage.ask(Output::Finished);
    assert!(stage.turn(1).finished && stage.turn(1).finished);
}

// ---- bytes that move in the kernel ----

fn splicing(splices: impl IntoIterator<Item = Result<SpliceMoved, SpliceError>>) -> Stage {
    let mut stage = Stage::with(2);
    stage.toy.reads.clear();
    stage.toy.splices.insert(stream(0), Splice { to: stream(1), max: 1 << 20 });
    stage.system.splices.extend(splices);
    stage
}

const MOVED: SpliceMoved =
    SpliceMoved { taken: 9, given: 9, held: 0, eof: false, from_blocked: false, to_blocked: false };

#[test]
fn a_splice_waits_for_its_source_and_for_its_sink() {
    let mut stage = splicing([Ok(SpliceMoved { given: 4, held: 5, to_blocked: true, ..MOVED })]);
    stage.drive.ready(1, false, true);
    stage.shows(&[], &[]);
    stage.drive.ready(0, true, false);
    stage.shows(&["splice 0"], &["Spliced 0"]);
    // The sink is full; its source may be as ready as it likes.
    stage.drive.ready(0, true, false);
    stage.shows(&[], &[]);
    // There is room: what is inside goes, though nothing is known of the source.
    let last = SpliceMoved { taken: 0, given: 5, from_blocked: true, ..MOVED };
    stage.system.splices.push_back(Ok(last));
    stage.drive.ready(1, false, true);
    stage.shows(&["splice 0"], &["Spliced 0"]);
    stage.drive.ready(1, false, true);
    stage.shows(&[], &[]);
}

#[test]
fn what_a_splice_holds_goes_though_its_source_has_ended() {
    let held = SpliceMoved { given: 4, held: 5, eof: true, to_blocked: true, ..MOVED };
    let mut stage = splicing([Ok(held), Ok(SpliceMoved { taken: 0, given: 5, from_blocked: true, ..MOVED })]);
    stage.drive.ready(0, true, false);
    stage.shows(&["splice 0"], &["Spliced 0"]);
    stage.drive.ready(1, false, true);
    stage.shows(&["splice 0"], &["Spliced 0"]);
    // The end was told, so an error of the source is told at once.
    stage.drive.failed(0);
    stage.shows(&[], &["Failed 0"]);
}

#[test]
fn a_splice_that_moves_nothing_says_nothing_and_one_that_fails_names_the_side() {
    let mut stage = splicing([]);
    stage.drive.ready(0, true, false);
    stage.shows(&["splice 0"], &[]);
    stage.system.splices.push_back(Err(SpliceError::From(Fault::Reset)));
    stage.drive.ready(0, true, false);
    stage.shows(&["splice 0"], &["Failed 0"]);

    let mut stage = splicing([Err(SpliceError::To(Fault::Reset))]);
    stage.toy.reads.insert(stream(1));
    stage.drive.ready(0, true, false);
    stage.shows(&["splice 0", "read 1"], &["WriteFailed 1"]);

    let mut stage = splicing([Err(SpliceError::Unavailable)]);
    stage.system.say("read", 0, [Len(7)]);
    stage.drive.ready(0, true, false);
    stage.shows(&["splice 0", "read 0", "read 0"], &["Read 0"]);
}

// ---- sockets ----

#[test]
fn what_fails_on_a_socket_is_told_and_does_not_end_it() {
    let mut stage = Stage::default();
    stage.system.say("open", 3, [Fails]);
    stage.ask(open(socket(3)));
    stage.ask(open(socket(0)));
    stage.system.say("receive", 0, [Fails, Last(2)]);
    stage.shows(
        &["open 3", "open 0", "receive 0", "receive 0"],
        &["OpenFailed 3", "Opened 0", "SocketFailed 0", "datagrams 0"],
    );
    stage.toy.sends = 3;
    stage.system.say("transmit", 0, [Fails, Len(1), Blocks]);
    stage.drive.socket_ready(0, false, true);
    stage.shows(&["transmit 0", "transmit 0", "transmit 0"], &["SendFailed 0"]);
    // It would block: nothing is asked for before it is ready.
    stage.toy.sends = 1;
    stage.toy.dirty_sockets.push_back(socket(0));
    stage.drive.socket_ready(0, true, false);
    stage.shows(&["receive 0"], &[]);
    stage.system.say("transmit", 0, [Len(1)]);
    stage.drive.socket_ready(0, false, true);
    stage.shows(&["transmit 0"], &[]);

    stage.ask(Output::CloseSocket { socket: socket(0) });
    stage.ask(Output::CloseSocket { socket: socket(0) });
    stage.shows(&["close socket 0"], &[]);
    stage.drive.socket_ready(0, true, true);
    stage.drive.socket_ready(9, true, true);
    stage.toy.sends = 1;
    stage.toy.dirty_sockets.push_back(socket(0));
    stage.shows(&[], &[]);
    // The next of this index: what is for the one before misses.
    let next = SocketId::from_parts(0, 1);
    stage.ask(open(next));
    stage.ask(Output::CloseSocket { socket: socket(0) });
    stage.toy.dirty_sockets.push_back(socket(0));
    stage.system.say("transmit", 0, [Len(1)]);
    stage.shows(&["open 0", "transmit 0", "receive 0"], &["Opened 0"]);
}
