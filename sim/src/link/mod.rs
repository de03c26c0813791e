//! One direction of a link: rate, queue, loss, delay, jitter, grants and what changes with time.
//! Sans-IO.
//!
//! ```text
//!          up?        fits?                                               a grant        due?
//!  push ───┬───▶ queue ──┬──▶ serialiser ──▶ loss ──┬──▶ delay, jitter ──▶ (in order ──▶ poll
//!          ▼             ▼    (rate)                ▼                       or not)
//!        down        tail, codel                   lost
//! ```
//!
//! ```
//! # use ropewalk_sim::link::{Link, LinkConfig, Rate};
//! # use ropewalk_core::time::{Duration, Instant};
//! let config = LinkConfig::new(Rate::mbit(12), Duration::from_millis(10), 15_000);
//! let mut link: Link<Vec<u8>> = Link::new(config, 7);
//! link.push(Instant::ZERO, vec![0; 1500]);
//! let arrival = link.next().expect("one packet is on the way");
//! assert_eq!(arrival - Instant::ZERO, Duration::from_millis(11));
//! assert_eq!(link.poll(arrival).expect("it is due").len(), 1500);
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `serialiser`, `codel`, `loss`, `flight` | the boxes of the drawing: rate, queue, loss, delay and jitter |
//! | `schedule` | what changes with time |
//! | `config`, `counters`, `payload`, `rng` | what it is made of; what it did; what it carries; chance |
//!
//! | call | does |
//! | --- | --- |
//! | `Link::new(config: LinkConfig, seed: u64) -> Link<T>` | one direction; a link of two directions is two of them, with two seeds |
//! | `push(&mut self, now, payload: T)` | the packet enters the queue, or is dropped and counted |
//! | `poll(&mut self, now) -> Option<T>` | what arrives at or before `now`, in order of arrival |
//! | `next(&self) -> Option<Instant>` | when to poll again: something may arrive then, and nothing can before |
//! | `change(&mut self, now, change: LinkChange)` | another rate, delay, loss ..., down and up |
//! | `advance(&mut self, now)` | moves the link to `now`, so that the getters speak of now |
//! | `queued(&self) -> u64`, `queue_delay(&self) -> Duration` | bytes not yet serialised, and how long the rate needs for them |
//! | `is_up(&self)`, `rate(&self)`, `on_the_way(&self)` | the state, for pictures |
//! | `counters(&self) -> &Counters` | packets and bytes by fate, waiting times |
//!
//! `T` is any type that implements [`Payload`]: `Vec<u8>` does, as an IP packet whose size is its
//! length and that CoDel may mark.
//!
//! Invariants: time never runs backwards (an older `now` counts as the latest one); every packet is
//! delivered, dropped or lost, once; in order where jitter does not reorder; in any span of time no
//! more bits are serialised than the rate allows; the same seed and calls give the same fates, in
//! every build: there are only integers.

mod codel;
mod config;
mod counters;
mod flight;
mod loss;
mod payload;
mod rng;
mod schedule;
mod serialiser;

#[cfg(test)]
mod tests;

pub use config::{Jitter, LinkConfig, Loss, Queue, Rate};
pub use counters::{Count, Counters, Waits};
pub use payload::Payload;
pub use rng::{Chance, Rng};
pub use schedule::{LinkChange, Schedule, TraceError};

use codel::CoDel;
use flight::Flight;
use loss::Losses;
use ropewalk_core::time::{Duration, Instant};
use serialiser::Serialiser;
use std::collections::VecDeque;

/// One direction of a link. The module page says how its parts follow each other.
#[derive(Clone, Debug)]
pub struct Link<T> {
    now: Instant,
    up: bool,
    /// What waits, with the time of its coming. The first one is being sent where `sending`.
    queue: VecDeque<(Instant, T)>,
    queued: u64,
    limit: u64,
    codel: Option<CoDel>,
    sending: bool,
    serialiser: Serialiser,
    losses: Losses,
    flight: Flight<T>,
    schedule: Schedule,
    rng: Rng,
    counters: Counters,
}

