//! The switch `--resolver`: `[UPLINK=]ADDRESS[:PORT]` or `[UPLINK=]system`; and who is asked for
//! names through which uplink.

use super::args::Args;
use super::plan::uplink_config;
use super::probe;
use crate::host::links::Link;
use crate::host::matching::UplinkSpec;
use crate::host::monitor::Watched;
use crate::host::name_servers::{self, PORT};
use crate::process::files;
use crate::process::record::Recorded;
use ropewalk_core::dispatch::{Dispatch, NamesConfig};
use ropewalk_core::machine::{Device, UplinkId, UplinkSet};
use ropewalk_core::uplink::UplinkConfig;
use ropewalk_mio::Handle;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the name servers of links are looked at: leases are files, of which nobody tells.
const ROUND: Duration = Duration::from_secs(5);
const STACK: usize = 256 * 1024;

/// One as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResolverArg {
    /// The uplink it is for; `None`: all that have none of their own.
    uplink: Option<String>,
    /// The server; `None`: the system.
    server: Option<SocketAddr>,
}

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<ResolverArg, String> {
    let (uplink, server) = match text.rsplit_once('=') {
        Some((uplink, server)) => (Some(uplink.to_owned()), server),
        None => (None, text),
    };
    if server == "system" {
        return Ok(ResolverArg { uplink, server: None });
    }
    let address = match server.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, PORT)),
        Err(_) => server.parse().ok().filter(|address: &SocketAddr| address.port() > 0),
    };
    let usable = address.filter(|address| !address.ip().is_unspecified() && !address.ip().is_multicast());
    let server = usable.ok_or_else(|| {
        format!("expected ADDRESS, ADDRESS:PORT or system, such as 192.0.2.53, got {server:?}")
    })?;
    Ok(ResolverArg { uplink, server: Some(server) })
}

/// Who is asked for names, in the order of the uplinks.
///
/// # Errors
/// A server that is for no uplink.
pub(super) fn plan(options: &Args, uplinks: &[UplinkConfig], links: &[Link]) -> Result<NamesConfig, String> {
    let all = &options.resolver;
    for name in all.iter().filter_map(|arg| arg.uplink.as_ref()) {
        probe::find(name, uplinks, "--resolver")?;
    }
    let of = |uplink: &UplinkConfig| {
        // A proxy is told names as they are.
        let is_proxy = uplink.endpoint.is_some() || uplink.upstream;
        if is_proxy { Vec::new() } else { servers(all, &uplink.label, uplink.device, links) }
    };
    let resolvers: Vec<Vec<SocketAddr>> = uplinks.iter().map(of).collect();
    for (uplink, servers) in uplinks.iter().zip(&resolvers).filter(|(_, servers)| !servers.is_empty()) {
        log::info!("names through {}: asked of {}", uplink.label, listed(servers));
    }
    let devices: Vec<Device> = uplinks.iter().filter_map(|uplink| uplink.device).collect();
    let system = of_the_system(&devices, links);
    if resolvers.iter().any(|servers| !servers.is_empty()) {
        say_domains(&system);
    }
    let mut v6_only = UplinkSet::EMPTY;
    let ids = (0..).map(UplinkId).zip(uplinks).zip(&resolvers);
    let asked = ids.filter(|((_, uplink), servers)| uplink.is_v6_only() && !servers.is_empty());
    asked.for_each(|((id, _), _)| v6_only.insert(id));
    Ok(NamesConfig { resolvers, cache: options.name_cache as usize, v6_only, system })
}

/// The names of the hosts file, and the domains for which links that are no uplinks (a VPN) have
/// name servers: the system asks those.
fn of_the_system(uplinks: &[Device], links: &[Link]) -> BTreeSet<String> {
    let others = links.iter().filter(|link| link.device.is_none_or(|its| !uplinks.contains(&its)));
    let domains = others.flat_map(name_servers::domains).map(|domain| format!(".{domain}"));
    let hosts = files::read("/etc/hosts".as_ref()).map(|bytes| names_of(&bytes)).unwrap_or_default();
    hosts.into_iter().chain(domains).collect()
}

fn say_domains(system: &BTreeSet<String>) {
    let domains: Vec<&str> = system.iter().filter_map(|name| name.strip_prefix('.')).collect();
    if !domains.is_empty() {
        log::info!("names in {}: left to the system, whose other links serve them", domains.join(", "));
    }
}

/// What worker `number` gets of it: the first alone asks how networks translate, for all.
pub(super) fn of_worker(names: NamesConfig, number: usize) -> NamesConfig {
    match number {
        0 => names,
        _ => NamesConfig { v6_only: UplinkSet::EMPTY, ..names },
    }
}

