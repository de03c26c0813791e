//! `ropewalk dispatch`: from arguments to running workers.

use crate::args::{self, Dispatch as Options};
use crate::host::{self, links::Link, resolve::UplinkSpec};
use crate::runtime::Run;
use crate::stats::{self, DispatchStats};
use crate::watch::Watcher;
use crate::{limits, logging, monitor};
use ropewalk_core::dispatch::{Config, Credentials, Dispatch};
use ropewalk_core::uplink::{Pool, PoolConfig, UplinkConfig};
use ropewalk_mio::{Handle, Shared};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Runs until it is told to stop.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    logging::start(options.verbose, options.quiet)?;
    check_exposure(options)?;
    let credentials = options.auth_file.as_deref().map(read_credentials).transpose()?;
    let links = host::links::snapshot().unwrap_or_else(|error| {
        log::warn!("cannot read this host's interfaces: {error}");
        Vec::new()
    });
    let (pool, uplinks) = match options.tunnel {
        true => (tunnel_pool(options)?, Vec::new()),
        false => uplink_pool(options, &links)?,
    };
    let listeners = bind_all(options)?;
    let bound: Vec<SocketAddr> = listeners[0].iter().filter_map(|l| l.local_addr().ok()).collect();

    let stats = options.stats.map(stats::Endpoint::bind).transpose()?;

    let labels: Vec<String> = pool.uplinks.iter().map(|uplink| uplink.label.clone()).collect();
    let shares = pool.uplinks.iter().map(|uplink| (uplink.label.clone(), uplink.weight)).collect();
    introduce(options, &pool, &bound);
    let pool = Pool::new(pool).map_err(|error| error.to_string())?;
    let watcher = Arc::new(Watcher::new(labels));
    let shared = Shared::new(pool, Box::new(Arc::clone(&watcher)));

    let config = Config {
        listeners: bound,
        local_addresses: host::links::local_addresses(&links),
        credentials,
        allow_private: options.allow_private,
        tunnel: options.tunnel,
        handshake_timeout: options.handshake_timeout,
        connect_timeout: options.connect_timeout,
        idle_timeout: options.idle_timeout,
        max_connections: max_connections(options),
        buffer_limit: options.max_buffers as usize,
        narrate: options.verbose > 0,
        ..Config::default()
    };
    let mut workers = Vec::new();
    for listeners in listeners {
        let machine = Dispatch::new(config.clone()).map_err(|error| error.to_string())?;
        let worker = options.runtime().worker(machine, listeners, Arc::clone(&shared));
        workers.push(worker.map_err(|error| format!("cannot make an event loop: {error}"))?);
    }
    let handles = workers.iter().map(|(_, handle)| handle.clone()).collect();
    monitor::start(uplinks, links, Arc::clone(&shared), handles);
    if let Some(endpoint) = stats {
        endpoint.serve(DispatchStats::new(Arc::clone(&watcher), Arc::clone(&shared), shares))?;
    }
    let result = serve(workers);
    report(&shared, &watcher);
    result
}

/// Nobody opens a proxy to the world by accident.
fn check_exposure(options: &Options) -> Result<(), String> {
    let exposed = options.listen.iter().find(|address| !address.ip().is_loopback());
    match exposed {
        Some(address) if options.tunnel && !options.allow_open_proxy => Err(format!(
            "--listen {address} opens the endpoints of --tunnel to clients beyond this host: expected \
             --allow-open-proxy if everybody who reaches this address may use them"
        )),
        Some(address) if options.auth_file.is_none() && !options.allow_open_proxy => Err(format!(
            "--listen {address} serves clients beyond this host: expected --auth-file FILE, or \
                 --allow-open-proxy if everybody who reaches this address may use it"
        )),
        _ => Ok(()),
    }
}

fn read_credentials(path: &Path) -> Result<Credentials, String> {
    let text = std::fs::read(path).map_err(|error| format!("--auth-file {}: {error}", path.display()))?;
    Credentials::parse(&text).map_err(|error| format!("--auth-file {}: {error}", path.display()))
}

