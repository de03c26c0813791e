//! Which of several uplinks that are equally well takes the next connection.
//!
//! ```text
//!             candidates (well, of the best tier, not tried, below their caps)
//!                                      │
//!   round robin │ fewest connections │ lowest latency │ learned weights │ sticky
//!                                      ▼
//!                                 one uplink
//! ```
//!
//! Invariants: the choice is always a candidate, and there is one while there are candidates. The
//! same questions and reports at the same times give the same choices: there is no chance in it.

use super::config::UplinkConfig;
use super::latency::Latency;
use super::learned::Learned;
use super::weighted::{self, Share};
use super::{connections, sticky};
use crate::machine::{HostKey, UplinkId, UplinkSet};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use core::fmt;

/// How the next uplink is chosen among those that are well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Policy {
    /// By weight, in turn: smooth weighted round robin.
    #[default]
    RoundRobin,
    /// The fewest open connections for its weight; attempts under way count.
    LeastConnections,
    /// The shortest time to connect, smoothed; one that was not measured lately is measured again.
    LeastLatency,
    /// By weights that are learned from what connections get through each uplink.
    Adaptive,
    /// One destination, one uplink: by its name, or by its address where it has no name.
    Sticky,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 5] = [
        Policy::RoundRobin,
        Policy::LeastConnections,
        Policy::LeastLatency,
        Policy::Adaptive,
        Policy::Sticky,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::RoundRobin => "round-robin",
            Policy::LeastConnections => "least-connections",
            Policy::LeastLatency => "least-latency",
            Policy::Adaptive => "adaptive",
            Policy::Sticky => "sticky",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A policy with what it remembers of each uplink.
#[derive(Debug)]
pub(super) struct Chooser {
    policy: Policy,
    /// By configured weight; other policies break their ties with it.
    shares: Vec<Share>,
    latencies: Vec<Latency>,
    learned: Learned,
    seats: Vec<sticky::Seat>,
}

impl Chooser {
    pub(super) fn new(policy: Policy) -> Self {
        Chooser {
            policy,
            shares: Vec::new(),
            latencies: Vec::new(),
            learned: Learned::new(&[]),
            seats: Vec::new(),
        }
    }

    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Uplink `index`, the next or one that is known, has this configuration. The round goes on
    /// where it was unless its weight has changed; then what was learned of weights begins anew.
    pub(super) fn set(&mut self, index: usize, config: &UplinkConfig) {
        let seat = sticky::Seat::new(&config.label, config.weight);
        match self.shares.get_mut(index) {
            Some(share) if share.weight == config.weight => return,
            Some(share) => {
                *share = Share::new(config.weight);
                self.seats[index] = seat;
            }
            None => {
                self.shares.push(Share::new(config.weight));
                self.latencies.push(Latency::default());
                self.seats.push(seat);
            }
        }
        let weights: Vec<u32> = self.shares.iter().map(|share| share.weight).collect();
        self.learned = Learned::new(&weights);
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Chooses among `candidates`. `load`: connections of each uplink, attempts under way among
    /// them.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        key: HostKey,
        load: impl Fn(usize) -> u64,
        candidates: UplinkSet,
    ) -> Option<usize> {
        let among = |set: UplinkSet| move |i: usize| set.contains(UplinkId(i as u16));
        let count = self.shares.len();
        let loads = (0..count).map(|i| (load(i), self.shares[i].weight));
        match self.policy {
            Policy::RoundRobin => weighted::choose(&mut self.shares, among(candidates)),
            Policy::LeastConnections => {
                let least = connections::least(loads, candidates);
                weighted::choose(&mut self.shares, among(least))
            }
            Policy::LeastLatency => {
                // Without a choice nothing is explored: a probe asks for its uplink alone.
                let explores = candidates.len() > 1;
                let stale =
                    explores.then(|| super::latency::stale(&mut self.latencies, now, candidates)).flatten();
                stale.or_else(|| {
                    let near = super::latency::nearest(&self.latencies, candidates);
                    weighted::choose(&mut self.shares, among(near))
                })
            }
            Policy::Adaptive => self.learned.choose(among(candidates)),
            Policy::Sticky => sticky::choose(&self.seats, key, candidates),
        }
    }

    /// A connection was opened by uplink `index`.
    pub(super) fn connected(&mut self, now: Instant, index: usize, took: Duration) {
        if let Some(latency) = self.latencies.get_mut(index) {
            latency.measured(now, took);
        }
    }

    /// A connection has moved so many bytes by uplink `index` within `over`.
    pub(super) fn moved(&mut self, now: Instant, index: usize, bytes: u64, over: Duration) {
        if self.policy == Policy::Adaptive {
            self.learned.moved(now, index, bytes, over);
        }
    }

    /// The smoothed time to connect by uplink `index`, if it was measured.
    pub(super) fn latency(&self, index: usize) -> Option<Duration> {
        self.latencies.get(index).and_then(Latency::smoothed)
    }

    /// The weight by which uplink `index` is chosen now, in thousandths of the whole.
    pub(super) fn share(&self, index: usize) -> u32 {
        let weight = |i: usize| match self.policy {
            Policy::Adaptive => u64::from(self.learned.weight(i)),
            _ => u64::from(self.shares[i].weight),
        };
        let total: u64 = (0..self.shares.len()).map(weight).sum();
        if index < self.shares.len() { (weight(index) * 1000 / total.max(1)) as u32 } else { 0 }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
