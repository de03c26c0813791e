//! Random bytes from a seed that the driver gives.
//!
//! ```text
//!   key ──ChaCha20──► [ next key: 32 | bytes to hand out: 480 ]
//! ```
//!
//! Fast key erasure (D. J. Bernstein, 2017): the key is replaced before a byte of its stream is
//! handed out, and bytes are erased as they are handed out. Whoever reads the state later learns
//! nothing of what was random before.
//!
//! Core has no entropy of its own. A seed from the operating system makes keys; a seed that a test
//! writes down makes the same run again.

use super::mac::hash;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use core::fmt;
use zeroize::Zeroize;

const KEY: usize = 32;
const POOL: usize = 480;

/// A generator of random bytes.
pub struct Rng {
    key: [u8; KEY],
    pool: [u8; POOL],
    /// How many bytes of the pool were not handed out. They are the last ones.
    left: usize,
}

impl Rng {
    /// A generator whose every byte follows from `seed`. The seed is as secret as the keys that are
    /// made.
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng { key: hash(b"ropewalk bond rng seed", &[&seed]), pool: [0; POOL], left: 0 }
    }

    /// Mixes fresh entropy in. Old state and entropy together make the new state, so that poor
    /// entropy does no harm.
    pub fn mix(&mut self, entropy: &[u8; 32]) {
        self.key = hash(b"ropewalk bond rng mix", &[&self.key, entropy]);
        self.pool.zeroize();
        self.left = 0;
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut out = out;
        while !out.is_empty() {
            if self.left == 0 {
                self.refill();
            }
            let len = out.len().min(self.left);
            let (now, later) = out.split_at_mut(len);
            let pool = &mut self.pool[POOL - self.left..][..len];
            now.copy_from_slice(pool);
            pool.zeroize();
            self.left -= len;
            out = later;
        }
    }

    /// Bytes that seed another generator.
    pub fn seed(&mut self) -> [u8; 32] {
        self.bytes()
    }

    /// `N` random bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A random number.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// A random number.
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    /// A random number below `bound`, or zero if that is zero. The bias is at most `bound` in 2^64:
    /// for jitter, not for keys.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Another generator, whose bytes reveal nothing of this one's.
    pub(crate) fn fork(&mut self) -> Rng {
        Rng::new(self.bytes())
    }

    fn refill(&mut self) {
        let mut stream = [0; KEY + POOL];
        ChaCha20::new(&self.key.into(), &[0; 12].into()).apply_keystream(&mut stream);
        self.key.copy_from_slice(&stream[..KEY]);
        self.pool.copy_from_slice(&stream[KEY..]);
        self.left = POOL;
        stream.zeroize();
    }
}

impl Drop for Rng {
    fn drop(&mut self) {
        self.key.zeroize();
        self.pool.zeroize();
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;

    #[test]
    fn the_same_seed_gives_the_same_bytes_however_they_are_asked_for() {
        let (mut whole, mut parts) = (Rng::new([1; 32]), Rng::new([1; 32]));
        let mut a = vec![0; 3000];
        let mut b = vec![0; 3000];
        whole.fill(&mut a);
        for part in b.chunks_mut(7) {
            parts.fill(part);
        }
        assert_eq!(a, b);
        let mut other = vec![0; 3000];
        Rng::new([2; 32]).fill(&mut other);
        assert_ne!(a, other);
    }

    #[test]
    fn bytes_do_not_repeat() {
        let mut rng = Rng::new([1; 32]);
        let all: BTreeSet<[u8; 16]> = (0..10_000).map(|_| rng.bytes()).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn entropy_changes_what_follows_and_nothing_before() {
        let (mut mixed, mut plain) = (Rng::new([1; 32]), Rng::new([1; 32]));
        assert_eq!(mixed.u64(), plain.u64());
        mixed.mix(&[0; 32]);
        assert_ne!(mixed.u64(), plain.u64(), "even entropy of zeros");
        let (mut a, mut b) = (Rng::new([1; 32]), Rng::new([1; 32]));
        a.mix(&[1; 32]);
        b.mix(&[2; 32]);
        assert_ne!(a.u64(), b.u64());
    }

    #[test]
    fn what_was_handed_out_is_not_in_the_state() {
        let mut rng = Rng::new([1; 32]);
        let before = rng.key;
        let out: [u8; 32] = rng.bytes();
        assert_ne!(rng.key, before, "the key is replaced first");
        assert!(!rng.pool.windows(8).any(|window| window == &out[..8]));
        assert!(rng.pool[..32].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let mut rng = Rng::new([1; 32]);
        let (mut a, mut b) = (rng.fork(), rng.fork());
        let values: BTreeSet<u64> = [a.u64(), b.u64(), rng.u64()].into();
        assert_eq!(values.len(), 3);
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut rng = Rng::new([1; 32]);
        let seen: BTreeSet<u64> = (0..1000).map(|_| rng.below(10)).collect();
        assert_eq!(seen, (0..10).collect());
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }
}
