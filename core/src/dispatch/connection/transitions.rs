//! From one state of a connection to the next.

use super::{Conn, State};
use crate::dispatch::Cx;
use crate::dispatch::association::{Association, AssociationStep};
use crate::dispatch::closing::Closing;
use crate::dispatch::config::Config;
use crate::dispatch::forward::{Forward, ForwardStep, Tunnel};
use crate::dispatch::handshake::HandshakeStep;
use crate::dispatch::meter::Meter;
use crate::dispatch::opening::{Opening, Reached, Winner};
use crate::dispatch::reply::ReplyFormat;
use crate::machine::event::{Event, Refusal};
use crate::machine::{Close, Fault, Report, UplinkId};
use crate::name::Destination;
use crate::service::{Connection, Relay, RelayState, Side};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

impl Conn {
    /// Ends it if it is one of these users'. True where it was.
    pub(in crate::dispatch) fn user_gone(&mut self, gone: &[&[u8]], cx: &mut Cx) -> bool {
        let theirs = |user: &Option<Box<[u8]>>| user.as_deref().is_some_and(|user| gone.contains(&user));
        let of_forward = matches!(&self.state, State::Forward(forward) if theirs(&forward.user));
        let ends = of_forward || theirs(&self.user);
        if ends {
            self.end(Close::Reset, cx);
        }
        ends
    }

    /// When the state that it is in has waited long enough.
    pub(super) fn state_deadline(&self, config: &Config) -> Option<Instant> {
        match &self.state {
            State::Handshake(handshake) => Some(handshake.until),
            State::Closing(closing) => Some(closing.until()),
            State::Opening(opening) => Some(opening.next_deadline(config)),
            State::Relay(relay) => relay.deadline(config.idle_timeout, config.linger),
            // A client that has ended its half may wait for its answer or may have left: there is
            // no way to know.
            State::Forward(forward) if forward.is_idle() || forward.has_client_ended() => {
                Some(forward.active + config.keep_alive_timeout)
            }
            State::Forward(forward) => {
                let longest = config.exchange_timeout;
                Some(forward.active + config.idle_timeout.map_or(longest, |idle| idle.min(longest)))
            }
            State::Association(association) => association.deadline(config),
            State::Gone => None,
        }
    }

    /// The uplink, where there is one, and the bytes that have moved to the target and from it.
    pub(super) fn moved(&self) -> Option<(Option<UplinkId>, (u64, u64))> {
        match &self.state {
            State::Relay(relay) => Some((relay.uplink, relay.totals())),
            State::Forward(forward) => Some((forward.uplink, forward.totals())),
            State::Handshake(_)
            | State::Opening(_)
            | State::Association(_)
            | State::Closing(_)
            | State::Gone => None,
        }
    }

    /// When the meter is to be read next.
    pub(super) fn meter_deadline(&self) -> Option<Instant> {
        self.moved().and_then(|_| self.meter.deadline())
    }

    /// Reads the meter.
    pub(super) fn tick(&mut self, cx: &mut Cx) {
        if let (Some((uplink, totals)), Some(to)) = (self.moved(), self.leads_to) {
            self.meter.tick(uplink, to, totals, cx);
        }
    }

    /// What leads to the target is no more.
    pub(super) fn target_gone(&mut self, fault: Fault, cx: &mut Cx) {
        match &mut self.state {
            State::Relay(_) => self.finish(Close::Reset, Some(fault), cx),
            State::Forward(forward) if forward.target().is_some() => {
                let next = forward.target_failed(fault, cx);
                self.after_forward(next, cx);
            }
            State::Handshake(_)
            | State::Opening(_)
            | State::Forward(_)
            | State::Association(_)
            | State::Closing(_)
            | State::Gone => {}
        }
    }

