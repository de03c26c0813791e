//! Round-trip time: smoothed, its variance, and the smallest of the last while (RFC 9002 section
//! 5).

use super::window::Lowest;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `INITIAL` 333 ms | RFC 9002 section 6.2.2: what to believe before the first sample |
/// | `GAIN` 1/8, `VARIANCE_GAIN` 1/4 | RFC 9002 section 5.3 |
/// | `MIN_SPAN` 10 s | a base is forgotten after that, so a changed route is believed; as the one-way base |
const INITIAL: Duration = Duration::from_millis(333);
const GAIN: u32 = 8;
const VARIANCE_GAIN: u32 = 4;
const MIN_SPAN: Duration = Duration::from_secs(10);

/// The round-trip time of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    /// Smoothed and variance, after the first sample.
    known: Option<(Duration, Duration)>,
    latest: Duration,
    min: Lowest,
}

impl Rtt {
    /// A sample: from sending a packet to its acknowledgement, of which the peer says it held it
    /// for `held`.
    pub(crate) fn feed(&mut self, now: Instant, sample: Duration, held: Duration) {
        self.latest = sample;
        self.min.feed(now, MIN_SPAN, i64::try_from(sample.as_nanos()).unwrap_or(i64::MAX));
        // RFC 9002 section 5.3: the peer's delay is taken off unless that would go below the
        // smallest.
        let adjusted = if sample >= self.min().saturating_add(held) { sample - held } else { sample };
        self.known = Some(match self.known {
            None => (adjusted, adjusted / 2),
            Some((smoothed, variance)) => {
                let off = smoothed.abs_diff(adjusted);
                let variance = variance - variance / VARIANCE_GAIN + off / VARIANCE_GAIN;
                (smoothed - smoothed / GAIN + adjusted / GAIN, variance)
            }
        });
    }

    pub(crate) fn known(&self) -> bool {
        self.known.is_some()
    }

    pub(crate) fn smoothed(&self) -> Duration {
        self.known.map_or(INITIAL, |(smoothed, _)| smoothed)
    }

    pub(crate) fn variance(&self) -> Duration {
        self.known.map_or(INITIAL / 2, |(_, variance)| variance)
    }

    pub(crate) fn latest(&self) -> Duration {
        if self.known() { self.latest } else { INITIAL }
    }

    /// The smallest of the last 10 s.
    pub(crate) fn min(&self) -> Duration {
        self.min.ask().map_or(INITIAL, |nanos| Duration::from_nanos(nanos.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn it_follows_a_step_and_remembers_the_smallest() {
        let mut rtt = Rtt::default();
        assert_eq!((rtt.smoothed(), rtt.known()), (INITIAL, false));
        let samples = [20, 20, 20, 60, 60, 60, 60, 60];
        let got: Vec<(u128, u128, u128)> = samples
            .iter()
            .enumerate()
            .map(|(step, ms)| {
                let now = Instant::from_nanos(step as u64 * 20_000_000);
                rtt.feed(now, Duration::from_millis(*ms), Duration::ZERO);
                (rtt.smoothed().as_millis(), rtt.variance().as_millis(), rtt.min().as_millis())
            })
            .collect();
        //              smoothed, variance, smallest (ms)
        let expected = [
            (20, 10, 20),
            (20, 7, 20),
            (20, 5, 20),
            (25, 14, 20),
            (29, 19, 20),
            (33, 22, 20),
            (36, 23, 20),
            (39, 23, 20),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn what_the_peer_held_is_taken_off_but_never_below_the_smallest() {
        let mut rtt = Rtt::default();
        let ms = Duration::from_millis;
        rtt.feed(Instant::ZERO, ms(20), Duration::ZERO);
        rtt.feed(Instant::ZERO, ms(25), ms(5));
        assert_eq!(rtt.smoothed(), ms(20));
        rtt.feed(Instant::ZERO, ms(22), ms(1000));
        assert_eq!(rtt.smoothed(), ms(20) - ms(20) / 8 + ms(22) / 8);
    }
}
