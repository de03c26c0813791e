//! One path: everything that is measured of it, and what follows from that. No socket, no clock, no
//! packet bytes.
//!
//! ```text
//!  owner          handle_sent                                     handle_received       owner
//!  sends    ----> SentMap, Pacer                                  Received   <----   receives
//!                    |                                               |
//!  may_send <---- Control (rate, pace, cap)                          +--> poll_ack: an Ack to send, on any path
//!                    ^
//!  handle_ack ---> Rtt, OneWay, Jitter, Delivery, Aggregation, Unloaded, Reordering, LossShare, Liveness, Mtu
//!  handle_timeout       |
//!                       +--> events: Acked, Lost, Suspect, Down, Live, Probe, Ping, Fell, ...
//! ```
//!
//! How to use it: ask [`Path::may_send`]; send; tell [`Path::handle_sent`]. After each batch of
//! arrivals (each told to [`Path::handle_received`]) ask [`Path::poll_ack`] until it has none. At
//! [`Path::poll_timeout`] call [`Path::handle_timeout`]. Acknowledgements, probes and pings need no
//! permission: they are few and count against the pacer afterwards.
//!
//! Choices that a reader of BBR would not expect:
//! - Bytes are those of the IP packet, headers included, at both ends alike: rates are the link's
//!   own.
//! - The delivery rate is measured on the receiver's clock (arrival = timestamp + raw delay), so a
//!   packet need not remember what was delivered when it was sent.
//! - Whether the source limits the path is seen by the pacer, by credit that was not used. The
//!   source need not say so.
//! - Packets that ask for no acknowledgement get a number and no place in the map.
//! - In flight is capped by the RTT without the forward queue, not by the smallest: a slow way back
//!   is no queue of ours.
//! - A sample taken where no queue stands is a lower bound: it never lowers the rate. A pulse lasts
//!   as long as a sample reaches, not a round, and the next comes at once and stronger where it was
//!   delivered.
//! - An acknowledgement tells the highest range and those with news; what it does not tell is not
//!   denied.
//!
//! Invariants: what is in flight is under the cap when a packet is permitted; an acknowledgement
//! settles only what was sent and is not settled; every number a peer sends is bounded before it
//! counts.
//!
//! | file | is |
//! | --- | --- |
//! | `sent`, `received` | packets sent and not settled; packets that came |
//! | `ack`, `acking` | what an acknowledgement says; what follows from it |
//! | `rtt`, `delay`, `jitter`, `unloaded` | round trip; one way; its noise; the round trip without our queue |
//! | `delivery`, `aggregation` | how fast bytes arrive; how long acknowledgements gather |
//! | `answers` | what is asked of a path, and changes nothing |
//! | `control` | the rate; `control/phases`: start-up, cruise, probing up, falling |
//! | `startup`, `probe_up`, `fall` | those phases of it |
//! | `cap`, `pacer` | how much may be in flight; when the next packet leaves |
//! | `loss` | what is lost, and its share |
//! | `liveness` | whether the path is alive |
//! | `mtu` | the largest packet it carries |
//! | `event`, `window` | what a path tells its owner; the largest of a span of time |

mod ack;
mod acking;
mod aggregation;
mod answers;
mod cap;
mod control;
mod delay;
mod delivery;
mod event;
mod fall;
mod jitter;
mod liveness;
mod loss;
mod mtu;
mod pacer;
mod probe_up;
mod received;
mod rtt;
mod sent;
mod startup;
#[cfg(test)]
mod tests;
mod unloaded;
mod window;

pub(crate) use ack::Ack;
pub(crate) use delay::RawDelay;
#[cfg(test)]
pub(crate) use delay::timestamp;
pub(crate) use event::{Blocked, Event};
pub(crate) use liveness::State;
pub(crate) use received::Arrived;
pub(crate) use sent::Packet;

use super::rate::Rate;
use crate::time::{Duration, Instant};
use acking::Bounds;
use aggregation::Aggregation;
use control::{Control, Signal, View};
use delay::OneWay;
use delivery::Delivery;
use jitter::Jitter;
use liveness::Liveness;
use loss::{LossShare, Reordering};
use mtu::Mtu;
use pacer::Pacer;
use received::Received;
use rtt::Rtt;
use sent::SentMap;
use unloaded::Unloaded;

