//! How fast uplinks may carry: a bucket of tokens for each uplink and direction.
//!
//! ```text
//!   fills by the rate, up to BURST ──▶ [ tokens ] ──▶ what was read takes its own
//!                                          │ in debt: readers wait in a ring, a few are woken when it is paid,
//!                                          │          and datagrams are dropped
//! ```
//!
//! A bucket is one instant, until which what was read is paid (the generic cell rate algorithm): a
//! byte moves it by the time that a byte takes. So there is nothing to fill in and nothing to round
//! in the long run. A reader that may read at all may read a whole burst, and the debt follows.
//!
//! Nobody can hold a datagram's sender back, and one that waited would be late: what is beyond the
//! rate is dropped. While readers wait, datagrams have half of the rate, which is all that they can
//! take from readers; else they have what nobody reads.
//!
//! Invariants: over any time the bytes are at most rate times time, a burst, and one piece read; of
//! those that wait, each has its turn before another has a second one.

use super::relay::Side;
use crate::machine::{StreamId, UplinkId};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Bound;

/// How fast an uplink may carry to targets and from them, in bytes a second; `None`: as fast as it
/// can.
pub(crate) type Pair = [Option<u64>; 2];

/// So much may move at once after a pause: as long as a driver may take until its timers fire.
const BURST: Duration = Duration::from_millis(20);
/// Less than this is not read at once, however slow the uplink is.
const LEAST: u64 = 2 * 1024;
/// Datagrams come in bursts, and none of them waits: they may be so much early.
const EARLY: Duration = Duration::from_millis(100);
/// The shortest time between two events that say that readers wait.
const TELL: Duration = Duration::from_secs(1);
/// So many readers are woken at a time; the next ones follow.
const AT_ONCE: usize = 16;
/// What was woken may have had nothing to read: the next have their turn after this.
const NEXT: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Bucket {
    rate: u64,
    paid_until: Instant,
    waiting: BTreeSet<StreamId>,
    /// The stream that was let read last: of those that wait it is the last in turn.
    last: Option<StreamId>,
    /// When the next are woken, at the soonest.
    not_before: Instant,
    /// Until when datagrams have taken the half of the rate that is theirs.
    datagrams_until: Instant,
    /// How often a reader had to wait, and when the next event says so.
    held: u64,
    tell_at: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Self {
        Bucket {
            rate,
            paid_until: now,
            waiting: BTreeSet::new(),
            last: None,
            not_before: now,
            datagrams_until: now,
            held: 0,
            tell_at: now,
        }
    }

    fn spend(&mut self, now: Instant, len: u64) {
        let takes = self.takes(len);
        // Tokens of a longer pause are lost: it may be a burst early, not more.
        let floor = Instant::from_nanos(now.as_nanos().saturating_sub(BURST.as_nanos() as u64));
        self.paid_until = self.paid_until.max(floor) + takes;
    }

    /// How long `len` bytes take.
    fn takes(&self, len: u64) -> Duration {
        let nanos = u128::from(len) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether a datagram of `len` bytes may pass: then it is paid for.
    fn admits(&mut self, now: Instant, len: u64) -> bool {
        let spare = self.waiting.is_empty() && self.paid_until <= now + EARLY;
        if !spare && self.datagrams_until > now + EARLY {
            return false;
        }
        self.datagrams_until = self.datagrams_until.max(now) + self.takes(len).saturating_mul(2);
        self.spend(now, len);
        true
    }

    /// How often a reader had to wait since the last event, where the next is due.
    fn held(&mut self, now: Instant) -> u64 {
        if self.held == 0 || self.tell_at > now {
            return 0;
        }
        self.tell_at = now + TELL;
        core::mem::take(&mut self.held)
    }

    fn room(&mut self, now: Instant, stream: StreamId) -> usize {
        if self.paid_until > now {
            self.held += u64::from(self.waiting.insert(stream));
            return 0;
        }
        self.waiting.remove(&stream);
        self.last = Some(stream);
        let burst = u128::from(self.rate) * BURST.as_nanos() / 1_000_000_000;
        usize::try_from(burst.max(u128::from(LEAST))).unwrap_or(usize::MAX)
    }

    fn wakes_at(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.paid_until.max(self.not_before))
    }

    fn wake(&mut self, now: Instant, woken: &mut Vec<StreamId>) {
        if self.wakes_at().is_none_or(|at| at > now) {
            return;
        }
        let mut last = self.last;
        for _ in 0..AT_ONCE {
            let after = last.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.waiting.range((after, Bound::Unbounded)).next();
            let Some(next) = next.or_else(|| self.waiting.first()).copied() else { break };
            self.waiting.remove(&next);
            last = Some(next);
            woken.push(next);
        }
        self.not_before = now + NEXT;
    }
}

/// The buckets of all uplinks, in the pool's order: sent, received.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    buckets: Vec<[Option<Bucket>; 2]>,
}

