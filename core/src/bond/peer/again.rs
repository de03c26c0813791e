//! What is sent again, and what follows from a path's events.
//!
//! ```text
//!   lost ─────────────▶ repairs    within their budget  ┐ the older of the two fronts
//!   silent path ──────▶ moved      free                 ┴──▶ the path that delivers it first, before all new data
//!   fallen path ─▲ what it would deliver later than another
//!   sick path ───▲
//! ```
//!
//! Invariants
//! - A packet waits in one of the queues at most once.
//! - Repairs stay within their share of what is sent anew; what is moved is bounded by what was in
//!   flight.

use super::health::Verdict;
use super::{MAX_PATHS, News, Peer, path, slot_id};
use crate::bond::schedule::{Head, PathView};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// | constant | reason |
/// | --- | --- |
/// | `SHARE` 1/8 | repairs may cost a tenth of the rate: one for every eight bytes sent anew is a ninth of all |
/// | `BURST` 256 KiB | the budget that may be saved up: a path of 30 Mbit/s that turns to 50% loss loses about that much in the 100 ms until it is found sick |
/// | `BEHIND` 5 ms | a packet is sent again by another path only if that brings it so much earlier: timers and runs of packets make predictions that uncertain |
/// | `LOSSY` 1/20 | a path that loses more than that does not get the repair of what it lost itself, where there is another |
///
/// Not taken:
/// - What a TCP inside sends again goes first in its queue: RACK (RFC 8985) takes all that it
///   overtook for lost, and S2 fell from 96% of the ceiling to 84%.
/// - When a path falls, the senders inside are told by a drop at once, not after CoDel's interval:
///   the longest gap of S5 stayed at 62 ms, for the queue that its repair waits behind is what came
///   in the gap.
const SHARE: u64 = 8;
const BURST: u64 = 256 * 1024;
pub(super) const BEHIND: Duration = Duration::from_millis(5);
const LOSSY: u64 = 1024 / 20;

/// Why a packet is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    Lost,
    Moved,
}

/// The sequences that are to be sent again.
#[derive(Debug)]
pub(super) struct Again {
    lost: VecDeque<u32>,
    moved: VecDeque<u32>,
    /// Bytes that may be spent on repairs.
    credit: u64,
}

impl Default for Again {
    fn default() -> Self {
        Again { lost: VecDeque::new(), moved: VecDeque::new(), credit: BURST }
    }
}

impl Again {
    /// `bytes` have left for the first time.
    pub(super) fn earn(&mut self, bytes: u64) {
        self.credit = (self.credit + bytes / SHARE).min(BURST);
    }

    fn queue(&mut self, why: Why) -> &mut VecDeque<u32> {
        match why {
            Why::Lost => &mut self.lost,
            Why::Moved => &mut self.moved,
        }
    }
}

impl Peer {
    /// Lets a path work and obeys its events.
    pub(super) fn path_event(
        &mut self,
        now: Instant,
        index: usize,
        work: impl FnOnce(&mut path::Path, &mut dyn FnMut(path::Event)),
    ) {
        let Some(slot) = &mut self.slots[index] else { return };
        let mut events = core::mem::take(&mut self.events);
        work(&mut slot.path, &mut |event| events.push(event));
        for event in events.drain(..) {
            self.obey(now, index, event);
        }
        self.events = events;
    }

