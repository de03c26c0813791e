//! Smooth weighted round robin: out of any `sum of weights` consecutive choices each uplink gets
//! exactly its weight, and the choices of one uplink lie as far apart as they can.
//!
//! Each candidate earns its weight, the richest is chosen and pays what all have earned (the method
//! nginx made known). An uplink that is no candidate earns and pays nothing, so leaving one out
//! re-normalises the others.

/// One uplink's place in the round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) weight: u32,
    credit: i64,
}

impl Share {
    pub(super) const fn new(weight: u32) -> Self {
        Share { weight, credit: 0 }
    }
}

/// Chooses among the shares that `candidate` names, by index.
pub(super) fn choose(shares: &mut [Share], candidate: impl Fn(usize) -> bool) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<usize> = None;
    for index in 0..shares.len() {
        if !candidate(index) {
            continue;
        }
        let weight = i64::from(shares[index].weight);
        shares[index].credit += weight;
        total += weight;
        if best.is_none_or(|best| shares[index].credit > shares[best].credit) {
            best = Some(index);
        }
    }
    let best = best?;
    shares[best].credit -= total;
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn three_to_two_is_interleaved() {
        let mut shares = [Share::new(3), Share::new(2)];
        let order: Vec<_> = (0..10).filter_map(|_| choose(&mut shares, |_| true)).collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn without_a_candidate_there_is_no_choice() {
        assert_eq!(choose(&mut [Share::new(1)], |_| false), None);
    }

    proptest! {
        #[test]
        fn every_round_gives_each_its_weight(
            weights in prop::collection::vec(1u32..40, 1..8), rounds in 1usize..4
        ) {
            let mut shares: Vec<_> = weights.iter().map(|w| Share::new(*w)).collect();
            let sum: u32 = weights.iter().sum();
            for _ in 0..rounds {
                let mut counts = vec![0u32; weights.len()];
                for _ in 0..sum {
                    counts[choose(&mut shares, |_| true).expect("has candidates")] += 1;
                }
                prop_assert_eq!(&counts, &weights);
            }
        }

        #[test]
        fn leaving_one_out_renormalises_the_others(weights in prop::collection::vec(1u32..40, 2..8)) {
            let mut shares: Vec<_> = weights.iter().map(|w| Share::new(*w)).collect();
            let sum: u32 = weights[1..].iter().sum();
            let mut counts = vec![0u32; weights.len()];
            for _ in 0..sum {
                counts[choose(&mut shares, |i| i != 0).expect("has candidates")] += 1;
            }
            prop_assert_eq!(counts[0], 0);
            prop_assert_eq!(&counts[1..], &weights[1..]);
        }
    }
}
