//! What follows from an acknowledgement, a time-out, and a pause: the inner half of [`Path`].

use super::Path;
use super::ack::{Ack, DELAY_UNIT_MICROS};
use super::control::{Change, View};
use super::delay::{RawDelay, timestamp};
use super::delivery::{Arrival, Sample};
use super::event::Event;
use super::liveness::{State, Verdict};
use super::mtu::Mtu;
use super::sent::{Packet, Was};
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `SPAN` 10 to 40 ms | a sample reaches over one RTT within these: under 10 ms are too few packets, 40 ms show enough on a long path |
/// | `JITTERS` 4 | two arrivals that are each one jitter off make a sample of four jitters wrong by half |
/// | `BURSTS` 4 | a radio's grants: one more or less of them within a sample is a quarter |
/// | `SPAN_CAP` 200 ms | and a wild path is not measured over seconds |
/// | `RECENT` 5 ms | the smallest delay of that long is no single burst: the spacing of acknowledgements |
/// | `OWN_GAIN` 1/8 | as the smoothed RTT's |
/// | `WASTE` 1/16 of a round, at least 1 ms | a source that used more than 15/16 of what it might was not the limit |
const SPAN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(40));
const JITTERS: u32 = 4;
const BURSTS: u32 = 4;
const SPAN_CAP: Duration = Duration::from_millis(200);
const RECENT: Duration = Duration::from_millis(5);
const WASTE: (u32, Duration) = (16, Duration::from_millis(1));
const OWN_GAIN: u32 = 8;
/// A full packet's bytes.
const FULL: u64 = 1500;

/// What follows from the estimators for each packet that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes that may be in flight.
    pub(super) cap: u64,
    /// Bytes of credit that may go unused in a round.
    pub(super) waste: u64,
}

/// What an acknowledgement took out of the map.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) packets: u64,
    /// Those of them that were not sent to probe.
    pub(super) calm: u64,
    /// The sending of the newest of them, and its count of gaps.
    pub(super) newest: Option<Instant>,
    pub(super) gaps: Option<u32>,
}

impl Path {
    pub(super) fn take(
        &mut self,
        now: Instant,
        ack: &Ack,
        largest: u64,
        sink: &mut impl FnMut(Event),
    ) -> Taken {
        let mut taken = Taken::default();
        let mut grown = false;
        let before = self.largest_acked;
        let smoothed = self.rtt.smoothed();
        for range in ack.ranges(largest) {
            let (mtu, reordering) = (&mut self.mtu, &mut self.reordering);
            let (loss, random_loss) = (&mut self.loss, &mut self.random_loss);
            let counters = &mut self.counters;
            self.sent.take(range, |packet, was| {
                // Something above it was acknowledged before: it overtook nothing, it came late.
                if let Some(before) = before.filter(|before| *before > packet.number) {
                    let late = (now - packet.sent_at).saturating_sub(smoothed);
                    reordering.feed(now, before - packet.number, late);
                }
                match was {
                    Was::Lost => {
                        counters.late_packets += 1;
                        loss.feed_late();
                        if !packet.probing {
                            random_loss.feed_late();
                        }
                        sink(Event::Late(*packet));
                    }
                    Was::Outstanding => {
                        counters.acked_packets += 1;
                        taken.packets += 1;
                        taken.calm += u64::from(!packet.probing);
                        sink(Event::Acked(*packet));
                    }
                }
                taken.newest = taken.newest.max(Some(packet.sent_at));
                taken.gaps = taken.gaps.max(Some(packet.gaps));
                if packet.mtu_probe {
                    grown |= mtu.handle_acked(now, packet.bytes);
                } else {
                    mtu.handle_carried(now, packet.bytes);
                }
            });
        }
        if grown {
            sink(Event::Mtu);
        }
        taken
    }

    /// Bytes newly delivered, after the peer's count; never more than were sent.
    pub(super) fn account_delivered(&mut self, received: u32) -> u64 {
        let low = u32::try_from(self.delivered & 0xffff_ffff).expect("masked");
        let step = received.wrapping_sub(low);
        // An older count than the one known looks like a step of nearly 2^32.
        if step > u32::MAX / 2 {
            return 0;
        }
        let step = u64::from(step).min(self.counters.sent_bytes - self.delivered);
        self.delivered += step;
        step
    }

