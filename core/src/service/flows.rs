//! UDP flows: who speaks with whom, which of them is idle, and for how long.
//!
//! UDP has no end that could be seen: what is silent for a while is taken for ended, and where
//! there are too many the longest silent one goes.

use crate::slab::{Key, Slab};
use crate::time::{Duration, Instant};
use crate::timers::Timers;

/// A flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FlowId {
    index: u32,
    generation: u32,
}

impl Key for FlowId {
    fn new(index: u32, generation: u32) -> Self {
        FlowId { index, generation }
    }
    fn index(self) -> u32 {
        self.index
    }
    fn generation(self) -> u32 {
        self.generation
    }
}

/// What is known of a flow, and what its service knows beside.
#[derive(Debug)]
pub(crate) struct FlowEntry<F> {
    pub(crate) what: F,
    pub(crate) began: Instant,
    active: Instant,
    armed: Option<Instant>,
    /// Datagrams from its client.
    pub(crate) sent: u64,
    /// Datagrams to its client.
    pub(crate) received: u64,
}

/// Flows, and when each is taken for ended.
#[derive(Debug)]
pub(crate) struct FlowTable<F> {
    flows: Slab<FlowEntry<F>>,
    idle: Timers<FlowId>,
}

impl<F> FlowTable<F> {
    pub(crate) fn new() -> Self {
        FlowTable { flows: Slab::new(), idle: Timers::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Begins a flow, which ends when it was silent for `idle`.
    pub(crate) fn insert(&mut self, now: Instant, idle: Duration, what: F) -> FlowId {
        let flow = FlowEntry { what, began: now, active: now, armed: None, sent: 0, received: 0 };
        let id = self.flows.insert(flow);
        if let Some(flow) = self.flows.get_mut(id) {
            self.idle.rearm(id, &mut flow.armed, Some(now + idle));
        }
        id
    }

    pub(crate) fn get(&self, id: FlowId) -> Option<&FlowEntry<F>> {
        self.flows.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut FlowEntry<F>> {
        self.flows.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: FlowId) -> Option<FlowEntry<F>> {
        let mut flow = self.flows.remove(id)?;
        self.idle.rearm(id, &mut flow.armed, None);
        Some(flow)
    }

    /// All flows there are, in the order of their slots.
    pub(crate) fn ids(&self) -> impl Iterator<Item = FlowId> + use<F> {
        self.flows.keys().into_iter()
    }

    /// Something moved. The deadline is set anew only when it has moved by a part of itself: with
    /// each datagram it would cost more than it is worth.
    pub(crate) fn touch(&mut self, now: Instant, id: FlowId, idle: Duration) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.active = now;
        let wanted = now + idle;
        if flow.armed.is_none_or(|armed| wanted - armed >= idle / 64) {
            self.idle.rearm(id, &mut flow.armed, Some(wanted));
        }
    }

    /// From now on a flow ends when it was silent for `idle`.
    pub(crate) fn hurry(&mut self, now: Instant, idle: Duration) {
        for id in self.ids() {
            if let Some(flow) = self.flows.get_mut(id) {
                let wanted = now.max(flow.active + idle);
                self.idle.rearm(id, &mut flow.armed, Some(wanted));
            }
        }
    }

    /// The one that was silent for longest.
    pub(crate) fn longest_idle(&mut self, idle: Duration) -> Option<FlowId> {
        loop {
            let oldest = self.idle.first()?;
            // A deadline may lag behind (see `touch`): the earliest is the longest idle's only
            // where it does not.
            let flow = self.flows.get_mut(oldest)?;
            let deadline = Some(flow.active + idle);
            if flow.armed == deadline {
                return Some(oldest);
            }
            self.idle.rearm(oldest, &mut flow.armed, deadline);
        }
    }

    /// One that was silent for `idle`.
    pub(crate) fn pop_idle(&mut self, now: Instant, idle: Duration) -> Option<FlowId> {
        while let Some(id) = self.idle.pop_due(now) {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            flow.armed = None;
            let deadline = flow.active + idle;
            if deadline <= now {
                return Some(id);
            }
            self.idle.rearm(id, &mut flow.armed, Some(deadline));
        }
        None
    }

    /// When the next may be taken for ended.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.idle.next()
    }
}

/// Datagrams that have passed, and how many of them were reported.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    told: (u64, u64),
    tell_at: Instant,
}

/// The interval at which the number of datagrams that passed is reported, while any do.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Tally {
    /// Whether it is time to tell.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.tell_at
    }

    /// How many were sent and received since this was last asked; `None`: none.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<(u64, u64)> {
        let (told_sent, told_received) = core::mem::replace(&mut self.told, (self.sent, self.received));
        let (sent, received) = (self.sent - told_sent, self.received - told_received);
        if sent + received == 0 {
            return None;
        }
        self.tell_at = now + TELL_EVERY;
        Some((sent, received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const IDLE: Duration = Duration::from_secs(64);

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_flow_ends_when_it_was_silent_for_long_enough_and_no_sooner() {
        let mut flows = FlowTable::new();
        let (a, b) = (flows.insert(at(0), IDLE, 'a'), flows.insert(at(0), IDLE, 'b'));
        flows.touch(at(30), a, IDLE);
        assert_eq!((flows.pop_idle(at(63), IDLE), flows.next_timeout()), (None, Some(at(64))));
        assert_eq!(flows.pop_idle(at(64), IDLE), Some(b));
        assert_eq!(flows.remove(b).map(|flow| flow.what), Some('b'));
        assert_eq!((flows.pop_idle(at(93), IDLE), flows.pop_idle(at(94), IDLE)), (None, Some(a)));
        assert!(flows.remove(a).is_some() && flows.len() == 0 && flows.next_timeout().is_none());
    }

    #[test]
    fn the_longest_idle_is_found_though_deadlines_lag_behind() {
        let mut flows = FlowTable::new();
        let ids: Vec<_> = (0..4).map(|n| flows.insert(at(0), IDLE, n)).collect();
        // Too little to set a deadline anew, enough to be younger.
        let half = Duration::from_millis(500);
        for n in [0, 1, 3] {
            flows.touch(at(0) + half, ids[n], IDLE);
        }
        assert_eq!(flows.longest_idle(IDLE), Some(ids[2]));
        flows.remove(ids[2]);
        flows.touch(at(1), ids[0], IDLE);
        assert_eq!(flows.longest_idle(IDLE), Some(ids[1]));
    }

    #[test]
    fn who_is_hurried_ends_sooner() {
        let mut flows = FlowTable::new();
        let id = flows.insert(at(0), IDLE, ());
        let soon = Duration::from_secs(3);
        flows.hurry(at(1), soon);
        assert_eq!((flows.pop_idle(at(2), soon), flows.pop_idle(at(3), soon)), (None, Some(id)));
    }

    #[test]
    fn what_passed_is_told_once() {
        let mut tally = Tally { sent: 3, ..Tally::default() };
        assert!(tally.is_due(at(0)));
        assert_eq!((tally.tell(at(0)), tally.tell(at(0))), (Some((3, 0)), None));
        tally.received = 2;
        assert!(!tally.is_due(at(0)) && tally.is_due(at(1)));
        assert_eq!(tally.tell(at(1)), Some((0, 2)));
    }
}