    pub(super) fn after_handshake(&mut self, step: HandshakeStep, cx: &mut Cx) {
        match step {
            HandshakeStep::More => cx.mark_dirty(self.client),
            HandshakeStep::Associate { expected, unsent } => self.associate(expected, unsent, cx),
            HandshakeStep::Answer { reply } => self.close_with(reply, cx),
            HandshakeStep::Refuse { reply, why: why @ Refusal::BadCredentials } => {
                self.refused(why, cx);
                self.close_late_with(reply, cx);
            }
            HandshakeStep::Refuse { reply, why } => {
                self.refused(why, cx);
                self.close_with(reply, cx);
            }
            HandshakeStep::Open { format, destination, early, unsent } => {
                self.open(format, destination, early, unsent, cx)
            }
        }
    }

    pub(super) fn open(
        &mut self,
        format: ReplyFormat,
        destination: Destination,
        early: Vec<u8>,
        unsent: Vec<u8>,
        cx: &mut Cx,
    ) {
        if cx.config.request_events {
            let (conn, client) = (self.id, self.peer);
            cx.event(Event::Requested { conn, client, destination: destination.clone() });
        }
        let mut opening = Box::new(Opening::new(format, destination.port, early, unsent, self.peer.ip(), cx));
        let opened = opening.start(self.id, &destination, cx);
        self.state = State::Opening(opening);
        cx.mark_dirty(self.client);
        self.after_opening(opened, cx);
    }

    /// The client has asked for UDP.
    fn associate(&mut self, expected: Option<SocketAddr>, unsent: Vec<u8>, cx: &mut Cx) {
        let State::Handshake(handshake) = &self.state else { return };
        let ends = [self.peer, handshake.local];
        let limit = cx.config.max_associations;
        if cx.associations >= limit {
            return self.refuse_socks5(Refusal::AssociationLimit { limit }, unsent, cx);
        }
        let association = Association::new((self.id, self.client), ends, expected, unsent, cx);
        self.state = State::Association(Box::new(association));
        cx.mark_dirty(self.client);
    }

    /// How the association goes on.
    pub(super) fn after_association(&mut self, next: AssociationStep, cx: &mut Cx) {
        match next {
            AssociationStep::Open => {}
            AssociationStep::Idle => self.end(Close::Graceful, cx),
            AssociationStep::Refused(why) => {
                let State::Association(association) = core::mem::replace(&mut self.state, State::Gone) else {
                    return;
                };
                let mut association = *association;
                let unsent = association.take_unsent();
                association.finish(cx);
                self.refuse_socks5(why, unsent, cx);
            }
        }
    }

    fn refuse_socks5(&mut self, why: Refusal, mut reply: Vec<u8>, cx: &mut Cx) {
        ReplyFormat::Socks5.refused(&why, &mut reply);
        self.refused(why, cx);
        self.close_with(reply, cx);
    }

    pub(super) fn after_opening(&mut self, opened: Result<(), Refusal>, cx: &mut Cx) {
        let Err(why) = opened else { return };
        let State::Opening(opening) = &mut self.state else { return };
        opening.give_up(cx);
        let mut reply = opening.take_unsent();
        opening.format.refused(&why, &mut reply);
        self.refused(why, cx);
        self.close_with(reply, cx);
    }

    /// What an answer of a proxy comes to.
    pub(super) fn reached(&mut self, reached: Result<Reached, Refusal>, cx: &mut Cx) {
        match reached {
            Ok(Reached::Target(winner)) => self.won(winner, cx),
            Ok(Reached::Proxy | Reached::Unwanted) => {}
            Err(why) => self.after_opening(Err(why), cx),
        }
    }

    /// A proxy has ended its connection, or it has failed, before an answer.
    pub(super) fn proxy_hung_up(&mut self, cx: &mut Cx) {
        if let (State::Opening(opening), Some(stream)) = (&mut self.state, cx.stream) {
            let reached = opening.hung_up(stream, self.id, cx);
            self.reached(reached, cx);
        }
    }

