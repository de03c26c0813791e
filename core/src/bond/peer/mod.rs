//! One association: a peer, its keys, its paths, and the packets that go to it and come from it.
//!
//! ```text
//!          TUN                                                             TUN
//!           │ ingest                                                        ▲ Give (runs joined)
//!           ▼                                                               │
//!        FqCodel ──pump──▶ chosen path's stage ──transmit──▶ UDP ─▶ receive ┴ Reorder (per flow)
//!           ▲ repairs go first │  sequence, distance       seal     open │
//!           └── Copies ◀───────┘                                        └──▶ control frames ─▶ Path
//! ```
//!
//! Late binding: a packet leaves the queue when a path can carry it now, and gets its sequence
//! then. What waits waits in
//! [`FqCodel`], where it can still be dropped, marked or overtaken.
//!
//! | file | is |
//! | --- | --- |
//! | `slot` | one path with its address, its control frames and its stage |
//! | `address` | whether the peer is where its packets come from |
//! | `ingest` | packets from the TUN |
//! | `again` | what is sent again: lost, or on a path that fell silent or behind |
//! | `health` | a path that loses too much |
//! | `overload` | senders are told when a path falls silent and the others hold less than is under way |
//! | `mtu` | the largest inner packet |
//! | `pump` | which packet goes to which path |
//! | `transmit` | control and data packets written and sealed |
//! | `receive` | packets opened, frames obeyed |
//! | `copies`, `sources` | what may have to be sent again; the bytes that came from the TUN |
//! | `give` | packets on their way to the TUN |
//!
//! Invariants
//! - A packet that came from the TUN is delivered, or counted as dropped under a name ([`Drops`]).
//! - A path's stage holds at most a run, and nothing if the path may not send.
//! - Sequences rise in the order in which packets are staged; a repair keeps its own.

mod address;
mod again;
mod copies;
mod give;
mod health;
mod ingest;
mod mtu;
mod overload;
mod pump;
mod receive;
mod slot;
mod sources;
#[cfg(test)]
mod tests;
mod transmit;

pub(super) use give::Give;
pub(super) use receive::News;
pub(super) use slot::{Remote, Slot};
pub(super) use sources::LARGEST;

use super::ingress::{self, Delays, FqCodel};
use super::inner::TooBig;
use super::order::{self, Reorder, Sequencer};
use super::parts::Parts;
use super::path::{self, Path, PathConfig};
use super::schedule::{PathSet, PathView, Scheduler, Strategy};
use super::session::{Keyring, Role};
use super::wire::{Frame, MAX_PATHS, PathId};
use crate::time::{Duration, Instant};
use again::Again;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use copies::Copies;
use ingest::Queued;
use mtu::TunnelMtu;
use slot::MOST_QUESTIONS;

/// Settings of an association that either end may choose for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A path whose one-way delay is longer than the shortest by more carries nothing but what
    /// must. Default 60 ms.
    pub max_skew: Duration,
    /// Bytes of packets that may wait for a path. Default 4 MiB.
    pub queue: usize,
    /// Bytes of copies kept for repair, and of packets held for their order; each. Default 8 MiB.
    pub memory: usize,
    /// The longest that a packet waits for its predecessor. Default 250 ms.
    pub hold: Duration,
    /// How packets are spread over the paths. Default [`Strategy::Aggregate`].
    pub strategy: Strategy,
    /// Which parts work. Default: all.
    pub parts: Parts,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            max_skew: Scheduler::MAX_SKEW,
            queue: 4 << 20,
            memory: 8 << 20,
            hold: Duration::from_millis(250),
            strategy: Strategy::Aggregate,
            parts: Parts::default(),
        }
    }
}

/// Packets that were not delivered, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Not an IP packet, or nonsense in its offload.
    pub malformed: u64,
    /// From or to an address that is not the client's, or where it may not go.
    pub foreign: u64,
    /// Larger than the tunnel's MTU: its sender was told, if it may be.
    pub too_large: u64,
    /// The queue's flow stood too long (CoDel), or would have since a path fell silent.
    pub queue_delay: u64,
    /// The queue was full.
    pub queue_full: u64,
    /// Lost on the way and not repaired: the copy was gone.
    pub copy_gone: u64,
    /// Lost on the way, and its repairs too, until it was too late for another.
    pub repairs_spent: u64,
    /// The TUN took nothing for too long.
    pub tun_full: u64,
}

