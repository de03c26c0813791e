//! Sticky by destination: weighted rendezvous hashing.
//!
//! Each uplink draws a number for the host from the host's key and its own name, and the best for
//! its weight has it. When an uplink goes, only its hosts move, each to its second best; when it
//! comes back, they return. Nothing is remembered, so a restart changes nothing either.
//!
//! With `u` uniform in (0, 1], `-log2(u) / weight` is least for an uplink with the probability
//! `weight / sum of weights`. The logarithm is taken in fixed point, since core has no floats.

use crate::machine::{HostKey, UplinkId, UplinkSet};

/// Bits behind the point.
const POINT: u32 = 24;

/// One uplink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// From its label, so that its place in the configuration does not matter.
    salt: u64,
    weight: u32,
}

impl Seat {
    pub(super) fn new(label: &str, weight: u32) -> Self {
        Seat { salt: HostKey::of_name(label).to_bits(), weight }
    }

    /// What it bids for a host, less is better: to be divided by its weight.
    fn bid(&self, key: HostKey) -> u64 {
        let drawn = mix(key.to_bits() ^ mix(self.salt)) | 1;
        (64 << POINT) - log2(drawn)
    }
}

/// The uplink that has this host.
pub(super) fn choose(seats: &[Seat], key: HostKey, candidates: UplinkSet) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    for (index, seat) in seats.iter().enumerate() {
        if !candidates.contains(UplinkId(index as u16)) {
            continue;
        }
        let bid = seat.bid(key);
        let better = best.is_none_or(|(other, its)| {
            u128::from(bid) * u128::from(seats[other].weight) < u128::from(its) * u128::from(seat.weight)
        });
        if better {
            best = Some((index, bid));
        }
    }
    best.map(|(index, _)| index)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): each bit of the result hangs on all.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The binary logarithm of `x`, 1 or more, with [`POINT`] bits behind the point, rounded down. The
/// mantissa is squared once for each bit: it is 2 or more where the bit is 1.
fn log2(x: u64) -> u64 {
    let whole = 63 - x.leading_zeros();
    let mut mantissa = x << x.leading_zeros();
    let mut result = u64::from(whole);
    for _ in 0..POINT {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let bit = (square >> 64) as u64;
        mantissa = (square >> bit) as u64;
        result = result << 1 | bit;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_the_last_bit_where_they_are_known() {
        assert_eq!(log2(1), 0);
        assert_eq!(log2(1 << 40), 40 << POINT);
        // log2(3) = 1.58496250072
        assert_eq!(log2(3), 26_591_258);
        assert_eq!(log2(u64::MAX), (64 << POINT) - 1);
    }

    /// Another hash would move hosts from uplink to uplink when a new version begins.
    #[test]
    fn the_hash_is_the_one_of_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }
}
