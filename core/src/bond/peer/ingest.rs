//! Packets from the TUN, on their way into the queue.

use super::Peer;
use super::give::Give;
use crate::bond::ingress::{Entry, Item};
use crate::bond::inner::{Flow, Packet, clamp_mss, prepare};
use crate::machine::Offload;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Bytes of the largest packet that a TUN hands over.
pub(in crate::bond) const LARGEST: usize = 65_535;
/// A packet of so many bytes is taken with its buffer, and not copied. One that is smaller would
/// occupy that for nothing.
const LARGE: usize = LARGEST / 2;
/// Large buffers kept for reuse: what is read before it is sent.
const SPARE: usize = 32;

/// A packet or superpacket that waits, with its flow.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) entry: Entry<Vec<u8>>,
    pub(super) flow: Flow,
}

impl Item for Queued {
    fn next_len(&self) -> usize {
        self.entry.next_len()
    }

    fn bytes_left(&self) -> usize {
        self.entry.bytes_left()
    }

    fn advance(&mut self) {
        self.entry.advance();
    }

    fn mark(&mut self) -> bool {
        self.entry.mark()
    }
}

impl Peer {
    /// Takes in a packet or superpacket that is for this peer: the first `len` of the [`LARGEST`]
    /// bytes of `taken`. `ours` is our own inner address of its family, from which a sender is told
    /// that its packet is too large.
    pub(in crate::bond) fn ingest(
        &mut self,
        now: Instant,
        taken: &mut Vec<u8>,
        len: usize,
        offload: Offload,
        ours: Option<IpAddr>,
        give: &mut Give,
    ) {
        let mut bytes = self.take_over(taken, len);
        let flow = match prepare(&mut bytes, offload).and_then(|()| Packet::parse_with(&bytes, offload)) {
            Ok(view) => Flow::of(&view),
            Err(_) => {
                self.drops.malformed += 1;
                self.keep(bytes);
                return;
            }
        };
        clamp_mss(&mut bytes, usize::from(self.mtu()));
        let Ok(entry) = Entry::new(bytes, offload) else {
            self.drops.malformed += 1;
            return;
        };
        if entry.next_len() > usize::from(self.mtu()) {
            self.drops.too_large += 1;
            let bytes = entry.into_bytes();
            self.tell_too_large(now, &bytes, ours, give);
            self.keep(bytes);
            return;
        }
        self.ingress.push(now, flow.key, Queued { entry, flow });
        self.reuse();
        self.pump(now);
    }

    fn tell_too_large(&mut self, now: Instant, packet: &[u8], ours: Option<IpAddr>, give: &mut Give) {
        let Some(ours) = ours else { return };
        let mut answer = [0; 1280];
        if let Ok(len) = self.too_big.tell(now, packet, self.mtu(), ours, &mut answer) {
            give.push(&answer[..len]);
            give.finish();
        }
    }

    /// The first `len` bytes of `taken`: those themselves, with another buffer in their place, or a
    /// copy.
    fn take_over(&mut self, taken: &mut Vec<u8>, len: usize) -> Vec<u8> {
        if len >= LARGE {
            let mut bytes = self.large.pop().unwrap_or_default();
            bytes.resize(LARGEST, 0);
            core::mem::swap(taken, &mut bytes);
            bytes.truncate(len);
            return bytes;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(taken.get(..len).unwrap_or_default());
        bytes
    }

    /// Takes back a buffer.
    fn keep(&mut self, bytes: Vec<u8>) {
        let (kept, most) =
            if bytes.capacity() >= LARGE { (&mut self.large, SPARE) } else { (&mut self.spare, 64) };
        if kept.len() < most {
            kept.push(bytes);
        }
    }

    /// Takes back the buffers of what has left.
    pub(super) fn reuse(&mut self) {
        while let Some(spent) = self.ingress.poll_spent() {
            self.keep(spent.entry.into_bytes());
        }
    }
}
