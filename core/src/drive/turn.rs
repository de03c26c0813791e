//! What a driver remembers between turns, and one turn.
//!
//! | file | is |
//! | --- | --- |
//! | `memory` | what the system keeps for streams |
//! | `perform` | each output of the machine as a call of [`Io`] |
//! | `pump` | the bytes of one stream: read, write, splice |

mod memory;
mod perform;
mod pump;

use super::datagram::Sockets;
use super::io::{Incoming, Io, TryError};
use super::tun::Tuns;
use crate::machine::{Application, Fault, Input, ListenerId, QueryId, StreamId};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Work is left: look for events without waiting, then take the next turn.
    pub more: bool,
    /// When the machine wants a turn at the latest.
    pub timeout: Option<Instant>,
    /// The machine was drained and has finished.
    pub finished: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Connecting,
    Open,
}

#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    /// The stream whose splice ends here, by index.
    feeder: u32,
    state: State,
    readable: bool,
    writable: bool,
    queued: bool,
    /// A splice from here holds bytes.
    holds: bool,
    /// The other side has ended its half.
    ended: bool,
    /// The system has reported an error.
    failed: bool,
}

const NONE: u32 = u32::MAX;

const EMPTY: Slot = Slot {
    generation: 0,
    feeder: NONE,
    state: State::Empty,
    readable: false,
    writable: false,
    queued: false,
    holds: false,
    ended: false,
    failed: false,
};

#[derive(Default)]
struct Listener {
    ready: bool,
    queued: bool,
    wanted: VecDeque<StreamId>,
}

/// How much one stream or listener may do before the others have theirs, in operations; many bytes
/// count as more.
const SHARE: usize = 8;
/// A turn that took longer than this was held up: the machine is busy with something else.
const HELD_UP: Duration = Duration::from_millis(10);
/// Copying this many bytes takes about as long as one more operation.
pub(super) const COPIED: usize = 32 * 1024;
/// And this many, moved in the kernel.
const SPLICED: usize = 128 * 1024;

/// What a driver remembers between turns: which stream may be able to do what.
#[derive(Default)]
pub struct Drive {
    slots: Vec<Slot>,
    listeners: Vec<Listener>,
    queue: VecDeque<u32>,
    accepting: VecDeque<ListenerId>,
    pub(super) sockets: Sockets,
    pub(super) tuns: Tuns,
    finished: bool,
    /// The last turn left due timers to the next.
    waited: bool,
    measured: memory::Measured,
}

impl Drive {
    /// A driver's memory, empty.
    pub fn new() -> Self {
        Drive::default()
    }

