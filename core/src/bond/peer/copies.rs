//! DATA that is not acknowledged yet: what a repair sends again. The bytes are those that came from
//! the TUN ([`Sources`]); a copy says which part of them it is.
//!
//! ```text
//!   first                                    next
//!     │ sent │ acked │ sent │ sent │ ... │ sent │       by sequence; the front is dropped as soon as it is done
//! ```
//!
//! Invariants
//! - The bytes held stay under the cap; what is over it is dropped oldest first, and counted.
//! - A copy ends once: acknowledged, evicted, or given up.

use super::sources::{SourceId, Sources};
use crate::bond::ingress::Piece;
use crate::bond::inner::{Ecn, FlowKey, Segments, Sums, trim};
use crate::bond::schedule::PathSet;
use crate::machine::Offload;
use crate::time::Instant;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec;

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
    /// What it is a packet of, and which.
    source: SourceId,
    piece: Piece,
    /// Bytes of the inner packet.
    pub(super) len: u16,
    /// When it was sent first.
    pub(super) sent: Instant,
    /// How often it was sent again.
    pub(super) repairs: u8,
    /// The path it was given to last.
    pub(super) path: u8,
    /// The paths it is under way on: given to them, and not known to be lost there.
    pub(super) on: PathSet,
    /// It waits to be sent again.
    pub(super) queued: bool,
    /// What its transport says of ECN, or we.
    pub(super) ecn: Ecn,
}

/// How a sender inside learns of a congestion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// It knows ECN.
    Marked,
    /// It has to send the bytes again.
    Trimmed,
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
    pub(super) sources: Sources,
}

/// Bookkeeping that a small packet costs beside its bytes, here and in [`Sources`].
const SLOT: usize = 96;
/// Dropped copies that are remembered, to count those that are lost.
const EVICTED: usize = 8192;
/// Half of all sequences.
const HALF: u32 = 1 << 31;

impl Copies {
    /// Holds at most `cap` bytes.
    pub(super) fn new(cap: usize) -> Self {
        Copies {
            first: 0,
            slots: VecDeque::new(),
            bytes: 0,
            cap,
            evicted: BTreeSet::new(),
            sources: Sources::default(),
        }
    }

