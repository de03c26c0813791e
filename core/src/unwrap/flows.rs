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
//!
//! Here flows begin and end; `traffic` passes datagrams on.

mod traffic;

use super::admission;
use super::config::{Config, PortConflict};
use super::quarantine::{self, Quarantine};
use crate::machine::event::{Dropped, Event, FixedLimit, FlowEnd};
use crate::machine::{Fault, ListenerId, Output, SocketId, Transmit, Via};
use crate::service::{self, FlowId, Sockets, Tally};
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Bytes of a Simple Proxy Protocol header.
const SIMPLE: usize = 38;

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
    /// Its own.
    socket: SocketId,
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Listener(usize),
    Flow(FlowId),
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
    sockets: Sockets<Owner>,
    flows: service::FlowTable<Flow>,
    /// The sockets of the listeners, in their order.
    listeners: Vec<SocketId>,
    by_client: BTreeMap<(SocketAddr, SocketAddr), FlowId>,
    /// Which client a balancer's port stands for, where only the first datagram tells.
    by_balancer: BTreeMap<(usize, SocketAddr), FlowId>,
    /// Balancers' ports there that have lost their flow or never had one: their datagrams name no
    /// trusted client.
    quarantine: Quarantine,
    outputs: VecDeque<Output>,
    counters: FlowCounters,
    tally: Tally,
    draining: bool,
    /// The time of what is being handled.
    now: Instant,
}

impl Flows {
    /// Asks for the datagrams of all listeners; the first has the id `first`.
    pub(super) fn new(listeners: usize, first: usize) -> Self {
        let mut flows = Flows {
            sockets: Sockets::new(),
            flows: service::FlowTable::new(),
            listeners: Vec::new(),
            by_client: BTreeMap::new(),
            by_balancer: BTreeMap::new(),
            quarantine: Quarantine::new(),
            outputs: VecDeque::new(),
            counters: FlowCounters::default(),
            tally: Tally::default(),
            draining: false,
            now: Instant::ZERO,
        };
        for index in 0..listeners {
            let socket = flows.sockets.insert(Owner::Listener(index));
            flows.listeners.push(socket);
            let listener = ListenerId((first + index) as u16);
            flows.outputs.push_back(Output::Receive { listener, socket, fragments: true });
        }
        flows
    }

    pub(super) fn counters(&self) -> FlowCounters {
        let Tally { sent, received, .. } = self.tally;
        FlowCounters { open: self.flows.len(), sent, received, ..self.counters }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.len() == 0
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_dirty(&mut self) -> Option<SocketId> {
        self.sockets.poll_dirty()
    }

    pub(super) fn poll_transmit(&mut self, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.sockets.poll_transmit(socket, buf)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.flows.next_timeout()
    }

    /// No new flows. UDP has no end that could be seen: what is silent for a while is taken for
    /// ended.
    pub(super) fn drain(&mut self, now: Instant, config: &Config) {
        self.draining = true;
        self.flows.hurry(now, idle_time(config, true));
    }

    /// Bytes of datagrams that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.sockets.waiting()
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
        while let Some(id) = self.flows.pop_idle(now, idle_time(config, self.draining)) {
            self.end(id, FlowEnd::Idle, config);
        }
    }

    /// A new flow; its socket is not open yet.
    fn begin(&mut self, flow: Flow, config: &Config) -> FlowId {
        while self.flows.len() >= config.max_flows.max(1)
            && let Some(oldest) = self.flows.longest_idle(config.flow_idle_timeout)
        {
            self.counters.evicted += 1;
            self.end(oldest, FlowEnd::Evicted { limit: config.max_flows }, config);
        }
        let (client, to, via, peer) = (flow.client, flow.to, flow.via, flow.balancer);
        let id = self.flows.insert(self.now, idle_time(config, self.draining), flow);
        let socket = self.sockets.insert(Owner::Flow(id));
        if let Some(flow) = self.flows.get_mut(id) {
            flow.what.socket = socket;
        }
        self.outputs.push_back(Output::OpenSocket { socket, to, via, fragments: true });
        self.by_client.insert((client, to), id);
        self.counters.opened += 1;
        self.outputs.push_back(Output::Event(Event::FlowOpened { socket, peer, client, to }));
        if client.port() == 0 {
            self.outputs.push_back(Output::Event(Event::FlowPortChanged { socket, client, fault: None }));
        }
        id
    }

    /// The flow of a socket.
    fn flow_of_socket(&self, socket: SocketId) -> Option<FlowId> {
        match self.sockets.owner(socket)? {
            Owner::Flow(id) => Some(*id),
            Owner::Listener(_) => None,
        }
    }

    // ---- what became of the sockets ----

