//! The receiving side: what arrived on a path, and when to acknowledge it.
//!
//! One acknowledgement for a batch of arrivals: the caller hands all of a batch in, then asks. At once where a number
//! is missing; else when the last one is an interval ago, so that a fast path is not answered packet by packet.

use super::ack::{Ack, DELAY_UNIT_MICROS, RANGES};
use super::delay::{OneWay, RawDelay};
use super::jitter::Jitter;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `LATEST` 5 ms | bond.md: at least that often, so that the sender's probe time-out may count on it |
/// | `EARLIEST` 1 ms | more often than a driver's millisecond tells the sender nothing new |
/// | `SHARE` 1/8 of the RTT | eight a round are enough to measure; at 20 ms 400 a second, 0.3 Mbit/s |
/// | `KEPT` 16 ranges | four are told; more are kept, so that late packets join them to fewer |
pub(crate) const LATEST: Duration = Duration::from_millis(5);
const EARLIEST: Duration = Duration::from_millis(1);
const SHARE: u32 = 8;
const KEPT: usize = 16;

/// What a packet looked like on arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) number: u64,
    /// The sender's timestamp, 24 bits.
    pub(crate) timestamp: u32,
    /// Bytes of the IP packet.
    pub(crate) bytes: u32,
    /// The outer header said "congestion experienced".
    pub(crate) ce: bool,
    /// The sender wants it acknowledged.
    pub(crate) eliciting: bool,
}

/// The receiving side of one path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Inclusive ranges, the highest first.
    ranges: [(u64, u64); KEPT],
    len: usize,
    bytes: u64,
    ce: u16,
    /// Of the largest number: when, its timestamp, its raw delay.
    largest: (Instant, u32, RawDelay),
    one_way: OneWay,
    jitter: Jitter,
    /// The oldest eliciting arrival that is not acknowledged.
    pending: Option<Instant>,
    at_once: bool,
    acknowledged: Option<Instant>,
    heard: Option<Instant>,
}

impl Received {
    pub(crate) fn handle(&mut self, now: Instant, packet: &Arrived) {
        self.heard = Some(now);
        self.bytes = self.bytes.wrapping_add(u64::from(packet.bytes));
        self.ce = self.ce.wrapping_add(u16::from(packet.ce));
        let raw = RawDelay::measured(now, packet.timestamp);
        let span = Duration::from_millis(20);
        self.jitter.feed(self.one_way.feed(now, raw, LATEST, span));
        let before = (self.len > 0).then(|| self.ranges[0].1);
        if before.is_none_or(|largest| packet.number > largest) {
            self.largest = (now, packet.timestamp, raw);
            // A number is missing below it: the sender learns of it at once.
            self.at_once |= packet.eliciting && before.is_some_and(|largest| packet.number - largest > 1);
        } else {
            // It fills a hole: told at once too, before the sender calls it lost.
            self.at_once |= packet.eliciting;
        }
        self.insert(packet.number);
        if packet.eliciting {
            self.pending.get_or_insert(now);
        }
    }

    /// An acknowledgement, if one is due.
    pub(crate) fn poll(&mut self, now: Instant, rtt: Duration) -> Option<Ack> {
        if self.due(rtt).is_none_or(|due| due > now) { None } else { self.take(now) }
    }

    /// An acknowledgement of all that arrived, due or not: one that travels in company costs nothing.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Ack> {
        if self.len == 0 {
            return None;
        }
        (self.pending, self.at_once, self.acknowledged) = (None, false, Some(now));
        let (at, echo, raw_delay) = self.largest;
        let (low, high) = self.ranges[0];
        let held = u64::try_from((now - at).as_micros()).unwrap_or(u64::MAX) / DELAY_UNIT_MICROS;
        let mut ack = Ack {
            largest: low32(high),
            delay: u16::try_from(held).unwrap_or(u16::MAX),
            echo,
            raw_delay,
            ce: self.ce,
            received: low32(self.bytes),
            first: u16::try_from(high - low).unwrap_or(u16::MAX),
            ..Ack::default()
        };
        // A first range too long for its field ends the list: what lies below it cannot be told.
        let told = if high - low > u64::from(u16::MAX) { 1 } else { self.len.min(RANGES) };
        for pair in self.ranges[..told].windows(2) {
            let ((above, _), (low, high)) = (pair[0], pair[1]);
            let Ok(gap) = u16::try_from(above - high - 1) else { break };
            let len = u16::try_from(high - low + 1).unwrap_or(u16::MAX);
            ack.more[usize::from(ack.more_len)] = (gap, len);
            ack.more_len += 1;
            if high - low + 1 > u64::from(u16::MAX) {
                break;
            }
        }
        Some(ack)
    }

    /// When [`Received::poll`] has something.
    pub(crate) fn due(&self, rtt: Duration) -> Option<Instant> {
        let pending = self.pending?;
        if self.at_once {
            return Some(pending);
        }
        let interval = (rtt / SHARE).clamp(EARLIEST, LATEST);
        let next = self.acknowledged.map_or(pending, |last| last + interval);
        Some(next.clamp(pending, pending + LATEST))
    }

    /// The one-way delay of what arrives: for how long to wait for what is missing.
    pub(crate) fn one_way(&self) -> &OneWay {
        &self.one_way
    }

    pub(crate) fn jitter(&self) -> Duration {
        self.jitter.ask()
    }

    /// When anything arrived last.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn insert(&mut self, number: u64) {
        let ranges = &self.ranges[..self.len];
        // The first range that does not lie wholly above the number and apart from it.
        let place = ranges.iter().position(|(low, _)| *low <= number.saturating_add(1)).unwrap_or(self.len);
        if let Some((low, high)) = self.ranges[..self.len].get_mut(place)
            && number <= high.saturating_add(1)
        {
            (*low, *high) = ((*low).min(number), (*high).max(number));
            let low = *low;
            if place + 1 < self.len && self.ranges[place + 1].1.saturating_add(1) >= low {
                self.ranges[place].0 = self.ranges[place + 1].0.min(low);
                self.ranges.copy_within(place + 2..self.len, place + 1);
                self.len -= 1;
            }
            return;
        }
        if place == KEPT {
            return; // Older than all that is kept.
        }
        let end = self.len.min(KEPT - 1);
        self.ranges.copy_within(place..end, place + 1);
        self.ranges[place] = (number, number);
        self.len = end + 1;
    }
}

