//! [`Service`]: listeners and connections, and which connection an input belongs to. `accept` asks
//! for connections, takes them and turns them away; `streams` says what may be moved of each;
//! `memory` ends some where the system keeps too much for them.

mod accept;
mod memory;
mod streams;

use super::clients::{Clients, whose};
use super::connection::Connection;
use super::counters::Counters;
use super::cx::{Cx, Owner, Timer};
use super::limits::{ConfigError, Limits};
use super::mail::Wanted;
use super::rates::Pair;
use super::relay::Side;
use crate::machine::{ConnId, Input, ListenerId, Output, QueryId, Rx, SocketId, StreamId, Transmit};
use crate::name::Name;
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

/// How long accepting pauses when the system cannot give another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Listener {
    /// An accept was asked for.
    asked: Option<StreamId>,
    pause: Option<Instant>,
}

/// A connection and the deadline that is set for it.
#[derive(Debug)]
struct Entry<C> {
    conn: C,
    armed: Option<Instant>,
    /// Bytes that it keeps, as accounted for.
    kept: usize,
    /// Its handshake is not complete.
    half_open: bool,
}

/// A service: listeners, and a connection for each client.
#[derive(Debug)]
pub(crate) struct Service<C: Connection> {
    conns: Slab<Entry<C>>,
    /// How many of them no client has asked for. They end when the service drains.
    own: usize,
    listeners: Vec<Listener>,
    draining: bool,
    finished: bool,
    full: bool,
    /// The system keeps too much for its streams: no connection is taken.
    short: bool,
    /// How many handshakes are not complete, and in which order their clients came; some of the
    /// line are complete.
    half_open: usize,
    line: VecDeque<ConnId>,
    /// Connections of each client.
    clients: Clients,
    counters: Counters,
    cx: Cx<C::Config>,
}

impl<C: Connection> Service<C> {
    /// A service that asks for its first connections at once.
    ///
    /// # Errors
    /// [`ConfigError`] says which limit is wrong.
    pub(crate) fn new(config: C::Config, limits: Limits) -> Result<Self, ConfigError> {
        limits.check()?;
        let mut service = Service {
            conns: Slab::new(),
            own: 0,
            listeners: (0..limits.listeners).map(|_| Listener::default()).collect(),
            draining: false,
            finished: false,
            full: false,
            short: false,
            half_open: 0,
            line: VecDeque::new(),
            clients: Clients::default(),
            counters: Counters::default(),
            cx: Cx::new(config, limits),
        };
        service.ask_all();
        Ok(service)
    }

    /// What has happened since the start.
    pub(crate) fn counters(&self) -> Counters {
        let (open, buffers_exhausted) =
            (self.conns.len().saturating_sub(self.own), self.cx.buffers.exhausted);
        Counters {
            open,
            buffers_exhausted,
            lookup_limit: self.cx.lookups_limit,
            kept_limit: self.cx.kept_limit,
            ..self.counters
        }
    }

    /// How many relay buffers hold bytes now.
    pub(crate) fn buffers_taken(&self) -> usize {
        self.cx.buffers.taken()
    }

    /// A connection of the service's own: no client has asked for it. It begins with the first
    /// timeout.
    #[cfg_attr(not(feature = "dispatch"), expect(dead_code, reason = "only dispatch probes"))]
    pub(crate) fn spawn(&mut self, make: impl FnOnce(ConnId, &mut Cx<C::Config>) -> C) -> ConnId {
        let cx = &mut self.cx;
        let id = self.conns.insert_with(|id: ConnId| Entry {
            conn: make(id, cx),
            armed: None,
            kept: 0,
            half_open: false,
        });
        self.own += 1;
        self.with(id, |_, _| ());
        id
    }

    fn drain(&mut self) {
        if self.draining {
            return;
        }
        self.draining = true;
        self.cx.draining = true;
        for index in 0..self.listeners.len() {
            let listener = ListenerId(index as u16);
            let entry = &mut self.listeners[index];
            self.cx.timers.rearm(Timer::Listener(listener), &mut entry.pause, None);
            if let Some(stream) = entry.asked.take() {
                self.cx.forget(stream);
            }
            self.cx.push_output(Output::Unlisten { listener });
        }
        for id in self.conns.keys() {
            self.with(id, C::drain);
        }
        self.finish_if_drained();
    }

    fn finish_if_drained(&mut self) {
        if !self.draining || self.finished {
            return;
        }
        if self.conns.len() == 0 {
            self.finished = true;
            self.cx.push_output(Output::Finished);
        } else if self.conns.len() == self.own {
            for id in self.conns.keys() {
                self.with(id, C::retire);
            }
        }
    }

    /// Lets a connection take something in, and takes it out when it has gone.
    fn with(&mut self, id: ConnId, f: impl FnOnce(&mut C, &mut Cx<C::Config>)) {
        let Some(entry) = self.conns.get_mut(id) else { return };
        f(&mut entry.conn, &mut self.cx);
        self.look_after(id);
    }

