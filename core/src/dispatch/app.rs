//! The application: listeners, connections, and which input concerns whom.

use super::config::{Config, ConfigError};
use super::connection::Conn;
use super::cx::{Cx, Owner, Timer};
use super::relay::Side;
use crate::event::Event;
use crate::machine::{ConnId, Fault, Input, ListenerId, Machine, Output, Splice, StreamId, StreamMachine};
use crate::slab::Slab;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// How long accepting pauses when the system cannot give another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What has happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Times the limit of connections was reached.
    pub connection_limit: u64,
    /// Accepts that failed (no descriptors).
    pub accept_failures: u64,
    /// Reads that had to do with a small buffer.
    pub buffers_exhausted: u64,
    /// Connections open now.
    pub open: usize,
}

#[derive(Debug, Default)]
struct Listener {
    /// An accept was asked for.
    asked: Option<StreamId>,
    pause: Option<Instant>,
}

/// The dispatch machine of one worker.
#[derive(Debug)]
pub struct Dispatch {
    conns: Slab<Conn>,
    listeners: Vec<Listener>,
    draining: bool,
    finished: bool,
    full: bool,
    counters: Counters,
    cx: Cx,
}

impl Dispatch {
    /// A machine that asks for its first connections at once.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let listeners = config.listeners.iter().map(|_| Listener::default()).collect();
        let mut machine = Dispatch {
            conns: Slab::new(),
            listeners,
            draining: false,
            finished: false,
            full: false,
            counters: Counters::default(),
            cx: Cx::new(config),
        };
        machine.ask_all();
        Ok(machine)
    }

    /// What has happened since the start.
    pub fn counters(&self) -> Counters {
        let (open, buffers_exhausted) = (self.conns.len(), self.cx.buffers.exhausted);
        Counters { open, buffers_exhausted, ..self.counters }
    }

    /// How many relay buffers hold bytes now.
    pub fn buffers_taken(&self) -> usize {
        self.cx.buffers.taken()
    }

    fn ask_all(&mut self) {
        for index in 0..self.listeners.len() {
            self.ask(ListenerId(index as u16));
        }
    }

    /// Asks for the next connection, unless there is a reason to wait.
    fn ask(&mut self, listener: ListenerId) {
        let Some(entry) = self.listeners.get_mut(usize::from(listener.0)) else { return };
        if entry.asked.is_some() || entry.pause.is_some() || self.draining {
            return;
        }
        if self.conns.len() >= self.cx.config.max_connections {
            self.stop_asking();
            return;
        }
        let stream = self.cx.open(Owner::Listener(listener));
        entry.asked = Some(stream);
        self.cx.say(Output::Accept { listener, stream });
    }

    /// The limit of connections is reached: what is still asked for on other listeners is taken back.
    fn stop_asking(&mut self) {
        if !self.full {
            self.full = true;
            self.counters.connection_limit += 1;
            let limit = self.cx.config.max_connections;
            self.cx.event(Event::ConnectionLimit { limit });
        }
        for (index, entry) in self.listeners.iter_mut().enumerate() {
            if let Some(stream) = entry.asked.take() {
                self.cx.forget(stream);
                self.cx.say(Output::CancelAccept { listener: ListenerId(index as u16), stream });
            }
        }
    }

    fn accepted(&mut self, stream: StreamId, peer: core::net::SocketAddr) {
        let Some(Owner::Listener(listener)) = self.cx.owner(stream) else { return };
        self.counters.accepted += 1;
        self.listeners[usize::from(listener.0)].asked = None;
        let cx = &mut self.cx;
        let id = self.conns.insert_with(|id: ConnId| {
            cx.adopt(stream, Owner::Client(id));
            Conn::new(id, stream, peer, cx)
        });
        self.ask(listener);
        self.with(id, |conn, cx| conn.touch(cx));
    }

    fn accept_failed(&mut self, stream: StreamId, fault: Fault) {
        let Some(Owner::Listener(listener)) = self.cx.owner(stream) else { return };
        self.cx.forget(stream);
        self.counters.accept_failures += 1;
        let until = self.cx.now + ACCEPT_PAUSE;
        let entry = &mut self.listeners[usize::from(listener.0)];
        entry.asked = None;
        self.cx.timers.rearm(Timer::Listener(listener), &mut entry.pause, Some(until));
        self.cx.event(Event::AcceptPaused { listener, fault });
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
            self.cx.say(Output::Unlisten { listener });
        }
        for id in self.conns.keys() {
            self.with(id, Conn::drain);
        }
        self.finish_if_drained();
    }

    fn finish_if_drained(&mut self) {
        if self.draining && !self.finished && self.conns.len() == 0 {
            self.finished = true;
            self.cx.say(Output::Finished);
        }
    }

    /// Lets a connection take something in, and takes it out when it has gone.
    fn with(&mut self, id: ConnId, f: impl FnOnce(&mut Conn, &mut Cx)) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        f(conn, &mut self.cx);
        if !conn.is_gone() {
            return;
        }
        conn.disarm(&mut self.cx);
        self.conns.remove(id);
        if self.full {
            self.full = false;
            self.ask_all();
        }
        self.finish_if_drained();
    }

    fn side(&self, stream: StreamId) -> Option<(ConnId, Side)> {
        match self.cx.owner(stream)? {
            Owner::Client(id) => Some((id, Side::Client)),
            Owner::Target(id) => Some((id, Side::Target)),
            Owner::Listener(_) => None,
        }
    }

    fn on_stream(&mut self, stream: StreamId, f: impl FnOnce(&mut Conn, Side, &mut Cx)) {
        if let Some((id, side)) = self.side(stream) {
            self.with(id, |conn, cx| f(conn, side, cx));
        }
    }
}