    /// An attempt has reached the target: from here on it is the target side.
    pub(super) fn won(&mut self, winner: Winner, cx: &mut Cx) {
        let State::Opening(opening) = &mut self.state else { return };
        let Winner { stream, uplink, local, heard, to } = winner;
        self.leaves_from = uplink.map(|_| local.ip().to_canonical());
        self.leads_to = Some(to);
        self.meter = Meter::new(cx.now);
        // What the client sent early is on its way, and a request that is forwarded.
        if !opening.early.is_empty() || matches!(opening.format, ReplyFormat::Forward(_)) {
            self.meter.moved(cx.now, Side::Client);
        }
        let mut reply = opening.take_unsent();
        opening.format.granted(local, &mut reply);
        reply.extend_from_slice(&heard);
        let early = core::mem::take(&mut opening.early);
        let client_ended = opening.client_ended;
        match core::mem::replace(&mut opening.format, ReplyFormat::Raw) {
            ReplyFormat::Forward(request) => {
                let (forward, next) = Forward::new(self.client, stream, uplink, *request, early, cx);
                self.state = State::Forward(Box::new(forward));
                self.after_forward(next, cx);
            }
            ReplyFormat::Socks5 | ReplyFormat::Socks4 | ReplyFormat::Connect | ReplyFormat::Raw => {
                let totals = (early.len() as u64, heard.len() as u64);
                let relay = Relay::new(self.client, stream, uplink, &reply, &early, cx).with_totals(totals);
                self.state = State::Relay(relay);
            }
        }
        // What is wrong with its request it is told first.
        if client_ended && !matches!(self.state, State::Closing(_)) {
            self.read_closed(Side::Client, cx);
        }
    }

    pub(super) fn relay_changed(&mut self, state: RelayState, cx: &mut Cx) {
        match state {
            RelayState::Open => {}
            RelayState::Done => self.end(Close::Graceful, cx),
            RelayState::Broken(fault) => self.finish(Close::Reset, Some(fault), cx),
        }
    }

    pub(super) fn after_forward(&mut self, next: ForwardStep, cx: &mut Cx) {
        match next {
            ForwardStep::Open => {}
            ForwardStep::Reopen { format, destination, early, client_ended } => {
                self.leave_forward(None, cx);
                self.open(format, destination, early, Vec::new(), cx);
                if let State::Opening(opening) = &mut self.state {
                    opening.client_ended = client_ended;
                }
            }
            ForwardStep::Refuse { reply, why } => {
                if let Some(why) = why {
                    self.refused(why, cx);
                }
                self.leave_forward(None, cx);
                match why {
                    Some(Refusal::BadCredentials) => self.close_late_with(reply, cx),
                    _ => self.close_with(reply, cx),
                }
            }
            ForwardStep::Tunnel(tunnel) => self.tunnel(tunnel, cx),
            ForwardStep::Break(fault) => self.finish(Close::Reset, Some(fault), cx),
            ForwardStep::Cut { rest, fault } => self.cut(rest, fault, cx),
            ForwardStep::Spoiled { why, rest } => {
                self.refused(why, cx);
                match rest {
                    Some(rest) => self.cut(rest, Fault::Malformed, cx),
                    None => self.finish(Close::Reset, Some(Fault::Malformed), cx),
                }
            }
        }
    }

    /// Ends an exchange with what there is of it.
    fn cut(&mut self, rest: Vec<u8>, fault: Fault, cx: &mut Cx) {
        self.leave_forward(Some(fault), cx);
        self.close_with(rest, cx);
    }

    /// The protocol of a forwarded connection has changed.
    pub(super) fn tunnel(&mut self, tunnel: Tunnel, cx: &mut Cx) {
        let State::Forward(mut forward) = core::mem::replace(&mut self.state, State::Gone) else { return };
        self.user = forward.user.take().or(self.user.take());
        let Tunnel { target, reply, early, totals, client_ended } = tunnel;
        let relay = Relay::new(self.client, target, forward.uplink, &reply, &early, cx).with_totals(totals);
        forward.release(cx);
        self.state = State::Relay(relay);
        if client_ended {
            self.read_closed(Side::Client, cx);
        }
    }

