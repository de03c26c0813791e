//! Probing up: asking whether the path has more to give.
//!
//! ```text
//! gain  1.25  __        2  __                a pulse in each cycle of eight rounds; then 0.75 until its queue is
//!       0.99 '  | ,--'    |  |               gone. If the pulse was delivered without delay, the next one comes at
//!       0.75    `-'    ,--'  `               once, and stronger: 5 to 50 Mbit/s are five pulses.
//! ```

use super::super::rate::Rate;
use crate::time::Duration;

/// | constant | reason |
/// | --- | --- |
/// | `ROUNDS` 8 | as BBR: one round in eight costs on average 1/32 of a BDP of queue |
/// | `LONGEST` 1 s | on a long path eight rounds are too long to wait for what a second shows |
/// | `GAINS` 5/4, 3/2, 2 | the first, as BBR's, costs a queue of a quarter of a round where nothing more is there. Where all of it was delivered the link has grown, so the next asks for more: with 5/4 alone a rise from 5 to 50 Mbit/s takes eleven pulses instead of five |
/// | `GREW` 9/8 | half of the first gain: a sample's noise is less |
/// | `MARGIN` 5/4 of a span | a sample reaches over the span; the pulse must cover one whole |
const ROUNDS: u32 = 8;
const LONGEST: Duration = Duration::from_secs(1);
const GAINS: [(u64, u64); 3] = [(5, 4), (3, 2), (2, 1)];
const GREW: (u64, u64) = (9, 8);
const MARGIN: (u32, u32) = (5, 4);

/// The strength of pulses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProbeUp {
    successes: usize,
}

impl ProbeUp {
    /// A pulse has been answered: the rate before it and the largest since. True where the next
    /// should come at once.
    pub(crate) fn feed(&mut self, before: Rate, since: Rate) -> bool {
        let grew = since > before.scaled(GREW.0, GREW.1);
        self.successes = if grew { self.successes + 1 } else { 0 };
        grew
    }

    /// The gain of the next pulse.
    pub(crate) fn gain(&self) -> (u64, u64) {
        GAINS[self.successes.min(GAINS.len() - 1)]
    }

    /// From one pulse to the next, where none succeeds.
    pub(crate) fn cycle(round: Duration) -> Duration {
        (round * ROUNDS).min(LONGEST.max(round * 3))
    }

    /// How long a pulse lasts, for samples over `span`.
    pub(crate) fn pulse(span: Duration) -> Duration {
        span * MARGIN.0 / MARGIN.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn pulses_grow_while_they_are_delivered() {
        let mut probe = ProbeUp::default();
        let rate = Rate::from_bytes_per_second;
        let mut gains = Vec::new();
        for (before, since) in [(100, 104), (100, 125), (125, 187), (187, 374), (374, 500), (500, 510)] {
            let again = probe.feed(rate(before), rate(since));
            gains.push((probe.gain(), again));
        }
        let expected = [
            ((5, 4), false),
            ((3, 2), true),
            ((2, 1), true),
            ((2, 1), true),
            ((2, 1), true),
            ((5, 4), false),
        ];
        assert_eq!(gains, expected);
    }

    #[test]
    fn a_cycle_is_eight_rounds_and_bounded() {
        let ms = Duration::from_millis;
        let cycles = [20, 100, 300, 600].map(|round| ProbeUp::cycle(ms(round)).as_millis());
        assert_eq!(cycles, [160, 800, 1000, 1800]);
    }
}
