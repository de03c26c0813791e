//! What the proxy's sockets meet: clients, targets, uplinks, names. `io` answers the driver.

mod io;

use super::person::End;
use super::place::{Answer, Attempt, Behave, Ev, Link, SpliceMode, Target};
use super::rng::Rng;
use super::sock::{Sock, Stage};
use ropewalk_core::drive::{SpliceMoved, TryError};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Device, Fault, ListenerId, QueryId, Report, StreamId, Via};
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