    /// Stream number `index` may be readable, writable or failed. A hint: it may be wrong or stale,
    /// and it is forgotten only when an operation would block.
    pub fn ready(&mut self, index: u32, readable: bool, writable: bool) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.state == State::Empty {
            return;
        }
        slot.readable |= readable;
        slot.writable |= writable;
        let feeder = slot.feeder;
        self.enqueue(index);
        if writable && feeder != NONE {
            self.enqueue(feeder);
        }
    }

    /// The system reports an error on stream number `index`. The machine sees it as
    /// [`Drive::ready`] in both directions; where no read would meet the error, for the other side
    /// has ended already or the machine reads no more and
    /// [hears faults](crate::machine::StreamMachine::hears_faults), it gets the error at once.
    pub fn failed(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.failed = true;
        }
        self.ready(index, true, true);
    }

    /// Connections may wait on `listener`.
    pub fn listener_ready(&mut self, listener: ListenerId) {
        let entry = self.listener(listener);
        entry.ready = true;
        self.enqueue_listener(listener);
    }

    /// An answer from a resolver has come: the addresses (at least one), or why there are none.
    pub fn resolved<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        query: QueryId,
        answer: Result<&[IpAddr], Fault>,
    ) {
        let input = match answer {
            Ok([]) => Input::ResolveFailed { query, fault: Fault::NameNotFound },
            Ok(addresses) => Input::Resolved { query, addresses },
            Err(fault) => Input::ResolveFailed { query, fault },
        };
        self.input(machine, io, input);
    }

    /// Passes an input from outside (such as [`Input::Drain`]) to the machine and does what it asks
    /// for.
    pub fn input<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, input: Input<'_>) {
        machine.handle_input(io.now(), input);
        self.settle(machine, io);
    }

    /// Has `work` ask or change the machine, then does what that asks for: for what a person wants
    /// of one kind of machine, which is no input of all of them.
    pub fn call<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        work: impl FnOnce(Instant, &mut M),
    ) {
        work(io.now(), machine);
        self.settle(machine, io);
    }

    /// Lets machine and sockets talk: at most about `fuel` operations (32 KiB copied or 128 KiB
    /// spliced count as one more), then due timers. A turn is how long everything else waits: 64 is
    /// about a millisecond of bulk.
    pub fn turn<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, fuel: usize) -> Turn {
        let began = io.now();
        self.settle(machine, io);
        let mut left = fuel;
        while left > 0 && self.has_work() {
            // In turns: busy streams must not keep new clients out, nor the other way round.
            if let Some(listener) = self.accepting.pop_front() {
                self.listeners[usize::from(listener.0)].queued = false;
                left = left.saturating_sub(self.accept(machine, io, listener).max(1));
            }
            if let Some(index) = self.queue.pop_front() {
                self.slots[index as usize].queued = false;
                left = left.saturating_sub(self.pump(machine, io, index).max(1));
            }
            if let Some(index) = self.sockets.pop() {
                left = left.saturating_sub(self.pump_socket(machine, io, index).max(1));
            }
            if let Some(tun) = self.tuns.pop() {
                left = left.saturating_sub(self.pump_tun(machine, io, tun).max(1));
            }
        }
        // Where the process was held up within this turn, its timers are late and so is what has
        // come meanwhile: that first, or an attempt that has succeeded would be taken for silent.
        let now = io.now();
        let due = |machine: &M| machine.poll_timeout().is_some_and(|at| at <= now);
        self.waited = due(machine) && !self.waited && now - began > HELD_UP;
        if self.waited {
            return Turn { more: true, timeout: machine.poll_timeout(), finished: self.finished };
        }
        let mut late = false;
        for _ in 0..SHARE {
            // What comes due while these are handled is the next turn's.
            late = due(machine);
            if !late {
                break;
            }
            machine.handle_timeout(io.now());
            self.settle(machine, io);
        }
        Turn { more: late || self.has_work(), timeout: machine.poll_timeout(), finished: self.finished }
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty()
            || !self.accepting.is_empty()
            || !self.sockets.is_idle()
            || !self.tuns.is_idle()
    }

    fn enqueue(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.state != State::Empty && !slot.queued {
            slot.queued = true;
            match slot.state {
                // How an attempt has ended is known before timers start another beside it, however
                // much there is to do.
                State::Connecting => self.queue.push_front(index),
                State::Open | State::Empty => self.queue.push_back(index),
            }
        }
    }

    fn listener(&mut self, listener: ListenerId) -> &mut Listener {
        let at = usize::from(listener.0);
        if self.listeners.len() <= at {
            self.listeners.resize_with(at + 1, Listener::default);
        }
        &mut self.listeners[at]
    }

    fn enqueue_listener(&mut self, listener: ListenerId) {
        let entry = self.listener(listener);
        if entry.ready && !entry.wanted.is_empty() && !entry.queued {
            entry.queued = true;
            self.accepting.push_back(listener);
        }
    }

    fn open(&mut self, stream: StreamId, state: State) {
        let at = stream.index() as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, EMPTY);
        }
        let queued = self.slots[at].queued;
        self.slots[at] = Slot { generation: stream.generation(), state, queued, ..EMPTY };
    }

    fn live(&self, stream: StreamId) -> bool {
        self.slots
            .get(stream.index() as usize)
            .is_some_and(|slot| slot.state != State::Empty && slot.generation == stream.generation())
    }

    fn forget(&mut self, stream: StreamId) {
        let at = stream.index() as usize;
        let queued = self.slots[at].queued;
        self.slots[at] = Slot { queued, ..EMPTY };
    }

    /// Serves accepts from one listener, up to its share. Returns how many operations it made.
    fn accept<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, listener: ListenerId) -> usize {
        let mut operations = 0;
        while operations < SHARE {
            let entry = self.listener(listener);
            if !entry.ready {
                return operations;
            }
            let Some(stream) = entry.wanted.pop_front() else { return operations };
            operations += 1;
            match io.try_accept(listener, stream) {
                Ok(Incoming { peer, local }) => {
                    self.open(stream, State::Open);
                    let slot = &mut self.slots[stream.index() as usize];
                    (slot.readable, slot.writable) = (true, true);
                    self.enqueue(stream.index());
                    self.input(machine, io, Input::Accepted { stream, peer, local });
                }
                Err(TryError::WouldBlock) => {
                    let entry = self.listener(listener);
                    entry.ready = false;
                    entry.wanted.push_front(stream);
                    return operations;
                }
                // The listener stays ready: what waits in its backlog gives no new edge.
                Err(TryError::Fault(fault)) => self.input(machine, io, Input::AcceptFailed { stream, fault }),
            }
        }
        self.enqueue_listener(listener);
        operations
    }

    /// Does what the machine asks for until it asks for nothing more.
    pub(super) fn settle<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I) {
        loop {
            while let Some(output) = machine.poll_output() {
                self.perform(machine, io, output);
            }
            if let Some(stream) = machine.poll_dirty() {
                self.flush(machine, io, stream);
                if self.live(stream) {
                    let slot = self.slots[stream.index() as usize];
                    if slot.readable || slot.holds {
                        self.enqueue(stream.index());
                    }
                }
            } else if let Some(socket) = machine.poll_dirty_socket() {
                // One that had its share would never end, if the machine named it each time it was
                // asked.
                if !self.sockets.is_queued(socket) {
                    self.flush_socket(machine, io, socket);
                }
            } else if let Some(tun) = machine.poll_dirty_tun() {
                self.tun_dirty(machine, io, tun);
            } else {
                return;
            }
        }
    }
}