impl Machine for Dispatch {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.cx.now = now;
        match input {
            Input::Accepted { stream, peer, local: _ } => self.accepted(stream, peer),
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
                    self.with(id, |conn, cx| conn.resolved(Ok(addresses), cx));
                }
            }
            Input::ResolveFailed { query, fault } => {
                if let Some(id) = self.cx.answered(query) {
                    self.with(id, |conn, cx| conn.resolved(Err(fault), cx));
                }
            }
            Input::Read { stream, len } => self.on_stream(stream, |conn, side, cx| conn.read(side, len, cx)),
            Input::ReadClosed { stream } => self.on_stream(stream, Conn::read_closed),
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
            Input::LocalAddresses { addresses } => self.cx.config.local_addresses = addresses.into(),
            Input::UplinkGone { uplink } => {
                for id in self.conns.keys() {
                    self.with(id, |conn, cx| conn.uplink_gone(uplink, cx));
                }
            }
            Input::Drain => self.drain(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.cx.now = now;
        while let Some(timer) = self.cx.timers.pop_due(now) {
            match timer {
                Timer::Listener(listener) => {
                    if let Some(entry) = self.listeners.get_mut(usize::from(listener.0)) {
                        entry.pause = None;
                    }
                    self.ask(listener);
                }
                Timer::Conn(id) => self.with(id, Conn::timeout),
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.cx.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.cx.timers.next()
    }
}

impl StreamMachine for Dispatch {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.cx.poll_dirty()
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        let wants = self
            .side(stream)
            .and_then(|(id, side)| self.conns.get(id).map(|conn| conn.wants(side)))
            .unwrap_or(0);
        if wants == 0 {
            return &mut [];
        }
        let scratch = self.cx.scratch();
        let len = wants.min(scratch.len());
        &mut scratch[..len]
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.side(stream)
            .and_then(|(id, side)| self.conns.get(id).map(|conn| conn.write_buf(side)))
            .unwrap_or(&[])
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        let (id, side) = self.side(from)?;
        self.conns.get(id)?.splice(side)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        self.on_stream(from, Conn::refuse_splice);
    }
}