fn uplink_pool(options: &Options, links: &[Link]) -> Result<(PoolConfig, Vec<UplinkSpec>), String> {
    let wanted = args::uplinks(&options.uplinks)?;
    let resolved = host::resolve::resolve_all(&wanted, links)?;
    for (name, why) in &resolved.left_out {
        log::info!("auto leaves out {name}: {why}");
    }
    for warning in resolved.uplinks.iter().flat_map(|uplink| &uplink.warnings) {
        log::warn!("{warning}");
    }
    if resolved.uplinks.is_empty() {
        log::warn!(
            "no interface with a default route of its own was found: serving through the system's routing \
             (`ropewalk list` shows what there is)"
        );
    }
    let uplinks = resolved.uplinks.iter().map(|spec| uplink_config(spec, links)).collect();
    let unbound = monitor::unbound(links, &resolved.uplinks);
    Ok((PoolConfig { uplinks, unbound, ..PoolConfig::default() }, resolved.uplinks))
}

fn uplink_config(spec: &UplinkSpec, links: &[Link]) -> UplinkConfig {
    UplinkConfig {
        weight: spec.weight,
        device: spec.device,
        source_v4: spec.source_v4,
        source_v6: spec.source_v6,
        networks: monitor::networks(spec.device, &spec.on_link, links),
        ..UplinkConfig::new(spec.label.clone())
    }
}