/// Packets that leave in one call at most, and that one path may have staged: as many of full size
/// as UDP's own length holds. A path that may not send a millisecond's worth of them has less
/// staged: its pacer sees to that.
const RUN: usize = 44;

/// An idle path is pinged that often, by the client. The server leaves it to the client, whose NAT
/// it is: with equal times both ping at once, each before it has heard of the other. No NAT that is
/// in use forgets within 30 s; at less a path alone, which has all handshakes, costs over 40 bit/s.
const IDLE: Duration = Duration::from_secs(28);
const IDLE_ANSWERED: Duration = Duration::from_secs(30);

/// One association.
#[derive(Debug)]
pub(super) struct Peer {
    tuning: Tuning,
    offload: bool,
    pub(super) keys: Keyring,
    /// Boxed: most associations have few paths, a server has many associations, and looking through
    /// them is most of what a turn does.
    slots: [Option<Box<Slot>>; MAX_PATHS],
    ingress: FqCodel<Queued>,
    sequencer: Sequencer,
    scheduler: Scheduler,
    copies: Copies,
    /// Bytes of copies, and of packets held for their order; each.
    memory: usize,
    again: Again,
    /// The paths that share the load, as judged last.
    members: PathSet,
    /// When new data left last.
    loaded: Option<Instant>,
    reorder: Reorder<Vec<u8>>,
    too_big: TooBig,
    mtu: TunnelMtu,
    drops: Drops,
    /// Bytes that came in since the paths were asked last.
    fed: usize,
    /// Nothing can be staged before.
    wake: Option<Instant>,
    news: VecDeque<News>,
    /// The newest serial of what the peer said of its paths and of its wishes.
    told: u32,
    /// Buffers of packets that waited for their order.
    spare: Vec<Vec<u8>>,
    /// Room for what a path has to say, used again.
    events: Vec<path::Event>,
    /// Room for the paths as the scheduler sees them.
    views: Vec<PathView>,
    /// They are those of this pump: only packets were staged since.
    seen: bool,
    repaired: u64,
    reinjected: u64,
    told_too_big: u64,
    trimmed: u64,
}

impl Peer {
    pub(super) fn new(now: Instant, role: Role, tuning: Tuning, offload: bool, mtu: u16) -> Self {
        let fixed = !tuning.parts.release;
        let order = order::Config { hold: tuning.hold, memory: tuning.memory, repair: None, fixed };
        let mut scheduler = Scheduler::new(tuning.strategy);
        scheduler.set_max_skew(tuning.max_skew);
        scheduler.set_parts(tuning.parts);
        Peer {
            tuning,
            offload,
            keys: Keyring::new(role),
            slots: [const { None }; MAX_PATHS],
            ingress: FqCodel::new(ingress::Config { limit: tuning.queue, ..ingress::Config::default() }),
            sequencer: Sequencer::new(),
            scheduler,
            copies: Copies::new(tuning.memory),
            memory: tuning.memory,
            again: Again::default(),
            members: PathSet::EMPTY,
            loaded: None,
            reorder: Reorder::new(order),
            too_big: TooBig::new(now),
            mtu: TunnelMtu::new(mtu),
            drops: Drops::default(),
            fed: 0,
            wake: None,
            news: VecDeque::new(),
            told: 0,
            spare: Vec::new(),
            events: Vec::new(),
            views: Vec::new(),
            seen: false,
            repaired: 0,
            reinjected: 0,
            told_too_big: 0,
            trimmed: 0,
        }
    }

    /// Adds a path, or gives one that is there another way to go.
    pub(super) fn add_path(&mut self, now: Instant, id: PathId, remote: Remote, weight: u32) -> &mut Slot {
        let idle = match self.keys.role() {
            Role::Initiator => IDLE,
            Role::Responder => IDLE_ANSWERED,
        };
        let slot = self.slots[id.index()].get_or_insert_with(|| {
            let path = Path::new(now, PathConfig { idle, ..PathConfig::default() });
            Box::new(Slot::new(path, id, remote, weight))
        });
        slot.remote = remote;
        slot
    }

