//! Pseudo-random bytes both ends can make for themselves, so that a check compares every byte and
//! not a checksum.

/// An endless stream of bytes that depends on its seed alone (xorshift64).
pub(crate) struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    /// The stream of `seed`; any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        // xorshift stays at zero for ever if it starts there.
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, word: [0; 8], used: 8 }
    }

    fn next_byte(&mut self) -> u8 {
        if self.used == self.word.len() {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.word = self.state.to_le_bytes();
            self.used = 0;
        }
        self.used += 1;
        self.word[self.used - 1]
    }

    /// Overwrites `bytes` with the next of the stream.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next_byte();
        }
    }

    /// Whether `bytes` are exactly the next of the stream.
    pub(crate) fn matches(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| *byte == self.next_byte())
    }
}
