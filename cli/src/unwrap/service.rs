//! `ropewalk unwrap` as a service: from switches to running workers.

use super::args::{OnPortConflict, Options, Range, Server, To};
use super::plan::{plan, set_limits};
use super::privileges;
use super::reload::{Asked, Running};
use super::stats::UnwrapStats;
use super::target::Protocol;
use super::watch::UnwrapWatch;
use crate::host::{links, monitor};
use crate::process::record::Recording;
use crate::process::{descriptors, listen, logging, memory, serve, stats};
use ropewalk_core::machine::Target;
use ropewalk_core::unwrap::Config;
use ropewalk_core::uplink::{Pool, PoolConfig};
use ropewalk_mio::{Handle, Listeners, Shared};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// Runs until it is stopped. One of `all` for each group of listeners.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(all: &[Options]) -> Result<(), String> {
    let process = &all.first().ok_or("no listener is set")?.process;
    let mut config = plan(all)?;
    let asked = Asked::of(&config);
    privileges::check(process.mark, process.user.as_deref())?;
    // First: ranges of ports may take more than the soft limit has.
    let descriptors = descriptors::raise_descriptors();
    let streams: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
    let streams = listen::bind_all(&streams, &process.common)?;
    let datagrams = bind_datagrams(&config)?;
    // The ports that were chosen by the system.
    for (listener, socket) in config.listeners.iter_mut().zip(&streams[0]) {
        listener.address = socket.local_addr().map_err(|error| error.to_string())?;
    }
    for (listener, socket) in config.datagram_listeners.iter_mut().zip(&datagrams) {
        listener.address = socket.local_addr().map_err(|error| error.to_string())?;
    }
    let stats = process.common.stats.map(stats::Endpoint::bind).transpose()?;
    let opened = Recording::open(&process.record)?;
    // Before there is another thread: each would keep what it has.
    let low_ports = process.on_port_conflict == OnPortConflict::Fail;
    let notes = privileges::drop_to(process.user.as_deref(), low_ports, process.mark)?;

    logging::start(process.common.verbose, process.common.quiet)?;
    notes.iter().for_each(|note| log::info!("{note}"));
    set_limits(process, descriptors, &mut config);
    // Without its own addresses it could not recognise headers that name one as their client.
    let links = links::snapshot().map_err(|error| format!("cannot read this host's interfaces: {error}"))?;
    config.local_addresses = links::local_addresses(&links);
    let recording = Recording::start(&process.record, opened, "unwrap", &[], process.common.workers)?;
    let watch = Arc::new(UnwrapWatch::default());
    let pool = Pool::new(PoolConfig::default()).map_err(|error| error.to_string())?;
    let sockets = process.common.socket_options();
    let shared = Shared::with_options(pool, Box::new(Arc::clone(&watch)), sockets);
    let mut workers = Vec::new();
    let mut datagrams = Some(datagrams);
    for (number, streams) in streams.into_iter().enumerate() {
        // One worker has all UDP: so there is one owner for each client, whichever way it comes.
        let datagrams = datagrams.take();
        let datagram_listeners =
            if datagrams.is_some() { config.datagram_listeners.clone() } else { Vec::new() };
        if streams.is_empty() && datagrams.is_none() {
            break;
        }
        let machine = recording.unwrap(number, Config { datagram_listeners, ..config.clone() });
        let machine = machine.map_err(|error| error.to_string())?;
        let listeners = Listeners::new(streams, datagrams.unwrap_or_default());
        let worker = process.common.runtime().worker(machine, listeners, Arc::clone(&shared));
        workers.push(worker.map_err(|error| format!("cannot make an event loop: {error}"))?);
    }
    let signals = serve::Signals::new(workers.len())?;
    introduce(all, &config);
    let handles: Vec<Handle> = workers.iter().map(|(_, handle)| handle.clone()).collect();
    monitor::start(
        monitor::Watched::default(),
        Arc::clone(&shared),
        handles.clone(),
        false,
        Box::new(|_| ()),
    );
    memory::start(&process.common, handles.clone());
    if let Some(endpoint) = stats {
        endpoint.serve(UnwrapStats(Arc::clone(&watch), recording.clone()))?;
    }
    let running = Running { all, asked, bound: Asked::of(&config), descriptors, handles };
    let result = serve::serve(workers, signals, &mut || running.reload());
    recording.finish();
    // The summary must not be lost behind a flood of lines that is still being read.
    logging::flush();
    log::info!("{}", watch.summary());
    result
}

fn bind_datagrams(config: &Config) -> Result<Vec<UdpSocket>, String> {
    let addresses: Vec<SocketAddr> =
        config.datagram_listeners.iter().map(|listener| listener.address).collect();
    listen::once_each(&addresses)?;
    let bind = |address: &SocketAddr| {
        ropewalk_mio::listen_datagrams(*address)
            .map_err(|error| format!("cannot receive datagrams on {address}: {error}"))
    };
    addresses.iter().map(bind).collect()
}

/// Says what it will do.
fn introduce(all: &[Options], config: &Config) {
    if let Some(path) = all.first().and_then(|options| options.process.common.config.as_ref()) {
        log::info!("configuration: {}", path.display());
    }
    // In the order in which `add_listeners` has put them there, by now with the ports that the
    // system has chosen.
    let mut streams = config.listeners.iter().map(|listener| listener.address);
    let mut datagrams = config.datagram_listeners.iter().map(|listener| listener.address);
    for options in all {
        let listener = &options.listener;
        let targets = [("-4", &listener.v4), ("-6", &listener.v6)];
        let targets: Vec<String> = targets
            .iter()
            .filter_map(|(_, server)| server.as_ref())
            .map(|server| match server {
                Server::Addresses(addresses) => addresses.to_string(),
                Server::Local(path) => path.to_string(),
            })
            .collect();
        let to = match listener.to {
            To::Targets => targets.join(" and "),
            To::Header => "where the header says".into(),
        };
        for range in &listener.listen {
            let bound: [(Protocol, &mut dyn Iterator<Item = SocketAddr>); 2] =
                [(Protocol::Tcp, &mut streams), (Protocol::Udp, &mut datagrams)];
            for (protocol, bound) in bound {
                if listener.protocol.contains(&protocol) {
                    let bound: Vec<SocketAddr> = bound.take(range.len()).collect();
                    if let [first, ..] = bound[..] {
                        let last = bound.last().unwrap_or(&first).port();
                        log::info!("listening on {} ({protocol}), to {to}", Range { first, last });
                        if first.ip() == std::net::Ipv6Addr::UNSPECIFIED {
                            let other = format!("0.0.0.0:{}", first.port());
                            log::info!(
                                "[::] takes IPv6 clients only; --listen {other} beside it takes IPv4 clients"
                            );
                        }
                    }
                }
            }
        }
        if listener.allow_any {
            log::warn!("--allow-any: whoever reaches a listener can be whoever it likes");
        }
    }
    let is_local = |target: &Option<Target>| matches!(target, Some(Target::Local(_)));
    if config.listeners.iter().any(|l| is_local(&l.target_v4) || is_local(&l.target_v6)) {
        log::warn!("a server on a Unix socket sees no address");
    }
}
