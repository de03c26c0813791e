//! What the proxy's sockets meet: clients, targets, uplinks, names. Implements [`Io`] without
//! waiting.

use super::person::{End, Person};
use super::place::{Answer, Attempt, Behave, Ev, Link, SpliceMode, Target};
use super::rng::Rng;
use super::sock::{Sock, Stage};
use ropewalk_core::drive::{Incoming, Io, Moved, SpliceError, SpliceMoved, TryError};
#[cfg(feature = "names")]
use ropewalk_core::drive::{Received, TransmitError};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Assign, Assignment, Close, Device, Fault, ListenerId, QueryId, Report, StreamId, Via,
};
#[cfg(feature = "names")]
use ropewalk_core::machine::{Rx, SocketId, Transmit};
use ropewalk_core::name::Name;
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::Pool;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) queue: BTreeMap<(Instant, u64), Ev>,
    seq: u64,
    pub(crate) socks: Vec<Sock>,
    by_index: BTreeMap<u32, usize>,
    backlog: BTreeMap<ListenerId, VecDeque<usize>>,
    pub(crate) unlistened: BTreeSet<ListenerId>,
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) targets: BTreeMap<SocketAddr, Target>,
    pub(crate) links: Vec<(Device, Link)>,
    /// Answers in turn; the last one stays.
    pub(crate) names: BTreeMap<String, VecDeque<Answer>>,
    pub(crate) queries: BTreeMap<QueryId, String>,
    pub(crate) asked_names: Vec<String>,
    #[cfg(feature = "names")]
    pub(crate) name_servers: BTreeMap<SocketAddr, super::servers::NameServer>,
    /// Sockets that speak with them.
    #[cfg(feature = "names")]
    pub(crate) askers: BTreeMap<u32, super::servers::Asker>,
    #[cfg(feature = "names")]
    pub(crate) questions: Vec<super::servers::Question>,
    #[cfg(feature = "names")]
    pub(crate) socket_hints: Vec<u32>,
    pub(crate) cancelled: usize,
    pub(crate) pool: Pool,
    pub(crate) splice: SpliceMode,
    pipes: BTreeMap<usize, VecDeque<u8>>,
    pub(crate) spliced: usize,
    pub(crate) splice_calls: usize,
    pub(crate) exact_more: bool,
    pub(crate) fd_limit: usize,
    /// Readiness to pass to the drive: index, readable, writable.
    pub(crate) hints: Vec<(u32, bool, bool)>,
    pub(crate) listener_hints: Vec<ListenerId>,
    pub(crate) attempts: Vec<Attempt>,
    /// The sock of each target connection that opened, by order.
    pub(crate) served: Vec<(SocketAddr, usize)>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) reports: Vec<Report>,
    /// Operations since the last step that moved nothing.
    pub(crate) in_vain: usize,
    pub(crate) operations: usize,
    pub(crate) accepted: Vec<usize>,
}

impl World {
    pub(crate) fn new(seed: u64, pool: Pool, listeners: Vec<SocketAddr>, links: Vec<Device>) -> Self {
        World {
            now: Instant::ZERO,
            rng: Rng::new(seed),
            queue: BTreeMap::new(),
            seq: 0,
            socks: Vec::new(),
            by_index: BTreeMap::new(),
            backlog: BTreeMap::new(),
            unlistened: BTreeSet::new(),
            listeners,
            targets: BTreeMap::new(),
            links: links.into_iter().map(|device| (device, Link::Up)).collect(),
            names: BTreeMap::new(),
            queries: BTreeMap::new(),
            asked_names: Vec::new(),
            #[cfg(feature = "names")]
            name_servers: BTreeMap::new(),
            #[cfg(feature = "names")]
            askers: BTreeMap::new(),
            #[cfg(feature = "names")]
            questions: Vec::new(),
            #[cfg(feature = "names")]
            socket_hints: Vec::new(),
            cancelled: 0,
            pool,
            splice: SpliceMode::Never,
            pipes: BTreeMap::new(),
            spliced: 0,
            splice_calls: 0,
            exact_more: true,
            fd_limit: usize::MAX,
            hints: Vec::new(),
            listener_hints: Vec::new(),
            attempts: Vec::new(),
            served: Vec::new(),
            events: Vec::new(),
            reports: Vec::new(),
            in_vain: 0,
            operations: 0,
            accepted: Vec::new(),
        }
    }

    pub(crate) fn at(&mut self, when: Instant, ev: Ev) {
        self.seq += 1;
        self.queue.insert((when.max(self.now), self.seq), ev);
    }

    pub(crate) fn after(&mut self, delay: Duration, ev: Ev) {
        self.at(self.now + delay, ev);
    }

    /// Sockets the proxy has open.
    pub(crate) fn open_sockets(&self) -> usize {
        self.by_index.len()
    }