/// The same set, with the ids that these uplinks have in the pool.
pub(super) fn by_id(ids: &[UplinkId], set: UplinkSet) -> UplinkSet {
    let mut all = UplinkSet::EMPTY;
    let its = (0..).map(UplinkId).zip(ids).filter(|(index, _)| set.contains(*index));
    its.for_each(|(_, id)| all.insert(*id));
    all
}

fn listed(servers: &[SocketAddr]) -> String {
    let shown = |at: &SocketAddr| if at.port() == PORT { at.ip().to_string() } else { at.to_string() };
    servers.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Those that the switches name for this uplink, else those for all, else those of its link.
fn servers(all: &[ResolverArg], label: &str, device: Option<Device>, links: &[Link]) -> Vec<SocketAddr> {
    let of = |name: Option<&str>| {
        let its: Vec<_> = all.iter().filter(|arg| arg.uplink.as_deref() == name).collect();
        (!its.is_empty()).then(|| its.into_iter().filter_map(|arg| arg.server).collect())
    };
    of(Some(label)).or_else(|| of(None)).unwrap_or_else(|| {
        let link = links.iter().find(|link| device.is_some() && link.device == device);
        link.map(name_servers::of).unwrap_or_default()
    })
}

/// Looks after the name servers of links from now on: a new lease may name others, also while the
/// service starts with what was `planned`.
pub(super) fn follow(
    all: &Arc<Mutex<Vec<ResolverArg>>>,
    watched: &Watched,
    planned: &NamesConfig,
    workers: Vec<Handle>,
) {
    let (all, watched) = (Arc::clone(all), watched.clone());
    let mut before = Look::planned(planned, watched.specs());
    let thread = std::thread::Builder::new().name("resolvers".into()).stack_size(STACK);
    let spawned = thread.spawn(move || {
        loop {
            let wanted = all.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let now = Look::at(&wanted, &watched);
            if before != now {
                tell(&before, &now, &workers);
            }
            before = now;
            std::thread::sleep(ROUND);
        }
    });
    if let Err(error) = spawned {
        log::warn!("cannot look after the name servers of links: {error}; what changes is not noticed");
    }
}

/// What is known of name servers.
#[derive(PartialEq, Eq, Debug)]
struct Look {
    uplinks: Vec<Asked>,
    /// Names and domains that are left to the system.
    system: BTreeSet<String>,
}

/// An uplink that is no proxy: its name servers, and whether they are asked how it translates.
#[derive(PartialEq, Eq, Debug)]
struct Asked {
    id: UplinkId,
    label: String,
    servers: Vec<SocketAddr>,
    v6_only: bool,
}

impl Look {
    /// What the service was given at its start.
    fn planned(names: &NamesConfig, uplinks: Vec<(UplinkId, UplinkSpec)>) -> Look {
        let plain = uplinks.into_iter().filter(|(_, spec)| spec.upstream.is_none());
        let its = plain.map(|(id, spec)| {
            let servers = names.resolvers.get(usize::from(id.0)).cloned().unwrap_or_default();
            Asked { id, label: spec.label, servers, v6_only: names.v6_only.contains(id) }
        });
        Look { uplinks: its.collect(), system: names.system.clone() }
    }

    /// What this host says now.
    fn at(all: &[ResolverArg], watched: &Watched) -> Look {
        let links = crate::host::links::snapshot().unwrap_or_default();
        let specs = watched.specs();
        let devices: Vec<Device> = specs.iter().filter_map(|(_, spec)| spec.device).collect();
        let plain = specs.into_iter().filter(|(_, spec)| spec.upstream.is_none());
        let its = plain.map(|(id, spec)| {
            let servers = servers(all, &spec.label, spec.device, &links);
            let v6_only = !servers.is_empty() && uplink_config(&spec, &links).is_v6_only();
            Asked { id, label: spec.label, servers, v6_only }
        });
        Look { uplinks: its.collect(), system: of_the_system(&devices, &links) }
    }
}

fn tell(before: &Look, now: &Look, workers: &[Handle]) {
    let same = |one: &Asked| before.uplinks.iter().any(|it| (it.id, &it.servers) == (one.id, &one.servers));
    for Asked { label, servers, .. } in now.uplinks.iter().filter(|one| !same(one)) {
        let servers = if servers.is_empty() { "the system".into() } else { listed(servers) };
        log::info!("names through {label}: asked of {servers}");
    }
    let asks = now.uplinks.iter().any(|one| !one.servers.is_empty());
    if asks && before.system != now.system {
        say_domains(&now.system);
    }
    let system = &now.system;
    let now = &now.uplinks;
    let len = now.iter().map(|one| usize::from(one.id.0) + 1).max().unwrap_or(0);
    let mut resolvers = vec![Vec::new(); len];
    let mut v6_only = UplinkSet::EMPTY;
    for one in now {
        resolvers[usize::from(one.id.0)].clone_from(&one.servers);
        if one.v6_only {
            v6_only.insert(one.id);
        }
    }
    for (number, worker) in workers.iter().enumerate() {
        let (resolvers, system) = (resolvers.clone(), system.clone());
        worker.call(move |now, machine: &mut Recorded<Dispatch>| {
            let mut config = machine.config().clone();
            let names = NamesConfig { resolvers, v6_only, system, ..config.names };
            config.names = of_worker(names, number);
            if let Err(error) = machine.reconfigure(now, config) {
                log::error!("a worker did not take other name servers: {error}");
            }
        });
    }
}

/// The names of a hosts file (hosts(5)), as they are compared.
fn names_of(hosts: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(hosts);
    let line = |line: &str| {
        let named = line.split('#').next().unwrap_or_default();
        named.split_whitespace().skip(1).map(str::to_ascii_lowercase).collect::<Vec<_>>()
    };
    text.lines().flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_an_address_perhaps_of_one_uplink_perhaps_with_a_port() {
        let read = |text: &str| parse(text).map(|arg| (arg.uplink, arg.server.map(|at| at.to_string())));
        assert_eq!(read("192.0.2.53"), Ok((None, Some("192.0.2.53:53".into()))));
        assert_eq!(read("eth1=192.0.2.53:5353"), Ok((Some("eth1".into()), Some("192.0.2.53:5353".into()))));
        assert_eq!(read("10.0.0.2%eth1=2001:db8::1"), {
            Ok((Some("10.0.0.2%eth1".into()), Some("[2001:db8::1]:53".into())))
        });
        assert_eq!(read("eth1=system"), Ok((Some("eth1".into()), None)));
        for bad in ["", "eth1=", "host.example", "192.0.2.53:0", "eth1=0.0.0.0", "224.0.0.1", "eth1=[::1]"] {
            assert!(read(bad).is_err_and(|error| error.contains("ADDRESS")), "{bad}");
        }
    }

    #[test]
    fn an_uplinks_own_servers_go_before_those_of_all() {
        let all = ["192.0.2.1", "b=192.0.2.2", "b=192.0.2.3:5353", "c=system"]
            .map(|text| parse(text).expect("valid"));
        let of = |label: &str| {
            let its = servers(&all, label, None, &[]);
            its.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("a"), ["192.0.2.1:53"]);
        assert_eq!(of("b"), ["192.0.2.2:53", "192.0.2.3:5353"]);
        assert!(of("c").is_empty());
    }

    #[test]
    fn the_first_look_is_compared_with_what_was_planned() {
        let spec = |label: &str| UplinkSpec {
            label: label.into(),
            weight: 1,
            device: None,
            source_v4: None,
            source_v6: None,
            on_link: Vec::new(),
            upstream: None,
            warnings: Vec::new(),
        };
        let watched = Watched::new(vec![spec("a"), spec("b")], &[]);
        let all = ["a=192.0.2.1", "b=system"].map(|text| parse(text).expect("valid"));
        let system = of_the_system(&[], &crate::host::links::snapshot().unwrap_or_default());
        let planned = |servers: &[&str]| {
            let servers = servers.iter().map(|server| server.parse().expect("an address")).collect();
            let resolvers = vec![servers, Vec::new()];
            let names = NamesConfig { resolvers, system: system.clone(), ..NamesConfig::default() };
            Look::planned(&names, watched.specs())
        };
        let now = Look::at(&all, &watched);
        assert_eq!(planned(&["192.0.2.1:53"]), now);
        assert_ne!(planned(&[]), now, "a lease came meanwhile");
        assert_ne!(planned(&["192.0.2.1:53", "192.0.2.2:53"]), now);
    }

    #[test]
    fn the_names_of_a_hosts_file_are_those_behind_addresses() {
        let hosts =
            b"127.0.0.1 localhost # not this\n\n# 192.0.2.1 nor.this\n192.0.2.2\tNAS.Home.Example nas\n";
        let expected = ["localhost", "nas", "nas.home.example"].map(String::from);
        assert_eq!(names_of(hosts), expected.into());
    }
}
