//! When one side is over: what is read of the other, what is heard of faults, and what is told.

mod util;

use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Fault, Input, Output, StreamMachine, UplinkId};
use util::asking::FAR;
use util::bare::Bare;
use util::http::get;
use util::{addr, say};

const POST: &[u8] = b"POST http://192.0.2.7/ HTTP/1.1\r\nHost: 192.0.2.7\r\nContent-Length: 1000\r\n\r\n";

fn config() -> Config {
    Config { listeners: vec![addr("127.0.0.1:1080")], ..Config::default() }
}

/// A client whose words have reached its target.
fn open(words: &[u8]) -> Bare {
    let mut bare = Bare::opening(config(), words);
    bare.connected();
    bare.flush(bare.client);
    bare.flush(bare.target);
    bare.said.clear();
    bare
}

fn relay() -> Bare {
    open(&say::socks5(addr(FAR)))
}

/// How often it was told that uplink 0 acknowledges nothing.
fn unacknowledged(bare: &Bare) -> usize {
    let told = Output::Event(Event::Unacknowledged { uplink: UplinkId(0) });
    bare.said.iter().filter(|output| **output == told).count()
}

// ---- what is read ----

#[test]
fn nothing_is_read_for_a_side_that_takes_nothing_more() {
    let mut bare = relay();
    assert!(bare.wants_read(bare.client) && bare.wants_read(bare.target));
    bare.input(Input::WriteFailed { stream: bare.target, fault: Fault::Reset });
    assert!(!bare.wants_read(bare.client), "nobody would take it");
    assert!(bare.wants_read(bare.target), "what it sent before is still delivered");
}

#[test]
fn a_client_that_has_ended_is_not_read_while_its_request_is_answered() {
    let mut bare = open(get("192.0.2.7", "/").as_bytes());
    assert!(bare.wants_read(bare.client), "it may send the next request");
    bare.input(Input::ReadClosed { stream: bare.client });
    assert!(!bare.wants_read(bare.client));
    assert!(bare.wants_read(bare.target), "the answer is awaited");
}

#[test]
fn the_rest_of_a_request_is_not_read_once_its_origin_takes_no_more_of_it() {
    let mut bare = open(POST);
    assert!(bare.wants_read(bare.client));
    bare.input(Input::WriteFailed { stream: bare.target, fault: Fault::Reset });
    assert!(!bare.wants_read(bare.client));
    assert!(bare.wants_read(bare.target), "an answer may be on its way");
}

// ---- what is heard ----

#[test]
fn only_what_a_client_sends_ahead_of_its_turn_is_given_up_for_a_fault() {
    let hears = |bare: &Bare| [bare.client, bare.target].map(|stream| bare.machine.hears_faults(stream));

    let silent = Bare::accepted(config());
    assert!(!silent.machine.hears_faults(silent.client), "its request is awaited");

    let mut bare = Bare::opening(config(), &say::socks5(addr(FAR)));
    assert_eq!(hears(&bare), [true, false], "no target is reached");
    bare.connected();
    assert_eq!(hears(&bare), [false, false], "what a relay has in the kernel is still to be delivered");

    let mut bare = open(POST);
    assert_eq!(hears(&bare), [false, false], "the rest of the request is awaited");
    bare.read(bare.client, &[7; 1000]);
    bare.flush(bare.target);
    assert_eq!(hears(&bare), [true, false], "the next request is ahead of its turn");
    bare.read(bare.target, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    bare.flush(bare.client);
    assert_eq!(hears(&bare), [false, false], "the next request is awaited");
}

// ---- what is told ----

#[test]
fn an_upload_that_nobody_acknowledged_is_told_of_its_uplink_and_once() {
    for by_write in [true, false] {
        let fails = |bare: &mut Bare, fault| {
            let stream = bare.target;
            bare.input(match by_write {
                true => Input::WriteFailed { stream, fault },
                false => Input::Failed { stream, fault },
            });
        };
        // The client has sent nothing: there was nothing to acknowledge.
        let mut bare = relay();
        fails(&mut bare, Fault::TimedOut);
        assert_eq!(unacknowledged(&bare), 0);

        for (fault, told) in [(Fault::TimedOut, 1), (Fault::Reset, 0)] {
            let mut bare = relay();
            bare.read(bare.client, b"hello");
            bare.flush(bare.target);
            fails(&mut bare, fault);
            assert_eq!(unacknowledged(&bare), told, "{fault:?}");
            if by_write {
                bare.input(Input::Failed { stream: bare.target, fault });
                assert_eq!(unacknowledged(&bare), told, "{fault:?}: once");
            }
        }
    }
    // The client's own silence is no uplink's.
    let mut bare = relay();
    bare.read(bare.client, b"hello");
    bare.input(Input::Failed { stream: bare.client, fault: Fault::TimedOut });
    assert_eq!(unacknowledged(&bare), 0);

    let mut bare = open(POST);
    bare.input(Input::WriteFailed { stream: bare.target, fault: Fault::TimedOut });
    assert_eq!(unacknowledged(&bare), 1, "a request is an upload, too");
}
