//! Pacing: when the next packet may leave.
//!
//! ```text
//! credit   burst |      ____/|      ____            it grows with the rate up to the burst; a send spends it;
//!                |  ___/     |  ___/                after a refusal it must reach the quantum, so that a driver
//!        quantum |_/  send run|_/                   which wakes once in a millisecond sends runs, no trickle
//! ```
//!
//! Invariant: what is sent in any time is at most rate x time + burst (+ one run that is larger
//! than the burst). Credit beyond the burst is lost, and counted as `wasted`: the source left the
//! path without work.

use super::super::rate::{Earned, Rate};
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `BURST` 2 ms | a driver that aims at one millisecond and wakes up to one late loses nothing |
/// | `PACKET` 1,500 B | at a slow rate one packet, and what is earned while the driver is late |
/// | `QUANTUM` 1 ms | the resolution of a plain timer; at 100 Mbit/s a run of 8 |
/// | `QUANTUM_CAP` 44 packets | as many as one call takes: beyond 500 Mbit/s a waking costs more than a millisecond is worth |
const BURST: Duration = Duration::from_millis(2);
const PACKET: u64 = 1500;
const QUANTUM: Duration = Duration::from_millis(1);
const QUANTUM_CAP: u64 = 44 * 1500;

/// The credit of one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    rate: Rate,
    /// Bytes; negative after a run larger than what there was.
    credit: i64,
    earned: Earned,
    at: Instant,
    waiting: bool,
    wasted: u64,
}

impl Pacer {
    /// A pacer that starts with credit for `initial` bytes.
    pub(crate) fn new(now: Instant, rate: Rate, initial: u64) -> Self {
        let credit = signed(initial);
        Pacer { rate, credit, earned: Earned::default(), at: now, waiting: false, wasted: 0 }
    }

    /// The rate from now on. What the old one earned stays.
    pub(crate) fn feed_rate(&mut self, now: Instant, rate: Rate) {
        if rate != self.rate {
            self.accrue(now);
            self.rate = rate;
        }
    }

    /// A packet or a run leaves.
    pub(crate) fn feed(&mut self, now: Instant, bytes: u64) {
        self.accrue(now);
        self.credit = self.credit.saturating_sub(signed(bytes));
    }

    /// May `bytes` leave now, behind `staged` bytes that leave with them? If not: when.
    pub(crate) fn ask(&mut self, now: Instant, staged: u64, bytes: u64) -> Result<(), Instant> {
        self.accrue(now);
        self.waiting = self.free_at(now, staged, bytes) > now;
        // Asked again because a packet that has to wait waits for a whole quantum.
        if self.waiting { Err(self.free_at(now, staged, bytes)) } else { Ok(()) }
    }

    /// When `bytes` may leave behind `staged` others, or now. One packet may be larger than the
    /// burst; a run may not, or a slow link would get all of it at once.
    pub(crate) fn free_at(&self, now: Instant, staged: u64, bytes: u64) -> Instant {
        let quantum = if self.waiting { self.rate.bytes_in(QUANTUM).min(QUANTUM_CAP) } else { 0 };
        let needed = signed(staged.saturating_add(bytes.max(quantum).min(self.burst())));
        let short = needed.saturating_sub(self.credit);
        if short <= 0 {
            return now;
        }
        (self.at + self.rate.time_for(short.unsigned_abs())).max(now)
    }

