//! Packets on their way to the TUN: consecutive ones of a flow leave as one superpacket.
//!
//! Invariants
//! - The packet in front stays as it is until it is taken: what the driver was shown does not
//!   change.
//! - The bytes that wait stay under the cap; a packet over it is dropped and counted.

use crate::bond::inner::{Packet, Run, complete};
use crate::machine::Offload;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes that may wait for a TUN that takes nothing. A burst of 7 Gbit/s lasts 4.5 ms in it; the
/// system's own queue is behind it.
const CAP: usize = 4 << 20;
/// Buffers kept for reuse.
const SPARE: usize = 32;

/// The queue to one TUN device.
#[derive(Debug, Default)]
pub(in crate::bond) struct Give {
    queue: VecDeque<(Vec<u8>, Offload)>,
    /// A superpacket that may still grow. It ends with the batch.
    open: Option<(Vec<u8>, Run)>,
    bytes: usize,
    dropped: u64,
    offload: bool,
    spare: Vec<Vec<u8>>,
}

impl Give {
    /// A queue to a device that takes superpackets and sums, or (without `offload`) to one that
    /// takes plain packets.
    pub(in crate::bond) fn new(offload: bool) -> Self {
        Give { offload, ..Give::default() }
    }

    /// Appends a packet; false if there is no room for it.
    pub(in crate::bond) fn push(&mut self, view: &Packet<'_>) -> bool {
        let packet = view.bytes();
        if self.bytes + packet.len() > CAP {
            self.dropped += 1;
            return false;
        }
        self.bytes += packet.len();
        if let Some((buf, run)) = &mut self.open {
            let before = buf.len();
            if self.offload && run.push(buf, view) {
                // The header of a packet that was merged is not there any more.
                self.bytes = self.bytes + buf.len() - before - packet.len();
                return true;
            }
            self.finish();
        }
        let mut buf = self.spare.pop().unwrap_or_default();
        let run = Run::start(&mut buf, view);
        self.open = Some((buf, run));
        true
    }

    /// Ends the batch: what was pushed can be taken.
    pub(in crate::bond) fn finish(&mut self) {
        let Some((mut buf, run)) = self.open.take() else { return };
        let offload = if self.offload {
            run.finish(&mut buf)
        } else {
            complete(&mut buf);
            Offload::None
        };
        self.queue.push_back((buf, offload));
    }

    /// The packet in front.
    pub(in crate::bond) fn front(&self) -> Option<(&[u8], Offload)> {
        self.queue.front().map(|(packet, offload)| (&packet[..], *offload))
    }

    /// The packet in front was taken, or is lost.
    pub(in crate::bond) fn pop(&mut self) {
        let Some((packet, _)) = self.queue.pop_front() else { return };
        self.bytes -= packet.len();
        if self.spare.len() < SPARE {
            self.spare.push(packet);
        }
    }

    /// Whether something can be taken.
    pub(in crate::bond) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
