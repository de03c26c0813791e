//! Servers that are known by name: looked up before the start, and again when one cannot be
//! reached.
//!
//! ```text
//!   connect fails, or is silent for a second ──▶ look-up ──▶ another address ──▶ connect there
//!                                                   └──▶ the targets of all listeners move there
//! ```
//!
//! - A name is looked up for one connection at a time and at most once in a second: a server that
//!   is down makes no storm.
//! - An address that the name still has is kept, whatever the order of an answer, unless it has
//!   just failed.

use super::config::Config;
use crate::machine::Target;
use crate::name::Name;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// A connect that is silent for this long is a reason to look the name up, as a refusal is.
pub(super) const SILENT: Duration = Duration::from_secs(1);
/// How often a name is looked up at most.
const EVERY: Duration = Duration::from_secs(1);

/// Which targets were looked up by which name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    entries: Vec<Entry>,
    /// From where to where servers have moved, for flows that stand.
    moved: Vec<(SocketAddr, SocketAddr)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    name: Name,
    at: SocketAddr,
    asked: Option<Instant>,
}

impl Names {
    /// Remembers that the target `at` was looked up by `name`: when it cannot be reached, the name
    /// is looked up again, and an address of the same family takes its place.
    pub fn add(&mut self, name: Name, at: SocketAddr) {
        let entry = Entry { name, at, asked: None };
        if !self.entries.contains(&entry) {
            self.entries.push(entry);
        }
    }

    /// Names, and where they lead.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.entries.iter().map(|entry| (&entry.name, entry.at))
    }

    /// The name that leads to `to` now.
    pub(super) fn of(&self, to: SocketAddr) -> Option<&Name> {
        self.entries.iter().find(|entry| entry.at == to).map(|entry| &entry.name)
    }

    /// Where the server is now that was at `old` when a connection set out, if it has moved.
    pub(super) fn moved_to(&self, name: &Name, old: SocketAddr) -> Option<SocketAddr> {
        let same = |entry: &&Entry| {
            entry.name == *name && entry.at.port() == old.port() && entry.at.is_ipv4() == old.is_ipv4()
        };
        self.entries.iter().find(same).map(|entry| entry.at).filter(|at| *at != old)
    }

    /// Whether the name of `to` may be looked up now; then it counts as looked up.
    pub(super) fn may_ask(&mut self, to: SocketAddr, now: Instant) -> Option<Name> {
        let name = self.of(to)?.clone();
        let mut same = self.entries.iter_mut().filter(|entry| entry.name == name);
        if same.any(|entry| entry.asked.is_some_and(|asked| now < asked + EVERY)) {
            return None;
        }
        self.entries.iter_mut().filter(|entry| entry.name == name).for_each(|e| e.asked = Some(now));
        Some(name)
    }

    /// What has moved since it was last asked.
    pub(super) fn take_moved(&mut self) -> Vec<(SocketAddr, SocketAddr)> {
        core::mem::take(&mut self.moved)
    }
}

impl Config {
    /// The name of `failed`, which was not reached, has these addresses. Every target by this name
    /// and in this family moves. Gives where `failed` is now, if it has moved.
    pub(super) fn looked_up(
        &mut self,
        name: &Name,
        failed: SocketAddr,
        addresses: &[IpAddr],
    ) -> Option<SocketAddr> {
        let family = addresses.iter().map(IpAddr::to_canonical).filter(|ip| ip.is_ipv4() == failed.is_ipv4());
        let ip = family.into_iter().find(|ip| *ip != failed.ip())?;
        for number in 0..self.names.entries.len() {
            let entry = &mut self.names.entries[number];
            if entry.name != *name || entry.at.ip() != failed.ip() {
                continue;
            }
            let from = entry.at;
            entry.at.set_ip(ip);
            let to = entry.at;
            self.move_targets(from, to);
            self.names.moved.push((from, to));
        }
        Some(SocketAddr::new(ip, failed.port()))
    }

    fn move_targets(&mut self, from: SocketAddr, to: SocketAddr) {
        for listener in &mut self.listeners {
            for target in [&mut listener.target_v4, &mut listener.target_v6].into_iter().flatten() {
                if *target == Target::Address(from) {
                    *target = Target::Address(to);
                }
            }
        }
        for listener in &mut self.datagram_listeners {
            for target in [&mut listener.target_v4, &mut listener.target_v6].into_iter().flatten() {
                if *target == from {
                    *target = to;
                }
            }
        }
    }
}