    /// Credit lost because nothing was sent, since the last call.
    pub(crate) fn take_wasted(&mut self, now: Instant) -> u64 {
        self.accrue(now);
        core::mem::take(&mut self.wasted)
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// The most that leaves at once.
    pub(crate) fn burst(&self) -> u64 {
        self.rate.bytes_in(BURST).max(PACKET + self.rate.bytes_in(QUANTUM))
    }

    fn accrue(&mut self, now: Instant) {
        // A run leaves at one instant.
        if now <= self.at {
            return;
        }
        let earned = self.earned.earn(self.rate, now - self.at);
        self.at = now;
        // The initial credit may be above the burst: it is spent, not cut.
        let room = signed(self.burst()).saturating_sub(self.credit).max(0).unsigned_abs();
        self.credit = self.credit.saturating_add(signed(earned.min(room)));
        self.wasted = self.wasted.saturating_add(earned.saturating_sub(room));
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    /// A greedy source with packets of 1,250 bytes at 10 MB/s, and a driver that wakes when asked,
    /// or later: how many packets leave at each wake.
    fn runs(late_us: u64, wakes: usize) -> Vec<u64> {
        let mut pacer = Pacer::new(at(0), Rate::from_bytes_per_second(10_000_000), 0);
        let mut now = at(0);
        let mut run = |_| {
            let mut sent = 0;
            let until = loop {
                match pacer.ask(now, 0, 1250) {
                    Ok(()) => pacer.feed(now, 1250),
                    Err(until) => break until,
                }
                sent += 1;
            };
            now = until + Duration::from_micros(late_us);
            sent
        };
        (0..wakes).map(&mut run).collect()
    }

    #[test]
    fn a_driver_that_wakes_on_time_or_late_sends_runs_at_the_rate() {
        assert_eq!(runs(0, 5), [0, 8, 8, 8, 8]);
        // Half a millisecond late: half a run more, nothing is lost.
        assert_eq!(runs(500, 5), [0, 12, 12, 12, 12]);
        assert_eq!(runs(1000, 5), [0, 16, 16, 16, 16]);
        // Later than the burst allows: the rest is lost.
        assert_eq!(runs(3000, 5), [0, 16, 16, 16, 16]);
    }

    #[test]
    fn credit_that_nobody_used_is_told() {
        let mut pacer = Pacer::new(at(0), Rate::from_bytes_per_second(1_000_000), 0);
        assert_eq!(pacer.take_wasted(at(2_000)), 0);
        assert_eq!(pacer.take_wasted(at(5_000)), 2_500);
        pacer.feed(at(5_000), 1_500);
        assert_eq!(pacer.take_wasted(at(7_000)), 500);
    }

    #[test]
    fn a_slow_rate_sends_single_packets() {
        let mut pacer = Pacer::new(at(0), Rate::from_bits_per_second(1_000_000), 0);
        assert_eq!(pacer.ask(at(0), 0, 1400), Err(at(11_200)));
        assert_eq!(pacer.ask(at(11_200), 0, 1400), Ok(()));
        pacer.feed(at(11_200), 1400);
        assert_eq!(pacer.ask(at(11_200), 0, 1400), Err(at(22_400)));
    }

    #[test]
    fn a_run_is_no_larger_than_the_burst() {
        let mut pacer = Pacer::new(at(0), Rate::from_bits_per_second(5_000_000), 0);
        // The credit is 2,125 bytes at most.
        let now = at(20_000);
        assert_eq!(pacer.ask(now, 0, 1400), Ok(()));
        assert_eq!(pacer.ask(now, 1400, 700), Ok(()));
        assert!(pacer.ask(now, 1400, 1400).is_err());
    }

    proptest! {
        /// The invariant of this file, over changing rates.
        #[test]
        fn paced_bytes_stay_under_rate_times_time_plus_burst(
            steps in prop::collection::vec((0u64..4_000, 100_000u64..100_000_000, 1u64..1500), 1..200),
        ) {
            let mut now = at(0);
            let mut pacer = Pacer::new(now, Rate::from_bytes_per_second(1_000_000), 0);
            let (mut sent, mut allowed) = (0, 0);
            let mut burst = pacer.burst();
            for (step, rate, bytes) in steps {
                allowed += pacer.rate().bytes_in(Duration::from_micros(step)) + 1;
                now += Duration::from_micros(step);
                while pacer.ask(now, 0, bytes).is_ok() {
                    pacer.feed(now, bytes);
                    sent += bytes;
                }
                burst = burst.max(pacer.burst());
                prop_assert!(sent <= allowed + burst, "sent {} of {} + {}", sent, allowed, burst);
                pacer.feed_rate(now, Rate::from_bytes_per_second(rate));
            }
        }

        #[test]
        fn waiting_as_told_is_enough(
            rate in 1_000u64..1_000_000_000, bytes in 1u64..70_000, spent in 0u64..100_000
        ) {
            let mut pacer = Pacer::new(at(0), Rate::from_bytes_per_second(rate), 0);
            pacer.feed(at(0), spent);
            if let Err(until) = pacer.ask(at(0), 0, bytes) {
                prop_assert!(until > at(0));
                prop_assert_eq!(pacer.ask(until, 0, bytes), Ok(()));
            }
        }
    }
}
