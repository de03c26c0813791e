//! Which packet goes to which path, and when.

use super::copies::Place;
use super::{MAX_PATHS, Peer, REPAIR_BURST, REPAIR_SHARE};
use crate::bond::inner::{Ecn, Packet, Sums};
use crate::bond::path::{Blocked, Path, RawDelay, State};
use crate::bond::wire::OVERHEAD;
use crate::time::{Duration, Instant};

/// Packets that one path may have staged: a run that leaves in one call.
const RUN: usize = 16;

/// What the scheduler sees of the packet in front.
struct Front {
    bytes: usize,
    backlog: usize,
    sparse: bool,
}

impl Peer {
    /// Gives packets to paths until no path can carry one now.
    pub(in crate::bond) fn pump(&mut self, now: Instant) {
        self.wake = None;
        while self.send_again_first(now) || self.send_new(now) {}
        self.reuse();
    }

    /// Stages the first packet that is to be sent again.
    fn send_again_first(&mut self, now: Instant) -> bool {
        loop {
            let Some(&(sequence, repair)) = self.again.front() else { return false };
            let Some(copy) = self.copies.find(sequence) else {
                // It has arrived meanwhile, or its copy is gone.
                self.again.pop_front();
                continue;
            };
            let bytes = copy.packet.len();
            if repair && self.repair_credit < bytes as u64 {
                // Out of budget: new packets earn more.
                return false;
            }
            let front = Front { bytes, backlog: bytes, sparse: true };
            let Some(index) = self.choose(now, &front) else { return false };
            self.again.pop_front();
            if let Some(copy) = self.copies.find(sequence) {
                copy.queued = false;
                if repair {
                    copy.repairs += 1;
                }
            }
            if repair {
                self.repair_credit -= bytes as u64;
                self.repaired += 1;
            } else {
                self.reinjected += 1;
            }
            self.stage(index, sequence, bytes);
            return true;
        }
    }

    /// Stages the next packet of the queue.
    fn send_new(&mut self, now: Instant) -> bool {
        let Some(head) = self.ingress.peek(now) else { return false };
        let front = Front { bytes: head.bytes, backlog: head.backlog, sparse: head.sparse };
        let Some(index) = self.choose(now, &front) else { return false };
        let mut packet = self.copies.buffer();
        packet.resize(head.bytes, 0);
        // The inner checksum is left to the receiver's kernel where both have offload: the seal vouches for the bytes.
        let sums = if self.offload { Sums::Partial } else { Sums::Complete };
        let written = self.ingress.pop(|queued| {
            let len = queued.entry.write(&mut packet, sums)?;
            Some((len, queued.flow))
        });
        let Some(Some((len, flow))) = written else { return true };
        packet.truncate(len);
        let ordered = flow.is_ordered(head.flow_bytes > head.bytes);
        let (sequence, distance) = self.sequencer.assign(flow.key, ordered);
        let ecn = Packet::parse(&packet).map_or(Ecn::NotEct, |view| view.ecn());
        self.copies.push(now, Place { sequence, distance }, ecn, packet);
        self.repair_credit = (self.repair_credit + len as u64 / REPAIR_SHARE).min(REPAIR_BURST);
        self.stage(index, sequence, len);
        true
    }

    fn stage(&mut self, index: usize, sequence: u32, bytes: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        let bytes = (bytes + OVERHEAD) as u32 + slot.remote.headers();
        slot.stage.push_back((sequence, bytes));
        slot.staged += u64::from(bytes);
    }

    /// The path for the packet in front; `None` where it has to wait, with the time in `wake` if time alone helps.
    fn choose(&mut self, now: Instant, front: &Front) -> Option<usize> {
        let shortest = self.shortest()?;
        let mut best: Option<(usize, Duration)> = None;
        // When the fastest path would have delivered all that waits.
        let mut fastest: Option<(usize, Duration)> = None;
        let mut wake: Option<Instant> = None;
        for index in 0..MAX_PATHS {
            let Some(slot) = &mut self.slots[index] else { continue };
            if slot.path.state() != State::Live || !slot.validated {
                continue;
            }
            let way = way(&slot.path, shortest);
            if way > self.tuning.max_skew {
                continue;
            }
            let bytes = (front.bytes + OVERHEAD) as u64 + u64::from(slot.remote.headers());
            // In start-up the rate is a lower bound, and only packets can raise it.
            let found = slot.path.rate_found();
            let rate = if found { slot.path.rate() } else { slot.path.pacing_rate() };
            let whole = way + rate.time_for(front.backlog as u64 + bytes - front.bytes as u64);
            if fastest.is_none_or(|(_, other)| whole < other) {
                fastest = Some((index, whole));
            }
            if slot.stage.len() >= RUN {
                continue;
            }
            match slot.path.may_send(now, slot.staged + bytes) {
                Ok(()) => {
                    let arrival = way + rate.time_for(bytes);
                    if best.is_none_or(|(_, other)| arrival < other) {
                        best = Some((index, arrival));
                    }
                }
                Err(Blocked::Paced(until)) => wake = Some(wake.map_or(until, |other| other.min(until))),
                Err(Blocked::InFlight | Blocked::Packets | Blocked::State) => {}
            }
        }
        let chosen = best.filter(|(index, arrival)| {
            // Earliest completion first (ECF): a slow path is no help where a fast one is done sooner.
            fastest.is_none_or(|(fastest, whole)| *index == fastest || *arrival <= whole)
        });
        if chosen.is_none() {
            self.wake = match (self.wake, wake) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        chosen.map(|(index, _)| index)
    }

    /// The smallest base delay of the live paths; any, where none is measured.
    fn shortest(&self) -> Option<RawDelay> {
        let live = self.slots().filter(|slot| slot.path.state() == State::Live && slot.validated);
        let mut any = false;
        let shortest = live
            .inspect(|_| any = true)
            .filter_map(|slot| slot.path.one_way().base())
            .reduce(|shortest, delay| if delay.over(shortest) < 0 { delay } else { shortest });
        any.then(|| shortest.unwrap_or_default())
    }
}

/// The one-way delay now, over the shortest base: the path's base and what stands in its queue. The smoothed delay is no
/// measure here: after a silence it is that of another time.
fn way(path: &Path, shortest: RawDelay) -> Duration {
    let Some(base) = path.one_way().base() else { return Duration::ZERO };
    Duration::from_micros(base.over(shortest).max(0).unsigned_abs()) + path.one_way().recent()
}
