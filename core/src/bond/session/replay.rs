//! Which packet numbers of a path came already: a bitmap that moves with the largest (RFC 6479).
//!
//! 8192 wide: at 10 Gbit/s and 1400 bytes that is 9 ms of reordering within one path. WireGuard
//! implementations came to the same width.

/// Numbers this far below the largest are remembered one by one.
pub(crate) const WIDTH: u64 = 8192;

/// One word more than the width needs: the word that the largest is in is seldom full.
const WORDS: usize = WIDTH as usize / 64 + 1;

/// The numbers that came on one path under one key.
#[derive(Clone, Debug)]
pub(crate) struct ReplayWindow {
    /// One more than the largest number that came, zero before the first.
    next: u64,
    /// A bit for each number; numbers a multiple of `WORDS * 64` apart share one.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    pub(crate) const fn new() -> ReplayWindow {
        ReplayWindow { next: 0, seen: [0; WORDS] }
    }

    /// Whether `number` is new: neither seen nor too old to know.
    pub(crate) fn is_new(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        if self.next - number > WIDTH {
            return false;
        }
        let (word, bit) = place(number);
        self.seen[word] >> bit & 1 == 0
    }

    /// Remembers `number`. False, and nothing changes, if it is not new.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if !self.is_new(number) {
            return false;
        }
        if number >= self.next {
            // The words between the largest and `number` held older numbers, or nothing.
            let last = self.next.checked_sub(1).map(|largest| largest / 64);
            let fresh = (number / 64).saturating_sub(last.unwrap_or(0)).min(WORDS as u64);
            for word in 0..fresh {
                self.seen[place(number).0.wrapping_add(WORDS).wrapping_sub(word as usize) % WORDS] = 0;
            }
            self.next = number.saturating_add(1);
        }
        let (word, bit) = place(number);
        self.seen[word] |= 1 << bit;
        true
    }
}

/// The word and the bit of a number.
const fn place(number: u64) -> (usize, u32) {
    ((number / 64 % WORDS as u64) as usize, (number % 64) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_is_a_set_of_what_is_not_too_old(
            steps in proptest::collection::vec(prop_oneof![
                4 => -100i64..100,
                2 => -9000i64..9000,
                1 => -100_000i64..100_000,
                1 => prop_oneof![
                    Just(-8191i64), Just(-8192), Just(-8193), Just(8191), Just(8192), Just(8256), Just(8320)
                ],
            ], 1..400),
            start in prop_oneof![Just(0u64), 0u64..1 << 40]
        ) {
            let mut window = ReplayWindow::new();
            let mut model = BTreeSet::new();
            let mut largest = start;
            for step in steps {
                let number = largest.saturating_add_signed(step);
                let newest = model.last().copied();
                let old = newest.is_some_and(|newest: u64| newest >= WIDTH && number <= newest - WIDTH);
                let new = !old && !model.contains(&number);
                prop_assert_eq!(window.is_new(number), new, "{} after {:?}", number, newest);
                prop_assert_eq!(window.insert(number), new);
                prop_assert!(!window.is_new(number));
                if new {
                    model.insert(number);
                    largest = largest.max(number);
                }
            }
        }
    }

    #[test]
    fn a_window_remembers_each_of_8192() {
        let mut window = ReplayWindow::new();
        for number in 0..20_000 {
            assert!(window.insert(number));
        }
        for number in 0..20_000 {
            assert!(!window.insert(number));
        }
        assert!(window.insert(30_000));
        assert!(!window.is_new(30_000 - WIDTH), "too old to know");
        assert!(window.is_new(30_001 - WIDTH), "the oldest that is remembered");
    }
}
