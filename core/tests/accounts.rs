//! Accounts: ids that are given back, operations in a turn.

use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::drive::{Drive, Incoming, Io, Moved, TryError};
use ropewalk_core::machine::{
    Assign, Assignment, Fault, Input, ListenerId, Machine, Output, StreamId, UplinkId, Via,
};
use ropewalk_core::time::{Duration, Instant};
use std::net::SocketAddr;

fn machine(listeners: u16, max_connections: usize) -> Dispatch {
    let listeners = (0..listeners).map(|n| SocketAddr::from(([127, 0, 0, 1], 1080 + n))).collect();
    Dispatch::new(Config { listeners, max_connections, max_half_open: 100_000, ..Config::default() })
        .expect("valid")
}

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// The accepts that are asked for, by listener.
fn accepts(machine: &mut Dispatch) -> Vec<(ListenerId, StreamId)> {
    let outputs = std::iter::from_fn(|| machine.poll_output());
    let accept = |output| match output {
        Output::Accept { listener, stream } => Some((listener, stream)),
        _ => None,
    };
    outputs.filter_map(accept).collect()
}

#[test]
fn accepts_that_fail_give_their_ids_back() {
    let mut m = machine(1, 10);
    let mut now = Instant::ZERO;
    for _ in 0..1000 {
        let asked = accepts(&mut m);
        let [(_, stream)] = asked[..] else { panic!("{asked:?}") };
        assert!(stream.index() < 2, "{stream:?}");
        m.handle_input(now, Input::AcceptFailed { stream, fault: Fault::NoDescriptors });
        now += Duration::from_secs(1);
        m.handle_timeout(now);
    }
}

#[test]
fn accepts_that_are_cancelled_give_their_ids_back() {
    let mut m = machine(3, 1);
    let now = Instant::ZERO;
    for round in 0..1000u32 {
        let asked = accepts(&mut m);
        assert_eq!(asked.len(), 3, "round {round}");
        assert!(asked.iter().all(|(_, stream)| stream.index() < 8), "{asked:?}");
        let (_, stream) = asked[round as usize % 3];
        // There is room for one: what is asked of the others is taken back.
        m.handle_input(now, Input::Accepted { stream, peer: peer(), local: peer() });
        m.handle_input(now, Input::ReadClosed { stream });
    }
}

#[test]
fn connections_and_queries_that_have_ended_give_their_ids_back() {
    let mut m = machine(1, 10);
    let now = Instant::ZERO;
    for round in 0..1000 {
        let asked = accepts(&mut m);
        let [(_, stream)] = asked[..] else { panic!("{asked:?}") };
        m.handle_input(now, Input::Accepted { stream, peer: peer(), local: peer() });
        let request = b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x00\x50";
        ropewalk_core::machine::StreamMachine::read_buf(&mut m, stream)[..request.len()]
            .copy_from_slice(request);
        m.handle_input(now, Input::Read { stream, len: request.len() });
        let mut next = None;
        let mut query = None;
        while let Some(output) = m.poll_output() {
            match output {
                Output::Resolve { query: asked, .. } => query = Some(asked),
                Output::Accept { stream, .. } => next = Some(stream),
                _ => {}
            }
        }
        let query = query.expect("a name is to be looked up");
        assert!(query.index() < 2 && next.is_some_and(|next| next.index() < 4), "{query:?} {next:?}");
        // Answered, given up with its client, or answered after that.
        match round % 3 {
            0 => m.handle_input(now, Input::ResolveFailed { query, fault: Fault::NameNotFound }),
            1 => m.handle_input(now, Input::Failed { stream, fault: Fault::Reset }),
            _ => {
                m.handle_input(now, Input::Failed { stream, fault: Fault::Reset });
                m.handle_input(now, Input::ResolveFailed { query, fault: Fault::NameNotFound });
            }
        }
        m.handle_input(now, Input::Failed { stream, fault: Fault::Reset });
        let next = next.expect("asked above");
        m.handle_input(now, Input::AcceptFailed { stream: next, fault: Fault::NoDescriptors });
        m.handle_timeout(now + Duration::from_secs(1));
        assert_eq!((m.counters().open, m.buffers_taken()), (0, 0));
    }
}

/// A system with a backlog that never ends; it counts what is asked of it.
#[derive(Default)]
struct Crowd {
    accepts: usize,
    reads: usize,
}

