//! What an acknowledgement says, apart from how it is written on the wire.
//!
//! ```text
//! number   ... 3 4 5 6 7 8 9 10          received 3 4 | 7 | 9 10
//! largest 10, first 1 (also 9), then (gap 1, len 1) = 7, then (gap 2, len 2) = 4 3
//! ```
//!
//! Nothing here is trusted: the ranges of an acknowledgement stop where they make no sense.

use super::delay::RawDelay;
use core::ops::RangeInclusive;

/// How many ranges an acknowledgement has at most: the first and three more.
pub(crate) const RANGES: usize = 4;

/// The unit of [`Ack::delay`].
pub(crate) const DELAY_UNIT_MICROS: u64 = 16;

/// One acknowledgement of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ack {
    /// The largest packet number received, its low 32 bits.
    pub(crate) largest: u32,
    /// How long it was held, in units of 16 us, saturating.
    pub(crate) delay: u16,
    /// The timestamp it carried, 24 bits.
    pub(crate) echo: u32,
    /// Its raw one-way delay as the receiver measured it, 24 bits.
    pub(crate) raw_delay: RawDelay,
    /// Packets received with the mark "congestion experienced", modulo 2^16.
    pub(crate) ce: u16,
    /// Bytes received on the path, modulo 2^32. With it the rate is known although acknowledgements
    /// are few.
    pub(crate) received: u32,
    /// How many numbers just below the largest are received too.
    pub(crate) first: u16,
    /// How many of `more` are in use, at most three.
    pub(crate) more_len: u8,
    /// (missing numbers, received numbers) further below; neither is zero.
    pub(crate) more: [(u16, u16); RANGES - 1],
}

impl Ack {
    /// The ranges of received numbers from above to below, with `largest` expanded to its full
    /// number. They end at number 0 and at the first entry that makes no sense.
    pub(crate) fn ranges(&self, largest: u64) -> impl Iterator<Item = RangeInclusive<u64>> + use<> {
        let first = largest.saturating_sub(u64::from(self.first));
        let more = self.more.into_iter().take(usize::from(self.more_len));
        let below = more.scan(first, |low, (gap, len)| {
            if gap == 0 || len == 0 {
                return None;
            }
            let high = low.checked_sub(u64::from(gap) + 1)?;
            *low = high.saturating_sub(u64::from(len) - 1);
            Some(*low..=high)
        });
        core::iter::once(first..=largest).chain(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ranges_go_down_from_the_largest() {
        let ack =
            Ack { largest: 10, first: 1, more_len: 2, more: [(1, 1), (2, 2), (9, 9)], ..Ack::default() };
        assert_eq!(ack.ranges(10).collect::<Vec<_>>(), [9..=10, 7..=7, 3..=4]);
    }

    #[test]
    fn ranges_that_make_no_sense_end_the_list() {
        let ack = Ack { first: 3, more_len: 255, more: [(5, 5), (0, 1), (1, 1)], ..Ack::default() };
        assert_eq!(ack.ranges(1).collect::<Vec<_>>(), [0..=1]);
        assert_eq!(ack.ranges(20).collect::<Vec<_>>(), [17..=20, 7..=11]);
    }
}
