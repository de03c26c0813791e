//! The interfaces of this host as one list of plain values.
//!
//! Linux is asked over rtnetlink, other systems through `if-addrs`, which knows no routes.

use super::prefix::{self, Prefix};
use ropewalk_core::machine::Device;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    /// The system's number for it.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// The name as a socket may be bound to it; `None` where it does not fit (Windows has such).
    pub(crate) device: Option<Device>,
    /// Switched on.
    pub(crate) enabled: bool,
    /// Switched on, with a carrier, and ready (a WLAN is once it has joined its network).
    pub(crate) up: bool,
    /// Leads back to this host.
    pub(crate) loopback: bool,
    /// What made it, in Linux's words (`veth`, `bridge`, `tun`, `wireguard`); `None` for hardware,
    /// and on other systems.
    pub(crate) kind: Option<String>,
    /// The bridge, bond or VRF it is a part of.
    pub(crate) master: Option<u32>,
    /// Real or virtual hardware backs it.
    pub(crate) physical: bool,
    /// Its addresses, in the system's order.
    pub(crate) addresses: Vec<Address>,
    /// The default routes through it, in all tables, IPv4 first, by metric; `None` where the system
    /// does not tell.
    pub(crate) defaults: Option<Vec<DefaultRoute>>,
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Bits of the prefix.
    pub(crate) prefix_len: u8,
    /// The other end of a point-to-point link; the prefix is then the peer's.
    pub(crate) peer: Option<IpAddr>,
    /// The broadcast address that was given with it; `None` where there is none or the system does
    /// not tell.
    pub(crate) broadcast: Option<IpAddr>,
    /// May be the source of a connection that leaves the link: not tentative, deprecated, loopback
    /// or link-local.
    pub(crate) usable: bool,
}

/// A default route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DefaultRoute {
    /// For IPv6; else for IPv4.
    pub(crate) v6: bool,
    /// The routing table (254 is `main`).
    pub(crate) table: u32,
    /// Lower is preferred.
    pub(crate) metric: u32,
    /// The router; `None` where the link needs none.
    pub(crate) gateway: Option<IpAddr>,
    /// Which sockets get to it.
    pub(crate) reach: Reach,
}

/// Which sockets bound to the interface get to a route, by the rules of the system (`ip rule`).
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "routes are told on Linux alone"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// All.
    Always,
    /// Those with a source address in this prefix.
    From(Prefix),
    /// Not those of ours: no rule leads there, or one that asks for a mark, a user, a port.
    Never,
}

impl Link {
    /// The default route of this family that sockets bound to this interface use; with `source`
    /// those with that source address. `Err` where the system does not report its routes.
    pub(crate) fn default_route(
        &self,
        v6: bool,
        source: Option<IpAddr>,
    ) -> Result<Option<&DefaultRoute>, RoutesUnknown> {
        let defaults = self.defaults.as_ref().ok_or(RoutesUnknown)?;
        Ok(defaults.iter().filter(|route| route.v6 == v6).find(|route| match route.reach {
            Reach::Always => true,
            Reach::From(prefix) => source.is_some_and(|source| prefix::contains(prefix, source)),
            Reach::Never => false,
        }))
    }

    /// Its default routes, where the system tells them.
    pub(crate) fn default_routes(&self) -> impl Iterator<Item = &DefaultRoute> {
        self.defaults.iter().flatten()
    }

    /// Whether it has an IPv4 default route of its own, in any table; `None`: not known.
    pub(crate) fn default_v4(&self) -> Option<bool> {
        self.defaults.as_ref().map(|routes| routes.iter().any(|route| !route.v6))
    }

    /// Whether it has an IPv6 default route of its own, in any table; `None`: not known.
    pub(crate) fn default_v6(&self) -> Option<bool> {
        self.defaults.as_ref().map(|routes| routes.iter().any(|route| route.v6))
    }