    pub(super) fn slot(&self, id: PathId) -> Option<&Slot> {
        self.slots[id.index()].as_deref()
    }

    pub(super) fn slot_mut(&mut self, id: PathId) -> Option<&mut Slot> {
        self.slots[id.index()].as_deref_mut()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter().flatten().map(|slot| &**slot)
    }

    /// Another strategy, from the next packet on.
    pub(super) fn set_strategy(&mut self, strategy: Strategy) {
        self.tuning.strategy = strategy;
        self.scheduler.set_strategy(strategy);
    }

    /// Another skew that is allowed, from the next packet on.
    pub(super) fn set_max_skew(&mut self, max_skew: Duration) {
        self.tuning.max_skew = max_skew;
        self.scheduler.set_max_skew(max_skew);
    }

    /// Sets how many bytes may wait for a path, and how many of copies and of packets held for
    /// their order; each at most what was configured. What is over it now goes when the next comes.
    pub(super) fn set_memory(&mut self, queue: usize, memory: usize) {
        self.ingress.set_limit(queue.min(self.tuning.queue));
        self.memory = memory.min(self.tuning.memory);
        self.copies.set_cap(self.memory);
    }

    /// Whether data moves, in either direction or is about to.
    pub(super) fn is_busy(&self) -> bool {
        !self.ingress.is_empty() || self.copies.bytes() > 0
    }

    /// A packet from the TUN with a source that is not ours.
    pub(super) fn count_foreign(&mut self) {
        self.drops.foreign += 1;
    }

    /// News for the owner.
    pub(super) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Packets of this association that were dropped.
    pub(super) fn drops(&self) -> Drops {
        let queue = self.ingress.counters();
        let queue_delay = queue.dropped_codel + self.trimmed;
        Drops { queue_delay, queue_full: queue.dropped_full, ..self.drops }
    }

    /// Bytes that wait for a path, bytes of copies, and bytes held for their order.
    pub(super) fn memory(&self) -> (usize, usize, usize) {
        (self.ingress.backlog(), self.copies.bytes(), self.reorder.held().1)
    }

    /// Packets sent again because they were lost, and because their path fell silent.
    pub(super) fn repairs(&self) -> (u64, u64) {
        (self.repaired, self.reinjected)
    }

    /// Hosts told that their packet is too big, and segments sent again without their payload.
    pub(super) fn told(&self) -> (u64, u64) {
        (self.told_too_big, self.trimmed)
    }

    /// Packets that were waited for in vain.
    pub(super) fn holes(&self) -> u64 {
        let order = self.reorder.counters();
        order.passed + order.expired + order.forced
    }

    /// What became of the packets that came; for tests.
    #[cfg(test)]
    pub(super) fn order(&self) -> order::Counters {
        self.reorder.counters()
    }