    pub(crate) fn indices(&self) -> Vec<u32> {
        self.by_index.keys().copied().collect()
    }

    pub(crate) fn hint(&mut self, sock: usize, readable: bool, writable: bool) {
        if let Some(stream) = self.socks[sock].stream {
            self.hints.push((stream.index(), readable, writable));
        }
    }

    pub(crate) fn arrives(&mut self, listener: ListenerId, sock: usize) {
        if self.unlistened.contains(&listener) {
            self.socks[sock].got.end = End::Reset;
            self.socks[sock].got.ended_at = Some(self.now);
            self.socks[sock].stage = Stage::Closed;
            self.socks[sock].person.script.clear();
            return;
        }
        self.backlog.entry(listener).or_default().push_back(sock);
        self.listener_hints.push(listener);
        // The kernel has completed the handshake: the client may talk.
        self.after(Duration::ZERO, Ev::Wake(sock));
    }

    #[track_caller]
    fn of(&self, stream: StreamId) -> usize {
        let sock = *self.by_index.get(&stream.index()).expect("the drive asks for a socket that is open");
        assert_eq!(self.socks[sock].stream, Some(stream), "the slot's tenant is another");
        sock
    }

    fn vain<T>(&mut self) -> Result<T, TryError> {
        self.in_vain += 1;
        Err(TryError::WouldBlock)
    }

    /// The proxy has taken bytes: a sender that waited for room goes on.
    fn made_room(&mut self, sock: usize, len: usize) {
        self.socks[sock].proxy_read += len;
        if len > 0 && std::mem::take(&mut self.socks[sock].send_blocked) {
            self.after(self.socks[sock].person.latency, Ev::Wake(sock));
        }
    }

    /// The proxy has done something that the person will see.
    pub(crate) fn notice(&mut self, sock: usize) {
        if !std::mem::replace(&mut self.socks[sock].noticed, true) {
            self.after(self.socks[sock].person.latency, Ev::Notice(sock));
        }
    }

    fn put(&mut self, sock: usize, bytes: &[u8]) -> usize {
        let entry = &mut self.socks[sock];
        assert!(!entry.out_fin, "bytes behind our FIN");
        let len = entry.write_room().min(bytes.len());
        entry.outbox.extend(&bytes[..len]);
        entry.proxy_wrote += len;
        if len < bytes.len() {
            entry.write_blocked = true;
        }
        if len > 0 {
            self.notice(sock);
        }
        len
    }

    fn fate(&mut self, to: SocketAddr, via: &Via) -> (Behave, Duration) {
        let link = via.device.map(|device| {
            let known = self.links.iter().find(|(name, _)| *name == device);
            known.map_or(Link::Broken(Fault::NoDevice), |(_, link)| *link)
        });
        let long = Duration::from_secs(3);
        let Some(target) = self.targets.get(&to) else {
            return (Behave::Fail(Fault::HostUnreachable, long), long);
        };
        let special = via.device.and_then(|device| target.through.get(&device));
        let behave = *special.unwrap_or(&target.behave);
        match link {
            Some(Link::BlackHole) => (Behave::Silent, long),
            Some(Link::Broken(fault)) => (Behave::FailNow(fault), long),
            Some(Link::OnlyV4) if to.is_ipv6() => (Behave::FailNow(Fault::NetworkUnreachable), long),
            Some(Link::Up | Link::OnlyV4) | None => (behave, target.answers),
        }
    }

    fn source(&self, to: SocketAddr, via: &Via) -> SocketAddr {
        let port = 40_000 + self.attempts.len() as u16;
        if let Some(client) = via.transparent {
            return if client.port() == 0 { SocketAddr::new(client.ip(), port) } else { client };
        }
        if let Some(source) = via.source {
            return SocketAddr::new(source, port);
        }
        let link = self.links.iter().position(|(name, _)| Some(*name) == via.device);
        let ip = match (link, to.ip()) {
            (_, ip) if ip.is_loopback() => ip,
            (link, IpAddr::V4(_)) => Ipv4Addr::new(10, 99, link.map_or(99, |i| i as u8), 2).into(),
            (link, IpAddr::V6(_)) => {
                Ipv6Addr::new(0xfd00, 0, 0, link.map_or(99, |i| i as u16), 0, 0, 0, 2).into()
            }
        };
        SocketAddr::new(ip, port)
    }

    fn give(&mut self, from: usize, to: usize, moved: &mut SpliceMoved, most: usize) {
        let mut pipe = self.pipes.remove(&from).unwrap_or_default();
        let part: Vec<u8> = pipe.iter().copied().take(most).collect();
        let len = self.put(to, &part);
        moved.to_blocked |= len < part.len();
        moved.given += len;
        pipe.drain(..len);
        self.pipes.insert(from, pipe);
    }
}

