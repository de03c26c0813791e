//! What a bond changes on its host, and its way back: rules and routes, the name servers, the kill
//! switch, NAT and forwarding.
//!
//! ```text
//!  ClientPlan ─▶ client ─┐           ┌─▶ journal   how to undo it, on disk before each change
//!                        ├─▶ steps ──┤
//!  ServerPlan ─▶ server ─┘           └─▶ world     rtnetlink, nft, /proc/sys, resolv.conf
//!
//!  undo, restore, the next start:  journal ─▶ world, the last change first
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `plan` | what is asked for |
//! | `client`, `server` | the steps for it, as a function of the plan and of what is there |
//! | `rules` | the client's rules and routes |
//! | `filter` | the texts for `nft` |
//! | `step` | a change, and the record that undoes it |
//! | `journal` | the records, on disk |
//! | `world`, `dns`, `sysctl` | what is changed |
//! | `apply` | steps carried out, and records undone |
//! | `look` | what `doctor` can see without changing anything |
//! | `firewall` | what others' filters drop |
//!
//! Invariants
//! - A change is made after its record is on disk, and a record says how to undo the change whether
//!   or not it was made. So whatever is killed, and whenever, the records lead back.
//! - Rules and routes carry [`plan::TAG`], and tables of nftables have names of ours: what has not
//!   is never removed.
//! - Under the kill switch no order of changes, of a start, a takeover or a death, opens a way past
//!   it: the filter is the first change of a start and the last that is undone.

mod apply;
mod client;
mod dns;
mod filter;
pub(crate) mod firewall;
mod journal;
mod look;
mod plan;
mod rules;
mod server;
mod step;
mod sysctl;
mod world;

#[cfg(feature = "names")]
pub(crate) use look::resolvers;
pub(crate) use look::{Trace, filters, forwarding, mtus, name_servers, strict, tagged, traces};
pub(crate) use plan::{ClientPlan, Dns, MARK, Routes, ServerPlan};

use crate::host::links;
use crate::host::policy::{Kind, Route};
use apply::Applied;
use journal::{Role, StateDir};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use step::{Change, Record, Step};
use world::{Places, System, World};

/// A client's host, as it was changed. Dropped without [`undo`](Self::undo) it stays so, and so
/// does the journal, for the next start or [`restore`].
pub(crate) struct ClientHost<W = System> {
    applied: Applied<W>,
    plan: ClientPlan,
    /// The number of the TUN device.
    tun: u32,
    /// The families that it has an address of, once it has.
    inside: Option<(bool, bool)>,
}

/// A server's host, as it was changed; see [`ClientHost`].
pub(crate) struct ServerHost<W = System> {
    applied: Applied<W>,
    /// What makes its filter, where it has one.
    filter: Option<Step>,
}

/// Changes the host for a client, before it speaks to its server: the TUN device is there, the
/// sockets may not be. Takes over what a client has left that was killed, and never lifts its kill
/// switch. Gives also what a person should know, as sentences for the log.
///
/// It needs CAP_NET_ADMIN, as all of this; a resolv.conf needs root.
///
/// # Errors
/// A sentence. Nothing is changed then, but what a run before had left.
pub(crate) fn apply_client(plan: ClientPlan, state_dir: &Path) -> Result<(ClientHost, Vec<String>), String> {
    client_with(System::new(Places::usual())?, plan, state_dir)
}

/// Changes the host for a server whose TUN device is there. With [`ServerPlan::nat`] off it changes
/// nothing, but puts back what a server before has left.
///
/// # Errors
/// A sentence. Nothing is changed then, but what a run before had left.
pub(crate) fn apply_server(plan: &ServerPlan, state_dir: &Path) -> Result<(ServerHost, Vec<String>), String> {
    server_with(System::new(Places::usual())?, plan, state_dir)
}

/// Puts back what a bond has left that was killed, of either role. Gives what was done, as
/// sentences; none where there was nothing.
///
/// # Errors
/// A bond that runs; or what could not be put back.
pub(crate) fn restore(state_dir: &Path) -> Result<Vec<String>, String> {
    restore_with(|| System::new(Places::usual()), state_dir)
}

/// Where the server was of a client that was killed, the newest place first; one where it was again
/// keeps its place. Behind its kill switch no name can be looked up, so the next start goes on with
/// these, in turns.
pub(crate) fn remembered_servers(state_dir: &Path) -> Vec<SocketAddr> {
    let journal = || StateDir::open(state_dir, false).ok()??.existing(Role::Client).ok()?;
    let records = journal().map_or_else(Vec::new, |journal| journal.records().to_vec());
    let servers = records.into_iter().rev().filter_map(|record| match record {
        Record::Server(address) => Some(address),
        _ => None,
    });
    servers.collect()
}

