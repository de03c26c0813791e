//! The receiver's side: packets wait for their predecessors, not for long.

use super::paths::{Hope, Paths};
use super::seen::{Seen, Status};
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Bytes that a waiting packet costs in addition to its own.
const OVERHEAD: usize = 128;

/// Looks at packets that wait, for which each packet that comes pays, and the most that are saved
/// up: twice all that fits into the memory. A peer says when it sent a packet, so it can make its
/// delay swing with each.
const LOOKS: usize = 32;
const MOST_LOOKS: usize = 1 << 17;

/// The bounds of the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The longest that a packet waits.
    pub(crate) hold: Duration,
    /// Bytes of the packets that wait, and again of those that are ready.
    pub(crate) memory: usize,
    /// How long a repair takes after all paths have passed a sequence; `None` where none will come.
    pub(crate) repair: Option<Duration>,
    /// A packet waits for all of `hold`, whatever the paths say.
    pub(crate) fixed: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { hold: Duration::from_millis(250), memory: 8 << 20, repair: None, fixed: false }
    }
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has come before.
    Duplicate,
    /// It is too late to know whether it has come before.
    TooOld,
    /// Those that are ready are not taken away: the TUN does not keep up.
    Full,
}

/// What became of packets, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Delivered as they came.
    pub(crate) direct: u64,
    /// Delivered after they had waited.
    pub(crate) waited: u64,
    /// Predecessors given up because all paths had passed them and no repair came.
    pub(crate) passed: u64,
    /// Predecessors given up because a silent path, or the longest hold, was waited out.
    pub(crate) expired: u64,
    /// Predecessors given up because the memory was full.
    pub(crate) forced: u64,
    /// Refused packets.
    pub(crate) duplicate: u64,
    pub(crate) too_old: u64,
    pub(crate) full: u64,
}

#[derive(Debug)]
struct Held<T> {
    item: T,
    bytes: usize,
    predecessor: u64,
    since: Instant,
    /// When all live paths were first seen to have passed the predecessor.
    passed: Option<Instant>,
    /// When to look again; as it stands in the timers.
    deadline: Instant,
}

/// The order of one direction of one association.
#[derive(Debug)]
pub(crate) struct Reorder<T> {
    config: Config,
    paths: Paths,
    seen: Seen,
    held: BTreeMap<u64, Held<T>>,
    held_bytes: usize,
    /// Predecessor and packet of all that is held.
    successors: BTreeSet<(u64, u64)>,
    timers: BTreeSet<(Instant, u64)>,
    ready: VecDeque<(T, usize)>,
    ready_bytes: usize,
    counters: Counters,
    /// All that waits is to be looked at again, as soon as that is paid for; and what there is to
    /// pay with.
    stale: bool,
    looks: usize,
    /// Looks so far.
    #[cfg(test)]
    pub(super) looked: u64,
}

impl<T> Reorder<T> {
    pub(crate) fn new(config: Config) -> Self {
        Reorder {
            config,
            paths: Paths::default(),
            seen: Seen::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
            successors: BTreeSet::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            counters: Counters::default(),
            stale: false,
            looks: MOST_LOOKS,
            #[cfg(test)]
            looked: 0,
        }
    }

    /// Changes the bounds; those that wait now notice at their next look.
    pub(crate) fn set_config(&mut self, config: Config) {
        self.config = config;
        self.make_room(0);
    }

    /// Says that `path` is live, and how long its silence means nothing: its probe time-out, a
    /// round trip, and four times its jitter. `None`: it is down.
    pub(crate) fn set_path(&mut self, now: Instant, path: u8, patience: Option<Duration>) {
        self.stale |= self.paths.set(now, path, patience);
        self.refresh(now);
    }

    /// Looks at all that waits, if hopes have changed and it is paid for. Until then each is looked
    /// at in its own time, and never waits longer than the hold.
    fn refresh(&mut self, now: Instant) {
        if !self.stale || self.held.len() > self.looks {
            return;
        }
        self.stale = false;
        self.looks -= self.held.len();
        let all: Vec<u64> = self.held.keys().copied().collect();
        self.look_at(now, &all);
    }

    fn pay(&mut self, now: Instant) {
        self.looks = (self.looks + LOOKS).min(MOST_LOOKS);
        self.refresh(now);
    }