    /// Ends the connection to an origin and accounts for it.
    pub(super) fn leave_forward(&mut self, fault: Option<Fault>, cx: &mut Cx) {
        if !matches!(self.state, State::Forward(_)) {
            return;
        }
        let State::Forward(mut forward) = core::mem::replace(&mut self.state, State::Gone) else { return };
        self.user = forward.user.take().or(self.user.take());
        let (sent, received) = forward.totals();
        self.meter.end(forward.uplink, (sent, received), cx);
        if let Some(uplink) = forward.uplink {
            cx.report(Report::Ended { uplink });
        }
        let lasted = cx.now - self.since;
        cx.event(Event::Closed { conn: self.id, sent, received, lasted, fault });
        if let Some(target) = forward.target() {
            cx.close(target, if fault.is_some() { Close::Reset } else { Close::Graceful });
        }
        forward.release(cx);
    }

    pub(super) fn refused(&self, why: Refusal, cx: &mut Cx) {
        cx.event(Event::Refused { conn: self.id, client: self.peer, why });
    }

    pub(super) fn close_with(&mut self, reply: Vec<u8>, cx: &mut Cx) {
        self.state = State::Closing(Box::new(Closing::new(self.client, reply, cx)));
    }

    /// The same after a delay, because the client may be guessing passwords.
    pub(super) fn close_late_with(&mut self, reply: Vec<u8>, cx: &mut Cx) {
        self.state = State::Closing(Box::new(Closing::held(reply, cx)));
    }

    /// The system keeps too much for it. True: no byte has moved for so long, so it has ended.
    pub(super) fn ended_if_stalled(&mut self, stalled: Duration, cx: &mut Cx) -> bool {
        let active = match &self.state {
            State::Relay(relay) => relay.active,
            State::Forward(forward) => forward.active,
            // These have deadlines of their own.
            State::Handshake(_)
            | State::Opening(_)
            | State::Association(_)
            | State::Closing(_)
            | State::Gone => return false,
        };
        let is_stalled = cx.now - active >= stalled;
        if is_stalled {
            self.finish(Close::Reset, Some(Fault::NoMemory), cx);
        }
        is_stalled
    }

    pub(super) fn end(&mut self, how: Close, cx: &mut Cx) {
        self.finish(how, None, cx);
    }

    /// Closes all there is and accounts for it.
    pub(super) fn finish(&mut self, how: Close, fault: Option<Fault>, cx: &mut Cx) {
        self.leave_forward(fault, cx);
        match core::mem::replace(&mut self.state, State::Gone) {
            State::Relay(relay) => {
                self.meter.end(relay.uplink, relay.totals(), cx);
                relay.finish(self.id, self.since, how, fault, cx);
            }
            State::Opening(mut opening) => opening.give_up(cx),
            State::Association(association) => association.finish(cx),
            State::Handshake(_) | State::Closing(_) | State::Forward(_) | State::Gone => {}
        }
        cx.close(self.client, how);
    }

    /// The deadline of the state is over.
    pub(super) fn timed_out(&mut self, cx: &mut Cx) {
        match &mut self.state {
            State::Handshake(_) => {
                self.refused(Refusal::HandshakeTimeout, cx);
                self.end(Close::Graceful, cx);
            }
            State::Opening(opening) => {
                let opened = opening.timeout(self.id, cx);
                self.after_opening(opened, cx);
            }
            State::Relay(relay) => {
                let fault = relay.fault().unwrap_or(Fault::TimedOut);
                self.relay_changed(RelayState::Broken(fault), cx);
            }
            State::Forward(forward) if forward.is_idle() => self.end(Close::Graceful, cx),
            State::Forward(forward) => {
                let next = forward.timed_out(cx);
                self.after_forward(next, cx);
            }
            State::Association(association) => {
                let next = association.timeout(cx);
                self.after_association(next, cx);
            }
            State::Closing(closing) => {
                if !closing.speak(self.client, cx) {
                    self.end(Close::Graceful, cx);
                }
            }
            State::Gone => {}
        }
    }
}
