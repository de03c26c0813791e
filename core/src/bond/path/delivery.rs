//! Samples of the delivery rate, on the receiver's clock.
//!
//! Each acknowledgement tells how many bytes had arrived in all, and when its largest packet
//! arrived (the packet's timestamp plus its raw one-way delay). So the rate is measured where it
//! shows, at the receiver: delayed, thinned and aggregated acknowledgements do not disturb it.
//!
//! ```text
//! arrived (bytes)              _____x  now            rate = (now - then) bytes
//!                      ___x___/                              / max(arrival, sending) time between
//!          ____x______/   then: the last record
//!     ____/                     at least `span` older
//!                                            time ->
//! ```
//!
//! Arrivals close together (a batch, a radio's grant) are one record that ends with the last of
//! them; a sample from the end of one burst to the end of another counts whole bursts only. A
//! sample is `limited` if the source left the path without work within it: then it is a lower bound
//! only. So it is if most of its time is one silence, after which many packets came at once: a
//! path, or a receiver, that stood still and goes on as before.

use super::super::rate::Rate;
use crate::time::Duration;
use alloc::collections::VecDeque;

/// | constant | reason |
/// | --- | --- |
/// | `MERGE` 1/16 of the span | bursts of a millisecond become one record; a span is 16 records at most |
/// | `STRETCHED` 7/8 | the share that is a fall, too; start-up sends twice what arrives |
/// | `MANY` 16 packets | what comes after a silence on a slow path is one or two; a radio's grants are less than half of a span apart |
/// | `MAX_RECORDS` 64 | the span may grow by 4 between samples without losing its start |
const MERGE: i64 = 16;
const MAX_RECORDS: usize = 64;
const MANY: u64 = 16 * 1500;
const STRETCHED: (i64, i64) = (7, 8);

/// What an acknowledgement tells of its largest packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When it arrived, on the receiver's clock, microseconds.
    pub(crate) at: i64,
    /// When it was sent, on ours, microseconds.
    pub(crate) sent_at: i64,
    /// Bytes that had arrived in all.
    pub(crate) delivered: u64,
    /// The packet's count of gaps.
    pub(crate) gaps: u32,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    first: i64,
    last: Arrival,
}

/// A measured rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    /// Over the longer of arrival and sending, as BBR's draft says (delivery rate estimation, 3.2):
    /// a stall that ends in a burst is not taken for speed.
    pub(crate) rate: Rate,
    /// Over arrival alone: what a standing queue lets through, also where we send less.
    pub(crate) arrived: Rate,
    /// It arrived over a longer time than it was sent in, beyond noise: a queue grew.
    pub(crate) stretched: bool,
    /// The source left the path without work meanwhile.
    pub(crate) limited: bool,
    /// Most of the time is one silence, and it is over.
    pub(crate) stalled: bool,
}

/// The rate over a sliding span of arrivals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    records: VecDeque<Record>,
}

impl Delivery {
    /// A sample over at least `span`, if that much is known.
    pub(crate) fn feed(&mut self, arrival: Arrival, span: Duration) -> Option<Sample> {
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match self.records.back_mut() {
            // Reordered, or a clock that was set: time does not go back.
            Some(last) if arrival.at < last.last.at || arrival.delivered < last.last.delivered => {
                return None;
            }
            Some(last) if arrival.at - last.first < span / MERGE => last.last = arrival,
            _ => {
                if self.records.len() == MAX_RECORDS {
                    self.records.pop_front();
                }
                self.records.push_back(Record { first: arrival.at, last: arrival });
            }
        }
        let start = arrival.at.saturating_sub(span);
        while self.records.get(1).is_some_and(|next| next.last.at <= start) {
            self.records.pop_front();
        }
        let then = self.records.front().map(|record| record.last).filter(|then| then.at <= start)?;
        let bytes = arrival.delivered - then.delivered;
        let over = |elapsed: i64| Rate::measured(bytes, Duration::from_micros(elapsed.max(1).unsigned_abs()));
        let (arriving, sending) = (arrival.at - then.at, arrival.sent_at - then.sent_at);
        let arrived = over(arriving);
        let rate = arrived.min(over(sending));
        let stretched = sending < arriving.saturating_mul(STRETCHED.0) / STRETCHED.1;
        let (silence, since) = self.silence();
        let stalled = silence > arriving / 2 && since >= MANY;
        Some(Sample { rate, arrived, stretched, limited: arrival.gaps != then.gaps, stalled })
    }

