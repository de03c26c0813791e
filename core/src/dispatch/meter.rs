//! What a connection moves, told to the watcher and the pool while it goes on, and whether it is
//! answered.
//!
//! While something moves, or the last that moved was the client's, the meter ticks once a second;
//! an idle connection has no timer. A connection on which the client spoke last and nothing moved
//! for [`MUTE`] ticks is reported as mute, once. A server may be slow; an upload that goes on moves
//! bytes in each tick.

use super::Cx;
use crate::machine::event::Event;
use crate::machine::{Report, UplinkId};
use crate::service::Side;
use crate::time::{Duration, Instant};
use core::net::IpAddr;

const TICK: Duration = Duration::from_secs(1);
/// A connection without an answer for this many ticks is mute. Servers answer within a second or
/// two, at the far end of a satellite link too.
const MUTE: u8 = 4;

/// Of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes to the target and from it that the pool knows of.
    told: (u64, u64),
    /// When the tick began.
    since: Instant,
    ticks: bool,
    /// The client spoke last.
    unanswered: bool,
    /// Ticks in a row in which it waited.
    silent: u8,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Meter { told: (0, 0), since: now, ticks: false, unanswered: false, silent: 0 }
    }

    /// Bytes came from `side`.
    pub(super) fn moved(&mut self, now: Instant, side: Side) {
        self.unanswered = side == Side::Client;
        if !self.ticks {
            (self.ticks, self.since) = (true, now);
        }
    }

    /// When the tick ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ticks.then(|| self.since + TICK)
    }

    /// A tick has ended: `totals` bytes have moved to the target and from it.
    pub(super) fn tick(&mut self, uplink: Option<UplinkId>, to: IpAddr, totals: (u64, u64), cx: &mut Cx) {
        let moved = totals != self.told;
        self.tell(uplink, totals, cx);
        self.silent = match (self.unanswered, moved) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.silent.saturating_add(1),
        };
        if self.silent > MUTE {
            if let Some(uplink) = uplink {
                cx.report(Report::Mute { uplink, to });
            }
            (self.unanswered, self.silent) = (false, 0);
        }
        self.ticks = moved || self.unanswered;
    }

    /// Tells what the watcher, and the pool, do not know yet.
    fn tell(&mut self, uplink: Option<UplinkId>, totals: (u64, u64), cx: &mut Cx) {
        let sent = totals.0.saturating_sub(self.told.0);
        let received = totals.1.saturating_sub(self.told.1);
        if sent + received > 0 {
            let over = cx.now - self.since;
            cx.event(Event::Moved { sent, received });
            if let Some(uplink) = uplink {
                cx.report(Report::Traffic { uplink, sent, received, over });
            }
        }
        (self.told, self.since) = (totals, cx.now);
    }

    /// The connection to the target is over; another may follow.
    pub(super) fn end(&mut self, uplink: Option<UplinkId>, totals: (u64, u64), cx: &mut Cx) {
        self.tell(uplink, totals, cx);
        *self = Meter::new(cx.now);
    }
}