    fn obey(&mut self, now: Instant, index: usize, event: path::Event) {
        let Some(slot) = &mut self.slots[index] else { return };
        match event {
            path::Event::Acked(packet) | path::Event::Late(packet) => {
                slot.proved = Some(now);
                if let Some(sequence) = packet.sequence {
                    self.copies.done(sequence);
                }
                match event {
                    path::Event::Acked(packet) => self.judge(now, index, &packet, true),
                    _ => slot.health.forgive(),
                }
            }
            path::Event::Lost(packet) => {
                if let Some(sequence) = packet.sequence {
                    self.drops.copy_gone += u64::from(self.copies.gave_up(sequence));
                    self.lost(now, index, sequence);
                }
                if !packet.mtu_probe {
                    self.judge(now, index, &packet, false);
                }
            }
            path::Event::Suspect => {
                self.relieve(now);
                self.tell_senders(now, index);
                self.move_all(now, index);
                self.tell(index, path::State::Suspect);
                self.watch(now);
            }
            path::Event::Down => {
                self.relieve(now);
                self.mtu.stale = true;
                self.unstage(now, index);
                self.tell(index, path::State::Down);
                self.watch(now);
            }
            path::Event::Live => {
                self.mtu.stale = true;
                // What it swallowed while it was silent may have been too large.
                slot.sizes = slot.validated && slot.path.poll_mtu_probe(now).is_some();
                self.tell(index, path::State::Live);
                self.watch(now);
            }
            path::Event::Probe | path::Event::Ping => slot.ping = true,
            path::Event::Found => self.suit(now),
            path::Event::Fell => {
                self.suit(now);
                self.move_behind(now, index);
            }
            path::Event::Mtu => self.mtu.stale = true,
        }
    }

    /// A packet of a path is lost: it is repaired. What a dead path held is lost all at once, which
    /// no budget is made for: it moves, unless another path has it already.
    fn lost(&mut self, now: Instant, index: usize, sequence: u32) {
        let Some(slot) = &self.slots[index] else { return };
        let dead = slot.path.state() == path::State::Down && self.tuning.parts.reinject;
        let (path, hold) = (slot.id.get(), self.tuning.hold);
        let Some(copy) = self.copies.find(sequence) else { return };
        copy.on.remove(path);
        if dead && !copy.on.is_empty() {
            return;
        }
        let why = if dead && now - copy.sent < hold { Why::Moved } else { Why::Lost };
        self.send_again(now, index, sequence, why);
    }

    /// Tells the owner what has become of a path, if that is new: see
    /// [`told_as`](super::Slot::told_as).
    fn tell(&mut self, index: usize, state: path::State) {
        let Some(slot) = &mut self.slots[index] else { return };
        let state = slot.told_as(state);
        if core::mem::replace(&mut slot.told, state) != state {
            self.news.push_back(News::Path(slot_id(index), state));
        }
    }

    /// Takes in that a packet of a path came, or was lost: does the path lose too much, or no
    /// longer?
    fn judge(&mut self, now: Instant, index: usize, packet: &path::Packet, came: bool) {
        if !came && !self.slots().any(|other| other.id.index() != index && other.is_usable()) {
            return;
        }
        let Some(slot) = &mut self.slots[index] else { return };
        let share = slot.path.random_loss();
        if !slot.path.may_be_pressed(packet) {
            slot.health.note(came);
        }
        let verdict = slot.health.feed(now, packet.sent_at, came, share);
        let state = slot.path.state();
        match verdict {
            None => {}
            Some(Verdict::Sick) => {
                self.move_lost(index);
                self.move_all(now, index);
                self.tell(index, state);
            }
            Some(Verdict::Healed) => {
                slot.path.handle_healed(now);
                self.tell(index, state);
            }
        }
    }

    /// Where no path is usable any more, those that are left out because they lose too much are.
    fn relieve(&mut self, now: Instant) {
        if self.slots().any(super::Slot::is_usable) {
            return;
        }
        for index in 0..MAX_PATHS {
            let Some(slot) = &mut self.slots[index] else { continue };
            if !slot.health.is_sick() {
                continue;
            }
            slot.health.heal();
            if slot.is_usable() {
                slot.path.handle_healed(now);
                self.tell(index, path::State::Live);
            }
        }
    }

    /// Whether a path is pinged from time to time: it carries nothing because it is sick or too
    /// far, and data moves that it could carry if it were better.
    pub(super) fn is_asked(&self, slot: &super::Slot) -> bool {
        let left_out = slot.health.is_sick() || !self.members.contains(slot.id.get());
        left_out && slot.validated && slot.path.state() == path::State::Live && self.loaded.is_some()
    }

