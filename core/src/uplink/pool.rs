//! The pool: answers [`Assign`]; `report` learns from each [`Report`](crate::machine::Report).
//!
//! Where may a connection leave?
//! 1. Loopback, the unspecified address, and networks on-link on an interface that is no uplink:
//!    unbound.
//! 2. A network on-link on exactly one uplink: through that one.
//! 3. All else: by the policy, among the uplinks that are well and have a carrier and the address
//!    family, are below their cap and were not tried; of these, those of the best tier.
//! 4. When none of those is left: one that rests, soonest back first, and last one without a
//!    carrier. Better a try than a refusal.
//!
//! An uplink that carries IPv6 alone carries IPv4 destinations too where its network translates.

mod report;

use super::config::{Networks, PoolConfig, PoolError, UplinkConfig, check};
use super::health::{Health, HealthConfig};
use super::mute::Mute;
use super::outage::Outage;
use super::policy::{Chooser, Policy};
use super::prefix::Prefix;
use super::prefix64::Prefix64;
use crate::machine::event::Event;
use crate::machine::{Assign, Assignment, UplinkId, UplinkSet, Via};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// What an uplink has carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Connections opened through it.
    pub connected: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that another uplink outpaced.
    pub outpaced: u64,
    /// Probes that succeeded.
    pub probes_passed: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes from clients to targets.
    pub sent: u64,
    /// Bytes from targets to clients.
    pub received: u64,
    /// Attempts under way now.
    pub attempts: u64,
    /// Bytes both ways since its account began (see [`UplinkConfig::cap`]).
    pub used: u64,
    /// How many it may carry.
    pub cap: Option<u64>,
}

impl Account {
    /// It has carried what it may.
    pub fn is_spent(&self) -> bool {
        self.cap.is_some_and(|cap| self.used >= cap)
    }
}

struct Uplink {
    config: UplinkConfig,
    health: Health,
    account: Account,
    /// Since it was first left, until it carries.
    outage: Option<Outage>,
    /// Taken out of the configuration: what is open through it lives on, nothing new takes it.
    retired: bool,
    mute: Mute,
    /// How its network translates IPv4 destinations, where it carries IPv6 alone.
    prefix64: Option<Prefix64>,
}

impl Uplink {
    fn is_well(&self, now: Instant) -> bool {
        self.config.networks.up && self.health.usable(now)
    }
}

/// An uplink as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UplinkView<'a> {
    /// What it is called.
    pub label: &'a str,
    /// Its share.
    pub weight: u32,
    /// What it has carried.
    pub account: &'a Account,
    /// The weight by which it is chosen now, in thousandths of the whole: learned, where the policy
    /// learns.
    pub share: u32,
    /// The smoothed time that connections through it take to open, if it was measured.
    pub connect: Option<Duration>,
    /// It is thought well.
    pub usable: bool,
    /// It was taken out of the configuration.
    pub retired: bool,
    /// It has no IPv4, and carries IPv4 destinations under this prefix.
    pub prefix64: Option<Prefix64>,
}

/// The uplinks of a process.
pub struct Pool {
    uplinks: Vec<Uplink>,
    chooser: Chooser,
    unbound: Vec<Prefix>,
    health: HealthConfig,
    events: VecDeque<Event>,
}