    /// Its usable addresses.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(|address| address.usable)
    }

    /// Whether it has IPv6 and no IPv4 to send from.
    pub(crate) fn is_v6_only(&self) -> bool {
        let has = |v6: bool| self.usable().any(|address| address.ip.is_ipv6() == v6);
        has(true) && !has(false)
    }

    /// Whether `ip` is one of its addresses.
    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.ip == ip)
    }

    /// The prefixes that are on-link here, each once. fe80::/64 is left out: every interface has
    /// it, and an address of it says nothing without its interface.
    pub(crate) fn networks(&self) -> Vec<Prefix> {
        let mut networks = Vec::new();
        for address in &self.addresses {
            let network = address.network();
            let nothing = network.1 == 0 || address.ip.is_ipv6() && prefix::is_link_local(address.ip);
            if !nothing && !networks.contains(&network) {
                networks.push(network);
            }
        }
        networks
    }

    /// In a word: `up`, `no carrier` or `off`.
    pub(crate) fn state(&self) -> &'static str {
        match (self.enabled, self.up) {
            (_, true) => "up",
            (true, false) => "no carrier",
            (false, false) => "off",
        }
    }
}

/// The system does not report its routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RoutesUnknown;

impl Address {
    /// The network that is on-link by this address.
    pub(crate) fn network(&self) -> Prefix {
        prefix::network(self.peer.unwrap_or(self.ip), self.prefix_len)
    }

    /// The broadcast addresses that come with it: the one that was given, and of its network the
    /// last and, before Linux 5.14, the first. RFC 3021: of two addresses none is for broadcasts.
    fn broadcasts(&self) -> Vec<IpAddr> {
        let mut all = Vec::from_iter(self.broadcast);
        if let (IpAddr::V4(first), bits @ 0..=30) = self.network() {
            all.extend([first, Ipv4Addr::from_bits(first.to_bits() | u32::MAX >> bits)].map(IpAddr::V4));
        }
        all
    }
}

/// The interfaces of this host as they are now, by index.
pub(crate) fn snapshot() -> io::Result<Vec<Link>> {
    #[cfg(target_os = "linux")]
    let mut links = super::netlink::snapshot()?;
    #[cfg(not(target_os = "linux"))]
    let mut links = super::portable::snapshot()?;
    links.sort_by_key(|link| link.index);
    Ok(links)
}

