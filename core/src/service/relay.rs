//! Bytes in two directions, until both have ended.
//!
//! A direction holds at most one buffer: it reads when that is empty, so a slow reader slows its
//! sender down. After some reads that filled the buffer the direction lets the driver move bytes in
//! the kernel; after some thin moves it copies again, since copying is cheaper for small messages.
//!
//! Invariants: half-close goes through as half-close, after the last byte; a reset goes through as
//! a reset, after what was read before it.

use super::cx::Common;
use crate::buffer::Filled;
use crate::machine::event::Event;
use crate::machine::{Close, ConnId, Fault, Output, Report, Splice, StreamId, UplinkId};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;

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
/// After this many thin ones in a row the direction copies again.
const THIN_ENOUGH: u8 = 4;

/// The bytes from one side to the other.
#[derive(Debug, Default)]
struct Direction {
    held: Option<Filled>,
    total: u64,
    /// Bytes inside a pipe; no pipe has 4 GiB.
    piped: u32,
    way: Way,
    ended: bool,
    shut: bool,
}

/// How a direction's bytes move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Through a buffer; so many reads in a row have filled it.
    Copied { full: u8 },
    /// In the kernel; so many moves in a row were thin.
    Spliced { thin: u8 },
}

impl Default for Way {
    fn default() -> Self {
        Way::Copied { full: 0 }
    }
}

impl Direction {
    fn is_splicing(&self) -> bool {
        matches!(self.way, Way::Spliced { .. })
    }
}

