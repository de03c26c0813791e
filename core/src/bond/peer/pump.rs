//! Which packet goes to which path, and when: the scheduler is asked, and its answer staged.

use super::again::BEHIND;
use super::copies::{Copy, Place};
use super::{Peer, RUN};
use crate::bond::path::{Blocked, Path, RawDelay, State};
use crate::bond::rate::Rate;
use crate::bond::schedule::{Decision, Head, PathSet, PathView};
use crate::bond::wire::OVERHEAD;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// A path whose run is full is asked again when it has left, which is at once: any time after now
/// says "not now".
const SOON: Duration = Duration::from_micros(1);

impl Peer {
    /// Gives packets to paths until no path can carry one now.
    pub(in crate::bond) fn pump(&mut self, now: Instant) {
        (self.wake, self.seen, self.fed) = (None, false, 0);
        // Without keys nothing can leave. The handshake pumps again when it brings new ones.
        if self.keys.is_usable(now) {
            while self.send_again_first(now) || self.send_new(now) {}
        }
        self.reuse();
        self.slots.iter_mut().flatten().for_each(|slot| slot.note_waiting(now));
    }

    /// Stages the next packet of the queue.
    fn send_new(&mut self, now: Instant) -> bool {
        let Some(head) = self.ingress.peek(now) else { return false };
        let Some(flow) = self.ingress.chosen().map(|queued| queued.flow.key) else { return false };
        let (flow_bytes, bytes) = (head.flow_bytes, head.bytes);
        let head = Head { flow, bytes, backlog: head.backlog, sparse: head.sparse };
        let views = self.views_again(now, bytes);
        let paths = self.choose(now, &head, &views);
        self.views = views;
        let Some(paths) = paths else {
            if !self.fits_nowhere(bytes) {
                return false;
            }
            // The MTU of the paths has shrunk since it was queued. Its sender gets "packet too big"
            // for its next packet.
            self.ingress.pop(|_| ());
            self.drops.too_large += 1;
            return true;
        };
        let sent = self.ingress.pop(|queued| (queued.source, queued.entry.next(), queued.flow));
        let Some((source, piece, flow)) = sent else { return true };
        let ordered = self.tuning.parts.order && flow.is_ordered(flow_bytes > bytes);
        let (sequence, distance) = self.sequencer.assign(flow.key, ordered);
        // A segment is shorter than what IP's length holds.
        self.copies.push(now, Place { sequence, distance }, source, piece, bytes as u16);
        self.again.earn(bytes as u64);
        self.loaded = Some(now);
        paths.iter().for_each(|path| self.stage(usize::from(path), sequence, bytes));
        true
    }

    pub(super) fn stage(&mut self, index: usize, sequence: u32, bytes: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        if let Some(copy) = self.copies.find(sequence) {
            copy.path = slot.id.get();
            copy.on.insert(copy.path);
        }
        let bytes = (bytes + OVERHEAD) as u32 + slot.remote.headers();
        slot.stage.push_back((sequence, bytes));
        slot.staged += u64::from(bytes);
    }

