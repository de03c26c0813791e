//! A rate in bytes per second, as an integer.
//!
//! What a rate gives in a time seldom is a whole number of bytes. [`Earned`] keeps the rest, so
//! that a sum of small steps equals one large step.

use crate::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// Bytes per second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Rate(u64);

impl Rate {
    pub(crate) const ZERO: Rate = Rate(0);

    pub(crate) const fn from_bytes_per_second(bytes: u64) -> Rate {
        Rate(bytes)
    }

    /// `bits` per second, as links are sold.
    #[cfg(test)]
    pub(crate) const fn from_bits_per_second(bits: u64) -> Rate {
        Rate(bits / 8)
    }

    pub(crate) const fn bytes_per_second(self) -> u64 {
        self.0
    }

    /// The rate that carries `bytes` in `time`; no time counts as one nanosecond.
    pub(crate) fn measured(bytes: u64, time: Duration) -> Rate {
        Rate(clamp(u128::from(bytes) * NANOS / time.as_nanos().max(1)))
    }

    /// How long `bytes` take, rounded up. At rate zero any byte takes for ever.
    pub(crate) fn time_for(self, bytes: u64) -> Duration {
        if self.0 == 0 && bytes > 0 {
            return Duration::from_nanos(u64::MAX);
        }
        // This is asked for each packet and path, and a wide division costs more than all the rest.
        Duration::from_nanos(match bytes.checked_mul(NANOS as u64) {
            Some(product) => product.div_ceil(self.0.max(1)),
            None => clamp((u128::from(bytes) * NANOS).div_ceil(u128::from(self.0.max(1)))),
        })
    }

    /// How many whole bytes pass in `time`.
    pub(crate) fn bytes_in(self, time: Duration) -> u64 {
        match u64::try_from(time.as_nanos()).ok().and_then(|time| self.0.checked_mul(time)) {
            Some(product) => product / NANOS as u64,
            None => clamp(u128::from(self.0).saturating_mul(time.as_nanos()) / NANOS),
        }
    }

    /// `numerator / denominator` of this rate. The denominator is a constant of ours, never zero.
    pub(crate) fn scaled(self, numerator: u64, denominator: u64) -> Rate {
        Rate(match self.0.checked_mul(numerator) {
            Some(product) => product / denominator.max(1),
            None => clamp(u128::from(self.0) * u128::from(numerator) / u128::from(denominator.max(1))),
        })
    }
}

fn clamp(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Bytes that a rate earns over time, with the rest of each step kept for the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Earned {
    /// Billionths of a byte, under one byte.
    rest: u64,
}

impl Earned {
    /// The whole bytes that `rate` earned in `time`, with what was left of the steps before.
    pub(crate) fn earn(&mut self, rate: Rate, time: Duration) -> u64 {
        let nanos = u64::try_from(time.as_nanos()).ok();
        let short = nanos.and_then(|nanos| rate.0.checked_mul(nanos)?.checked_add(self.rest));
        if let Some(total) = short {
            self.rest = total % NANOS as u64;
            return total / NANOS as u64;
        }
        let total = u128::from(rate.0).saturating_mul(time.as_nanos()).saturating_add(u128::from(self.rest));
        self.rest = clamp(total % NANOS);
        clamp(total / NANOS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rate_measures_what_it_gave() {
        let rate = Rate::from_bits_per_second(50_000_000);
        assert_eq!(rate.bytes_in(Duration::from_millis(20)), 125_000);
        assert_eq!(rate.time_for(125_000), Duration::from_millis(20));
        assert_eq!(Rate::measured(125_000, Duration::from_millis(20)), rate);
        assert_eq!(rate.scaled(7, 8).bytes_per_second(), 5_468_750);
    }

    #[test]
    fn no_rate_takes_for_ever_and_no_time_overflows_nothing() {
        assert_eq!(Rate::ZERO.time_for(1), Duration::from_nanos(u64::MAX));
        assert_eq!(Rate::ZERO.time_for(0), Duration::ZERO);
        assert_eq!(Rate::measured(u64::MAX, Duration::ZERO).bytes_per_second(), u64::MAX);
        assert_eq!(Rate(u64::MAX).bytes_in(Duration::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn many_small_steps_earn_what_one_large_step_earns(
            rate in 1u64..2_000_000_000,
            steps in prop::collection::vec(1u64..5_000_000, 1..200),
        ) {
            let rate = Rate(rate);
            let mut earned = Earned::default();
            let sum: u64 = steps.iter().map(|step| earned.earn(rate, Duration::from_nanos(*step))).sum();
            prop_assert_eq!(sum, rate.bytes_in(Duration::from_nanos(steps.iter().sum())));
        }

        #[test]
        fn the_time_for_bytes_is_enough_for_them(rate in 1u64..2_000_000_000, bytes in 0u64..100_000_000) {
            let rate = Rate(rate);
            prop_assert!(rate.bytes_in(rate.time_for(bytes)) >= bytes);
        }
    }
}
