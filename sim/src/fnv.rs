//! A hash that is the same on every machine and in every build: FNV-1a, 64 bits
//! (<http://www.isthe.com/chongo/tech/comp/fnv/>, draft-eastlake-fnv).

/// Takes in bytes as the draft has it, or words, which is eight times as fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

#[allow(dead_code, reason = "each world uses a part")]
impl Fnv {
    /// Takes in bytes, each by itself.
    pub(crate) fn octets(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    /// Takes in a word.
    pub(crate) fn word(&mut self, word: u64) {
        self.mix(word);
        // A word has high bytes that a product never moves down: fold them.
        self.0 ^= self.0 >> 32;
    }

    /// Takes in bytes, eight at a time, and their number.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The hash of all that was taken in.
    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut fnv = Fnv::default();
            fnv.octets(text.as_bytes());
            assert_eq!(fnv.value(), expected, "{text:?}");
        }
    }
}
