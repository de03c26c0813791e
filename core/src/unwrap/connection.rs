//! One connection: header, opening, relay, and every transition between them.

use super::Cx;
use super::admission::{self, Admission};
use super::config::{Config, PortConflict};
use super::meter::Meter;
use super::names;
use crate::machine::event::{Event, Refusal};
use crate::machine::{Close, ConnId, Fault, ListenerId, Output, QueryId, Splice, StreamId, Target};
use crate::name::Name;
use crate::record::Reading;
use crate::service::{Accepted, Connection, Relay, RelayState, Side};
use crate::time::{Duration, Instant};
use crate::wire::Unparsed;
use crate::wire::proxy::{self, Rules, Transport};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Bytes read at a time while the header is not whole: what is behind it has to be kept.
const HEADER_READ: usize = 16 * 1024;

#[derive(Debug)]
enum State {
    /// What came of the header so far.
    Header(Vec<u8>),
    Opening(Box<Opening>),
    Relay(Relay, Meter),
    Gone,
}

/// The server is being connected to.
#[derive(Debug)]
struct Opening {
    admitted: Admission,
    /// The attempt under way, or why it failed.
    stream: Result<StreamId, Fault>,
    lookup: Lookup,
    began: Instant,
    /// What came behind the header.
    early: Vec<u8>,
}

/// Whether the server's name was looked up again for this connection. That happens once.
#[derive(Debug)]
enum Lookup {
    /// The name, if the server has one.
    May(Option<Name>),
    Asked(Name, QueryId),
    Done,
}

#[derive(Debug)]
pub(super) struct Conn {
    id: ConnId,
    client: StreamId,
    listener: ListenerId,
    peer: SocketAddr,
    since: Instant,
    state: State,
}

impl Connection for Conn {
    type Config = Config;

