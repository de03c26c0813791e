//! Proxies as uplinks: what the machine is told of them, and where they are.
//!
//! A proxy that is given by name is looked up at the start and then now and then, in a thread of
//! its own: its address may change, and at boot there may be no resolver yet. Each look-up that
//! fails leaves what was known.

use crate::host::matching::UplinkSpec;
use crate::host::monitor::Watched;
use crate::host::upstream::{Scheme, UpstreamArg};
use ropewalk_core::dispatch::{Upstream, UpstreamProtocol};
use ropewalk_core::machine::UplinkId;
use ropewalk_mio::Shared;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often one is looked at that is not known, or not well.
const ROUND: Duration = Duration::from_secs(5);
/// After so many rounds a name is looked up anew, however well its proxy is.
const ROUNDS: u32 = 12;
const STACK: usize = 256 * 1024;

/// What the machine has to say to each, in the pool's order.
pub(super) fn introductions(uplinks: &[UplinkSpec]) -> Vec<Option<Upstream>> {
    let of = |upstream: &UpstreamArg| Upstream {
        protocol: match upstream.scheme {
            Scheme::Socks5 => UpstreamProtocol::Socks5,
            Scheme::Http => UpstreamProtocol::Http,
        },
        login: upstream.login.clone(),
    };
    uplinks.iter().map(|spec| spec.upstream.as_ref().map(of)).collect()
}

/// Where a proxy is; the addresses of its name. It may take a while.
fn addresses(upstream: &UpstreamArg) -> std::io::Result<Vec<SocketAddr>> {
    (upstream.host.as_str(), upstream.port).to_socket_addrs().map(Iterator::collect)
}

/// The first address of a proxy; where there is none, a line says so.
pub(super) fn first_address(label: &str, upstream: &UpstreamArg) -> Option<SocketAddr> {
    match addresses(upstream) {
        Ok(all) => all.first().copied(),
        Err(error) => {
            log::warn!("{label} cannot be looked up: {error}; it is used once it can");
            None
        }
    }
}

/// Those that are given by name.
fn named(uplinks: &Watched) -> Vec<(UplinkId, UpstreamArg)> {
    let name = |(uplink, spec): (UplinkId, UplinkSpec)| {
        let upstream = spec.upstream?;
        let literal = upstream.host.parse::<std::net::IpAddr>().is_ok();
        (!literal).then_some((uplink, upstream))
    };
    uplinks.specs().into_iter().filter_map(name).collect()
}

/// Looks after those that are given by name from now on, where there are any.
pub(super) fn follow(uplinks: &Watched, shared: &Arc<Shared>) {
    static FOLLOWED: AtomicBool = AtomicBool::new(false);
    if named(uplinks).is_empty() || FOLLOWED.swap(true, Ordering::Relaxed) {
        return;
    }
    let (uplinks, shared) = (uplinks.clone(), Arc::clone(shared));
    let thread = std::thread::Builder::new().name("proxies".into()).stack_size(STACK);
    let spawned = thread.spawn(move || {
        for round in 1u32.. {
            std::thread::sleep(ROUND);
            for (uplink, upstream) in named(&uplinks) {
                look(uplink, &upstream, round.is_multiple_of(ROUNDS), &shared);
            }
        }
    });
    if let Err(error) = spawned {
        log::warn!("cannot look after the addresses of proxies: {error}; what changes is not noticed");
    }
}

/// One that is not well may be reached at another of its addresses.
fn look(uplink: UplinkId, upstream: &UpstreamArg, due: bool, shared: &Shared) {
    let now = shared.now();
    let (known, well) = {
        let pool = shared.pool();
        let well = pool.accounts(now).nth(usize::from(uplink.0)).is_some_and(|(_, _, well)| well);
        (pool.endpoint(uplink), well)
    };
    if !due && well && known.is_some() {
        return;
    }
    let Ok(all) = addresses(upstream) else { return };
    let at = known.and_then(|known| all.iter().position(|address| *address == known));
    let next = match at {
        Some(at) if well => all.get(at),
        Some(at) => all.get((at + 1) % all.len()),
        None => all.first(),
    };
    if next.copied() != known && next.is_some() {
        shared.pool().set_endpoint(uplink, next.copied());
    }
}
