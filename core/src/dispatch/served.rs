//! What dispatch's service serves: a client's connection, the probes of an uplink, or the names of
//! all.

use super::Cx;
use super::config::Config;
use super::connection::Conn;
#[cfg(feature = "names")]
use super::names::Names;
use super::probe::Probe;
use crate::machine::{Assignment, Fault, QueryId, Rx, SocketId, Splice, StreamId, UplinkId};
use crate::record::Reading;
use crate::service::{Accepted, Connection, Side};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

/// One of the service's connections.
#[derive(Debug)]
pub(super) enum Served {
    Client(Box<Conn>),
    Probe(Box<Probe>),
    #[cfg(feature = "names")]
    Names(Box<Names>),
}

impl Served {
    /// Ends it where it is a connection of one of these users: true.
    pub(super) fn user_gone(&mut self, gone: &[&[u8]], cx: &mut Cx) -> bool {
        match self {
            Served::Client(conn) => conn.user_gone(gone, cx),
            _ => false,
        }
    }

    /// Ends it where it is a probe.
    pub(super) fn end_probe(&mut self, cx: &mut Cx) {
        if let Served::Probe(probe) = self {
            probe.end(cx);
        }
    }
}

/// A probe has one stream, its target's; to clients' questions it has no answer.
impl Connection for Served {
    type Config = Config;

    fn new(accepted: Accepted, cx: &mut Cx) -> Self {
        Served::Client(Box::new(Conn::new(accepted, cx)))
    }

    fn client(&self) -> Option<IpAddr> {
        match self {
            Served::Client(conn) => conn.client(),
            Served::Probe(_) => None,
            #[cfg(feature = "names")]
            Served::Names(_) => None,
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Served::Client(conn) => conn.is_gone(),
            Served::Probe(probe) => probe.is_gone(),
            #[cfg(feature = "names")]
            Served::Names(names) => names.is_gone(),
        }
    }

    fn is_half_open(&self) -> bool {
        matches!(self, Served::Client(conn) if conn.is_half_open())
    }

    fn crowd_out(&mut self, limit: usize, cx: &mut Cx) {
        if let Served::Client(conn) = self {
            conn.crowd_out(limit, cx);
        }
    }

    fn relieve(&mut self, stalled: Duration, cx: &mut Cx) -> bool {
        match self {
            Served::Client(conn) => conn.relieve(stalled, cx),
            Served::Probe(_) => false,
            #[cfg(feature = "names")]
            Served::Names(_) => false,
        }
    }

    fn deadline(&self, config: &Config) -> Option<Instant> {
        match self {
            Served::Client(conn) => conn.deadline(config),
            Served::Probe(probe) => Some(probe.deadline()),
            #[cfg(feature = "names")]
            Served::Names(names) => names.deadline(),
        }
    }

    fn timeout(&mut self, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.timeout(cx),
            Served::Probe(probe) => probe.timeout(cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.timeout(cx),
        }
    }