impl Pool {
    /// A pool, all of it thought well.
    ///
    /// # Errors
    /// [`PoolError`] says which uplink is wrong.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let PoolConfig { uplinks, unbound, health, policy } = config;
        if uplinks.len() > UplinkSet::CAPACITY {
            return Err(PoolError::TooMany(uplinks.len()));
        }
        check(&uplinks)?;
        let chooser = Chooser::new(policy);
        let mut pool = Pool { uplinks: Vec::new(), chooser, unbound, health, events: VecDeque::new() };
        uplinks.into_iter().for_each(|uplink| pool.add(uplink));
        Ok(pool)
    }

    fn add(&mut self, config: UplinkConfig) {
        self.chooser.set(self.uplinks.len(), &config);
        let health = Health::new(&self.health);
        let account = Account { cap: config.cap, ..Account::default() };
        let (outage, mute, retired) = (None, Mute::default(), false);
        let prefix64 = None;
        self.uplinks.push(Uplink { config, health, account, outage, retired, mute, prefix64 });
    }

    /// Another configuration from now on. An uplink that stays, by its label, keeps its id, its
    /// health and its account; a new one gets an id that no other has had; one that is gone gets
    /// nothing new, and what is open through it lives on. Gives the ids in the order of `config`.
    ///
    /// # Errors
    /// [`PoolError`] says which uplink is wrong: then all is as it was.
    pub fn reconfigure(&mut self, config: PoolConfig) -> Result<Vec<UplinkId>, PoolError> {
        let ids = self.check_change(&config)?;
        let PoolConfig { uplinks, unbound, health, policy } = config;
        self.chooser.set_policy(policy);
        self.uplinks.iter_mut().for_each(|uplink| uplink.retired = true);
        for (id, config) in ids.iter().zip(uplinks) {
            let index = usize::from(id.0);
            let Some(uplink) = self.uplinks.get_mut(index) else {
                self.add(config);
                continue;
            };
            uplink.retired = false;
            uplink.account.cap = config.cap;
            self.chooser.set(index, &config);
            uplink.config = config;
        }
        (self.unbound, self.health) = (unbound, health);
        Ok(ids)
    }

    /// The ids that the uplinks of `config` would have.
    ///
    /// # Errors
    /// [`PoolError`] says why [`Pool::reconfigure`] would not take it.
    pub fn check_change(&self, config: &PoolConfig) -> Result<Vec<UplinkId>, PoolError> {
        check(&config.uplinks)?;
        let mut ids: Vec<UplinkId> = Vec::new();
        let mut next = self.uplinks.len();
        for wanted in &config.uplinks {
            // The same label may be given twice.
            let is_it = |index: &usize| {
                self.uplinks[*index].config.label == wanted.label && !ids.contains(&UplinkId(*index as u16))
            };
            let index = (0..self.uplinks.len()).find(is_it).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            if index >= UplinkSet::CAPACITY {
                return Err(PoolError::TooMany(next));
            }
            ids.push(UplinkId(index as u16));
        }
        Ok(ids)
    }

    /// The way out for a connection; `None` when all were tried or none carries the family.
    pub fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        let patience = self.health.patience;
        let unbound =
            Assignment { uplink: None, via: Via::default(), endpoint: None, prefix64: None, patience };
        if self.uplinks.iter().all(|uplink| uplink.retired) {
            return Some(unbound);
        }
        let destination: Option<IpAddr> = assign.destination.map(|to| to.ip().to_canonical());
        let mut only = None;
        if let Some(ip) = destination {
            // To Linux the unspecified address is this host. DNS filters answer with it.
            if ip.is_loopback()
                || ip.is_unspecified()
                || self.unbound.iter().any(|prefix| prefix.contains(ip))
            {
                return Some(unbound);
            }
            let on_link = |Uplink { config, retired, .. }: &Uplink| {
                let usable = !retired && !config.upstream;
                usable && config.networks.on_link.iter().any(|prefix| prefix.contains(ip))
            };
            let mut owners = (0..self.uplinks.len()).filter(|i| on_link(&self.uplinks[*i]));
            if let (Some(owner), None) = (owners.next(), owners.next()) {
                only = Some(owner);
            }
        }
        let uplinks = &self.uplinks;
        let open = |i: usize| {
            !assign.tried.contains(UplinkId(i as u16))
                && !uplinks[i].retired
                && only.is_none_or(|only| only == i)
                && uplinks[i].config.reaches(destination, uplinks[i].prefix64)
                // What is on-link costs nobody's data plan.
                && (only.is_some() || !uplinks[i].account.is_spent())
        };
        let well = |i: usize| open(i) && uplinks[i].is_well(now);
        let best = (0..uplinks.len()).filter(|i| well(*i)).map(|i| uplinks[i].config.tier).min();
        let mut candidates = UplinkSet::EMPTY;
        (0..uplinks.len())
            .filter(|i| Some(uplinks[*i].config.tier) == best && well(*i))
            .for_each(|i| candidates.insert(UplinkId(i as u16)));
        let load = |i: usize| uplinks[i].account.open + uplinks[i].account.attempts;
        let chosen = self.chooser.choose(now, assign.host, load, candidates).or_else(|| {
            let soonest = |i: &usize| {
                let Uplink { config, health, .. } = &uplinks[*i];
                (!config.networks.up, health.failing, health.resting_until)
            };
            (0..uplinks.len()).filter(|i| open(*i)).min_by_key(soonest)
        })?;
        self.uplinks[chosen].health.chosen(now);
        let uplink = &self.uplinks[chosen];
        let endpoint = uplink.config.endpoint;
        let prefix64 = destination.and_then(|ip| uplink.config.translates(ip, uplink.prefix64));
        let leaves = endpoint.map(|endpoint| endpoint.ip()).or(destination);
        let via = uplink.config.via(prefix64.is_some() || leaves.is_some_and(|ip| ip.is_ipv6()));
        Some(Assignment {
            uplink: Some(UplinkId(chosen as u16)),
            via,
            endpoint,
            prefix64,
            patience: uplink.health.patience,
        })
    }

    /// What an uplink has carried in this period, of which its cap speaks: known from before, or 0
    /// when a new period begins.
    pub fn set_used(&mut self, uplink: UplinkId, used: u64) {
        let Some(entry) = self.uplinks.get_mut(usize::from(uplink.0)) else { return };
        let spent = entry.account.is_spent();
        entry.account.used = used;
        match (spent, entry.account.is_spent(), entry.account.cap) {
            (true, false, _) => self.events.push_back(Event::CapReset { uplink }),
            (false, true, Some(cap)) => self.events.push_back(Event::CapReached { uplink, cap }),
            _ => {}
        }
    }

    /// How the next uplink is chosen.
    pub fn policy(&self) -> Policy {
        self.chooser.policy()
    }

    /// The host has changed: addresses or interfaces have come or gone. `uplinks` in the order of
    /// the configuration; those without an entry stay as they were.
    pub fn set_networks(&mut self, uplinks: Vec<Networks>, unbound: Vec<Prefix>) {
        for (uplink, networks) in self.uplinks.iter_mut().zip(uplinks) {
            uplink.config.networks = networks;
        }
        self.unbound = unbound;
    }

    /// Where an uplink's proxy is, or the endpoint that stands for a destination.
    pub fn endpoint(&self, uplink: UplinkId) -> Option<SocketAddr> {
        self.uplinks.get(usize::from(uplink.0)).and_then(|entry| entry.config.endpoint)
    }

    /// The address of an upstream proxy has changed; `None`: it is not known.
    pub fn set_endpoint(&mut self, uplink: UplinkId, endpoint: Option<SocketAddr>) {
        if let Some(entry) = self.uplinks.get_mut(usize::from(uplink.0)).filter(|u| u.config.upstream) {
            entry.config.endpoint = endpoint;
        }
    }

    /// News for the watcher, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The uplinks' labels and accounts, in the order of the configuration, and whether each is
    /// thought well.
    pub fn accounts(&self, now: Instant) -> impl Iterator<Item = (&str, &Account, bool)> {
        self.uplinks.iter().map(move |u| (u.config.label.as_str(), &u.account, u.health.usable(now)))
    }

    /// The uplinks as they are now, those that were taken out too, in the order of their ids.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = UplinkView<'_>> {
        self.uplinks.iter().enumerate().map(move |(index, uplink)| UplinkView {
            label: &uplink.config.label,
            weight: uplink.config.weight,
            share: self.chooser.share(index),
            connect: self.chooser.latency(index),
            account: &uplink.account,
            usable: uplink.is_well(now),
            retired: uplink.retired,
            prefix64: uplink.prefix64.filter(|_| uplink.config.is_v6_only()),
        })
    }

    /// What people call an uplink.
    pub fn label(&self, uplink: UplinkId) -> Option<&str> {
        self.uplinks.get(usize::from(uplink.0)).map(|u| u.config.label.as_str())
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