    /// Keeps a packet of `len` bytes that leaves for the first time. Sequences come one after the
    /// other.
    pub(super) fn push(&mut self, now: Instant, place: Place, source: SourceId, piece: Piece, len: u16) {
        if self.slots.is_empty() {
            self.first = place.sequence;
        }
        debug_assert_eq!(self.first.wrapping_add(self.slots.len() as u32), place.sequence);
        let ecn = match self.sources.flow(source) {
            _ if piece.marked => Ecn::Ce,
            Some((_, ecn)) => ecn,
            None => Ecn::NotEct,
        };
        self.bytes += self.sources.hold(source) + SLOT;
        self.slots.push_back(Some(Copy {
            place,
            source,
            piece,
            len,
            sent: now,
            repairs: 0,
            path: 0,
            on: PathSet::EMPTY,
            queued: false,
            ecn,
        }));
        while self.bytes > self.cap {
            match self.slots.pop_front() {
                Some(Some(copy)) => {
                    let newest = copy.place.sequence;
                    if self.evicted.len() >= EVICTED {
                        // The oldest is the first behind half a turn of the sequences.
                        let oldest = self.evicted.range(newest.wrapping_sub(HALF)..).next().copied();
                        let oldest = oldest.or(self.evicted.first().copied());
                        oldest.map(|oldest| self.evicted.remove(&oldest));
                    }
                    self.evicted.insert(newest);
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

    /// How far `sequence` is behind the oldest that is held.
    pub(super) fn place(&self, sequence: u32) -> u32 {
        sequence.wrapping_sub(self.first)
    }

    /// The flow of `sequence`, if its copy is still needed.
    pub(super) fn flow(&mut self, sequence: u32) -> Option<FlowKey> {
        let source = self.find(sequence)?.source;
        self.sources.flow(source).map(|(flow, _)| flow)
    }

    /// Writes `sequence` to all of `out`, which is as long. False where it is not needed any more.
    pub(super) fn write(&mut self, sequence: u32, out: &mut [u8], sums: Sums) -> bool {
        let Some(&mut Copy { source, piece, .. }) = self.find(sequence) else { return false };
        self.sources.write(source, piece, out, sums)
    }

    /// Makes `sequence` tell its sender of a congestion when it is sent again: by a mark, or by a
    /// TCP segment without its payload. Whether it can.
    pub(super) fn tell_congestion(&mut self, sequence: u32) -> Option<Told> {
        let &mut Copy { source, piece, len, ecn, .. } = self.find(sequence)?;
        if ecn != Ecn::NotEct {
            let copy = self.find(sequence)?;
            (copy.piece.marked, copy.ecn) = (true, Ecn::Ce);
            return Some(Told::Marked);
        }
        let (flow, _) = self.sources.flow(source)?;
        let mut bytes = vec![0; usize::from(len)];
        if !self.sources.write(source, piece, &mut bytes, Sums::Partial) || !trim(&mut bytes) {
            return None;
        }
        let segments = Segments::of(&bytes, Offload::None).ok()?;
        let len = bytes.len() as u16; // It was longer.
        if self.bytes + bytes.len() > self.cap {
            return None;
        }
        let header = self.sources.insert(bytes, segments, flow, ecn);
        self.bytes += self.sources.hold(header);
        self.sources.leave_queue(header);
        self.bytes -= self.sources.release(source);
        let copy = self.find(sequence)?;
        (copy.source, copy.piece, copy.len) = (header, Piece { index: 0, marked: false }, len);
        Some(Told::Trimmed)
    }

    /// Sets the cap; what is over it goes with the next that comes.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// `sequence` is lost: whether its copy was dropped because of the cap. True once only.
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
        self.bytes -= self.sources.release(copy.source) + SLOT;
    }

    /// Gives back what a busy time needed.
    pub(super) fn shrink(&mut self) {
        self.sources.shrink();
        self.slots.shrink_to_fit();
    }

    /// Bytes held, bookkeeping included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::testing::plain;
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn place(sequence: u32) -> Place {
        Place { sequence, distance: 1 }
    }

    /// Keeps a packet of `len` bytes that all have this value, and 20 of header.
    fn push(copies: &mut Copies, sequence: u32, fill: u8, len: usize) {
        let source = plain(&mut copies.sources, fill, len);
        let piece = Piece { index: 0, marked: false };
        copies.push(Instant::ZERO, place(sequence), source, piece, 20 + len as u16);
        copies.sources.leave_queue(source);
    }

    #[test]
    fn copies_end_when_they_are_acknowledged_and_the_front_moves_on() {
        let mut copies = Copies::new(100_000);
        for sequence in [u32::MAX - 1, u32::MAX, 0, 1] {
            push(&mut copies, sequence, sequence as u8, 100);
        }
        assert!(copies.done(u32::MAX) && copies.done(0));
        assert_eq!(copies.slots.len(), 4, "the first is still needed");
        assert!(copies.find(0).is_none() && copies.find(7).is_none());
        let mut out = [0; 120];
        assert!(copies.write(1, &mut out, Sums::Complete) && out[20..] == [1; 100]);
        assert!(!copies.write(0, &mut out, Sums::Complete), "it is done");
        assert!(copies.done(u32::MAX - 1));
        assert_eq!((copies.slots.len(), copies.first), (1, 1));
        assert!(!copies.done(u32::MAX - 1), "it ends once");
        assert!(copies.done(1));
        assert_eq!((copies.bytes(), copies.evicted.len(), copies.sources.len()), (0, 0, 0));
    }

    #[test]
    fn over_the_cap_the_oldest_goes_and_is_counted() {
        let mut copies = Copies::new(3 * (120 + SLOT));
        for sequence in 0..5 {
            push(&mut copies, sequence, 0, 100);
        }
        assert_eq!((copies.evicted.len(), copies.sources.len()), (2, 3));
        assert!(copies.find(1).is_none() && copies.find(2).is_some());
    }

    #[test]
    fn of_those_that_went_the_oldest_is_forgotten_where_sequences_begin_anew_too() {
        for first in [0, u32::MAX - 100, u32::MAX - EVICTED as u32] {
            let mut copies = Copies::new(120 + SLOT);
            let sequence = |at: usize| first.wrapping_add(at as u32);
            // The last one is held.
            (0..EVICTED + 11).for_each(|at| push(&mut copies, sequence(at), 0, 100));
            assert_eq!(copies.evicted.len(), EVICTED);
            let known: Vec<bool> = (0..20).map(|at| copies.gave_up(sequence(at))).collect();
            assert_eq!(known, [[false; 10], [true; 10]].concat(), "from {first}");
            assert!(copies.gave_up(sequence(EVICTED + 9)), "the newest");
        }
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
                    push(&mut copies, next, next as u8, len);
                    next = next.wrapping_add(1);
                } else {
                    copies.done(next.wrapping_sub(at));
                }
                let held: usize = copies.slots.iter().flatten().map(|copy| usize::from(copy.len) + SLOT).sum();
                prop_assert_eq!(held, copies.bytes());
                prop_assert!(held <= 20_000);
                prop_assert_eq!(copies.sources.len(), copies.slots.iter().flatten().count());
                for at in 0..copies.slots.len() {
                    let sequence = copies.first.wrapping_add(at as u32);
                    let Some(copy) = &copies.slots[at] else { continue };
                    prop_assert_eq!(copy.place.sequence, sequence);
                    // It is written as what it was, however often places were used again.
                    let mut out = vec![0; usize::from(copy.len)];
                    prop_assert!(copies.write(sequence, &mut out, Sums::Complete));
                    prop_assert!(out[20..].iter().all(|byte| *byte == sequence as u8));
                }
            }
        }
    }
}
