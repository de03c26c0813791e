//! Start-up: finding the rate of a path that is unknown, or remembered only.
//!
//!     window                     ____ full: delay, or no more speed for three rounds
//!                          ___,-'
//!                    __,--'          doubles in each round: every byte delivered adds one
//!     initial  -----'
//!
//! The window is what may be in flight; it is sent within half a round, so that a round's samples show the rate of the
//! path, not of the window.

use super::super::rate::Rate;
use crate::time::Duration;

/// | constant | reason |
/// | --- | --- |
/// | `INITIAL` 10 packets | RFC 6928: what a path may be given unseen |
/// | `PACE` 2 windows a round | Linux in slow start; at 1 the window itself would limit every sample |
/// | `GROWTH` 5/4, `FLAT` 3 rounds | BBR's draft, 4.3.1.2: a rate that grew by less for three rounds has been found |
/// | `LOSSY` 1/10 | loss beyond that while the rate stays flat is a short queue that overflows: found at once |
pub(crate) const INITIAL: u64 = 10 * 1500;
const PACE: u64 = 2;
const GROWTH: (u64, u64) = (5, 4);
const FLAT: u32 = 3;
const LOSSY: u64 = 10;

/// The growth of the window, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Startup {
    window: u64,
    best: u64,
    flat: u32,
}

/// What one acknowledgement, and the round if it ended one, say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes newly delivered.
    pub(crate) delivered: u64,
    /// In flight before this acknowledgement: a window that is not used must not grow (RFC 7661).
    pub(crate) was_in_flight: u64,
    /// A queue stands at the path's end.
    pub(crate) delayed: bool,
    /// At the end of a round in which the source was not the limit: the largest rate so far, and the bytes that were
    /// delivered and lost in the round.
    pub(crate) round: Option<(Rate, u64, u64)>,
}

impl Startup {
    pub(crate) fn new(window: u64) -> Self {
        Startup { window: window.max(INITIAL), best: 0, flat: 0 }
    }

    /// True when the rate is found.
    pub(crate) fn feed(&mut self, progress: &Progress) -> bool {
        if progress.was_in_flight >= self.window / 2 {
            self.window = self.window.saturating_add(progress.delivered);
        }
        if let Some((rate, delivered, lost)) = progress.round {
            let rate = rate.bytes_per_second();
            if rate >= self.best.saturating_mul(GROWTH.0) / GROWTH.1 {
                (self.best, self.flat) = (rate, 0);
            } else {
                self.flat += if lost > delivered / LOSSY { FLAT } else { 1 };
            }
        }
        progress.delayed || self.flat >= FLAT
    }

    /// What may be in flight.
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// The pace that sends the window within half a round.
    pub(crate) fn pace(&self, round: Duration) -> Rate {
        Rate::measured(self.window * PACE, round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const MS20: Duration = Duration::from_millis(20);

    /// One round an entry: the window after it, and whether the rate is found. `path` is what the path delivers.
    fn run(path: u64, lost: u64, rounds: usize) -> Vec<(u64, bool)> {
        let mut startup = Startup::new(0);
        let mut round = |_| {
            let delivered = startup.window().min(path);
            let rate = Rate::measured(delivered, MS20);
            let progress = Progress {
                delivered,
                was_in_flight: startup.window(),
                delayed: false,
                round: Some((rate, delivered, lost)),
            };
            let found = startup.feed(&progress);
            (startup.window() / 1000, found)
        };
        (0..rounds).map(&mut round).collect()
    }

    #[test]
    fn the_window_doubles_until_the_rate_is_flat_for_three_rounds() {
        let expected =
            [(30, false), (60, false), (120, false), (220, false), (320, false), (420, false), (520, true)];
        assert_eq!(run(100_000, 0, 7), expected);
    }

    #[test]
    fn a_flat_rate_with_much_loss_ends_it_at_once() {
        assert_eq!(run(50_000, 10_000, 4), [(30, false), (60, false), (110, false), (160, true)]);
    }

    #[test]
    fn delay_ends_it_and_an_unused_window_does_not_grow() {
        let mut startup = Startup::new(0);
        let idle = Progress { delivered: 5_000, was_in_flight: 5_000, delayed: false, round: None };
        assert!(!startup.feed(&idle) && startup.window() == INITIAL);
        assert_eq!(startup.pace(MS20), Rate::measured(2 * INITIAL, MS20));
        assert!(startup.feed(&Progress { delayed: true, ..idle }));
    }
}
