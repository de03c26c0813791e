//! RFC 8289: whether the packet that comes to the head of the queue is dropped for a delay that
//! stands.
//!
//! The law asks the delay of each packet as it leaves the queue. While it stays over the target for
//! an interval, one packet is dropped, and the next ones at `interval / sqrt(count)` until a packet
//! has waited less than the target.

use ropewalk_core::time::{Duration, Instant};

/// A packet that is the last one of up to this size is never dropped (RFC 8289 section 4.2.2: an
/// MTU).
const MTU: u64 = 1514;

#[derive(Clone, Debug)]
pub(super) struct CoDel {
    target: Duration,
    interval: Duration,
    /// When the delay will have stood for an interval.
    first_above: Option<Instant>,
    dropping: bool,
    drop_next: Instant,
    count: u64,
    last_count: u64,
}

impl CoDel {
    pub(super) fn new(target: Duration, interval: Duration) -> Self {
        CoDel {
            target,
            interval,
            first_above: None,
            dropping: false,
            drop_next: Instant::ZERO,
            count: 0,
            last_count: 0,
        }
    }

    /// Whether to drop (or mark) the packet that has waited `sojourn` and leaves `behind` bytes in
    /// the queue. To be asked for each packet at the head, again for the next after a drop. `None`:
    /// the queue is empty.
    pub(super) fn drops(&mut self, now: Instant, waited: Option<(Duration, u64)>) -> bool {
        let stands = self.stands(now, waited);
        if self.dropping {
            if !stands {
                self.dropping = false;
                return false;
            }
            if now < self.drop_next {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.drop_next = self.law(self.drop_next);
            return true;
        }
        if !stands {
            return false;
        }
        self.dropping = true;
        // RFC 8289 section 5.4: where dropping stopped a short while ago, go on near the rate that
        // held the delay.
        let delta = self.count - self.last_count;
        let lately = now - self.drop_next < self.interval.saturating_mul(16);
        self.count = if delta > 1 && lately { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = self.law(now);
        true
    }

    /// RFC 8289 section 5.6, `dodequeue`: whether the delay has stood over the target for an
    /// interval.
    fn stands(&mut self, now: Instant, waited: Option<(Duration, u64)>) -> bool {
        let over = waited.is_some_and(|(sojourn, behind)| sojourn >= self.target && behind > MTU);
        match self.first_above {
            _ if !over => {
                self.first_above = None;
                false
            }
            None => {
                self.first_above = Some(now + self.interval);
                false
            }
            Some(at) => now >= at,
        }
    }

    /// The next drop: `interval / sqrt(count)` after `from`. The root has 16 bits behind the point.
    fn law(&self, from: Instant) -> Instant {
        let root = u128::from(self.count.max(1) << 32).isqrt();
        from + Duration::from_nanos(
            u64::try_from((self.interval.as_nanos() << 16) / root).unwrap_or(u64::MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Asks once a millisecond, with these waiting times, and writes down when it drops.
    fn drops(codel: &mut CoDel, from: u64, to: u64, waited: Duration) -> Vec<u64> {
        let ask = |&ms: &u64| codel.drops(Instant::ZERO + MS * ms as u32, Some((waited, 30_000)));
        (from..to).filter(ask).collect()
    }

    #[test]
    fn a_standing_delay_is_dropped_ever_faster_until_it_ends() {
        let mut codel = CoDel::new(5 * MS, 100 * MS);
        // The first after an interval, then 100 / sqrt(n) apart: 100, 71, 58, 50, 45.
        assert_eq!(drops(&mut codel, 0, 500, 20 * MS), [100, 200, 271, 329, 379, 424, 464]);
        assert!(drops(&mut codel, 500, 520, 4 * MS).is_empty());
        // It stood again: it goes on near the last rate.
        let again = drops(&mut codel, 520, 700, 20 * MS);
        assert_eq!(again.first(), Some(&620));
        assert!(again.len() >= 2, "{again:?}");
    }

    #[test]
    fn a_short_burst_is_let_through() {
        let mut codel = CoDel::new(5 * MS, 100 * MS);
        assert!(drops(&mut codel, 0, 99, 80 * MS).is_empty());
        assert!(drops(&mut codel, 99, 101, MS).is_empty());
        assert!(drops(&mut codel, 101, 200, 80 * MS).is_empty());
    }
}
