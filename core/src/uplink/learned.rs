//! Throughput-adaptive: weights that follow what one connection gets through each uplink.
//!
//! A link's capacity cannot be seen while nobody fills it. What can be seen is the rate of each
//! connection that moves much: where connections are fast there is room for more of them. So once
//! a window the weight of an uplink moves a step towards `weight * rate of its connections`, and
//! stands still where all rates are alike: then the links are filled in proportion.
//!
//! Invariants: the weights sum to [`WHOLE`]; none is below the floor, an eighth of an even share,
//! so each uplink goes on to be measured; uplinks without evidence keep theirs. Integers only.

use super::weighted::{self, Share};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// The sum of all weights.
pub(super) const WHOLE: u32 = 1 << 16;
/// No weight is less than an even share divided by this.
pub(super) const FLOOR: u32 = 8;
/// How long evidence is gathered.
const WINDOW: Duration = Duration::from_secs(2);
/// What a connection moves within a report is evidence from here on; less is a conversation, whose
/// pace is not the link's.
const BULK: u64 = 8 * 1024;
/// Rates within a quarter of each other are alike: weights stand still (hysteresis).
const ALIKE: (u64, u64) = (5, 4);
/// A window moves a weight by this part of the way,
const STEP: u64 = 3;
/// and towards no more than so many times what it was.
const LEAP: u64 = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    bytes: u64,
    /// Of all its connections together.
    nanos: u64,
}

impl Evidence {
    /// Bytes a second of one connection.
    fn rate(self) -> Option<u64> {
        let rate = u128::from(self.bytes) * 1_000_000_000 / u128::from(self.nanos.max(1));
        (self.bytes > 0 && self.nanos > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX).max(1))
    }
}

/// The weights of all uplinks.
#[derive(Debug)]
pub(super) struct Learned {
    shares: Vec<Share>,
    seen: Vec<Evidence>,
    since: Option<Instant>,
}

impl Learned {
    /// Begins with the configured weights.
    pub(super) fn new(weights: &[u32]) -> Self {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let part = |weight: &u32| u64::from(*weight) * u64::from(WHOLE) / total.max(1);
        let mut learned = Learned {
            shares: Vec::new(),
            seen: weights.iter().map(|_| Evidence::default()).collect(),
            since: None,
        };
        let all = (0..weights.len()).collect::<Vec<_>>();
        learned.shares = weights.iter().map(|_| Share::new(0)).collect();
        learned.set(&all, &weights.iter().map(part).collect::<Vec<_>>(), u64::from(WHOLE));
        learned
    }

    pub(super) fn choose(&mut self, candidate: impl Fn(usize) -> bool) -> Option<usize> {
        weighted::choose(&mut self.shares, candidate)
    }

    pub(super) fn weight(&self, index: usize) -> u32 {
        self.shares.get(index).map_or(0, |share| share.weight)
    }

    /// A connection has moved `bytes` by uplink `index` within `over`.
    pub(super) fn moved(&mut self, now: Instant, index: usize, bytes: u64, over: Duration) {
        let since = *self.since.get_or_insert(now);
        if (now - since) >= WINDOW {
            self.learn();
            self.since = Some(now);
        }
        if let Some(seen) = self.seen.get_mut(index)
            && bytes >= BULK
            && !over.is_zero()
        {
            seen.bytes = seen.bytes.saturating_add(bytes);
            let nanos = u64::try_from(over.as_nanos()).unwrap_or(u64::MAX);
            seen.nanos = seen.nanos.saturating_add(nanos);
        }
    }

    /// A window is over.
    fn learn(&mut self) {
        let rates: Vec<(usize, u64)> =
            self.seen.iter().enumerate().filter_map(|(i, seen)| seen.rate().map(|rate| (i, rate))).collect();
        self.seen.iter_mut().for_each(|seen| *seen = Evidence::default());
        let fastest = rates.iter().map(|(_, rate)| *rate).max().unwrap_or(0);
        let slowest = rates.iter().map(|(_, rate)| *rate).min().unwrap_or(0);
        // One uplink alone has nothing to be compared with.
        if rates.len() < 2 || fastest / ALIKE.0 <= slowest / ALIKE.1 {
            return;
        }
        let weight = |i: usize| u64::from(self.shares[i].weight);
        let whole: u64 = rates.iter().map(|(i, _)| weight(*i)).sum();
        let product = |(i, rate): &(usize, u64)| u128::from(weight(*i)) * u128::from(*rate);
        let sum: u128 = rates.iter().map(product).sum();
        let wanted = rates.iter().map(|pair| {
            let old = weight(pair.0);
            let goal = u64::try_from(product(pair) * u128::from(whole) / sum.max(1)).unwrap_or(whole);
            let goal = goal.clamp(old / LEAP, old * LEAP);
            if goal > old { old + (goal - old) / STEP } else { old - (old - goal) / STEP }
        });
        let wanted: Vec<u64> = wanted.collect();
        let indices: Vec<usize> = rates.iter().map(|(i, _)| *i).collect();
        self.set(&indices, &wanted, whole);
    }

    /// Gives these uplinks weights that are as `wanted`, that sum to `whole` and keep the floor.
    fn set(&mut self, indices: &[usize], wanted: &[u64], whole: u64) {
        let floor = u64::from(WHOLE / FLOOR) / (self.seen.len().max(1) as u64);
        // What is above the floor is shared out: so none is below it, and the sum is kept.
        let above: Vec<u64> = wanted.iter().map(|weight| weight.saturating_sub(floor)).collect();
        let total: u64 = above.iter().sum();
        let free = whole.saturating_sub(floor * indices.len() as u64);
        let mut left = free;
        for (index, above) in indices.iter().zip(&above) {
            let part = (above * free).checked_div(total).unwrap_or(free / indices.len() as u64);
            left -= part;
            self.shares[*index].weight = (floor + part) as u32;
        }
        // What the divisions left goes to the first.
        if let Some(first) = indices.first() {
            self.shares[*first].weight += left as u32;
        }
    }
}
