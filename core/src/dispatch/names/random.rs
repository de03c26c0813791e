//! Numbers that nobody can guess, from the driver's entropy.

/// The ids of one try: a question for each family.
const EACH: usize = 4;

/// What is left of the last bytes that the driver gave.
#[derive(Debug, Default)]
pub(super) struct Random {
    bytes: [u8; 32],
    left: usize,
}

impl Random {
    /// More is needed for the next try.
    pub(super) fn is_spent(&self) -> bool {
        self.left < EACH
    }

    pub(super) fn refill(&mut self, bytes: &[u8; 32]) {
        (self.bytes, self.left) = (*bytes, bytes.len());
    }

    /// Two ids that were never given before; `None`: the driver has no entropy.
    pub(super) fn ids(&mut self) -> Option<[u16; 2]> {
        let from = self.left.checked_sub(EACH)?;
        let taken = self.bytes.get(from..self.left)?;
        let [a, b, c, d] = *taken else { return None };
        self.left = from;
        // Of one question's two halves each shall know its own answer.
        let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some([first, if first == second { second.wrapping_add(1) } else { second }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_given_twice_and_none_that_was_not_given() {
        let mut random = Random::default();
        assert_eq!((random.is_spent(), random.ids()), (true, None));
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        random.refill(&bytes);
        let mut all: [u16; 16] = [0; 16];
        for pair in all.chunks_mut(2) {
            assert!(!random.is_spent());
            pair.copy_from_slice(&random.ids().expect("there are bytes"));
        }
        assert_eq!((random.is_spent(), random.ids()), (true, None));
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        random.refill(&[7; 32]);
        assert_eq!(random.ids(), Some([0x0707, 0x0708]));
    }
}