    /// Asks those whose time has come.
    pub(super) fn ask_left_out(&mut self, now: Instant) {
        if self.loaded.is_some_and(|loaded| now - loaded > super::health::IDLE) {
            self.loaded = None;
            self.shrink();
        }
        for index in 0..MAX_PATHS {
            let asks = self.slots[index].as_ref().is_some_and(|slot| self.is_asked(slot));
            let Some(slot) = &mut self.slots[index] else { continue };
            slot.ping |= asks && slot.health.ask(now);
        }
    }

    /// What was staged on a path goes elsewhere, in its order.
    pub(super) fn unstage(&mut self, now: Instant, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        let path = slot.id.get();
        slot.staged = 0;
        for (sequence, _) in core::mem::take(&mut slot.stage) {
            let Some(copy) = self.copies.find(sequence) else {
                // It has arrived, or there was no room for it meanwhile.
                self.drops.copy_gone += u64::from(self.copies.gave_up(sequence));
                continue;
            };
            copy.on.remove(path);
            if !self.is_under_way(now, index, sequence) {
                self.queue_again(sequence, Why::Moved);
            }
        }
    }

    /// What a path lost and waits for the budget of repairs is moved: the path carries nothing from
    /// now on.
    fn move_lost(&mut self, index: usize) {
        let Some(slot) = &self.slots[index] else { return };
        let path = slot.id.get();
        let Peer { copies, again, .. } = self;
        let (moved, lost) =
            core::mem::take(&mut again.lost).into_iter().partition::<Vec<u32>, _>(|sequence| {
                copies.find(*sequence).is_some_and(|copy| copy.path == path)
            });
        again.lost = lost.into();
        again.moved.extend(moved);
    }

    /// All that is unacknowledged on a path is sent again elsewhere, oldest first.
    fn move_all(&mut self, now: Instant, index: usize) {
        let Some(slot) = &self.slots[index] else { return };
        let outstanding: Vec<u32> = slot.path.outstanding().filter_map(|packet| packet.sequence).collect();
        if self.tuning.parts.reinject {
            outstanding.into_iter().for_each(|sequence| self.send_again(now, index, sequence, Why::Moved));
        }
        // It has not left: it is the newest. It moves also where nothing is sent twice.
        self.unstage(now, index);
    }

    /// What a path that fell will deliver later than another would is sent again by that one.
    fn move_behind(&mut self, now: Instant, index: usize) {
        if !self.tuning.parts.reinject {
            return;
        }
        let bytes = usize::from(self.mtu());
        let views = self.views(now, bytes);
        let Some(slot) = &self.slots[index] else { return };
        let Some(own) = views.iter().find(|view| view.path == slot.id.get()) else { return };
        let other =
            |view: &&PathView| view.path != own.path && view.usable && self.members.contains(view.path);
        let arrival = |view: &PathView| view.free_at.max(now) + view.rate.time_for(bytes as u64) + view.delay;
        let Some(other) = views.iter().filter(other).min_by_key(|view| arrival(view)) else { return };
        // The oldest packet left when the last one that arrived did, and takes as long as that one
        // did; the others follow it at the path's rate.
        let mut behind = Vec::new();
        let (mut mine, mut theirs): (Option<Instant>, Instant) = (None, arrival(other));
        for packet in slot.path.outstanding() {
            let first = || packet.sent_at + own.far + slot.path.one_way().excess();
            let due = mine.map_or_else(first, |due| due.max(packet.sent_at + own.far));
            mine = Some(due + own.rate.time_for(packet.bytes.into()));
            if let Some(sequence) = packet.sequence
                && due > theirs + BEHIND
            {
                theirs += other.rate.time_for(packet.bytes.into());
                behind.push(sequence);
            }
        }
        let path = own.path;
        for sequence in behind {
            if self.copies.find(sequence).is_some_and(|copy| copy.path == path) {
                self.send_again(now, index, sequence, Why::Moved);
            }
        }
    }

