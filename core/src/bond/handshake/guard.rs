//! How many handshakes a source may ask for. Each costs the server four multiplications on a curve.
//!
//! | source | handshakes | then |
//! | --- | --- | --- |
//! | an address that proved nothing | 8 at once, then 4 a second | a cookie |
//! | all addresses that proved nothing | 128 at once, then 200 a second | a cookie |
//! | an address that has a cookie | 64 at once, then 50 a second | silence |
//!
//! The limit is for each source, so that one flooder does not put everybody into cookie mode: what
//! goes beyond its own limit is not counted in that of all. That one bounds the work for forged
//! sources. An address is a host of IPv4 or a /64 of IPv6; many hosts behind one have a port each
//! in their cookies.

use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};

/// Most sources that are remembered, with and without a cookie each.
pub(crate) const SOURCES: usize = 4096;

const UNPROVEN: Rate = Rate { interval: Duration::from_millis(250), burst: 8 };
const UNPROVEN_ALL: Rate = Rate { interval: Duration::from_millis(5), burst: 128 };
const PROVEN: Rate = Rate { interval: Duration::from_millis(20), burst: 64 };

/// What to do with a first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Read it.
    Pass,
    /// Answer with a cookie.
    Challenge,
    /// Drop it.
    Drop,
}

/// The limits of all sources.
#[derive(Debug)]
pub(crate) struct Guard {
    unproven: Table,
    proven: Table,
    all: Bucket,
}

impl Guard {
    pub(crate) const fn new() -> Guard {
        Guard { unproven: Table::new(), proven: Table::new(), all: Bucket(Instant::ZERO) }
    }

    /// Counts a first message from `source`; `proven` if it has a cookie.
    pub(crate) fn admit(&mut self, now: Instant, source: SocketAddr, proven: bool) -> Verdict {
        let source = Source::of(source);
        if proven {
            return if self.proven.take(now, source, PROVEN) { Verdict::Pass } else { Verdict::Drop };
        }
        if self.unproven.take(now, source, UNPROVEN) && self.all.take(now, UNPROVEN_ALL) {
            Verdict::Pass
        } else {
            Verdict::Challenge
        }
    }
}

/// The owner of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    fn of(source: SocketAddr) -> Source {
        match source.ip().to_canonical() {
            IpAddr::V4(v4) => Source::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Source::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Rate {
    interval: Duration,
    burst: u32,
}

/// When the next one would be due if they came at an even rate (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
struct Bucket(Instant);

impl Bucket {
    fn take(&mut self, now: Instant, rate: Rate) -> bool {
        if self.0.saturating_since(now) > rate.interval * (rate.burst - 1) {
            return false;
        }
        self.0 = self.0.max(now) + rate.interval;
        true
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.0 <= now
    }
}

/// A bucket for each source that is not idle, and for some that are.
#[derive(Debug)]
struct Table {
    buckets: BTreeMap<Source, Bucket>,
    /// Where the search for idle ones goes on.
    hand: Option<Source>,
}

/// The number of entries that are looked at to find an idle one.
const LOOKS: usize = 8;

impl Table {
    const fn new() -> Table {
        Table { buckets: BTreeMap::new(), hand: None }
    }

    fn take(&mut self, now: Instant, source: Source, rate: Rate) -> bool {
        if let Some(bucket) = self.buckets.get_mut(&source) {
            return bucket.take(now, rate);
        }
        if self.buckets.len() >= SOURCES {
            self.forget_idle(now);
        }
        if self.buckets.len() >= SOURCES {
            return false;
        }
        let mut bucket = Bucket(now);
        let taken = bucket.take(now, rate);
        self.buckets.insert(source, bucket);
        taken
    }

    /// Removes the idle ones of the next few entries.
    fn forget_idle(&mut self, now: Instant) {
        use core::ops::Bound;
        for _ in 0..LOOKS {
            let from = self.hand.map_or(Bound::Unbounded, Bound::Excluded);
            let Some((source, bucket)) = self.buckets.range((from, Bound::Unbounded)).next() else {
                self.hand = None;
                continue;
            };
            let (source, idle) = (*source, bucket.is_idle(now));
            self.hand = Some(source);
            if idle {
                self.buckets.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> SocketAddr {
        SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 4500))
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn handshake_limits_are_per_source() {
        // GotaTun 0.4.1: with one limit for all, one flooder put everybody into cookie mode.
        let mut guard = Guard::new();
        let passed = (0..10_000).filter(|_| guard.admit(at(0), source(1), false) == Verdict::Pass).count();
        assert_eq!(passed, 8);
        for other in 2..100 {
            assert_eq!(guard.admit(at(1), source(other), false), Verdict::Pass);
        }
        assert_eq!(guard.admit(at(1), source(1), false), Verdict::Challenge);
        assert_eq!(guard.admit(at(1), source(1), true), Verdict::Pass, "with a cookie");
        assert_eq!(guard.admit(at(250), source(1), false), Verdict::Pass, "four a second");
        assert_eq!(guard.admit(at(250), source(1), false), Verdict::Challenge);
    }

    #[test]
    fn forged_sources_together_are_bounded() {
        let mut guard = Guard::new();
        let mut passed = 0;
        for n in 0..20_000 {
            // 20,000 in a second, each from somewhere else.
            passed += usize::from(guard.admit(at(u64::from(n) / 20), source(n), false) == Verdict::Pass);
        }
        assert!((128..=128 + 200).contains(&passed), "{passed}");
        assert!(guard.unproven.buckets.len() <= SOURCES);
        assert_eq!(
            guard.admit(at(1000), source(5), true),
            Verdict::Pass,
            "who proves its address gets through"
        );
    }

    #[test]
    fn a_full_table_makes_room_when_sources_are_idle() {
        let mut guard = Guard::new();
        for n in 0..2 * SOURCES as u32 {
            guard.admit(at(0), source(n), false);
        }
        assert_eq!(guard.unproven.buckets.len(), SOURCES);
        assert_eq!(guard.admit(at(0), source(999_999), false), Verdict::Challenge, "as full as can be");
        assert_eq!(guard.admit(at(10_000), source(999_999), false), Verdict::Pass);
        for n in 0..10_000 {
            guard.admit(at(10_000), source(1_000_000 + n), true);
        }
        assert_eq!(guard.proven.buckets.len(), SOURCES);
    }

    #[test]
    fn a_proven_source_is_bounded_too() {
        let mut guard = Guard::new();
        let passed = (0..1000).filter(|_| guard.admit(at(0), source(1), true) == Verdict::Pass).count();
        assert_eq!(passed, 64);
        assert_eq!(guard.admit(at(0), source(1), true), Verdict::Drop);
        assert_eq!(guard.admit(at(20), source(1), true), Verdict::Pass);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut guard = Guard::new();
        let at_host = |host: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, host], 4500));
        let passed =
            (0..1000).filter(|host| guard.admit(at(0), at_host(*host), false) == Verdict::Pass).count();
        assert_eq!(passed, 8);
        let mapped = SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0001], 4500));
        assert_eq!(
            Source::of(mapped),
            Source::of(source(1)),
            "an IPv4 address in IPv6's form is that address"
        );
    }
}