    /// Feeds what the newest packet of an acknowledgement measured.
    pub(super) fn measure(&mut self, now: Instant, ack: &Ack, gaps: Option<u32>) -> Option<Sample> {
        let since = RawDelay(timestamp(now)).over(RawDelay(ack.echo & 0xff_ffff));
        let micros = u64::try_from(since).ok()?;
        let rtt = Duration::from_micros(micros);
        let sent_at = Instant::from_nanos(now.as_nanos().saturating_sub(micros * 1000));
        if sent_at < self.began {
            self.counters.bad_acks += 1;
            return None;
        }
        let held = Duration::from_micros(u64::from(ack.delay) * DELAY_UNIT_MICROS);
        self.rtt.feed(now, rtt, held);
        let view = self.compute_view();
        // A step of the delay stays within a sample for a span: it must not look like a queue
        // before that is over.
        let round = view.unloaded.max(view.span);
        let delay = self.one_way.feed(now, ack.raw_delay, RECENT, round);
        if self.control.falling() {
            // A queue that drains over ten rounds widens all of them.
            self.jitter.interrupt();
        } else {
            self.jitter.feed(now, delay, round);
        }
        self.unloaded.feed(rtt.saturating_sub(held), self.one_way.excess());
        let sent_us = i64::try_from(sent_at.as_nanos() / 1000).unwrap_or(i64::MAX);
        self.acked_gaps = self.acked_gaps.max(gaps.unwrap_or(0));
        let arrival = Arrival {
            at: sent_us.saturating_add(delay),
            sent_at: sent_us,
            delivered: self.delivered,
            gaps: self.acked_gaps,
        };
        let span = self.compute_view().span;
        self.delivery.feed(arrival, span)
    }

    /// Takes in that an acknowledgement came back by this path itself, be it after a copy of it by
    /// another.
    pub(in crate::bond) fn handle_own_way(&mut self, now: Instant, ack: &Ack) {
        let since = RawDelay(timestamp(now)).over(RawDelay(ack.echo & 0xff_ffff));
        let held = u32::from(ack.delay).saturating_mul(DELAY_UNIT_MICROS as u32);
        let Ok(sample) = u32::try_from(since).map(|sample| sample.saturating_sub(held)) else { return };
        self.own_way = match self.own_way {
            0 => sample,
            own => own - own / OWN_GAIN + sample / OWN_GAIN,
        };
    }

    /// Bytes newly lost. RFC 9002 section 6.1: only what lies below the largest acknowledged.
    pub(super) fn detect_loss(&mut self, now: Instant, sink: &mut impl FnMut(Event)) -> u64 {
        let Some(largest) = self.largest_acked else { return 0 };
        let patience = self.reordering.time(self.rtt.smoothed(), self.rtt.latest());
        let mut lost = 0;
        while let Some(oldest) = self.sent.oldest_from(0).copied() {
            let distance = largest.saturating_sub(oldest.number);
            let late = oldest.sent_at + patience <= now;
            if distance == 0 || (distance < self.reordering.packets() && !late) {
                break;
            }
            self.lose(now, oldest.number, sink);
            lost += u64::from(oldest.bytes);
        }
        lost
    }

    fn lose(&mut self, now: Instant, number: u64, sink: &mut impl FnMut(Event)) {
        let Some(packet) = self.sent.mark_lost(number) else { return };
        self.counters.lost_packets += 1;
        sink(Event::Lost(packet));
        if packet.mtu_probe {
            return;
        }
        if self.mtu.handle_lost(now, packet.sent_at, packet.bytes) {
            self.loss.clear();
            self.random_loss.clear();
            sink(Event::Mtu);
        }
        // It was too large: that says nothing of those that fit.
        if !self.fits(packet.bytes.into()) {
            return;
        }
        self.loss.feed(0, 1);
        if !packet.probing {
            self.random_loss.feed(0, 1);
        }
    }

    pub(super) fn change(&mut self, now: Instant, change: Change, sink: &mut impl FnMut(Event)) {
        match change {
            Change::Found => sink(Event::Found),
            Change::Fell => {
                self.counters.falls += 1;
                self.delivery.restart();
                sink(Event::Fell);
            }
            Change::Longer => {
                self.counters.rebases += 1;
                self.one_way.rebase(now);
                self.unloaded.rebase(self.rtt.latest());
                self.delivery.restart();
            }
        }
    }

    // Time-outs

