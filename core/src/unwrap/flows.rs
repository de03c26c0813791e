//! UDP: one socket of our own for each client, from its address, so that the server answers the
//! client.
//!
//! ```text
//!  balancer ──header+data──▶ listener ──▶ flow (client, target): socket from the client's address ──data──▶ server
//!  balancer ◀──data────────  listener ◀── flow: where its balancer was last ◀──────────────────────data──  server
//! ```
//!
//! Invariants
//! - One flow for each pair of client and target, however many balancers, ports and listeners it is
//!   reached by.
//! - A flow lives until it was idle for the time set, was the longest idle when the limit was
//!   reached, or the service stops. An error on its socket does not end it.
//! - A datagram is passed on whole or dropped and counted, never cut.

mod traffic;

use super::admission;
use super::config::{Config, PortConflict};
use super::outbox::{Outbox, Spare};
use super::quarantine::{self, Quarantine};
use crate::machine::event::{Dropped, Event, FixedLimit, FlowEnd};
use crate::machine::{Fault, ListenerId, Output, SocketId, Via};
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use crate::timers::Timers;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Bytes of a Simple Proxy Protocol header.
const SIMPLE: usize = 38;

/// The interval at which the number of datagrams that passed is reported, while any do.
const TELL_EVERY: Duration = Duration::from_secs(1);

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
    /// Balancers' ports there that have lost their flow or never had one: their datagrams name no
    /// trusted client.
    quarantine: Quarantine,
    idle: Timers<SocketId>,
    outputs: VecDeque<Output>,
    dirty: VecDeque<SocketId>,
    spare: Spare,
    counters: FlowCounters,
    /// Datagrams that were reported as sent and received, and when more may be.
    told: (u64, u64),
    tell_at: Instant,
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
            quarantine: Quarantine::new(),
            idle: Timers::new(),
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            spare: Spare::default(),
            counters: FlowCounters::default(),
            told: (0, 0),
            tell_at: Instant::ZERO,
            draining: false,
            now: Instant::ZERO,
        };
        for index in 0..listeners {
            let socket = flows.sockets.insert(Socket::Listener { index, outbox: Outbox::default() });
            flows.listeners.push(socket);
            let listener = ListenerId((first + index) as u16);
            flows.outputs.push_back(Output::Receive { listener, socket, fragments: true });
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

    /// No new flows. UDP has no end that could be seen: what is silent for a while is taken for
    /// ended.
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

    /// A new flow; its socket is not open yet.
    fn begin(&mut self, flow: Box<Flow>, config: &Config) -> SocketId {
        while self.by_client.len() >= config.max_flows.max(1)
            && let Some(oldest) = self.idle.first()
        {
            // A deadline may lag behind (see `Flow::touch`): the earliest is the longest idle's
            // only where it does not.
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
        self.outputs.push_back(Output::OpenSocket { socket, to, via, fragments: true });
        socket
    }

    // ---- what became of the sockets ----

    pub(super) fn opened(&mut self, now: Instant, socket: SocketId, local: SocketAddr, config: &Config) {
        self.now = now;
        let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { return };
        if admission::check_source_kept(&flow.via, local).is_err() {
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
        if !(admission::is_port_conflict(fault) && port != 0) {
            return self.end(socket, FlowEnd::Failed(fault), config);
        }
        if config.on_port_conflict == PortConflict::Fail {
            return self.end(socket, FlowEnd::PortConflict(fault), config);
        }
        if let Some(client) = &mut flow.via.transparent {
            client.set_port(0);
        }
        let client = flow.client;
        let Some(anew) = self.open_anew(socket, config) else { return };
        self.outputs.push_back(Output::Event(Event::FlowPortChanged {
            socket: anew,
            client,
            fault: Some(fault),
        }));
    }

    /// Asks for another socket for a flow whose last one is dead.
    fn open_anew(&mut self, socket: SocketId, config: &Config) -> Option<SocketId> {
        if let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) {
            self.idle.rearm(socket, &mut flow.armed, None);
        }
        let Some(Socket::Flow(mut flow)) = self.sockets.remove(socket) else { return None };
        let key = (flow.client, flow.to);
        let balancer = (flow.listener, flow.balancer);
        // The dirty list holds the old id: clear the flag so that the new one is listed.
        flow.outbox.unlist();
        let anew = self.open(flow, config);
        self.by_client.insert(key, anew);
        if let Some(known) = self.by_balancer.get_mut(&balancer)
            && *known == socket
        {
            *known = anew;
        }
        Some(anew)
    }

    /// The flows of a server go with it. A client that has a flow there already keeps both.
    pub(super) fn server_moved(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, config: &Config) {
        self.now = now;
        let moving = self.by_client.iter().filter(|((_, at), _)| *at == from);
        let moving: Vec<_> = moving.map(|((client, _), socket)| (*client, *socket)).collect();
        for (client, socket) in moving {
            let Some(Socket::Flow(flow)) = self.sockets.get_mut(socket) else { continue };
            if self.by_client.contains_key(&(client, to)) {
                continue;
            }
            flow.to = to;
            self.by_client.remove(&(client, from));
            self.outputs.push_back(Output::CloseSocket { socket });
            self.open_anew(socket, config);
        }
    }

    pub(super) fn say(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Gives the server that the socket was for.
    pub(super) fn socket_failed(&mut self, socket: SocketId, fault: Fault) -> Option<SocketAddr> {
        // An error such as "connection refused": the server may be back for the next datagram.
        let peer = match self.sockets.get(socket) {
            Some(Socket::Flow(flow)) => flow.to,
            Some(Socket::Listener { .. }) | None => return None,
        };
        self.outputs.push_back(Output::Event(Event::FlowFault { socket, to: peer, fault }));
        Some(peer)
    }

    /// The same.
    pub(super) fn send_failed(&mut self, socket: SocketId, fault: Fault) -> Option<SocketAddr> {
        let to = match self.sockets.get(socket) {
            Some(Socket::Flow(flow)) => Some(flow.to),
            Some(Socket::Listener { .. }) | None => None,
        };
        self.lost(to, fault);
        to
    }

    fn lost(&mut self, to: Option<SocketAddr>, fault: Fault) {
        self.counters.dropped += 1;
        self.outputs.push_back(Output::Event(Event::DatagramLost { to, fault }));
    }

    fn dropped(&mut self, peer: SocketAddr, why: Dropped) {
        self.counters.dropped += 1;
        self.outputs.push_back(Output::Event(Event::DatagramDropped { peer, why }));
    }

    /// The session of `port` is over while its client may still send.
    fn put_in_quarantine(&mut self, port: (usize, SocketAddr), until: Instant) {
        if self.quarantine.insert(port, until) {
            let (which, limit) = (FixedLimit::Quarantine, quarantine::MOST);
            self.outputs.push_back(Output::Event(Event::FixedLimit { which, limit }));
        }
    }

    fn end(&mut self, socket: SocketId, why: FlowEnd, config: &Config) {
        let Some(Socket::Flow(mut flow)) = self.sockets.remove(socket) else { return };
        self.idle.rearm(socket, &mut flow.armed, None);
        self.by_client.remove(&(flow.client, flow.to));
        let balancer = (flow.listener, flow.balancer);
        if self.by_balancer.get(&balancer) == Some(&socket) {
            self.by_balancer.remove(&balancer);
            if why != FlowEnd::Idle {
                self.put_in_quarantine(balancer, self.now + idle_time(config, self.draining));
            }
        }
        flow.outbox.clear(&mut self.spare);
        self.tell_traffic();
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

impl Flows {
    /// Says how many datagrams have passed since it last did.
    fn tell_traffic(&mut self) {
        let FlowCounters { sent, received, .. } = self.counters;
        let (told_sent, told_received) = core::mem::replace(&mut self.told, (sent, received));
        self.tell_at = self.now + TELL_EVERY;
        let (sent, received) = (sent - told_sent, received - told_received);
        if sent + received > 0 {
            self.outputs.push_back(Output::Event(Event::Datagrams { sent, received }));
        }
    }
}

impl Flow {
    /// Something moved. The deadline is set anew only when it has moved by a part of itself: with
    /// each datagram it would cost more than it is worth.
    fn touch(&mut self, now: Instant, idle: Duration, socket: SocketId, timers: &mut Timers<SocketId>) {
        self.active = now;
        let wanted = now + idle;
        if self.armed.is_none_or(|armed| wanted - armed >= idle / 64) {
            timers.rearm(socket, &mut self.armed, Some(wanted));
        }
    }
}
