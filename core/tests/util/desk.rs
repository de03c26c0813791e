//! The dispatch machine and its pool, driven by hand: for UDP associations. The contract of
//! datagrams is checked at each call, and when a test has ended its recording is replayed.

use super::heard::{self, segments};
use super::incident::Recorded;
use super::{addr, say};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::machine::{
    Close, DatagramMachine, Device, Fault, Input, Machine, Output, QueryId, Report, Rx, SocketId, StreamId,
    StreamMachine, UplinkId, Via,
};
use ropewalk_core::record::{Recorder, replay};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::{Pool, PoolConfig, UplinkConfig};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Where clients connect to.
pub(crate) const LISTEN: &str = "198.51.100.1:1080";
/// A client, as its connection comes.
pub(crate) const CLIENT: &str = "203.0.113.5:40000";
/// The port that it sends datagrams from.
pub(crate) const PORT: &str = "203.0.113.5:5000";
/// Somebody far away.
pub(crate) const FAR: &str = "192.0.2.1:53";

/// A datagram socket that the machine has.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) local: SocketAddr,
    pub(crate) via: Via,
    /// Whom it speaks with, where that is one only: a name server.
    pub(crate) only: Option<SocketAddr>,
    open: bool,
}

/// A datagram that was sent: on which socket, to whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) data: Vec<u8>,
}

pub(crate) struct Desk {
    pub(crate) machine: Recorder<Recorded<Dispatch>>,
    config: Config,
    pub(crate) pool: Pool,
    pub(crate) now: Instant,
    accepts: VecDeque<StreamId>,
    streams: BTreeSet<StreamId>,
    pub(crate) sockets: BTreeMap<SocketId, Bound>,
    pub(crate) closed: Vec<(StreamId, Close)>,
    pub(crate) events: Vec<Event>,
    pub(crate) reports: Vec<Report>,
    /// Names that wait for an answer.
    pub(crate) asked: Vec<(QueryId, String)>,
    /// What becomes of the next sockets; then they open.
    pub(crate) open_faults: VecDeque<Option<Fault>>,
    next_port: u16,
    entropy: u8,
    dirty: BTreeSet<SocketId>,
    pub(crate) finished: bool,
}

/// Uplinks by these names and weights.
pub(crate) fn uplinks(all: &[(&str, u32)]) -> PoolConfig {
    let uplink = |(label, weight): &(&str, u32)| UplinkConfig {
        weight: *weight,
        device: Device::new(label),
        ..UplinkConfig::new(*label)
    };
    PoolConfig { uplinks: all.iter().map(uplink).collect(), ..PoolConfig::default() }
}

/// What a client sends: a datagram for `to`, with its header.
pub(crate) fn wrapped(to: &str, data: &[u8]) -> Vec<u8> {
    let mut out = say::socks5_request(0, addr(to));
    out[..3].fill(0);
    out.extend(data);
    out
}

/// The same for a name.
pub(crate) fn wrapped_name(name: &str, port: u16, data: &[u8]) -> Vec<u8> {
    let mut out = say::socks5_name(name.as_bytes(), port);
    out[..3].fill(0);
    out.extend(data);
    out
}