    pub(super) fn opened(&mut self, now: Instant, socket: SocketId, local: SocketAddr, config: &Config) {
        self.now = now;
        let Some(id) = self.flow_of_socket(socket) else { return };
        let Some(flow) = self.flows.get(id) else { return };
        if admission::check_source_kept(&flow.what.via, local).is_err() {
            return self.end(id, FlowEnd::OtherAddress(local.ip()), config);
        }
        self.sockets.opened(socket);
    }

    pub(super) fn open_failed(&mut self, now: Instant, socket: SocketId, fault: Fault, config: &Config) {
        self.now = now;
        let Some(id) = self.flow_of_socket(socket) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        let port = flow.what.via.transparent.map_or(0, |client| client.port());
        if !(admission::is_port_conflict(fault) && port != 0) {
            return self.end(id, FlowEnd::Failed(fault), config);
        }
        if config.on_port_conflict == PortConflict::Fail {
            return self.end(id, FlowEnd::PortConflict(fault), config);
        }
        if let Some(client) = &mut flow.what.via.transparent {
            client.set_port(0);
        }
        let client = flow.what.client;
        let Some(anew) = self.open_anew(id) else { return };
        self.outputs.push_back(Output::Event(Event::FlowPortChanged {
            socket: anew,
            client,
            fault: Some(fault),
        }));
    }

    /// Asks for another socket for a flow whose last one is dead; what waited there waits here.
    fn open_anew(&mut self, id: FlowId) -> Option<SocketId> {
        let flow = self.flows.get_mut(id)?;
        let socket = self.sockets.replace(flow.what.socket)?;
        flow.what.socket = socket;
        let Flow { to, via, .. } = flow.what;
        self.outputs.push_back(Output::OpenSocket { socket, to, via, fragments: true });
        Some(socket)
    }

    /// The flows of a server go with it. A client that has a flow there already keeps both.
    pub(super) fn server_moved(&mut self, now: Instant, from: SocketAddr, to: SocketAddr) {
        self.now = now;
        let moving = self.by_client.iter().filter(|((_, at), _)| *at == from);
        let moving: Vec<_> = moving.map(|((client, _), id)| (*client, *id)).collect();
        for (client, id) in moving {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            if self.by_client.contains_key(&(client, to)) {
                continue;
            }
            flow.what.to = to;
            let socket = flow.what.socket;
            self.by_client.remove(&(client, from));
            self.by_client.insert((client, to), id);
            self.outputs.push_back(Output::CloseSocket { socket });
            self.open_anew(id);
        }
    }

    pub(super) fn say(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Gives the server that the socket was for.
    pub(super) fn socket_failed(&mut self, socket: SocketId, fault: Fault) -> Option<SocketAddr> {
        // An error such as "connection refused": the server may be back for the next datagram.
        let flow = self.flow_of_socket(socket).and_then(|id| self.flows.get(id));
        let to = flow.map(|flow| flow.what.to)?;
        self.outputs.push_back(Output::Event(Event::FlowFault { socket, to, fault }));
        Some(to)
    }

    /// The same.
    pub(super) fn send_failed(&mut self, socket: SocketId, fault: Fault) -> Option<SocketAddr> {
        self.sockets.owner(socket)?;
        let flow = self.flow_of_socket(socket).and_then(|id| self.flows.get(id));
        let to = flow.map(|flow| flow.what.to);
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

    fn end(&mut self, id: FlowId, why: FlowEnd, config: &Config) {
        let Some(flow) = self.flows.remove(id) else { return };
        let Flow { client, to, socket, listener, balancer, .. } = flow.what;
        self.sockets.remove(socket);
        self.by_client.remove(&(client, to));
        let port = (listener, balancer);
        if self.by_balancer.get(&port) == Some(&id) {
            self.by_balancer.remove(&port);
            if why != FlowEnd::Idle {
                self.put_in_quarantine(port, self.now + idle_time(config, self.draining));
            }
        }
        self.tell_traffic();
        match why {
            FlowEnd::Idle
            | FlowEnd::Evicted { .. }
            | FlowEnd::OtherAddress(_)
            | FlowEnd::Association
            | FlowEnd::NoUplink => self.outputs.push_back(Output::CloseSocket { socket }),
            // The id died with the attempt to open it.
            FlowEnd::Failed(_) | FlowEnd::PortConflict(_) => {}
        }
        self.outputs.push_back(Output::Event(Event::FlowClosed {
            socket,
            client,
            sent: flow.sent,
            received: flow.received,
            lasted: self.now - flow.began,
            why,
        }));
    }

    /// Says how many datagrams have passed since it last did.
    fn tell_traffic(&mut self) {
        if let Some((sent, received)) = self.tally.tell(self.now) {
            self.outputs.push_back(Output::Event(Event::Datagrams { sent, received }));
        }
    }
}