    /// Puts a packet of a path into the queue of those that are sent again, unless another path
    /// brings it anyway: what is lost there too comes here once more.
    fn send_again(&mut self, now: Instant, index: usize, sequence: u32, why: Why) {
        if self.is_under_way(now, index, sequence) {
            return;
        }
        let Some(copy) = self.copies.find(sequence).filter(|copy| !copy.queued) else { return };
        // As long as the peer may wait for it. A fixed count (three) left a hole each 40 s at 5%
        // loss.
        let spent = !self.tuning.parts.repair || now - copy.sent >= self.tuning.hold;
        if why == Why::Lost && spent {
            self.drops.repairs_spent += 1;
            self.copies.done(sequence);
            return;
        }
        self.queue_again(sequence, why);
    }

    fn queue_again(&mut self, sequence: u32, why: Why) {
        if let Some(copy) = self.copies.find(sequence)
            && !core::mem::replace(&mut copy.queued, true)
        {
            self.again.queue(why).push_back(sequence);
        }
    }

    /// The first packet of a queue that is still wanted, with its bytes.
    fn first_again(&mut self, why: Why) -> Option<(u32, usize)> {
        while let Some(&sequence) = self.again.queue(why).front() {
            if let Some(copy) = self.copies.find(sequence) {
                return Some((sequence, usize::from(copy.len)));
            }
            // It has arrived meanwhile, or its copy is gone.
            self.again.queue(why).pop_front();
            self.drops.copy_gone += u64::from(self.copies.gave_up(sequence));
        }
        None
    }

    /// Stages the first packet that is to be sent again.
    pub(super) fn send_again_first(&mut self, now: Instant) -> bool {
        // Out of budget repairs wait: new packets earn more. Where none waits there is room for
        // them.
        let credit = if self.ingress.is_empty() { u64::MAX } else { self.again.credit };
        let lost = self.first_again(Why::Lost).filter(|(_, bytes)| *bytes as u64 <= credit);
        let (sequence, bytes, why) = match (lost, self.first_again(Why::Moved)) {
            (Some((lost, bytes)), Some((moved, _))) if (lost.wrapping_sub(moved) as i32) < 0 => {
                (lost, bytes, Why::Lost)
            }
            (_, Some((moved, bytes))) => (moved, bytes, Why::Moved),
            (Some((lost, bytes)), None) => (lost, bytes, Why::Lost),
            (None, None) => return false,
        };
        let last = self.copies.find(sequence).map(|copy| copy.path);
        let Some((flow, last)) = self.copies.flow(sequence).zip(last) else { return false };
        let head = Head { flow, bytes, backlog: bytes, sparse: true };
        let mut views = self.views(now, bytes);
        // Some are left out below.
        self.seen = false;
        let lossy = |slot: &super::Slot| why == Why::Lost && slot.path.random_loss() > LOSSY;
        if views.iter().any(|view| view.usable && view.path != last)
            && self.slots().any(|slot| slot.id.get() == last && lossy(slot))
        {
            views.retain(|view| view.path != last);
        }
        let Some(paths) = self.choose(now, &head, &views) else {
            if !self.fits_nowhere(bytes) {
                return false;
            }
            // The paths have become too narrow for it.
            self.again.queue(why).pop_front();
            self.drops.too_large += u64::from(self.copies.done(sequence));
            return true;
        };
        self.again.queue(why).pop_front();
        let mut times = 1;
        if let Some(copy) = self.copies.find(sequence) {
            copy.queued = false;
            // What was lost twice is sent twice: few are, and another loss costs a flow its third
            // round trip.
            times += usize::from(why == Why::Lost && copy.repairs > 0);
            copy.repairs = copy.repairs.saturating_add(u8::from(why == Why::Lost));
        }
        match why {
            Why::Lost => {
                self.again.credit = self.again.credit.saturating_sub((bytes * times) as u64);
                self.repaired += 1;
            }
            Why::Moved => self.reinjected += 1,
        }
        for path in paths.iter() {
            (0..times).for_each(|_| self.stage(usize::from(path), sequence, bytes));
        }
        true
    }
}