impl Desk {
    pub(crate) fn new(config: Config, pool: PoolConfig) -> Self {
        let config = Config { listeners: vec![addr(LISTEN)], ..config };
        let machine = Recorded::dispatch(config.clone()).expect("a valid configuration");
        let mut desk = Desk {
            machine: Recorder::new(machine),
            config,
            pool: Pool::new(pool).expect("a valid pool"),
            now: Instant::ZERO,
            accepts: VecDeque::new(),
            streams: BTreeSet::new(),
            sockets: BTreeMap::new(),
            closed: Vec::new(),
            events: Vec::new(),
            reports: Vec::new(),
            asked: Vec::new(),
            open_faults: VecDeque::new(),
            next_port: 20_000,
            entropy: 0,
            dirty: BTreeSet::new(),
            finished: false,
        };
        desk.pump();
        desk
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            assert!(!self.finished, "said after Finished: {output:?}");
            self.said(output);
        }
    }

    fn said(&mut self, output: Output) {
        match output {
            Output::Accept { stream, .. } => self.accepts.push_back(stream),
            Output::CancelAccept { stream, .. } => self.accepts.retain(|asked| *asked != stream),
            Output::Unlisten { .. } => self.accepts.clear(),
            Output::Shutdown { stream } => assert!(self.streams.contains(&stream)),
            Output::Close { stream, how } => {
                assert!(self.streams.remove(&stream), "Close of a dead stream, {stream:?}");
                self.closed.push((stream, how));
            }
            Output::BindSocket { socket, mut local, to, via, fragments } => {
                assert!(fragments && local.port() == 0 && local.is_ipv4() == to.is_ipv4());
                let tenant = self.sockets.keys().find(|other| other.index() == socket.index());
                assert_eq!(tenant, None, "{socket:?} was handed out while its slot lives");
                if let Some(fault) = self.open_faults.pop_front().flatten() {
                    return self.machine.handle_input(self.now, Input::OpenFailed { socket, fault });
                }
                self.next_port += 1;
                local.set_port(self.next_port);
                self.sockets.insert(socket, Bound { local, via, only: None, open: true });
                self.machine.handle_input(self.now, Input::Opened { socket, local });
            }
            Output::OpenSocket { socket, to, via, fragments: true } => {
                self.next_port += 1;
                let local = SocketAddr::new(addr(LISTEN).ip(), self.next_port);
                self.sockets.insert(socket, Bound { local, via, only: Some(to), open: true });
                self.machine.handle_input(self.now, Input::Opened { socket, local });
            }
            Output::Entropy => {
                self.entropy = self.entropy.wrapping_add(1);
                self.machine.handle_input(self.now, Input::Entropy { bytes: &[self.entropy; 32] });
            }
            Output::CloseSocket { socket } => {
                assert!(self.sockets.remove(&socket).is_some(), "CloseSocket of a dead one, {socket:?}");
            }
            Output::Assign(assign) => {
                let assignment = self.pool.assign(self.now, &assign);
                self.machine.handle_input(self.now, Input::Assigned { conn: assign.conn, assignment });
            }
            Output::Report(report) => {
                self.reports.push(report);
                self.pool.report(self.now, &report);
            }
            Output::Resolve { query, name } => self.asked.push((query, name.as_str().to_owned())),
            Output::CancelResolve { query } => self.asked.retain(|(asked, _)| *asked != query),
            Output::Event(event) => self.events.push(event),
            Output::Finished => {
                self.finished = true;
                assert!(
                    self.sockets.is_empty() && self.streams.is_empty(),
                    "Finished with {:?}",
                    self.sockets
                );
            }
            other => panic!("not asked of a driver of associations: {other:?}"),
        }
    }

    /// Time passes; the machine is called when it wants to be.
    pub(crate) fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            self.pump();
            let next = self.machine.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a due timeout was left");
        }
        self.now = until;
    }

    // ---- the connection ----

    pub(crate) fn accept(&mut self, peer: &str) -> StreamId {
        let stream = self.accepts.pop_front().expect("an accept was asked for");
        self.streams.insert(stream);
        self.input(Input::Accepted { stream, peer: addr(peer), local: addr(LISTEN) });
        stream
    }

    pub(crate) fn says(&mut self, stream: StreamId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let buf = self.machine.read_buf(stream);
            let len = buf.len().min(rest.len());
            assert!(len > 0, "the machine does not read on");
            buf[..len].copy_from_slice(&rest[..len]);
            self.input(Input::Read { stream, len });
            rest = &rest[len..];
        }
    }

    /// What the machine has for `stream`, taken.
    pub(crate) fn written(&mut self, stream: StreamId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.machine.write_buf(stream).to_vec();
            if bytes.is_empty() {
                return all;
            }
            all.extend_from_slice(&bytes);
            self.input(Input::Written { stream, len: bytes.len() });
        }
    }

    /// A client that asks for an association and says that it sends from `from`: the answer.
    pub(crate) fn asks(&mut self, peer: &str, from: &str) -> (StreamId, Vec<u8>) {
        let stream = self.accept(peer);
        self.says(stream, &[say::GREETING, &say::socks5_request(3, addr(from))].concat());
        let answer = self.written(stream);
        assert_eq!(answer[..2], [5, 0], "the greeting's answer");
        (stream, answer[2..].to_vec())
    }

    /// The association of a client that says nothing of its port: its connection, and its socket.
    #[track_caller]
    pub(crate) fn associate(&mut self, peer: &str) -> (StreamId, SocketId) {
        let before: Vec<SocketId> = self.sockets.keys().copied().collect();
        let (stream, answer) = self.asks(peer, "0.0.0.0:0");
        assert_eq!(answer[1], 0, "{:?}", self.events);
        let socket = self.sockets.keys().find(|socket| !before.contains(socket));
        (stream, *socket.expect("a socket was opened"))
    }

    // ---- datagrams ----

    pub(crate) fn receive(&mut self, socket: SocketId, from: &str, stride: usize, data: &[u8]) {
        let bound = self.sockets.get(&socket).expect("an open socket");
        let to = Some(bound.local.ip()).filter(|ip| !ip.is_unspecified());
        let mut data = data.to_vec();
        let rx = Rx { data: &mut data, stride, from: addr(from), to, interface: None, ecn: 0 };
        self.machine.handle_datagrams(self.now, socket, &mut [rx]);
        self.pump();
    }

    /// One datagram.
    pub(crate) fn datagram(&mut self, socket: SocketId, from: &str, data: &[u8]) {
        self.receive(socket, from, data.len(), data);
    }

    /// What is sent now: as datagrams, in order for each socket.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let mut told = BTreeSet::new();
        while let Some(socket) = self.machine.poll_dirty_socket() {
            assert!(told.insert(socket), "{socket:?} was told twice");
        }
        self.dirty.extend(told);
        let (mut sent, mut buf) = (Vec::new(), vec![0; 1 << 17]);
        for socket in std::mem::take(&mut self.dirty) {
            if !self.sockets.contains_key(&socket) {
                continue;
            }
            while let Some(transmit) = self.machine.poll_transmit(self.now, socket, &mut buf) {
                let only = self.sockets[&socket].only;
                let to = transmit.to.or(only).expect("M8: a bound socket's datagram has a receiver");
                for data in segments(&buf[..transmit.len], transmit.segment) {
                    sent.push(Sent { socket, to, data: data.to_vec() });
                }
            }
        }
        sent
    }

    /// What is sent now, without the sockets.
    pub(crate) fn said_to(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.sent().into_iter().map(|sent| (sent.to, sent.data)).collect()
    }

    /// The client sends to `to`: by which uplink it leaves.
    #[track_caller]
    pub(crate) fn uplink_of(&mut self, socket: SocketId, to: &str) -> Option<String> {
        self.datagram(socket, PORT, &wrapped(to, b"x"));
        let sent = self.sent();
        let [Sent { socket, to: receiver, .. }] = &sent[..] else { panic!("{sent:?} {:?}", self.events) };
        assert_eq!(*receiver, addr(to));
        self.sockets[socket].via.device.map(|device| device.to_string())
    }

    /// The socket that leaves by this uplink.
    #[track_caller]
    pub(crate) fn way(&self, label: &str) -> SocketId {
        let by = |bound: &Bound| bound.via.device.is_some_and(|device| device.as_str() == label);
        *self.sockets.iter().find(|(_, bound)| by(bound)).expect("a socket of this uplink").0
    }

    pub(crate) fn resolved(&mut self, name: &str, addresses: &[&str]) {
        let query = self.take_asked(name);
        let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().expect("literal")).collect();
        self.input(Input::Resolved { query, addresses: &addresses });
    }

    pub(crate) fn take_asked(&mut self, name: &str) -> QueryId {
        let at = self.asked.iter().position(|(_, asked)| asked == name);
        self.asked.remove(at.unwrap_or_else(|| panic!("{name} was not asked for: {:?}", self.asked))).0
    }

    pub(crate) fn gone(&mut self, uplink: u16) {
        self.input(Input::UplinkGone { uplink: UplinkId(uplink) });
    }

    pub(crate) fn drops(&self) -> Vec<Dropped> {
        heard::drops(&self.events)
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        heard::refusals(&self.events)
    }

    pub(crate) fn ends(&self) -> Vec<(SocketAddr, FlowEnd)> {
        let end = |event: &Event| match event {
            Event::DestinationEnded { to, why, .. } => Some((*to, *why)),
            _ => None,
        };
        self.events.iter().filter_map(end).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let again = Dispatch::new(self.config.clone()).expect("it was valid before");
            if let Err(divergence) = replay(&self.machine.take(), again) {
                panic!("the recording does not replay: {divergence}");
            }
        }
    }
}
