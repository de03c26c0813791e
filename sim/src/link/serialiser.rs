//! The node that sends one packet after another at a rate, without rounding.
//!
//! Work is counted in bits times 10^9, so that a rate in bits per second takes its own number from
//! it in each nanosecond. A packet ends at the first whole nanosecond at which its work is done;
//! what that nanosecond had to spare counts for the packet that follows at once. So 1500 bytes at 7
//! Mbit/s take 1,714,285.714 ns on average, and never less in sum.

use super::config::Rate;
use ropewalk_core::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Debug)]
pub(super) struct Serialiser {
    rate: Rate,
    /// What is left of the packet being sent, and since when.
    work: u64,
    since: Instant,
    /// What the last nanosecond of the packet before had to spare.
    spare: u64,
}

impl Serialiser {
    pub(super) fn new(rate: Rate) -> Self {
        Serialiser { rate, work: 0, since: Instant::ZERO, spare: 0 }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// A packet of `bytes` begins at `now`. `follows`: the one before ended at this very instant.
    pub(super) fn begin(&mut self, now: Instant, bytes: u64, follows: bool) {
        let spare = if follows { self.spare } else { 0 };
        // 2^64 / (8 * 10^9) is 2.3 GB: no packet is larger, and one that were would be shortened.
        self.work = bytes.saturating_mul(8).saturating_mul(SECOND).saturating_sub(spare);
        self.since = now;
        self.spare = 0;
    }

    /// When the packet being sent ends; none where the rate is zero.
    pub(super) fn end(&self) -> Option<Instant> {
        match self.rate {
            Rate::UNLIMITED => Some(self.since),
            rate if rate.as_bits() == 0 => None,
            rate => Some(self.since + Duration::from_nanos(self.work.div_ceil(rate.as_bits()))),
        }
    }

    /// The packet being sent has ended, at the instant that `end` said.
    pub(super) fn finish(&mut self) {
        let bits = self.rate.as_bits();
        self.spare = match self.rate {
            Rate::UNLIMITED => 0,
            _ if bits == 0 => 0,
            _ => self.work.div_ceil(bits).saturating_mul(bits).saturating_sub(self.work),
        };
        self.work = 0;
    }

    /// Another rate from `now` on; what is left of a packet goes at the new one.
    pub(super) fn change(&mut self, now: Instant, rate: Rate) {
        let spent = (now - self.since).as_nanos();
        let done = spent.saturating_mul(u128::from(self.rate.as_bits()));
        self.work = self.work.saturating_sub(u64::try_from(done).unwrap_or(u64::MAX));
        self.since = now;
        self.spare = 0;
        self.rate = rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_packets_take_what_the_rate_says_to_the_nanosecond() {
        let mut serialiser = Serialiser::new(Rate::mbit(7));
        let mut now = Instant::ZERO;
        for packet in 0..1_000_000 {
            serialiser.begin(now, 1500, packet > 0);
            now = serialiser.end().expect("a rate");
            serialiser.finish();
        }
        // 12,000,000,000 bits / 7,000,000 = 1714.285714285714... s, up to the next nanosecond.
        assert_eq!(now.as_nanos(), 1_714_285_714_286);
    }

    #[test]
    fn the_rest_of_a_packet_goes_at_the_new_rate() {
        let mut serialiser = Serialiser::new(Rate::mbit(12));
        serialiser.begin(Instant::ZERO, 1500, false);
        serialiser.change(Instant::from_nanos(250_000), Rate::mbit(1));
        assert_eq!(serialiser.end().expect("a rate").as_nanos(), 250_000 + 9_000_000);
        serialiser.change(Instant::from_nanos(1_250_000), Rate::bits(0));
        assert_eq!(serialiser.end(), None);
        serialiser.change(Instant::from_nanos(9_000_000), Rate::mbit(8));
        assert_eq!(serialiser.end().expect("a rate").as_nanos(), 10_000_000);
    }
}
