//! Least latency: the time to connect, smoothed, for each uplink.
//!
//! What nobody uses is not measured, and what looked slow once would look slow for ever. So an
//! uplink that was not looked at for a while gets one connection, whatever is thought of it.
//! Uplinks that are about as near as the nearest share by weight: a millisecond's difference is no
//! reason to leave a link idle.

use crate::machine::{UplinkId, UplinkSet};
use crate::time::{Duration, Instant};

/// An uplink that was not measured for so long gets a connection: one in ten seconds costs little.
pub(super) const EXPLORE: Duration = Duration::from_secs(10);
/// As near as the nearest: within an eighth of its time,
const NEAR: u32 = 8;
/// and two milliseconds, which are a scheduler's noise.
const NOISE: Duration = Duration::from_millis(2);

/// What is known of one uplink.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    smoothed: Option<Duration>,
    measured_at: Option<Instant>,
    /// When it was last given a connection in order to be measured.
    explored_at: Option<Instant>,
}

impl Latency {
    /// A connection took so long to open.
    pub(super) fn measured(&mut self, now: Instant, took: Duration) {
        // RFC 6298 section 2: an eighth of what is new. After a pause the old says little: a half.
        let fresh = self.measured_at.is_some_and(|at| (now - at) < EXPLORE);
        let part = if fresh { 8 } else { 2 };
        self.smoothed = Some(match self.smoothed {
            None => took,
            Some(old) => old - old / part + took / part,
        });
        self.measured_at = Some(now);
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    fn looked_at(&self) -> Option<Instant> {
        self.measured_at.max(self.explored_at)
    }
}

/// The candidate that was not looked at for longest, if that is too long. It is looked at now.
pub(super) fn stale(all: &mut [Latency], now: Instant, candidates: UplinkSet) -> Option<usize> {
    let is_stale = |at: Option<Instant>| at.is_none_or(|at| (now - at) >= EXPLORE);
    let stale = (0..all.len())
        .filter(|i| candidates.contains(UplinkId(*i as u16)) && is_stale(all[*i].looked_at()))
        .min_by_key(|i| all[*i].looked_at())?;
    all[stale].explored_at = Some(now);
    Some(stale)
}

/// The candidates that are about as near as the nearest; all of them while none is measured.
pub(super) fn nearest(all: &[Latency], candidates: UplinkSet) -> UplinkSet {
    let known = |i: &usize| candidates.contains(UplinkId(*i as u16));
    let Some(best) = (0..all.len()).filter(known).filter_map(|i| all[i].smoothed).min() else {
        return candidates;
    };
    let most = best + best / NEAR + NOISE;
    let mut near = UplinkSet::EMPTY;
    (0..all.len())
        .filter(known)
        .filter(|i| all[*i].smoothed.is_some_and(|took| took <= most))
        .for_each(|i| near.insert(UplinkId(i as u16)));
    near
}
