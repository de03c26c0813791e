//! `ropewalk bond connect`: from switches to a running client.

use super::args::Connect;
use super::changes::Changes;
use super::clerk;
use super::control::Role;
use super::control::server::Bound;
use super::host::{ClientPlan, Dns, Routes, apply_client};
use super::join::{self, Join, host_and_port};
use super::links::{Links, LinksChange};
use super::patience::Patience;
use super::report;
use super::service::{self, Service, thread};
use super::values::{self, Route};
use super::watch::{BondWatch, Names, Note};
use super::{device, locate, privileges, state};
use crate::host::{self, monitor};
use crate::process::logging;
use crate::process::stats::{Endpoint, Samples};
use crate::process::watch::get;
use ropewalk_core::bond::crypto::{PresharedKey, PublicKey};
use ropewalk_core::bond::{Client, ClientConfig, PathState, PathStatus, Status, Strategy, Tuning};
use ropewalk_core::machine::{Input, Machine, UplinkId, Via};
use ropewalk_core::time::Instant;
use ropewalk_mio::{Handle, Listeners, Tun};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The client's key.
pub(super) const KEY: &str = "connect.key";
/// The server that let it in last: `HOST:PORT KEY`.
const SERVER: &str = "server";
/// linux/rtnetlink.h: RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE (an interface with a new default route
/// is a link), RTMGRP_IPV4_RULE and RTNLGRP_IPV6_RULE (somebody may take ours away).
const ROUTES: u32 = 0x40 | 0x400 | 0x80 | 0x4_0000;

/// Whom to speak to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    /// HOST:PORT.
    pub(super) server: String,
    pub(super) key: PublicKey,
    /// What lets this client in for the first time.
    token: Vec<u8>,
}

/// Runs until it is stopped.
pub(super) fn run(args: &Connect) -> Result<(), String> {
    let common = &args.common;
    privileges::keep(privileges::of_client())?;
    logging::start(common.verbose, common.quiet)?;
    // What the switches ask for that cannot be is told before the host is looked at or changed.
    let (routes, dns) = (routes(&args.route)?, resolvers(&args.dns)?);
    state::open(&common.state_dir)?;
    let target = target(args)?;
    // Held to the end: what was changed is put back under this lock.
    let mut control = Bound::new(&common.state_dir, Role::Connect)?;
    let key = service::own_key(&common.state_dir.join(KEY))?;
    let limit = (!target.token.is_empty()).then_some(args.join_timeout);
    let Outside { addresses, address, links, first } = Outside::look(args, &target.server, limit)?;
    let stats = common.stats.map(Endpoint::bind).transpose()?;
    let tun = device::create(&common.tun)?;
    let plan = ClientPlan {
        tun: common.tun.clone(),
        routes,
        dns,
        kill_switch: args.kill_switch,
        mark: common.mark.0,
        uplinks: devices(&first),
        server: address,
    };
    introduce(&links, &first, &target.server, address);
    let config = ClientConfig {
        common: service::common(common, &tun, key, tuning(args)),
        server: address,
        server_key: target.key,
        psk: PresharedKey::NONE,
        token: target.token.clone(),
        uplinks: first.uplinks,
    };
    let machine = Client::new(config, state::entropy()?).map_err(|error| error.to_string())?;

    let links = Shared { links: Arc::new(Mutex::new(links)), server: target.server.clone() };
    let (notes, read) = channel();
    let watch = Arc::new(BondWatch::new(links.clone(), notes.clone()));
    let tun = noted(tun, common.tun.clone(), notes.clone());
    let listeners = Listeners { tuns: vec![tun], ..Listeners::default() };
    let service = Service::new(machine, listeners, Box::new(Arc::clone(&watch)))?;
    let desk = Desk {
        links,
        handle: service.handle.clone(),
        tun: common.tun.clone(),
        mode: Arc::new(Mutex::new(args.mode)),
        notes,
        server: target.server.clone(),
    };
    let asked = desk.clone();
    let alive = move || asked.status().is_some();
    let tended = device::Tended::new(&common.tun, service.handle.clone(), alive)?;
    let changes = Changes::new(apply_client(plan, &common.state_dir)?);
    let patience = Patience::new(target.server.clone(), limit);
    let start = || -> Result<(), String> {
        let server = (common.state_dir.join(SERVER), format!("{} {}\n", target.server, target.key));
        clerk::keep_notes(read, server, changes.clone(), tended.clone())?;
        let watch = Arc::clone(&watch);
        patience.start(service.handle.clone(), move || get(&watch.counts.established) > 0)?;
        let follower = desk.clone();
        thread("name", move || locate::follow(follower.server.clone(), addresses, address, follower))
    };
    start().map_err(|error| changes.give_up(error))?;
    desk.follow_host(changes.holds_kill_switch());
    let figures = desk.clone();
    let stats = stats.map(|endpoint| {
        (endpoint, move |out: &mut Samples| {
            report::counts(out, &watch.counts);
            figures.figures(out);
        })
    });
    let result = service.run(&mut control, move |request| desk.answer(request), stats);
    result.and(changes.undo()).and_then(|()| tended.end())?;
    patience.verdict()
}

