//! Weighted least connections: who has the fewest for its weight.

use crate::machine::{UplinkId, UplinkSet};

/// Those of `candidates` that would have the fewest connections for their weight, with one more.
/// `all`: connections and weight of each uplink, in order.
pub(super) fn least(all: impl Iterator<Item = (u64, u32)>, candidates: UplinkSet) -> UplinkSet {
    let mut best: Option<(u64, u32)> = None;
    let mut least = UplinkSet::EMPTY;
    for (index, (load, weight)) in all.enumerate() {
        let uplink = UplinkId(index as u16);
        if !candidates.contains(uplink) {
            continue;
        }
        let mine = (load.saturating_add(1), weight);
        // `a/w < b/v` without a division: `a*v < b*w`.
        let order = best.map(|(other, its)| {
            (u128::from(mine.0) * u128::from(its)).cmp(&(u128::from(other) * u128::from(weight)))
        });
        match order {
            Some(core::cmp::Ordering::Greater) => {}
            Some(core::cmp::Ordering::Equal) => least.insert(uplink),
            Some(core::cmp::Ordering::Less) | None => {
                best = Some(mine);
                least = UplinkSet::EMPTY;
                least.insert(uplink);
            }
        }
    }
    least
}