impl Rates {
    fn bucket(&mut self, uplink: UplinkId, from: Side) -> Option<&mut Bucket> {
        let [sent, received] = self.buckets.get_mut(usize::from(uplink.0))?;
        match from {
            Side::Client => sent.as_mut(),
            Side::Target => received.as_mut(),
        }
    }

    /// Other rates from now on. Wakes the streams that wait: they wait anew by the new rates.
    pub(crate) fn set(&mut self, now: Instant, rates: &[Pair]) -> Vec<StreamId> {
        let waited = self.buckets.iter().flatten().flatten();
        let woken = waited.flat_map(|bucket| bucket.waiting.iter().copied()).collect();
        let bucket = |rate: Option<u64>| rate.filter(|rate| *rate > 0).map(|rate| Bucket::new(rate, now));
        self.buckets = rates.iter().map(|pair| pair.map(bucket)).collect();
        woken
    }

    /// No uplink has a rate: to ask changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Whether bytes of this uplink are counted before they move: then they are read, and not
    /// spliced.
    pub(crate) fn limits(&self, uplink: Option<UplinkId>) -> bool {
        let of = uplink.and_then(|uplink| self.buckets.get(usize::from(uplink.0)));
        of.is_some_and(|both| both.iter().any(Option::is_some))
    }

    /// The most that may be read from `stream`, a side of a connection by `uplink`. At 0 it waits
    /// until it is woken.
    pub(crate) fn room(&mut self, now: Instant, uplink: UplinkId, from: Side, stream: StreamId) -> usize {
        self.bucket(uplink, from).map_or(usize::MAX, |bucket| bucket.room(now, stream))
    }

    /// Whether a datagram of `len` bytes may pass.
    pub(crate) fn admits(&mut self, now: Instant, uplink: UplinkId, from: Side, len: u64) -> bool {
        self.bucket(uplink, from).is_none_or(|bucket| bucket.admits(now, len))
    }

    /// How often readers had to wait since the last event, about once a second.
    pub(crate) fn held(&mut self, now: Instant, uplink: UplinkId, from: Side) -> u64 {
        self.bucket(uplink, from).map_or(0, |bucket| bucket.held(now))
    }

    /// `len` bytes were read.
    pub(crate) fn spend(&mut self, now: Instant, uplink: UplinkId, from: Side, len: u64) {
        if let Some(bucket) = self.bucket(uplink, from) {
            bucket.spend(now, len);
        }
    }

    /// Those that may try again.
    pub(crate) fn wake(&mut self, now: Instant) -> Vec<StreamId> {
        let mut woken = Vec::new();
        self.buckets.iter_mut().flatten().flatten().for_each(|bucket| bucket.wake(now, &mut woken));
        woken
    }

    /// When the next may try again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.buckets.iter().flatten().flatten().filter_map(Bucket::wakes_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec;

    const UPLINK: UplinkId = UplinkId(0);

    fn rates(received: u64) -> Rates {
        let mut rates = Rates::default();
        rates.set(Instant::ZERO, &[[None, Some(received)]]);
        rates
    }

    fn stream(n: u32) -> StreamId {
        StreamId::from_parts(n, 0)
    }

    /// Readers that always have more, for so long; what each got.
    fn read_greedily(rates: &mut Rates, readers: u32, piece: usize, span: Duration) -> Vec<u64> {
        let mut got: BTreeMap<StreamId, u64> = (0..readers).map(|n| (stream(n), 0)).collect();
        let mut ready: Vec<StreamId> = got.keys().copied().collect();
        let mut now = Instant::ZERO;
        while now < Instant::ZERO + span {
            for reader in ready {
                loop {
                    let len = rates.room(now, UPLINK, Side::Target, reader).min(piece);
                    if len == 0 {
                        break;
                    }
                    rates.spend(now, UPLINK, Side::Target, len as u64);
                    *got.get_mut(&reader).expect("known") += len as u64;
                }
            }
            now = rates.next_timeout().expect("somebody waits");
            ready = rates.wake(now);
        }
        got.into_values().collect()
    }

    #[test]
    fn a_second_carries_what_the_rate_says_and_a_burst() {
        for rate in [1_000, 16_000, 125_000, 1_250_000, 125_000_000] {
            let span = Duration::from_secs(10);
            let all: u64 = read_greedily(&mut rates(rate), 1, 64 * 1024, span).iter().sum();
            // Up to the last time that it may read.
            let (least, most) = (rate * 10 - rate / 500, rate * 10 + rate / 25 + 64 * 1024);
            assert!((least..=most).contains(&all), "at {rate}: {all}");
        }
    }

    #[test]
    fn readers_share_alike_whoever_comes_first() {
        for readers in [2, 3, 40, 500] {
            let got = read_greedily(&mut rates(1_250_000), readers, 16 * 1024, Duration::from_secs(60));
            let (least, most) = (got.iter().min().expect("some"), got.iter().max().expect("some"));
            // Each turn is a burst of 25,000 bytes, or the piece that makes it full.
            assert!(most - least <= 3 * 32 * 1024, "{readers} readers got {least} to {most}");
        }
    }