fn client_with<W: World>(
    world: W,
    mut plan: ClientPlan,
    state_dir: &Path,
) -> Result<(ClientHost<W>, Vec<String>), String> {
    plan.check()?;
    let mut notes = Vec::new();
    let state = StateDir::open(state_dir, true)?.expect("made above");
    let mut applied = Applied::begin(world, &state, Role::Client, &mut notes)?;
    let held = applied.journal.records().iter().any(|record| matches!(record, Record::Filter(_)));
    if held && !plan.kill_switch {
        if plan.routes == Routes::None {
            return Err(
                "the kill switch of a run that was killed still holds: ropewalk bond restore lifts it".into(),
            );
        }
        plan.kill_switch = true;
        notes.push(
            "the kill switch of a run that was killed still holds; a clean end of this one, or ropewalk bond restore, \
             lifts it"
                .into(),
        );
    }
    if plan.routes != Routes::None && !applied.leftover && !applied.world.routes()?.is_empty() {
        return Err(
            "another bond's client routes in this network namespace, with another --state-dir: stop it, or \
                    run ropewalk bond restore with that directory"
                .into(),
        );
    }
    notes.extend(client::notes(&plan, &world::resolvers(&applied.world)));
    let mut client = ClientHost { applied, plan, tun: 0, inside: None };
    match client.start() {
        Ok(()) => Ok((client, notes)),
        Err(error) => Err(client.give_up(error)),
    }
}

#[allow(private_bounds, reason = "tests alone have another world")]
impl<W: World> ClientHost<W> {
    fn start(&mut self) -> Result<(), String> {
        self.tun = self.applied.world.device_up(&self.plan.tun)?;
        let steps = client::start(&self.plan, self.tun, &|name| self.applied.world.sysctl(name));
        self.applied.carry_out(&steps)?;
        self.applied.sweep(&rules::rules(&self.plan), &self.routes())
    }

    /// The TUN has these addresses: traffic goes into it, and names are asked for through it. To be
    /// called again when they change.
    ///
    /// # Errors
    /// A sentence. The kill switch holds.
    pub(crate) fn inside(&mut self, addresses: &[IpAddr]) -> Result<(), String> {
        let has = |v6: bool| addresses.iter().any(|ip| ip.is_ipv6() == v6);
        self.inside = Some((has(false), has(true)));
        self.renew()?;
        self.applied.sweep(&rules::rules(&self.plan), &self.routes())?;
        if let Dns::Servers(servers) = &self.plan.dns {
            let steps = self.applied.dns(&self.plan.tun, servers)?;
            self.applied.carry_out(&steps)?;
        }
        Ok(())
    }

    /// Adds again what somebody has removed: systemd-networkd takes rules and routes away that it
    /// has not made (networkd.conf(5), `ManageForeignRoutingPolicyRules`), a reloaded firewall
    /// filters. To be called when rules or routes have changed. Gives how much was missing.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn renew(&mut self) -> Result<usize, String> {
        if !self.applied.world.has_device(self.tun) {
            // It goes with the process, which ends.
            return Ok(0);
        }
        let (rules, routes) = (self.applied.world.rules()?, self.applied.world.routes()?);
        let rules = rules::rules(&self.plan).into_iter().filter(|rule| !rules.contains(rule));
        let routes = self.routes().into_iter().filter(|route| !routes.contains(route));
        // The filter first, and what catches packets last: see the invariants.
        let mut steps = Vec::new();
        if self.plan.kill_switch && !self.applied.world.has_filter(plan::CLIENT_FILTER) {
            steps.extend(client::kill_switch_step(&self.plan));
        }
        steps.extend(routes.map(|route| Step::change(Change::Route(route))));
        steps.extend(rules.map(|rule| Step::change(Change::Rule(rule))));
        match self.applied.carry_out(&steps) {
            Err(_) if !self.applied.world.has_device(self.tun) => Ok(0),
            other => other.map(|()| steps.len()),
        }
    }

    /// The routes that are to be there now.
    fn routes(&self) -> Vec<Route> {
        match self.inside {
            Some((v4, v6)) => client::inside(&self.plan, self.tun, v4, v6),
            None => client::held(&self.plan, self.tun),
        }
    }

    /// Whether nothing leaves but through the bond: asked for, or kept of a run that was killed.
    pub(crate) fn holds_kill_switch(&self) -> bool {
        self.plan.kill_switch && self.plan.routes != Routes::None
    }

    /// The server is at another address: the next start may have to go by it.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn server(&mut self, address: SocketAddr) -> Result<(), String> {
        self.plan.server = address;
        self.applied.carry_out(&[Step::record(Record::Server(address))])
    }

    /// The bond's sockets are bound to these interfaces now.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn uplinks(&mut self, names: &[String]) -> Result<(), String> {
        if self.plan.routes == Routes::None {
            return Ok(());
        }
        let steps = client::uplinks(names, &|name| self.applied.world.sysctl(name));
        self.applied.carry_out(&steps)
    }

    /// Puts all back, as it was before. Gives what a person should know, as sentences.
    ///
    /// # Errors
    /// What could not be put back: `ropewalk bond restore` tries again.
    pub(crate) fn undo(self) -> Result<Vec<String>, String> {
        self.applied.undo(true)
    }

    /// The start that this is of has failed by `error`: see [`Applied::give_up`].
    pub(crate) fn give_up(self, error: String) -> String {
        self.applied.give_up(error)
    }
}

