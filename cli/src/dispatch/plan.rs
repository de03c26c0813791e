//! What switches and the files that they name come to: at the start, and again at a reload.
//!
//! ```text
//! Args, interfaces ──▶ Plan ─┬─▶ the pool, the uplinks to be watched
//!                            └─▶ machine_config ──▶ of_worker: the Config of each machine
//! ```

use super::args::{self, Args};
use super::cap::{self, Metered};
#[cfg(feature = "names")]
use super::resolver;
use super::{probe, rate, upstream};
use crate::host::uplink::UplinkArg;
use crate::host::{self, links::Link, matching::UplinkSpec, monitor, obstacles};
use crate::process::{descriptors, files};
#[cfg(feature = "names")]
use ropewalk_core::dispatch::NamesConfig;
use ropewalk_core::dispatch::{Config, Credentials, ProbeConfig, Rate, Upstream};
use ropewalk_core::machine::Device;
use ropewalk_core::uplink::{PoolConfig, UplinkConfig};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// UDP associations that may be open where no switch says how many.
const MOST_ASSOCIATIONS: usize = 1024;

/// What comes from outside, and is as it was at the start when files are read again.
#[derive(Clone)]
pub(super) struct Fixed {
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) private_endpoints: Vec<SocketAddr>,
    pub(super) local_addresses: Vec<IpAddr>,
}

/// What switches and the files that they name come to.
pub(super) struct Plan {
    pub(super) pool: PoolConfig,
    pub(super) uplinks: Vec<UplinkSpec>,
    /// In the order of the pool's uplinks.
    pub(super) probes: Vec<Option<ProbeConfig>>,
    /// The same, for one worker.
    pub(super) rates: Vec<Option<Rate>>,
    #[cfg(feature = "names")]
    pub(super) names: NamesConfig,
    pub(super) credentials: Option<Credentials>,
    /// The uplinks with a cap.
    pub(super) metered: Vec<Metered>,
}

impl Plan {
    /// With `more` uplinks than the options name.
    pub(super) fn new(options: &Args, more: &[UplinkArg], links: &[Link]) -> Result<Self, String> {
        check_exposure(options)?;
        let credentials = options.auth_file.as_deref().map(read_credentials).transpose()?;
        let (mut pool, uplinks) = match options.tunnel {
            true => (tunnel_pool(options, &host::links::local_addresses(links))?, Vec::new()),
            false => uplink_pool(options, more, links)?,
        };
        probe::set_tiers(&options.backup, &mut pool.uplinks)?;
        let probes = probe::assign(&options.probe, &mut pool.uplinks)?;
        let metered = cap::assign(&options.cap, &mut pool.uplinks)?;
        let rates = rate::assign(&options.rate, &pool.uplinks, options.common.workers)?;
        pool.policy = options.policy;
        #[cfg(feature = "names")]
        let names = resolver::plan(options, &pool.uplinks, links)?;
        Ok(Plan {
            pool,
            uplinks,
            probes,
            rates,
            #[cfg(feature = "names")]
            names,
            credentials,
            metered,
        })
    }
}

/// What a machine gets, without probes and rates.
pub(super) fn machine_config(
    options: &Args,
    fixed: Fixed,
    credentials: Option<Credentials>,
    uplinks: usize,
    upstreams: Vec<Option<Upstream>>,
) -> Config {
    // An association has its client's socket and, in most cases, one for each uplink.
    let each = 1 + uplinks.clamp(1, 3);
    // Proxies carry no datagrams.
    let only_proxies = !upstreams.is_empty() && upstreams.iter().all(Option::is_some);
    let associations = if only_proxies { 0 } else { associations(options, each) };
    let max_connections =
        descriptors::each_worker(options.common.max_connections, options.common.workers, associations * each);
    // One client shall not keep all others out. A few connections are no attack.
    let of_one = options.max_client_connections.map_or((max_connections / 4 * 3).max(64), |asked| {
        usize::try_from(asked.div_ceil(options.common.workers.into())).unwrap_or(usize::MAX)
    });
    let Fixed { listeners, private_endpoints, local_addresses } = fixed;
    Config {
        listeners,
        private_endpoints,
        local_addresses,
        credentials,
        allow_private: options.allow_private,
        tunnel: options.tunnel,
        handshake_timeout: options.handshake_timeout,
        connect_timeout: options.connect_timeout,
        idle_timeout: options.common.idle_timeout,
        exchange_timeout: options.http_timeout,
        max_connections,
        max_half_open: options.common.handshakes(max_connections),
        max_client_connections: Some(of_one),
        max_kept: options.max_request_memory as usize,
        max_lookups: options.max_lookups as usize,
        lookup_timeout: options.lookup_timeout,
        max_associations: associations.div_ceil(options.common.workers.into()),
        max_destinations: options.max_destinations as usize,
        upstreams,
        flow_idle_timeout: options.close_after,
        max_queue: options.max_queue as usize,
        buffer_limit: options.common.max_buffers as usize,
        max_head: options.max_head_size as usize,
        max_fields: options.max_header_fields as usize,
        request_events: options.common.verbose > 0,
        ..Config::default()
    }
}