/// What is to become of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RelayState {
    /// It goes on.
    Open,
    /// Both directions have ended.
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
    pub(crate) active: Instant,
    up: Direction,
    down: Direction,
    /// Rare, and so apart.
    broken: Option<Box<Broken>>,
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
    /// A relay that begins with `reply` for the client and `early` for the target.
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
            up: Direction::default(),
            down: Direction::default(),
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

    /// Bytes that have moved to the target and from it.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.up.total, self.down.total)
    }

    fn stream(&self, side: Side) -> StreamId {
        match side {
            Side::Client => self.client,
            Side::Target => self.target,
        }
    }

    /// The direction that begins at `side`.
    fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.up,
            Side::Target => &self.down,
        }
    }

    fn direction_mut(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.up,
            Side::Target => &mut self.down,
        }
    }

    pub(crate) fn wants_read(&self, side: Side) -> bool {
        let direction = self.direction(side);
        let readable = self.broken.as_ref().is_none_or(|broken| broken.side == side && broken.readable);
        direction.held.is_none() && !direction.ended && !direction.is_splicing() && readable
    }

    pub(crate) fn write_buf(&self, side: Side) -> &[u8] {
        self.direction(side.other()).held.as_ref().map_or(&[], Filled::bytes)
    }

    pub(crate) fn splice(&self, side: Side) -> Option<Splice> {
        let direction = self.direction(side);
        let open =
            direction.is_splicing() && direction.held.is_none() && !direction.ended && self.broken.is_none();
        let max = if open { SPLICE_MAX } else { 0 };
        let last_bytes = direction.piped > 0 && self.broken.as_ref().is_none_or(|broken| broken.side == side);
        (open || last_bytes).then_some(Splice { to: self.stream(side.other()), max })
    }

    pub(crate) fn refuse_splice(&mut self, side: Side, cx: &mut Common) {
        let stream = self.stream(side);
        self.direction_mut(side).way = Way::default();
        cx.mark_dirty(stream);
    }

    /// `len` bytes were read at `side` into the scratch buffer.
    pub(crate) fn read(&mut self, side: Side, len: usize, cx: &mut Common) {
        self.active = cx.now;
        // What the kernel moves cannot be counted before it has moved.
        let after = if cx.has_rate(self.uplink) { 0 } else { cx.limits.splice_after };
        let full = cx.buffers.was_filled(len);
        let direction = self.direction_mut(side);
        direction.held = Some(cx.buffers.take(len));
        direction.total += len as u64;
        let before = if let Way::Copied { full } = direction.way { full } else { 0 };
        let full = if full { before.saturating_add(1) } else { 0 };
        let splices = after != 0 && full >= after;
        direction.way = if splices { Way::Spliced { thin: 0 } } else { Way::Copied { full } };
        cx.mark_dirty(self.stream(side.other()));
    }

    /// `len` bytes of what was held for `side` were written there.
    pub(crate) fn written(&mut self, side: Side, len: usize, cx: &mut Common) -> RelayState {
        self.active = cx.now;
        let from = side.other();
        let direction = self.direction_mut(from);
        if let Some(held) = &mut direction.held {
            held.consume(len);
            if held.is_empty()
                && let Some(held) = direction.held.take()
            {
                cx.return_buffer(held);
                cx.mark_dirty(self.stream(from));
            }
        }
        self.end_direction_when_empty(from, cx);
        self.state()
    }

    /// Bytes moved in the kernel from `side` to the other.
    pub(crate) fn spliced(
        &mut self,
        side: Side,
        taken: usize,
        given: usize,
        eof: bool,
        cx: &mut Common,
    ) -> RelayState {
        self.active = cx.now;
        let stream = self.stream(side);
        // A rate that came by a reload.
        let has_rate = cx.has_rate(self.uplink);
        let direction = self.direction_mut(side);
        direction.total += given as u64;
        let piped = (direction.piped as usize + taken).saturating_sub(given);
        direction.piped = u32::try_from(piped).unwrap_or(u32::MAX);
        direction.ended |= eof;
        let before = if let Way::Spliced { thin } = direction.way { thin } else { 0 };
        let thin = if taken < THIN { before.saturating_add(1) } else { 0 };
        if (thin >= THIN_ENOUGH || has_rate) && direction.piped == 0 {
            direction.way = Way::default();
            cx.mark_dirty(stream);
        } else if direction.is_splicing() {
            direction.way = Way::Spliced { thin };
        }
        self.end_direction_when_empty(side, cx);
        self.state()
    }

    /// Nothing more comes from `side`.
    pub(crate) fn ended(&mut self, side: Side, cx: &mut Common) -> RelayState {
        self.direction_mut(side).ended = true;
        if let Some(broken) = &mut self.broken {
            broken.readable &= broken.side != side;
        }
        self.end_direction_when_empty(side, cx);
        self.state()
    }

    /// The stream of `side` failed. What was read from it before is still delivered.
    pub(crate) fn failed(&mut self, side: Side, fault: Fault, cx: &mut Common) -> RelayState {
        self.lose_what_was_for(side, cx);
        self.tell_of_silence(side, fault, cx);
        // The first fault says more than what follows from it.
        let fault = self.fault().unwrap_or(fault);
        self.broken = Some(Box::new(Broken { side, fault, at: cx.now, readable: false }));
        // Bytes inside a pipe would go with the stream they came from.
        if !self.is_piping(side) {
            cx.close(self.stream(side), Close::Reset);
        }
        self.state()
    }

    /// Nothing can be written to `side` any more. What it sent before that is still read and
    /// delivered.
    pub(crate) fn write_failed(&mut self, side: Side, fault: Fault, cx: &mut Common) -> RelayState {
        if self.broken.is_some() || self.direction(side).ended {
            return self.failed(side, fault, cx);
        }
        self.lose_what_was_for(side, cx);
        self.tell_of_silence(side, fault, cx);
        // Copied, so that a read reports its end.
        self.direction_mut(side).way = Way::default();
        self.broken = Some(Box::new(Broken { side, fault, at: cx.now, readable: true }));
        cx.mark_dirty(self.stream(side));
        self.state()
    }

    /// What was sent by an uplink was not acknowledged in time, whether a write or a read says so.
    fn tell_of_silence(&self, side: Side, fault: Fault, cx: &mut Common) {
        if let (Side::Target, Fault::TimedOut, Some(uplink), None) = (side, fault, self.uplink, &self.broken)
            && self.up.total > 0
        {
            cx.event(Event::Unacknowledged { uplink });
        }
    }

    fn lose_what_was_for(&mut self, side: Side, cx: &mut Common) {
        let direction = self.direction_mut(side.other());
        direction.piped = 0;
        if let Some(lost) = direction.held.take() {
            cx.return_buffer(lost);
        }
    }

    fn end_direction_when_empty(&mut self, from: Side, cx: &mut Common) {
        let to = self.stream(from.other());
        let broken = self.broken.is_some();
        let last = self.direction(from.other()).shut;
        let direction = self.direction_mut(from);
        if direction.ended && direction.held.is_none() && direction.piped == 0 && !direction.shut && !broken {
            direction.shut = true;
            // Both directions have ended: the close that follows replaces the FIN.
            if !last {
                cx.push_output(Output::Shutdown { stream: to });
            }
        }
    }

    fn state(&self) -> RelayState {
        match &self.broken {
            Some(broken) if !broken.readable && self.is_delivered(broken.side) => {
                RelayState::Broken(broken.fault)
            }
            Some(_) => RelayState::Open,
            None if self.up.shut && self.down.shut => RelayState::Done,
            None => RelayState::Open,
        }
    }

    fn is_delivered(&self, side: Side) -> bool {
        self.direction(side).held.is_none() && !self.is_piping(side)
    }

    /// Whether bytes from `side` are inside a pipe.
    fn is_piping(&self, side: Side) -> bool {
        self.direction(side).piped > 0
    }

    /// Why one side failed, while the other is still being given its last bytes.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.broken.as_ref().map(|broken| broken.fault)
    }

    /// When it has waited long enough: for anything to move, or for one side to take its last
    /// bytes.
    pub(crate) fn deadline(&self, idle: Option<Duration>, linger: Duration) -> Option<Instant> {
        match &self.broken {
            // `linger` bounds how long a broken relay waits for its last bytes to be taken.
            Some(broken) => Some(self.active.max(broken.at) + linger),
            None => idle.map(|idle| self.active + idle),
        }
    }

    /// Closes both sides, gives the buffers back. What moved is the caller's to report.
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

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::Relay;

    #[test]
    fn an_idle_relay_takes_120_bytes() {
        assert!(size_of::<Relay>() <= 120, "{}", size_of::<Relay>());
    }
}