fn server_with<W: World>(
    world: W,
    plan: &ServerPlan,
    state_dir: &Path,
) -> Result<(ServerHost<W>, Vec<String>), String> {
    plan::check_device(&plan.tun)?;
    let mut notes = Vec::new();
    let state = StateDir::open(state_dir, true)?.expect("made above");
    let mut applied = Applied::begin(world, &state, Role::Server, &mut notes)?;
    let links = links::snapshot().map_err(|error| error.to_string())?;
    if !plan.nat && applied.leftover {
        // What this plan wants is what was there before.
        notes.extend(applied.put_back(false)?);
    }
    // One table, one value of `ip_forward`: a second server would take both from the first.
    let fresh = plan.nat && !applied.leftover;
    let there = if fresh { applied.world.listed(plan::SERVER_FILTER) } else { None };
    if let Some(told) = there.as_deref().and_then(|there| rival(plan, &links, there)) {
        return Err(told);
    }
    let mut steps = server::start(plan, &links, &|name| applied.world.sysctl(name));
    let filter = steps.first().cloned();
    let creates = fresh && there.is_none();
    if creates && let Some(Change::Filter(text)) = steps.first_mut().and_then(|step| step.change.as_mut()) {
        *text = filter::create(plan::SERVER_FILTER, text);
    }
    let Err(error) = applied.carry_out(&steps) else { return Ok((ServerHost { applied, filter }, notes)) };
    // Another one was started in the same moment: what is there is its own, and not to be undone.
    let there = if creates { applied.world.listed(plan::SERVER_FILTER) } else { None };
    match there.and_then(|there| rival(plan, &links::snapshot().unwrap_or(links), &there)) {
        Some(told) => applied.journal.forget().and(Err(told)),
        None => Err(applied.give_up(error)),
    }
}

/// What to say if this filter is another server's, whose device is there.
fn rival(plan: &ServerPlan, links: &[links::Link], filter: &str) -> Option<String> {
    let of = |link: &&links::Link| filter.contains(&format!("iifname \"{}\"", link.name));
    let other = links.iter().filter(|link| link.name != plan.tun).find(of)?;
    Some(format!(
        "another bond's server filters and translates in this network namespace, by {} and with another --state-dir: \
         stop it, or start this one with --nat off",
        other.name
    ))
}

#[allow(private_bounds, reason = "tests alone have another world")]
impl<W: World> ServerHost<W> {
    /// Makes the filter again where a firewall that was reloaded has flushed it: without it clients
    /// reach nothing. Whether it was missing.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn renew(&mut self) -> Result<bool, String> {
        let Some(filter) = self.filter.clone() else { return Ok(false) };
        if self.applied.world.has_filter(plan::SERVER_FILTER) {
            return Ok(false);
        }
        self.applied.carry_out(&[filter]).map(|()| true)
    }

    /// Puts all back, as it was before. Gives what a person should know, as sentences.
    ///
    /// # Errors
    /// What could not be put back: `ropewalk bond restore` tries again.
    pub(crate) fn undo(self) -> Result<Vec<String>, String> {
        self.applied.undo(true)
    }

    /// The start that this is of has failed by `error`: see [`Applied::give_up`].
    pub(crate) fn give_up(self, error: String) -> String {
        self.applied.give_up(error)
    }
}

fn restore_with<W: World>(
    world: impl Fn() -> Result<W, String>,
    state_dir: &Path,
) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    let Some(state) = StateDir::open(state_dir, false)? else { return Ok(notes) };
    apply::clear_left(&mut world()?, &state, &mut notes)?;
    let mut remembered = false;
    for role in Role::ALL {
        if let Some(found) = Applied::found(world()?, &state, role)? {
            let what = apply::summary(found.journal.records());
            notes.extend(found.undo(false)?);
            notes.push(format!("what the {role} had changed is as it was: {what}"));
            remembered |= role == Role::Client;
        }
    }
    if !remembered {
        notes.extend(sweep_orphans(&mut world()?)?);
    }
    Ok(notes)
}

/// Takes away rules, routes and the filter of a client whose journal is lost. Where a route leads
/// into a device, a client may live. A filter alone is what `nft` has made that outlived its client
/// by a moment, and that was undone meanwhile.
fn sweep_orphans<W: World>(world: &mut W) -> Result<Option<String>, String> {
    let (rules, routes) = (world.rules()?, world.routes()?);
    if rules.is_empty() && routes.is_empty() && !world.has_filter(plan::CLIENT_FILTER) {
        return Ok(None);
    }
    if routes.iter().any(|route| matches!(route.kind, Kind::Device(_))) {
        return Ok(Some("rules and routes of a bond with another --state-dir stay as they are".into()));
    }
    rules.iter().try_for_each(|rule| world.remove_rule(rule))?;
    routes.iter().try_for_each(|route| world.remove_route(route))?;
    world.filter(&filter::remove(plan::CLIENT_FILTER))?;
    Ok(Some("rules, routes and filters that no journal knows of are gone".into()))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::bond) use tests::Ns;
