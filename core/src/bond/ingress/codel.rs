//! The control law of CoDel (RFC 8289): a queue is too long when its packets have waited longer
//! than `target` for all of an `interval`; then drops come closer together, by the square root of
//! their count.

use crate::time::{Duration, Instant};

/// How long packets may wait, and over what time that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delays {
    pub(crate) target: Duration,
    pub(crate) interval: Duration,
}

/// RFC 8289 section 4.2 and 4.3: what suits the open Internet.
const LEAST_TARGET: Duration = Duration::from_millis(5);
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// A longer interval would never judge; it also keeps the control law's product in 64 bits.
const MOST: Duration = Duration::from_secs(10);

impl Default for Delays {
    fn default() -> Self {
        Delays { target: LEAST_TARGET, interval: LEAST_INTERVAL }
    }
}

impl Delays {
    /// What one flow needs to keep links of the base round-trip time `rtt`, repairs included, whose
    /// delays differ by `skew`, busy.
    ///
    /// CUBIC cuts its window to 0.7 (RFC 9438), so it keeps the links busy if the queue holds 0.43
    /// (1 / 0.7 - 1) of the round-trip time; and a slower link is only fed from a queue that the
    /// faster one would not have emptied meanwhile. What a drop does shows two round trips later,
    /// and those have the queue in them: dropped again before that, a flow that has overshot in its
    /// slow start is cut twice.
    pub(crate) fn suit(rtt: Duration, skew: Duration) -> Delays {
        let rtt = rtt.min(MOST);
        let target = rtt * 43 / 100 + skew.min(MOST);
        let target = target.clamp(LEAST_TARGET, MOST);
        Delays { target, interval: ((rtt + target) * 2).clamp(LEAST_INTERVAL, MOST) }
    }
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may leave.
    Pass,
    /// Its sender is to slow down: mark it, or drop it and judge the next.
    Congested,
}

/// The state of one queue. Its names are RFC 8289's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codel {
    /// When the wait will have been over the target for an interval; `None` while it is under it.
    first_above: Option<Instant>,
    /// When the next one is to be dropped, while dropping.
    drop_next: Instant,
    /// Drops since dropping began.
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl Codel {
    /// Judges the packet at the head, which has waited for `sojourn`. `short`: the queue holds at
    /// most one packet of full size, so that there is nothing to shorten.
    pub(super) fn judge(&mut self, now: Instant, sojourn: Duration, short: bool, delays: &Delays) -> Verdict {
        let ok_to_drop = self.is_above(now, sojourn, short, delays);
        match (self.dropping, ok_to_drop) {
            (true, false) => {
                self.dropping = false;
                Verdict::Pass
            }
            (true, true) if now < self.drop_next => Verdict::Pass,
            (true, true) => {
                self.count = self.count.saturating_add(1);
                // While no path could carry, no packet was judged: what RFC 8289 would have dropped
                // in that time are all that came before the outage, and TCP has nothing left that
                // tells it of the outage's end.
                if now - self.drop_next > delays.interval {
                    self.drop_next = now;
                }
                self.drop_next += step(delays.interval, self.count);
                Verdict::Congested
            }
            (false, false) => Verdict::Pass,
            (false, true) => {
                self.dropping = true;
                // RFC 8289 section 5.4: soon after the last time, begin near the rate that was
                // right then.
                let delta = self.count.wrapping_sub(self.last_count);
                let soon = now - self.drop_next < delays.interval * 16;
                self.count = if delta > 1 && soon { delta } else { 1 };
                self.drop_next = now + step(delays.interval, self.count);
                self.last_count = self.count;
                Verdict::Congested
            }
        }
    }

    /// Takes in that the queue ran empty.
    pub(super) fn handle_empty(&mut self) {
        self.first_above = None;
        self.dropping = false;
    }

    fn is_above(&mut self, now: Instant, sojourn: Duration, short: bool, delays: &Delays) -> bool {
        if sojourn < delays.target || short {
            self.first_above = None;
            return false;
        }
        now >= *self.first_above.get_or_insert(now + delays.interval)
    }
}

/// `interval / sqrt(count)`, in integers: the root is taken of `count * 2^32`, which makes it 2^16
/// times as large.
fn step(interval: Duration, count: u32) -> Duration {
    let root = (u64::from(count.max(1)) << 32).isqrt();
    let nanos = interval.min(MOST).as_nanos() as u64; // At most 10^10, which is below 2^34.
    Duration::from_nanos((nanos << 16) / root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn drops_come_closer_by_the_square_root() {
        let interval = Duration::from_millis(100);
        let steps = [1, 2, 3, 4, 100, 10_000].map(|count| step(interval, count).as_micros());
        assert_eq!(steps, [100_000, 70_711, 57_735, 50_000, 10_000, 1_000]);
        assert!(step(interval, u32::MAX) > Duration::ZERO);
    }

    #[test]
    fn the_target_grows_with_the_round_trip_and_the_skew() {
        let ms = Duration::from_millis;
        assert_eq!(Delays::suit(ms(2), ms(0)), Delays::default());
        assert_eq!(Delays::suit(ms(20), ms(0)).target, Duration::from_micros(8_600));
        assert_eq!(Delays::suit(ms(80), ms(30)).target, Duration::from_micros(64_400));
        assert_eq!(Delays::suit(ms(80), ms(30)).interval, Duration::from_micros(288_800));
        assert_eq!(Delays::suit(Duration::MAX, Duration::MAX), Delays { target: MOST, interval: MOST });
    }

    /// A packet every millisecond that has waited for `sojourn`; when packets are found congested,
    /// in milliseconds.
    fn series(codel: &mut Codel, from: u64, count: u64, sojourn: u64) -> Vec<u64> {
        let judge = |codel: &mut Codel, at: u64| {
            let now = Instant::from_nanos(at * 1_000_000);
            codel.judge(now, Duration::from_millis(sojourn), false, &Delays::default()) == Verdict::Congested
        };
        (from..from + count).filter(|at| judge(codel, *at)).collect()
    }

    #[test]
    fn drops_are_not_made_up_for_after_a_time_in_which_nothing_left() {
        let mut codel = Codel::default();
        series(&mut codel, 0, 400, 50);
        // Nothing left for 3 s. Then what waited goes in a tenth of a second.
        let dropped = series(&mut codel, 3400, 100, 3000);
        assert!((1..=4).contains(&dropped.len()), "{dropped:?}");
    }

    #[test]
    fn a_standing_queue_is_found_after_an_interval_a_burst_is_not() {
        let mut codel = Codel::default();
        assert_eq!(series(&mut codel, 0, 99, 50), [], "a burst");
        assert_eq!(series(&mut codel, 99, 1, 4), [], "it is gone");
        // 100 ms + 100, + 100/sqrt 2, + 100/sqrt 3, + 50
        assert_eq!(series(&mut codel, 100, 400, 50), [200, 300, 371, 429, 479]);
        assert_eq!(series(&mut codel, 500, 10, 4), [], "the queue is short again");
        // Soon after, it begins where it was: five drops, so 100/sqrt 4 follows the first.
        assert_eq!(series(&mut codel, 510, 200, 50), [610, 660, 705]);
    }
}