/// What the start finds on this host and of its server.
struct Outside {
    /// All addresses of the server, and the one to begin with.
    addresses: Vec<SocketAddr>,
    address: SocketAddr,
    links: Links,
    /// The links that can be used at the start.
    first: LinksChange,
}

impl Outside {
    /// Looks the server up, for `limit` at most, then at the interfaces that could lead there.
    fn look(args: &Connect, server: &str, limit: Option<Duration>) -> Result<Self, String> {
        let common = &args.common;
        let addresses = locate::look_up(server, limit, &common.state_dir)?;
        let found = host::links::snapshot().unwrap_or_else(|error| {
            log::warn!("cannot read this host's interfaces: {error}");
            Vec::new()
        });
        let mut links = Links::new(&args.via, common.mark.0, &common.tun);
        let address = locate::choose(&addresses, |address| links.reach(address.ip(), &found));
        let address = address.ok_or_else(|| format!("{server} has no address"))?;
        links.serve_at(address.ip());
        links.check(&found)?;
        let first = links.look(&found);
        Ok(Outside { addresses, address, links, first })
    }
}

fn tuning(args: &Connect) -> Tuning {
    Tuning { strategy: args.mode, max_skew: args.max_skew, ..Tuning::default() }
}

/// The device `name`, whose configurations the clerk hears of: routes and name servers take their
/// time, so the worker does not see to them.
fn noted(tun: Tun, name: String, notes: Sender<Note>) -> Tun {
    let mut before = Vec::new();
    tun.configured_by(Box::new(move |to| {
        device::configured(&name, to, &mut before)?;
        let _ = notes.send(Note::Inside(to.clone()));
        Ok(())
    }))
}

/// Whom to speak to: as it was written, or as it was kept.
fn target(args: &Connect) -> Result<Target, String> {
    match (&args.server, args.server_key) {
        (Some(text), None) if text.starts_with(join::PREFIX) => {
            let Join { server, key, token } = text.parse()?;
            Ok(Target { server, key, token: token.0.to_vec() })
        }
        (Some(text), Some(_)) if text.starts_with(join::PREFIX) => {
            Err("a join string has the server's key in it: expected no --server-key beside it".into())
        }
        (Some(text), Some(key)) => Ok(Target { server: host_and_port(text)?, key, token: Vec::new() }),
        (Some(text), None) => {
            let server = host_and_port(text)?;
            let kept = kept(&args.common.state_dir)?;
            // The server that is known has another address.
            let key = kept.map(|kept| kept.key).ok_or_else(|| {
                format!(
                    "{server}: its key is not known: expected a join string, or --server-key KEY beside it"
                )
            })?;
            Ok(Target { server, key, token: Vec::new() })
        }
        (None, Some(_)) => Err("--server-key: expected the server's HOST:PORT with it".into()),
        (None, None) => kept(&args.common.state_dir)?.ok_or_else(|| {
            format!(
                "no server is known in --state-dir {}: expected a join string, which `ropewalk bond invite` \
                 prints on the server",
                args.common.state_dir.display()
            )
        }),
    }
}

