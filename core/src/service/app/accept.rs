//! Connections that are asked for, taken, turned away, and the room that is made for them.

use super::{ACCEPT_PAUSE, Entry, Service};
use crate::machine::event::Event;
use crate::machine::{Close, ConnId, Fault, ListenerId, Output, StreamId};
use crate::service::clients::whose;
use crate::service::cx::{Owner, Timer};
use crate::service::{Accepted, Connection};
use core::net::SocketAddr;

impl<C: Connection> Service<C> {
    pub(super) fn ask_all(&mut self) {
        for index in 0..self.listeners.len() {
            self.ask(ListenerId(index as u16));
        }
    }

    /// Asks for the next connection, unless there is a reason to wait.
    pub(super) fn ask(&mut self, listener: ListenerId) {
        let Some(entry) = self.listeners.get_mut(usize::from(listener.0)) else { return };
        if entry.asked.is_some() || entry.pause.is_some() || self.draining || self.short {
            return;
        }
        if self.conns.len().saturating_sub(self.own) >= self.cx.limits.max_connections {
            self.stop_asking();
            return;
        }
        let stream = self.cx.open(Owner::Listener(listener));
        entry.asked = Some(stream);
        self.cx.push_output(Output::Accept { listener, stream });
    }

    /// The limit of connections is reached: what is still asked for on other listeners is taken
    /// back.
    pub(super) fn stop_asking(&mut self) {
        if !self.full {
            self.full = true;
            self.counters.connection_limit += 1;
            let limit = self.cx.limits.max_connections;
            self.cx.event(Event::ConnectionLimit { limit });
        }
        self.take_back();
    }

    /// Takes back what is asked for: new clients wait in the backlog.
    pub(super) fn take_back(&mut self) {
        for (index, entry) in self.listeners.iter_mut().enumerate() {
            if let Some(stream) = entry.asked.take() {
                self.cx.forget(stream);
                self.cx.push_output(Output::CancelAccept { listener: ListenerId(index as u16), stream });
            }
        }
    }

    pub(super) fn accepted(&mut self, stream: StreamId, peer: SocketAddr, local: SocketAddr) {
        let Some(Owner::Listener(listener)) = self.cx.owner(stream) else { return };
        self.counters.accepted += 1;
        self.listeners[usize::from(listener.0)].asked = None;
        let client = whose(peer.ip());
        if let Some(limit) = self.cx.limits.max_client_connections
            && self.clients.count(client) >= limit
        {
            self.counters.client_limit += 1;
            self.cx.event(Event::ClientLimit { client: peer.ip(), limit });
            self.cx.close(stream, Close::Reset);
            return self.ask(listener);
        }
        self.clients.come(client);
        let cx = &mut self.cx;
        let id = self.conns.insert_with(|id: ConnId| {
            cx.set_owner(stream, Owner::Client(id));
            let accepted = Accepted { id, stream, listener, peer, local };
            Entry { conn: C::new(accepted, cx), armed: None, kept: 0, half_open: false }
        });
        // It may be refused and gone already: then there is room for the next.
        self.with(id, |_, _| ());
        self.crowd_out(id);
        self.ask(listener);
    }

    /// A connection in handshake has come. Where there are too many, the oldest is reset: a client
    /// that stalls cannot keep others out.
    fn crowd_out(&mut self, newest: ConnId) {
        if self.conn(newest).is_some_and(C::is_half_open) {
            self.line.push_back(newest);
        }
        let limit = self.cx.limits.max_half_open;
        while self.half_open > limit
            && let Some(oldest) = self.line.pop_front()
        {
            if self.conn(oldest).is_some_and(C::is_half_open) {
                self.with(oldest, |conn, cx| conn.crowd_out(limit, cx));
            }
        }
        // Those that are complete are taken out now and then.
        if self.line.len() > 64 + 2 * self.half_open {
            let conns = &self.conns;
            self.line.retain(|id| conns.get(*id).is_some_and(|entry| entry.half_open));
        }
    }

    pub(super) fn accept_failed(&mut self, stream: StreamId, fault: Fault) {
        let Some(Owner::Listener(listener)) = self.cx.owner(stream) else { return };
        self.cx.forget(stream);
        self.counters.accept_failures += 1;
        let until = self.cx.now + ACCEPT_PAUSE;
        let entry = &mut self.listeners[usize::from(listener.0)];
        entry.asked = None;
        self.cx.timers.rearm(Timer::Listener(listener), &mut entry.pause, Some(until));
        self.cx.event(Event::AcceptPaused { listener, fault });
    }
}