    /// When the probe time-out passes: counted from the oldest packet above all that is
    /// acknowledged.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.liveness.deadline(self.oldest_unanswered(), self.probe_timeout())
    }

    /// The sending of the oldest packet above all that is acknowledged. An MTU probe may well be
    /// swallowed.
    fn oldest_unanswered(&self) -> Option<Instant> {
        let mut from = self.largest_acked.map_or(0, |largest| largest.saturating_add(1));
        loop {
            let packet = self.sent.oldest_from(from)?;
            if !packet.mtu_probe {
                return Some(packet.sent_at);
            }
            from = packet.number + 1;
        }
    }

    /// When the oldest packet below the largest acknowledged counts as lost.
    pub(super) fn loss_at(&self) -> Option<Instant> {
        let oldest = self.sent.oldest_from(0)?;
        let below = self.largest_acked.is_some_and(|largest| oldest.number < largest);
        below.then(|| oldest.sent_at + self.reordering.time(self.rtt.smoothed(), self.rtt.latest()))
    }

    /// When the path has been silent in both directions for so long that a ping is due.
    pub(super) fn ping_at(&self) -> Instant {
        let passed = self.sent_at.max(self.received.heard()).unwrap_or(self.began);
        passed.max(self.pinged_at) + self.config.idle
    }

    pub(super) fn time_out(&mut self, now: Instant, sink: &mut impl FnMut(Event)) {
        let (oldest, timeout) = (self.oldest_unanswered().unwrap_or(now), self.probe_timeout());
        self.counters.timeouts += 1;
        let first = self.liveness.state() == State::Live;
        self.mtu.handle_silence(first && self.misses_large_alone(now, timeout));
        match self.liveness.handle_timeout(now, oldest, timeout) {
            Verdict::Suspect => {
                sink(Event::Suspect);
                sink(Event::Probe);
            }
            Verdict::Probe => sink(Event::Probe),
            Verdict::Down => self.go_down(sink),
        }
    }

    /// Whether all that should have been answered by now is larger than what each path carries.
    fn misses_large_alone(&self, now: Instant, timeout: Duration) -> bool {
        let above = |packet: &&Packet| self.largest_acked.is_none_or(|largest| packet.number > largest);
        let mut missing = self.sent.iter().filter(above).take_while(|packet| packet.sent_at + timeout <= now);
        missing.all(|packet| packet.mtu_probe || Mtu::is_large(packet.bytes))
    }

    pub(super) fn go_down(&mut self, sink: &mut impl FnMut(Event)) {
        self.counters.deaths += 1;
        while let Some(oldest) = self.sent.oldest_from(0).map(|packet| packet.number) {
            if let Some(packet) = self.sent.mark_lost(oldest) {
                self.counters.lost_packets += 1;
                sink(Event::Lost(packet));
            }
        }
        sink(Event::Down);
    }

    /// Progress after suspicion or death.
    pub(super) fn come_back(&mut self, now: Instant, was: State, sink: &mut impl FnMut(Event)) {
        if was == State::Down {
            self.resume(now);
        }
        sink(Event::Live);
    }

    /// Starts again from half of the remembered rate.
    pub(super) fn resume(&mut self, now: Instant) {
        self.delivery.clear();
        self.loss.clear();
        self.random_loss.clear();
        self.lossy = (0, now);
        let unloaded = self.compute_view().unloaded;
        self.control.resume(now, unloaded);
        self.sought_at = now;
        self.look();
        self.pace(now);
    }

    // Pace and pauses

    /// What the estimators say.
    pub(super) fn view(&self) -> View {
        debug_assert_eq!(self.view, self.compute_view(), "who feeds an estimator looks again");
        self.view
    }

    /// Looks at the estimators again.
    pub(super) fn look(&mut self) {
        self.view = self.compute_view();
        self.bounds = self.compute_bounds();
    }

    pub(super) fn compute_bounds(&self) -> Bounds {
        let round = self.view.unloaded;
        Bounds {
            cap: self.control.cap(&self.view),
            waste: self.pacer.rate().bytes_in((round / WASTE.0).max(WASTE.1)),
        }
    }

    /// What they say while they are being fed.
    pub(super) fn compute_view(&self) -> View {
        let unloaded = self.unloaded.ask().unwrap_or(self.rtt.smoothed());
        // Where packets overtake each other, the largest number is the one that was early.
        let jitter = self.jitter.ask().max(self.reordering.late() / 2);
        let aggregated = self.aggregation.ask();
        View {
            unloaded,
            recent: self.one_way.recent(),
            standing: self.one_way.standing(),
            jitter,
            aggregated,
            loss: self.random_loss.ask(),
            span: unloaded.clamp(SPAN.0, SPAN.1).max(jitter * JITTERS).max(aggregated * BURSTS).min(SPAN_CAP),
        }
    }

    pub(super) fn pace(&mut self, now: Instant) {
        let pace = self.control.pace(&self.view());
        self.pacer.feed_rate(now, pace);
        self.bounds = self.compute_bounds();
    }

    /// Ends what time alone ends.
    pub(super) fn tick(&mut self, now: Instant) {
        let view = self.view();
        if self.control.tick(now, self.sent.next(), &view) {
            self.pace(now);
        }
    }

    /// Room in flight again: what was not sent until now was not the source's fault.
    pub(super) fn uncap(&mut self, now: Instant) {
        if self.capped && self.sent.in_flight() + FULL <= self.cap() {
            self.capped = false;
            self.pacer.take_wasted(now);
        }
    }

    /// Before a sending: did the source leave the path without work?
    pub(super) fn account_waste(&mut self, now: Instant) {
        let wasted = self.pacer.take_wasted(now);
        if core::mem::take(&mut self.capped) {
            return;
        }
        debug_assert_eq!(self.bounds, self.compute_bounds(), "who changes the rate bounds it again");
        let (sum, since) = &mut self.wasted;
        if now - *since > self.view.unloaded.max(WASTE.1 * WASTE.0) {
            (*sum, *since) = (0, now);
        }
        *sum += wasted;
        if *sum > self.bounds.waste {
            *sum = 0;
            self.gaps = self.gaps.wrapping_add(1);
            self.limited = true;
        }
    }

    /// How often the peer gets acknowledgements: by the smallest RTT, if known.
    pub(super) fn interval(&self) -> Duration {
        if self.rtt.known() { self.rtt.min() } else { Duration::ZERO }
    }
}
