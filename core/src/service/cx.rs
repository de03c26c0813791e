//! What all connections of one machine share: the configuration; and what knows no configuration: the ids, the queues,
//! the buffers.

use super::limits::Limits;
use crate::buffer::{Buffers, Filled};
use crate::machine::event::Event;
use crate::machine::{Close, ConnId, ListenerId, Output, QueryId, Report, StreamId, UplinkId};
use crate::slab::Slab;
use crate::time::Instant;
use crate::timers::Timers;
use alloc::collections::VecDeque;
use core::ops::{Deref, DerefMut};

/// Whose stream it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// A listener's: it will be the next client's.
    Listener(ListenerId),
    /// A connection's client side.
    Client(ConnId),
    /// A connection's target side, or an attempt at it.
    Target(ConnId),
}

/// Whose deadline it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// A listener's pause ends.
    Listener(ListenerId),
    /// The connection knows what for.
    Conn(ConnId),
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    dirty: bool,
}

/// What a connection is lent while it takes something in.
#[derive(Debug)]
pub(crate) struct Cx<C> {
    pub(crate) config: C,
    common: Common,
}

impl<C> Cx<C> {
    pub(super) fn new(config: C, limits: Limits) -> Self {
        Cx { config, common: Common::new(limits) }
    }
}

/// Most of what a connection does with its `Cx` concerns the common half.
impl<C> Deref for Cx<C> {
    type Target = Common;
    fn deref(&self) -> &Common {
        &self.common
    }
}

impl<C> DerefMut for Cx<C> {
    fn deref_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

/// The half that knows no configuration.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) limits: Limits,
    /// No new work is taken.
    pub(crate) draining: bool,
    /// The time of the input being handled.
    pub(crate) now: Instant,
    pub(crate) buffers: Buffers,
    pub(super) timers: Timers<Timer>,
    streams: Slab<Entry>,
    queries: Slab<ConnId>,
    outputs: VecDeque<Output>,
    dirty: VecDeque<StreamId>,
    /// The limit of buffers was told since one was given back.
    told_exhausted: bool,
}

impl Common {
    fn new(limits: Limits) -> Self {
        Common {
            limits,
            draining: false,
            now: Instant::ZERO,
            buffers: Buffers::new(limits.buffer_size, limits.buffer_limit),
            timers: Timers::new(),
            streams: Slab::new(),
            queries: Slab::new(),
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            told_exhausted: false,
        }
    }

    pub(crate) fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    /// Reports bytes moved through an uplink, if any moved.
    pub(crate) fn traffic(&mut self, uplink: UplinkId, sent: u64, received: u64) {
        if sent + received > 0 {
            self.report(Report::Traffic { uplink, sent, received });
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A new stream of `conn`'s target side.
    pub(crate) fn open_target(&mut self, conn: ConnId) -> StreamId {
        self.open(Owner::Target(conn))
    }

    /// A new stream of `owner`.
    pub(super) fn open(&mut self, owner: Owner) -> StreamId {
        self.streams.insert(Entry { owner, dirty: false })
    }

    pub(super) fn owner(&self, stream: StreamId) -> Option<Owner> {
        self.streams.get(stream).map(|entry| entry.owner)
    }

    pub(super) fn adopt(&mut self, stream: StreamId, owner: Owner) {
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.owner = owner;
        }
    }

    /// The id is dead: the driver said so.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.streams.remove(stream);
    }

    /// Closes a stream, if it is not closed yet.
    pub(crate) fn close(&mut self, stream: StreamId, how: Close) {
        if self.streams.remove(stream).is_some() {
            self.say(Output::Close { stream, how });
        }
    }

    /// The wishes of `stream` may have changed.
    pub(crate) fn mark(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(stream)
            && !entry.dirty
        {
            entry.dirty = true;
            self.dirty.push_back(stream);
        }
    }

    pub(super) fn poll_dirty(&mut self) -> Option<StreamId> {
        while let Some(stream) = self.dirty.pop_front() {
            if let Some(entry) = self.streams.get_mut(stream) {
                entry.dirty = false;
                return Some(stream);
            }
        }
        None
    }

    pub(crate) fn query(&mut self, conn: ConnId) -> QueryId {
        self.queries.insert(conn)
    }

    /// The connection that waits for this query, which has ended.
    pub(super) fn answered(&mut self, query: QueryId) -> Option<ConnId> {
        self.queries.remove(query)
    }

    /// Nobody waits for this query any more.
    pub(crate) fn cancel(&mut self, query: QueryId) {
        if self.queries.remove(query).is_some() {
            self.say(Output::CancelResolve { query });
        }
    }

    /// The buffer to read into; small while all large ones are taken.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        if self.buffers.is_exhausted() && !self.told_exhausted {
            self.told_exhausted = true;
            let limit = self.limits.buffer_limit;
            self.event(Event::BuffersExhausted { limit });
        }
        self.buffers.scratch()
    }

    /// Gives a buffer back to the pool.
    pub(crate) fn give(&mut self, filled: Filled) {
        self.buffers.give(filled);
        self.told_exhausted = false;
    }
}
