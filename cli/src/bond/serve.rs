//! `ropewalk bond serve`: from switches to a running server.

use super::args::Serve;
use super::changes::Changes;
use super::control::Role;
use super::control::server::Bound;
use super::enrolments::{self, Enrolments};
use super::host::{self, ServerHost, ServerPlan};
use super::registry::{self, Registry, unix_time};
use super::report;
use super::service::{self, Service, thread};
use super::values::{Nat, Subnet};
use super::watch::{BondWatch, Names, Note};
use super::{device, privileges, state, values};
use crate::host::links::{self, Link};
use crate::host::monitor;
use crate::host::port::cannot_listen;
use crate::host::prefix::{self, Prefix};
use crate::process::logging;
use crate::process::stats::{Endpoint, Samples};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use ropewalk_core::bond::crypto::{PresharedKey, PublicKey};
use ropewalk_core::bond::{Invitation, KnownClient, PathStatus, Server, ServerConfig, Status, Tuning};
use ropewalk_core::machine::{ListenerId, TunConfiguration, UplinkId};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_mio::{Handle, Listeners, Shared};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The server's key.
pub(super) const KEY: &str = "serve.key";
/// The networks of the last start, for `invite`.
const NETWORKS: &str = "networks";

/// The clients' names.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// By their numbers in the machine.
    names: BTreeMap<u32, String>,
    /// Those who are invited, by the serials of their invitations.
    invited: BTreeMap<u32, String>,
}