    fn new(accepted: Accepted, cx: &mut Cx) -> Self {
        let Accepted { id, stream: client, listener, peer, .. } = accepted;
        let mut conn = Conn { id, client, listener, peer, since: cx.now, state: State::Header(Vec::new()) };
        let ip = peer.ip().to_canonical();
        let allowed = cx.config.listeners.get(usize::from(listener.0)).is_some_and(|listener| {
            // proxy-protocol.txt section 2 requires that only known sources may send the header,
            // because its sender names the client. Bytes from other peers are not read.
            listener.allowed.iter().any(|prefix| prefix.contains(ip))
        });
        if allowed {
            cx.mark_dirty(client);
        } else {
            conn.refuse(Refusal::PeerNotAllowed, cx);
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
        matches!(self.state, State::Header(_))
    }

    fn crowd_out(&mut self, limit: usize, cx: &mut Cx) {
        self.refuse(Refusal::CrowdedOut { limit }, cx);
    }

    fn relieve(&mut self, stalled: Duration, cx: &mut Cx) -> bool {
        let is_stalled = matches!(&self.state, State::Relay(relay, _) if cx.now - relay.active >= stalled);
        if is_stalled {
            self.end(Close::Reset, Some(Fault::NoMemory), cx);
        }
        is_stalled
    }

    fn deadline(&self, config: &Config) -> Option<Instant> {
        match &self.state {
            State::Header(_) => Some(self.since + config.header_timeout),
            State::Opening(opening) => Some(opening.deadline(config)),
            State::Relay(relay, meter) => {
                let end = relay.deadline(config.idle_timeout, config.linger);
                end.into_iter().chain(meter.deadline()).min()
            }
            State::Gone => None,
        }
    }

    fn timeout(&mut self, cx: &mut Cx) {
        match &mut self.state {
            State::Header(_) => self.refuse(Refusal::HandshakeTimeout, cx),
            State::Opening(opening) if cx.now < opening.began + cx.config.connect_timeout => self.look_up(cx),
            State::Opening(_) => self.refuse(Refusal::Unreachable(Fault::TimedOut), cx),
            State::Relay(relay, meter) => {
                if meter.deadline().is_some_and(|at| at <= cx.now) {
                    meter.tell(relay.totals(), cx);
                }
                let end = relay.deadline(cx.config.idle_timeout, cx.config.linger);
                if end.is_none_or(|end| end > cx.now) {
                    return;
                }
                let fault = relay.fault().unwrap_or(Fault::TimedOut);
                self.end(Close::Reset, Some(fault), cx);
            }
            State::Gone => {}
        }
    }

    /// Nothing to do: every open connection ends by itself.
    fn drain(&mut self, _: &mut Cx) {}

    fn wants(&self, side: Side) -> usize {
        match (&self.state, side) {
            (State::Header(_), Side::Client) => HEADER_READ,
            (State::Relay(relay, _), side) if relay.wants_read(side) => usize::MAX,
            (State::Header(_), Side::Target) | (State::Opening(_) | State::Relay(..) | State::Gone, _) => 0,
        }
    }

    fn reading(&self, side: Side, _: StreamId) -> Reading {
        match (&self.state, side) {
            (State::Header(_), Side::Client) => Reading::Header,
            _ => Reading::Nothing,
        }
    }

    /// A header has a limit of its own, and nothing is read behind it.
    fn keeps(&self, _: Side) -> Option<usize> {
        None
    }

    fn write_buf(&self, side: Side) -> &[u8] {
        match &self.state {
            State::Relay(relay, _) => relay.write_buf(side),
            State::Header(_) | State::Opening(_) | State::Gone => &[],
        }
    }

    fn splice(&self, side: Side) -> Option<Splice> {
        match &self.state {
            State::Relay(relay, _) => relay.splice(side),
            State::Header(_) | State::Opening(_) | State::Gone => None,
        }
    }

    fn refuse_splice(&mut self, side: Side, cx: &mut Cx) {
        if let State::Relay(relay, _) = &mut self.state {
            relay.refuse_splice(side, cx);
        }
    }

    fn read(&mut self, side: Side, len: usize, cx: &mut Cx) {
        match &mut self.state {
            State::Header(_) => self.header(len, cx),
            State::Relay(relay, meter) => {
                meter.moved(cx.now);
                relay.read(side, len, cx);
            }
            State::Opening(_) | State::Gone => {}
        }
    }

    fn read_closed(&mut self, side: Side, cx: &mut Cx) {
        match &mut self.state {
            // A connection that closes without data is a port check: close it quietly.
            State::Header(seen) if seen.is_empty() => self.end(Close::Graceful, None, cx),
            State::Header(_) => self.refuse(Refusal::Left, cx),
            State::Relay(relay, _) => {
                let state = relay.ended(side, cx);
                self.relay_changed(state, cx);
            }
            State::Opening(_) | State::Gone => {}
        }
    }

    fn written(&mut self, side: Side, len: usize, cx: &mut Cx) {
        if let State::Relay(relay, meter) = &mut self.state {
            meter.moved(cx.now);
            let state = relay.written(side, len, cx);
            self.relay_changed(state, cx);
        }
    }

    fn spliced(&mut self, side: Side, taken: usize, given: usize, eof: bool, cx: &mut Cx) {
        if let State::Relay(relay, meter) = &mut self.state {
            meter.moved(cx.now);
            let state = relay.spliced(side, taken, given, eof, cx);
            self.relay_changed(state, cx);
        }
    }

    fn failed(&mut self, side: Side, fault: Fault, cx: &mut Cx) {
        match &mut self.state {
            State::Header(_) | State::Opening(_) => self.refuse(Refusal::ClientFailed(fault), cx),
            State::Relay(relay, _) => {
                let state = relay.failed(side, fault, cx);
                self.relay_changed(state, cx);
            }
            State::Gone => {}
        }
    }

    fn write_failed(&mut self, side: Side, fault: Fault, cx: &mut Cx) {
        match &mut self.state {
            State::Relay(relay, _) => {
                let state = relay.write_failed(side, fault, cx);
                self.relay_changed(state, cx);
            }
            State::Header(_) | State::Opening(_) | State::Gone => self.failed(side, fault, cx),
        }
    }

    fn connected(&mut self, stream: StreamId, local: SocketAddr, cx: &mut Cx) {
        if let State::Opening(opening) = &self.state
            && opening.stream == Ok(stream)
            && let Err(why) = admission::check_source_kept(&opening.admitted.via, local)
        {
            return self.refuse(why, cx);
        }
        let opening = match core::mem::replace(&mut self.state, State::Gone) {
            State::Opening(opening) if opening.stream == Ok(stream) => opening,
            other => {
                self.state = other;
                cx.close(stream, Close::Reset);
                return;
            }
        };
        let Opening { admitted: Admission { client, to, .. }, began, early, lookup, .. } = *opening;
        lookup.cancel(cx);
        let took = cx.now - began;
        cx.event(Event::Unwrapped { conn: self.id, peer: self.peer, client, to, took });
        let mut meter = Meter::default();
        if !early.is_empty() {
            meter.moved(cx.now);
        }
        self.state = State::Relay(Relay::new(self.client, stream, None, &[], &early, cx), meter);
    }

    fn connect_failed(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx) {
        let State::Opening(opening) = &mut self.state else { return };
        if opening.stream != Ok(stream) {
            return;
        }
        opening.stream = Err(fault);
        let transparent = &mut opening.admitted.via.transparent;
        let port = transparent.as_ref().map_or(0, SocketAddr::port);
        if !admission::is_port_conflict(fault) || port == 0 {
            return self.look_up(cx);
        }
        if cx.config.on_port_conflict == PortConflict::Fail {
            return self.refuse(Refusal::PortConflict(fault), cx);
        }
        if let Some(address) = transparent {
            address.set_port(0);
        }
        cx.event(Event::PortChanged { conn: self.id, client: opening.admitted.client, fault: Some(fault) });
        opening.stream = Ok(connect(self.id, &opening.admitted, cx));
    }

    fn resolved(&mut self, _: QueryId, answer: Result<&[IpAddr], Fault>, cx: &mut Cx) {
        let State::Opening(opening) = &mut self.state else { return };
        let Lookup::Asked(name, _) = core::mem::replace(&mut opening.lookup, Lookup::Done) else { return };
        let Target::Address(from) = opening.admitted.to else { return };
        match answer.ok().and_then(|addresses| cx.config.looked_up(&name, from, addresses)) {
            Some(to) => {
                cx.event(Event::TargetMoved { name, from, to });
                self.go_to(to, cx);
            }
            None => self.refuse_if_failed(cx),
        }
    }
}

impl Opening {
    fn deadline(&self, config: &Config) -> Instant {
        let last = self.began + config.connect_timeout;
        match self.lookup {
            Lookup::May(Some(_)) => last.min(self.began + names::SILENT),
            Lookup::May(None) | Lookup::Asked(..) | Lookup::Done => last,
        }
    }
}

impl Lookup {
    fn cancel(self, cx: &mut Cx) {
        if let Lookup::Asked(_, query) = self {
            cx.cancel(query);
        }
    }
}

impl Conn {
    /// The server was not reached, or is silent: it may be elsewhere by now, if it has a name.
    fn look_up(&mut self, cx: &mut Cx) {
        let State::Opening(opening) = &mut self.state else { return };
        let Target::Address(to) = opening.admitted.to else { return self.refuse_if_failed(cx) };
        let name = match core::mem::replace(&mut opening.lookup, Lookup::Done) {
            Lookup::May(Some(name)) => name,
            other => {
                opening.lookup = other;
                return self.refuse_if_failed(cx);
            }
        };
        if let Some(to) = cx.config.names.moved_to(&name, to) {
            return self.go_to(to, cx);
        }
        let now = cx.now;
        match cx.config.names.may_ask(to, now) {
            Some(name) => {
                let query = cx.query(self.id, self.peer.ip(), &name, None);
                opening.lookup = Lookup::Asked(name, query);
            }
            None => self.refuse_if_failed(cx),
        }
    }