/// UDP associations of the process. Those that nobody asked for take no more than a quarter of the
/// descriptors, of which one needs `each`.
fn associations(options: &Args, each: usize) -> usize {
    if options.tunnel {
        return 0;
    }
    let possible = || match descriptors::raise_descriptors() {
        Some(limit) => usize::try_from(limit / 4).unwrap_or(usize::MAX) / each,
        None => MOST_ASSOCIATIONS,
    };
    options.max_associations.map_or_else(|| possible().min(MOST_ASSOCIATIONS), |asked| asked as usize)
}

/// Opening a proxy to the world takes a deliberate switch.
fn check_exposure(options: &Args) -> Result<(), String> {
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
    let text = files::read(path).map_err(|error| format!("--auth-file {}: {error}", path.display()))?;
    warn_if_readable("--auth-file", path);
    Credentials::parse(&text).map_err(|error| format!("--auth-file {}: {error}", path.display()))
}

/// Passwords of proxies in a file that others can read.
fn warn_of_open_passwords(options: &Args, uplinks: &[UplinkSpec]) {
    let login = |spec: &UplinkSpec| spec.upstream.as_ref().is_some_and(|proxy| proxy.login.is_some());
    if let Some(path) = options.common.config.as_deref().filter(|_| uplinks.iter().any(login)) {
        warn_if_readable("--config", path);
    }
}

fn warn_if_readable(switch: &str, path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
        if mode & 0o044 != 0 {
            let (mode, path) = (mode & 0o777, path.display());
            log::warn!("{switch} {path}: others can read the passwords (mode {mode:o}): chmod 600 {path}");
        }
    }
    #[cfg(not(unix))]
    let _ = (switch, path);
}

fn uplink_pool(
    options: &Args,
    more: &[UplinkArg],
    links: &[Link],
) -> Result<(PoolConfig, Vec<UplinkSpec>), String> {
    let mut wanted = args::uplinks(&options.uplinks)?;
    wanted.extend_from_slice(more);
    let matched = host::matching::match_all(&wanted, links)?;
    for (name, why) in &matched.left_out {
        log::info!("auto leaves out {name}: {why}");
    }
    warn_of_open_passwords(options, &matched.uplinks);
    for warning in matched.uplinks.iter().flat_map(|uplink| &uplink.warnings) {
        log::warn!("{warning}");
    }
    let devices = matched.uplinks.iter().filter_map(|uplink| uplink.device.as_ref());
    let interfaces: Vec<&str> = devices.map(Device::as_str).collect();
    for obstacle in obstacles::find(links, &interfaces, obstacles::NOW) {
        log::warn!("{obstacle}");
    }
    if matched.uplinks.is_empty() {
        log::warn!(
            "no interface with a default route of its own was found: serving through the system's routing \
             (`ropewalk list` shows what there is)"
        );
    }
    let uplinks = matched.uplinks.iter().map(|spec| uplink_config(spec, links)).collect();
    let unbound = monitor::unbound(links, &matched.uplinks);
    Ok((PoolConfig { uplinks, unbound, ..PoolConfig::default() }, matched.uplinks))
}

pub(super) fn uplink_config(spec: &UplinkSpec, links: &[Link]) -> UplinkConfig {
    if let Some(proxy) = &spec.upstream {
        return UplinkConfig {
            weight: spec.weight,
            device: spec.device,
            endpoint: upstream::first_address(&spec.label, proxy),
            upstream: true,
            ..UplinkConfig::new(spec.label.clone())
        };
    }
    UplinkConfig {
        weight: spec.weight,
        device: spec.device,
        source_v4: spec.source_v4,
        source_v6: spec.source_v6,
        networks: monitor::networks(spec.device, &spec.on_link, links),
        ..UplinkConfig::new(spec.label.clone())
    }
}

fn tunnel_pool(options: &Args, own: &[IpAddr]) -> Result<PoolConfig, String> {
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
            .find(|l| l.ip() == address.ip() || (l.ip().is_unspecified() && is_here(address.ip(), own)))
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

fn is_here(ip: IpAddr, own: &[IpAddr]) -> bool {
    ip.is_loopback() || ip.is_unspecified() || own.contains(&ip)
}

/// What the worker of this number gets. The first probes for all: health is the process's.
pub(super) fn of_worker(config: &Config, number: usize) -> Config {
    Config {
        probes: if number == 0 { config.probes.clone() } else { Vec::new() },
        #[cfg(feature = "names")]
        names: resolver::of_worker(config.names.clone(), number),
        ..config.clone()
    }
}