impl<T: Payload> Link<T> {
    /// A direction that is up and empty. Its draws depend on `seed` alone.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        let LinkConfig { rate, delay, jitter, loss, queue, grant, schedule } = config;
        Link {
            now: Instant::ZERO,
            up: true,
            queue: VecDeque::new(),
            queued: 0,
            limit: queue.limit(),
            codel: codel(&queue),
            sending: false,
            serialiser: Serialiser::new(rate),
            losses: Losses::new(loss),
            flight: Flight::new(delay, jitter, grant),
            schedule,
            rng: Rng::new(seed),
            counters: Counters::default(),
        }
    }

    /// A packet enters at `now`. It is dropped, and counted, where the link is down or the queue is
    /// full.
    pub fn push(&mut self, now: Instant, payload: T) {
        self.advance(now);
        let size = payload.size() as u64;
        self.counters.pushed.add(size);
        if !self.up {
            self.counters.down.add(size);
        } else if self.queued.saturating_add(size) > self.limit {
            self.counters.tail.add(size);
        } else {
            self.queued += size;
            self.queue.push_back((self.now, payload));
            if !self.sending {
                self.begin(self.now, false);
                // An unlimited rate has no end of serialisation to wait for.
                self.serialise(self.now);
            }
        }
    }

    /// The next packet that arrives at or before `now`.
    pub fn poll(&mut self, now: Instant) -> Option<T> {
        self.advance(now);
        let payload = self.flight.arrive(self.now)?;
        self.counters.delivered.add(payload.size() as u64);
        Some(payload)
    }

    /// When to poll again. Nothing arrives before; where the delay has jitter, perhaps nothing
    /// then. `None`: not before the next push or change.
    pub fn next(&self) -> Option<Instant> {
        let sent = if self.sending { self.serialiser.end() } else { None };
        let sent = sent.map(|end| end + self.flight.least());
        // A change needs a new deadline only while something is under way.
        let change = self.schedule.due().filter(|_| self.sending);
        [self.flight.next(), sent, change].into_iter().flatten().min()
    }

    /// Makes a change at `now`, in addition to those of the schedule.
    pub fn change(&mut self, now: Instant, change: LinkChange) {
        self.advance(now);
        self.apply(self.now, change);
    }

    /// Moves the link to `now`: what was serialised by then left the queue, what the schedule says
    /// by then is done.
    pub fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some((at, change)) = self.schedule.due().and_then(|due| {
            self.serialise(due.min(self.now));
            self.schedule.take(self.now)
        }) {
            self.apply(at, change);
        }
        self.serialise(self.now);
    }

    /// IP bytes that are not yet serialised, the packet being sent among them.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// How long the rate of now needs for what is queued; `Duration::MAX` where the rate is zero.
    pub fn queue_delay(&self) -> Duration {
        match self.serialiser.rate() {
            Rate::UNLIMITED => Duration::ZERO,
            _ if self.queued == 0 => Duration::ZERO,
            rate if rate.as_bits() == 0 => Duration::MAX,
            rate => {
                let nanos = u128::from(self.queued) * 8_000_000_000 / u128::from(rate.as_bits());
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }

    /// Whether it carries.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The rate of now.
    pub fn rate(&self) -> Rate {
        self.serialiser.rate()
    }

    /// Packets that are serialised and have not arrived.
    pub fn on_the_way(&self) -> usize {
        self.flight.len()
    }

    /// What became of the packets so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Serialises what ends at or before `until`.
    fn serialise(&mut self, until: Instant) {
        while self.sending {
            let Some(end) = self.serialiser.end().filter(|&end| end <= until) else { return };
            self.serialiser.finish();
            self.sending = false;
            let (_, payload) = self.queue.pop_front().expect("a packet is being sent");
            let size = payload.size() as u64;
            self.queued -= size;
            if self.losses.loses(&mut self.rng) {
                self.counters.lost.add(size);
            } else {
                self.flight.depart(end, payload, &mut self.rng);
            }
            self.begin(end, true);
        }
    }

    /// Begins to send the head of the queue at `at`, after CoDel had its say.
    fn begin(&mut self, at: Instant, follows: bool) {
        loop {
            let Some((came, payload)) = self.queue.front_mut() else {
                if let Some(codel) = &mut self.codel {
                    codel.drops(at, None);
                }
                return;
            };
            let (size, wait) = (payload.size() as u64, at - *came);
            let drops = self.codel.as_mut().is_some_and(|codel| codel.drops(at, Some((wait, self.queued))));
            if drops && !payload.mark() {
                self.counters.codel.add(size);
                self.queued -= size;
                self.queue.pop_front();
                continue;
            }
            if drops {
                self.counters.marked.add(size);
            }
            self.counters.waits.add(wait);
            self.serialiser.begin(at, size, follows);
            self.sending = true;
            return;
        }
    }

    fn apply(&mut self, at: Instant, change: LinkChange) {
        match change {
            LinkChange::Rate(rate) => self.serialiser.change(at, rate),
            LinkChange::Delay(delay) => self.flight.delay(delay),
            LinkChange::Jitter(jitter) => self.flight.jitter(jitter),
            LinkChange::Loss(loss) => self.losses.change(loss),
            LinkChange::Queue(queue) => {
                self.limit = queue.limit();
                self.codel = codel(&queue);
            }
            LinkChange::Grant(grant) => self.flight.grant(grant),
            LinkChange::Up => self.up = true,
            LinkChange::Down => {
                self.up = false;
                self.sending = false;
                self.queued = 0;
                for (_, payload) in self.queue.drain(..) {
                    self.counters.down.add(payload.size() as u64);
                }
            }
        }
    }
}

/// The law of this queue, where it has one.
fn codel(queue: &Queue) -> Option<CoDel> {
    match *queue {
        Queue::TailDrop { .. } => None,
        Queue::CoDel { target, interval, .. } => Some(CoDel::new(target, interval)),
    }
}
