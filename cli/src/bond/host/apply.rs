//! Steps carried out, and records undone.

use super::dns::{self, ResolvConf};
use super::filter;
use super::journal::{Journal, Role, StateDir};
use super::plan::{CLIENT_FILTER, SERVER_FILTER, TABLE};
use super::step::{Change, Record, Step};
use super::sysctl::Sysctl;
use super::world::World;
use crate::host::policy::{Added, Route, Rule};
use std::net::IpAddr;

/// A host that is being changed, and the journal of it.
pub(super) struct Applied<W> {
    pub(super) world: W,
    pub(super) journal: Journal,
    role: Role,
    /// The journal had records: a run was killed.
    pub(super) leftover: bool,
}

impl<W: World> Applied<W> {
    /// Takes the journal of this role; what another boot has left is undone.
    pub(super) fn begin(
        mut world: W,
        state: &StateDir,
        role: Role,
        notes: &mut Vec<String>,
    ) -> Result<Self, String> {
        clear_left(&mut world, state, notes)?;
        let journal = state.journal(role)?;
        let leftover = !journal.records().is_empty();
        Ok(Applied { world, journal, role, leftover })
    }

    /// The journal of a run that was killed, if there is one.
    pub(super) fn found(world: W, state: &StateDir, role: Role) -> Result<Option<Self>, String> {
        let journal = state.existing(role)?;
        Ok(journal.map(|journal| Applied { world, journal, role, leftover: true }))
    }

    /// Each record, then its change. What is there already is not changed.
    pub(super) fn carry_out(&mut self, steps: &[Step]) -> Result<(), String> {
        steps.iter().try_for_each(|step| {
            if let Some(record) = &step.record {
                self.journal.append(record)?;
            }
            step.change.as_ref().map_or(Ok(()), |change| self.change(change))
        })
    }