    /// The paths for the packet in front, the first of them its own and the others for copies;
    /// `None` where it has to wait, with the time in `wake` if time alone helps.
    pub(super) fn choose(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Option<PathSet> {
        let (path, others) = match self.scheduler.decide(now, head, views) {
            Decision::Send(path) => (path, PathSet::EMPTY),
            Decision::Copies { path, others } => (path, others),
            Decision::Wait(until) => {
                let until = until.filter(|until| *until > now);
                self.wake = match (self.wake, until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                return None;
            }
        };
        let mut all = others;
        all.insert(path);
        for view in views.iter().filter(|view| all.contains(view.path)) {
            self.scheduler.handle_sent(view, head.bytes + OVERHEAD, view.path != path);
        }
        Some(all)
    }

    /// The paths as the scheduler sees them, for a packet of `bytes`. The caller puts the vector
    /// back into `self.views` when it is done, which saves an allocation.
    pub(super) fn views(&mut self, now: Instant, bytes: usize) -> Vec<PathView> {
        let mut views = core::mem::take(&mut self.views);
        views.clear();
        let shortest = self.shortest();
        for slot in self.slots.iter_mut().flatten() {
            let (found, loaded) = (slot.path.rate_found(), slot.path.is_fresh(now));
            views.push(PathView {
                path: slot.id.get(),
                usable: false,
                fresh: found && loaded,
                loaded,
                found,
                rate: Rate::ZERO,
                delay: delay(&slot.path, shortest),
                far: base_over(&slot.path, shortest) + slot.path.foreign_excess(now),
                free_at: now,
                weight: slot.weight,
            });
        }
        self.ask_for_room(now, bytes, &mut views);
        views
    }

    /// As [`Peer::views`], for another packet while paths are only given packets: what a path is
    /// stays the same, what it has room for does not.
    fn views_again(&mut self, now: Instant, bytes: usize) -> Vec<PathView> {
        if !core::mem::replace(&mut self.seen, true) {
            return self.views(now, bytes);
        }
        let mut views = core::mem::take(&mut self.views);
        self.ask_for_room(now, bytes, &mut views);
        views
    }

    /// Sets what depends on the packet, and on those that were staged before it.
    fn ask_for_room(&mut self, now: Instant, bytes: usize, views: &mut [PathView]) {
        for (slot, view) in self.slots.iter_mut().flatten().zip(views) {
            let usable = slot.is_usable() && slot.fits(bytes);
            let bytes = (bytes + OVERHEAD) as u64 + u64::from(slot.remote.headers());
            // In start-up the rate is a lower bound, and only packets can raise it.
            let rate = if view.found { slot.path.rate() } else { slot.path.pacing_rate() };
            let free_at = match slot.path.may_send(now, slot.staged, bytes) {
                // The longer its socket has taken nothing, the longer it is likely to.
                Ok(()) if slot.stage.len() >= RUN => now + slot.stuck(now).max(SOON),
                Ok(()) => now,
                Err(Blocked::Paced(until)) => until.max(now + SOON),
                Err(Blocked::InFlight) => {
                    // Acknowledgements come at the path's rate.
                    let over = (slot.path.in_flight() + slot.staged + bytes).saturating_sub(slot.path.cap());
                    now + rate.time_for(over).max(SOON)
                }
                Err(Blocked::Packets | Blocked::State) => now + slot.path.rtt().smoothed().max(SOON),
            };
            (view.usable, view.rate, view.free_at) = (usable, rate, free_at);
        }
    }

    /// Whether another path than `index` has a packet too, and brings it as soon as the best of
    /// them would if it were sent again.
    pub(super) fn is_under_way(&mut self, now: Instant, index: usize, sequence: u32) -> bool {
        let Some(&mut Copy { sent, on, .. }) = self.copies.find(sequence) else { return false };
        let others = || self.slots().filter(|slot| slot.id.index() != index && slot.is_usable());
        let mut having = others().filter(|slot| on.contains(slot.id.get())).peekable();
        if having.peek().is_none() {
            return false;
        }
        let shortest = self.shortest();
        let best = others().map(|slot| delay(&slot.path, shortest)).min().unwrap_or_default();
        having.any(|slot| sent + delay(&slot.path, shortest) <= now + best + BEHIND)
    }

    /// The smallest base delay of the live paths.
    fn shortest(&self) -> RawDelay {
        let live = self.slots().filter(|slot| slot.path.state() == State::Live && slot.validated);
        let bases = live.filter_map(|slot| slot.path.one_way().base());
        bases
            .reduce(|shortest, delay| if delay.over(shortest) < 0 { delay } else { shortest })
            .unwrap_or_default()
    }
}

/// The one-way delay of a path, its queue included, over that of the shortest when idle.
fn delay(path: &Path, shortest: RawDelay) -> Duration {
    base_over(path, shortest) + queue(path)
}

/// The one-way delay of an idle path, over the shortest of all.
fn base_over(path: &Path, shortest: RawDelay) -> Duration {
    let over = path.one_way().base().map_or(0, |base| base.over(shortest).max(0));
    Duration::from_micros(over.unsigned_abs())
}

/// What stands in a path's queue. The smoothed delay is no measure here: after a silence it is that
/// of another time.
fn queue(path: &Path) -> Duration {
    // Where nothing of ours is under way our queue is gone, whatever was measured last.
    if path.in_flight() == 0 { Duration::ZERO } else { path.one_way().recent() }
}
