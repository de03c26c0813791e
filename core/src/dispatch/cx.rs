//! What all connections of one machine share: the configuration, the ids, the queues, the buffers.

use super::config::Config;
use crate::buffer::{Buffers, Filled};
use crate::event::Event;
use crate::machine::{Close, ConnId, ListenerId, Output, QueryId, Report, StreamId, UplinkId};
use crate::slab::Slab;
use crate::time::Instant;
use crate::timers::Timers;
use alloc::collections::VecDeque;

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

/// The shared half of the machine.
#[derive(Debug)]
pub(super) struct Cx {
    pub(super) config: Config,
    /// No new work is taken.
    pub(super) draining: bool,
    /// The time of the input being handled.
    pub(super) now: Instant,
    pub(super) buffers: Buffers,
    pub(super) timers: Timers<Timer>,
    streams: Slab<Entry>,
    queries: Slab<ConnId>,
    outputs: VecDeque<Output>,
    dirty: VecDeque<StreamId>,
    /// The limit of buffers was told since one was given back.
    told_exhausted: bool,
}

impl Cx {
    pub(super) fn new(config: Config) -> Self {
        Cx {
            draining: false,
            now: Instant::ZERO,
            buffers: Buffers::new(config.buffer_size, config.buffer_limit),
            timers: Timers::new(),
            streams: Slab::new(),
            queries: Slab::new(),
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            told_exhausted: false,
            config,
        }
    }

    pub(super) fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    /// Reports bytes moved through an uplink, if any moved and there is one.
    pub(super) fn traffic(&mut self, uplink: Option<UplinkId>, sent: u64, received: u64) {
        if let (Some(uplink), true) = (uplink, sent + received > 0) {
            self.report(Report::Traffic { uplink, sent, received });
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
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
    pub(super) fn close(&mut self, stream: StreamId, how: Close) {
        if self.streams.remove(stream).is_some() {
            self.say(Output::Close { stream, how });
        }
    }

    /// The wishes of `stream` may have changed.
    pub(super) fn mark(&mut self, stream: StreamId) {
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

    pub(super) fn query(&mut self, conn: ConnId) -> QueryId {
        self.queries.insert(conn)
    }

    /// The connection that waits for this query, which has ended.
    pub(super) fn answered(&mut self, query: QueryId) -> Option<ConnId> {
        self.queries.remove(query)
    }

    /// Nobody waits for this query any more.
    pub(super) fn cancel(&mut self, query: QueryId) {
        if self.queries.remove(query).is_some() {
            self.say(Output::CancelResolve { query });
        }
    }

    /// The buffer to read into; small while all large ones are taken.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        if self.buffers.is_exhausted() && !self.told_exhausted {
            self.told_exhausted = true;
            let limit = self.config.buffer_limit;
            self.event(Event::BuffersExhausted { limit });
        }
        self.buffers.scratch()
    }

    /// Gives a buffer back to the pool.
    pub(super) fn give(&mut self, filled: Filled) {
        self.buffers.give(filled);
        self.told_exhausted = false;
    }
}
