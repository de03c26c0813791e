//! Acknowledgement aggregation: how much comes acknowledged at once beyond what the rate explains,
//! as time at the rate.
//!
//! A radio that grants every 10 ms, or a driver that acknowledges in batches, lets a burst of
//! acknowledgements follow a silence. In flight must allow for the silence, or the path starves in
//! it. (BBR's draft: extra_acked.)
//!
//! ```text
//! acknowledged          ____|          extra = acknowledged - rate x time,
//!                  ____|    .          counted from where it was last zero
//!             ____|  . ' rate x time
//! ```

use super::super::rate::Rate;
use super::window::Highest;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `ROUNDS` 10 | BBR's draft: a pattern of grants repeats within that |
/// | `CAP` 50 ms | Wi-Fi and LTE aggregate up to 20 to 40 ms; a burst after a longer silence is an outage that ended |
const ROUNDS: u32 = 10;
const CAP: Duration = Duration::from_millis(50);

/// The extra of acknowledgements that come in bursts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Aggregation {
    epoch: Option<Instant>,
    acknowledged: u64,
    extra: Highest,
}

impl Aggregation {
    /// `bytes` are newly acknowledged; the path is believed to have `rate`, a round lasts `round`.
    pub(crate) fn feed(&mut self, now: Instant, bytes: u64, rate: Rate, round: Duration) {
        let epoch = *self.epoch.get_or_insert(now);
        let expected = rate.bytes_in(now - epoch);
        if self.acknowledged <= expected {
            self.epoch = Some(now);
            self.acknowledged = 0;
        }
        self.acknowledged += bytes;
        let expected = rate.bytes_in(now - self.epoch.unwrap_or(now));
        let extra = rate.time_for(self.acknowledged.saturating_sub(expected)).min(CAP);
        self.extra.feed(now, round * ROUNDS, i64::try_from(extra.as_nanos()).unwrap_or(i64::MAX));
    }

    /// For how long acknowledgements gather.
    pub(crate) fn ask(&self) -> Duration {
        Duration::from_nanos(self.extra.ask().map_or(0, i64::unsigned_abs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `ms` milliseconds a second long `bytes` are acknowledged, of a rate of 1 MB/s.
    fn run(ms: u64, bytes: u64) -> u128 {
        let mut aggregation = Aggregation::default();
        for step in 1..=1000 / ms {
            let now = Instant::from_nanos(step * ms * 1_000_000);
            aggregation.feed(now, bytes, Rate::from_bytes_per_second(1_000_000), Duration::from_millis(20));
        }
        aggregation.ask().as_millis()
    }

    #[test]
    fn the_extra_is_one_burst() {
        // interval (ms), bytes in each burst, extra (ms)
        for (ms, bytes, extra) in [(1, 1_000, 1), (10, 10_000, 10), (25, 25_000, 25), (10, 100_000, 50)] {
            assert_eq!(run(ms, bytes), extra, "bursts of {bytes} bytes every {ms} ms");
        }
    }
}