    #[test]
    fn a_long_pause_saves_no_more_than_a_burst() {
        let mut rates = rates(1_000_000);
        rates.spend(Instant::ZERO, UPLINK, Side::Target, 1);
        let later = Instant::ZERO + Duration::from_secs(3600);
        let mut at_once = 0;
        while rates.room(later, UPLINK, Side::Target, stream(0)) > 0 {
            rates.spend(later, UPLINK, Side::Target, 1_000);
            at_once += 1_000;
        }
        assert_eq!(at_once, 21_000, "20 ms, and the piece that went beyond");
        assert_eq!(rates.next_timeout(), Some(later + Duration::from_millis(1)));
    }

    /// Datagrams of 1,000 bytes at so many a second, beside readers: how many bytes of datagrams
    /// passed in 10 s, and what was read.
    fn beside_datagrams(rate: u64, a_second: u64, readers: u32) -> (u64, u64) {
        let mut rates = rates(rate);
        let (mut passed, mut read) = (0, 0);
        let mut ready: Vec<StreamId> = (0..readers).map(stream).collect();
        let (end, gap) = (Instant::ZERO + Duration::from_secs(10), Duration::from_secs(1) / a_second as u32);
        let (mut now, mut next) = (Instant::ZERO, Instant::ZERO);
        while now < end {
            for reader in ready {
                while let len @ 1.. = rates.room(now, UPLINK, Side::Target, reader).min(16 * 1024) {
                    rates.spend(now, UPLINK, Side::Target, len as u64);
                    read += len as u64;
                }
            }
            while next <= now {
                passed += u64::from(rates.admits(next, UPLINK, Side::Target, 1_000)) * 1_000;
                next += gap;
            }
            now = rates.next_timeout().map_or(next, |at| at.min(next));
            ready = rates.wake(now);
        }
        (passed, read)
    }

    #[test]
    fn datagrams_beyond_the_rate_are_dropped_and_those_within_pass() {
        let (passed, _) = beside_datagrams(1_000_000, 500, 0);
        assert_eq!(passed, 5_000_000, "half of the rate");
        let (passed, _) = beside_datagrams(1_000_000, 5_000, 0);
        // The rate, and what may be early.
        assert!((10_000_000..=10_110_000).contains(&passed), "{passed}");
    }

    #[test]
    fn neither_readers_nor_datagrams_starve_the_other() {
        let (passed, read) = beside_datagrams(1_000_000, 100, 3);
        assert_eq!(passed, 1_000_000, "few datagrams all pass");
        assert!((8_950_000..=9_100_000).contains(&read), "readers have the rest: {read}");
        let (passed, read) = beside_datagrams(1_000_000, 10_000, 3);
        assert!((4_900_000..=5_100_000).contains(&passed), "half for a flood of them: {passed}");
        assert!((4_850_000..=5_100_000).contains(&read), "{read}");
    }

    #[test]
    fn readers_that_wait_are_counted_and_told_of_once_a_second() {
        let mut rates = rates(1_000);
        rates.spend(Instant::ZERO, UPLINK, Side::Target, 10_000);
        for n in 0..3 {
            assert_eq!(rates.room(Instant::ZERO, UPLINK, Side::Target, stream(n % 2)), 0);
        }
        assert_eq!(rates.held(Instant::ZERO, UPLINK, Side::Target), 2, "each once");
        rates.room(Instant::ZERO, UPLINK, Side::Target, stream(7));
        assert_eq!(rates.held(Instant::ZERO, UPLINK, Side::Target), 0, "not yet");
        assert_eq!(rates.held(Instant::ZERO + TELL, UPLINK, Side::Target), 1);
        assert_eq!(rates.held(Instant::ZERO + TELL * 2, UPLINK, Side::Target), 0);
    }

    #[test]
    fn directions_and_uplinks_have_buckets_of_their_own() {
        let mut rates = Rates::default();
        assert_eq!(rates.set(Instant::ZERO, &[[Some(1_000), None], [None; 2]]), []);
        assert!(rates.limits(Some(UPLINK)) && !rates.limits(Some(UplinkId(1))) && !rates.limits(None));
        rates.spend(Instant::ZERO, UPLINK, Side::Client, 5_000);
        assert_eq!(rates.room(Instant::ZERO, UPLINK, Side::Client, stream(0)), 0);
        assert_eq!(rates.room(Instant::ZERO, UPLINK, Side::Target, stream(1)), usize::MAX);
        assert_eq!(rates.room(Instant::ZERO, UplinkId(1), Side::Client, stream(2)), usize::MAX);
        // A rate that is taken back wakes who waits for it.
        assert_eq!(rates.set(Instant::ZERO, &[]), vec![stream(0)]);
        assert_eq!(rates.room(Instant::ZERO, UPLINK, Side::Client, stream(0)), usize::MAX);
    }
}