/// All addresses of this host, with the broadcast addresses of its networks: a connection to them
/// reaches this host itself or no host at all. Linux lets a socket be bound to a broadcast address,
/// and then sends from an address of its own choice: to a server on loopback from 127.0.0.1.
pub(crate) fn local_addresses(links: &[Link]) -> Vec<IpAddr> {
    let addresses = || links.iter().flat_map(|link| &link.addresses);
    let mut all: Vec<IpAddr> = addresses().map(|address| address.ip).collect();
    all.extend(addresses().flat_map(|address| address.broadcasts()));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip, ppp, via};

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    #[test]
    fn this_host_has_a_loopback() {
        let links = snapshot().expect("the system tells its interfaces");
        let lo = links.iter().find(|link| link.loopback).expect("a loopback");
        assert!(lo.index > 0 && lo.device.is_some() && !lo.physical, "{lo:?}");
        #[cfg(target_os = "linux")]
        assert!(lo.name == "lo" && lo.defaults.is_some(), "{lo:?}");
    }

    #[test]
    fn networks_are_told_once_and_without_link_local() {
        let link = eth("eth0", &["10.0.0.2/24", "10.0.0.3/24", "2001:db8::2/64", "fe80::2/64"]);
        assert_eq!(link.networks(), vec![(ip("10.0.0.0"), 24), (ip("2001:db8::"), 64)]);
    }

    #[test]
    fn on_a_point_to_point_link_the_peer_is_on_link() {
        assert_eq!(ppp("ppp0", "203.0.113.9", "198.51.100.1").networks(), vec![(ip("198.51.100.1"), 32)]);
    }

    #[test]
    fn a_default_route_behind_a_rule_is_there_for_its_source_alone() {
        let mut link = eth("eth1", &["10.0.1.2/24"]);
        let reach = Reach::From((ip("10.0.1.2"), 32));
        link.defaults = Some(vec![DefaultRoute { v6: false, table: 100, metric: 0, gateway: None, reach }]);
        assert_eq!(link.default_v4(), Some(true));
        assert_eq!(link.default_route(false, None), Ok(None));
        assert!(link.default_route(false, Some(ip("10.0.1.2"))).is_ok_and(|route| route.is_some()));
        assert_eq!(link.default_route(false, Some(ip("10.0.1.3"))), Ok(None));
        link.defaults = None;
        assert_eq!(link.default_route(false, None), Err(RoutesUnknown));
    }

    #[test]
    fn local_addresses_are_those_of_all_links() {
        let links = [eth("eth0", &["10.0.0.2/24"]), eth("eth1", &["10.0.0.2/24", "2001:db8::2/64"])];
        let own = [ip("10.0.0.0"), ip("10.0.0.2"), ip("10.0.0.255"), ip("2001:db8::2")];
        assert_eq!(local_addresses(&links), own);
    }

    #[test]
    fn a_network_has_broadcast_addresses_where_it_has_room_for_them() {
        let broadcasts = |address: &str| {
            let own = local_addresses(&[eth("eth0", &[address])]);
            own.into_iter().map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(broadcasts("10.0.1.77/23"), ["10.0.0.0", "10.0.1.77", "10.0.1.255"]);
        assert_eq!(broadcasts("10.0.0.5/30"), ["10.0.0.4", "10.0.0.5", "10.0.0.7"]);
        assert_eq!(broadcasts("10.0.0.5/31"), ["10.0.0.5"]);
        assert_eq!(broadcasts("10.0.0.5/32"), ["10.0.0.5"]);
        let mut link = eth("eth0", &["10.0.0.5/32"]);
        link.addresses[0].broadcast = Some(ip("10.9.9.9"));
        assert_eq!(local_addresses(&[link]), [ip("10.0.0.5"), ip("10.9.9.9")]);
    }

    #[test]
    fn what_a_link_has_is_told_by_family() {
        let mixed = eth("eth0", &["10.0.0.2/24", "fe80::2/64"]);
        assert!(mixed.has(ip("fe80::2")) && !mixed.has(ip("10.0.0.3")));
        assert_eq!(mixed.usable().map(|address| address.ip).collect::<Vec<_>>(), [ip("10.0.0.2")]);
        assert!(!mixed.is_v6_only(), "it has IPv4");
        assert!(!eth("eth0", &["10.0.0.2/24", "2001:db8::2/64"]).is_v6_only(), "it has both");
        assert!(!eth("eth0", &["fe80::2/64"]).is_v6_only(), "it has nothing to send from");
        assert!(eth("eth0", &["169.254.1.1/16", "2001:db8::2/64"]).is_v6_only());

        let routes = |link: &Link| (link.default_v4(), link.default_v6(), link.default_routes().count());
        assert_eq!(routes(&mixed), (Some(false), Some(false), 0));
        let v4 = via(mixed.clone(), "10.0.0.1");
        assert_eq!(routes(&v4), (Some(true), Some(false), 1));
        assert_eq!(routes(&via(v4, "fe80::1")), (Some(true), Some(true), 2));
        assert_eq!(routes(&via(mixed.clone(), "fe80::1")), (Some(false), Some(true), 1));
        assert_eq!(routes(&Link { defaults: None, ..mixed }), (None, None, 0));
    }

    #[test]
    fn a_link_is_up_or_without_a_carrier_or_off() {
        let up = eth("eth0", &[]);
        let unplugged = Link { up: false, ..up.clone() };
        let off = Link { enabled: false, ..unplugged.clone() };
        assert_eq!([up, unplugged, off].map(|link| link.state()), ["up", "no carrier", "off"]);
    }

    #[test]
    fn a_default_route_is_of_its_family_and_of_those_that_no_rule_hides() {
        let route = |v6, metric, reach| DefaultRoute { v6, table: 254, metric, gateway: None, reach };
        let mut link = eth("eth1", &["10.0.1.2/24"]);
        link.defaults = Some(vec![
            route(false, 1, Reach::Never),
            route(false, 2, Reach::Always),
            route(true, 3, Reach::Never),
        ]);
        let metric = |v6| link.default_route(v6, None).map(|route| route.map(|route| route.metric));
        assert_eq!((metric(false), metric(true)), (Ok(Some(2)), Ok(None)));
    }

    #[test]
    fn a_network_of_no_bits_is_none() {
        assert_eq!(eth("eth0", &["10.0.0.2/0", "169.254.1.1/16"]).networks(), [(ip("169.254.0.0"), 16)]);
    }
}
