//! What the scheduler sees and answers.

use crate::bond::inner::FlowKey;
use crate::bond::rate::Rate;
use crate::time::{Duration, Instant};

/// A path as it stands now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathView {
    /// Its id, below 64.
    pub(crate) path: u8,
    /// It is up: validated, not suspect, not down.
    pub(crate) usable: bool,
    /// Rate and delay were measured of late, under load. Others are remembered, or measured while
    /// idle.
    pub(crate) fresh: bool,
    /// It carried data of late, be it little: its delay is of now, and its rate may be what is
    /// tried. What is fresh is loaded.
    pub(crate) loaded: bool,
    /// Its rate has been found since the path is there; before that it is what is tried.
    pub(crate) found: bool,
    /// What it takes. Zero: nothing.
    pub(crate) rate: Rate,
    /// Its one-way delay, the queue that stands on it now included. Only differences between paths
    /// of one direction mean anything.
    pub(crate) delay: Duration,
    /// The same without the queues of our own making: how far the path is, whatever stands on it
    /// for the moment.
    pub(crate) far: Duration,
    /// When its pacer and its cap let the next packet go; not after now: now.
    pub(crate) free_at: Instant,
    /// Its share in `weighted`; the order of preference in `active-backup`.
    pub(crate) weight: u32,
}

impl PathView {
    pub(super) fn may_carry(&self) -> bool {
        self.usable && self.rate > Rate::ZERO && self.path < 64
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.may_carry() && self.free_at <= now
    }
}

/// The packet at the head of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) flow: FlowKey,
    /// Bytes of the packet.
    pub(crate) bytes: usize,
    /// Bytes of all that waits, the packet included.
    pub(crate) backlog: usize,
    /// Its flow sends little, or has just begun.
    pub(crate) sparse: bool,
}

/// What is to become of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes by this path, now.
    Send(u8),
    /// It goes by `path`, and a copy of it by each of the others, now.
    Copies { path: u8, others: PathSet },
    /// It stays. Until then; or, with `None`, until a path changes.
    Wait(Option<Instant>),
}

/// Some paths, in the order of their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathSet(u64);

impl PathSet {
    pub(crate) const EMPTY: PathSet = PathSet(0);

    pub(crate) fn insert(&mut self, path: u8) {
        self.0 |= bit(path);
    }

    pub(crate) fn remove(&mut self, path: u8) {
        self.0 &= !bit(path);
    }

    pub(crate) fn contains(self, path: u8) -> bool {
        self.0 & bit(path) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let path = (left != 0).then(|| left.trailing_zeros() as u8)?;
            left &= left - 1;
            Some(path)
        })
    }
}

impl FromIterator<u8> for PathSet {
    fn from_iter<I: IntoIterator<Item = u8>>(paths: I) -> Self {
        let mut set = PathSet::EMPTY;
        paths.into_iter().for_each(|path| set.insert(path));
        set
    }
}

/// Ids of 64 and more are in no set.
fn bit(path: u8) -> u64 {
    1u64.checked_shl(u32::from(path)).unwrap_or(0)
}