    /// A connection has taken something in. Not made part of each caller: it would be there twenty
    /// times.
    #[inline(never)]
    fn look_after(&mut self, id: ConnId) {
        let Some(entry) = self.conns.get_mut(id) else { return };
        let kept = [Side::Client, Side::Target].into_iter().filter_map(|side| entry.conn.keeps(side)).sum();
        self.cx.keep(entry.kept, kept);
        entry.kept = kept;
        let half_open = entry.conn.is_half_open();
        let before = core::mem::replace(&mut entry.half_open, half_open);
        self.half_open = self.half_open + usize::from(half_open) - usize::from(before);
        if !entry.conn.is_gone() {
            let wanted = entry.conn.deadline(&self.cx.config);
            // A deadline that has moved on (idle) is left to fire and looked at then: moving it
            // with each byte would cost more than a wake.
            if entry.armed.zip(wanted).is_none_or(|(armed, wanted)| wanted < armed) {
                self.cx.timers.rearm(Timer::Conn(id), &mut entry.armed, wanted);
            }
            return;
        }
        self.cx.timers.rearm(Timer::Conn(id), &mut entry.armed, None);
        match entry.conn.client() {
            Some(client) => self.clients.go(whose(client)),
            None => self.own = self.own.saturating_sub(1),
        }
        self.conns.remove(id);
        if self.full {
            self.full = false;
            self.ask_all();
        }
        self.finish_if_drained();
    }

    fn timeout(&mut self, id: ConnId) {
        let Some(entry) = self.conns.get_mut(id) else { return };
        entry.armed = None;
        let due = entry.conn.deadline(&self.cx.config).is_some_and(|at| at <= self.cx.now);
        self.with(id, |conn, cx| {
            if due {
                conn.timeout(cx);
            }
        });
    }

    fn conn(&self, id: ConnId) -> Option<&C> {
        self.conns.get(id).map(|entry| &entry.conn)
    }

    /// Asks for the addresses of a name that no connection waits for.
    #[cfg_attr(not(feature = "unwrap"), expect(dead_code, reason = "flows have no connection"))]
    pub(crate) fn look_up(&mut self, now: Instant, client: IpAddr, name: &Name) -> QueryId {
        self.cx.now = now;
        self.cx.ask(None, client, Wanted { name: name.clone(), by: None })
    }

    /// What its connections are configured with.
    pub(crate) fn config(&self) -> &C::Config {
        &self.cx.config
    }

    /// The oldest letter of its connections.
    #[cfg(feature = "names")]
    pub(crate) fn take_mail(&mut self) -> Option<super::mail::Mail> {
        self.cx.take_mail()
    }

    /// Lets this connection take something in.
    #[cfg(feature = "names")]
    pub(crate) fn tell(&mut self, now: Instant, id: ConnId, f: impl FnOnce(&mut C, &mut Cx<C::Config>)) {
        self.cx.now = now;
        self.with(id, f);
    }

    /// It takes no new work.
    #[cfg_attr(not(feature = "dispatch"), expect(dead_code, reason = "only dispatch probes"))]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Other limits from now on; connections beyond them live on.
    ///
    /// # Errors
    /// [`ConfigError`] says which limit is wrong: then all is as it was.
    pub(crate) fn set_limits(&mut self, now: Instant, limits: Limits) -> Result<(), ConfigError> {
        limits.check()?;
        self.cx.now = now;
        self.cx.set_limits(limits);
        Ok(())
    }

    /// How fast each uplink may carry, in the pool's order.
    #[cfg_attr(not(feature = "dispatch"), expect(dead_code, reason = "only dispatch has uplinks"))]
    pub(crate) fn set_rates(&mut self, now: Instant, rates: &[Pair]) {
        self.cx.now = now;
        self.cx.set_rates(rates);
    }

    /// Has `f` look at each connection, after which its deadline is set anew; then asks for
    /// connections that the limits may have room for now.
    pub(crate) fn revise(&mut self, now: Instant, mut f: impl FnMut(&mut C, &mut Cx<C::Config>)) {
        self.cx.now = now;
        for id in self.conns.keys() {
            self.with(id, &mut f);
        }
        self.full = false;
        self.ask_all();
    }

    /// What a service's own machine may change from outside.
    pub(crate) fn config_mut(&mut self) -> &mut C::Config {
        &mut self.cx.config
    }

    fn side(&self, stream: StreamId) -> Option<(ConnId, Side)> {
        match self.cx.owner(stream)? {
            Owner::Client(id) => Some((id, Side::Client)),
            Owner::Target(id) => Some((id, Side::Target)),
            Owner::Listener(_) => None,
        }
    }

    fn on_stream(&mut self, stream: StreamId, f: impl FnOnce(&mut C, Side, &mut Cx<C::Config>)) {
        if let Some((id, side)) = self.side(stream) {
            self.cx.stream = Some(stream);
            self.with(id, |conn, cx| f(conn, side, cx));
        }
    }
}

