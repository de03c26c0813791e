//! The sender's copies of DATA that is not acknowledged yet: what a repair sends again.
//!
//! ```text
//!   first                                    next
//!     │ sent │ acked │ sent │ sent │ ... │ sent │       by sequence; the front is dropped as soon as it is done
//! ```
//!
//! Invariants
//! - The bytes held stay under the cap; what is over it is dropped oldest first, and counted.
//! - A copy ends once: acknowledged, evicted, or given up.

use crate::bond::inner::{Ecn, FlowKey};
use crate::time::Instant;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// A packet's place in its direction: what a repair keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Its number among all DATA, modulo 2^32.
    pub(super) sequence: u32,
    /// How far back the packet before it of its flow is; 0: it waits for none.
    pub(super) distance: u16,
}

/// One packet that may have to be sent again.
#[derive(Debug)]
pub(super) struct Copy {
    /// Sequence and distance, which a repair keeps.
    pub(super) place: Place,
    /// The inner packet.
    pub(super) packet: Vec<u8>,
    /// When it was sent first.
    pub(super) sent: Instant,
    /// How often it was sent again.
    pub(super) repairs: u8,
    /// The path it was given to last.
    pub(super) path: u8,
    /// It waits to be sent again.
    pub(super) queued: bool,
    /// Its flow.
    pub(super) flow: FlowKey,
    /// What its transport says of ECN.
    pub(super) ecn: Ecn,
}

/// Copies by sequence.
#[derive(Debug)]
pub(super) struct Copies {
    /// The sequence of the first slot.
    first: u32,
    slots: VecDeque<Option<Copy>>,
    bytes: usize,
    cap: usize,
    /// Those that were dropped because of the cap before it was known whether they arrived; the
    /// last ones.
    evicted: BTreeSet<u32>,
    /// Buffers of packets that are done, to be filled again.
    spare: Vec<Vec<u8>>,
}

/// Bookkeeping that a small packet costs beside its bytes.
const SLOT: usize = 96;
/// Dropped copies that are remembered, to count those that are lost.
const EVICTED: usize = 8192;
/// Buffers kept for reuse while there is load: what is under way at some gigabits over a
/// millisecond or two.
const SPARE: usize = 2048;

impl Copies {
    /// Holds at most `cap` bytes.
    pub(super) fn new(cap: usize) -> Self {
        Copies {
            first: 0,
            slots: VecDeque::new(),
            bytes: 0,
            cap,
            evicted: BTreeSet::new(),
            spare: Vec::new(),
        }
    }

    /// A buffer, one that was used before where there is one, with what was in it.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a packet that leaves for the first time. Sequences come one after the other.
    pub(super) fn push(&mut self, now: Instant, place: Place, flow: FlowKey, ecn: Ecn, packet: Vec<u8>) {
        if self.slots.is_empty() {
            self.first = place.sequence;
        }
        debug_assert_eq!(self.first.wrapping_add(self.slots.len() as u32), place.sequence);
        self.bytes += packet.len() + SLOT;
        self.slots.push_back(Some(Copy {
            place,
            packet,
            sent: now,
            repairs: 0,
            path: 0,
            queued: false,
            flow,
            ecn,
        }));
        while self.bytes > self.cap {
            match self.slots.pop_front() {
                Some(Some(copy)) => {
                    if self.evicted.len() >= EVICTED {
                        self.evicted.pop_first();
                    }
                    self.evicted.insert(copy.place.sequence);
                    self.release(copy);
                }
                Some(None) => {}
                None => break,
            }
            self.first = self.first.wrapping_add(1);
        }
    }

    /// The copy of `sequence`, if it is still needed.
    pub(super) fn find(&mut self, sequence: u32) -> Option<&mut Copy> {
        let at = sequence.wrapping_sub(self.first) as usize;
        self.slots.get_mut(at)?.as_mut()
    }

