//! Bytes by weight: each path is charged for what it carried, divided by its weight, and the one
//! that was charged least comes next (start-time fair queueing).

use super::QUANTUM;
use super::view::PathView;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// Charges are counted in parts of a byte, so that a division by a weight loses nothing that adds
/// up.
const PARTS: u64 = 1 << 16;

/// A path that is farther than the nearest by more is not sought by its share: a flow that has half
/// of its packets on it has its round trip, and is too slow to find any rate. With 145 ms (S3 with
/// more skew) it stayed at 27% of the fast link.
const FAR: Duration = Duration::from_millis(60);

/// Whether weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Kept,
    /// A path is too slow for its weight.
    Left,
    /// A path seems to be, but its rate was never found: it is given its share as far as it goes,
    /// so that the rate is, and nothing waits for it. A load that one path carries alone would
    /// never try it otherwise.
    Sought,
}

#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The paths in use and what each was charged; all fall together, so only differences mean
    /// anything.
    charged: Vec<(u8, u64)>,
    /// The weights would hold the bond under its best path.
    broken: bool,
}

impl Shares {
    /// Takes in which paths there are. One that comes (back) begins level with the least charged:
    /// it has no claim to what was sent without it.
    pub(super) fn update(&mut self, views: &[PathView]) {
        let usable = |view: &&PathView| view.may_carry() && view.weight > 0;
        self.charged.retain(|(path, _)| views.iter().filter(usable).any(|view| view.path == *path));
        let least = self.charged.iter().map(|(_, charged)| *charged).min().unwrap_or(0);
        for (_, charged) in &mut self.charged {
            *charged -= least;
        }
        for view in views.iter().filter(usable) {
            if self.charged(view.path).is_none() {
                self.charged.push((view.path, 0));
            }
        }
    }

    /// Whether the bond carries at least as much by its weights as its best path alone. Where it
    /// does not, because a path is far slower than its weight says or has fallen, weights are not
    /// kept: a bond must not be slower than one of its links. They are kept again when they give a
    /// quarter more than that.
    pub(super) fn judge(&mut self, views: &[PathView]) -> Verdict {
        let usable = || views.iter().filter(|view| view.may_carry() && view.weight > 0);
        let weights: u128 = usable().map(|view| u128::from(view.weight)).sum();
        let rate = |view: &PathView| u128::from(view.rate.bytes_per_second());
        // The first path to be full sets the pace.
        let by_weight = |view: &PathView| rate(view) * weights / u128::from(view.weight);
        let slowest = usable().min_by_key(|view| by_weight(view));
        let best = usable().map(rate).max();
        let (Some(slowest), Some(best)) = (slowest, best) else { return Verdict::Kept };
        let broken = by_weight(slowest) < if self.broken { best * 5 / 4 } else { best };
        if self.broken && !broken {
            // What was sent meanwhile is no debt.
            self.charged.iter_mut().for_each(|(_, charged)| *charged = 0);
        }
        self.broken = broken;
        let nearest = usable().map(|view| view.far).min().unwrap_or_default();
        match (broken, !slowest.found && slowest.far - nearest <= FAR) {
            (false, _) => Verdict::Kept,
            (true, true) => Verdict::Sought,
            (true, false) => Verdict::Left,
        }
    }

    /// The path whose turn it is, if it may send now. What the others carried while it might not is
    /// no debt beyond a quantum.
    pub(super) fn next_ready<'a>(&mut self, now: Instant, views: &'a [PathView]) -> Option<&'a PathView> {
        for (path, charged) in &mut self.charged {
            let weight = views.iter().find(|view| view.path == *path).map_or(1, |view| view.weight.max(1));
            *charged = (*charged).min(QUANTUM * PARTS / u64::from(weight));
        }
        self.next(now, views)
    }

    /// What a path was charged beyond the one furthest behind: `update` has made that zero.
    fn charged(&self, path: u8) -> Option<u64> {
        self.charged.iter().find(|(id, _)| *id == path).map(|(_, charged)| *charged)
    }

    /// Whether the path is not yet further ahead of its share than it may be. All paths but one may
    /// be ahead of that one, so the quantum is divided between them.
    fn is_entitled(&self, view: &PathView) -> bool {
        let others = self.charged.len().saturating_sub(1).max(1) as u64;
        let ahead = |charged: u64| charged.saturating_mul(u64::from(view.weight)) / PARTS;
        self.charged(view.path).is_some_and(|charged| ahead(charged) < QUANTUM / others)
    }

    /// The paths that may carry a packet without leaving the weights by more than a quantum.
    pub(super) fn entitled<'a>(&'a self, views: &'a [PathView]) -> impl Iterator<Item = &'a PathView> {
        views.iter().filter(|view| self.is_entitled(view))
    }

    /// Of those, the one that may send now and is the furthest behind.
    pub(super) fn next<'a>(&self, now: Instant, views: &'a [PathView]) -> Option<&'a PathView> {
        let ready = views.iter().filter(|view| self.is_entitled(view) && view.is_ready(now));
        ready.min_by_key(|view| self.charged(view.path))
    }

    pub(super) fn handle_sent(&mut self, path: u8, weight: u32, bytes: u64) {
        if let Some((_, charged)) = self.charged.iter_mut().find(|(id, _)| *id == path) {
            *charged = charged.saturating_add(bytes.saturating_mul(PARTS) / u64::from(weight.max(1)));
        }
    }
}