impl Io for World {
    fn now(&mut self) -> Instant {
        self.now
    }

    fn try_accept(&mut self, listener: ListenerId, stream: StreamId) -> Result<Incoming, TryError> {
        self.operations += 1;
        assert!(!self.unlistened.contains(&listener), "accept on a closed listener");
        if self.by_index.len() >= self.fd_limit {
            self.in_vain += 1;
            return Err(TryError::Fault(Fault::NoDescriptors));
        }
        let Some(sock) = self.backlog.entry(listener).or_default().pop_front() else { return self.vain() };
        let taken = self.by_index.insert(stream.index(), sock);
        assert_eq!(taken, None, "a slot that is in use was given to a new client");
        let entry = &mut self.socks[sock];
        entry.stream = Some(stream);
        entry.stage = Stage::Open;
        self.accepted.push(sock);
        Ok(Incoming { peer: entry.peer, local: entry.local })
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.unlistened.insert(listener);
        for sock in self.backlog.remove(&listener).unwrap_or_default() {
            self.socks[sock].lose_all();
            self.socks[sock].stage = Stage::Closed;
            self.notice(sock);
        }
    }

    fn connect(&mut self, stream: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        self.operations += 1;
        let (behave, answers) = self.fate(to, via);
        let attempt = Attempt { at: self.now, to, via: *via, stream, closed: None };
        self.attempts.push(attempt);
        if self.by_index.len() >= self.fd_limit {
            return Err(Fault::NoDescriptors);
        }
        if let Behave::FailNow(fault) = behave {
            return Err(fault);
        }
        let local = self.source(to, via);
        let person = match (behave, self.targets.get_mut(&to)) {
            (Behave::Listen, Some(target)) => target.first.pop_front().unwrap_or_else(|| target.rest.clone()),
            _ => Person::new([]),
        };
        let sock = self.socks.len();
        let mut entry = Sock::new(person, to, local);
        entry.stream = Some(stream);
        self.socks.push(entry);
        let taken = self.by_index.insert(stream.index(), sock);
        assert_eq!(taken, None, "a slot that is in use was given to a connect");
        match behave {
            Behave::Listen => self.after(answers, Ev::ConnectDone(sock, None)),
            Behave::Refuse => self.after(answers, Ev::ConnectDone(sock, Some(Fault::Refused))),
            Behave::Fail(fault, after) => self.after(after, Ev::ConnectDone(sock, Some(fault))),
            Behave::Silent | Behave::FailNow(_) => {}
        }
        Ok(())
    }

    fn finish_connect(&mut self, stream: StreamId) -> Result<SocketAddr, TryError> {
        self.operations += 1;
        let sock = self.of(stream);
        match self.socks[sock].stage {
            Stage::Pending => self.vain(),
            Stage::Failed(fault) => {
                self.by_index.remove(&stream.index());
                self.socks[sock].stream = None;
                self.socks[sock].stage = Stage::Closed;
                Err(TryError::Fault(fault))
            }
            Stage::Open => Ok(self.socks[sock].local),
            Stage::Closed => unreachable!("closed sockets have no stream"),
        }
    }

    fn try_read(&mut self, stream: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        self.operations += 1;
        let sock = self.of(stream);
        let exact = self.exact_more;
        let entry = &mut self.socks[sock];
        assert_eq!(entry.stage, Stage::Open, "a read before the connection stands");
        if entry.inbox.is_empty() {
            // As on Linux: what arrived before a reset can be read, then the read fails.
            return match (entry.in_rst, entry.in_fin) {
                (true, _) => Err(TryError::Fault(Fault::Reset)),
                (false, true) => Ok(Moved { len: 0, more: false }),
                (false, false) => self.vain(),
            };
        }
        let len = entry.inbox.len().min(buf.len());
        for (slot, byte) in buf.iter_mut().zip(entry.inbox.drain(..len)) {
            *slot = byte;
        }
        let more = !exact || !entry.inbox.is_empty() || entry.in_fin || entry.in_rst;
        self.made_room(sock, len);
        Ok(Moved { len, more })
    }

    fn try_write(&mut self, stream: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        self.operations += 1;
        assert!(!buf.is_empty(), "a write of nothing");
        let sock = self.of(stream);
        assert_eq!(self.socks[sock].stage, Stage::Open, "a write before the connection stands");
        if self.socks[sock].in_rst {
            return Err(TryError::Fault(Fault::Reset));
        }
        if self.socks[sock].write_room() == 0 {
            self.socks[sock].write_blocked = true;
            return self.vain();
        }
        let len = self.put(sock, buf);
        Ok(Moved { len, more: len == buf.len() })
    }