    /// Sets the cap; what is over it goes with the next that comes.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// `sequence` is lost: whether its copy was dropped because of the cap, which is told once.
    pub(super) fn gave_up(&mut self, sequence: u32) -> bool {
        self.evicted.remove(&sequence)
    }

    /// `sequence` has arrived, or nobody will repair it any more. Whether it was held.
    pub(super) fn done(&mut self, sequence: u32) -> bool {
        self.evicted.remove(&sequence);
        let at = sequence.wrapping_sub(self.first) as usize;
        let Some(copy) = self.slots.get_mut(at).and_then(Option::take) else { return false };
        self.release(copy);
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        true
    }

    fn release(&mut self, copy: Copy) {
        self.bytes -= copy.packet.len() + SLOT;
        if self.spare.len() < SPARE {
            self.spare.push(copy.packet);
        }
    }

    /// Gives back what a busy time needed.
    pub(super) fn shrink(&mut self) {
        self.spare = Vec::new();
        self.slots.shrink_to_fit();
    }

    /// Bytes held, bookkeeping included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::inner::{Flow, Packet};
    use alloc::vec;
    use proptest::prelude::*;

    fn flow() -> FlowKey {
        let mut packet = [0; 20];
        (packet[0], packet[3]) = (0x45, 20);
        Flow::of(&Packet::parse(&packet).expect("we built it")).key
    }

    fn place(sequence: u32) -> Place {
        Place { sequence, distance: 1 }
    }

    #[test]
    fn copies_end_when_they_are_acknowledged_and_the_front_moves_on() {
        let mut copies = Copies::new(100_000);
        for sequence in [u32::MAX - 1, u32::MAX, 0, 1] {
            copies.push(Instant::ZERO, place(sequence), flow(), Ecn::NotEct, vec![sequence as u8; 100]);
        }
        assert!(copies.done(u32::MAX) && copies.done(0));
        assert_eq!(copies.slots.len(), 4, "the first is still needed");
        assert!(copies.find(0).is_none() && copies.find(7).is_none());
        assert_eq!(copies.find(1).map(|copy| copy.packet[0]), Some(1));
        assert!(copies.done(u32::MAX - 1));
        assert_eq!((copies.slots.len(), copies.first), (1, 1));
        assert!(!copies.done(u32::MAX - 1), "it ends once");
        assert!(copies.done(1));
        assert_eq!((copies.bytes(), copies.evicted.len()), (0, 0));
    }

    #[test]
    fn over_the_cap_the_oldest_goes_and_is_counted() {
        let mut copies = Copies::new(3 * (100 + SLOT));
        for sequence in 0..5 {
            copies.push(Instant::ZERO, place(sequence), flow(), Ecn::NotEct, vec![0; 100]);
        }
        assert_eq!(copies.evicted.len(), 2);
        assert!(copies.find(1).is_none() && copies.find(2).is_some());
    }

    proptest! {
        #[test]
        fn the_bytes_held_are_those_of_the_copies_and_under_the_cap(
            acts in prop::collection::vec((0u32..3, 0u32..60, 0usize..1500), 1..300),
            first in prop_oneof![Just(0), Just(u32::MAX - 20)],
        ) {
            let mut copies = Copies::new(20_000);
            let mut next = first;
            for (act, at, len) in acts {
                if act < 2 {
                    copies.push(Instant::ZERO, place(next), flow(), Ecn::NotEct, vec![0; len]);
                    next = next.wrapping_add(1);
                } else {
                    copies.done(next.wrapping_sub(at));
                }
                let held: usize = copies.slots.iter().flatten().map(|copy| copy.packet.len() + SLOT).sum();
                prop_assert_eq!(held, copies.bytes());
                prop_assert!(held <= 20_000);
                for (at, copy) in copies.slots.iter().enumerate() {
                    let sequence = copies.first.wrapping_add(at as u32);
                    prop_assert!(copy.as_ref().is_none_or(|copy| copy.place.sequence == sequence));
                }
            }
        }
    }
}