fn low32(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("masked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const RTT: Duration = Duration::from_millis(16);

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    fn packet(number: u64) -> Arrived {
        Arrived { number, timestamp: 0, bytes: 1000, ce: false, eliciting: true }
    }

    #[test]
    fn one_acknowledgement_for_a_batch_and_an_interval() {
        let mut received = Received::default();
        for number in 0..5 {
            received.handle(at(100), &packet(number));
        }
        let ack = received.poll(at(100), RTT).expect("the first batch is acknowledged at once");
        assert_eq!((ack.largest, ack.first, ack.more_len, ack.received), (4, 4, 0, 5000));
        received.handle(at(300), &packet(5));
        assert_eq!((received.poll(at(300), RTT), received.due(RTT)), (None, Some(at(2100))));
        received.handle(at(2500), &packet(6));
        let ack = received.poll(at(2500), RTT).expect("an interval is over");
        assert_eq!((ack.largest, ack.first, ack.delay), (6, 6, 0));
        assert_eq!((received.poll(at(9000), RTT), received.due(RTT)), (None, None));
    }

    #[test]
    fn a_gap_and_its_end_are_told_at_once() {
        let mut received = Received::default();
        received.handle(at(0), &packet(0));
        received.take(at(0));
        received.handle(at(10), &packet(2));
        let ack = received.poll(at(10), RTT).expect("1 is missing");
        assert_eq!((ack.largest, ack.first, ack.more_len, ack.more[0]), (2, 0, 1, (1, 1)));
        received.handle(at(20), &packet(1));
        let ack = received.poll(at(20), RTT).expect("1 is here");
        assert_eq!((ack.largest, ack.first, ack.more_len), (2, 2, 0));
    }

    #[test]
    fn what_asks_for_no_answer_gets_none() {
        let mut received = Received::default();
        received.handle(at(0), &Arrived { eliciting: false, ce: true, ..packet(0) });
        received.handle(at(0), &Arrived { eliciting: false, ..packet(7) });
        assert_eq!(received.due(RTT), None);
        let ack = received.take(at(1_000)).expect("told in company");
        assert_eq!((ack.largest, ack.ce, ack.delay, ack.received), (7, 1, 62, 2000));
    }

    proptest! {
        /// What an acknowledgement says was received, was; and the newest is always told.
        #[test]
        fn it_acknowledges_only_what_arrived(numbers in prop::collection::vec(0u64..400, 1..300), jump in any::<u32>()) {
            let mut received = Received::default();
            let mut arrived = BTreeSet::new();
            for number in numbers {
                let number = number + u64::from(jump);
                received.handle(at(0), &packet(number));
                arrived.insert(number);
                let largest = *arrived.last().expect("one arrived");
                let ack = received.take(at(0)).expect("one arrived");
                let told: Vec<u64> = ack.ranges(largest).flatten().collect();
                prop_assert_eq!(told[0], *ack.ranges(largest).next().expect("the first").start());
                prop_assert!(told.contains(&largest));
                prop_assert!(told.iter().all(|number| arrived.contains(number)), "told {:?} of {:?}", told, arrived);
                // All that is told is what a plain set has in its four highest ranges.
                let mut ranges = 1;
                let mut plain = Vec::new();
                let mut last = largest;
                for number in arrived.iter().rev() {
                    ranges += usize::from(last - number > 1);
                    if ranges > RANGES {
                        break;
                    }
                    plain.push(*number);
                    last = *number;
                }
                plain.sort_unstable();
                let mut told = told;
                told.sort_unstable();
                // Ranges that fell out of memory may be missing where numbers come far out of order.
                prop_assert!(told == plain || arrived.len() > KEPT, "told {:?}, plain {:?}", told, plain);
            }
        }
    }
}
