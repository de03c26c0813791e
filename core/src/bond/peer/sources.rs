//! Packets and superpackets as the TUN gave them, each kept until nobody needs it any more.
//!
//! ```text
//!   TUN ──▶ source ◀── the queue, until its last packet has left or was dropped
//!             │    ◀── each copy of a packet of it, until that is done
//!             ▼
//!           a packet, written straight into the datagram: when it leaves, and each time it is sent again
//! ```
//!
//! Invariants
//! - A source goes with its last holder, and its buffer is used again.
//! - The bytes that copies hold are those of whole sources: one packet of a superpacket that is not
//!   acknowledged keeps all of it.
//! - A name leads to its own source or to none: a holder that was counted wrongly would lose a
//!   packet, and never send another's bytes.

use crate::bond::ingress::Piece;
use crate::bond::inner::{Ecn, FlowKey, Segments, Sums, mark_ce};
use alloc::vec::Vec;

/// Bytes of the largest packet that a TUN hands over.
pub(in crate::bond) const LARGEST: usize = 65_535;
/// A packet of at least this size keeps the buffer it came in, and is not copied. A smaller one
/// would waste the rest of the buffer.
const LARGE: usize = LARGEST / 2;
/// Buffers kept for reuse while there is load: what is under way at some gigabits over a
/// millisecond or two.
const LARGE_SPARE: usize = 64;
const SMALL_SPARE: usize = 2048;

/// The name of a source: its place, and its number among all that were there. The name of one that
/// is gone names nothing, though its place is used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SourceId {
    place: u32,
    serial: u32,
}

#[derive(Debug)]
struct Source {
    serial: u32,
    bytes: Vec<u8>,
    segments: Segments,
    flow: FlowKey,
    ecn: Ecn,
    /// Packets of it are still to leave.
    queued: bool,
    /// Packets of it that have left and may have to leave again.
    copies: u32,
}

/// All that is kept of what came from the TUN.
#[derive(Debug, Default)]
pub(super) struct Sources {
    slots: Vec<Option<Source>>,
    free: Vec<u32>,
    /// The number of the next one.
    serial: u32,
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

impl Sources {
    /// The first `len` bytes of `taken`: those themselves, with another buffer of [`LARGEST`] in
    /// their place, or a copy.
    pub(super) fn take_over(&mut self, taken: &mut Vec<u8>, len: usize) -> Vec<u8> {
        if len >= LARGE {
            let mut bytes = self.large.pop().unwrap_or_default();
            bytes.resize(LARGEST, 0);
            core::mem::swap(taken, &mut bytes);
            bytes.truncate(len);
            return bytes;
        }
        let mut bytes = self.small.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(taken.get(..len).unwrap_or_default());
        bytes
    }

    /// Takes back a buffer.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) {
        let (kept, most) = if bytes.capacity() >= LARGE {
            (&mut self.large, LARGE_SPARE)
        } else {
            (&mut self.small, SMALL_SPARE)
        };
        if kept.len() < most {
            kept.push(bytes);
        }
    }

    /// A source that stands in the queue.
    pub(super) fn insert(&mut self, bytes: Vec<u8>, segments: Segments, flow: FlowKey, ecn: Ecn) -> SourceId {
        let serial = self.serial;
        self.serial = serial.wrapping_add(1);
        let source = Source { serial, bytes, segments, flow, ecn, queued: true, copies: 0 };
        if let Some(place) = self.free.pop() {
            self.slots[place as usize] = Some(source);
            return SourceId { place, serial };
        }
        self.slots.push(Some(source));
        // Each has a buffer, and memory ends long before 2^32 of them.
        SourceId { place: (self.slots.len() - 1) as u32, serial }
    }

    /// All packets of it have left the queue.
    pub(super) fn leave_queue(&mut self, id: SourceId) {
        if let Some(source) = self.source_mut(id) {
            source.queued = false;
            self.settle(id);
        }
    }

    /// One of its packets has a copy from now on. The bytes that copies hold by that in addition.
    pub(super) fn hold(&mut self, id: SourceId) -> usize {
        let Some(source) = self.source_mut(id) else { return 0 };
        source.copies += 1;
        if source.copies == 1 { source.bytes.len() } else { 0 }
    }

