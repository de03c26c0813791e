//! What switches and the files that they name come to: the configuration of the machine, at the
//! start and again at a reload.

use super::args::{
    Listener as ListenerOptions, OnPortConflict, Options, Process, Range, Server, To, UdpHeader,
};
use super::subnets;
use super::target::{Ports, Protocol, Wanted};
use crate::process::descriptors;
use ropewalk_core::machine::{LocalPath, Target};
use ropewalk_core::unwrap::{self, Config, DatagramListener, Destinations, Listener, Names, PortConflict};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// UDP flows at once where no switch says how many, and no more than a quarter of the descriptors.
const MOST_FLOWS: u64 = 16_384;

/// What switches and the files that they name come to.
pub(super) fn plan(all: &[Options]) -> Result<Config, String> {
    let process = &all.first().ok_or("no listener is set")?.process;
    if all.iter().any(|options| options.process != *process) {
        return Err(
            "the tables of [[unwrap.listener]] differ in a switch that holds for the whole process: \
             expected it in [unwrap]"
                .into(),
        );
    }
    let mut config = config(process);
    for options in all {
        add_listeners(&options.listener, &mut config)?;
    }
    if !config.datagram_listeners.is_empty() && process.mark.is_some() {
        return Err("--mark is for TCP: the answers of a UDP server carry no mark".into());
    }
    refuse_loops(&config)?;
    if let Some(stats) = process.common.stats {
        keep_apart(&config, stats)?;
    }
    Ok(config)
}

/// What may be open at once, of `descriptors`.
pub(super) fn set_limits(process: &Process, descriptors: Option<u64>, config: &mut Config) {
    config.max_flows = max_flows(process, descriptors);
    let flows = if config.datagram_listeners.is_empty() { 0 } else { config.max_flows };
    config.max_connections =
        descriptors::each_worker(process.common.max_connections, process.common.workers, flows);
    config.max_half_open = process.common.handshakes(config.max_connections);
}

/// What holds for all listeners.
fn config(process: &Process) -> Config {
    Config {
        allow_source: process.allow_source.clone(),
        on_port_conflict: match process.on_port_conflict {
            OnPortConflict::Fail => PortConflict::Fail,
            OnPortConflict::Ephemeral => PortConflict::Ephemeral,
        },
        mark: process.mark,
        max_header: process.max_header.into(),
        mixed_families: process.mixed_families,
        header_timeout: process.header_timeout,
        connect_timeout: process.connect_timeout,
        idle_timeout: process.common.idle_timeout,
        flow_idle_timeout: process.close_after,
        max_queue: process.max_queue as usize,
        buffer_limit: process.common.max_buffers as usize,
        request_events: process.common.verbose > 1,
        ..Config::default()
    }
}

fn add_listeners(options: &ListenerOptions, config: &mut Config) -> Result<(), String> {
    if options.listen.is_empty() {
        return Err("expected --listen ADDRESS:PORT, where the balancer connects".into());
    }
    let allowed = subnets::allowed(options)?;
    let to_header: Option<Arc<[Destinations]>> = match options.to {
        To::Targets if options.v4.is_none() && options.v6.is_none() => {
            return Err(
                "expected a server: -4 ADDRESS:PORT, -6 [ADDRESS]:PORT or both, or --to header".into()
            );
        }
        To::Targets if !options.allow_target.is_empty() => {
            return Err("--allow-target is for --to header".into());
        }
        To::Targets => None,
        To::Header if options.allow_target.is_empty() => {
            return Err(
                "--to header expects --allow-target PREFIX:PORTS: else a header could lead anywhere".into()
            );
        }
        To::Header => {
            let allowed = options.allow_target.iter();
            let allowed = allowed.map(|to| Destinations { network: to.network, ports: to.ports.clone() });
            Some(allowed.collect())
        }
    };
    let found_v4 = options.v4.as_ref().map(find).transpose()?;
    let found_v6 = options.v6.as_ref().map(find).transpose()?;
    for range in &options.listen {
        for (number, address) in range.addresses().enumerate() {
            let mut server = |found: &Option<Found>| {
                found.as_ref().map(|found| target(found, *range, number, &mut config.names)).transpose()
            };
            let (target_v4, target_v6) = (server(&found_v4)?, server(&found_v6)?);
            if options.protocol.contains(&Protocol::Udp) {
                config.datagram_listeners.push(DatagramListener {
                    address,
                    allowed: Arc::clone(&allowed),
                    target_v4: target_v4.as_ref().map(udp_target).transpose()?,
                    target_v6: target_v6.as_ref().map(udp_target).transpose()?,
                    to_header: to_header.clone(),
                    header: match options.udp_header {
                        UdpHeader::Each => unwrap::UdpHeader::Each,
                        UdpHeader::First => unwrap::UdpHeader::First,
                    },
                });
            }
            if options.protocol.contains(&Protocol::Tcp) {
                let (allowed, to_header) = (Arc::clone(&allowed), to_header.clone());
                config.listeners.push(Listener { address, allowed, target_v4, target_v6, to_header });
            }
        }
    }
    Ok(())
}