/// The datagram sockets of its connections.
impl<C: Connection> Service<C> {
    fn on_socket(&mut self, socket: SocketId, f: impl FnOnce(&mut C, &mut Cx<C::Config>)) {
        if let Some(id) = self.cx.sockets.owner(socket).copied() {
            self.with(id, f);
        }
    }

    pub(crate) fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &[Rx<'_>]) {
        self.cx.now = now;
        self.on_socket(socket, |conn, cx| conn.received(socket, rx, cx));
    }

    pub(crate) fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.cx.sockets.poll_dirty()
    }

    pub(crate) fn poll_transmit(&mut self, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.cx.sockets.poll_transmit(socket, buf)
    }
}

/// A machine's life, for the [`Machine`](crate::machine::Machine) that is a service.
impl<C: Connection> Service<C> {
    pub(crate) fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.cx.now = now;
        match input {
            Input::Accepted { stream, peer, local } => self.accepted(stream, peer, local),
            Input::AcceptFailed { stream, fault } => self.accept_failed(stream, fault),
            Input::Connected { stream, local } => {
                self.on_stream(stream, |conn, _, cx| conn.connected(stream, local, cx));
            }
            Input::ConnectFailed { stream, fault } => {
                let owner = self.side(stream);
                self.cx.forget(stream);
                if let Some((id, _)) = owner {
                    self.with(id, |conn, cx| conn.connect_failed(stream, fault, cx));
                }
            }
            Input::Assigned { conn, assignment } => self.with(conn, |conn, cx| conn.assigned(assignment, cx)),
            Input::Resolved { query, addresses } => {
                if let Some(id) = self.cx.answered(query) {
                    self.with(id, |conn, cx| conn.resolved(query, Ok(addresses), cx));
                }
            }
            Input::ResolveFailed { query, fault } => {
                if let Some(id) = self.cx.answered(query) {
                    self.with(id, |conn, cx| conn.resolved(query, Err(fault), cx));
                }
            }
            Input::Read { stream, len } => self.on_stream(stream, |conn, side, cx| conn.read(side, len, cx)),
            Input::ReadClosed { stream } => self.on_stream(stream, C::read_closed),
            Input::Written { stream, len } => {
                self.on_stream(stream, |conn, side, cx| conn.written(side, len, cx))
            }
            Input::Spliced { from, to: _, taken, given, eof } => {
                self.on_stream(from, |conn, side, cx| conn.spliced(side, taken, given, eof, cx));
            }
            Input::Failed { stream, fault } => {
                self.on_stream(stream, |conn, side, cx| conn.failed(side, fault, cx));
            }
            Input::WriteFailed { stream, fault } => {
                self.on_stream(stream, |conn, side, cx| conn.write_failed(side, fault, cx));
            }
            Input::Opened { socket, local } => {
                self.cx.sockets.opened(socket);
                self.on_socket(socket, |conn, cx| conn.socket_opened(socket, Ok(local), cx));
            }
            Input::OpenFailed { socket, fault } => {
                if let Some(id) = self.cx.sockets.remove(socket) {
                    self.with(id, |conn, cx| conn.socket_opened(socket, Err(fault), cx));
                }
            }
            Input::SendFailed { socket, fault, id: _, sent: _ } => {
                self.on_socket(socket, |conn, cx| conn.send_failed(socket, fault, cx));
            }
            Input::SocketFailed { socket, fault } => {
                self.on_socket(socket, |conn, cx| conn.socket_failed(socket, fault, cx));
            }
            // What the machine has taken, and packets, of which a service has none.
            Input::LocalAddresses { .. }
            | Input::UplinkBack { .. }
            | Input::ConfigureFailed { .. }
            | Input::Entropy { .. } => {}
            Input::SocketMemory { used, limit, streams } => self.socket_memory(used, limit, streams),
            Input::UplinkGone { uplink } => {
                for id in self.conns.keys() {
                    self.with(id, |conn, cx| conn.uplink_gone(uplink, cx));
                }
            }
            Input::Drain => self.drain(),
        }
    }

    /// These were addresses of this host and are no more: what is open from them is dead, though no
    /// packet will tell.
    pub(crate) fn addresses_gone(&mut self, now: Instant, gone: &[IpAddr]) {
        self.cx.now = now;
        if gone.is_empty() {
            return;
        }
        for id in self.conns.keys() {
            self.with(id, |conn, cx| conn.addresses_gone(gone, cx));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.cx.now = now;
        while let Some(timer) = self.cx.timers.pop_due(now) {
            match timer {
                Timer::Listener(listener) => {
                    if let Some(entry) = self.listeners.get_mut(usize::from(listener.0)) {
                        entry.pause = None;
                    }
                    self.ask(listener);
                }
                Timer::Lookups => {
                    self.cx.lookups_at = None;
                    self.cx.begin_lookups();
                }
                Timer::Rates => {
                    self.cx.rates_at = None;
                    self.cx.wake_for_rates();
                }
                Timer::Conn(id) => self.timeout(id),
            }
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.cx.poll_output()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.cx.timers.next()
    }
}
