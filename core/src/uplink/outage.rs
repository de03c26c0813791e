//! An uplink that is down: since when, and what was tried meanwhile. People hear of it again while
//! it lasts, at growing intervals.

use crate::machine::event::Tried;
use crate::time::{Duration, Instant};

/// A reminder follows after this.
const FIRST: Duration = Duration::from_secs(60);
/// More follow at intervals that double, up to this.
const LONGEST: Duration = Duration::from_secs(3600);

/// From the first rest until a connection succeeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    since: Instant,
    pub(super) tried: Tried,
    next: Instant,
    interval: Duration,
}

impl Outage {
    pub(super) fn new(now: Instant) -> Self {
        Outage { since: now, tried: Tried::default(), next: now + FIRST, interval: FIRST }
    }

    /// How long it lasts, if a reminder is due.
    pub(super) fn tell(&mut self, now: Instant) -> Option<Duration> {
        if now < self.next {
            return None;
        }
        self.interval = (self.interval * 2).min(LONGEST);
        self.next = now + self.interval;
        Some(now - self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn it_is_told_after_a_minute_then_ever_more_seldom_up_to_an_hour() {
        let second = |n| Instant::ZERO + Duration::from_secs(n);
        let mut outage = Outage::new(second(100));
        let told = (100..20_000).filter_map(|n| outage.tell(second(n))).map(|lasts| lasts.as_secs());
        let told: Vec<u64> = told.collect();
        assert_eq!(told, [60, 180, 420, 900, 1860, 3780, 7380, 10_980, 14_580, 18_180]);
    }
}