    /// Connects there instead.
    fn go_to(&mut self, to: SocketAddr, cx: &mut Cx) {
        let State::Opening(opening) = &mut self.state else { return };
        if let Ok(stream) = opening.stream {
            cx.close(stream, Close::Reset);
        }
        opening.admitted.to = Target::Address(to);
        opening.stream = Ok(connect(self.id, &opening.admitted, cx));
    }

    /// Nothing more can be tried; an attempt that is only silent goes on until its deadline.
    fn refuse_if_failed(&mut self, cx: &mut Cx) {
        if let State::Opening(opening) = &self.state
            && let (Err(fault), Lookup::May(_) | Lookup::Done) = (opening.stream, &opening.lookup)
        {
            self.refuse(Refusal::Unreachable(fault), cx);
        }
    }
}

impl Conn {
    /// `len` more bytes of the header, and perhaps of what is behind it.
    fn header(&mut self, len: usize, cx: &mut Cx) {
        let State::Header(seen) = &mut self.state else { return };
        let Some(listener) = cx.config.listeners.get(usize::from(self.listener.0)) else { return };
        let came = cx.buffers.peek(len);
        // Most often the header comes whole and is read in place.
        if !seen.is_empty() {
            seen.extend_from_slice(came);
        }
        let bytes = if seen.is_empty() { came } else { &seen[..] };
        let Config { max_header, mixed_families, .. } = cx.config;
        let rules = Rules { transport: Transport::Stream, max_length: max_header, mixed_families };
        let (header, used) = match proxy::parse(bytes, &rules) {
            Ok(parsed) => parsed,
            Err(Unparsed::Incomplete) => {
                if seen.is_empty() {
                    seen.extend_from_slice(came);
                }
                cx.mark_dirty(self.client);
                return;
            }
            Err(Unparsed::Malformed(why)) => return self.refuse(Refusal::BadHeader(why), cx),
        };
        let admitted = match admission::find(&cx.config, listener, self.peer, &header) {
            Ok(admitted) => admitted,
            Err(why) => return self.refuse(why, cx),
        };
        let early = bytes[used..].to_vec();
        let text = cx.config.request_events.then(|| header.describe(bytes));
        if let Some(text) = text {
            cx.event(Event::Header { conn: self.id, peer: self.peer, text });
        }
        if admitted.via.transparent.is_some_and(|client| client.port() == 0) {
            cx.event(Event::PortChanged { conn: self.id, client: admitted.client, fault: None });
        }
        let began = cx.now;
        let name = match admitted.to {
            Target::Address(to) => cx.config.names.of(to).cloned(),
            Target::Local(_) => None,
        };
        let stream = Ok(connect(self.id, &admitted, cx));
        let opening = Opening { admitted, stream, lookup: Lookup::May(name), began, early };
        self.state = State::Opening(Box::new(opening));
    }

