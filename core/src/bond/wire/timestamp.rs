//! The sender's clock in 24 bits: microseconds modulo 2^24, that is 16.7 s.
//!
//! Two clocks have nothing in common, so a difference between a timestamp and the receiver's own
//! clock is a one-way delay plus an unknown constant. Only differences of such differences mean
//! anything.

#[cfg(test)]
use crate::time::Duration;
use crate::time::Instant;

/// Microseconds of the sender's clock, modulo 2^24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timestamp(u32);

impl Timestamp {
    /// Timestamps count modulo this.
    pub(crate) const MODULUS: u32 = 1 << 24;

    /// The timestamp of `now`.
    pub(crate) const fn at(now: Instant) -> Timestamp {
        Timestamp::from_bits((now.as_nanos() / 1000) as u32)
    }

    /// The timestamp with the low 24 of these bits.
    pub(crate) const fn from_bits(bits: u32) -> Timestamp {
        Timestamp(bits & (Self::MODULUS - 1))
    }

    /// The 24 bits.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Microseconds from `earlier` to `self`, modulo 2^24.
    #[cfg(test)]
    pub(crate) const fn micros_since(self, earlier: Timestamp) -> u32 {
        self.0.wrapping_sub(earlier.0) & (Self::MODULUS - 1)
    }

    /// The time from `earlier` to `self`, where both are of one clock and less than 16.7 s apart.
    #[cfg(test)]
    pub(crate) const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.micros_since(earlier) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_wraps_and_its_differences_do_not_mind() {
        let before = Timestamp::at(Instant::from_nanos(16_777_000_000));
        let after = Timestamp::at(Instant::from_nanos(16_778_000_000));
        assert!(after.bits() < before.bits());
        assert_eq!(after.since(before), Duration::from_millis(1));
        assert_eq!(Timestamp::at(Instant::from_nanos(u64::MAX)).bits() >> 24, 0);
    }
}