impl Clients {
    /// Those who may come in already. Their numbers in the machine are their places in `registry`.
    fn of(registry: &Registry) -> Self {
        let names = (0..).zip(registry.clients.iter().map(|one| one.name.clone())).collect();
        Clients(Arc::new(Mutex::new(Known { names, ..Known::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, client: u32) -> String {
        self.lock().names.get(&client).cloned().unwrap_or_else(|| format!("client {client}"))
    }

    fn count(&self) -> usize {
        self.lock().names.len()
    }
}

impl Names for Clients {
    fn peer(&self, client: Option<u32>) -> String {
        client.map_or_else(|| "somebody".into(), |client| self.name(client))
    }

    fn link(&self, uplink: UplinkId) -> String {
        format!("{uplink:?}")
    }

    fn enrolled(&self, client: Option<u32>, invitation: u32) {
        let mut known = self.lock();
        let name = known.invited.get(&invitation).cloned();
        if let Some((client, name)) = client.zip(name) {
            known.names.insert(client, name);
        }
    }
}

/// Runs until it is stopped.
pub(super) fn run(args: &Serve) -> Result<(), String> {
    let common = &args.common;
    privileges::keep(privileges::of_server(args.listen.port()))?;
    logging::start(common.verbose, common.quiet)?;
    let mut links = links::snapshot().map_err(|error| format!("cannot read the interfaces: {error}"))?;
    links.retain(|link| link.name != common.tun);
    check(&args.subnet, &links)?;
    state::open(&common.state_dir)?;
    // Held to the end: what was changed is put back under this lock.
    let mut control = Bound::new(&common.state_dir, Role::Serve)?;
    let key = service::own_key(&common.state_dir.join(KEY))?;
    keep_subnets(&common.state_dir, &args.subnet)?;
    let registry = Registry::change(&common.state_dir, |registry| {
        args.client.iter().try_for_each(|key| registry.add(*key, &args.subnet))?;
        Ok(registry.clone())
    })?;

    let stats = common.stats.map(Endpoint::bind).transpose()?;
    let (socket, listen) = open_socket(args)?;
    let tun = device::create(&common.tun)?;
    let addresses: Vec<(IpAddr, u8)> =
        args.subnet.iter().map(|subnet| (subnet.server(), subnet.bits)).collect();
    let inside = TunConfiguration { addresses: addresses.clone(), mtu: common.mtu };
    device::configure(&common.tun, &inside)?;

    let plan = plan(args, addresses.clone());
    let config = ServerConfig {
        common: service::common(common, &tun, key, Tuning::default()),
        listener: ListenerId(0),
        addresses,
        clients: registry.clients.iter().map(|one| known(one, &args.subnet)).collect(),
        max_clients: args.max_clients.into(),
        allow_client_to_client: args.allow_client_to_client,
        allow_private: args.allow_private,
    };
    let machine = Server::new(config, state::entropy()?).map_err(|error| error.to_string())?;

    let clients = Clients::of(&registry);
    let (notes, read) = channel();
    let watch = Arc::new(BondWatch::new(clients.clone(), notes.clone()));
    let listeners = Listeners { tuns: vec![tun], ..Listeners::new(Vec::new(), vec![socket]) };
    let service = Service::new(machine, listeners, Box::new(Arc::clone(&watch)))?;
    let desk = Desk {
        dir: common.state_dir.clone(),
        subnets: args.subnet.clone(),
        handle: service.handle.clone(),
        shared: Arc::clone(&service.shared),
        clients,
        listen: listen.to_string(),
        tun: common.tun.clone(),
        enrolments: Enrolments::default(),
    };
    desk.invite_all(&registry);
    introduce(args, &desk);
    let asked = desk.clone();
    let alive = move || asked.status().is_some();
    let tended = device::Tended::new(&common.tun, desk.handle.clone(), alive)?;
    let changes = Changes::new(host::apply_server(&plan, &common.state_dir)?);
    let (device, host) = (tended.clone(), changes.clone());
    desk.clone()
        .keep_notes(read, move || mend(&device, &inside, &host))
        .map_err(|error| changes.give_up(error))?;
    if plan.nat {
        look_at_firewall(common.tun.clone(), listen);
    }
    follow_host(&notes, plan.nat);
    let figures = desk.clone();
    let stats = stats.map(|endpoint| {
        (endpoint, move |out: &mut Samples| {
            report::counts(out, &watch.counts);
            figures.figures(out);
        })
    });
    let answering = desk.clone();
    let result = service.run(&mut control, move |request| answering.answer(request), stats);
    let kept = desk.write().map_err(|error| {
        format!("{} clients that were let in are not written down: {error}", desk.enrolments.unwritten())
    });
    result.and(changes.undo()).and_then(|()| tended.end()).and(kept)
}

/// What is to be changed of this host.
fn plan(args: &Serve, addresses: Vec<(IpAddr, u8)>) -> ServerPlan {
    ServerPlan {
        tun: args.common.tun.clone(),
        addresses,
        nat: args.nat == Nat::Auto,
        allow_private: args.allow_private,
        allow_client_to_client: args.allow_client_to_client,
    }
}

/// The socket that all clients come to, and its address.
fn open_socket(args: &Serve) -> Result<(UdpSocket, SocketAddr), String> {
    let (listen, mark) = (args.listen, args.common.mark);
    let socket =
        ropewalk_mio::listen_datagrams(listen).map_err(|error| cannot_listen(listen, &error, "--listen"))?;
    let address = socket.local_addr().map_err(|error| format!("--listen {listen}: {error}"))?;
    socket2::SockRef::from(&socket).set_mark(mark.0).map_err(|error| format!("--mark {mark}: {error}"))?;
    enlarge(&socket, args.socket_buffer)?;
    Ok((socket, address))
}

/// Has the clerk hear of changes of this host: of its filters, if ours is one, and of its links.
fn follow_host(notes: &Sender<Note>, nat: bool) {
    if nat {
        let notes = notes.clone();
        monitor::follow_filters(move || drop(notes.send(Note::Changed)));
    }
    let notes = notes.clone();
    monitor::follow(0, move |_| drop(notes.send(Note::Changed)));
}

/// Tells what a firewall of this host drops. Its rules may be many: the start does not wait.
fn look_at_firewall(tun: String, listen: SocketAddr) {
    let look = move || match host::firewall::closed(&tun, listen) {
        Ok(told) => told.iter().for_each(|told| log::warn!("{told}")),
        Err(error) => log::debug!("the firewall is not known: {error}"),
    };
    // What it would tell is told by `doctor` too.
    let _ = thread("firewall", look);
}

/// Puts back what another program has changed: the device, the filter.
fn mend(
    tended: &device::Tended,
    inside: &TunConfiguration,
    changes: &Changes<ServerHost>,
) -> Result<(), String> {
    tended.tend(Some(inside))?;
    if changes.with(ServerHost::renew)? {
        log::warn!("another program had removed the bond's filter and NAT: put back");
    }
    Ok(())
}

/// Gives the socket buffers of its own size, whatever net.core.wmem_max says. It serves all paths:
/// where a device holds packets back, as many as fit count as the socket's, and a full socket sends
/// nothing by the other devices either.
fn enlarge(socket: &UdpSocket, bytes: u32) -> Result<(), String> {
    let bytes = bytes as usize;
    setsockopt(socket, SndBufForce, &bytes)
        .and_then(|()| setsockopt(socket, RcvBufForce, &bytes))
        .map_err(|error| format!("--socket-buffer {bytes}: the system refuses it: {error}"))
}

/// One network for each family, and none that this host is in: its own routes would lead into the
/// bond.
fn check(subnets: &[Subnet], links: &[Link]) -> Result<(), String> {
    for (subnet, link) in subnets.iter().flat_map(|subnet| links.iter().map(move |link| (subnet, link))) {
        let inside = (subnet.network, subnet.bits);
        let meets = |other: &Prefix| prefix::contains(*other, inside.0) || prefix::contains(inside, other.0);
        if let Some((network, bits)) = link.networks().into_iter().find(meets) {
            return Err(format!(
                "--subnet: expected a network that this host is not in, got {}/{}: {} has {network}/{bits}",
                subnet.network, subnet.bits, link.name
            ));
        }
    }
    let of = |v4: bool| subnets.iter().filter(|subnet| subnet.network.is_ipv4() == v4).count();
    match of(true) > 1 || of(false) > 1 {
        true => {
            Err("--subnet: expected one network of IPv4 and one of IPv6 at most, got two of a kind".into())
        }
        false => Ok(()),
    }
}

fn introduce(args: &Serve, desk: &Desk) {
    for subnet in &args.subnet {
        let (network, bits) = (subnet.network, subnet.bits);
        log::info!("{} is {} of {network}/{bits}", args.common.tun, subnet.server());
    }
    log::info!("serving on {} (UDP); clients that may come in: {}", desk.listen, desk.clients.count());
}

fn known(member: &registry::Member, subnets: &[Subnet]) -> KnownClient {
    let addresses = registry::addresses(subnets, member.number);
    KnownClient { key: member.key, psk: PresharedKey::NONE, addresses }
}

fn keep_subnets(dir: &Path, subnets: &[Subnet]) -> Result<(), String> {
    let lines: Vec<String> = subnets.iter().map(|one| format!("{}/{}\n", one.network, one.bits)).collect();
    state::replace_private(&dir.join(NETWORKS), &lines.concat())
}

/// The networks of the last start.
pub(super) fn kept_subnets(dir: &Path) -> Result<Vec<Subnet>, String> {
    let path = dir.join(NETWORKS);
    let text = state::read_secret(&path)?.unwrap_or_default();
    text.lines()
        .map(values::subnet)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What the threads beside the worker need.
#[derive(Clone)]
struct Desk {
    dir: PathBuf,
    subnets: Vec<Subnet>,
    handle: Handle,
    shared: Arc<Shared>,
    clients: Clients,
    listen: String,
    tun: String,
    enrolments: Enrolments,
}

impl Desk {
    /// Tells the machine of all invitations; those that it knows change nothing.
    fn invite_all(&self, registry: &Registry) {
        let (now, unix) = (self.shared.now(), unix_time());
        for one in &registry.invitations {
            self.clients.lock().invited.insert(one.serial, one.name.clone());
            let left = Duration::from_secs(one.expires.saturating_sub(unix));
            let invitation = Invitation {
                number: one.serial,
                token: one.token.0.to_vec(),
                until: now + left,
                addresses: registry::addresses(&self.subnets, one.number),
            };
            let (used, name) = (one.used, one.name.clone());
            self.handle.call(move |_, server: &mut Server| {
                let taken = match used {
                    true => server.invite_no_more(invitation),
                    false => server.invite(invitation),
                };
                if let Err(error) = taken {
                    log::error!("the invitation of {name} is good for nothing: {error}");
                }
            });
        }
    }

    /// Writes down who was let in, in a thread of its own: the worker does not wait for a disk.
    /// `mend` puts back what another program has changed of this host.
    fn keep_notes(
        self,
        notes: Receiver<Note>,
        mend: impl Fn() -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        thread("clerk", move || {
            loop {
                // What is left is told of once, and tried again.
                let wait = self.write().map_or(enrolments::AGAIN, |()| Duration::MAX);
                let note = match notes.recv_timeout(wait) {
                    Ok(note) => note,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let done = match note {
                    Note::Enrolled { invitation, key } => {
                        self.enrolments.push((invitation, key));
                        Ok(())
                    }
                    Note::Changed => mend(),
                    _ => Ok(()),
                };
                if let Err(error) = done {
                    log::error!("{error}");
                }
            }
        })
    }

    /// Writes down who was let in.
    ///
    /// # Errors
    /// Some are not on disk yet.
    fn write(&self) -> Result<(), String> {
        self.enrolments.write(|(invitation, key)| self.enrol(invitation, key))
    }

    /// # Errors
    /// It cannot be written now.
    fn enrol(&self, invitation: u32, key: [u8; 32]) -> Result<(), String> {
        let key = PublicKey::from_bytes(key).expect("the machine has used it");
        let member = Registry::change(&self.dir, |registry| Ok(registry.enrol(invitation, key)))?;
        let Some(member) = member else {
            // It was taken back while the client came in: who is in no file is not in the machine.
            let name = self.clients.lock().invited.get(&invitation).cloned();
            name.map_or(Ok(()), |name| self.revoke(&name))?;
            log::error!(
                "a client was let in, and its invitation {invitation} is not open any more: it is shut out"
            );
            return Ok(());
        };
        let addresses = registry::addresses(&self.subnets, member.number);
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        log::info!("{} was let in by its invitation: {} {key}", member.name, addresses.join(" "));
        Ok(())
    }

    fn status(&self) -> Option<Vec<(u32, Status)>> {
        report::ask(&self.handle, |now: Instant, server: &mut Server| server.status(now))
    }

    fn answer(&self, request: &Value) -> Result<Value, String> {
        match request["command"].as_str() {
            Some("status") => {
                let status = self.status().ok_or("the server ends")?;
                let link = |path: &PathStatus| (path.remote.to_string(), None);
                let clients = status.iter().map(|(client, status)| {
                    let mut value = report::association(status, link);
                    value["name"] = json!(self.clients.name(*client));
                    value
                });
                let clients: Vec<Value> = clients.collect();
                let known = self.clients.count();
                Ok(json!({
                    "role": "serve", "sockets_without_gso": ropewalk_mio::sockets_without_gso(),
                    "listen": self.listen, "tun": self.tun, "known_clients": known,
                    "unwritten_clients": self.enrolments.unwritten(), "clients": clients,
                }))
            }
            Some("reload") => {
                self.invite_all(&Registry::read(&self.dir)?);
                Ok(json!({}))
            }
            Some("revoke") => {
                self.revoke(request["name"].as_str().ok_or("expected a name")?)?;
                Ok(json!({}))
            }
            other => Err(format!("expected status, reload or revoke, got {other:?}")),
        }
    }

    /// Shuts out who is in the files no more.
    fn revoke(&self, name: &str) -> Result<(), String> {
        // Its invitation, if it has one, is a used one by now.
        self.invite_all(&Registry::read(&self.dir)?);
        let ids: Vec<u32> = {
            let known = self.clients.lock();
            known.names.iter().filter(|(_, known)| *known == name).map(|(id, _)| *id).collect()
        };
        for id in ids {
            let gone = report::ask(&self.handle, move |now, server: &mut Server| server.revoke(now, id));
            gone.ok_or("the server ends")?;
            self.clients.lock().names.remove(&id);
        }
        log::info!("{name} is shut out");
        Ok(())
    }

    fn figures(&self, out: &mut Samples) {
        let all = self.status().unwrap_or_default();
        out.gauge("bond_clients", "Clients that are here now.", all.len() as u64);
        let unwritten = self.enrolments.unwritten() as u64;
        out.gauge("bond_unwritten", "Clients that were let in and are on no disk yet.", unwritten);
        for (client, status) in &all {
            let name = self.clients.name(*client);
            report::figures(out, Some(&name), status, |path| path.path.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::eth;

    #[test]
    fn a_network_inside_is_one_of_a_kind_that_the_host_is_not_in() {
        let subnets = |written: &[&str]| -> Vec<Subnet> {
            written.iter().map(|text| values::subnet(text).expect("a network")).collect()
        };
        let links = [eth("eth0", &["10.1.2.3/16", "2001:db8::5/64"])];
        assert_eq!(check(&subnets(&["10.77.0.0/24", "fd77::/64"]), &links), Ok(()));
        for (written, has) in [
            ("10.1.7.0/24", "eth0 has 10.1.0.0/16"),
            ("10.0.0.0/8", "eth0 has 10.1.0.0/16"),
            ("2001:db8::/64", "eth0 has 2001:db8::/64"),
        ] {
            let told = check(&subnets(&[written]), &links);
            assert!(
                told.clone().is_err_and(|error| error.contains(written) && error.contains(has)),
                "{told:?}"
            );
        }
        assert!(check(&subnets(&["10.77.0.0/24", "10.78.0.0/24"]), &links).is_err());
    }
}
