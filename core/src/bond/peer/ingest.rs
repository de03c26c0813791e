//! Packets from the TUN, on their way into the queue.

use super::Peer;
use super::give::Give;
use crate::bond::ingress::{Entry, Item};
use crate::bond::inner::{Flow, Packet, clamp_mss, prepare};
use crate::machine::Offload;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::IpAddr;

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
    /// Takes in a packet or superpacket that is for this peer. `ours` is our own inner address of its family, from which a sender is
    /// told that its packet is too large.
    pub(in crate::bond) fn ingest(
        &mut self,
        now: Instant,
        packet: &[u8],
        offload: Offload,
        ours: Option<IpAddr>,
        give: &mut Give,
    ) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(packet);
        let flow = match prepare(&mut bytes, offload).and_then(|()| Packet::parse_with(&bytes, offload)) {
            Ok(view) => Flow::of(&view),
            Err(_) => {
                self.drops.malformed += 1;
                self.spare.push(bytes);
                return;
            }
        };
        clamp_mss(&mut bytes, usize::from(self.mtu));
        let Ok(entry) = Entry::new(bytes, offload) else {
            self.drops.malformed += 1;
            return;
        };
        if entry.next_len() > usize::from(self.mtu) {
            self.drops.too_large += 1;
            self.tell_too_large(now, packet, ours, give);
            return;
        }
        self.ingress.push(now, flow.key, Queued { entry, flow });
        self.reuse();
        self.pump(now);
    }

    fn tell_too_large(&mut self, now: Instant, packet: &[u8], ours: Option<IpAddr>, give: &mut Give) {
        let Some(ours) = ours else { return };
        let mut answer = [0; 1280];
        if let Ok(len) = self.too_big.tell(now, packet, self.mtu, ours, &mut answer) {
            give.push(&answer[..len]);
            give.finish();
        }
    }

    /// Takes back the buffers of what has left.
    pub(super) fn reuse(&mut self) {
        while let Some(spent) = self.ingress.poll_spent() {
            if self.spare.len() < 64 {
                self.spare.push(spent.entry.into_bytes());
            }
        }
    }

    /// The tunnel's MTU: the largest inner packet that every path in use carries, at most what was configured.
    pub(in crate::bond) fn mtu(&self) -> u16 {
        self.mtu
    }
}
