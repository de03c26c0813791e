//! How far each path has come, and how long its silence means nothing.

use crate::time::{Duration, Instant};
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug)]
struct Path {
    id: u8,
    /// How long after it was last heard a packet sent on it may still come, by itself or elsewhere.
    patience: Duration,
    /// All sequences below this have passed, or will not come on this path.
    passed: u64,
    heard: Instant,
}

/// What is to be expected of a missing sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hope {
    /// Every live path has passed it: only a repair can bring it.
    Passed,
    /// It may be on its way on a path that has not passed it. Unless that path is heard again,
    /// until then.
    Until(Instant),
}

/// The live paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    live: Vec<Path>,
}

impl Paths {
    /// Sets a path's patience, or takes the path out. Whether hopes have changed: less than an
    /// eighth does not count, because estimates move with every packet.
    pub(super) fn set(&mut self, now: Instant, path: u8, patience: Option<Duration>) -> bool {
        let Some(patience) = patience else {
            let before = self.live.len();
            self.live.retain(|live| live.id != path);
            return self.live.len() < before;
        };
        let Some(live) = self.live.iter_mut().find(|live| live.id == path) else {
            self.live.push(Path { id: path, patience, passed: 0, heard: now });
            return true;
        };
        let changed = live.patience.abs_diff(patience) > live.patience / 8;
        if changed {
            live.patience = patience;
        }
        changed
    }

    /// Takes in that `path` brought `sequence`; the sequences that it has passed by that.
    pub(super) fn handle(&mut self, now: Instant, path: u8, sequence: u64) -> core::ops::Range<u64> {
        let Some(live) = self.live.iter_mut().find(|live| live.id == path) else { return 0..0 };
        live.heard = now;
        let before = live.passed;
        live.passed = before.max(sequence);
        before..live.passed
    }

    /// What may be hoped for `missing`, for which a packet has waited since `since`.
    pub(super) fn hope(&self, missing: u64, since: Instant) -> Hope {
        let behind = self.live.iter().filter(|path| path.passed <= missing);
        match behind.map(|path| path.heard.max(since) + path.patience).max() {
            Some(until) => Hope::Until(until),
            None => Hope::Passed,
        }
    }
}