    /// The longest time without an arrival, and the bytes that have come since.
    fn silence(&self) -> (i64, u64) {
        let last = self.records.back().map_or(0, |record| record.last.delivered);
        let pairs = self.records.iter().zip(self.records.iter().skip(1));
        let silences = pairs.map(|(a, b)| (b.first - a.last.at, last - a.last.delivered));
        silences.max().unwrap_or_default()
    }

    /// No sample reaches back before now.
    pub(crate) fn restart(&mut self) {
        if let Some(last) = self.records.pop_back() {
            self.records.clear();
            self.records.push_back(last);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// (arrival ms, bytes in all, gaps) in; kilobytes per second out, with * where limited.
    fn run(series: &[(i64, u64, u32)], span_ms: u64) -> Vec<Option<(u64, bool)>> {
        let mut delivery = Delivery::default();
        let feed = |(at, delivered, gaps): &(i64, u64, u32)| {
            let arrival =
                Arrival { at: at * 1000, sent_at: at * 1000 - 7, delivered: *delivered, gaps: *gaps };
            let sample = delivery.feed(arrival, Duration::from_millis(span_ms))?;
            Some((sample.rate.bytes_per_second() / 1000, sample.limited))
        };
        series.iter().map(feed).collect()
    }

    #[test]
    fn a_steady_stream_has_its_rate_and_a_pause_of_the_source_marks_it() {
        let series = [
            (0, 0, 0),
            (5, 5_000, 0),
            (10, 10_000, 0),
            (15, 15_000, 0),
            (30, 20_000, 1),
            (40, 30_000, 1),
            (50, 40_000, 1),
        ];
        let expected = [
            None,
            None,
            Some((1000, false)),
            Some((1000, false)),
            Some((333, true)),
            Some((1000, false)),
            Some((1000, false)),
        ];
        assert_eq!(run(&series, 10), expected);
    }

    #[test]
    fn bursts_every_ten_milliseconds_count_whole() {
        // Each burst comes in two batches, a tenth of a millisecond apart (here: at the same one).
        let series = [
            (0, 5_000, 0),
            (0, 10_000, 0),
            (10, 15_000, 0),
            (10, 20_000, 0),
            (20, 25_000, 0),
            (20, 30_000, 0),
        ];
        let expected = [None, None, None, None, Some((750, false)), Some((1000, false))];
        assert_eq!(run(&series, 20), expected);
    }

    /// Whether each arrival (ms, bytes in all) ends a silence, over 20 ms.
    fn stalled(series: &[(i64, u64)]) -> Vec<Option<bool>> {
        let mut delivery = Delivery::default();
        let feed = |(at, delivered): &(i64, u64)| {
            let arrival = Arrival { at: at * 1000, sent_at: at * 1000, delivered: *delivered, gaps: 0 };
            delivery.feed(arrival, Duration::from_millis(20)).map(|sample| sample.stalled)
        };
        series.iter().map(feed).collect()
    }

    #[test]
    fn a_silence_with_many_packets_behind_it_is_no_rate() {
        let (no, yes) = (Some(false), Some(true));
        // A receiver that had no processor for 90 ms.
        let stall = [(0, 0), (10, 100_000), (20, 200_000), (110, 250_000), (112, 300_000)];
        let goes_on = (120..=140).step_by(5).map(|at| (at, 300_000 + (at as u64 - 112) * 10_000));
        let stall: Vec<_> = stall.into_iter().chain(goes_on).collect();
        assert_eq!(stalled(&stall), [None, None, no, yes, yes, yes, yes, no, no, no]);
        // A link that fell from 10 MB/s to 0.1.
        let fall = [(0, 0), (10, 100_000), (20, 200_000), (35, 201_500), (50, 203_000), (65, 204_500)];
        assert_eq!(stalled(&fall), [None, None, no, no, no, no]);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let series = [(0, 0, 0), (20, 20_000, 0), (10, 30_000, 0), (30, 10_000, 0), (40, 40_000, 0)];
        let expected = [None, Some((1000, false)), None, None, Some((1000, false))];
        assert_eq!(run(&series, 20), expected);
    }

    #[test]
    fn what_was_sent_slowly_did_not_arrive_fast() {
        let mut delivery = Delivery::default();
        let arrival = |at, sent_at, delivered| Arrival { at, sent_at, delivered, gaps: 0 };
        delivery.feed(arrival(0, 0, 0), Duration::from_millis(10));
        let sample = delivery.feed(arrival(10_000, 100_000, 10_000), Duration::from_millis(10));
        let rates = sample.map(|sample| (sample.rate.bytes_per_second(), sample.arrived.bytes_per_second()));
        assert_eq!(rates, Some((100_000, 1_000_000)));
    }
}
