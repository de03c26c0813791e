//! A path falls silent, and what is under way inside is more than the other paths hold. The senders
//! inside are told by the first packets that are sent again, because later costs more:
//!
//! ```text
//!   silence  moved packets             acknowledgements of all that waited for them
//!  ─────────┼───────────┼──────────────────────┼─────────────────
//!           told here: the queue is empty      told by CoDel: the repair goes behind a full queue
//! ```
//!
//! All that the paths carried comes to the other end at once, and so do its acknowledgements: for a
//! round trip the senders send as much as before into the paths that are left. A packet dropped out
//! of that queue is repaired by its sender a round trip later, behind the same queue.

use super::Peer;
use super::copies::Told;
use crate::bond::ingress::Delays;
use crate::bond::inner::FlowKey;
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// | constant | reason |
/// | --- | --- |
/// | `OVER` 5/4 | what is under way is told from what the paths hold only roughly; with 3/2 the gap of f7 was 57 ms, with this it is 45 |
/// | `BULK` 16 packets | a flow that had less on the path does not fill a queue |
/// | `HELD` 5 ms | as long as an acknowledgement is held back at most (chapter 5 of `core/docs/bond.md`) |
/// | `AT` the fourth | those before it end the silence for the receiver; each one more is one more packet in the queue before the repair |
const OVER: (u64, u64) = (5, 4);
const BULK: usize = 16;
const HELD: Duration = Duration::from_millis(5);
const AT: usize = 4;

/// What a path owes of one flow.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    packets: usize,
    /// Of them, those that have not arrived.
    lost: usize,
    /// The one that tells.
    chosen: Option<u32>,
}

impl Peer {
    /// The path has fallen silent: tells each bulk flow that had packets on it, if the other paths
    /// hold less than is under way.
    pub(super) fn tell_senders(&mut self, now: Instant, index: usize) {
        if !self.tuning.parts.reinject || !self.is_overloaded(now) {
            return;
        }
        let Some(slot) = &self.slots[index] else { return };
        // What was sent in the first half of a round trip may have arrived, and the path's way back
        // taken the word of that with it.
        let unheard = slot.path.rtt().smoothed() / 2 + HELD;
        let owed: Vec<_> =
            slot.path.outstanding().filter_map(|packet| packet.sequence.zip(Some(packet.sent_at))).collect();
        let Some(lost) = owed.first().map(|(_, sent)| *sent + unheard) else { return };
        let mut flows: BTreeMap<FlowKey, Owed> = BTreeMap::new();
        for (sequence, sent) in owed {
            let Some(flow) = self.copies.flow(sequence) else { continue };
            let owed = flows.entry(flow).or_default();
            owed.packets += 1;
            owed.lost += usize::from(sent >= lost);
            if owed.lost == AT {
                owed.chosen.get_or_insert(sequence);
            }
        }
        for chosen in flows.into_values().filter(|owed| owed.packets >= BULK).filter_map(|owed| owed.chosen) {
            self.trimmed += u64::from(self.copies.tell_congestion(chosen) == Some(Told::Trimmed));
        }
    }

    /// Whether the paths that may carry data hold less than is under way and waits: what they carry
    /// in a round trip, and the queue that keeps them busy.
    fn is_overloaded(&mut self, now: Instant) -> bool {
        let bytes = usize::from(self.mtu());
        let views = self.views(now, bytes);
        let mut held: u64 = 0;
        for view in views.iter().filter(|view| view.usable && self.members.contains(view.path)) {
            let Some(slot) = &self.slots[usize::from(view.path)] else { continue };
            let rtt = slot.path.inner_rtt();
            held = held.saturating_add(view.rate.bytes_in(rtt + Delays::suit(rtt, Duration::ZERO).target));
        }
        self.views = views;
        let under_way = (self.copies.bytes() + self.ingress.backlog()) as u64;
        held > 0 && under_way > held.saturating_mul(OVER.0) / OVER.1
    }
}
