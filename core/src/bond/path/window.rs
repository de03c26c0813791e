//! The largest or smallest of what was fed within a span of time.
//!
//! The span is kept as at most nine buckets of an eighth each; a value is forgotten after the span,
//! or up to an eighth later. What is old goes when something new is fed, so a silent source keeps
//! its last answer.

use crate::time::{Duration, Instant};

/// Buckets in a span: finer costs memory, coarser keeps a value longer. Eight is an eighth late at
/// most.
const BUCKETS: u64 = 8;
const SLOTS: usize = BUCKETS as usize + 1;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    since: Instant,
    until: Instant,
    best: i64,
}

/// An extreme over a span: the largest where `MAX`, else the smallest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extreme<const MAX: bool> {
    buckets: [Bucket; SLOTS],
    len: usize,
    /// The best of all buckets: it is asked for each packet, and fed for each acknowledgement.
    best: Option<i64>,
}

/// The largest within a span.
pub(crate) type Highest = Extreme<true>;
/// The smallest within a span.
pub(crate) type Lowest = Extreme<false>;

impl<const MAX: bool> Extreme<MAX> {
    fn better(a: i64, b: i64) -> i64 {
        if MAX { a.max(b) } else { a.min(b) }
    }

    pub(crate) fn feed(&mut self, now: Instant, span: Duration, value: i64) {
        let mut dropped = false;
        match self.buckets[..self.len].last_mut() {
            Some(last) if age(now, last.since) < nanos(span) / BUCKETS => {
                last.best = Self::better(last.best, value);
                last.until = last.until.max(now);
            }
            _ => {
                if self.len == SLOTS {
                    // Eight buckets of an eighth each came after it: the span is over for this one.
                    self.drop_oldest();
                    dropped = true;
                }
                self.buckets[self.len] = Bucket { since: now, until: now, best: value };
                self.len += 1;
            }
        }
        while self.len > 1 && age(now, self.buckets[0].until) > nanos(span) {
            self.drop_oldest();
            dropped = true;
        }
        self.best = match self.best {
            Some(best) if !dropped => Some(Self::better(best, value)),
            _ => self.buckets[..self.len].iter().map(|bucket| bucket.best).reduce(Self::better),
        };
    }

    pub(crate) fn ask(&self) -> Option<i64> {
        self.best
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        (self.len, self.best) = (0, None);
    }

    fn drop_oldest(&mut self) {
        self.buckets.copy_within(1..self.len, 0);
        self.len -= 1;
    }
}

// Fed for each packet: plain nanoseconds, because a `Duration` is divided to be made.

fn age(now: Instant, since: Instant) -> u64 {
    now.as_nanos().saturating_sub(since.as_nanos())
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn the_smallest_is_forgotten_after_the_span() {
        let mut lowest = Lowest::default();
        let series = [(0, 5), (10, 3), (20, 8), (50, 7), (100, 6), (120, 9), (215, 9), (400, 11)];
        let expected = [5, 3, 3, 3, 3, 6, 9, 11];
        let span = Duration::from_millis(100);
        let got: Vec<i64> = series
            .iter()
            .map(|(ms, value)| {
                lowest.feed(at(*ms), span, *value);
                lowest.ask().expect("fed")
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn silence_keeps_the_last_answer() {
        let mut highest = Highest::default();
        assert_eq!(highest.ask(), None);
        highest.feed(at(0), Duration::from_millis(100), 7);
        assert_eq!(highest.ask(), Some(7));
        highest.feed(at(60_000), Duration::from_millis(100), 2);
        assert_eq!(highest.ask(), Some(2));
    }

    proptest! {
        #[test]
        fn it_lies_between_the_span_and_an_eighth_more(
            steps in prop::collection::vec((0u64..40, -1000i64..1000), 1..200),
            span in 8u64..200,
        ) {
            let mut highest = Highest::default();
            let mut fed: Vec<(u64, i64)> = Vec::new();
            let mut ms = 0;
            for (step, value) in steps {
                ms += step;
                fed.push((ms, value));
                highest.feed(at(ms), Duration::from_millis(span), value);
                let over = |reach: u64| {
                    fed.iter().filter(|(when, _)| when + reach >= ms).map(|(_, value)| *value).max()
                };
                let got = highest.ask();
                prop_assert!(got >= over(span), "got {:?}, the span alone has {:?}", got, over(span));
                prop_assert!(got <= over(span + span / 8 + 1), "got {:?}", got);
            }
        }
    }
}
