//! Which client a connection is from and where it goes, judged on its header.

use super::config::{Config, DatagramListener, Destinations, Listener, PortConflict};
use crate::machine::event::Refusal;
use crate::machine::{Fault, Target, Via};
use crate::scope;
use crate::uplink::is_link_local;
use crate::wire::proxy::{Header, Origin, Transport};
use core::net::{IpAddr, SocketAddr};

/// What to do with a connection whose header is complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Admission {
    /// The address that the server sees as its client.
    pub(super) client: SocketAddr,
    /// Where to.
    pub(super) to: Target,
    /// How to leave.
    pub(super) via: Via,
}

/// Where a listener leads to.
struct Targets<'a> {
    v4: Option<Target>,
    v6: Option<Target>,
    to_header: Option<&'a [Destinations]>,
    transport: Transport,
}

/// Finds the way of a connection from `peer` that came in at `listener` with `header`.
pub(super) fn find(
    config: &Config,
    listener: &Listener,
    peer: SocketAddr,
    header: &Header,
) -> Result<Admission, Refusal> {
    let Listener { target_v4, target_v6, to_header, .. } = listener;
    let (v4, v6) = (target_v4.clone(), target_v6.clone());
    let targets = Targets { v4, v6, to_header: to_header.as_deref(), transport: Transport::Stream };
    search(config, &targets, peer, header)
}

/// The same for a datagram.
pub(super) fn find_datagram(
    config: &Config,
    listener: &DatagramListener,
    peer: SocketAddr,
    header: &Header,
) -> Result<Admission, Refusal> {
    let DatagramListener { target_v4, target_v6, to_header, .. } = listener;
    let (v4, v6) = (target_v4.map(Target::Address), target_v6.map(Target::Address));
    let targets = Targets { v4, v6, to_header: to_header.as_deref(), transport: Transport::Datagram };
    search(config, &targets, peer, header)
}

/// bind(2), ip(7): in use; the same pair is connected already; below 1024 without
/// CAP_NET_BIND_SERVICE.
pub(super) fn is_port_conflict(fault: Fault) -> bool {
    matches!(fault, Fault::AddressInUse | Fault::AddressNotAvailable | Fault::PermissionDenied)
}

fn search(
    config: &Config,
    targets: &Targets<'_>,
    peer: SocketAddr,
    header: &Header,
) -> Result<Admission, Refusal> {
    // A dual-stack socket reports IPv4 peers as IPv4-mapped, and Linux takes no such source.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let admitted = match header.origin {
        // A balancer on this host that checks the server's health names itself. That grants no more
        // than LOCAL does. (A datagram's source can be forged.)
        Origin::Proxied { source, .. }
            if targets.transport == Transport::Stream
                && source.ip().to_canonical() == peer.ip()
                && check_source(config, peer.ip()).is_err() =>
        {
            own(config, targets, peer)?
        }
        Origin::Proxied { source, destination } => proxied(config, targets, source, destination)?,
        Origin::Peer(_) => own(config, targets, peer)?,
    };
    match admitted.to {
        Target::Address(to) if leads_back(config, targets.transport, to) => Err(Refusal::Itself(to)),
        Target::Address(_) | Target::Local(_) => Ok(admitted),
    }
}

/// A client that the header names.
fn proxied(
    config: &Config,
    targets: &Targets<'_>,
    client: SocketAddr,
    destination: SocketAddr,
) -> Result<Admission, Refusal> {
    check_source(config, client.ip())?;
    let to = match targets.to_header {
        Some(allowed) if allowed.iter().any(|allowed| allowed.contains(destination)) => {
            Target::Address(destination)
        }
        Some(_) => return Err(Refusal::NotAllowed(destination)),
        None => targets.of(client).cloned().ok_or(Refusal::NoTarget { ipv6: client.is_ipv6() })?,
    };
    let transparent = match to {
        // A v4 client of a v6 destination, or the other way round, cannot be shown there.
        Target::Address(to) if to.is_ipv4() != client.is_ipv4() => {
            return Err(Refusal::NoTarget { ipv6: client.is_ipv6() });
        }
        Target::Address(_) if client.port() == 0 && config.on_port_conflict == PortConflict::Fail => {
            return Err(Refusal::NoPort);
        }
        Target::Address(_) => Some(client),
        // It sees no address, so it does not matter which.
        Target::Local(_) => None,
    };
    Ok(Admission { client, to, via: Via { transparent, mark: config.mark, ..Via::default() } })
}

