//! UDP: one socket of our own for each client, from its address, so that the server answers the client.
//!
//! ```text
//!  balancer ──header+data──▶ listener ──▶ flow (client, target): socket from the client's address ──data──▶ server
//!  balancer ◀──data────────  listener ◀── flow: where its balancer was last ◀──────────────────────data──  server
//! ```
//!
//! Invariants
//! - One flow for each pair of client and target, however many balancers, ports and listeners it is reached by.
//! - A flow lives until it was idle for the time set, was the longest idle when the limit was reached, or the service is
//!   told to stop. What goes wrong on its socket ends nothing.
//! - A datagram is passed on whole or dropped and counted, never cut.

use super::config::{Config, DatagramListener, PortConflict, UdpHeader};
use super::orphans::Orphans;
use super::outbox::{Address, Outbox, Spare};
use super::route;
use crate::event::{Dropped, Event, FlowEnd, Refusal};
use crate::machine::{Fault, ListenerId, Output, Rx, SocketId, Target, Transmit, Via};
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use crate::timers::Timers;
use crate::wire::Unparsed;
use crate::wire::proxy::{self, Rules, Transport, Version};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Bytes of a Simple Proxy Protocol header.
const SIMPLE: usize = 38;
/// The largest payload of a UDP datagram, in bytes (over IPv6).
const MAX_DATAGRAM: usize = 65_527;

/// How long a flow may be silent while the service drains.
const DRAIN_IDLE: Duration = Duration::from_secs(3);

fn idle_time(config: &Config, draining: bool) -> Duration {
    if draining { config.flow_idle_timeout.min(DRAIN_IDLE) } else { config.flow_idle_timeout }
}

/// A client's way to a server.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    to: SocketAddr,
    via: Via,
    /// The listener that answers leave by.
    listener: usize,
    /// Where they go, and from which of our addresses.
    balancer: SocketAddr,
    local: Option<IpAddr>,
    /// What stands before each answer.
    header: Option<[u8; SIMPLE]>,
    began: Instant,
    active: Instant,
    armed: Option<Instant>,
    sent: u64,
    received: u64,
    outbox: Outbox,
}

#[derive(Debug)]
enum Socket {
    Listener { index: usize, outbox: Outbox },
    Flow(Box<Flow>),
}

/// What has happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowCounters {
    /// Flows begun.
    pub opened: u64,
    /// Flows ended because there were too many.
    pub evicted: u64,
    /// Datagrams from clients to servers.
    pub sent: u64,
    /// Datagrams from servers to clients.
    pub received: u64,
    /// Datagrams dropped, for whatever reason.
    pub dropped: u64,
    /// Flows open now.
    pub open: usize,
}

/// The datagram half of an unwrap machine.
#[derive(Debug)]
pub(super) struct Flows {
    sockets: Slab<Socket>,
    /// The sockets of the listeners, in their order.
    listeners: Vec<SocketId>,
    by_client: BTreeMap<(SocketAddr, SocketAddr), SocketId>,
    /// Which client a balancer's port stands for, where only the first datagram tells.
    by_balancer: BTreeMap<(usize, SocketAddr), SocketId>,
    /// Balancers' ports there that have lost their flow, or never had one: no client of theirs says who it is.
    orphans: Orphans,
    idle: Timers<SocketId>,
    outputs: VecDeque<Output>,
    dirty: VecDeque<SocketId>,
    spare: Spare,
    counters: FlowCounters,
    draining: bool,
    /// The time of what is being handled.
    now: Instant,
}

