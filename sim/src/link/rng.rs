//! A small generator of numbers (splitmix64): the same seed gives the same world.

/// A generator with a state of 64 bits. It is no cipher: a simulation asks for repeatable numbers,
/// not for secret ones.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose numbers depend on `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; zero where `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product: its bias is under bound / 2^64.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True with this chance. A chance of zero draws no number, so that a loss-free link spends
    /// none.
    pub fn happens(&mut self, chance: Chance) -> bool {
        chance.0 > 0 && self.below(u64::from(MILLION)) < u64::from(chance.0)
    }
}

const MILLION: u32 = 1_000_000;

/// A probability in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    /// Never.
    pub const NEVER: Chance = Chance(0);
    /// Always.
    pub const ALWAYS: Chance = Chance(MILLION);

    /// This many millionths; more than a million count as one million.
    pub const fn ppm(millionths: u32) -> Self {
        Chance(if millionths > MILLION { MILLION } else { millionths })
    }

    /// This many hundredths; more than a hundred count as one hundred.
    pub const fn percent(hundredths: u32) -> Self {
        Chance::ppm(hundredths.saturating_mul(10_000))
    }

    /// Millionths.
    pub const fn as_ppm(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_happens_as_often_as_it_says() {
        let mut rng = Rng::new(1);
        let hits = (0..1_000_000).filter(|_| rng.happens(Chance::percent(5))).count();
        assert!((49_000..51_000).contains(&hits), "5% of a million came out as {hits}");
        assert!(!(0..1000).any(|_| rng.happens(Chance::NEVER)));
        assert!((0..1000).all(|_| rng.happens(Chance::ALWAYS)));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_its_ends() {
        let mut rng = Rng::new(2);
        let mut seen = [0u32; 7];
        for _ in 0..7_000 {
            seen[usize::try_from(rng.below(7)).expect("under 7")] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
