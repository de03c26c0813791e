//! Which sequences have come: a window of bits behind the highest.

use alloc::vec;
use alloc::vec::Vec;

/// Sequences remembered, 16 KiB of bits: twice what a distance can reach, a second of a gigabit.
const WINDOW: u64 = 1 << 17;

/// What a sequence is to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It has not come.
    Missing,
    /// It has come.
    Come,
    /// It is behind the window: unknown.
    Behind,
}

/// A window over sequences, which on the wire are cut to 32 bits.
#[derive(Debug)]
pub(super) struct Seen {
    bits: Vec<u64>,
    /// One above the highest sequence that has come; zero before the first.
    top: u64,
}

impl Seen {
    pub(super) fn new() -> Self {
        Seen { bits: vec![0; (WINDOW / 64) as usize], top: 0 }
    }

    /// The full sequence that `wire` means: the nearest to the highest. The first one counts from
    /// 2^32, so that there is room below it.
    pub(super) fn expand(&self, wire: u32) -> u64 {
        if self.top == 0 {
            return (1 << 32) + u64::from(wire);
        }
        let ahead = wire.wrapping_sub(self.top as u32) as i32;
        self.top.saturating_add_signed(i64::from(ahead))
    }

    pub(super) fn status(&self, sequence: u64) -> Status {
        if sequence >= self.top {
            Status::Missing
        } else if self.top - sequence > WINDOW {
            Status::Behind
        } else {
            let (word, bit) = place(sequence);
            if self.bits[word] & bit == 0 { Status::Missing } else { Status::Come }
        }
    }

    /// Notes that a sequence has come, which is not behind the window.
    pub(super) fn insert(&mut self, sequence: u64) {
        if sequence >= self.top {
            self.move_to(sequence.saturating_add(1));
        }
        let (word, bit) = place(sequence);
        self.bits[word] |= bit;
    }

    /// Moves the window up; the bits that come into it are cleared. The cost is bounded by the
    /// window.
    fn move_to(&mut self, top: u64) {
        if top - self.top >= WINDOW {
            self.bits.fill(0);
        } else {
            for sequence in self.top..top {
                let (word, bit) = place(sequence);
                self.bits[word] &= !bit;
            }
        }
        self.top = top;
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let at = sequence % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn sequences_go_on_behind_thirty_two_bits() {
        let mut seen = Seen::new();
        let first = seen.expand(u32::MAX);
        seen.insert(first);
        assert_eq!(seen.expand(0), first + 1);
        assert_eq!(seen.expand(u32::MAX - 9), first - 9);
        assert_eq!(seen.expand(0x7fff_ffff), first + 0x8000_0000);
    }

    #[test]
    fn a_peer_that_leaps_to_the_last_number_meets_the_end() {
        let mut seen = Seen { top: u64::MAX - 1, ..Seen::new() };
        let last = seen.expand((u64::MAX as u32).wrapping_add(9));
        assert_eq!((last, seen.status(last)), (u64::MAX, Status::Missing));
        seen.insert(last);
        assert_eq!(seen.top, u64::MAX);
    }

    proptest! {
        #[test]
        fn the_window_is_a_set(
            steps in prop::collection::vec(
                prop_oneof![
                    8 => -200i64..200, 2 => -140_000i64..140_000, 1 => any::<i32>().prop_map(i64::from)
                ],
                1..200,
            ),
        ) {
            let (mut seen, mut set, mut at) = (Seen::new(), BTreeSet::<u64>::new(), 0u32);
            for step in steps {
                at = at.wrapping_add(step as u32);
                let sequence = seen.expand(at);
                let top = set.last().map_or(0, |last| last + 1);
                let expected = match set.contains(&sequence) {
                    _ if top.saturating_sub(sequence) > WINDOW => Status::Behind,
                    true => Status::Come,
                    false => Status::Missing,
                };
                prop_assert_eq!(seen.status(sequence), expected);
                if expected == Status::Missing {
                    seen.insert(sequence);
                    set.insert(sequence);
                }
            }
        }
    }
}