    fn relay_changed(&mut self, state: RelayState, cx: &mut Cx) {
        match state {
            RelayState::Open => {}
            RelayState::Done => self.end(Close::Graceful, None, cx),
            RelayState::Broken(fault) => self.end(Close::Reset, Some(fault), cx),
        }
    }

    fn refuse(&mut self, why: Refusal, cx: &mut Cx) {
        cx.event(Event::Refused { conn: self.id, client: self.peer, why });
        self.end(Close::Reset, None, cx);
    }

    /// Closes all there is.
    fn end(&mut self, how: Close, fault: Option<Fault>, cx: &mut Cx) {
        match core::mem::replace(&mut self.state, State::Gone) {
            State::Relay(relay, mut meter) => {
                meter.tell(relay.totals(), cx);
                relay.finish(self.id, self.since, how, fault, cx);
            }
            State::Opening(opening) => {
                if let Ok(stream) = opening.stream {
                    cx.close(stream, Close::Reset);
                }
                opening.lookup.cancel(cx);
            }
            State::Header(_) | State::Gone => {}
        }
        cx.close(self.client, how);
    }
}

/// Asks for the server.
fn connect(conn: ConnId, admitted: &Admission, cx: &mut Cx) -> StreamId {
    let stream = cx.open_target(conn);
    cx.push_output(match &admitted.to {
        Target::Address(to) => Output::Connect { stream, to: *to, via: admitted.via },
        Target::Local(path) => Output::ConnectLocal { stream, path: path.clone() },
    });
    stream
}