    /// Takes in that `path` brought `sequence` in a packet without data: its next to be given, less
    /// one.
    #[cfg(test)]
    pub(crate) fn handle_progress(&mut self, now: Instant, path: u8, sequence: u32) {
        let sequence = self.seen.expand(sequence);
        self.progress(now, path, sequence);
    }

    /// Takes in a packet of `bytes` bytes that came on `path`. Those that are to be delivered by
    /// that wait in [`Reorder::poll`].
    pub(crate) fn push(
        &mut self,
        now: Instant,
        path: u8,
        sequence: u32,
        distance: u16,
        bytes: usize,
        item: T,
    ) -> Result<(), Refused> {
        let sequence = self.seen.expand(sequence);
        let taken = self.take(now, sequence, distance, bytes, item);
        // A duplicate shows how far its path is, as well as any.
        self.progress(now, path, sequence);
        self.pay(now);
        taken
    }

    /// Takes in a packet that has nothing to wait for, while no other waits: its owner delivers it
    /// at once, and nothing is kept. False, and nothing changes, if it is not one: then it is
    /// [pushed](Reorder::push).
    pub(crate) fn pass(&mut self, now: Instant, path: u8, sequence: u32, distance: u16) -> bool {
        let sequence = self.seen.expand(sequence);
        let alone = self.held.is_empty() && self.ready.is_empty();
        if !alone
            || self.seen.status(sequence) != Status::Missing
            || self.awaited(sequence, distance).is_some()
        {
            return false;
        }
        self.seen.insert(sequence);
        self.counters.direct += 1;
        self.progress(now, path, sequence);
        self.pay(now);
        true
    }

    fn take(
        &mut self,
        now: Instant,
        sequence: u64,
        distance: u16,
        bytes: usize,
        item: T,
    ) -> Result<(), Refused> {
        match self.seen.status(sequence) {
            Status::Missing => {}
            Status::Come => {
                self.counters.duplicate += 1;
                return Err(Refused::Duplicate);
            }
            Status::Behind => {
                self.counters.too_old += 1;
                return Err(Refused::TooOld);
            }
        }
        self.seen.insert(sequence);
        if self.ready_bytes >= self.config.memory {
            self.counters.full += 1;
            self.deliver_successors(sequence);
            return Err(Refused::Full);
        }
        if self.awaited(sequence, distance).is_some() {
            self.make_room(bytes.saturating_add(OVERHEAD));
        }
        // Asked again: room may have been made by delivering just that one.
        match self.awaited(sequence, distance) {
            Some(predecessor) if bytes.saturating_add(OVERHEAD) <= self.config.memory => {
                self.hold(now, sequence, predecessor, bytes, item);
            }
            _ => {
                self.counters.direct += 1;
                self.hand_on(item, bytes);
                self.deliver_successors(sequence);
            }
        }
        Ok(())
    }

    /// The predecessor, where there is one that is still to be delivered.
    fn awaited(&self, sequence: u64, distance: u16) -> Option<u64> {
        // Zero is no distance, and none reaches below the first sequence.
        let predecessor = sequence.checked_sub(u64::from(distance)).filter(|_| distance != 0)?;
        let awaited = match self.seen.status(predecessor) {
            Status::Missing => true,
            Status::Come => self.held.contains_key(&predecessor),
            Status::Behind => false,
        };
        awaited.then_some(predecessor)
    }

    fn hold(&mut self, now: Instant, sequence: u64, predecessor: u64, bytes: usize, item: T) {
        let deadline = now + self.config.hold;
        let held = Held { item, bytes, predecessor, since: now, passed: None, deadline };
        self.held_bytes += bytes + OVERHEAD;
        self.held.insert(sequence, held);
        self.successors.insert((predecessor, sequence));
        self.timers.insert((deadline, sequence));
        // Those that wait for this one know now that it is here.
        let mut all = self.successors_of(sequence);
        all.push(sequence);
        self.look_at(now, &all);
    }

    /// Delivers the oldest until `bytes` more fit.
    fn make_room(&mut self, bytes: usize) {
        while self.held_bytes.saturating_add(bytes) > self.config.memory {
            // The oldest waits for one that is not here, because that one would be older.
            let Some(oldest) = self.held.keys().next().copied() else { break };
            self.counters.forced += 1;
            self.deliver(oldest);
        }
    }

