//! When to do what: an ordered set of deadlines, at most one for each key.
//!
//! The earliest deadline is found in O(log n) and equal deadlines fire in the order of their keys,
//! so the same run fires the same timers in the same order. A key without a deadline costs nothing.

use crate::time::Instant;
use alloc::collections::BTreeSet;

/// Deadlines by key. The owner remembers what it armed (see [`Timers::rearm`]), so no second index
/// is kept.
#[derive(Debug, Default)]
pub struct Timers<K: Ord + Copy> {
    queue: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Timers<K> {
    /// An empty set.
    pub const fn new() -> Self {
        Timers { queue: BTreeSet::new() }
    }

    /// Moves the deadline of `key` from `armed` (what the owner remembers) to `wanted`, and updates
    /// `armed`.
    pub fn rearm(&mut self, key: K, armed: &mut Option<Instant>, wanted: Option<Instant>) {
        if *armed == wanted {
            return;
        }
        if let Some(old) = armed.take() {
            self.queue.remove(&(old, key));
        }
        if let Some(new) = wanted {
            self.queue.insert((new, key));
        }
        *armed = wanted;
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The key of the earliest deadline.
    pub fn first(&self) -> Option<K> {
        self.queue.first().map(|(_, key)| *key)
    }

    /// Takes out the earliest key whose deadline is not after `now`. The caller must set its
    /// `armed` to `None`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first().map(|(_, key)| key)
    }

    /// How many deadlines are set.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no deadline is set.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time() {
        let mut timers = Timers::new();
        let (mut a, mut b) = (None, None);
        timers.rearm(1u32, &mut a, Some(Instant::from_nanos(5)));
        timers.rearm(2u32, &mut b, Some(Instant::from_nanos(7)));
        timers.rearm(1u32, &mut a, Some(Instant::from_nanos(9)));
        assert_eq!(timers.next(), Some(Instant::from_nanos(7)));
        assert_eq!(timers.pop_due(Instant::from_nanos(6)), None);
        assert_eq!(timers.pop_due(Instant::from_nanos(9)), Some(2));
        assert_eq!(timers.pop_due(Instant::from_nanos(9)), Some(1));
        assert_eq!(timers.pop_due(Instant::from_nanos(99)), None);
        assert!(timers.is_empty());
    }
}