/// A server, looked up if it has a name.
enum Found<'a> {
    Local(&'a LocalPath),
    At(IpAddr, &'a Wanted),
}

fn find(server: &Server) -> Result<Found<'_>, String> {
    match server {
        Server::Local(path) => Ok(Found::Local(path)),
        Server::Addresses(wanted) => {
            let targets = wanted.look_up()?;
            Ok(Found::At(targets.first().expect("a look-up without an address is an error").ip, wanted))
        }
    }
}

/// The server of listener number `number` of the range.
fn target(server: &Found<'_>, range: Range, number: usize, names: &mut Names) -> Result<Target, String> {
    let (ip, addresses) = match server {
        Found::Local(path) => return Ok(Target::Local((*path).clone())),
        Found::At(ip, wanted) => (*ip, wanted),
    };
    let Ports { first, last } = addresses.ports();
    let ports = usize::from(last - first) + 1;
    let port = match ports {
        1 => first,
        _ if ports == range.len() => first + number as u16,
        _ => {
            return Err(format!(
                "{} {addresses} has {ports} ports, --listen {range} has {}: expected as many, or one",
                addresses.switch(),
                range.len()
            ));
        }
    };
    let at = SocketAddr::new(ip, port);
    if let Some(name) = addresses.name() {
        names.add(name.clone(), at);
    }
    Ok(Target::Address(at))
}

fn udp_target(target: &Target) -> Result<SocketAddr, String> {
    match target {
        Target::Address(address) => Ok(*address),
        Target::Local(path) => Err(format!("{path} is for TCP: expected ADDRESS:PORT for --protocol udp")),
    }
}

/// The figures are for this host: a header must not lead to them.
fn keep_apart(config: &Config, stats: SocketAddr) -> Result<(), String> {
    let leads = |listener: &Listener| {
        listener.to_header.iter().flat_map(|all| all.iter()).any(|allowed| allowed.contains(stats))
    };
    match config.listeners.iter().any(leads) {
        false => Ok(()),
        true => Err(format!(
            "--allow-target lets headers lead to --stats {stats}: expected another port, or a narrower target"
        )),
    }
}

/// A target that is one of our own listeners would be refused for each client: better an error now.
fn refuse_loops(config: &Config) -> Result<(), String> {
    let reaches = |listener: &SocketAddr, target: &SocketAddr| {
        let any = listener.ip().is_unspecified() && listener.is_ipv4() == target.is_ipv4();
        listener.port() == target.port()
            && (listener.ip() == target.ip() || (any && target.ip().is_loopback()))
    };
    let address = |target: &Option<Target>| match target {
        Some(Target::Address(address)) => Some(*address),
        Some(Target::Local(_)) | None => None,
    };
    let listeners = &config.listeners;
    let streams = listeners.iter().flat_map(|l| [address(&l.target_v4), address(&l.target_v6)]).flatten();
    let looped = |to: &SocketAddr| listeners.iter().any(|listener| reaches(&listener.address, to));
    let listeners = &config.datagram_listeners;
    let datagrams = listeners.iter().flat_map(|l| [l.target_v4, l.target_v6]).flatten();
    let looped_datagrams = |to: &SocketAddr| listeners.iter().any(|listener| reaches(&listener.address, to));
    let mut found = streams.filter(looped).chain(datagrams.filter(looped_datagrams));
    match found.next() {
        None => Ok(()),
        Some(to) => {
            Err(format!("the target {to} is one of the listeners itself: expected the address of the server"))
        }
    }
}

/// A flow has one descriptor; connections have theirs too.
fn max_flows(process: &Process, descriptors: Option<u64>) -> usize {
    let possible = descriptors.map_or(MOST_FLOWS, |limit| (limit / 4).clamp(1, MOST_FLOWS));
    process.max_flows.map_or(possible as usize, |wanted| wanted as usize)
}