impl Flows {
    /// Asks for the datagrams of all listeners; the first has the id `first`.
    pub(super) fn new(listeners: usize, first: usize) -> Self {
        let mut flows = Flows {
            sockets: Slab::new(),
            listeners: Vec::new(),
            by_client: BTreeMap::new(),
            by_balancer: BTreeMap::new(),
            orphans: Orphans::new(),
            idle: Timers::new(),
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            spare: Spare::default(),
            counters: FlowCounters::default(),
            draining: false,
            now: Instant::ZERO,
        };
        for index in 0..listeners {
            let socket = flows.sockets.insert(Socket::Listener { index, outbox: Outbox::default() });
            flows.listeners.push(socket);
            let listener = ListenerId((first + index) as u16);
            flows.outputs.push_back(Output::Receive { listener, socket });
        }
        flows
    }

    pub(super) fn counters(&self) -> FlowCounters {
        FlowCounters { open: self.by_client.len(), ..self.counters }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_dirty(&mut self) -> Option<SocketId> {
        loop {
            let socket = self.dirty.pop_front()?;
            let outbox = match self.sockets.get_mut(socket) {
                Some(Socket::Listener { outbox, .. }) => outbox,
                Some(Socket::Flow(flow)) => &mut flow.outbox,
                None => continue,
            };
            if outbox.unlist() {
                return Some(socket);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.idle.next()
    }

    /// No new flows. UDP has no end that could be seen: what is silent for a while is taken for ended.
    pub(super) fn drain(&mut self, now: Instant, config: &Config) {
        self.draining = true;
        for socket in self.by_client.values() {
            if let Some(Socket::Flow(flow)) = self.sockets.get_mut(*socket) {
                let wanted = now.max(flow.active + idle_time(config, true));
                self.idle.rearm(*socket, &mut flow.armed, Some(wanted));
            }
        }
    }

    /// The listeners' sockets are not needed any more.
    pub(super) fn close_listeners(&mut self) {
        for socket in core::mem::take(&mut self.listeners) {
            self.sockets.remove(socket);
            self.outputs.push_back(Output::CloseSocket { socket });
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, config: &Config) {
        self.now = now;
        while let Some(socket) = self.idle.pop_due(now) {
            let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { continue };
            flow.armed = None;
            let deadline = flow.active + idle_time(config, self.draining);
            if deadline <= now {
                self.end(socket, FlowEnd::Idle, config);
            } else {
                self.idle.rearm(socket, &mut flow.armed, Some(deadline));
            }
        }
    }

    // ---- what is received ----

    pub(super) fn handle_datagrams(
        &mut self,
        now: Instant,
        socket: SocketId,
        rx: &mut [Rx<'_>],
        config: &Config,
    ) {
        self.now = now;
        match self.sockets.get(socket) {
            Some(Socket::Listener { index, .. }) => {
                let index = *index;
                rx.iter().for_each(|rx| self.balancer_sent(index, rx, config));
            }
            Some(Socket::Flow(_)) => rx.iter().for_each(|rx| self.server_sent(socket, rx, config)),
            None => {}
        }
    }

    fn balancer_sent(&mut self, index: usize, rx: &Rx<'_>, config: &Config) {
        let Some(listener) = config.datagram_listeners.get(index) else { return };
        let ip = rx.from.ip().to_canonical();
        // Anybody can write this address on a datagram: the list keeps out the careless, a packet filter the others.
        if !listener.allowed.iter().any(|prefix| prefix.contains(ip)) {
            rx.datagrams().for_each(|_| self.dropped(rx.from, Dropped::Refused(Refusal::PeerNotAllowed)));
            return;
        }
        for datagram in rx.datagrams() {
            if let Err(why) = self.datagram(index, listener, rx, datagram, config) {
                self.dropped(rx.from, why);
            }
        }
    }

    fn datagram(
        &mut self,
        index: usize,
        listener: &DatagramListener,
        rx: &Rx<'_>,
        datagram: &[u8],
        config: &Config,
    ) -> Result<(), Dropped> {
        let port = (index, rx.from);
        let known = self.by_balancer.get(&port).copied();
        let silent_at = self.now + idle_time(config, self.draining);
        if listener.header == UdpHeader::First {
            // Whatever it looks like: the client wrote it, and must not say who it is.
            if let Some(socket) = known {
                return self.forward(socket, rx, datagram, config);
            }
            if self.orphans.heard(self.now, port, silent_at) {
                return Err(Dropped::NoFlow);
            }
        }
        let rules = Rules {
            transport: Transport::Datagram,
            max_length: config.max_header,
            mixed_families: config.mixed_families,
        };
        let (header, used) = match proxy::parse(datagram, &rules) {
            Ok(parsed) => parsed,
            Err(unparsed) => {
                if listener.header == UdpHeader::First {
                    if !datagram.starts_with(&proxy::SIGNATURE) {
                        // A datagram without a header belongs to a flow, and there is none.
                        return Err(Dropped::NoFlow);
                    }
                    self.orphans.insert(port, silent_at);
                }
                return Err(match unparsed {
                    // A header does not go on in the next datagram.
                    Unparsed::Incomplete => Dropped::CutShort(datagram.len()),
                    Unparsed::Malformed(why) => Dropped::Refused(Refusal::Malformed(why)),
                });
            }
        };
        let route = match route::find_datagram(config, listener, rx.from, &header) {
            Ok(route) => route,
            Err(why) => {
                if listener.header == UdpHeader::First {
                    self.orphans.insert(port, silent_at);
                }
                return Err(Dropped::Refused(why));
            }
        };
        let Target::Address(to) = route.to else { return Err(Dropped::NoFlow) };
        let socket = match self.by_client.get(&(route.client, to)) {
            Some(socket) => *socket,
            None if self.draining => return Err(Dropped::Draining),
            None => {
                let flow = Box::new(Flow {
                    client: route.client,
                    to,
                    via: route.via,
                    listener: index,
                    balancer: rx.from,
                    local: rx.to,
                    header: None,
                    began: self.now,
                    active: self.now,
                    armed: None,
                    sent: 0,
                    received: 0,
                    outbox: Outbox::default(),
                });
                if config.narrate {
                    let text = header.describe(datagram);
                    self.outputs.push_back(Output::Event(Event::DatagramHeader { peer: rx.from, text }));
                }
                self.begin(flow, config)
            }
        };
        if let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) {
            if (flow.listener, flow.balancer) != (index, rx.from) || known != Some(socket) {
                // The balancer speaks for this client from elsewhere now.
                self.by_balancer.remove(&(flow.listener, flow.balancer));
                if listener.header == UdpHeader::First {
                    self.by_balancer.insert((index, rx.from), socket);
                }
            }
            (flow.listener, flow.balancer, flow.local) = (index, rx.from, rx.to);
            // Cloudflare, "Enable Simple Proxy Protocol for UDP": answers carry the same header.
            flow.header = match header.version {
                Version::Simple => datagram.first_chunk().copied(),
                Version::V1 | Version::V2 => None,
            };
        }
        self.forward(socket, rx, &datagram[used..], config)
    }

    /// A new flow, whose socket is asked for.
    fn begin(&mut self, flow: Box<Flow>, config: &Config) -> SocketId {
        while self.by_client.len() >= config.max_flows.max(1)
            && let Some(oldest) = self.idle.first()
        {
            // A deadline may lag behind (see `Flow::touch`): the earliest is the longest idle's only where it does not.
            if let Some(Socket::Flow(flow)) = self.sockets.get_mut(oldest) {
                let deadline = Some(flow.active + config.flow_idle_timeout);
                if flow.armed != deadline {
                    self.idle.rearm(oldest, &mut flow.armed, deadline);
                    continue;
                }
            }
            self.counters.evicted += 1;
            self.end(oldest, FlowEnd::Evicted { limit: config.max_flows }, config);
        }
        let key = (flow.client, flow.to);
        let (client, to, peer) = (flow.client, flow.to, flow.balancer);
        let socket = self.open(flow, config);
        self.by_client.insert(key, socket);
        self.counters.opened += 1;
        self.outputs.push_back(Output::Event(Event::FlowOpened { socket, peer, client, to }));
        if client.port() == 0 {
            self.outputs.push_back(Output::Event(Event::FlowPortChanged { socket, client, fault: None }));
        }
        socket
    }

    fn open(&mut self, flow: Box<Flow>, config: &Config) -> SocketId {
        let (to, via, deadline) = (flow.to, flow.via, flow.active + idle_time(config, self.draining));
        let socket = self.sockets.insert(Socket::Flow(flow));
        if let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) {
            self.idle.rearm(socket, &mut flow.armed, Some(deadline));
        }
        self.outputs.push_back(Output::Open { socket, to, via });
        socket
    }

    fn forward(
        &mut self,
        socket: SocketId,
        rx: &Rx<'_>,
        payload: &[u8],
        config: &Config,
    ) -> Result<(), Dropped> {
        let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { return Err(Dropped::NoFlow) };
        flow.local = rx.to.or(flow.local);
        flow.touch(self.now, idle_time(config, self.draining), socket, &mut self.idle);
        let address = Address { to: None, from: None, ecn: rx.ecn };
        let was_empty = flow.outbox.is_empty();
        if !flow.outbox.push(address, [&[], payload], config.max_queue, &mut self.spare) {
            return Err(Dropped::QueueFull { limit: config.max_queue });
        }
        flow.sent += 1;
        self.counters.sent += 1;
        if was_empty && flow.outbox.list() {
            self.dirty.push_back(socket);
        }
        Ok(())
    }

    fn server_sent(&mut self, socket: SocketId, rx: &Rx<'_>, config: &Config) {
        let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { return };
        flow.touch(self.now, idle_time(config, self.draining), socket, &mut self.idle);
        let address = Address { to: Some(flow.balancer), from: flow.local, ecn: rx.ecn };
        let (header, peer) = (flow.header, flow.balancer);
        let Some(&listener) = self.listeners.get(flow.listener) else { return };
        let mut count = 0;
        for datagram in rx.datagrams() {
            let head = header.as_ref().map_or(&[][..], |header| header);
            let Some(Socket::Listener { outbox, .. }) = self.sockets.get_mut(listener) else { return };
            let was_empty = outbox.is_empty();
            if head.len() + datagram.len() > MAX_DATAGRAM {
                self.dropped(peer, Dropped::TooLong(head.len() + datagram.len()));
            } else if outbox.push(address, [head, datagram], config.max_queue, &mut self.spare) {
                count += 1;
                if was_empty && outbox.list() {
                    self.dirty.push_back(listener);
                }
            } else {
                self.dropped(peer, Dropped::QueueFull { limit: config.max_queue });
            }
        }
        self.counters.received += count;
        if let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) {
            flow.received += count;
        }
    }

    pub(super) fn poll_transmit(&mut self, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        match self.sockets.get_mut(socket)? {
            Socket::Listener { outbox, .. } => outbox.pop(buf, &mut self.spare),
            Socket::Flow(flow) => flow.outbox.pop(buf, &mut self.spare),
        }
    }

    // ---- what became of the sockets ----

    pub(super) fn opened(&mut self, now: Instant, socket: SocketId, local: SocketAddr, config: &Config) {
        self.now = now;
        let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { return };
        if route::check_disguise(&flow.via, local).is_err() {
            return self.end(socket, FlowEnd::OtherAddress(local.ip()), config);
        }
        // What it was opened for waits already.
        if flow.outbox.list() {
            self.dirty.push_back(socket);
        }
    }

    pub(super) fn open_failed(&mut self, now: Instant, socket: SocketId, fault: Fault, config: &Config) {
        self.now = now;
        let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { return };
        let port = flow.via.transparent.map_or(0, |client| client.port());
        if !(route::is_port_conflict(fault) && port != 0) {
            return self.end(socket, FlowEnd::Failed(fault), config);
        }
        if config.on_port_conflict == PortConflict::Fail {
            return self.end(socket, FlowEnd::PortConflict(fault), config);
        }
        self.idle.rearm(socket, &mut flow.armed, None);
        let Some(Socket::Flow(mut flow)) = self.sockets.remove(socket) else { return };
        if let Some(client) = &mut flow.via.transparent {
            client.set_port(0);
        }
        let (client, key) = (flow.client, (flow.client, flow.to));
        let balancer = (flow.listener, flow.balancer);
        // It is the old id that is in the list.
        flow.outbox.unlist();
        let anew = self.open(flow, config);
        self.by_client.insert(key, anew);
        if let Some(known) = self.by_balancer.get_mut(&balancer) {
            *known = anew;
        }
        self.outputs.push_back(Output::Event(Event::FlowPortChanged {
            socket: anew,
            client,
            fault: Some(fault),
        }));
    }

    pub(super) fn socket_failed(&mut self, socket: SocketId, fault: Fault) {
        // An answer such as "nobody listens": the server may be back for the next datagram.
        let peer = match self.sockets.get(socket) {
            Some(Socket::Flow(flow)) => flow.to,
            Some(Socket::Listener { .. }) | None => return,
        };
        self.outputs.push_back(Output::Event(Event::FlowFault { socket, to: peer, fault }));
    }

    pub(super) fn send_failed(&mut self, socket: SocketId, fault: Fault) {
        let to = match self.sockets.get(socket) {
            Some(Socket::Flow(flow)) => flow.to,
            Some(Socket::Listener { .. }) | None => return self.lost(None, fault),
        };
        self.lost(Some(to), fault);
    }

    fn lost(&mut self, to: Option<SocketAddr>, fault: Fault) {
        self.counters.dropped += 1;
        self.outputs.push_back(Output::Event(Event::DatagramLost { to, fault }));
    }

    fn dropped(&mut self, peer: SocketAddr, why: Dropped) {
        self.counters.dropped += 1;
        self.outputs.push_back(Output::Event(Event::DatagramDropped { peer, why }));
    }

    fn end(&mut self, socket: SocketId, why: FlowEnd, config: &Config) {
        let Some(Socket::Flow(mut flow)) = self.sockets.remove(socket) else { return };
        self.idle.rearm(socket, &mut flow.armed, None);
        self.by_client.remove(&(flow.client, flow.to));
        let balancer = (flow.listener, flow.balancer);
        if self.by_balancer.get(&balancer) == Some(&socket) {
            self.by_balancer.remove(&balancer);
            if why != FlowEnd::Idle {
                self.orphans.insert(balancer, self.now + idle_time(config, self.draining));
            }
        }
        flow.outbox.clear(&mut self.spare);
        match why {
            FlowEnd::Idle | FlowEnd::Evicted { .. } | FlowEnd::OtherAddress(_) => {
                self.outputs.push_back(Output::CloseSocket { socket })
            }
            // The id died with the attempt to open it.
            FlowEnd::Failed(_) | FlowEnd::PortConflict(_) => {}
        }
        let Flow { client, sent, received, .. } = *flow;
        let lasted = self.now - flow.began;
        self.outputs.push_back(Output::Event(Event::FlowClosed {
            socket,
            client,
            sent,
            received,
            lasted,
            why,
        }));
    }
}

impl Flow {
    /// Something moved. The deadline is set anew only when it has moved by a part of itself: with each datagram it would
    /// cost more than it is worth.
    fn touch(&mut self, now: Instant, idle: Duration, socket: SocketId, timers: &mut Timers<SocketId>) {
        self.active = now;
        let wanted = now + idle;
        if self.armed.is_none_or(|armed| wanted - armed >= idle / 64) {
            timers.rearm(socket, &mut self.armed, Some(wanted));
        }
    }
}
