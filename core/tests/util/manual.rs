//! The unwrap machine, driven by hand: each call is a test's, the contract is checked at each, and
//! when a test has ended its recording is replayed. It sends on a socket only after the machine has
//! listed it: a socket that the machine forgets to list stays silent.

use super::heard::{self, segments};
use super::incident::Recorded;
use super::{addr, secs};
use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::machine::{
    Close, DatagramMachine, Fault, Input, ListenerId, LocalPath, Machine, Output, QueryId, Rx, SocketId,
    StreamId, StreamMachine, Via,
};
use ropewalk_core::record::{Recorder, replay};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::unwrap::{Config, DatagramListener, FlowCounters, Listener, Target, UdpHeader, Unwrap};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

pub(crate) const LISTEN: &str = "198.51.100.1:25577";
pub(crate) const SERVER_V4: &str = "127.0.0.1:25578";
pub(crate) const SERVER_V6: &str = "[::1]:25578";
/// A balancer inside the allowed subnets.
pub(crate) const BALANCER: &str = "10.0.0.1:7000";

/// One TCP listener: balancers of 10.0.0.0/8 and fd00::/8, a server for each family.
pub(crate) fn tcp() -> Config {
    let listener = Listener {
        address: addr(LISTEN),
        allowed: prefixes(&["10.0.0.0/8", "fd00::/8", "127.0.0.0/8", "::1/128"]).into(),
        target_v4: Some(Target::Address(addr(SERVER_V4))),
        target_v6: Some(Target::Address(addr(SERVER_V6))),
        to_header: None,
    };
    let local_addresses = vec![addr(LISTEN).ip(), addr("10.0.0.200:0").ip()];
    Config { listeners: vec![listener], local_addresses, ..Config::default() }
}

/// The same with a UDP listener in place of the TCP one.
pub(crate) fn udp(header: UdpHeader) -> Config {
    let mut config = tcp();
    let Listener { address, allowed, .. } = config.listeners.remove(0);
    let (target_v4, target_v6) = (Some(addr(SERVER_V4)), Some(addr(SERVER_V6)));
    let listener = DatagramListener { address, allowed, target_v4, target_v6, to_header: None, header };
    Config { datagram_listeners: vec![listener], ..config }
}

pub(crate) fn prefixes(texts: &[&str]) -> Vec<ropewalk_core::uplink::Prefix> {
    texts.iter().map(|text| text.parse().expect("the test wrote a prefix")).collect()
}

/// A connect that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) stream: StreamId,
    pub(crate) to: Target,
    pub(crate) via: Via,
}

/// An address of this host.
pub(crate) const ELSEWHERE: &str = "192.0.2.250:1";

/// A datagram that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    /// Where a flow's socket leaves from, or a listener's datagram.
    pub(crate) from: Option<IpAddr>,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Socket {
    Listener(ListenerId),
    Flow { to: SocketAddr, via: Via, open: bool },
}

pub(crate) struct ManualDriver {
    pub(crate) machine: Recorder<Recorded<Unwrap>>,
    config: Config,
    pub(crate) now: Instant,
    /// Live streams, and the listener of those that wait for a client.
    pub(crate) streams: BTreeMap<StreamId, Option<ListenerId>>,
    pub(crate) sockets: BTreeMap<SocketId, Socket>,
    pub(crate) connects: Vec<Asked>,
    pub(crate) closed: Vec<(StreamId, Close)>,
    pub(crate) shut: Vec<StreamId>,
    pub(crate) closed_sockets: Vec<SocketId>,
    pub(crate) events: Vec<Event>,
    pub(crate) opens: Vec<(SocketId, Via)>,
    /// Names that are being looked up.
    pub(crate) queries: Vec<(QueryId, String)>,
    pub(crate) finished: usize,
    /// What becomes of the next opens; then they succeed.
    pub(crate) open_faults: VecDeque<Fault>,
    /// Opens wait for [`ManualDriver::open_all`].
    pub(crate) hold_opens: bool,
    /// Sockets get an address of the system's choice, whatever was asked for.
    pub(crate) own_way: bool,
    /// Sockets that the machine has listed since they were last sent on.
    dirty: BTreeSet<SocketId>,
    /// Sockets that take nothing now.
    pub(crate) blocked: BTreeSet<SocketId>,
    /// Room to send into.
    pub(crate) room: usize,
    pub(crate) highest_index: u32,
}

