//! The receiving side: what arrived on a path, and when to acknowledge it.
//!
//! One acknowledgement for a batch of arrivals: the caller hands all of a batch in, then asks,
//! until there is none. At once where a number is missing; else when the last one is an interval
//! ago, so that a fast path is not answered packet by packet.
//!
//! An acknowledgement has room for four ranges: the highest, and those with news, the lowest first,
//! for the sender is about to call them lost. A range that is left out is not denied.

use super::ack::{Ack, DELAY_UNIT_MICROS, RANGES};
use super::delay::{OneWay, RawDelay};
use super::jitter::Jitter;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// | constant | reason |
/// | --- | --- |
/// | `LATEST` 5 ms | at least that often, so that the sender's probe time-out may count on it |
/// | `EARLIEST` 1 ms, also where a number is missing | more often than a driver's millisecond tells the sender nothing new |
/// | `SHARE` 1/8 of the RTT | eight a round are enough to measure; at 20 ms 400 a second, 0.3 Mbit/s |
/// | `FEW` 4 full packets | fewer than that wait for `LATEST`: the acknowledgements of a download's acknowledgements took 0.55% of a link of 50 Mbit/s, and take half of that |
/// | `KEPT` 64 ranges | 16 ms of packets out of order at 50 Mbit/s; an older range with a hole below it is given up |
pub(crate) const LATEST: Duration = Duration::from_millis(5);
const EARLIEST: Duration = Duration::from_millis(1);
const SHARE: u32 = 8;
const FEW: u64 = 4 * 1500;
const KEPT: usize = 64;

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

/// Numbers received, both ends included.
#[derive(Clone, Copy, Debug)]
struct Range {
    low: u64,
    high: u64,
    /// Something came that no acknowledgement has told.
    news: bool,
}