/// After this time without load the rate is a memory, not a measurement (the base delay is
/// forgotten then).
const STALE: Duration = Duration::from_secs(10);
/// For how many round trips a lost packet is remembered: one that arrives later still is not a
/// reordering.
const LATE: u32 = 4;

/// The configuration of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathConfig {
    /// The MTU of the device that the path leaves by, bytes of the IP packet.
    pub(crate) largest: u16,
    /// Silence in both directions after which a ping goes out. Default 20 s; the two ends should
    /// differ, so that one ping and its acknowledgement keep both quiet.
    pub(crate) idle: Duration,
}

impl Default for PathConfig {
    fn default() -> Self {
        PathConfig { largest: 1500, idle: Duration::from_secs(20) }
    }
}

/// What the owner says of a packet it sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentInfo {
    /// The DATA frame's sequence.
    pub(crate) sequence: Option<u32>,
    /// The peer is to acknowledge it: DATA, PING, PATH_CHALLENGE, MTU_PROBE, NACK, ...; not ACK
    /// alone.
    pub(crate) eliciting: bool,
    /// It was sent because of [`Path::poll_mtu_probe`].
    pub(crate) mtu_probe: bool,
}

/// What happened on a path since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counters {
    /// All packets and bytes sent.
    pub(crate) sent_packets: u64,
    pub(crate) sent_bytes: u64,
    /// Eliciting packets acknowledged, called lost, and called lost but acknowledged later.
    pub(crate) acked_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) late_packets: u64,
    /// Marks "congestion experienced" that the peer counted.
    pub(crate) ce: u64,
    /// Acknowledgements that made no sense.
    pub(crate) bad_acks: u64,
    /// Probe time-outs, and deaths.
    pub(crate) timeouts: u64,
    pub(crate) deaths: u64,
    /// Times the rate fell, and the base delay was given up.
    pub(crate) falls: u64,
    pub(crate) rebases: u64,
}

/// One path, both directions.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    config: PathConfig,
    sent: SentMap,
    largest_acked: Option<u64>,
    rtt: Rtt,
    /// The round trip of acknowledgements that come back by this path itself, smoothed,
    /// microseconds. Zero: none did.
    own_way: u32,
    unloaded: Unloaded,
    one_way: OneWay,
    jitter: Jitter,
    delivery: Delivery,
    delivered: u64,
    aggregation: Aggregation,
    reordering: Reordering,
    loss: LossShare,
    random_loss: LossShare,
    /// The largest share of random loss in a while, and when: blocks of packets differ, the queue's
    /// target must not.
    lossy: (u64, Instant),
    ce: u16,
    control: Control,
    /// What the estimators say, as of the last that one of them was fed: it is asked for each
    /// packet, they change with each acknowledgement.
    view: View,
    /// The cap, and what may go unused in a round, as of the same: both are asked for each packet.
    bounds: Bounds,
    pacer: Pacer,
    liveness: Liveness,
    mtu: Mtu,
    received: Received,
    /// The last packet sent, the last eliciting one, and the last ping asked for.
    sent_at: Option<Instant>,
    loaded_at: Option<Instant>,
    pinged_at: Instant,
    /// In flight was at its cap when the owner last asked.
    capped: bool,
    /// Credit not used in this round, when the round began, and how often that was too much.
    wasted: (u64, Instant),
    gaps: u32,
    acked_gaps: u32,
    limited: bool,
    began: Instant,
    /// When the rate was sought last.
    sought_at: Instant,
    counters: Counters,
}

impl Path {
    /// A path of which nothing is known.
    pub(crate) fn new(now: Instant, config: PathConfig) -> Self {
        let control = Control::new();
        let mut path = Path {
            config,
            sent: SentMap::new(),
            largest_acked: None,
            rtt: Rtt::default(),
            own_way: 0,
            unloaded: Unloaded::default(),
            one_way: OneWay::default(),
            jitter: Jitter::default(),
            delivery: Delivery::default(),
            delivered: 0,
            aggregation: Aggregation::default(),
            reordering: Reordering::default(),
            loss: LossShare::default(),
            random_loss: LossShare::default(),
            lossy: (0, now),
            ce: 0,
            control,
            view: View::default(),
            bounds: Bounds::default(),
            pacer: Pacer::new(now, Rate::ZERO, startup::INITIAL),
            liveness: Liveness::default(),
            mtu: Mtu::new(config.largest),
            received: Received::default(),
            sent_at: None,
            loaded_at: None,
            pinged_at: now,
            capped: false,
            wasted: (0, now),
            gaps: 0,
            acked_gaps: 0,
            limited: false,
            began: now,
            sought_at: now,
            counters: Counters::default(),
        };
        path.look();
        path.pace(now);
        path
    }