impl ManualDriver {
    pub(crate) fn new(config: Config) -> Self {
        let machine = Recorded::unwrap(config.clone()).expect("a valid configuration");
        let mut driver = ManualDriver {
            machine: Recorder::new(machine),
            config,
            now: Instant::ZERO,
            streams: BTreeMap::new(),
            sockets: BTreeMap::new(),
            connects: Vec::new(),
            closed: Vec::new(),
            shut: Vec::new(),
            closed_sockets: Vec::new(),
            events: Vec::new(),
            opens: Vec::new(),
            queries: Vec::new(),
            finished: 0,
            open_faults: VecDeque::new(),
            hold_opens: false,
            own_way: false,
            dirty: BTreeSet::new(),
            blocked: BTreeSet::new(),
            room: 1 << 17,
            highest_index: 0,
        };
        driver.pump();
        driver
    }

    // ---- commands ----

    pub(crate) fn input(&mut self, input: Input<'_>) {
        if let Input::ConnectFailed { stream, .. } = input {
            self.streams.remove(&stream);
        }
        self.machine.handle_input(self.now, input);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            assert_eq!(self.finished, 0, "said after Finished: {output:?}");
            self.said(output);
        }
        if !self.hold_opens {
            self.open_all();
        }
    }

    fn born(&mut self, stream: StreamId, listener: Option<ListenerId>) {
        let tenant = self.streams.keys().find(|other| other.index() == stream.index());
        assert_eq!(tenant, None, "{stream:?} was handed out while its slot lives");
        self.streams.insert(stream, listener);
        self.highest_index = self.highest_index.max(stream.index());
    }

    fn socket_born(&mut self, id: SocketId, socket: Socket) {
        let tenant = self.sockets.keys().find(|other| other.index() == id.index());
        assert_eq!(tenant, None, "{id:?} was handed out while its slot lives");
        self.sockets.insert(id, socket);
        self.highest_index = self.highest_index.max(id.index());
    }

    fn said(&mut self, output: Output) {
        match output {
            Output::Accept { listener, stream } => self.born(stream, Some(listener)),
            Output::CancelAccept { stream, .. } => {
                assert!(
                    matches!(self.streams.remove(&stream), Some(Some(_))),
                    "{stream:?} was not asked for"
                );
            }
            Output::Unlisten { listener } => self.streams.retain(|_, l| *l != Some(listener)),
            Output::Connect { stream, to, via } => {
                self.born(stream, None);
                self.connects.push(Asked { stream, to: Target::Address(to), via });
            }
            Output::ConnectLocal { stream, path } => {
                self.born(stream, None);
                self.connects.push(Asked { stream, to: Target::Local(path), via: Via::default() });
            }
            Output::Shutdown { stream } => {
                assert!(self.machine.write_buf(stream).is_empty(), "a shutdown before the last byte");
                self.shut.push(stream);
            }
            Output::Close { stream, how } => {
                assert!(self.streams.remove(&stream).is_some(), "Close of a dead stream, {stream:?}");
                self.closed.push((stream, how));
            }
            Output::Receive { listener, socket, .. } => self.socket_born(socket, Socket::Listener(listener)),
            Output::OpenSocket { socket, to, via, .. } => {
                self.socket_born(socket, Socket::Flow { to, via, open: false });
                self.opens.push((socket, via));
            }
            Output::CloseSocket { socket } => {
                assert!(self.sockets.remove(&socket).is_some(), "CloseSocket of a dead one, {socket:?}");
                self.closed_sockets.push(socket);
            }
            Output::Event(event) => self.events.push(event),
            Output::Resolve { query, name } => self.queries.push((query, name.to_string())),
            Output::CancelResolve { query } => {
                let before = self.queries.len();
                self.queries.retain(|(own, _)| *own != query);
                assert_eq!(self.queries.len() + 1, before, "CancelResolve of a dead one, {query:?}");
            }
            Output::Finished => {
                self.finished += 1;
                assert!(self.sockets.is_empty(), "Finished with sockets: {:?}", self.sockets);
                assert!(self.streams.is_empty(), "Finished with streams: {:?}", self.streams);
            }
            other => panic!("not asked of an unwrap driver: {other:?}"),
        }
    }

    /// Answers all opens that wait.
    pub(crate) fn open_all(&mut self) {
        while let Some((&socket, _)) =
            self.sockets.iter().find(|(_, s)| matches!(s, Socket::Flow { open: false, .. }))
        {
            let input = match self.open_faults.pop_front() {
                Some(fault) => {
                    self.sockets.remove(&socket);
                    Input::OpenFailed { socket, fault }
                }
                None => {
                    let mut local = addr(ELSEWHERE);
                    if let Some(Socket::Flow { via, open, .. }) = self.sockets.get_mut(&socket) {
                        *open = true;
                        local = via.transparent.filter(|_| !self.own_way).unwrap_or(local);
                    }
                    Input::Opened { socket, local }
                }
            };
            self.machine.handle_input(self.now, input);
            while let Some(output) = self.machine.poll_output() {
                self.said(output);
            }
        }
    }

    pub(crate) fn drain(&mut self) {
        self.input(Input::Drain);
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

    // ---- streams ----

    /// A connection from `peer` to listener `listener`.
    pub(crate) fn accept_at(&mut self, listener: u16, peer: &str) -> StreamId {
        let wanted = Some(ListenerId(listener));
        let asked = self.streams.iter().find(|(_, l)| **l == wanted).map(|(stream, _)| *stream);
        let stream = asked.expect("an accept was asked for");
        self.streams.insert(stream, None);
        self.input(Input::Accepted { stream, peer: addr(peer), local: addr(LISTEN) });
        stream
    }

    pub(crate) fn accept(&mut self, peer: &str) -> StreamId {
        self.accept_at(0, peer)
    }

    /// As much of `bytes` as the machine wants now, in one read.
    pub(crate) fn read(&mut self, stream: StreamId, bytes: &[u8]) -> usize {
        let buf = self.machine.read_buf(stream);
        let len = buf.len().min(bytes.len());
        if len > 0 {
            buf[..len].copy_from_slice(&bytes[..len]);
            self.input(Input::Read { stream, len });
        }
        len
    }

    /// A connection whose peer sends `bytes` at once.
    pub(crate) fn arrives(&mut self, peer: &str, bytes: &[u8]) -> StreamId {
        let stream = self.accept(peer);
        let len = self.read(stream, bytes);
        assert_eq!(len, bytes.len(), "the machine did not want all of it");
        stream
    }

    pub(crate) fn wants_read(&mut self, stream: StreamId) -> bool {
        !self.machine.read_buf(stream).is_empty()
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

    /// Nothing is asked of a stream that is not there.
    pub(crate) fn machine_is_deaf_to(&mut self, stream: StreamId) {
        assert!(self.machine.read_buf(stream).is_empty() && self.machine.write_buf(stream).is_empty());
        assert_eq!(self.machine.splice(stream), None);
    }

    #[track_caller]
    pub(crate) fn only_connect(&self) -> Asked {
        assert_eq!(self.connects.len(), 1, "{:?}, {:?}", self.connects, self.events);
        self.connects[0].clone()
    }

    pub(crate) fn connected(&mut self, stream: StreamId) {
        let asked = self.connects.iter().find(|asked| asked.stream == stream);
        let transparent = asked.and_then(|asked| asked.via.transparent).filter(|_| !self.own_way);
        self.input(Input::Connected { stream, local: transparent.unwrap_or(addr(ELSEWHERE)) });
    }

    /// Answers the only name that is being looked up.
    #[track_caller]
    pub(crate) fn looked_up(&mut self, answer: Result<&[&str], Fault>) {
        assert_eq!(self.queries.len(), 1, "{:?}", self.queries);
        let (query, _) = self.queries.remove(0);
        match answer {
            Ok(addresses) => {
                let ip = |text: &&str| text.parse::<IpAddr>().expect("the test wrote an address");
                let addresses: Vec<IpAddr> = addresses.iter().map(ip).collect();
                self.input(Input::Resolved { query, addresses: &addresses });
            }
            Err(fault) => self.input(Input::ResolveFailed { query, fault }),
        }
    }

    pub(crate) fn connect_failed(&mut self, stream: StreamId, fault: Fault) {
        self.input(Input::ConnectFailed { stream, fault });
    }

    pub(crate) fn how_closed(&self, stream: StreamId) -> Option<Close> {
        self.closed.iter().find(|(id, _)| *id == stream).map(|(_, how)| *how)
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        heard::refusals(&self.events)
    }

    // ---- datagrams ----

    pub(crate) fn listener_socket(&self, listener: u16) -> SocketId {
        let ours = |(_, s): &(&SocketId, &Socket)| matches!(s, Socket::Listener(l) if l.0 == listener);
        *self.sockets.iter().find(ours).expect("the listener is open").0
    }

    pub(crate) fn receive(&mut self, socket: SocketId, from: SocketAddr, stride: usize, data: &[u8]) {
        let mut data = data.to_vec();
        let to = Some(addr(LISTEN).ip());
        let rx = Rx { data: &mut data, stride, from, to, interface: None, ecn: 0 };
        self.machine.handle_datagrams(self.now, socket, &mut [rx]);
        self.pump();
    }

    /// A datagram from a balancer to UDP listener `listener`.
    pub(crate) fn datagram_at(&mut self, listener: u16, from: &str, parts: &[&[u8]]) {
        let data = parts.concat();
        self.receive(self.listener_socket(listener), addr(from), data.len(), &data);
    }

    pub(crate) fn datagram(&mut self, from: &str, parts: &[&[u8]]) {
        self.datagram_at(0, from, parts);
    }

    /// A datagram from the server of a flow.
    pub(crate) fn answer(&mut self, flow: SocketId, data: &[u8]) {
        let Some(Socket::Flow { to, open: true, .. }) = self.sockets.get(&flow) else {
            panic!("{flow:?} is no open flow");
        };
        self.receive(flow, *to, data.len(), data);
    }

    /// What is sent now: as datagrams, in order for each socket.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let mut told = BTreeSet::new();
        while let Some(socket) = self.machine.poll_dirty_socket() {
            assert!(told.insert(socket), "{socket:?} was told twice");
        }
        self.dirty.extend(told);
        let mut sent = Vec::new();
        let mut buf = vec![0; self.room];
        for socket in std::mem::take(&mut self.dirty) {
            let (to, from) = match self.sockets.get(&socket) {
                // Listed before it was open: it is listed again once it is.
                None | Some(Socket::Flow { open: false, .. }) => continue,
                _ if self.blocked.contains(&socket) => {
                    self.dirty.insert(socket);
                    continue;
                }
                Some(Socket::Listener(_)) => (None, None),
                Some(Socket::Flow { to, via, .. }) => {
                    (Some(*to), via.transparent.map(|a| a.ip()).or(via.source))
                }
            };
            while let Some(transmit) = self.machine.poll_transmit(self.now, socket, &mut buf) {
                let to = to.or(transmit.to).expect("a listener's datagram has a receiver");
                let from = from.or(transmit.from);
                for data in segments(&buf[..transmit.len], transmit.segment) {
                    sent.push(Sent { socket, to, from, data: data.to_vec() });
                }
            }
        }
        sent
    }

    /// What is sent now, without the sockets.
    pub(crate) fn said_to(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.sent().into_iter().map(|sent| (sent.to, sent.data)).collect()
    }

    pub(crate) fn flows(&self) -> Vec<SocketId> {
        let flow = |(id, s): (&SocketId, &Socket)| matches!(s, Socket::Flow { .. }).then_some(*id);
        self.sockets.iter().filter_map(flow).collect()
    }

    #[track_caller]
    pub(crate) fn only_flow(&self) -> SocketId {
        let flows = self.flows();
        assert_eq!(flows.len(), 1, "{:?}, {:?}", flows, self.events);
        flows[0]
    }

    pub(crate) fn via(&self, flow: SocketId) -> Via {
        match self.sockets.get(&flow) {
            Some(Socket::Flow { via, .. }) => *via,
            other => panic!("{flow:?} is no flow but {other:?}"),
        }
    }

    pub(crate) fn machine_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    pub(crate) fn counters(&self) -> FlowCounters {
        self.machine.machine().flow_counters()
    }

    pub(crate) fn drops(&self) -> Vec<Dropped> {
        heard::drops(&self.events)
    }

    pub(crate) fn flow_ends(&self) -> Vec<FlowEnd> {
        let why = |event: &Event| match event {
            Event::FlowClosed { why, .. } => Some(*why),
            _ => None,
        };
        self.events.iter().filter_map(why).collect()
    }
}

impl Drop for ManualDriver {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let again = Unwrap::new(self.config.clone()).expect("it was valid before");
            if let Err(divergence) = replay(&self.machine.take(), again) {
                panic!("the recording does not replay: {divergence}");
            }
        }
    }
}