/// The server that let this client in last.
pub(super) fn kept(dir: &Path) -> Result<Option<Target>, String> {
    let path = dir.join(SERVER);
    let Some(text) = state::read_secret(&path)? else { return Ok(None) };
    let wrong = |what: &str| format!("{}: expected HOST:PORT KEY, {what}", path.display());
    let (server, key) = text.split_once(' ').ok_or_else(|| wrong("got one word"))?;
    let key = key.trim().parse().map_err(|error| wrong(&format!("and: {error}")))?;
    Ok(Some(Target { server: host_and_port(server)?, key, token: Vec::new() }))
}

fn routes(written: &[Route]) -> Result<Routes, String> {
    if let [Route::All] | [Route::None] = written {
        return Ok(if written[0] == Route::All { Routes::All } else { Routes::None });
    }
    let prefix = |route: &Route| match route {
        Route::Prefix(prefix) => Ok(*prefix),
        Route::All | Route::None => Err("--route: expected all alone, none alone, or networks".to_owned()),
    };
    written.iter().map(prefix).collect::<Result<_, _>>().map(Routes::Prefixes)
}

fn resolvers(written: &[values::Dns]) -> Result<Dns, String> {
    if written == [values::Dns::Keep] {
        return Ok(Dns::Keep);
    }
    let address = |one: &values::Dns| match one {
        values::Dns::Server(address) => Ok(*address),
        values::Dns::Keep => Err("--dns: expected keep alone, or addresses".to_owned()),
    };
    written.iter().map(address).collect::<Result<_, _>>().map(Dns::Servers)
}

/// The interfaces that the bond's sockets are bound to.
fn devices(change: &LinksChange) -> Vec<String> {
    change
        .uplinks
        .iter()
        .filter_map(|uplink| uplink.via.device)
        .map(|device| device.as_str().to_owned())
        .collect()
}

fn introduce(links: &Links, first: &LinksChange, server: &str, address: SocketAddr) {
    match server.parse() == Ok(address) {
        true => log::info!("the server is {server}"),
        false => log::info!("the server is {server} ({address})"),
    }
    for uplink in &first.uplinks {
        log::info!("link {}, weight {}", links.label(uplink.id), uplink.weight);
    }
    if first.uplinks.is_empty() {
        log::warn!("no link can be used now; those that come are used (`ropewalk list` shows what there is)");
    }
}

/// The links, for whoever names or changes them.
#[derive(Clone)]
struct Shared {
    links: Arc<Mutex<Links>>,
    server: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names for Shared {
    fn peer(&self, _: Option<u32>) -> String {
        self.server.clone()
    }

    fn link(&self, uplink: UplinkId) -> String {
        self.lock().label(uplink).to_owned()
    }

    // A client lets nobody in.
    fn enrolled(&self, _: Option<u32>, _: u32) {}
}

/// What the threads beside the worker need.
#[derive(Clone)]
struct Desk {
    links: Shared,
    handle: Handle,
    tun: String,
    mode: Arc<Mutex<Strategy>>,
    server: String,
    notes: Sender<Note>,
}

impl locate::Bond for Desk {
    fn is_well(&self) -> Option<bool> {
        // Of one that is suspect something may come: it loses much, or was silent for a moment.
        let comes = |path: &PathStatus| !matches!(path.state, PathState::Unproven | PathState::Down);
        self.status().map(|status| status.established && status.paths.iter().any(comes))
    }

    fn reaches(&self, address: SocketAddr) -> bool {
        host::links::snapshot().is_ok_and(|found| self.links.lock().reach(address.ip(), &found))
    }

    #[cfg(feature = "names")]
    fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let Ok(found) = host::links::snapshot() else { return Vec::new() };
        let links = self.links.lock().clone();
        super::lookup::addresses(name, &links.interfaces(&found), &super::host::resolvers(), links.mark())
    }

    #[cfg(not(feature = "names"))]
    fn look_up(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn move_to(&self, address: SocketAddr) {
        self.links.lock().serve_at(address.ip());
        let _ = self.notes.send(Note::Moved(address));
        self.handle.call(move |now, client: &mut Client| client.set_server(now, address));
        // Another family leaves by other addresses.
        if let Ok(found) = host::links::snapshot() {
            self.look(&found);
        }
    }
}

impl Desk {
    /// Has the links and the changes of this host followed, each in a thread of its own.
    fn follow_host(&self, holds_kill_switch: bool) {
        if holds_kill_switch {
            let notes = self.notes.clone();
            monitor::follow_filters(move || drop(notes.send(Note::Changed)));
        }
        let desk = self.clone();
        monitor::follow(ROUTES, move |found| desk.look(&found));
    }

