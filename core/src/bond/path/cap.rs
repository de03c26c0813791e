//! The in-flight cap: what the path holds by itself, and what delay and acknowledgements need on
//! top.
//!
//! ```text
//! cap = rate x unloaded RTT + max(5 ms, 2 x jitter, aggregation) at the rate + one packet
//! ```
//!
//! It is what bounds the queue where the rate is over-estimated, and the flight that is lost with a
//! path.

use super::super::rate::Rate;
use crate::time::Duration;

/// | constant | reason |
/// | --- | --- |
/// | `LEAST` 5 ms | timers of a millisecond and runs of 16 packets fit in; a ping inside feels no more |
/// | `JITTERS` 2 | packets that are late are still in flight |
/// | `PACKET` 1,500 B | the one that a link is sending now |
const LEAST: Duration = Duration::from_millis(5);
const JITTERS: u32 = 2;
const PACKET: u64 = 1500;

/// Bytes that may be in flight.
pub(crate) fn ask(rate: Rate, unloaded: Duration, jitter: Duration, aggregated: Duration) -> u64 {
    rate.bytes_in(unloaded + LEAST.max(jitter * JITTERS).max(aggregated)).saturating_add(PACKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_a_peer_made_up_is_no_small_cap() {
        let most = Rate::from_bytes_per_second(u64::MAX);
        assert_eq!(ask(most, Duration::from_secs(8), Duration::ZERO, Duration::ZERO), u64::MAX);
    }

    #[test]
    fn the_slack_is_the_largest_of_three() {
        let rate = Rate::from_bytes_per_second(1_000_000);
        let ms = Duration::from_millis;
        // jitter, aggregation (ms), then the cap over 20 ms
        for (jitter, aggregated, cap) in [(0, 0, 26_500), (2, 4, 26_500), (4, 0, 29_500), (4, 10, 31_500)] {
            assert_eq!(ask(rate, ms(20), ms(jitter), ms(aggregated)), cap);
        }
    }
}
