//! What all connections of one machine share: the configuration; and what knows no configuration:
//! the ids, the queues, the buffers.

use super::limits::Limits;
use super::lookups::{Begun, Lookups};
use super::mail::{Mail, Wanted};
use super::rates::{Pair, Rates};
use super::relay::Side;
use super::sockets::Sockets;
use crate::buffer::{Buffers, Filled};
use crate::machine::event::Event;
use crate::machine::{Close, ConnId, ListenerId, Output, QueryId, Report, SocketId, StreamId, UplinkId, Via};
use crate::name::Name;
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use crate::timers::Timers;
use alloc::collections::{BTreeSet, VecDeque};
use core::net::{IpAddr, SocketAddr};
use core::ops::{Deref, DerefMut};

/// The owner of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// A listener's: it will be the next client's.
    Listener(ListenerId),
    /// A connection's client side.
    Client(ConnId),
    /// A connection's target side, or an attempt at it.
    Target(ConnId),
}

/// The owner of a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// A listener's pause ends.
    Listener(ListenerId),
    /// A name that waits may have its turn.
    Lookups,
    /// Connections that wait for an uplink's rate may have their turn.
    Rates,
    /// The connection knows what for.
    Conn(ConnId),
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    dirty: bool,
}

/// A name that is looked up.
#[derive(Debug)]
struct Query {
    /// The connection that waits for it; `None`: the service itself.
    conn: Option<ConnId>,
    client: IpAddr,
    /// Through this uplink; `None`: by the system.
    by: Option<UplinkId>,
}

/// What a connection may keep though the limit is reached: most requests are smaller.
const ALWAYS_KEPT: usize = 4 * 1024;

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
    /// The stream that the input being handled is about, where it is about one.
    pub(crate) stream: Option<StreamId>,
    pub(crate) buffers: Buffers,
    pub(super) timers: Timers<Timer>,
    streams: Slab<Entry>,
    /// Datagram sockets of connections.
    pub(crate) sockets: Sockets<ConnId>,
    /// Connections that have some.
    pub(crate) associations: usize,
    /// The name look-ups under way.
    queries: Slab<Query>,
    /// What connections have for each other.
    mail: VecDeque<Mail>,
    lookups: Lookups,
    /// When a name that waits may have its turn.
    pub(super) lookups_at: Option<Instant>,
    /// How often a client's share of names was taken.
    pub(super) lookups_limit: u64,
    /// How fast uplinks may carry.
    rates: Rates,
    /// When who waits for that may have its turn.
    pub(super) rates_at: Option<Instant>,
    outputs: VecDeque<Output>,
    dirty: VecDeque<StreamId>,
    /// Bytes that connections keep before their relays stand.
    kept: usize,
    /// Streams that are not read for want of room.
    starved: BTreeSet<StreamId>,
    pub(super) kept_limit: u64,
    /// The limit of buffers was reported since the last buffer came back.
    told_exhausted: bool,
}

impl Common {
    fn new(limits: Limits) -> Self {
        Common {
            limits,
            draining: false,
            now: Instant::ZERO,
            stream: None,
            buffers: Buffers::new(limits.buffer_size, limits.buffer_limit),
            timers: Timers::new(),
            streams: Slab::new(),
            sockets: Sockets::new(),
            associations: 0,
            queries: Slab::new(),
            mail: VecDeque::new(),
            lookups: Lookups::new(limits.max_lookups),
            lookups_at: None,
            lookups_limit: 0,
            rates: Rates::default(),
            rates_at: None,
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            kept: 0,
            starved: BTreeSet::new(),
            kept_limit: 0,
            told_exhausted: false,
        }
    }