    fn change(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Filter(text) => self.world.filter(text),
            Change::Rule(rule) => self.world.add_rule(rule).map(|_| ()),
            Change::Route(route) => self.add_route(route),
            Change::Sysctl { name, new } => self.world.set_sysctl(name, new),
            Change::ResolvConf(text) => {
                let to = self.as_before(text.clone())?;
                self.world.set_resolv_conf(&to)
            }
            Change::LinkDns { device, servers } => self.world.set_link_dns(device, servers),
        }
    }

    /// The kernel knows a route by its destination and metric: one that leads elsewhere makes room.
    fn add_route(&mut self, route: &Route) -> Result<(), String> {
        if self.world.add_route(route)? == Added::New {
            return Ok(());
        }
        let same = |other: &&Route| {
            (other.v6, other.table, other.to, other.metric) == (route.v6, route.table, route.to, route.metric)
        };
        match self.world.routes()?.iter().find(same) {
            Some(other) if other == route => Ok(()),
            Some(other) => {
                let other = other.clone();
                self.world.remove_route(&other)?;
                self.world.add_route(route).map(|_| ())
            }
            None => Err(format!(
                "table {TABLE} has a route that is not ours: ip route show table {TABLE}; remove it, \
                 {route} is to stand there"
            )),
        }
    }

    /// Takes away what is ours and stands in neither list.
    pub(super) fn sweep(&mut self, rules: &[Rule], routes: &[Route]) -> Result<(), String> {
        for rule in self.world.rules()?.iter().filter(|rule| !rules.contains(rule)) {
            self.world.remove_rule(rule)?;
        }
        for route in self.world.routes()?.iter().filter(|route| !routes.contains(route)) {
            self.world.remove_route(route)?;
        }
        Ok(())
    }

    /// A file with this text, and the owner and mode of the one before.
    fn as_before(&self, content: Vec<u8>) -> Result<ResolvConf, String> {
        let own = (0o644, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (mode, owner, group) = match self.old_resolv_conf()? {
            ResolvConf::File { mode, owner, group, .. } => (mode, owner, group),
            ResolvConf::Missing | ResolvConf::Link(_) => own,
        };
        Ok(ResolvConf::File { mode, owner, group, content })
    }

    /// What was there before us, or before the run that was killed.
    fn old_resolv_conf(&self) -> Result<ResolvConf, String> {
        let now = self.world.resolv_conf()?;
        let records = self.journal.records().iter();
        let mut before = records.filter_map(|record| match record {
            Record::ResolvConf { old, ours } if now.is_written(ours) => Some(old.clone()),
            _ => None,
        });
        Ok(before.next_back().unwrap_or(now))
    }

    /// The steps that lead names to these servers, by the device `tun`.
    pub(super) fn dns(&self, tun: &str, servers: &[IpAddr]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        let resolved = self.world.has_resolved();
        if resolved {
            let change = Change::LinkDns { device: tun.into(), servers: servers.to_vec() };
            steps.push(Step::both(Record::LinkDns(tun.into()), change));
        }
        if !resolved || !dns::leads_to_resolved(&self.world.resolvers()) {
            let (old, ours) = (self.old_resolv_conf()?, dns::text(servers));
            steps.push(Step::both(Record::ResolvConf { old, ours: ours.clone() }, Change::ResolvConf(ours)));
        }
        Ok(steps)
    }

    /// Puts everything back, and forgets it: see [`put_back`](Self::put_back).
    pub(super) fn undo(mut self, alive: bool) -> Result<Vec<String>, String> {
        let notes = self.put_back(alive)?;
        self.journal.forget()?;
        Ok(notes)
    }

    /// A start has failed by `error`: puts back what it has changed. What the run before has left
    /// holds on, its kill switch too. Gives what to say of it.
    pub(super) fn give_up(self, error: String) -> String {
        match self.leftover {
            true => error,
            false => match self.undo(true) {
                Ok(_) => error,
                Err(left) => format!("{error}; and not all is put back: {left}"),
            },
        }
    }

    /// Puts everything back, the last change first and filters last of all. `alive`: by the run
    /// that made the changes. Gives what a person should know.
    ///
    /// # Errors
    /// What could not be put back. The journal stays.
    pub(super) fn put_back(&mut self, alive: bool) -> Result<Vec<String>, String> {
        let mut notes = Vec::new();
        let records = self.journal.records().to_vec();
        let mut left = Vec::new();
        if let Err(error) = put_back_names(&mut self.world, &records, &mut notes) {
            left.push(error);
        }
        if alive || self.is_marked()? {
            left.extend(self.put_back_sysctls(&records, &mut notes));
        } else if records.iter().any(|record| matches!(record, Record::Sysctl { .. })) {
            notes.push(
                "sysctls stay as they are: nothing of the bond is left in this network namespace, so \
                 they may be another's"
                    .into(),
            );
        }
        if !left.is_empty() {
            return Err(left.join("; "));
        }
        if records.contains(&Record::Routes) {
            self.sweep(&[], &[])?;
        }
        for record in &records {
            if let Record::Filter(table) = record {
                self.world.filter(&filter::remove(table))?;
            }
        }
        Ok(notes)
    }

    /// Whether something is here that only we make. The kernel gives the number of a network
    /// namespace, which is the journal's name, to another one after its end.
    fn is_marked(&mut self) -> Result<bool, String> {
        Ok(match self.role {
            Role::Client => {
                !self.world.rules()?.is_empty()
                    || !self.world.routes()?.is_empty()
                    || self.world.has_filter(CLIENT_FILTER)
            }
            Role::Server => self.world.has_filter(SERVER_FILTER),
        })
    }

    fn put_back_sysctls(&mut self, records: &[Record], notes: &mut Vec<String>) -> Vec<String> {
        let (mut left, mut back) = (Vec::new(), false);
        for record in records.iter().rev() {
            let outcome = match record {
                Record::Sysctl { name, old, new } => {
                    let now = self.world.sysctl(name);
                    back = now.as_ref().is_some_and(|now| now == new || now == old);
                    match now {
                        Some(now) if now == *new && now != *old => self.world.set_sysctl(name, old),
                        Some(now) if !back => {
                            notes.push(format!("{name} stays {now}: somebody has changed it since"));
                            Ok(())
                        }
                        // Its device is gone.
                        Some(_) | None => Ok(()),
                    }
                }
                Record::Along { name, old } if back => self.reset(name, old),
                _ => Ok(()),
            };
            left.extend(outcome.err());
        }
        left
    }

    fn reset(&mut self, name: &Sysctl, old: &str) -> Result<(), String> {
        match self.world.sysctl(name) {
            Some(now) if now != old => self.world.set_sysctl(name, old),
            Some(_) | None => Ok(()),
        }
    }
}

/// What other boots and namespaces have left: the kernel has forgotten it, or has it where nobody
/// here can see it. A file of this host stays.
pub(super) fn clear_left(
    world: &mut impl World,
    state: &StateDir,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    for journal in state.left()? {
        put_back_names(world, journal.records(), notes)?;
        if journal.of_other_boot {
            journal.forget()?;
        }
    }
    Ok(())
}

/// Names are asked for as before.
fn put_back_names(world: &mut impl World, records: &[Record], notes: &mut Vec<String>) -> Result<(), String> {
    for record in records {
        if let Record::LinkDns(device) = record {
            world.revert_link_dns(device);
        }
    }
    let written = records.iter().filter_map(|record| match record {
        Record::ResolvConf { old, ours } => Some((old, ours)),
        _ => None,
    });
    let written: Vec<_> = written.collect();
    if written.is_empty() {
        return Ok(());
    }
    let now = world.resolv_conf()?;
    if let Some((old, _)) = written.iter().rev().find(|(_, ours)| now.is_written(ours)) {
        return world.set_resolv_conf(old);
    }
    if !written.iter().any(|(old, _)| **old == now) {
        notes.push("resolv.conf stays as it is: somebody has changed it since".into());
    }
    Ok(())
}

/// What these records undo, in a few words.
pub(super) fn summary(records: &[Record]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for record in records {
        let word = match record {
            Record::Server(_) | Record::Along { .. } => continue,
            Record::Filter(table) if table == CLIENT_FILTER => "the kill switch",
            Record::Filter(_) => "NAT",
            Record::Routes => "rules and routes",
            Record::Sysctl { .. } => "sysctls",
            Record::ResolvConf { .. } | Record::LinkDns(_) => "name servers",
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}
