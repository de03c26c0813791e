//! Jitter of one direction: the noise floor of its one-way delay.
//!
//! ```text
//! delay   |\  |\      ___/|\  |          range of each round (largest less smallest): 8 8 8 30 8 8
//!       \_| \_| \____/    | \_|          a queue that grows widens some rounds, jitter widens all:
//!         8   8     30      8            the smallest range of the last rounds is jitter
//! ```
//!
//! The mean difference of following delays (RFC 3550) says too little here: a path that keeps order
//! lets a late packet's followers arrive together with it, and their delays differ by nothing.

use super::window::Lowest;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `ROUNDS` 8 | a fall or a start-up widens the ranges of two to four rounds |
/// | `SAMPLES` 4 | fewer in a round show no range |
/// | `HALF` 2 | jitter is told as deviation to either side; limits are twice that |
/// | `CAP` 100 ms | a wider range is a path that swings, no jitter to plan with |
const ROUNDS: u32 = 8;
const SAMPLES: u32 = 4;
const HALF: u32 = 2;
const CAP: Duration = Duration::from_millis(100);

/// The noise of a delay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Jitter {
    round: Option<Round>,
    ranges: Lowest,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    since: Instant,
    samples: u32,
    smallest: i64,
    largest: i64,
}

impl Jitter {
    /// A delay in microseconds, its offset does not matter; a round lasts `round`.
    pub(crate) fn feed(&mut self, now: Instant, delay: i64, round: Duration) {
        match &mut self.round {
            Some(known) if now - known.since < round || known.samples < SAMPLES => {
                known.samples += 1;
                known.smallest = known.smallest.min(delay);
                known.largest = known.largest.max(delay);
            }
            over => {
                let fresh = Round { since: now, samples: 1, smallest: delay, largest: delay };
                if let Some(over) = over.replace(fresh) {
                    self.ranges.feed(now, round * ROUNDS, over.largest.saturating_sub(over.smallest));
                }
            }
        }
    }

    /// The delay changes for a reason that is known: the round that has begun shows no jitter.
    pub(crate) fn interrupt(&mut self) {
        self.round = None;
    }

    /// Half the range, or none where no round is over.
    pub(crate) fn ask(&self) -> Duration {
        Duration::from_micros(self.ranges.ask().unwrap_or(0).unsigned_abs()).min(CAP) / HALF
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Delays in milliseconds, one every 5 ms, rounds of 20 ms; the jitter in milliseconds after
    /// each round.
    fn run(delays: &[i64]) -> Vec<u128> {
        let mut jitter = Jitter::default();
        let mut after = Vec::new();
        for (step, delay) in delays.iter().enumerate() {
            let now = Instant::from_nanos(step as u64 * 5_000_000);
            jitter.feed(now, delay * 1000, Duration::from_millis(20));
            if step % 4 == 3 {
                after.push(jitter.ask().as_millis());
            }
        }
        after
    }

    #[test]
    fn what_all_rounds_show_is_jitter_and_a_growing_queue_is_not() {
        let steady = [10; 12];
        assert_eq!(run(&steady), [0, 0, 0]);
        let noisy = [10, 18, 12, 14].repeat(5);
        assert_eq!(run(&noisy), [0, 4, 4, 4, 4]);
        // Jitter of 8 ms, then a queue of 60 ms that comes and goes.
        let queue =
            [10, 18, 12, 14, 10, 18, 12, 14, 20, 30, 40, 50, 60, 70, 65, 50, 40, 30, 20, 10, 10, 18, 12, 14];
        assert_eq!(run(&queue), [0, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn jitter_that_is_over_is_forgotten_and_new_jitter_believed() {
        let calm_after = [[10, 18, 12, 14].repeat(3), [10; 8].to_vec()].concat();
        assert_eq!(run(&calm_after), [0, 4, 4, 4, 0]);
        let noisy_after = [[10; 8].to_vec(), [10, 18, 12, 14].repeat(12)].concat();
        assert_eq!(run(&noisy_after).last(), Some(&4));
    }
}