impl Io for Crowd {
    fn now(&mut self) -> Instant {
        Instant::ZERO
    }
    fn try_accept(&mut self, _: ListenerId, _: StreamId) -> Result<Incoming, TryError> {
        self.accepts += 1;
        Ok(Incoming { peer: peer(), local: peer() })
    }
    fn try_read(&mut self, _: StreamId, _: &mut [u8]) -> Result<Moved, TryError> {
        self.reads += 1;
        Err(TryError::WouldBlock)
    }
}

#[test]
fn a_turn_makes_no_more_operations_than_its_fuel_and_one_share() {
    for fuel in [1, 8, 16, 64] {
        let (mut m, mut io, mut drive) = (machine(1, 100_000), Crowd::default(), Drive::new());
        drive.turn(&mut m, &mut io, fuel);
        drive.listener_ready(ListenerId(0));
        let mut turns = 0;
        let mut before = 0;
        while turns < 20 {
            let turn = drive.turn(&mut m, &mut io, fuel);
            assert!(turn.more, "the backlog never ends");
            let made = io.accepts + io.reads - before;
            assert!(made > 0 && made <= fuel + 16, "{made} operations with fuel {fuel}");
            before = io.accepts + io.reads;
            turns += 1;
        }
        assert!(io.reads > 0 || fuel < 8, "who was accepted has its turn too");
    }
}

/// A system that holds the process up within a turn, just after a connect was begun.
#[derive(Default)]
struct HeldUp {
    now: Instant,
    asks: Vec<u8>,
    connecting: Vec<StreamId>,
    accepted: bool,
}

impl Io for HeldUp {
    fn now(&mut self) -> Instant {
        self.now
    }
    fn try_accept(&mut self, _: ListenerId, _: StreamId) -> Result<Incoming, TryError> {
        match std::mem::replace(&mut self.accepted, true) {
            true => Err(TryError::WouldBlock),
            false => Ok(Incoming { peer: peer(), local: peer() }),
        }
    }
    fn connect(&mut self, stream: StreamId, _: SocketAddr, _: &Via) -> Result<(), Fault> {
        self.connecting.push(stream);
        self.now += Duration::from_millis(300);
        Ok(())
    }
    fn finish_connect(&mut self, _: StreamId) -> Result<SocketAddr, TryError> {
        Ok(peer())
    }
    fn try_read(&mut self, _: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        if self.asks.is_empty() {
            return Err(TryError::WouldBlock);
        }
        let asks = std::mem::take(&mut self.asks);
        buf[..asks.len()].copy_from_slice(&asks);
        Ok(Moved { len: asks.len(), more: false })
    }
    fn try_write(&mut self, _: StreamId, data: &[u8]) -> Result<Moved, TryError> {
        Ok(Moved { len: data.len(), more: true })
    }
    fn assign(&mut self, _: Instant, assign: &Assign) -> Option<Assignment> {
        let uplink = (0..2).map(UplinkId).find(|uplink| !assign.tried.contains(*uplink));
        let patience = Duration::from_millis(250);
        Some(Assignment { uplink, via: Via::default(), endpoint: None, prefix64: None, patience })
    }
}

#[test]
fn a_process_that_was_held_up_looks_what_has_come_before_it_takes_an_attempt_for_silent() {
    let asks = vec![5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 7, 0, 80];
    let (mut m, mut io, mut drive) = (machine(1, 10), HeldUp { asks, ..HeldUp::default() }, Drive::new());
    drive.turn(&mut m, &mut io, 64);
    drive.listener_ready(ListenerId(0));
    let turn = drive.turn(&mut m, &mut io, 64);
    assert_eq!(io.connecting.len(), 1, "300 ms have passed, and nobody has looked at the events since");
    assert!(turn.more);
    drive.ready(io.connecting[0].index(), true, true);
    drive.turn(&mut m, &mut io, 64);
    assert_eq!(io.connecting.len(), 1, "it has succeeded long ago");

    // One that is silent gets company in the turn after that.
    let asks = vec![5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 7, 0, 80];
    let (mut m, mut io, mut drive) = (machine(1, 10), HeldUp { asks, ..HeldUp::default() }, Drive::new());
    drive.turn(&mut m, &mut io, 64);
    drive.listener_ready(ListenerId(0));
    drive.turn(&mut m, &mut io, 64);
    drive.turn(&mut m, &mut io, 64);
    assert_eq!(io.connecting.len(), 2);
}
