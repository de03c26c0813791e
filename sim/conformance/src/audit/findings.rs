//! What the auditor has found.

use ropewalk_core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the auditor has found so far; shared with the case.
#[derive(Clone, Default)]
pub struct Findings(Arc<Mutex<Found>>);

/// What was seen of a run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Broken rules, the first of them.
    pub broken: Vec<String>,
    /// Inputs (`<`) and outputs (`>`) in their order; capped.
    pub lines: Vec<String>,
    /// Inputs of each kind.
    pub inputs: BTreeMap<&'static str, u64>,
    /// The highest stream index and generation seen.
    pub highest: (u32, u32),
    /// The longest delay of a due timer.
    pub latest: Duration,
    /// How often the driver asked when to come back: at least once for each time it woke.
    pub looks: u64,
    /// Writes that took only a part of what there was.
    pub partial: u64,
    /// Datagrams that were received, and the groups of more than one that some of them came in.
    pub received: (u64, u64),
    /// Datagrams that were sent, and the groups of more than one that some of them left in.
    pub sent: (u64, u64),
    /// Packets that were taken from TUN devices, and those of them that were superpackets.
    pub taken: (u64, u64),
    /// Packets that were given to TUN devices, or lost there, and the superpackets of them.
    pub given: (u64, u64),
    /// Bytes taken from sockets and not yet given to others, now and at most: of all connections
    /// together.
    pub in_hand: (i64, i64),
}

/// Broken rules that are kept.
const KEEP: usize = 8;
/// Lines that are kept.
const LINES: usize = 20_000;

impl Findings {
    /// What was seen so far.
    pub fn look(&self) -> Found {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn broken(&self, what: String) {
        let mut found = self.lock();
        if found.broken.len() < KEEP {
            found.broken.push(what);
        }
    }

    pub(super) fn line(&self, mark: char, what: &impl std::fmt::Debug) {
        let mut found = self.lock();
        if found.lines.len() < LINES {
            found.lines.push(format!("{mark} {what:?}"));
        }
    }
}