    /// Other limits. Buffers keep their size.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        let size = self.limits.buffer_size;
        self.limits = Limits { buffer_size: size, ..limits };
        self.buffers.set_limit(limits.buffer_limit);
        self.lookups.set_share(limits.max_lookups);
    }

    pub(crate) fn push_output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    /// Reports bytes of datagrams through an uplink, if any moved.
    pub(crate) fn traffic(&mut self, uplink: UplinkId, sent: u64, received: u64) {
        if sent + received > 0 {
            self.report(Report::Traffic { uplink, sent, received, over: Duration::ZERO });
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

    pub(super) fn set_owner(&mut self, stream: StreamId, owner: Owner) {
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
            self.push_output(Output::Close { stream, how });
        }
    }

    /// Asks for a datagram socket of `conn` at `local`, which speaks with anybody, with `to` first.
    pub(crate) fn bind_socket(
        &mut self,
        conn: ConnId,
        local: SocketAddr,
        to: SocketAddr,
        via: Via,
    ) -> SocketId {
        let socket = self.sockets.insert(conn);
        self.push_output(Output::BindSocket { socket, local, to, via, fragments: true });
        socket
    }

    /// Asks for a datagram socket of `conn` that speaks with `to` only.
    #[cfg(feature = "names")]
    pub(crate) fn open_socket(&mut self, conn: ConnId, to: SocketAddr, via: Via) -> SocketId {
        let socket = self.sockets.insert(conn);
        self.push_output(Output::OpenSocket { socket, to, via, fragments: true });
        socket
    }

    /// Closes a datagram socket, if it is not closed yet.
    pub(crate) fn close_socket(&mut self, socket: SocketId) {
        if self.sockets.remove(socket).is_some() {
            self.push_output(Output::CloseSocket { socket });
        }
    }

    /// The wishes of `stream` may have changed.
    pub(crate) fn mark_dirty(&mut self, stream: StreamId) {
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

    /// Asks for the addresses of a name, for a client: now or when it is its turn. `by`: through
    /// this uplink, else by the system.
    pub(crate) fn query(
        &mut self,
        conn: ConnId,
        client: IpAddr,
        name: &Name,
        by: Option<UplinkId>,
    ) -> QueryId {
        self.ask(Some(conn), client, Wanted { name: name.clone(), by })
    }

    /// The same for the service itself.
    pub(super) fn ask(&mut self, conn: Option<ConnId>, client: IpAddr, wanted: Wanted) -> QueryId {
        let query = self.queries.insert(Query { conn, client, by: wanted.by });
        match self.lookups.begin(self.now, client, query, wanted) {
            Begun::Now(wanted) => self.begin_lookup(query, wanted),
            Begun::Waits => {}
            Begun::ShareTaken => {
                self.lookups_limit += 1;
                let limit = self.limits.max_lookups;
                self.event(Event::LookupLimit { client, limit });
            }
        }
        self.begin_lookups();
        query
    }

    fn begin_lookup(&mut self, query: QueryId, Wanted { name, by }: Wanted) {
        match by {
            None => self.push_output(Output::Resolve { query, name }),
            Some(uplink) => self.mail.push_back(Mail::Ask { query, name, uplink }),
        }
    }

    /// The connection that waits for this query, which has ended.
    pub(super) fn answered(&mut self, query: QueryId) -> Option<ConnId> {
        let Query { conn, client, .. } = self.queries.remove(query)?;
        self.lookups.end(client, query);
        self.begin_lookups();
        conn
    }

    /// No connection waits for this query any more.
    pub(crate) fn cancel(&mut self, query: QueryId) {
        let Some(Query { client, by, .. }) = self.queries.remove(query) else { return };
        if self.lookups.end(client, query) {
            match by {
                None => self.push_output(Output::CancelResolve { query }),
                Some(_) => self.mail.push_back(Mail::Cancel { query }),
            }
        }
        self.begin_lookups();
    }

    /// Names that have waited have their turn.
    pub(super) fn begin_lookups(&mut self) {
        while let Some((query, wanted)) = self.lookups.next(self.now) {
            self.begin_lookup(query, wanted);
        }
        let at = self.lookups.next_timeout();
        self.timers.rearm(Timer::Lookups, &mut self.lookups_at, at);
    }

    /// The oldest letter.
    #[cfg_attr(not(feature = "names"), expect(dead_code, reason = "only names are asked for so"))]
    pub(super) fn take_mail(&mut self) -> Option<Mail> {
        self.mail.pop_front()
    }

    /// Answers a query that came as [`Mail::Ask`].
    #[cfg(feature = "names")]
    pub(crate) fn answer(
        &mut self,
        query: QueryId,
        answer: Result<alloc::vec::Vec<IpAddr>, crate::machine::Fault>,
    ) {
        self.mail.push_back(Mail::Answer { query, answer });
    }

    /// A connection keeps `after` bytes where it kept `before`.
    pub(super) fn keep(&mut self, before: usize, after: usize) {
        self.kept = self.kept - before + after;
        if self.kept < self.limits.max_kept && !self.starved.is_empty() {
            for stream in core::mem::take(&mut self.starved) {
                self.mark_dirty(stream);
            }
        }
    }

    /// The most that may be read from `stream`. Its connection keeps `kept` bytes and will keep
    /// what is read.
    pub(super) fn room(&mut self, stream: StreamId, kept: usize) -> usize {
        if self.kept < self.limits.max_kept {
            return self.limits.max_kept - self.kept;
        }
        let room = ALWAYS_KEPT.saturating_sub(kept);
        if room == 0 {
            if self.starved.is_empty() {
                self.kept_limit += 1;
                let limit = self.limits.max_kept;
                self.event(Event::KeptLimit { limit });
            }
            self.starved.insert(stream);
        }
        room
    }

    /// Bytes of connections that have not left yet, and of datagrams.
    pub(super) fn held(&self) -> usize {
        self.buffers.held() + self.kept + self.sockets.waiting()
    }

    /// To ask for room or for a buffer changes something, if only what is told.
    pub(super) fn is_pressed(&self) -> bool {
        self.buffers.is_exhausted() || self.kept >= self.limits.max_kept || !self.rates.is_empty()
    }

    /// Other rates of the uplinks.
    pub(super) fn set_rates(&mut self, rates: &[Pair]) {
        for stream in self.rates.set(self.now, rates) {
            self.mark_dirty(stream);
        }
        self.arm_rates();
    }

    /// Whether bytes by this uplink have a rate.
    pub(super) fn has_rate(&self, uplink: Option<UplinkId>) -> bool {
        self.rates.limits(uplink)
    }

    /// `len` bytes have come from a side of a connection by `uplink`.
    pub(crate) fn spend(&mut self, uplink: UplinkId, from: Side, len: u64) {
        self.rates.spend(self.now, uplink, from, len);
    }

    /// Whether a datagram of `len` bytes that has come from a side may pass by `uplink`.
    pub(crate) fn admits(&mut self, uplink: UplinkId, from: Side, len: usize) -> bool {
        self.rates.admits(self.now, uplink, from, len as u64)
    }

    /// The most that may be read from `stream`, a side of a connection by `uplink`.
    pub(super) fn rate_room(&mut self, stream: StreamId, uplink: UplinkId, from: Side) -> usize {
        let room = self.rates.room(self.now, uplink, from, stream);
        if room == 0 {
            self.arm_rates();
            let count = self.rates.held(self.now, uplink, from);
            if count > 0 {
                self.event(Event::HeldBack { uplink, sent: from == Side::Client, count });
            }
        }
        room
    }

    /// Connections that wait for an uplink's rate may try again.
    pub(super) fn wake_for_rates(&mut self) {
        for stream in self.rates.wake(self.now) {
            self.mark_dirty(stream);
        }
        self.arm_rates();
    }

    fn arm_rates(&mut self) {
        let at = self.rates.next_timeout();
        self.timers.rearm(Timer::Rates, &mut self.rates_at, at);
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
    pub(crate) fn return_buffer(&mut self, filled: Filled) {
        self.buffers.give(filled);
        self.told_exhausted = false;
    }
}