    // Sending

    /// May a packet of `bytes` leave now, behind `staged` bytes that leave with it?
    pub(crate) fn may_send(&mut self, now: Instant, staged: u64, bytes: u64) -> Result<(), Blocked> {
        if self.liveness.state() != State::Live {
            return Err(Blocked::State);
        }
        self.tick(now);
        let in_flight = self.sent.in_flight() + staged;
        // A packet alone always may: a cap under its size would be for ever.
        if in_flight > 0 && in_flight + bytes > self.cap() {
            self.capped = true;
            return Err(Blocked::InFlight);
        }
        if self.sent.is_full() {
            // Packets that were lost long ago may go: no acknowledgement of them is expected.
            self.sent.forget_lost(Instant::from_nanos(u64::MAX), Duration::ZERO);
        }
        if self.sent.is_full() {
            self.capped = true;
            return Err(Blocked::Packets);
        }
        self.pacer.ask(now, staged, bytes).map_err(Blocked::Paced)
    }

    /// A packet left. Numbers rise; a number may be skipped.
    pub(crate) fn handle_sent(&mut self, now: Instant, number: u64, bytes: u32, info: SentInfo) {
        self.counters.sent_packets += 1;
        self.counters.sent_bytes += u64::from(bytes);
        // A lost MTU probe does not say that the path is dead, so it puts off no ping.
        if !info.mtu_probe {
            self.sent_at = Some(now);
        }
        self.account_waste(now);
        self.pacer.feed(now, u64::from(bytes));
        if !info.eliciting {
            self.sent.skip(number);
            return;
        }
        // A ping loads nothing: what it measures is an idle path.
        if info.sequence.is_some() {
            let stale = self.loaded_at.is_some_and(|loaded| now - loaded > STALE);
            if stale && self.sent.in_flight() == 0 && self.control.found() {
                self.resume(now);
            }
            self.loaded_at = Some(now);
        }
        if info.mtu_probe {
            self.mtu.handle_sent(now, bytes, self.probe_timeout());
        }
        let packet = Packet {
            number,
            sent_at: now,
            bytes,
            sequence: info.sequence,
            eliciting: true,
            mtu_probe: info.mtu_probe,
            probing: self.control.probing(),
            gaps: self.gaps,
        };
        if !self.sent.push(packet) {
            self.sent.skip(number);
        }
    }

    /// An acknowledgement for this path arrived, on whichever path.
    pub(crate) fn handle_ack(&mut self, now: Instant, ack: &Ack, sink: &mut impl FnMut(Event)) {
        let Some(largest) = self.sent.expand(ack.largest) else {
            self.counters.bad_acks += 1;
            return;
        };
        let before = self.largest_acked;
        let fresh = before.is_none_or(|before| largest > before);
        let was_in_flight = self.sent.in_flight();
        let taken = self.take(now, ack, largest, sink);
        self.largest_acked = before.max(Some(largest));
        let delivered = self.account_delivered(ack.received);
        let sample = if fresh { self.measure(now, ack, taken.gaps) } else { None };
        let lost = self.detect_loss(now, sink);
        self.loss.feed(taken.packets, 0);
        self.random_loss.feed(taken.calm, 0);
        let share = self.random_loss.ask();
        if share >= self.lossy.0 || now - self.lossy.1 > STALE {
            self.lossy = (share, now);
        }
        let was = self.liveness.state();
        if taken.newest.is_some_and(|newest| self.liveness.feed_progress(now, newest)) {
            self.come_back(now, was, sink);
        }
        if fresh {
            let marks = ack.ce.wrapping_sub(self.ce);
            (self.ce, self.counters.ce) = (ack.ce, self.counters.ce + u64::from(marks));
            let view = self.compute_view();
            // While the rate is sought, what comes beyond the one believed is no burst.
            if self.control.cruising() {
                self.aggregation.feed(now, delivered, self.control.rate(), view.unloaded);
            }
            let signal = Signal {
                sample,
                delivered,
                lost,
                was_in_flight,
                in_flight: self.sent.in_flight(),
                largest,
                next: self.sent.next(),
                limited: core::mem::take(&mut self.limited),
                view,
            };
            if let Some(change) = self.control.feed(now, &signal) {
                self.change(now, change, sink);
            }
        }
        self.sent.forget_lost(now, self.rtt.smoothed() * LATE);
        self.look();
        self.uncap(now);
        self.pace(now);
    }

