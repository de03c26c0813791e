//! What happens next: a heap of alarms, one for each part of the world.

use ropewalk_core::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The parts of the world that want to be woken, each with one alarm. An alarm that was moved
/// leaves its old entry in the heap, which is passed over. Of two at the same instant the one that
/// was set first comes first, so the order depends on nothing but the run itself.
#[derive(Debug)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    /// For each part: its alarm, and which entry is it.
    armed: Vec<Option<(Instant, u64)>>,
    count: u64,
}

impl Agenda {
    pub(super) fn new(parts: usize) -> Self {
        Agenda { heap: BinaryHeap::new(), armed: vec![None; parts], count: 0 }
    }

    /// Sets or takes away the alarm of `part`.
    pub(super) fn arm(&mut self, part: usize, at: Option<Instant>) {
        if self.armed[part].map(|(at, _)| at) == at {
            return;
        }
        self.count += 1;
        self.armed[part] = at.map(|at| (at, self.count));
        if let Some(at) = at {
            self.heap.push(Reverse((at, self.count, part)));
        }
    }

    /// Whether `part` has an alarm.
    pub(super) fn is_armed(&self, part: usize) -> bool {
        self.armed[part].is_some()
    }

    /// The next alarm that is not after `end`; it is taken away.
    pub(super) fn pop(&mut self, end: Instant) -> Option<(Instant, usize)> {
        while let Some(Reverse((at, count, part))) = self.heap.peek().copied() {
            if self.armed[part] != Some((at, count)) {
                self.heap.pop();
                continue;
            }
            if at > end {
                return None;
            }
            self.heap.pop();
            self.armed[part] = None;
            return Some((at, part));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn the_earliest_comes_first_and_of_two_at_once_the_first_that_was_set() {
        let mut agenda = Agenda::new(3);
        agenda.arm(2, Some(at(5)));
        agenda.arm(0, Some(at(5)));
        agenda.arm(1, Some(at(3)));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop(at(9))).collect();
        assert_eq!(order, [(at(3), 1), (at(5), 2), (at(5), 0)]);
    }

    #[test]
    fn an_alarm_that_was_moved_or_taken_away_does_not_ring_at_its_old_time() {
        let mut agenda = Agenda::new(2);
        agenda.arm(0, Some(at(1)));
        agenda.arm(0, Some(at(4)));
        agenda.arm(1, Some(at(2)));
        agenda.arm(1, None);
        assert_eq!(agenda.pop(at(3)), None);
        assert_eq!(agenda.pop(at(4)), Some((at(4), 0)));
        assert_eq!(agenda.pop(at(4)), None);
    }
}