/// The peer itself: a health check of the balancer, or a header without a client.
fn own(config: &Config, targets: &Targets<'_>, peer: SocketAddr) -> Result<Admission, Refusal> {
    let to = targets
        .of(peer)
        // For health checks use any server, even one of the other family.
        .or_else(|| targets.v4.as_ref().or(targets.v6.as_ref()))
        .cloned()
        .ok_or(Refusal::NoTarget { ipv6: peer.is_ipv6() })?;
    let mut via = Via { mark: config.mark, ..Via::default() };
    if let Target::Address(address) = to
        && address.is_ipv4() == peer.is_ipv4()
    {
        // Bind a local peer's address plainly. Its port is taken, by the incoming connection. From
        // loopback nothing leaves for a server elsewhere (a container): the system chooses.
        match is_here(config, peer.ip()) {
            true if peer.ip().is_loopback() && !is_here(config, address.ip()) => {}
            true => via.source = Some(peer.ip()),
            false if is_link_local(peer.ip()) => {}
            false => via.transparent = Some(peer),
        }
    }
    Ok(Admission { client: peer, to, via })
}

impl Targets<'_> {
    fn of(&self, client: SocketAddr) -> Option<&Target> {
        match client {
            SocketAddr::V4(_) => self.v4.as_ref(),
            SocketAddr::V6(_) => self.v6.as_ref(),
        }
    }
}

/// Whether `to` is one of our own listeners of this transport.
fn leads_back(config: &Config, transport: Transport, to: SocketAddr) -> bool {
    let ip = to.ip().to_canonical();
    let is_here = is_here(config, ip) || ip.is_unspecified();
    let is_own = |own: SocketAddr| scope::leads_to(to, own, is_here);
    match transport {
        Transport::Stream => config.listeners.iter().any(|listener| is_own(listener.address)),
        Transport::Datagram => config.datagram_listeners.iter().any(|listener| is_own(listener.address)),
    }
}

fn is_here(config: &Config, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || config.local_addresses.contains(&ip)
}

/// Whether a socket has the address it was to have. Linux lets one be bound to a broadcast address
/// of its networks, and then sends from an address of its own choice: the server would see this
/// host.
pub(super) fn check_source_kept(via: &Via, local: SocketAddr) -> Result<(), Refusal> {
    match via.transparent {
        Some(client) if client.ip() != local.ip().to_canonical() => Err(Refusal::BogusSource(client.ip())),
        _ => Ok(()),
    }
}

/// Whether a header may name `ip` as its client: a server trusts loopback and its own addresses,
/// and to connect from 0.0.0.0 or 255.255.255.255 would give it 127.0.0.1.
pub(super) fn check_source(config: &Config, ip: IpAddr) -> Result<(), Refusal> {
    let ip = ip.to_canonical();
    let bogus = is_here(config, ip)
        || is_link_local(ip)
        || ip.is_multicast()
        || ip.is_unspecified()
        || match ip {
            // RFC 1122 section 3.2.1.3: 0.0.0.0/8 is "this host on this network", 240.0.0.0/4 holds
            // the broadcast address and no host.
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 240,
            // RFC 4291 section 2.5.5.1: ::/96 holds IPv4 addresses in a form long given up.
            IpAddr::V6(v6) => v6.segments()[..6] == [0; 6],
        };
    if bogus && !config.allow_source.iter().any(|prefix| prefix.contains(ip)) {
        return Err(Refusal::BogusSource(ip));
    }
    Ok(())
}