    /// A copy of one of its packets is done. The bytes that copies hold less by that.
    pub(super) fn release(&mut self, id: SourceId) -> usize {
        let Some(source) = self.source_mut(id).filter(|source| source.copies > 0) else { return 0 };
        source.copies -= 1;
        if source.copies > 0 {
            return 0;
        }
        let bytes = source.bytes.len();
        self.settle(id);
        bytes
    }

    /// Writes a packet of it to all of `out`, which is as long. False where there is no such
    /// packet.
    pub(super) fn write(&self, id: SourceId, piece: Piece, out: &mut [u8], sums: Sums) -> bool {
        let Some(source) = self.source(id) else { return false };
        let written = source.segments.write(&source.bytes, usize::from(piece.index), out, sums);
        if piece.marked {
            mark_ce(out);
        }
        written == Some(out.len())
    }

    /// The flow of its packets, and what their transport says of ECN.
    pub(super) fn flow(&self, id: SourceId) -> Option<(FlowKey, Ecn)> {
        self.source(id).map(|source| (source.flow, source.ecn))
    }

    /// Gives back the buffers of a busy time.
    pub(super) fn shrink(&mut self) {
        (self.small, self.large) = (Vec::new(), Vec::new());
        if self.free.len() == self.slots.len() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }

    fn source(&self, id: SourceId) -> Option<&Source> {
        self.slots.get(id.place as usize)?.as_ref().filter(|source| source.serial == id.serial)
    }

    fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.slots.get_mut(id.place as usize)?.as_mut().filter(|source| source.serial == id.serial)
    }

    /// Lets a source go that nobody holds.
    fn settle(&mut self, id: SourceId) {
        let Some(slot) = self.slots.get_mut(id.place as usize) else { return };
        if let Some(source) = slot.take_if(|source| !source.queued && source.copies == 0) {
            self.free.push(id.place);
            self.keep(source.bytes);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::bond::inner::{Flow, Packet};
    use crate::machine::Offload;

    /// A source of a whole packet of `len` bytes of payload, which has left the queue when its copy
    /// is done.
    pub(in crate::bond::peer) fn plain(sources: &mut Sources, fill: u8, len: usize) -> SourceId {
        let mut packet = alloc::vec![fill; 20 + len];
        packet[..20].fill(0);
        (packet[0], packet[9]) = (0x45, 253);
        packet[2..4].copy_from_slice(&(20 + len as u16).to_be_bytes());
        let view = Packet::parse(&packet).expect("we built it");
        let (flow, ecn) = (Flow::of(&view).key, view.ecn());
        let segments = Segments::of(&packet, Offload::None).expect("we built it");
        sources.insert(packet, segments, flow, ecn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::inner::testing::Build;
    use crate::bond::inner::{Flow, Packet};
    use crate::machine::Offload;

    #[test]
    fn a_superpacket_stays_until_the_queue_and_its_last_copy_are_done_with_it() {
        let mut sources = Sources::default();
        let packet = Build { partial: true, ..Build::default() }.tcp(&[7; 2500]);
        let offload = Offload::Tcp { header: 40, size: 1000, v6: false };
        let mut taken = packet.clone();
        let bytes = sources.take_over(&mut taken, packet.len());
        let view = Packet::parse_with(&packet, offload).expect("we built it");
        let segments = Segments::of(&packet, offload).expect("we built it");
        let id = sources.insert(bytes, segments, Flow::of(&view).key, view.ecn());
        assert_eq!((sources.hold(id), sources.hold(id)), (packet.len(), 0));
        let mut out = [0; 540];
        let last = Piece { index: 2, marked: false };
        assert!(sources.write(id, last, &mut out, Sums::Complete));
        assert_eq!(out[40..], [7; 500]);
        assert!(!sources.write(id, Piece { index: 3, marked: false }, &mut out, Sums::Complete));
        assert_eq!(sources.release(id), 0);
        sources.leave_queue(id);
        assert_eq!(sources.len(), 1, "a packet of it may be sent again");
        assert_eq!(sources.release(id), packet.len());
        assert_eq!((sources.len(), sources.flow(id)), (0, None));
        let next = testing::plain(&mut sources, 1, 9);
        assert_eq!(next.place, id.place, "its place is used again");
        assert_eq!(sources.flow(id), None, "its name is not");
        sources.leave_queue(id);
        assert_eq!((sources.hold(id), sources.release(id), sources.len()), (0, 0, 1));
    }
}
