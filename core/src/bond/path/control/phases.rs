//! What an acknowledgement means in each phase of a path's rate, and where it leads.

use super::{Change, Control, DRAIN_FLIGHTS, PACKET, PATIENCE, Phase, QUEUED, QUEUED_LITTLE, Signal, View};
use crate::bond::path::startup::Progress;
use crate::time::{Duration, Instant};

impl Control {
    pub(super) fn feed_startup(
        &mut self,
        now: Instant,
        signal: &Signal,
        limit: Duration,
        round: Option<(u64, u64, bool)>,
    ) -> Option<Change> {
        let (rate, view) = (self.rate(), &signal.view);
        let Phase::Startup(startup) = &mut self.phase else { return None };
        let progress = Progress {
            delivered: signal.delivered,
            was_in_flight: signal.was_in_flight,
            delayed: view.recent > limit && signal.sample.is_some_and(|sample| sample.stretched),
            rate,
            length: view.unloaded,
            round: round.filter(|(_, _, limited)| !limited).map(|(got, lost, _)| (got, lost)),
        };
        if !startup.feed(now, &progress) {
            return None;
        }
        self.phase = Phase::Drain { until: now + self.flight(signal) * DRAIN_FLIGHTS, target: limit };
        Some(Change::Found)
    }

    pub(super) fn feed_drain(&mut self, now: Instant, signal: &Signal) -> Option<Change> {
        let Phase::Drain { until, target } = self.phase else { return None };
        let gone = self.fits(signal) && signal.view.recent <= target;
        let over = until <= now;
        if !gone && !over {
            return None;
        }
        self.cruise(now, &signal.view);
        (!gone).then_some(Change::Longer)
    }

    pub(super) fn feed_cruise(&mut self, now: Instant, signal: &Signal, limit: Duration) {
        let Phase::Cruise { until, queued } = self.phase else { return };
        let view = &signal.view;
        let calm = self.calm(view);
        let queued = (view.standing > calm).then(|| queued.unwrap_or(now));
        self.phase = Phase::Cruise { until, queued };
        let rounds = if view.standing > limit { QUEUED } else { QUEUED_LITTLE };
        if queued.is_some_and(|since| now - since > view.unloaded * rounds) {
            self.phase = Phase::Drain { until: now + self.flight(signal) * QUEUED, target: calm };
        } else if until <= now && !self.limited && queued.is_none() {
            self.pulse(now, view);
        }
    }

    pub(super) fn feed_ease(&mut self, now: Instant, signal: &Signal, limit: Duration) -> Option<Change> {
        let Phase::Ease { until, answered, before, eased } = self.phase else { return None };
        let view = &signal.view;
        if let Some(first) = answered {
            if signal.largest < first {
                return None;
            }
            self.phase = Phase::Ease { until, answered: None, before, eased };
            if self.probe.feed(before, self.rate()) && view.recent <= limit && !self.limited {
                self.pulse(now, view);
            }
            return None;
        }
        if until <= now && view.recent <= limit {
            self.cruise(now, view);
            return None;
        }
        if until + view.unloaded * PATIENCE > now {
            return None;
        }
        self.cruise(now, view);
        Some(Change::Longer)
    }

    pub(super) fn feed_fall(&mut self, now: Instant, signal: &Signal) -> Option<Change> {
        let Phase::Fall { before, peak, resumed } = self.phase else { return None };
        let view = &signal.view;
        let peak = view.recent.max(peak);
        let Some(first) = resumed else {
            let resumed = self.fits(signal).then_some(signal.next);
            self.phase = Phase::Fall { before, peak, resumed };
            return None;
        };
        if signal.largest < first {
            self.phase = Phase::Fall { before, peak, resumed };
            return None;
        }
        self.cruise(now, view);
        // Our queue is gone. If the delay is not, it was no queue, and no fall.
        if view.recent <= self.calm(view).max(peak / 2) {
            return None;
        }
        self.set(now, before);
        Some(Change::Longer)
    }

    /// What is in flight is what the path carries: no queue of ours.
    fn fits(&self, signal: &Signal) -> bool {
        signal.in_flight <= self.rate().bytes_in(signal.view.unloaded).saturating_add(PACKET)
    }

    /// How long what is in flight takes to arrive.
    fn flight(&self, signal: &Signal) -> Duration {
        signal.view.unloaded.max(self.rate().time_for(signal.in_flight))
    }

    /// Delay up to this is no standing queue.
    fn calm(&self, view: &View) -> Duration {
        self.standing().max(view.jitter)
    }
}
