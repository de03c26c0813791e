//! What a service asks of its connections.

use super::cx::Cx;
use super::relay::Side;
use crate::machine::{
    Assignment, ConnId, Fault, ListenerId, QueryId, Rx, SocketId, Splice, StreamId, UplinkId,
};
use crate::record::Reading;
use crate::time::{Duration, Instant};
use core::net::{IpAddr, SocketAddr};

/// A client that has just come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    /// The connection it becomes.
    pub(crate) id: ConnId,
    /// Its stream.
    pub(crate) stream: StreamId,
    /// Where it came in.
    #[cfg_attr(not(feature = "unwrap"), expect(dead_code, reason = "all of dispatch's listeners are alike"))]
    pub(crate) listener: ListenerId,
    /// Its address.
    pub(crate) peer: SocketAddr,
    /// The address it reached us at.
    #[cfg_attr(not(feature = "dispatch"), expect(dead_code, reason = "dispatch opens sockets beside it"))]
    pub(crate) local: SocketAddr,
}

/// One connection of a service: a client side, and a target side once there is one. After each call
/// the service looks whether it is gone, and when its next deadline is.
pub(crate) trait Connection: Sized {
    /// The configuration that all connections of the service share.
    type Config;

    /// A connection whose client has just come.
    fn new(accepted: Accepted, cx: &mut Cx<Self::Config>) -> Self;

    /// Its client; `None`: no client has asked for it.
    fn client(&self) -> Option<IpAddr>;

    /// Nothing is left of it: both streams are closed.
    fn is_gone(&self) -> bool;

    /// Its client has not said all that is needed to serve it.
    fn is_half_open(&self) -> bool;

    /// There are too many that are half open, and it is the oldest of them.
    fn crowd_out(&mut self, limit: usize, cx: &mut Cx<Self::Config>);

    /// The system keeps too much for its streams: it ends, if no byte of it has moved for so long.
    /// True: it has ended.
    fn relieve(&mut self, stalled: Duration, cx: &mut Cx<Self::Config>) -> bool;

    /// When it wants a [`Connection::timeout`].
    fn deadline(&self, config: &Self::Config) -> Option<Instant>;

    /// Its deadline has come.
    fn timeout(&mut self, cx: &mut Cx<Self::Config>);

    /// No new work: what is idle ends.
    fn drain(&mut self, cx: &mut Cx<Self::Config>);

    /// While the service drains: none is left but those of its own. They end.
    fn retire(&mut self, cx: &mut Cx<Self::Config>) {
        let _ = cx;
    }

    // ---- what the driver may do ----

    /// At most how many bytes to read from `side` now.
    fn wants(&self, side: Side) -> usize;

    /// What is to be written to `side` next.
    fn write_buf(&self, side: Side) -> &[u8];

    /// The same two for one of several streams that `side` may have while it is opened.
    fn wants_of(&self, side: Side, stream: StreamId) -> usize {
        let _ = stream;
        self.wants(side)
    }

    /// See [`Connection::wants_of`].
    fn write_buf_of(&self, side: Side, stream: StreamId) -> &[u8] {
        let _ = stream;
        self.write_buf(side)
    }

    /// By which uplink its bytes move, where they do: that may have a rate.
    fn uplink(&self) -> Option<UplinkId> {
        None
    }

    /// Leave to move bytes from `side` in the kernel.
    fn splice(&self, side: Side) -> Option<Splice>;

    /// A fault of `side` ends the connection though what came before it was not read yet.
    fn hears_faults(&self, side: Side) -> bool {
        let _ = side;
        false
    }

    /// The driver refused the splice.
    fn refuse_splice(&mut self, side: Side, cx: &mut Cx<Self::Config>);

    // ---- what happened to its streams ----

    /// `len` bytes were read from `side` into the scratch buffer.
    fn read(&mut self, side: Side, len: usize, cx: &mut Cx<Self::Config>);

    /// Nothing more comes from `side`.
    fn read_closed(&mut self, side: Side, cx: &mut Cx<Self::Config>);

    /// `len` bytes were written to `side`.
    fn written(&mut self, side: Side, len: usize, cx: &mut Cx<Self::Config>);

    /// Bytes moved in the kernel from `side` to the other.
    fn spliced(&mut self, side: Side, taken: usize, given: usize, eof: bool, cx: &mut Cx<Self::Config>);

    /// The open stream of `side` failed.
    fn failed(&mut self, side: Side, fault: Fault, cx: &mut Cx<Self::Config>);

    /// Nothing can be written to `side` any more; what it sent before may still be read.
    fn write_failed(&mut self, side: Side, fault: Fault, cx: &mut Cx<Self::Config>);

    // ---- what became of its questions ----

    /// An attempt to reach its target succeeded.
    fn connected(&mut self, stream: StreamId, local: SocketAddr, cx: &mut Cx<Self::Config>);

    /// An attempt failed; its id is dead.
    fn connect_failed(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx<Self::Config>);

    /// The pool's answer. Only a service that asks has an answer to take.
    fn assigned(&mut self, assignment: Option<Assignment>, cx: &mut Cx<Self::Config>) {
        let _ = (assignment, cx);
    }

    /// A resolver's answer. Only a service that asks has an answer to take.
    fn resolved(&mut self, query: QueryId, answer: Result<&[IpAddr], Fault>, cx: &mut Cx<Self::Config>) {
        let _ = (query, answer, cx);
    }

    // ---- what happened to its datagram sockets. Only a service that opens some has any ----

    /// A datagram socket is open, at this address; or it could not be opened, and its id is dead.
    fn socket_opened(
        &mut self,
        socket: SocketId,
        result: Result<SocketAddr, Fault>,
        cx: &mut Cx<Self::Config>,
    ) {
        let _ = (socket, result, cx);
    }

    /// Datagrams were received.
    fn received(&mut self, socket: SocketId, rx: &[Rx<'_>], cx: &mut Cx<Self::Config>) {
        let _ = (socket, rx, cx);
    }

    /// A datagram was not sent.
    fn send_failed(&mut self, socket: SocketId, fault: Fault, cx: &mut Cx<Self::Config>) {
        let _ = (socket, fault, cx);
    }

    /// The system tells of a datagram that was sent before, such as that nobody listens there.
    /// Nothing to one whose sockets speak with many.
    fn socket_failed(&mut self, socket: SocketId, fault: Fault, cx: &mut Cx<Self::Config>) {
        let _ = (socket, fault, cx);
    }

    /// The interface of an uplink has vanished. Nothing to a service without uplinks.
    fn uplink_gone(&mut self, uplink: UplinkId, cx: &mut Cx<Self::Config>) {
        let _ = (uplink, cx);
    }

    /// This host has lost addresses. Nothing to a service that leaves from none of its own.
    fn addresses_gone(&mut self, gone: &[IpAddr], cx: &mut Cx<Self::Config>) {
        let _ = (gone, cx);
    }

    /// What it makes of the bytes that it reads next from `stream`, on `side`.
    fn reading(&self, side: Side, stream: StreamId) -> Reading;

    /// How many of a datagram's first bytes it reads; the rest it passes on.
    fn reads_of(&self, socket: SocketId, datagram: &[u8]) -> usize {
        let _ = (socket, datagram);
        0
    }

    /// Bytes of `side` that are kept already and to which the next read is added; `None`: a read is
    /// passed on at once.
    fn keeps(&self, side: Side) -> Option<usize>;
}