    fn try_splice(&mut self, from: StreamId, to: StreamId, max: usize) -> Result<SpliceMoved, SpliceError> {
        self.operations += 1;
        let (source, sink) = (self.of(from), self.of(to));
        let (size, moody) = match self.splice {
            SpliceMode::Never => return Err(SpliceError::Unavailable),
            SpliceMode::Pipe(size) => (size, false),
            SpliceMode::Moody(size) => (size, true),
        };
        let held = self.pipes.get(&source).map_or(0, VecDeque::len);
        if moody && held == 0 && self.rng.one_in(6) {
            return Err(SpliceError::Unavailable);
        }
        self.splice_calls += 1;
        if self.socks[sink].in_rst {
            return Err(SpliceError::To(Fault::Reset));
        }
        let mut moved = SpliceMoved::default();
        let mut some = |most: usize| if moody { 1 + self.rng.below(most.max(1)) } else { most };
        let (give_first, take, give_then) = (some(size), some(max.min(size)), some(size));
        self.give(source, sink, &mut moved, give_first);
        if self.pipes[&source].is_empty() {
            let entry = &mut self.socks[source];
            let len = entry.inbox.len().min(take);
            if len == 0 && entry.in_rst {
                return match moved.given {
                    0 => Err(SpliceError::From(Fault::Reset)),
                    _ => Ok(moved),
                };
            }
            moved.eof = len == 0 && entry.in_fin;
            let bytes: Vec<u8> = entry.inbox.drain(..len).collect();
            moved.taken = len;
            moved.from_blocked = len == 0 && !moved.eof;
            if let Some(pipe) = self.pipes.get_mut(&source) {
                pipe.extend(bytes);
            }
            self.made_room(source, len);
            self.give(source, sink, &mut moved, give_then);
        }
        moved.held = self.pipes[&source].len();
        self.spliced += moved.given;
        if moved.taken == 0 && moved.given == 0 && !moved.eof {
            self.in_vain += 1;
        }
        Ok(moved)
    }

    fn shutdown(&mut self, stream: StreamId) {
        let sock = self.of(stream);
        assert!(!self.socks[sock].out_fin, "our half is ended twice");
        self.socks[sock].out_fin = true;
        self.notice(sock);
    }

    fn close(&mut self, stream: StreamId, how: Close) {
        let sock = self.of(stream);
        self.by_index.remove(&stream.index());
        self.pipes.remove(&sock);
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.stream == stream) {
            attempt.closed = Some((self.now, how));
        }
        let entry = &mut self.socks[sock];
        entry.stream = None;
        entry.stage = Stage::Closed;
        match how {
            Close::Reset => entry.out_rst = true,
            // A close with unread bytes makes a reset, which overtakes them.
            Close::Graceful if !entry.inbox.is_empty() => entry.lose_all(),
            Close::Graceful => entry.out_fin = true,
        }
        self.notice(sock);
    }

    fn resolve(&mut self, query: QueryId, name: &Name) -> Result<(), Fault> {
        let name = name.as_str().to_owned();
        self.asked_names.push(name.clone());
        let unknown = Answer { after: Duration::from_millis(10), result: Err(Fault::NameNotFound) };
        let answer = match self.names.get_mut(&name) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap_or(unknown),
            Some(answers) => answers.front().cloned().unwrap_or(unknown),
            None => unknown,
        };
        assert_eq!(self.queries.insert(query, name), None, "a query's id in use was given to another");
        self.after(answer.after, Ev::Answer(query, answer.result));
        Ok(())
    }

    fn cancel_resolve(&mut self, query: QueryId) {
        assert!(self.queries.remove(&query).is_some(), "a query that nobody waits for was cancelled");
        self.cancelled += 1;
    }

    #[cfg(feature = "names")]
    fn open_socket(&mut self, id: SocketId, to: SocketAddr, via: &Via, _: bool) -> Result<SocketAddr, Fault> {
        self.asker_opens(id, to, via)
    }

    #[cfg(feature = "names")]
    fn close_socket(&mut self, id: SocketId) {
        self.asker_closes(id);
    }

    #[cfg(feature = "names")]
    fn try_receive(
        &mut self,
        id: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        self.asker_receives(id, sink)
    }

    #[cfg(feature = "names")]
    fn try_transmit(
        &mut self,
        id: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        self.asker_sends(id, source)
    }

    /// Always the same numbers: who writes a test's answers knows them.
    #[cfg(feature = "names")]
    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        bytes.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
        true
    }

    fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        self.pool.assign(now, assign)
    }

    fn report(&mut self, now: Instant, report: &Report) {
        self.reports.push(*report);
        self.pool.report(now, report);
        while let Some(event) = self.pool.poll_event() {
            self.events.push((now, event));
        }
    }

    fn event(&mut self, now: Instant, event: &Event) {
        self.events.push((now, event.clone()));
    }
}