    fn progress(&mut self, now: Instant, path: u8, sequence: u64) {
        let passed = self.paths.handle(now, path, sequence);
        if passed.is_empty() || self.held.is_empty() {
            return;
        }
        let waiting = self.successors.range((passed.start, 0)..(passed.end, 0));
        let waiting: Vec<u64> = waiting.map(|(_, sequence)| *sequence).collect();
        self.look_at(now, &waiting);
    }

    fn successors_of(&self, sequence: u64) -> Vec<u64> {
        let successors = self.successors.range((sequence, 0)..=(sequence, u64::MAX));
        successors.map(|(_, successor)| *successor).collect()
    }

    /// Looks whether packets still have something to wait for.
    fn look_at(&mut self, now: Instant, sequences: &[u64]) {
        for sequence in sequences {
            self.look(now, *sequence);
        }
    }

    fn look(&mut self, now: Instant, sequence: u64) {
        #[cfg(test)]
        (self.looked += 1);
        let Some(held) = self.held.get(&sequence) else { return };
        let longest = held.since + self.config.hold;
        let (mut passed, mut deadline) = (held.passed, longest);
        // A predecessor that waits here itself is as good as its own hope; it goes first in any
        // case.
        if !self.held.contains_key(&held.predecessor) && !self.config.fixed {
            deadline = match self.paths.hope(held.predecessor, held.since) {
                Hope::Until(until) => longest.min(until),
                Hope::Passed => {
                    let since = *passed.get_or_insert(now);
                    longest.min(since + self.config.repair.unwrap_or(Duration::ZERO))
                }
            };
        }
        if deadline <= now {
            let root = self.root(sequence);
            let counter = if passed.is_some() && deadline < longest {
                &mut self.counters.passed
            } else {
                &mut self.counters.expired
            };
            *counter += 1;
            self.deliver(root);
            return;
        }
        let held = self.held.get_mut(&sequence).expect("just seen");
        held.passed = passed;
        if held.deadline != deadline {
            self.timers.remove(&(held.deadline, sequence));
            self.timers.insert((deadline, sequence));
            held.deadline = deadline;
        }
    }

    /// The first of the packets that `sequence` waits for: that whose predecessor is not here.
    fn root(&self, mut sequence: u64) -> u64 {
        // Predecessors are older, so this ends.
        while let Some(before) = self.held.get(&sequence).map(|held| held.predecessor) {
            if !self.held.contains_key(&before) {
                break;
            }
            sequence = before;
        }
        sequence
    }

    /// Delivers a packet that is held, and all that wait for it.
    fn deliver(&mut self, sequence: u64) {
        let Some(held) = self.held.remove(&sequence) else { return };
        self.held_bytes -= held.bytes + OVERHEAD;
        self.successors.remove(&(held.predecessor, sequence));
        self.timers.remove(&(held.deadline, sequence));
        self.counters.waited += 1;
        self.hand_on(held.item, held.bytes);
        self.deliver_successors(sequence);
    }

    /// Delivers all that wait for `done`, and all that wait for those.
    fn deliver_successors(&mut self, mut done: u64) {
        // A flow is a chain, so this rarely holds more than one.
        let mut next = Vec::new();
        loop {
            while let Some(&(_, successor)) = self.successors.range((done, 0)..=(done, u64::MAX)).next() {
                self.successors.remove(&(done, successor));
                let held = self.held.remove(&successor).expect("what has a predecessor is held");
                self.held_bytes -= held.bytes + OVERHEAD;
                self.timers.remove(&(held.deadline, successor));
                self.counters.waited += 1;
                self.hand_on(held.item, held.bytes);
                next.push(successor);
            }
            let Some(last) = next.pop() else { return };
            done = last;
        }
    }

    fn hand_on(&mut self, item: T, bytes: usize) {
        self.ready_bytes += bytes;
        self.ready.push_back((item, bytes));
    }

    /// The next packet to deliver.
    pub(crate) fn poll(&mut self) -> Option<T> {
        let (item, bytes) = self.ready.pop_front()?;
        self.ready_bytes -= bytes;
        Some(item)
    }

    /// When [`Reorder::handle_timeout`] wants to be called next. It may be early; it is never late.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes in that time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, sequence)) = self.timers.first() {
            if at > now {
                break;
            }
            self.look(now, sequence);
        }
    }

    /// Packets that wait, and the bytes they cost.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held.len(), self.held_bytes)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }
}