/// The receiving side of one path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// The highest first, apart from each other.
    ranges: Vec<Range>,
    bytes: u64,
    /// Bytes since the last acknowledgement.
    unsaid: u64,
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
        self.unsaid = self.unsaid.saturating_add(u64::from(packet.bytes));
        self.ce = self.ce.wrapping_add(u16::from(packet.ce));
        let raw = RawDelay::measured(now, packet.timestamp);
        let span = Duration::from_millis(20);
        let delay = self.one_way.feed(now, raw, LATEST, span);
        self.jitter.feed(now, delay, span);
        let before = self.ranges.first().map(|range| range.high);
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

    /// An acknowledgement, if half of the time until it is due is over: beside that of another path
    /// it costs no packet, and the two go together from then on.
    pub(crate) fn poll_beside(&mut self, now: Instant, rtt: Duration) -> Option<Ack> {
        let due = self.due(rtt)?;
        let last = self.acknowledged.or(self.pending).unwrap_or(due);
        if last + (due - last) / 2 > now { None } else { self.take(now) }
    }

    /// An acknowledgement of all that arrived, due or not: one that travels in company costs
    /// nothing.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Ack> {
        let highest = *self.ranges.first()?;
        (self.pending, self.at_once, self.acknowledged) = (None, false, Some(now));
        self.unsaid = 0;
        let (at, echo, raw_delay) = self.largest;
        let held = u64::try_from((now - at).as_micros()).unwrap_or(u64::MAX) / DELAY_UNIT_MICROS;
        let mut ack = Ack {
            largest: low32(highest.high),
            delay: u16::try_from(held).unwrap_or(u16::MAX),
            echo,
            raw_delay,
            ce: self.ce,
            received: low32(self.bytes),
            first: u16::try_from(highest.high - highest.low).unwrap_or(u16::MAX),
            ..Ack::default()
        };
        self.ranges[0].news = false;
        // The three lowest with news; if there are fewer, the highest of the others too.
        let mut chosen = [usize::MAX; RANGES - 1];
        let news = (1..self.ranges.len()).rev().filter(|place| self.ranges[*place].news);
        let others = (1..self.ranges.len()).filter(|place| !self.ranges[*place].news);
        for (slot, place) in chosen.iter_mut().zip(news.chain(others)) {
            *slot = place;
        }
        chosen.sort_unstable();
        let mut above = highest.high - u64::from(ack.first);
        for place in chosen {
            let Some(range) = self.ranges.get_mut(place) else { break };
            let Ok(gap) = u16::try_from(above - range.high - 1) else {
                // The gap is too long for its field: the ranges below cannot be acknowledged, so
                // forget them.
                self.ranges.truncate(place);
                break;
            };
            let len = u16::try_from(range.high - range.low + 1).unwrap_or(u16::MAX);
            ack.more[usize::from(ack.more_len)] = (gap, len);
            ack.more_len += 1;
            range.news = false;
            above = range.high + 1 - u64::from(len);
        }
        if self.ranges.iter().any(|range| range.news) {
            (self.pending, self.at_once) = (Some(now), true);
        }
        Some(ack)
    }

    /// The largest number that arrived.
    pub(crate) fn largest(&self) -> Option<u64> {
        self.ranges.first().map(|range| range.high)
    }

    /// When [`Received::poll`] has something.
    pub(crate) fn due(&self, rtt: Duration) -> Option<Instant> {
        let pending = self.pending?;
        if self.at_once {
            // More news than fits into one acknowledgement does not wait.
            let many = self.ranges.iter().filter(|range| range.news).count() >= RANGES;
            let next = self.acknowledged.filter(|_| !many).map_or(pending, |last| last + EARLIEST);
            return Some(next.max(pending));
        }
        // What a trickle tells can wait: it limits nothing, and its acknowledgements take of the
        // other direction.
        let interval = if self.unsaid < FEW { LATEST } else { (rtt / SHARE).clamp(EARLIEST, LATEST) };
        let next = self.acknowledged.map_or(pending, |last| last + interval);
        Some(next.clamp(pending, pending + LATEST))
    }

    pub(crate) fn jitter(&self) -> Duration {
        self.jitter.ask()
    }

    /// Bytes of all that arrived, counted as the peer counts them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When anything arrived last.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    fn insert(&mut self, number: u64) {
        // The first range that does not lie wholly above the number and apart from it.
        let touches = |range: &Range| range.low <= number.saturating_add(1);
        let place = self.ranges.iter().position(touches).unwrap_or(self.ranges.len());
        let Some(range) = self.ranges.get_mut(place).filter(|range| number <= range.high.saturating_add(1))
        else {
            if place < KEPT {
                self.ranges.truncate(KEPT - 1);
                self.ranges.insert(place, Range { low: number, high: number, news: true });
            }
            return;
        };
        *range = Range { low: range.low.min(number), high: range.high.max(number), news: true };
        let joined = *range;
        if let Some(below) = self.ranges.get(place + 1).copied()
            && below.high.saturating_add(1) >= joined.low
        {
            self.ranges[place].low = below.low.min(joined.low);
            self.ranges.remove(place + 1);
        }
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
        (5..11).for_each(|number| received.handle(at(300), &packet(number)));
        assert_eq!((received.poll(at(300), RTT), received.due(RTT)), (None, Some(at(2100))));
        received.handle(at(2500), &packet(11));
        let ack = received.poll(at(2500), RTT).expect("an interval is over");
        assert_eq!((ack.largest, ack.first, ack.delay), (11, 11, 0));
        assert_eq!((received.poll(at(9000), RTT), received.due(RTT)), (None, None));
    }

    #[test]
    fn a_trickle_is_acknowledged_at_the_latest_time() {
        let mut received = Received::default();
        received.handle(at(0), &packet(0));
        received.take(at(0));
        received.handle(at(300), &packet(1));
        assert_eq!(received.due(RTT), Some(at(5000)));
        (2..7).for_each(|number| received.handle(at(400), &packet(number)));
        assert_eq!(received.due(RTT), Some(at(2000)), "6,000 bytes are no trickle");
    }

    #[test]
    fn beside_another_one_goes_when_half_of_its_wait_is_over() {
        let mut received = Received::default();
        assert_eq!(received.poll_beside(at(0), RTT), None, "nothing came");
        received.handle(at(0), &packet(0));
        received.take(at(0));
        received.handle(at(300), &packet(1));
        assert_eq!(received.due(RTT), Some(at(5000)));
        assert_eq!(received.poll_beside(at(2499), RTT), None);
        let ack = received.poll_beside(at(2500), RTT).expect("half of 5 ms are over");
        assert_eq!((ack.largest, received.due(RTT)), (1, None));
        received.handle(at(3000), &packet(2));
        assert_eq!(received.due(RTT), Some(at(7500)), "counted from then on");
    }

    #[test]
    fn a_gap_and_its_end_are_told_at_once() {
        let mut received = Received::default();
        received.handle(at(0), &packet(0));
        received.take(at(0));
        received.handle(at(10), &packet(2));
        assert_eq!(received.due(RTT), Some(at(1000)), "at once, but once in a millisecond");
        let ack = received.poll(at(1000), RTT).expect("1 is missing");
        assert_eq!((ack.largest, ack.first, ack.more_len, ack.more[0]), (2, 0, 1, (1, 1)));
        received.handle(at(2500), &packet(1));
        let ack = received.poll(at(2500), RTT).expect("1 is here");
        assert_eq!((ack.largest, ack.first, ack.more_len), (2, 2, 0));
    }

    #[test]
    fn many_ranges_are_told_in_several_the_lowest_first() {
        let mut received = Received::default();
        received.handle(at(0), &packet(0));
        received.take(at(0));
        for number in [2, 4, 6, 8, 10, 12] {
            received.handle(at(100), &packet(number));
        }
        let told = |ack: Ack| ack.ranges(12).map(|range| *range.end()).collect::<Vec<_>>();
        assert_eq!(received.poll(at(100), RTT).map(told), Some([12, 6, 4, 2].to_vec()));
        assert_eq!(received.due(RTT), Some(at(1100)));
        assert_eq!(received.poll(at(1100), RTT).map(told), Some([12, 10, 8, 6].to_vec()));
        assert_eq!(received.due(RTT), None);
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
        /// What an acknowledgement says was received, was; the newest is always told, and in the
        /// end all.
        #[test]
        fn it_acknowledges_only_what_arrived(
            numbers in prop::collection::vec(0u64..400, 1..300), jump in any::<u32>()
        ) {
            let mut received = Received::default();
            let (mut arrived, mut all) = (BTreeSet::new(), BTreeSet::new());
            for number in numbers {
                let number = number + u64::from(jump);
                received.handle(at(0), &packet(number));
                arrived.insert(number);
                let largest = *arrived.last().expect("one arrived");
                let ack = received.take(at(0)).expect("one arrived");
                let told: BTreeSet<u64> = ack.ranges(largest).flatten().collect();
                prop_assert!(told.contains(&largest));
                prop_assert!(told.is_subset(&arrived), "told {:?} of {:?}", told, arrived);
                all.extend(told);
                // News that did not fit is told in the next ones.
                while received.due(RTT).is_some() {
                    let ack = received.take(at(0)).expect("one arrived");
                    all.extend(ack.ranges(largest).flatten());
                }
                prop_assert!(all == arrived || arrived.len() > KEPT, "told {:?} of {:?}", all, arrived);
            }
        }
    }
}
