//! Bytes by weight: each path is charged for what it carried, divided by its weight, and the one that was charged
//! least comes next (start-time fair queueing).

use super::QUANTUM;
use super::view::PathView;
use crate::time::Instant;
use alloc::collections::BTreeMap;

/// Charges are counted in parts of a byte, so that a division by a weight loses nothing that adds up.
const PARTS: u64 = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Shares {
    /// What each path in use was charged; all fall together, so only differences mean anything.
    charged: BTreeMap<u8, u64>,
}

impl Shares {
    /// Takes in which paths there are. One that comes (back) begins level with the least charged: it has no claim to
    /// what was sent without it.
    pub(super) fn update(&mut self, views: &[PathView]) {
        let usable = |view: &&PathView| view.may_carry() && view.weight > 0;
        self.charged.retain(|path, _| views.iter().filter(usable).any(|view| view.path == *path));
        let least = self.charged.values().min().copied().unwrap_or(0);
        for charged in self.charged.values_mut() {
            *charged -= least;
        }
        for view in views.iter().filter(usable) {
            self.charged.entry(view.path).or_insert(0);
        }
    }

    /// Whether the path is not yet further ahead of its share than it may be. All paths but one may be ahead of that
    /// one, so the quantum is divided between them.
    fn is_entitled(&self, view: &PathView) -> bool {
        let others = self.charged.len().saturating_sub(1).max(1) as u64;
        self.charged.contains_key(&view.path) && self.ahead(view) < QUANTUM / others
    }

    /// How many bytes the path is ahead of the one furthest behind.
    fn ahead(&self, view: &PathView) -> u64 {
        let least = self.charged.values().min().copied().unwrap_or(0);
        let charged = self.charged.get(&view.path).map_or(0, |charged| charged - least);
        charged.saturating_mul(u64::from(view.weight)) / PARTS
    }

    /// The paths that may carry a packet without leaving the weights by more than a quantum.
    pub(super) fn entitled<'a>(&'a self, views: &'a [PathView]) -> impl Iterator<Item = &'a PathView> {
        views.iter().filter(|view| self.is_entitled(view))
    }

    /// Of those, the one that may send now and is the furthest behind.
    pub(super) fn next<'a>(&self, now: Instant, views: &'a [PathView]) -> Option<&'a PathView> {
        let ready = views.iter().filter(|view| self.is_entitled(view) && view.is_ready(now));
        ready.min_by_key(|view| self.charged[&view.path])
    }

    pub(super) fn handle_sent(&mut self, path: u8, weight: u32, bytes: u64) {
        if let Some(charged) = self.charged.get_mut(&path) {
            *charged = charged.saturating_add(bytes.saturating_mul(PARTS) / u64::from(weight.max(1)));
        }
    }
}
