//! The fall: a path that delivers less than it was believed to, seen before its queue is long.
//!
//! ```text
//! rate      50 ======+            excess over the limit for a whole round, and delivered under 7/8 of the rate:
//! delivered 50 ------`-.__ 5      the rate is 7/8 of what was delivered; nothing new until in flight fits
//! excess     0 _______/````
//! ```
//!
//! Either alone is none: delay alone may be another route, fewer bytes alone a source with less to
//! send.

use super::super::rate::Rate;
use crate::time::Duration;

/// | constant | reason |
/// | --- | --- |
/// | `LEAST` 10 ms | what a burst of 16 packets at 20 Mbit/s makes is no fall |
/// | `JITTERS` 2 | delay within twice the noise is no queue |
/// | `PACKETS` 2 of 1,500 B | at 1 Mbit/s one packet alone takes 12 ms |
/// | `UNDER` 7/8 | as glorytun's 9/8: within what a probe at 1.25 or a sample's noise makes |
const LEAST: Duration = Duration::from_millis(10);
const JITTERS: u32 = 2;
const PACKETS: u64 = 2 * 1500;
const UNDER: (u64, u64) = (7, 8);

/// Excess delay beyond this is a queue. `aggregated` is how long a radio lets packets gather.
pub(crate) fn limit(jitter: Duration, aggregated: Duration, rate: Rate) -> Duration {
    LEAST
        .max(jitter * JITTERS)
        .max(aggregated + jitter)
        .max(rate.time_for(PACKETS).min(Duration::from_millis(100)))
}

/// The new rate, if what is `delivered` under a queue that stood for a round is a fall.
pub(crate) fn ask(rate: Rate, delivered: Rate, standing: Duration, limit: Duration) -> Option<Rate> {
    (standing > limit && delivered < rate.scaled(UNDER.0, UNDER.1))
        .then(|| delivered.scaled(UNDER.0, UNDER.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_delay_and_fewer_bytes_together_are_a_fall() {
        let rate = Rate::from_bytes_per_second;
        let ms = Duration::from_millis;
        // delivered, standing excess, jitter, then the new rate of a path of 800
        let series = [
            (800, 0, 0, None),
            (800, 50, 0, None),
            (400, 9, 0, None),
            (400, 11, 0, Some(350)),
            (400, 11, 6, None),
            (400, 13, 6, Some(350)),
            (700_000, 50, 0, None),
            (699_999, 50, 0, Some(612_499)),
        ];
        for (delivered, standing, jitter, expected) in series {
            let (delivered, scale) = if delivered < 1000 { (delivered * 1000, 1000) } else { (delivered, 1) };
            let got =
                ask(rate(800_000), rate(delivered), ms(standing), limit(ms(jitter), ms(0), rate(800_000)));
            assert_eq!(got, expected.map(|new| rate(new * scale)), "{delivered} delivered, {standing} ms");
        }
    }

    #[test]
    fn a_slow_path_may_hold_two_packets() {
        assert_eq!(
            limit(Duration::ZERO, Duration::ZERO, Rate::from_bits_per_second(1_000_000)),
            Duration::from_millis(24)
        );
    }
}
