//! Two flows of bytes, one each way, until both have ended.
//!
//! A flow holds at most one buffer: it reads when that is empty, so a slow reader slows its sender
//! down. After some reads that filled the buffer the flow lets the driver move bytes in the kernel;
//! after some thin moves it copies again, since copying is cheaper for small messages.
//!
//! Invariants: half-close goes through as half-close, after the last byte; a reset goes through as
//! a reset, after what was read before it.

use super::cx::Common;
use crate::buffer::Filled;
use crate::machine::event::Event;
use crate::machine::{Close, ConnId, Fault, Output, Report, Splice, StreamId, UplinkId};
use crate::time::{Duration, Instant};

/// One side of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Target,
}

/// At most this much in one splice: the others want their turn too.
const SPLICE_MAX: usize = 1 << 20;
/// A splice that takes less than this is thin.
const THIN: usize = 16 * 1024;
/// After so many thin ones in a row the flow copies again.
const THIN_ENOUGH: u8 = 4;

/// The bytes from one side to the other.
#[derive(Debug, Default)]
struct Flow {
    held: Option<Filled>,
    total: u64,
    piped: usize,
    full_reads: u8,
    thin: u8,
    splicing: bool,
    ended: bool,
    shut: bool,
}

/// What is to become of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Open,
    /// Both flows have ended.
    Done,
    /// It broke, and all that could be delivered is delivered.
    Broken(Fault),
}

#[derive(Debug)]
pub(crate) struct Relay {
    client: StreamId,
    target: StreamId,
    pub(crate) uplink: Option<UplinkId>,
    /// When bytes moved last.
    active: Instant,
    up: Flow,
    down: Flow,
    broken: Option<Broken>,
}

/// One side failed; the other is still being given its last bytes.
#[derive(Clone, Copy, Debug)]
struct Broken {
    side: Side,
    fault: Fault,
    at: Instant,
    /// What the failed side sent before may still be there.
    readable: bool,
}

impl Relay {
    /// A relay whose client is owed `reply` and whose target is owed `early`.
    pub(crate) fn new(
        client: StreamId,
        target: StreamId,
        uplink: Option<UplinkId>,
        reply: &[u8],
        early: &[u8],
        cx: &mut Common,
    ) -> Self {
        let mut relay = Relay {
            client,
            target,
            uplink,
            active: cx.now,
            up: Flow::default(),
            down: Flow::default(),
            broken: None,
        };
        if !reply.is_empty() {
            relay.down.held = Some(cx.buffers.copy(reply));
        }
        if !early.is_empty() {
            relay.up.held = Some(cx.buffers.copy(early));
            relay.up.total = early.len() as u64;
        }
        cx.mark_dirty(client);
        cx.mark_dirty(target);
        relay
    }

    /// The same, with bytes that had moved before, to the target and from it.
    pub(crate) fn with_totals(mut self, (sent, received): (u64, u64)) -> Self {
        (self.up.total, self.down.total) = (sent, received);
        self
    }

    fn stream(&self, side: Side) -> StreamId {
        match side {
            Side::Client => self.client,
            Side::Target => self.target,
        }
    }

    /// The flow that begins at `side`.
    fn flow(&self, side: Side) -> &Flow {
        match side {
            Side::Client => &self.up,
            Side::Target => &self.down,
        }
    }

