//! Jitter of one direction: how much two following one-way delays differ, smoothed (RFC 3550 section 6.4.1).

use crate::time::Duration;

/// | constant | reason |
/// | --- | --- |
/// | `GAIN` 1/16 | RFC 3550 section 6.4.1: noise is damped, a change shows after some 16 samples |
/// | `CAP` 100 ms | a single jump of a second is a new route or a stall, no jitter to plan with |
const GAIN: i64 = 16;
const CAP: i64 = 100_000;

/// The mean difference of following delays.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Jitter {
    last: Option<i64>,
    /// In sixteenths of a microsecond, so that small steps are not rounded away.
    mean: i64,
}

impl Jitter {
    /// A delay in microseconds; its offset does not matter.
    pub(crate) fn feed(&mut self, delay: i64) {
        if let Some(last) = self.last.replace(delay) {
            let step = delay.saturating_sub(last).saturating_abs().min(CAP);
            self.mean += step - self.mean / GAIN;
        }
    }

    pub(crate) fn ask(&self) -> Duration {
        Duration::from_micros((self.mean / GAIN).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delays in microseconds over and over, and the jitter after 200 of them.
    fn after(delays: &[i64]) -> u128 {
        let mut jitter = Jitter::default();
        for delay in delays.iter().cycle().take(200) {
            jitter.feed(*delay);
        }
        jitter.ask().as_micros()
    }

    #[test]
    fn a_steady_delay_has_none_and_a_swing_has_its_mean_step() {
        assert_eq!(after(&[10_000]), 0);
        assert_eq!(after(&[10_000, 14_000]), 4_000);
        // Steps of 2, 6 and 8 ms: 5.3 in the mean, whatever came last weighs most.
        assert!((5_000..5_800).contains(&after(&[10_000, 12_000, 18_000])));
    }

    #[test]
    fn one_jump_is_forgotten() {
        let mut jitter = Jitter::default();
        jitter.feed(0);
        jitter.feed(i64::MAX);
        assert_eq!(jitter.ask(), Duration::from_millis(100) / 16);
        for _ in 0..100 {
            jitter.feed(i64::MAX);
        }
        assert!(jitter.ask() < Duration::from_micros(20));
    }
}
