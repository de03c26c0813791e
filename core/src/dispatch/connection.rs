//! One connection: its states, and what each does with an input. `transitions` leads from one state
//! to the next.

mod transitions;

use super::Cx;
use super::association::Association;
use super::closing::Closing;
use super::config::Config;
use super::forward::{Forward, ForwardStep};
use super::handshake::Handshake;
use super::meter::Meter;
use super::opening::{Opening, Reached};
use super::reply::ReplyFormat;
use crate::machine::event::{Event, Refusal};
use crate::machine::{Assignment, Close, ConnId, Fault, QueryId, Rx, SocketId, Splice, StreamId, UplinkId};
use crate::record::Reading;
use crate::service::{Accepted, Connection, Relay, Side};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Bytes read at a time while a client says what it wants: what is behind its request may have to
/// be kept.
const HANDSHAKE_READ: usize = 16 * 1024;

#[derive(Debug)]
enum State {
    Handshake(Box<Handshake>),
    Opening(Box<Opening>),
    Relay(Relay),
    Forward(Box<Forward>),
    Association(Box<Association>),
    Closing(Box<Closing>),
    Gone,
}

#[derive(Debug)]
pub(super) struct Conn {
    id: ConnId,
    client: StreamId,
    peer: SocketAddr,
    since: Instant,
    /// Whose it is, where users are asked for and it has said so.
    user: Option<Box<[u8]>>,
    /// Our own address on the connection to the target, where it leaves by an uplink.
    leaves_from: Option<IpAddr>,
    /// The target's.
    leads_to: Option<IpAddr>,
    meter: Meter,
    state: State,
}

impl Connection for Conn {
    type Config = Config;