    /// When [`Peer::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let paths = self.slots().flat_map(|slot| {
            // One that waits for its socket already is not due again.
            let asks = slot.challenge.filter(|ask| ask.asked < MOST_QUESTIONS && !slot.asks);
            let asks = asks.map(|challenge| challenge.next);
            let asked = self.is_asked(slot).then_some(slot.health.ask_at());
            [slot.path.poll_timeout(), slot.path.ack_due(), asks, slot.blocked_at(), asked]
        });
        let paths = paths.flatten();
        let own = [self.wake, self.mtu.poll_timeout()];
        paths
            .chain(own.into_iter().flatten())
            .chain(self.reorder.poll_timeout())
            .chain(self.keys.poll_timeout())
            .min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, give: &mut Give) {
        self.keys.handle_timeout(now);
        for index in 0..MAX_PATHS {
            self.path_event(now, index, |path, sink| path.handle_timeout(now, &mut |event| sink(event)));
            self.blocked(now, index);
            let Some(slot) = &mut self.slots[index] else { continue };
            slot.asks |= slot
                .challenge
                .is_some_and(|challenge| challenge.asked < MOST_QUESTIONS && challenge.next <= now);
        }
        self.fit(now);
        self.ask_sizes(now);
        self.ask_left_out(now);
        self.reorder.handle_timeout(now);
        self.deliver(give);
        self.acknowledge(now);
        self.pump(now);
    }

    /// Gives back the buffers of a busy time.
    fn shrink(&mut self) {
        self.copies.shrink();
        (self.spare, self.events) = (Vec::new(), Vec::new());
    }

    /// A path whose socket takes nothing is suspect after its probe time-out, as one that is not
    /// answered.
    fn blocked(&mut self, now: Instant, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        if slot.blocked_at().is_none_or(|at| at > now) {
            return;
        }
        let since = slot.waiting.replace(now).unwrap_or(now);
        self.path_event(now, index, |path, sink| {
            path.handle_blocked(now, since, &mut |event| sink(event));
        });
    }

    /// Sends a frame by the best path.
    pub(super) fn send_frame(&mut self, frame: Frame) {
        if let Some(best) = self.best()
            && let Some(slot) = &mut self.slots[best]
            && !slot.control.contains(&frame)
        {
            slot.push_control(frame);
        }
    }

    /// The operating system refused a datagram of a path because it is too large.
    pub(super) fn handle_too_large(&mut self, now: Instant, id: PathId) {
        self.path_event(now, id.index(), |path, sink| {
            path.handle_too_large(now, &mut |event| sink(event));
        });
        self.fit(now);
    }

    /// The operating system says that the link of a path is gone, or back.
    pub(super) fn handle_link(&mut self, now: Instant, id: PathId, up: bool) {
        self.path_event(now, id.index(), |path, sink| path.handle_link(now, up, &mut |event| sink(event)));
        self.fit(now);
        self.pump(now);
    }

    /// Tells the receiver's order how long each path may be silent. Paths change when they are
    /// measured: asked after each batch.
    fn watch(&mut self, now: Instant) {
        let up = self.slots().filter(|slot| slot.path.state() != path::State::Down);
        let slowest = up.map(|slot| slot.path.probe_timeout()).max().unwrap_or_default();
        // A loss is known a round trip after it, its repair needs half of another, and a repair can
        // be lost twice.
        let repair = self.tuning.parts.repair.then_some(slowest * 4);
        let fixed = !self.tuning.parts.release;
        let order = order::Config { hold: self.tuning.hold, memory: self.memory, repair, fixed };
        self.reorder.set_config(order);
        for index in 0..MAX_PATHS {
            let Some(slot) = &self.slots[index] else { continue };
            let live = slot.path.received().heard().is_some() && slot.path.state() != path::State::Down;
            // Its sender finds out after a time-out, and sends a round trip's worth again by the
            // others.
            let round = slot.path.rtt().smoothed();
            let patience = slot.path.probe_timeout() + round + slot.path.received().jitter() * 4;
            self.reorder.set_path(now, index as u8, live.then_some(patience));
        }
    }

    /// Sets how long packets may wait, by what the paths are now.
    fn suit(&mut self, now: Instant) {
        let views = self.views(now, usize::from(self.mtu()));
        self.members = self.scheduler.members(now, &views);
        self.views = views;
        let live = self.slots().filter(|slot| self.members.contains(slot.id.get()));
        let rtt = live.clone().map(|slot| slot.path.inner_rtt()).max().unwrap_or_default();
        let repairs = live.clone().map(|slot| slot.path.repairs()).max().unwrap_or_default();
        let skew = skew(live.filter_map(|slot| slot.path.one_way().base()));
        // What the others carry meanwhile waits for a path's repairs, as it waits for a farther
        // path.
        let skew = if self.members.len() > 1 { skew.max(repairs) } else { skew };
        let parts = self.tuning.parts;
        self.ingress.set_delays(if parts.target { Delays::suit(rtt, skew) } else { Delays::default() });
    }
}

/// The longest delay less the shortest.
fn skew(mut delays: impl Iterator<Item = path::RawDelay>) -> Duration {
    let Some(first) = delays.next() else { return Duration::ZERO };
    let (low, high) = delays.fold((0, 0), |(low, high), delay| {
        let over = delay.over(first);
        (over.min(low), over.max(high))
    });
    Duration::from_micros((high - low).unsigned_abs())
}

fn slot_id(index: usize) -> PathId {
    PathId::new(index as u8).expect("an index of the slots")
}