    /// Tells the machine what has changed of the links.
    fn look(&self, found: &[host::links::Link]) {
        let _ = self.notes.send(Note::Changed);
        // Held until the machine was told: two changes must not overtake each other.
        let mut links = self.links.lock();
        let change = links.look(found);
        if !change.differs {
            return;
        }
        let names: Vec<String> = change
            .uplinks
            .iter()
            .map(|uplink| format!("{}@{}", links.label(uplink.id), uplink.weight))
            .collect();
        log::info!("links now: {}", if names.is_empty() { "none".into() } else { names.join(", ") });
        // The clerk goes last, with the process.
        let _ = self.notes.send(Note::Links(devices(&change)));
        let (uplinks, renewed) = (change.uplinks, change.renewed);
        self.handle.call(move |now, client: &mut Client| {
            if let Err(error) = client.set_uplinks(now, &uplinks) {
                return log::warn!("{error}");
            }
            let via = |id: UplinkId| -> Via {
                uplinks.iter().find(|uplink| uplink.id == id).map(|uplink| uplink.via).unwrap_or_default()
            };
            for uplink in renewed {
                client.handle_input(now, Input::UplinkBack { uplink, via: via(uplink) });
            }
        });
    }

    fn status(&self) -> Option<Status> {
        report::ask(&self.handle, |now: Instant, client: &mut Client| client.status(now))
    }

    fn link(&self, path: &PathStatus) -> (String, Option<u32>) {
        let links = self.links.lock();
        path.uplink
            .map_or_else(|| ("?".into(), None), |id| (links.label(id).to_owned(), Some(links.weight(id))))
    }

    fn answer(&self, request: &Value) -> Result<Value, String> {
        match request["command"].as_str() {
            Some("status") => {
                let status = self.status().ok_or("the client ends")?;
                let mut value = report::association(&status, |path| self.link(path));
                let mode = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
                value["role"] = json!("connect");
                value["sockets_without_gso"] = json!(ropewalk_mio::sockets_without_gso());
                value["server"] = json!(self.server);
                value["tun"] = json!(self.tun);
                value["mode"] = json!(mode.name());
                Ok(value)
            }
            Some("set") => self.set(request).map(|notes| json!({ "notes": notes })),
            other => Err(format!("expected status or set, got {other:?}")),
        }
    }

    /// Gives what a person should know, as sentences.
    fn set(&self, request: &Value) -> Result<Vec<String>, String> {
        let texts = |key: &str| -> Vec<String> {
            let all = request[key].as_array().map_or(&[][..], Vec::as_slice);
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mode = request["mode"].as_str().map(values::mode).transpose()?;
        let via = texts("via").iter().map(|text| text.parse()).collect::<Result<Vec<_>, String>>()?;
        let (drop, skew) = (texts("drop"), request["max_skew_ms"].as_u64());
        let mut notes = Vec::new();
        if !via.is_empty() || !drop.is_empty() {
            let found = host::links::snapshot().map_err(|error| error.to_string())?;
            let mut links = self.links.lock();
            // All of it or nothing.
            let mut next = links.clone();
            for link in via {
                notes.extend(next.add(link, &found)?);
            }
            drop.iter().try_for_each(|label| next.remove(label, &found))?;
            *links = next;
            std::mem::drop(links);
            notes.iter().for_each(|note| log::warn!("{note}"));
            self.look(&found);
        }
        if let Some(mode) = mode {
            *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
            self.handle.call(move |now, client: &mut Client| client.set_strategy(now, mode));
            log::info!("mode now: {mode}");
        }
        if let Some(skew) = skew {
            let skew = ropewalk_core::time::Duration::from_millis(skew);
            self.handle.call(move |now, client: &mut Client| client.set_max_skew(now, skew));
            log::info!("max-skew now: {} ms", skew.as_millis());
        }
        Ok(notes)
    }

    fn figures(&self, out: &mut Samples) {
        let Some(status) = self.status() else { return };
        out.gauge("bond_established", "1 while the bond is there.", status.established);
        report::figures(out, None, &status, |path| self.link(path).0);
    }
}
