//! One-way delay of one direction, measured without common clocks.
//!
//! ```text
//! sender's clock        timestamp = us mod 2^24
//! receiver's clock      raw = (arrival - timestamp) mod 2^24 = delay + offset of the clocks
//! ```
//!
//! The offset is unknown and the same for all paths of a direction, so only differences mean
//! something: `excess` over the base of this path, and [`RawDelay::over`] between two paths. The
//! base is the smallest SMOOTHED delay of the last 10 s: on a path with jitter the smallest single
//! delay is a stroke of luck, and all else would look like a queue.

use super::window::Lowest;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `BASE_SPAN` 10 s | a base is forgotten after that; clocks drift by 1 ms in it at worst |
/// | `GAIN` 1/8 | as the smoothed RTT: a batch of 8 to 16 packets is one or two samples |
const BASE_SPAN: Duration = Duration::from_secs(10);
const GAIN: i64 = 8;

const MODULUS: i64 = 1 << 24;

/// The timestamp of a packet that leaves now: microseconds modulo 2^24.
pub(crate) fn timestamp(now: Instant) -> u32 {
    u32::try_from(now.as_nanos() / 1000 % MODULUS.unsigned_abs()).expect("under 2^24")
}

/// `value` modulo 2^24 as the nearest signed number.
fn signed(value: i64) -> i64 {
    let low = value.rem_euclid(MODULUS);
    if low >= MODULUS / 2 { low - MODULUS } else { low }
}

/// A one-way delay plus the unknown offset of the two clocks, in microseconds modulo 2^24.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RawDelay(pub(crate) u32);

impl RawDelay {
    /// What the receiver measures: arrived now, with the sender's timestamp on it.
    pub(crate) fn measured(now: Instant, stamp: u32) -> RawDelay {
        let difference = i64::from(timestamp(now)) - i64::from(stamp);
        RawDelay(u32::try_from(difference.rem_euclid(MODULUS)).expect("under 2^24"))
    }

    /// How many microseconds this delay is longer than another of the same direction; negative if
    /// shorter.
    pub(crate) fn over(self, other: RawDelay) -> i64 {
        signed(i64::from(self.0) - i64::from(other.0))
    }
}

/// The one-way delay of one path in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OneWay {
    /// Counted on over the modulus, microseconds.
    latest: Option<i64>,
    /// In eighths of a microsecond.
    smoothed: i64,
    base: Lowest,
    recent: Lowest,
    standing: Lowest,
}

impl OneWay {
    /// A delay as the receiver measured it, and the spans over which `recent` and `standing` look
    /// back. Gives it counted on over the modulus.
    pub(crate) fn feed(&mut self, now: Instant, raw: RawDelay, recent: Duration, standing: Duration) -> i64 {
        let delay = match self.latest {
            None => {
                let first = i64::from(raw.0 & 0xff_ffff);
                self.smoothed = first * GAIN;
                first
            }
            Some(latest) => latest + signed(i64::from(raw.0) - latest),
        };
        self.latest = Some(delay);
        self.smoothed += delay - self.smoothed.div_euclid(GAIN);
        self.base.feed(now, BASE_SPAN, self.smoothed.div_euclid(GAIN));
        self.recent.feed(now, recent, delay);
        self.standing.feed(now, standing, delay);
        delay
    }

    /// The smallest smoothed delay of the last 10 s, to compare with another path's.
    pub(crate) fn base(&self) -> Option<RawDelay> {
        self.base.ask().map(wrap)
    }

    /// The latest over the base.
    pub(crate) fn excess(&self) -> Duration {
        self.over_base(self.latest)
    }

    /// The smallest of the last few milliseconds over the base: a queue, or one burst.
    pub(crate) fn recent(&self) -> Duration {
        self.over_base(self.recent.ask())
    }

    /// The smallest of the last round over the base: a queue that stands, whatever the jitter.
    pub(crate) fn standing(&self) -> Duration {
        self.over_base(self.standing.ask())
    }

    /// The excess did not go with the queue: the way has become longer. What was seen last is the
    /// base now.
    pub(crate) fn rebase(&mut self, now: Instant) {
        if let Some(recent) = self.recent.ask() {
            self.base.clear();
            self.base.feed(now, BASE_SPAN, recent);
            self.standing = self.base;
        }
    }

    fn over_base(&self, delay: Option<i64>) -> Duration {
        let excess = delay.zip(self.base.ask()).map_or(0, |(delay, base)| (delay - base).max(0));
        Duration::from_micros(excess.unsigned_abs())
    }
}

fn wrap(delay: i64) -> RawDelay {
    RawDelay(u32::try_from(delay.rem_euclid(MODULUS)).expect("under 2^24"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Feeds delays in milliseconds every 5 ms, with the clocks `offset` us apart; excess, recent,
    /// standing in ms.
    fn run(offset: i64, delays: &[i64]) -> Vec<(u128, u128, u128)> {
        let mut one_way = OneWay::default();
        let feed = |(step, ms): (usize, &i64)| {
            let raw = RawDelay(u32::try_from((ms * 1000 + offset).rem_euclid(MODULUS)).expect("in range"));
            one_way.feed(at(step as u64 * 5), raw, MS * 6, MS * 20);
            let millis = Duration::as_millis;
            (millis(&one_way.excess()), millis(&one_way.recent()), millis(&one_way.standing()))
        };
        delays.iter().enumerate().map(feed).collect()
    }

    #[test]
    fn a_queue_stands_and_a_spike_does_not() {
        let delays = [10, 10, 30, 10, 10, 10, 10, 30, 31, 32, 33, 34, 35, 36];
        let expected = [
            (0, 0, 0),
            (0, 0, 0),
            (20, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (20, 0, 0),
            (21, 20, 0),
            (22, 21, 0),
            (23, 22, 0),
            (24, 23, 20),
            (25, 24, 21),
            (26, 25, 22),
        ];
        assert_eq!(run(0, &delays), expected);
        // The clocks' offset cancels, also where the raw delay passes 2^24.
        assert_eq!(run(MODULUS - 20_000, &delays), expected);
        assert_eq!(run(-5_000_000, &delays), expected);
    }

    #[test]
    fn two_paths_compare_without_a_common_clock() {
        let offset = MODULUS - 15_000;
        let raw = |us: i64| RawDelay(u32::try_from((us + offset).rem_euclid(MODULUS)).expect("in range"));
        assert_eq!(raw(40_000).over(raw(10_000)), 30_000);
        assert_eq!(raw(10_000).over(raw(40_000)), -30_000);
    }

    #[test]
    fn the_base_is_forgotten_after_ten_seconds_or_by_rebase() {
        let mut one_way = OneWay::default();
        one_way.feed(at(0), RawDelay(10_000), MS * 5, MS * 20);
        one_way.feed(at(9_000), RawDelay(60_000), MS * 5, MS * 20);
        assert_eq!(one_way.excess(), MS * 50);
        let mut other = one_way;
        for step in 0..80 {
            one_way.feed(at(9_000 + step * 500), RawDelay(60_000), MS * 5, MS * 20);
        }
        assert!(one_way.excess() < MS, "{:?}", one_way.excess());
        other.rebase(at(9_000));
        assert_eq!((other.excess(), other.standing()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_stamp_goes_round_after_sixteen_seconds() {
        let now = Instant::from_nanos(16_777_300_000);
        assert_eq!(timestamp(now), 84);
        assert_eq!(RawDelay::measured(now + MS, 84), RawDelay(1000));
        assert_eq!(RawDelay::measured(now, 0xff_ffff), RawDelay(85));
    }
}
