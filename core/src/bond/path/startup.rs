//! Start-up: finding the rate of a path that is unknown, or remembered only.
//!
//! ```text
//! window                     ____ full: delay, or no more speed for three rounds
//!                      ___,-'
//!                __,--'          doubles in each round: every byte delivered adds one
//! initial  -----'
//! ```
//!
//! The window is what may be in flight; it is sent within half a round, so that a round's samples
//! show the rate of the path, not of the window.

use super::super::rate::Rate;
use super::window::Lowest;
use crate::time::{Duration, Instant};

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
    /// The rates of the last round, of which the smallest is the oldest, and when the first was
    /// known.
    ago: Lowest,
    known: Option<Instant>,
}

/// What one acknowledgement, and the round if it ended one, say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes newly delivered.
    pub(crate) delivered: u64,
    /// In flight before this acknowledgement: a window that is not used must not grow (RFC 7661).
    pub(crate) was_in_flight: u64,
    /// A queue grows at the path's end.
    pub(crate) delayed: bool,
    /// The largest rate so far, zero if none is known, and how long a round lasts.
    pub(crate) rate: Rate,
    pub(crate) length: Duration,
    /// At the end of a round in which the source was not the limit: the bytes delivered and lost in
    /// it.
    pub(crate) round: Option<(u64, u64)>,
}

impl Startup {
    pub(crate) fn new(window: u64) -> Self {
        Startup { window: window.max(INITIAL), best: 0, flat: 0, ago: Lowest::default(), known: None }
    }

    /// True when the rate is found.
    pub(crate) fn feed(&mut self, now: Instant, progress: &Progress) -> bool {
        if progress.was_in_flight >= self.window / 2 {
            self.window = self.window.saturating_add(progress.delivered);
        }
        let rate = progress.rate.bytes_per_second();
        if rate == 0 {
            return false;
        }
        let since = *self.known.get_or_insert(now);
        self.ago.feed(now, progress.length, i64::try_from(rate).unwrap_or(i64::MAX));
        let ago = self.ago.ask().map_or(0, i64::unsigned_abs);
        let grows = rate >= ago.saturating_mul(GROWTH.0) / GROWTH.1;
        if let Some((delivered, lost)) = progress.round {
            if rate >= self.best.saturating_mul(GROWTH.0) / GROWTH.1 {
                (self.best, self.flat) = (rate, 0);
            } else {
                self.flat += if lost > delivered / LOSSY { FLAT } else { 1 };
            }
        }
        // Delay alone may be jitter, as long as the rate still grows.
        let full = progress.delayed && !grows && now - since >= progress.length;
        full || self.flat >= FLAT
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

    /// One round an entry: the window after it, and whether the rate is found. `path` is what the
    /// path delivers.
    fn run(path: u64, lost: u64, rounds: usize) -> Vec<(u64, bool)> {
        let mut startup = Startup::new(0);
        let (mut now, mut best) = (Instant::ZERO, Rate::ZERO);
        let mut round = |_| {
            let delivered = startup.window().min(path);
            best = best.max(Rate::measured(delivered, MS20));
            let progress = Progress {
                delivered,
                was_in_flight: startup.window(),
                delayed: false,
                rate: best,
                length: MS20,
                round: Some((delivered, lost)),
            };
            now += MS20;
            let found = startup.feed(now, &progress);
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
    fn delay_ends_it_once_the_rate_is_flat() {
        // A step is 5 ms, a round 20: the rate in kB/s, whether a queue grows, whether the rate is
        // found.
        let series = [
            (100, true, false),
            (110, true, false),
            (120, true, false),
            (130, true, false),
            (200, true, false),
            (300, true, false),
            (310, false, false),
            (320, true, false),
            (320, true, false),
            (320, true, true),
        ];
        let mut startup = Startup::new(0);
        for (step, (rate, delayed, found)) in series.into_iter().enumerate() {
            let rate = Rate::from_bytes_per_second(rate * 1000);
            let progress =
                Progress { delivered: 0, was_in_flight: 0, delayed, rate, length: MS20, round: None };
            let now = Instant::from_nanos(step as u64 * 5_000_000);
            assert_eq!(startup.feed(now, &progress), found, "step {step}");
        }
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut startup = Startup::new(0);
        let rate = Rate::from_bytes_per_second(1000);
        let idle = Progress {
            delivered: 5_000,
            was_in_flight: 5_000,
            delayed: false,
            rate,
            length: MS20,
            round: None,
        };
        assert!(!startup.feed(Instant::ZERO, &idle) && startup.window() == INITIAL);
        assert_eq!(startup.pace(MS20), Rate::measured(2 * INITIAL, MS20));
    }
}
