//! Which paths share the load: those whose delays lie within `max-skew` of each other.
//!
//! Packets that overtake each other wait at the receiver, so every flow gets the delay of the
//! slowest path in use. Of all the windows of that width over the paths' delays, the one that holds
//! the most rate is used. That is the window of the lowest delay wherever the fast links are the
//! near ones; a near trickle never shuts out a far flood.
//!
//! What counts is how far a path is, without the queue that we make ourselves: while a path's rate
//! is sought it queues as much as the skew allows, and a path that leaves for that loses the load
//! it was sought with.
//!
//! A path leaves at once and comes back when it has been well within for a while; a window is left
//! only for one with a quarter more rate. So a delay that swings makes one change a swing.

use super::view::{PathSet, PathView};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use core::cmp::Reverse;

/// How long a path that was left out must be near enough before it comes back.
const SETTLE: Duration = Duration::from_millis(500);

/// How often delays are judged anew while the paths stay the same. Estimates are not faster,
/// packets are.
const AGAIN: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Admission {
    members: PathSet,
    /// When they were last judged, and which paths there were.
    judged: Option<(Instant, PathSet)>,
    /// The others that have been judged, and since when they have been near enough.
    out: BTreeMap<u8, Option<Instant>>,
}

impl Admission {
    /// The paths that share the load now.
    pub(super) fn admit(&mut self, now: Instant, skew: Duration, views: &[PathView]) -> PathSet {
        let usable: PathSet = views.iter().filter(|view| view.may_carry()).map(|view| view.path).collect();
        if self.judged.is_some_and(|(at, paths)| paths == usable && now - at < AGAIN) {
            return self.members;
        }
        self.judged = Some((now, usable));
        self.out.retain(|path, _| usable.contains(*path));
        for gone in self.members.iter().filter(|path| !usable.contains(*path)) {
            self.members.remove(gone);
        }
        let window = self.window(skew, views);
        for view in views.iter().filter(|view| view.may_carry()) {
            self.judge(now, view.path, window.contains(view.path));
        }
        if self.members.is_empty() {
            // No other path to protect: do not wait for those that settle.
            self.members = window;
            self.out.retain(|path, _| !window.contains(*path));
        }
        self.members
    }

    /// Judges at the next packet: what is near has changed.
    pub(super) fn refresh(&mut self) {
        self.judged = None;
    }

    fn judge(&mut self, now: Instant, path: u8, near: bool) {
        match (self.members.contains(path), self.out.get(&path).copied(), near) {
            (true, _, true) => {}
            (true, _, false) | (false, Some(_), false) | (false, None, false) => {
                self.members.remove(path);
                self.out.insert(path, None);
            }
            // It is new.
            (false, None, true) => self.members.insert(path),
            (false, Some(None), true) => {
                self.out.insert(path, Some(now));
            }
            (false, Some(Some(since)), true) => {
                if now - since >= SETTLE {
                    self.out.remove(&path);
                    self.members.insert(path);
                }
            }
        }
    }

    /// The paths in the window that holds the most. Only what was measured of late decides which
    /// that is, if there is such; the others are in it unless they are known to be too far.
    fn window(&self, skew: Duration, views: &[PathView]) -> PathSet {
        let usable = || views.iter().filter(|view| view.may_carry());
        let fresh = usable().any(|view| view.fresh);
        let counts = |view: &&PathView| view.loaded || !fresh;
        let inside = |from: Duration, view: &PathView| {
            // Coming back takes more than staying.
            let stays = self.members.contains(view.path) || !self.out.contains_key(&view.path);
            let near = view.far.saturating_sub(from) <= if stays { skew } else { skew * 3 / 4 };
            near && (view.far >= from || !counts(&view))
        };
        let weight = |view: &PathView| {
            u128::from(view.rate.bytes_per_second()) * if self.members.contains(view.path) { 5 } else { 4 }
        };
        let holds = |from: Duration| -> u128 {
            usable().filter(counts).filter(|view| inside(from, view)).map(weight).sum()
        };
        // Of equals the one of the lowest delay.
        let starts = usable().filter(counts).map(|view| view.far);
        let Some(from) = starts.max_by_key(|from| (holds(*from), Reverse(*from))) else {
            return PathSet::EMPTY;
        };
        usable().filter(|view| inside(from, view)).map(|view| view.path).collect()
    }
}
