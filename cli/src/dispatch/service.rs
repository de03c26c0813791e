//! `ropewalk dispatch` as a service: from switches to running workers.

use super::args::{self, Args};
use super::plan::{Fixed, Plan, machine_config, of_worker};
use super::reload::{Running, has_auto};
#[cfg(feature = "names")]
use super::resolver;
use super::stats::DispatchStats;
use super::upstream;
use super::usage;
use super::watch::{DispatchWatch, Named};
use crate::host::{self, links::Link, monitor, select};
use crate::process::record::{Recorded, Recording};
use crate::process::runtime::Run;
use crate::process::{listen, logging, memory, serve, stats};
#[cfg(feature = "names")]
use ropewalk_core::dispatch::NamesConfig;
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::uplink::{Pool, PoolConfig};
use ropewalk_mio::{Handle, Shared, SocketOptions};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs until it is stopped.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(options: &'static Args) -> Result<(), String> {
    logging::start(options.common.verbose, options.common.quiet)?;
    let links = host::links::snapshot().unwrap_or_else(|error| {
        log::warn!("cannot read this host's interfaces: {error}");
        Vec::new()
    });
    let Plan {
        pool,
        uplinks,
        probes,
        rates,
        #[cfg(feature = "names")]
        names,
        credentials,
        metered,
    } = Plan::new(options, &[], &links)?;
    let account = (!metered.is_empty()).then(|| usage::open(options.usage_file.as_deref())).transpose()?;
    let named: Vec<Named> = pool.uplinks.iter().map(Named::of).collect();
    let labels: Vec<String> = named.iter().map(|named| named.label.clone()).collect();
    introduce(options, &pool);
    let pool = Pool::new(pool).map_err(|error| error.to_string())?;

    let listeners = listen::bind_all(&options.listen, &options.common)?;
    let bound: Vec<SocketAddr> = listeners[0].iter().filter_map(|l| l.local_addr().ok()).collect();
    let stats = options.common.stats.map(stats::Endpoint::bind).transpose()?;
    let opened = Recording::open(&options.record)?;
    let recording = Recording::start(&options.record, opened, "dispatch", &labels, options.common.workers)?;
    let watch = Arc::new(DispatchWatch::new(named, recording.clone()));
    let shared = Shared::with_options(pool, Box::new(Arc::clone(&watch)), socket_options(options));

    let clerk = account.map(|account| usage::start(account, metered, Arc::clone(&shared))).transpose()?;
    let fixed = Fixed {
        listeners: bound,
        private_endpoints: stats.iter().map(stats::Endpoint::address).collect(),
        local_addresses: host::links::local_addresses(&links),
    };
    let upstreams = upstream::introductions(&uplinks);
    let config = Config {
        probes,
        rates,
        #[cfg(feature = "names")]
        names,
        ..machine_config(options, fixed.clone(), credentials, labels.len(), upstreams)
    };
    let workers = workers(options, listeners, &config, &recording, &shared)?;
    let handles: Vec<Handle> = workers.iter().map(|(_, handle)| handle.clone()).collect();
    let signals = serve::Signals::new(workers.len())?;
    let protocols = if options.tunnel { "raw relay" } else { "SOCKS5, SOCKS4, HTTP" };
    fixed.listeners.iter().for_each(|address| log::info!("listening on {address} ({protocols})"));
    let watched = monitor::Watched::new(uplinks, &links);
    upstream::follow(&watched, &shared);
    memory::start(&options.common, handles.clone());
    #[cfg(feature = "names")]
    let resolvers = follow_resolvers(options, &watched, &config.names, &handles);
    let running = Arc::new(Mutex::new(Running {
        options,
        again: None,
        found: select::auto(&links).uplinks,
        fixed,
        shared: Arc::clone(&shared),
        watch: Arc::clone(&watch),
        watched,
        handles,
        #[cfg(feature = "names")]
        resolvers,
    }));
    follow_links(&running);
    if let Some(endpoint) = stats {
        endpoint.serve(DispatchStats::new(Arc::clone(&watch), Arc::clone(&shared)))?;
    }
    let result = serve::serve(workers, signals, &mut || lock(&running).reload());
    drop(clerk);
    recording.finish();
    // The summary must not be lost behind a flood of lines that is still being read.
    logging::flush();
    report(&shared, &watch);
    result
}

fn socket_options(options: &Args) -> SocketOptions {
    let user_timeout = Some(options.user_timeout).filter(|timeout| !timeout.is_zero());
    SocketOptions { user_timeout, ..options.common.socket_options() }
}

type Workers = Vec<(Run<Recorded<Dispatch>>, Handle)>;

/// A worker for each set of listeners.
fn workers(
    options: &Args,
    listeners: Vec<Vec<TcpListener>>,
    config: &Config,
    recording: &Recording,
    shared: &Arc<Shared>,
) -> Result<Workers, String> {
    let mut workers = Workers::new();
    for (number, listeners) in listeners.into_iter().enumerate() {
        let machine =
            recording.dispatch(number, of_worker(config, number)).map_err(|error| error.to_string())?;
        let worker = options.common.runtime().worker(machine, listeners.into(), Arc::clone(shared));
        workers.push(worker.map_err(|error| format!("cannot make an event loop: {error}"))?);
    }
    Ok(workers)
}

/// Has the workers hear of the links' name servers. Gives the switches, which a reload may change.
#[cfg(feature = "names")]
fn follow_resolvers(
    options: &Args,
    watched: &monitor::Watched,
    names: &NamesConfig,
    handles: &[Handle],
) -> Arc<Mutex<Vec<resolver::ResolverArg>>> {
    let resolvers = Arc::new(Mutex::new(options.resolver.clone()));
    if !options.tunnel {
        resolver::follow(&resolvers, watched, names, handles.to_vec());
    }
    resolvers
}

/// Has the pool, the workers and `auto` hear of the links of this host.
fn follow_links(running: &Arc<Mutex<Running>>) {
    let now = lock(running);
    // A link that `auto` would take has an address before it has its default route.
    let named = args::uplinks(&now.options.uplinks).unwrap_or_default();
    let routes = has_auto(&named) && !now.options.tunnel;
    let told = Arc::clone(running);
    let changed = Box::new(move |links: &[Link]| lock(&told).links_changed(links));
    monitor::start(now.watched.clone(), Arc::clone(&now.shared), now.handles.clone(), routes, changed);
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what it will do, as its ancestor did.
fn introduce(options: &Args, pool: &PoolConfig) {
    if let Some(path) = &options.common.config {
        log::info!("configuration: {}", path.display());
    }
    let what = if options.tunnel { "endpoint" } else { "uplink" };
    for (number, uplink) in (1..).zip(&pool.uplinks) {
        let cap = uplink.cap.map(|cap| format!(", up to {cap} bytes a month")).unwrap_or_default();
        log::info!("{what} {number}: {}, weight {}{cap}", uplink.label, uplink.weight);
    }
    options.rate.iter().for_each(|rate| log::info!("{rate}"));
    if pool.uplinks.len() > 1 {
        log::info!("policy: {}", pool.policy);
    }
}

fn report(shared: &Shared, watch: &DispatchWatch) {
    for (label, account, _) in shared.pool().accounts(shared.now()) {
        log::info!(
            "{label}: {} connections, {} attempts failed, {} outpaced, {} bytes up, {} bytes down",
            account.connected,
            account.failed,
            account.outpaced,
            account.sent,
            account.received
        );
    }
    log::info!("{}", watch.summary());
}