    fn new(accepted: Accepted, cx: &mut Cx) -> Self {
        let Accepted { id, stream: client, peer, local, .. } = accepted;
        let mut conn = Conn {
            id,
            client,
            peer,
            since: cx.now,
            user: None,
            leaves_from: None,
            leads_to: None,
            meter: Meter::new(cx.now),
            state: State::Gone,
        };
        if cx.config.tunnel {
            let mut opening =
                Box::new(Opening::new(ReplyFormat::Raw, 0, Vec::new(), Vec::new(), peer.ip(), cx));
            let opened = opening.start_tunnel(id, cx);
            conn.state = State::Opening(opening);
            conn.after_opening(opened, cx);
        } else {
            let timeout = cx.config.handshake_timeout;
            conn.state = State::Handshake(Box::new(Handshake::new(local, cx.now + timeout)));
            cx.mark_dirty(client);
        }
        conn
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.peer.ip())
    }

    fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    fn is_half_open(&self) -> bool {
        matches!(self.state, State::Handshake(_))
    }

    fn crowd_out(&mut self, limit: usize, cx: &mut Cx) {
        self.refused(Refusal::CrowdedOut { limit }, cx);
        self.end(Close::Reset, cx);
    }

    fn relieve(&mut self, stalled: Duration, cx: &mut Cx) -> bool {
        self.ended_if_stalled(stalled, cx)
    }

    // ---- what the driver may do ----

    /// At most how many bytes to read from `side` now.
    fn wants(&self, side: Side) -> usize {
        let all = |wants: bool| if wants { usize::MAX } else { 0 };
        match (&self.state, side) {
            (State::Handshake(_), Side::Client) => HANDSHAKE_READ,
            (State::Opening(opening), Side::Client) => opening.wants(),
            (State::Relay(relay), side) => all(relay.wants_read(side)),
            (State::Forward(forward), side) => forward.wants(side),
            (State::Association(association), Side::Client) => association.wants(),
            (State::Closing(closing), Side::Client) => all(closing.wants_read()),
            (
                State::Handshake(_) | State::Opening(_) | State::Association(_) | State::Closing(_),
                Side::Target,
            )
            | (State::Gone, _) => 0,
        }
    }

    fn reading(&self, side: Side, stream: StreamId) -> Reading {
        match (&self.state, side) {
            // A raw tunnel has no head to parse: the target gets all bytes.
            (State::Opening(opening), Side::Client) if opening.is_raw() => Reading::Nothing,
            (State::Handshake(_) | State::Opening(_) | State::Forward(_), Side::Client) => Reading::Client,
            (State::Opening(opening), Side::Target) => opening.reading_of(stream),
            (State::Forward(forward), Side::Target) => forward.reading(),
            (State::Handshake(_), Side::Target)
            | (State::Relay(_) | State::Association(_) | State::Closing(_) | State::Gone, _) => {
                Reading::Nothing
            }
        }
    }

    fn reads_of(&self, socket: SocketId, datagram: &[u8]) -> usize {
        match &self.state {
            State::Association(association) => association.reads_of(socket, datagram),
            State::Handshake(_)
            | State::Opening(_)
            | State::Relay(_)
            | State::Forward(_)
            | State::Closing(_)
            | State::Gone => 0,
        }
    }

    fn uplink(&self) -> Option<UplinkId> {
        self.moved().and_then(|(uplink, _)| uplink)
    }

    fn keeps(&self, side: Side) -> Option<usize> {
        match (&self.state, side) {
            (State::Handshake(handshake), Side::Client) => Some(handshake.kept()),
            (State::Opening(opening), Side::Client) => Some(opening.early.len()),
            (State::Forward(forward), side) => forward.keeps(side),
            (State::Relay(_) | State::Association(_) | State::Closing(_) | State::Gone, _)
            | (State::Handshake(_) | State::Opening(_), Side::Target) => None,
        }
    }

    fn write_buf(&self, side: Side) -> &[u8] {
        match (&self.state, side) {
            (State::Handshake(handshake), Side::Client) => handshake.write_buf(),
            (State::Opening(opening), Side::Client) => opening.write_buf(),
            (State::Relay(relay), side) => relay.write_buf(side),
            (State::Forward(forward), side) => forward.write_buf(side),
            (State::Association(association), Side::Client) => association.write_buf(),
            (State::Closing(closing), Side::Client) => closing.write_buf(),
            (
                State::Handshake(_) | State::Opening(_) | State::Association(_) | State::Closing(_),
                Side::Target,
            )
            | (State::Gone, _) => &[],
        }
    }

    /// While it is opened, several streams are its target side.
    fn wants_of(&self, side: Side, stream: StreamId) -> usize {
        match (&self.state, side) {
            (State::Opening(opening), Side::Target) => opening.wants_of(stream),
            _ => self.wants(side),
        }
    }

    fn write_buf_of(&self, side: Side, stream: StreamId) -> &[u8] {
        match (&self.state, side) {
            (State::Opening(opening), Side::Target) => opening.write_buf_of(stream),
            _ => self.write_buf(side),
        }
    }

    fn splice(&self, side: Side) -> Option<Splice> {
        match &self.state {
            State::Relay(relay) => relay.splice(side),
            _ => None,
        }
    }

    /// What a client sends ahead of its turn, or before its target is reached, is worth nothing
    /// once it has gone.
    fn hears_faults(&self, side: Side) -> bool {
        match (&self.state, side) {
            (State::Opening(_), Side::Client) => true,
            (State::Forward(forward), Side::Client) => forward.awaits_response(),
            _ => false,
        }
    }

    fn refuse_splice(&mut self, side: Side, cx: &mut Cx) {
        if let State::Relay(relay) = &mut self.state {
            relay.refuse_splice(side, cx);
        }
    }

    // ---- what happened to its streams ----

    /// `len` bytes were read from `side` into the scratch buffer.
    fn read(&mut self, side: Side, len: usize, cx: &mut Cx) {
        if let Some(uplink) = self.uplink() {
            cx.spend(uplink, side, len as u64);
        }
        match (&mut self.state, side) {
            (State::Handshake(handshake), Side::Client) => {
                let step = handshake.read(&cx.config, cx.buffers.peek(len));
                self.user = handshake.take_user().or(self.user.take());
                if handshake.has_ignored_login() {
                    let client = self.peer;
                    cx.event(Event::LoginIgnored { client });
                }
                self.after_handshake(step, cx);
            }
            (State::Opening(opening), Side::Client) => opening.read(cx.buffers.peek(len)),
            (State::Opening(opening), Side::Target) => {
                let Some(stream) = cx.stream else { return };
                let reached = opening.heard(stream, len, self.id, cx);
                self.reached(reached, cx);
            }
            (State::Relay(relay), side) => {
                self.meter.moved(cx.now, side);
                relay.read(side, len, cx);
            }
            (State::Forward(forward), Side::Client) => {
                self.meter.moved(cx.now, side);
                let next = forward.client_read(len, cx);
                self.after_forward(next, cx);
            }
            (State::Forward(forward), Side::Target) => {
                self.meter.moved(cx.now, side);
                let next = forward.target_read(len, cx);
                self.after_forward(next, cx);
            }
            // Read and dropped. An association's client has nothing more to say here.
            (State::Closing(closing), Side::Client) => closing.read(cx),
            (State::Association(_), Side::Client) => {}
            (State::Handshake(_) | State::Association(_) | State::Closing(_), Side::Target)
            | (State::Gone, _) => {}
        }
    }

    fn read_closed(&mut self, side: Side, cx: &mut Cx) {
        match (&mut self.state, side) {
            // Do not log a client that sent nothing (a port scan); log one that left mid-handshake.
            (State::Handshake(handshake), Side::Client) => {
                if !handshake.is_silent() {
                    self.refused(Refusal::Left, cx);
                }
                self.end(Close::Graceful, cx);
            }
            // It has said all it will say, and waits for the answer.
            (State::Opening(opening), Side::Client) => opening.client_ended = true,
            (State::Opening(_), Side::Target) => self.proxy_hung_up(cx),
            (State::Relay(relay), side) => {
                let state = relay.ended(side, cx);
                self.relay_changed(state, cx);
            }
            (State::Forward(forward), Side::Client) => {
                let next = forward.client_ended();
                self.after_forward(next, cx);
            }
            (State::Forward(forward), Side::Target) => {
                let next = forward.target_ended(cx);
                self.after_forward(next, cx);
            }
            // RFC 1928 section 7: an association ends with the connection that it was asked for by.
            (State::Association(_) | State::Closing(_), Side::Client) => self.end(Close::Graceful, cx),
            (State::Handshake(_) | State::Association(_) | State::Closing(_), Side::Target)
            | (State::Gone, _) => {}
        }
    }

    fn written(&mut self, side: Side, len: usize, cx: &mut Cx) {
        match (&mut self.state, side) {
            (State::Handshake(handshake), Side::Client) => handshake.written(len),
            (State::Opening(opening), Side::Client) => opening.written(len),
            (State::Opening(opening), Side::Target) => {
                if let Some(stream) = cx.stream {
                    opening.told(stream, len);
                }
            }
            (State::Relay(relay), side) => {
                let state = relay.written(side, len, cx);
                self.relay_changed(state, cx);
            }
            (State::Forward(forward), side) => {
                let next = forward.written(side, len, cx);
                self.after_forward(next, cx);
            }
            (State::Association(association), Side::Client) => association.written(len),
            (State::Closing(closing), Side::Client) => {
                closing.written(self.client, len, cx);
                closing.read(cx);
            }
            (State::Handshake(_) | State::Association(_) | State::Closing(_), Side::Target)
            | (State::Gone, _) => {}
        }
    }

    fn spliced(&mut self, side: Side, taken: usize, given: usize, eof: bool, cx: &mut Cx) {
        if let State::Relay(relay) = &mut self.state {
            if given > 0 {
                self.meter.moved(cx.now, side);
            }
            let state = relay.spliced(side, taken, given, eof, cx);
            self.relay_changed(state, cx);
        }
    }

    /// The open stream of `side` failed.
    fn failed(&mut self, side: Side, fault: Fault, cx: &mut Cx) {
        match (&mut self.state, side) {
            (State::Handshake(_) | State::Opening(_), Side::Client) => {
                self.refused(Refusal::ClientFailed(fault), cx);
                self.end(Close::Reset, cx);
            }
            (State::Opening(_), Side::Target) => self.proxy_hung_up(cx),
            (State::Relay(relay), side) => {
                let state = relay.failed(side, fault, cx);
                self.relay_changed(state, cx);
            }
            (State::Forward(_), Side::Client) => self.after_forward(ForwardStep::Break(fault), cx),
            (State::Forward(forward), Side::Target) => {
                let next = forward.target_failed(fault, cx);
                self.after_forward(next, cx);
            }
            (State::Association(_) | State::Closing(_), Side::Client) => self.end(Close::Reset, cx),
            (State::Handshake(_) | State::Association(_) | State::Closing(_), Side::Target)
            | (State::Gone, _) => {}
        }
    }

    /// Nothing can be written to `side` any more; what it sent before may still be read.
    fn write_failed(&mut self, side: Side, fault: Fault, cx: &mut Cx) {
        match (&mut self.state, side) {
            (State::Relay(relay), side) => {
                let state = relay.write_failed(side, fault, cx);
                self.relay_changed(state, cx);
            }
            (State::Forward(forward), Side::Target) => forward.target_write_failed(fault, cx),
            (
                State::Handshake(_)
                | State::Opening(_)
                | State::Forward(_)
                | State::Association(_)
                | State::Closing(_)
                | State::Gone,
                _,
            ) => {
                self.failed(side, fault, cx);
            }
        }
    }

    // ---- what became of its questions ----

    fn assigned(&mut self, assignment: Option<Assignment>, cx: &mut Cx) {
        match &mut self.state {
            State::Opening(opening) => {
                let opened = opening.assigned(self.id, assignment, cx);
                self.after_opening(opened, cx);
            }
            State::Association(association) => association.assigned(assignment, cx),
            State::Handshake(_) | State::Relay(_) | State::Forward(_) | State::Closing(_) | State::Gone => {}
        }
    }

    fn resolved(&mut self, query: QueryId, answer: Result<&[IpAddr], Fault>, cx: &mut Cx) {
        if let State::Association(association) = &mut self.state {
            association.resolved(query, answer, cx);
        }
        if let State::Opening(opening) = &mut self.state {
            let opened = opening.looked_up(self.id, query, answer, cx);
            self.after_opening(opened, cx);
        }
    }

    fn connect_failed(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx) {
        if let State::Opening(opening) = &mut self.state {
            let opened = opening.attempt_failed(self.id, stream, fault, cx);
            self.after_opening(opened, cx);
        }
    }

    /// An attempt succeeded.
    fn connected(&mut self, stream: StreamId, local: SocketAddr, cx: &mut Cx) {
        let State::Opening(opening) = &mut self.state else {
            cx.close(stream, Close::Reset);
            return;
        };
        match opening.attempt_connected(stream, local, self.id, cx) {
            Reached::Unwanted => cx.close(stream, Close::Reset),
            Reached::Proxy => {}
            Reached::Target(winner) => self.won(winner, cx),
        }
    }

    /// The interface of an uplink has vanished.
    fn uplink_gone(&mut self, uplink: UplinkId, cx: &mut Cx) {
        match &mut self.state {
            State::Relay(relay) if relay.uplink == Some(uplink) => self.target_gone(Fault::NoDevice, cx),
            State::Forward(forward) if forward.uplink == Some(uplink) => {
                self.target_gone(Fault::NoDevice, cx);
            }
            State::Opening(_) => {
                while let State::Opening(opening) = &mut self.state
                    && let Some(stream) = opening.attempt_through(uplink)
                {
                    cx.close(stream, Close::Reset);
                    let opened = opening.attempt_failed(self.id, stream, Fault::NoDevice, cx);
                    self.after_opening(opened, cx);
                }
            }
            State::Association(association) => association.uplink_gone(uplink, cx),
            State::Handshake(_) | State::Relay(_) | State::Forward(_) | State::Closing(_) | State::Gone => {}
        }
    }

    /// This host has lost addresses. (An attempt that is under way gets company by itself.)
    fn addresses_gone(&mut self, gone: &[IpAddr], cx: &mut Cx) {
        if let State::Association(association) = &mut self.state {
            association.addresses_gone(gone, cx);
        }
        if self.leaves_from.is_some_and(|from| gone.contains(&from)) {
            self.target_gone(Fault::AddressNotAvailable, cx);
        }
    }

    // ---- an association's datagrams ----

    fn socket_opened(&mut self, socket: SocketId, result: Result<SocketAddr, Fault>, cx: &mut Cx) {
        if let State::Association(association) = &mut self.state {
            let next = association.socket_opened(socket, result, cx);
            self.after_association(next, cx);
        }
    }

    fn received(&mut self, socket: SocketId, rx: &[Rx<'_>], cx: &mut Cx) {
        if let State::Association(association) = &mut self.state {
            association.received(socket, rx, cx);
        }
    }

    fn send_failed(&mut self, socket: SocketId, fault: Fault, cx: &mut Cx) {
        if let State::Association(association) = &mut self.state {
            association.send_failed(socket, fault, cx);
        }
    }

    // ---- time ----

    fn timeout(&mut self, cx: &mut Cx) {
        if self.meter_deadline().is_some_and(|at| at <= cx.now) {
            self.tick(cx);
            if self.state_deadline(&cx.config).is_none_or(|at| at > cx.now) {
                return;
            }
        }
        self.timed_out(cx);
    }

    fn deadline(&self, config: &Config) -> Option<Instant> {
        let meter = self.meter_deadline();
        self.state_deadline(config).map_or(meter, |at| Some(meter.map_or(at, |meter| at.min(meter))))
    }

    /// No new work: an HTTP connection ends after its response.
    fn drain(&mut self, cx: &mut Cx) {
        match &mut self.state {
            State::Forward(forward) if forward.is_idle() => self.end(Close::Graceful, cx),
            State::Forward(forward) => forward.drain(),
            State::Association(association) => association.drain(),
            State::Handshake(_) | State::Opening(_) | State::Relay(_) | State::Closing(_) | State::Gone => {}
        }
    }
}