    fn flow_mut(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.up,
            Side::Target => &mut self.down,
        }
    }

    pub(crate) fn wants_read(&self, side: Side) -> bool {
        let flow = self.flow(side);
        let readable = self.broken.is_none_or(|broken| broken.side == side && broken.readable);
        flow.held.is_none() && !flow.ended && !flow.splicing && readable
    }

    pub(crate) fn write_buf(&self, side: Side) -> &[u8] {
        self.flow(side.other()).held.as_ref().map_or(&[], Filled::bytes)
    }

    pub(crate) fn splice(&self, side: Side) -> Option<Splice> {
        let flow = self.flow(side);
        let open = flow.splicing && flow.held.is_none() && !flow.ended && self.broken.is_none();
        let max = if open { SPLICE_MAX } else { 0 };
        let last_bytes = flow.piped > 0 && self.broken.is_none_or(|broken| broken.side == side);
        (open || last_bytes).then_some(Splice { to: self.stream(side.other()), max })
    }

    pub(crate) fn refuse_splice(&mut self, side: Side, cx: &mut Common) {
        let stream = self.stream(side);
        let flow = self.flow_mut(side);
        (flow.splicing, flow.full_reads) = (false, 0);
        cx.mark_dirty(stream);
    }

    /// `len` bytes were read at `side` into the scratch buffer.
    pub(crate) fn read(&mut self, side: Side, len: usize, cx: &mut Common) {
        self.active = cx.now;
        let after = cx.limits.splice_after;
        let full = cx.buffers.was_filled(len);
        let flow = self.flow_mut(side);
        flow.held = Some(cx.buffers.take(len));
        flow.total += len as u64;
        flow.full_reads = if full { flow.full_reads.saturating_add(1) } else { 0 };
        if after != 0 && flow.full_reads >= after {
            (flow.splicing, flow.thin) = (true, 0);
        }
        cx.mark_dirty(self.stream(side.other()));
    }

    /// `len` bytes of what was held for `side` were written there.
    pub(crate) fn written(&mut self, side: Side, len: usize, cx: &mut Common) -> Fate {
        self.active = cx.now;
        let from = side.other();
        let flow = self.flow_mut(from);
        if let Some(held) = &mut flow.held {
            held.consume(len);
            if held.is_empty()
                && let Some(held) = flow.held.take()
            {
                cx.return_buffer(held);
                cx.mark_dirty(self.stream(from));
            }
        }
        self.end_flow_when_empty(from, cx);
        self.fate()
    }

    /// Bytes moved in the kernel from `side` to the other.
    pub(crate) fn spliced(
        &mut self,
        side: Side,
        taken: usize,
        given: usize,
        eof: bool,
        cx: &mut Common,
    ) -> Fate {
        self.active = cx.now;
        let stream = self.stream(side);
        let flow = self.flow_mut(side);
        flow.total += given as u64;
        flow.piped = (flow.piped + taken).saturating_sub(given);
        flow.ended |= eof;
        flow.thin = if taken < THIN { flow.thin.saturating_add(1) } else { 0 };
        if flow.thin >= THIN_ENOUGH && flow.piped == 0 {
            (flow.splicing, flow.full_reads) = (false, 0);
            cx.mark_dirty(stream);
        }
        self.end_flow_when_empty(side, cx);
        self.fate()
    }

    /// Nothing more comes from `side`.
    pub(crate) fn ended(&mut self, side: Side, cx: &mut Common) -> Fate {
        self.flow_mut(side).ended = true;
        if let Some(broken) = &mut self.broken {
            broken.readable &= broken.side != side;
        }
        self.end_flow_when_empty(side, cx);
        self.fate()
    }

    /// The stream of `side` failed. What was read from it before is still delivered.
    pub(crate) fn failed(&mut self, side: Side, fault: Fault, cx: &mut Common) -> Fate {
        self.lose_what_was_for(side, cx);
        // The first fault says more than what follows from it.
        let fault = self.broken.map_or(fault, |broken| broken.fault);
        self.broken = Some(Broken { side, fault, at: cx.now, readable: false });
        // Bytes inside a pipe would go with the stream they came from.
        if !self.is_piping(side) {
            cx.close(self.stream(side), Close::Reset);
        }
        self.fate()
    }

    /// Nothing can be written to `side` any more. What it sent before that is still read and
    /// delivered.
    pub(crate) fn write_failed(&mut self, side: Side, fault: Fault, cx: &mut Common) -> Fate {
        if self.broken.is_some() || self.flow(side).ended {
            return self.failed(side, fault, cx);
        }
        self.lose_what_was_for(side, cx);
        // Copied, so that a read reports its end.
        self.flow_mut(side).splicing = false;
        self.broken = Some(Broken { side, fault, at: cx.now, readable: true });
        cx.mark_dirty(self.stream(side));
        self.fate()
    }

    fn lose_what_was_for(&mut self, side: Side, cx: &mut Common) {
        let flow = self.flow_mut(side.other());
        flow.piped = 0;
        if let Some(lost) = flow.held.take() {
            cx.return_buffer(lost);
        }
    }

    fn end_flow_when_empty(&mut self, from: Side, cx: &mut Common) {
        let to = self.stream(from.other());
        let broken = self.broken.is_some();
        let last = self.flow(from.other()).shut;
        let flow = self.flow_mut(from);
        if flow.ended && flow.held.is_none() && flow.piped == 0 && !flow.shut && !broken {
            flow.shut = true;
            // Both directions have ended: the close that follows replaces the FIN.
            if !last {
                cx.push_output(Output::Shutdown { stream: to });
            }
        }
    }

    fn fate(&self) -> Fate {
        match self.broken {
            Some(broken) if !broken.readable && self.is_delivered(broken.side) => Fate::Broken(broken.fault),
            Some(_) => Fate::Open,
            None if self.up.shut && self.down.shut => Fate::Done,
            None => Fate::Open,
        }
    }

    fn is_delivered(&self, side: Side) -> bool {
        self.flow(side).held.is_none() && !self.is_piping(side)
    }

    /// Whether bytes from `side` are inside a pipe.
    fn is_piping(&self, side: Side) -> bool {
        self.flow(side).piped > 0
    }

    /// Why one side failed, while the other is still being given its last bytes.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.broken.map(|broken| broken.fault)
    }

    /// When it has waited long enough: for anything to move, or for one side to take its last
    /// bytes.
    pub(crate) fn deadline(&self, idle: Option<Duration>, linger: Duration) -> Option<Instant> {
        match self.broken {
            // `linger` bounds how long a broken relay waits for its last bytes to be taken.
            Some(broken) => Some(self.active.max(broken.at) + linger),
            None => idle.map(|idle| self.active + idle),
        }
    }

    /// Closes both sides, accounts for what moved, gives the buffers back.
    pub(crate) fn finish(
        self,
        conn: ConnId,
        since: Instant,
        how: Close,
        fault: Option<Fault>,
        cx: &mut Common,
    ) {
        let (sent, received) = (self.up.total, self.down.total);
        if let Some(uplink) = self.uplink {
            cx.traffic(uplink, sent, received);
            cx.report(Report::Ended { uplink });
        }
        cx.event(Event::Closed { conn, sent, received, lasted: cx.now - since, fault });
        cx.close(self.target, how);
        cx.close(self.client, how);
        for held in [self.up.held, self.down.held].into_iter().flatten() {
            cx.return_buffer(held);
        }
    }
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Target,
            Side::Target => Side::Client,
        }
    }
}
