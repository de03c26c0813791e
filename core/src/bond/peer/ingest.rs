//! Packets from the TUN, on their way into the queue.

use super::Peer;
use super::give::Give;
use super::sources::SourceId;
use crate::bond::ingress::{Entry, Item};
use crate::bond::inner::{self, Flow, Malformed, Packet, Segments, clamp_mss, prepare};
use crate::machine::Offload;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// Bytes that come in before the paths are asked, if the driver does not ask before. To ask for
/// each packet that comes alone costs half as much as its seal; a superpacket is asked for at once.
/// No queue is so short that it overflows meanwhile.
const TOGETHER: usize = 32 * 1024;

/// And no more than all paths carry in this time: for slower ones a question costs nothing, and
/// what a silent path leaves would be mixed with larger pieces of new packets (f7: a gap of 50 ms
/// for 42).
const AT_ONCE: Duration = Duration::from_micros(100);

/// A packet or superpacket that waits, with its flow.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) entry: Entry,
    pub(super) source: SourceId,
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
    /// Takes in a packet or superpacket that is for this peer: the first `len` of the
    /// [`LARGEST`](super::LARGEST) bytes of `taken`. The paths get it with others that come at
    /// once: [`Peer::pump_fed`].
    pub(in crate::bond) fn ingest(
        &mut self,
        now: Instant,
        taken: &mut Vec<u8>,
        len: usize,
        offload: Offload,
        give: &mut Give,
    ) {
        let sources = &mut self.copies.sources;
        let mut bytes = sources.take_over(taken, len);
        let mut looked = || -> Result<_, Malformed> {
            prepare(&mut bytes, offload)?;
            let view = Packet::parse_with(&bytes, offload)?;
            Ok((Flow::of(&view), view.ecn(), view.bytes().len(), Segments::of(&bytes, offload)?))
        };
        let Ok((flow, ecn, own, segments)) = looked() else {
            self.drops.malformed += 1;
            sources.keep(bytes);
            return;
        };
        // What came behind the packet's own length does not travel.
        bytes.truncate(own);
        clamp_mss(&mut bytes, usize::from(self.mtu()));
        let entry = Entry::new(segments, ecn);
        if entry.next_len() > usize::from(self.mtu()) {
            self.drops.too_large += segments.count() as u64;
            self.tell_too_large(now, &bytes, give);
            self.copies.sources.keep(bytes);
            return;
        }
        let source = self.copies.sources.insert(bytes, segments, flow.key, ecn);
        self.ingress.push(now, flow.key, Queued { entry, source, flow });
        self.fed += own;
        if self.fed >= TOGETHER || self.fed as u64 >= self.carried_at_once() {
            self.pump(now);
        }
    }

    fn carried_at_once(&self) -> u64 {
        self.slots().map(|slot| slot.path.pacing_rate().bytes_in(AT_ONCE)).sum()
    }

    /// Gives what has come in since the paths were asked last to them.
    pub(in crate::bond) fn pump_fed(&mut self, now: Instant) {
        if self.fed > 0 {
            self.pump(now);
        }
    }

    /// The message comes from the host that the packet is for: that one is beyond the bond, where a
    /// packet out of the device may come from. One with an address of this host would be a martian
    /// (RFC 1812 section 5.3.8), and the kernel would drop it.
    fn tell_too_large(&mut self, now: Instant, packet: &[u8], give: &mut Give) {
        let Some(beyond) = inner::destination(packet) else { return };
        let mut answer = [0; 1280];
        if let Ok(len) = self.too_big.tell(now, packet, self.mtu(), beyond, &mut answer) {
            let answer = Packet::parse(&answer[..len]).expect("we built it");
            self.told_too_big += u64::from(give.push(&answer));
            give.finish();
        }
    }

    /// Lets the buffers go of what has left the queue.
    pub(super) fn reuse(&mut self) {
        while let Some(spent) = self.ingress.poll_spent() {
            self.copies.sources.leave_queue(spent.source);
        }
    }
}