    // Receiving

    /// A packet arrived on this path and was authentic.
    pub(crate) fn handle_received(&mut self, now: Instant, packet: &Arrived) {
        self.received.handle(now, packet);
    }

    /// The acknowledgement that is due, its path id left zero. Ask after each batch of arrivals,
    /// and at [`Path::ack_due`].
    pub(crate) fn poll_ack(&mut self, now: Instant) -> Option<Ack> {
        let rtt = self.interval();
        self.received.poll(now, rtt)
    }

    /// As [`Path::poll_ack`], where another path's acknowledgement leaves now anyway.
    pub(crate) fn poll_ack_beside(&mut self, now: Instant) -> Option<Ack> {
        let rtt = self.interval();
        self.received.poll_beside(now, rtt)
    }

    /// When an acknowledgement is due.
    pub(crate) fn ack_due(&self) -> Option<Instant> {
        self.received.due(self.interval())
    }

    // Time

    /// When [`Path::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = [self.probe_at(), self.loss_at(), self.mtu.poll_timeout(), Some(self.ping_at())];
        times.into_iter().flatten().min()
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, sink: &mut impl FnMut(Event)) {
        self.detect_loss(now, sink);
        self.look();
        if self.probe_at().is_some_and(|at| at <= now) {
            self.time_out(now, sink);
        }
        if self.mtu.handle_timeout(now) {
            sink(Event::Mtu);
        }
        if self.ping_at() <= now {
            self.pinged_at = now;
            sink(Event::Ping);
        }
        self.reordering.forget(now);
        self.look();
        if self.sent.in_flight() == 0 && self.loaded_at.is_some_and(|loaded| now - loaded > STALE) {
            self.sent.shrink();
        }
        self.tick(now);
        self.pace(now);
        self.uncap(now);
    }

    /// The operating system says that the link is gone, or that it is back.
    pub(crate) fn handle_link(&mut self, now: Instant, up: bool, sink: &mut impl FnMut(Event)) {
        if up {
            self.liveness.ask_now(now);
            self.mtu.search_again();
        } else if self.liveness.state() != State::Down {
            self.liveness.kill(now);
            self.go_down(sink);
        }
    }

    /// Its socket has taken nothing since `since`, for a probe time-out: it is suspect as if
    /// nothing had been answered.
    pub(crate) fn handle_blocked(&mut self, now: Instant, since: Instant, sink: &mut impl FnMut(Event)) {
        if self.liveness.state() == State::Live {
            self.counters.timeouts += 1;
            self.liveness.handle_timeout(now, since, self.probe_timeout());
            sink(Event::Suspect);
            sink(Event::Probe);
        }
    }

    /// The path lost too much and does no longer: it starts again from half of its rate.
    pub(crate) fn handle_healed(&mut self, now: Instant) {
        self.resume(now);
    }

    /// It leads by another network now: another address at either end, not another port alone. What
    /// was measured is the old one's (RFC 9000 section 9.4). Delays are forgotten by themselves.
    pub(crate) fn handle_moved(&mut self, now: Instant) {
        self.own_way = 0;
        self.mtu.search_again();
        if self.control.found() {
            self.resume(now);
        }
    }

    /// The operating system refused a packet because it is too large.
    pub(crate) fn handle_too_large(&mut self, now: Instant, sink: &mut impl FnMut(Event)) {
        if self.mtu.handle_too_large(now) {
            sink(Event::Mtu);
        }
    }

    /// The size of an MTU probe that should leave now, bytes of the IP packet.
    pub(crate) fn poll_mtu_probe(&self, now: Instant) -> Option<u16> {
        let live = self.liveness.state() == State::Live && self.rtt.known();
        if live { self.mtu.poll_probe(now) } else { None }
    }
}
