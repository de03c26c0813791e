//! What a connection moves, told to the watcher while it goes on: about once a second while
//! anything moves. An idle connection has no timer.

use super::Cx;
use crate::machine::event::Event;
use crate::time::{Duration, Instant};

const TICK: Duration = Duration::from_secs(1);

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes to the server and from it that were reported.
    told: (u64, u64),
    /// When the rest is.
    tell_at: Option<Instant>,
}

impl Meter {
    /// Something has moved.
    pub(super) fn moved(&mut self, now: Instant) {
        self.tell_at = self.tell_at.or(Some(now + TICK));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tell_at
    }

    /// `totals` bytes have moved to the server and from it.
    pub(super) fn tell(&mut self, totals: (u64, u64), cx: &mut Cx) {
        let sent = totals.0.saturating_sub(self.told.0);
        let received = totals.1.saturating_sub(self.told.1);
        if sent + received > 0 {
            cx.event(Event::Moved { sent, received });
        }
        (self.told, self.tell_at) = (totals, None);
    }
}