    fn drain(&mut self, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.drain(cx),
            Served::Probe(probe) => probe.end(cx),
            #[cfg(feature = "names")]
            Served::Names(_) => {}
        }
    }

    #[cfg(feature = "names")]
    fn retire(&mut self, cx: &mut Cx) {
        if let Served::Names(names) = self {
            names.retire(cx);
        }
    }

    fn wants(&self, side: Side) -> usize {
        match self {
            Served::Client(conn) => conn.wants(side),
            Served::Probe(probe) => probe.wants(),
            #[cfg(feature = "names")]
            Served::Names(_) => 0,
        }
    }

    fn write_buf(&self, side: Side) -> &[u8] {
        match self {
            Served::Client(conn) => conn.write_buf(side),
            Served::Probe(probe) => probe.write_buf(),
            #[cfg(feature = "names")]
            Served::Names(_) => &[],
        }
    }

    fn wants_of(&self, side: Side, stream: StreamId) -> usize {
        match self {
            Served::Client(conn) => conn.wants_of(side, stream),
            Served::Probe(probe) => probe.wants(),
            #[cfg(feature = "names")]
            Served::Names(names) => names.wants_of(stream),
        }
    }

    fn write_buf_of(&self, side: Side, stream: StreamId) -> &[u8] {
        match self {
            Served::Client(conn) => conn.write_buf_of(side, stream),
            Served::Probe(probe) => probe.write_buf(),
            #[cfg(feature = "names")]
            Served::Names(names) => names.write_buf_of(stream),
        }
    }

    fn uplink(&self) -> Option<UplinkId> {
        if let Served::Client(conn) = self { conn.uplink() } else { None }
    }

    fn splice(&self, side: Side) -> Option<Splice> {
        match self {
            Served::Client(conn) => conn.splice(side),
            _ => None,
        }
    }

    fn hears_faults(&self, side: Side) -> bool {
        matches!(self, Served::Client(conn) if conn.hears_faults(side))
    }

    fn refuse_splice(&mut self, side: Side, cx: &mut Cx) {
        if let Served::Client(conn) = self {
            conn.refuse_splice(side, cx);
        }
    }

    fn read(&mut self, side: Side, len: usize, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.read(side, len, cx),
            Served::Probe(probe) => probe.read(len, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => on(cx, |stream, cx| names.read(stream, len, cx)),
        }
    }

    fn read_closed(&mut self, side: Side, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.read_closed(side, cx),
            Served::Probe(probe) => probe.failed(Fault::Malformed, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => on(cx, |stream, cx| names.stream_failed(stream, cx)),
        }
    }

    fn written(&mut self, side: Side, len: usize, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.written(side, len, cx),
            Served::Probe(probe) => probe.written(len),
            #[cfg(feature = "names")]
            Served::Names(names) => on(cx, |stream, _| names.written(stream, len)),
        }
    }

    fn spliced(&mut self, side: Side, taken: usize, given: usize, eof: bool, cx: &mut Cx) {
        if let Served::Client(conn) = self {
            conn.spliced(side, taken, given, eof, cx);
        }
    }

    fn failed(&mut self, side: Side, fault: Fault, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.failed(side, fault, cx),
            Served::Probe(probe) => probe.failed(fault, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => on(cx, |stream, cx| names.stream_failed(stream, cx)),
        }
    }

    fn write_failed(&mut self, side: Side, fault: Fault, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.write_failed(side, fault, cx),
            Served::Probe(probe) => probe.failed(fault, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => on(cx, |stream, cx| names.stream_failed(stream, cx)),
        }
    }

    fn connected(&mut self, stream: StreamId, local: SocketAddr, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.connected(stream, local, cx),
            Served::Probe(probe) => probe.connected(stream, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.connected(stream, cx),
        }
    }

    fn connect_failed(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.connect_failed(stream, fault, cx),
            Served::Probe(probe) => probe.connect_failed(stream, fault, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.stream_failed(stream, cx),
        }
    }

    fn assigned(&mut self, assignment: Option<Assignment>, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.assigned(assignment, cx),
            Served::Probe(probe) => probe.assigned(assignment, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.assigned(assignment, cx),
        }
    }

    fn resolved(&mut self, query: QueryId, answer: Result<&[IpAddr], Fault>, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.resolved(query, answer, cx),
            Served::Probe(probe) => probe.resolved(answer, cx),
            #[cfg(feature = "names")]
            Served::Names(_) => {}
        }
    }

    fn socket_opened(&mut self, socket: SocketId, result: Result<SocketAddr, Fault>, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.socket_opened(socket, result, cx),
            #[cfg(feature = "names")]
            Served::Names(names) if result.is_err() => names.socket_failed(socket, true, cx),
            _ => {}
        }
    }

    fn received(&mut self, socket: SocketId, rx: &[Rx<'_>], cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.received(socket, rx, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.received(socket, rx, cx),
            Served::Probe(_) => {}
        }
    }

    fn send_failed(&mut self, socket: SocketId, fault: Fault, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.send_failed(socket, fault, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.socket_failed(socket, false, cx),
            Served::Probe(_) => {}
        }
    }

    #[cfg(feature = "names")]
    fn socket_failed(&mut self, socket: SocketId, _: Fault, cx: &mut Cx) {
        // Nobody listens there.
        if let Served::Names(names) = self {
            names.socket_failed(socket, false, cx);
        }
    }

    fn uplink_gone(&mut self, uplink: UplinkId, cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.uplink_gone(uplink, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.uplink_gone(uplink, cx),
            // A probe under way fails by its deadline, and its next one tells.
            Served::Probe(_) => {}
        }
    }

    fn addresses_gone(&mut self, gone: &[IpAddr], cx: &mut Cx) {
        match self {
            Served::Client(conn) => conn.addresses_gone(gone, cx),
            #[cfg(feature = "names")]
            Served::Names(names) => names.addresses_gone(gone, cx),
            Served::Probe(_) => {}
        }
    }

    fn reading(&self, side: Side, stream: StreamId) -> Reading {
        match self {
            Served::Client(conn) => conn.reading(side, stream),
            Served::Probe(probe) => probe.reading(),
            #[cfg(feature = "names")]
            Served::Names(_) => Reading::Message,
        }
    }

    fn reads_of(&self, socket: SocketId, datagram: &[u8]) -> usize {
        match self {
            Served::Client(conn) => conn.reads_of(socket, datagram),
            Served::Probe(_) => 0,
            #[cfg(feature = "names")]
            Served::Names(_) => datagram.len(),
        }
    }

    fn keeps(&self, side: Side) -> Option<usize> {
        match self {
            Served::Client(conn) => conn.keeps(side),
            _ => None,
        }
    }
}

/// Names have several streams: which one it is about.
#[cfg(feature = "names")]
fn on(cx: &mut Cx, f: impl FnOnce(StreamId, &mut Cx)) {
    if let Some(stream) = cx.stream {
        f(stream, cx);
    }
}