fn tunnel_pool(options: &Options) -> Result<PoolConfig, String> {
    let mut uplinks = Vec::new();
    for endpoint in args::endpoints(&options.uplinks)? {
        let label = endpoint.label;
        let mut addresses = label
            .to_socket_addrs()
            .map_err(|error| format!("endpoint '{label}' cannot be looked up: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("endpoint '{label}' has no address"))?;
        let same_port = |listener: &&SocketAddr| listener.port() == address.port();
        if let Some(listener) = options
            .listen
            .iter()
            .filter(same_port)
            .find(|l| l.ip() == address.ip() || (l.ip().is_unspecified() && address.ip().is_loopback()))
        {
            return Err(format!(
                "endpoint '{label}' is this proxy itself (--listen {listener}): expected another"
            ));
        }
        uplinks.push(UplinkConfig {
            weight: endpoint.weight,
            endpoint: Some(address),
            ..UplinkConfig::new(label)
        });
    }
    Ok(PoolConfig { uplinks, ..PoolConfig::default() })
}

/// The listeners of each worker.
fn bind_all(options: &Options) -> Result<Vec<Vec<TcpListener>>, String> {
    let several = options.workers > 1;
    for (number, address) in options.listen.iter().enumerate() {
        if address.port() != 0 && options.listen[..number].contains(address) {
            return Err(format!("--listen {address} is given twice"));
        }
    }
    let mut first: Vec<TcpListener> = Vec::new();
    for address in &options.listen {
        let mut listener =
            ropewalk_mio::listen(*address, false).map_err(|error| cannot_listen(*address, &error))?;
        if several {
            // Shared ports let a second ropewalk listen here unseen: the first bind, unshared, has shown that
            // nobody does.
            let actual = listener.local_addr().map_err(|error| error.to_string())?;
            drop(listener);
            listener = ropewalk_mio::listen(actual, true).map_err(|error| cannot_listen(actual, &error))?;
        }
        first.push(listener);
    }
    let mut all = vec![first];
    for _ in 1..options.workers {
        let again = |listener: &TcpListener| {
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            ropewalk_mio::listen(address, true).map_err(|error| cannot_listen(address, &error))
        };
        let more = all[0].iter().map(again).collect::<Result<Vec<_>, String>>()?;
        all.push(more);
    }
    Ok(all)
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    host::port::cannot_listen(address, error, "--listen")
}

/// Says what it will do, as its ancestor did.
fn introduce(options: &Options, pool: &PoolConfig, bound: &[SocketAddr]) {
    if let Some(path) = &options.config {
        log::info!("configuration: {}", path.display());
    }
    let what = if options.tunnel { "endpoint" } else { "uplink" };
    for (number, uplink) in (1..).zip(&pool.uplinks) {
        log::info!("{what} {number}: {}, weight {}", uplink.label, uplink.weight);
    }
    let protocols = if options.tunnel { "raw relay" } else { "SOCKS5, SOCKS4, HTTP" };
    for address in bound {
        log::info!("listening on {address} ({protocols})");
    }
}

/// Each worker has its part of the connections.
fn max_connections(options: &Options) -> usize {
    let possible = limits::connections(limits::raise_descriptors());
    let wanted = options.max_connections.map_or(possible, u64::from);
    if wanted > possible {
        log::warn!(
            "--max-connections {wanted} needs more descriptors than the system allows: they last for about \
             {possible} connections (ulimit -Hn)"
        );
    }
    let each = wanted.div_ceil(u64::from(options.workers));
    usize::try_from(each).unwrap_or(usize::MAX)
}

type Running = JoinHandle<std::io::Result<Dispatch>>;

/// A worker needs little stack: its buffers are on the heap.
const STACK: usize = 256 * 1024;

fn serve(workers: Vec<(Run, Handle)>) -> Result<(), String> {
    let signals = signals::Signals::new(workers.len())?;
    let mut running: Vec<Running> = Vec::new();
    let mut handles = Vec::new();
    for (number, (worker, handle)) in workers.into_iter().enumerate() {
        let closer = signals.closer();
        let run = move || {
            let result = worker();
            closer.worker_ended(result.is_err());
            result
        };
        let thread =
            std::thread::Builder::new().name(format!("worker {number}")).stack_size(STACK).spawn(run);
        running.push(thread.map_err(|error| format!("cannot start worker {number}: {error}"))?);
        handles.push(handle);
    }
    signals.wait(&handles);
    // Where one worker failed the others end too: half a proxy is worse than one that its supervisor restarts.
    handles.iter().for_each(Handle::stop);
    for thread in running {
        match thread.join() {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("a worker failed: {error}")),
            Err(_) => return Err("a worker panicked".into()),
        }
    }
    Ok(())
}

fn report(shared: &Shared, watcher: &Watcher) {
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
    log::info!("{}", watcher.summary());
}

#[cfg(unix)]
mod signals {
    //! SIGTERM and SIGINT drain, a second one stops.

    use ropewalk_mio::Handle;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(super) struct Signals {
        inner: signal_hook::iterator::Signals,
        running: Arc<AtomicUsize>,
    }

    pub(super) struct Closer {
        handle: signal_hook::iterator::Handle,
        running: Arc<AtomicUsize>,
    }

    impl Closer {
        pub(super) fn worker_ended(&self, failed: bool) {
            let last = self.running.fetch_sub(1, Ordering::SeqCst) == 1;
            if last || failed {
                self.handle.close();
            }
        }
    }

    impl Signals {
        pub(super) fn new(workers: usize) -> Result<Self, String> {
            let inner = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
                .map_err(|error| format!("cannot watch for signals: {error}"))?;
            Ok(Signals { inner, running: Arc::new(AtomicUsize::new(workers)) })
        }

        pub(super) fn closer(&self) -> Closer {
            Closer { handle: self.inner.handle(), running: Arc::clone(&self.running) }
        }

        /// Waits until all workers have ended, or one has failed.
        pub(super) fn wait(mut self, handles: &[Handle]) {
            let mut asked = 0;
            for _ in &mut self.inner {
                asked += 1;
                if asked == 1 {
                    log::info!("draining: no new connections; once more to stop at once");
                    handles.iter().for_each(Handle::drain);
                } else {
                    handles.iter().for_each(Handle::stop);
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod signals {
    //! Ctrl-C ends the process.

    use ropewalk_mio::Handle;

    pub(super) struct Signals;
    pub(super) struct Closer;

    impl Closer {
        pub(super) fn worker_ended(&self, _: bool) {}
    }

    impl Signals {
        pub(super) fn new(_: usize) -> Result<Self, String> {
            Ok(Signals)
        }

        pub(super) fn closer(&self) -> Closer {
            Closer
        }

        /// The joins wait.
        pub(super) fn wait(self, _: &[Handle]) {}
    }
}
