//! Settings of the system that keep an uplink from working, though all else about it is well; each
//! with the command that mends it.
//!
//! - Strict reverse path filtering (`rp_filter=1`): what comes in by an interface is dropped unless
//!   the route back leads there. With several uplinks it leads through one of them. The kernel is
//!   asked which one: rules, routes of a VPN and several hops of one route all count.
//! - Two interfaces in one network, or in networks that overlap: as Linux comes, each answers ARP
//!   for the other's address, and the router learns one of them for both.

use super::links::{Address, DefaultRoute, Link};
use super::prefix::{self, Prefix};
use std::fmt;
use std::net::IpAddr;

/// What is wrong with an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Obstacle {
    pub(crate) interface: String,
    what: String,
    command: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Obstacle { interface, what, command } = self;
        write!(f, "{interface}: {what}; to mend it: {command}")
    }
}

/// Where the routes lead back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Back {
    /// Through the interface with this index.
    Through(u32),
    /// No route leads back.
    Nowhere,
    /// The system does not tell.
    Unknown,
}

/// What is asked of the system.
#[derive(Clone, Copy)]
pub(crate) struct System<'a> {
    /// A setting of an interface, or of `all`. `None` where there is no such.
    pub(crate) setting: &'a dyn Fn(&str, &str) -> Option<u8>,
    /// Where what comes from afar to this address of ours would be answered to.
    pub(crate) back: &'a dyn Fn(IpAddr) -> Back,
}

/// As the system has it now.
pub(crate) const NOW: System<'static> = System { setting: &setting_now, back: &back_now };

fn setting_now(interface: &str, key: &str) -> Option<u8> {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/{key}");
    std::fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

#[cfg(target_os = "linux")]
fn back_now(own: IpAddr) -> Back {
    use super::policy::Kernel;
    // Far away, and nobody's (RFC 5737).
    let far = IpAddr::from([192, 0, 2, 1]);
    let Ok(mut kernel) = Kernel::new(0) else { return Back::Unknown };
    match kernel.way_from(far, Some(own)) {
        Ok(way) => way.and_then(|way| way.interface).map_or(Back::Unknown, Back::Through),
        Err(refusal) if refusal.is(rustix::io::Errno::NETUNREACH) => Back::Nowhere,
        Err(_) => Back::Unknown,
    }
}

#[cfg(not(target_os = "linux"))]
fn back_now(_: IpAddr) -> Back {
    Back::Unknown
}

/// What stands in the way of this interface now.
pub(crate) fn of(interface: &str) -> Vec<Obstacle> {
    let links = super::links::snapshot().unwrap_or_default();
    find(&links, &[interface], NOW)
}

/// What stands in the way of these interfaces. Only IPv4 has such settings.
pub(crate) fn find(links: &[Link], interfaces: &[&str], system: System<'_>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for link in links.iter().filter(|link| interfaces.contains(&link.name.as_str())) {
        found.extend(filtered(link, links, system));
        found.extend(confused(link, links, system));
    }
    found
}

impl System<'_> {
    /// ip-sysctl.txt: of `all` and the interface's own the larger value counts. `None`: not Linux.
    fn of(self, link: &Link, key: &str) -> Option<u8> {
        (self.setting)("all", key).into_iter().chain((self.setting)(&link.name, key)).max()
    }
}

fn filtered(link: &Link, links: &[Link], system: System<'_>) -> Option<Obstacle> {
    if system.of(link, "rp_filter") != Some(1) {
        return None;
    }
    let mut own = link.usable().filter(|address| address.ip.is_ipv4());
    let why = own.find_map(|address| match (system.back)(address.ip) {
        Back::Through(index) if index == link.index => None,
        Back::Through(index) => {
            let other = links.iter().find(|other| other.index == index)?;
            let why = || format!("the default route leads through {}", other.name);
            (!share_a_route(link, other)).then(why)
        }
        // Without a carrier its routes are dead for the time being.
        Back::Nowhere if link.up => Some(format!("no route leads back from {}", address.ip)),
        Back::Nowhere | Back::Unknown => None,
    })?;
    let key = sysctl(&link.name, "rp_filter");
    Some(Obstacle {
        interface: link.name.clone(),
        what: format!("rp_filter=1 drops the answers that come in by it, since {why}"),
        command: format!("sysctl -w {key}=2"),
    })
}

/// Whether one default route has hops through both: the filter takes what comes in by any of them.
fn share_a_route(one: &Link, other: &Link) -> bool {
    let same = |a: &DefaultRoute, b: &DefaultRoute| {
        !a.v6 && (a.v6, a.table, a.metric, a.reach) == (b.v6, b.table, b.metric, b.reach)
    };
    one.default_routes().any(|a| other.default_routes().any(|b| same(a, b)))
}

fn confused(link: &Link, links: &[Link], system: System<'_>) -> Option<Obstacle> {
    if system.of(link, "arp_ignore")? >= 1 && system.of(link, "arp_announce")? >= 2 {
        return None;
    }
    let own = networks(link);
    let others = links.iter().filter(|other| other.index != link.index && other.enabled && !other.loopback);
    let mut shared = others.filter_map(|other| {
        let theirs = networks(other);
        let pairs = own.iter().flat_map(|a| theirs.iter().map(move |b| (*a, *b)));
        // Of two that overlap one holds the other.
        pairs.filter_map(|(a, b)| wider(a, b)).next().map(|net| (other, net))
    });
    let (other, (network, bits)) = shared.next()?;
    Some(Obstacle {
        interface: link.name.clone(),
        what: format!(
            "{} is in the same network {network}/{bits}, and each answers ARP for the other: one falls silent",
            other.name
        ),
        command: "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2".into(),
    })
}

/// The wider of two networks that overlap.
fn wider(a: Prefix, b: Prefix) -> Option<Prefix> {
    let (wide, narrow) = if a.1 <= b.1 { (a, b) } else { (b, a) };
    prefix::contains(wide, narrow.0).then_some(wide)
}

/// The networks in which it has neighbours.
fn networks(link: &Link) -> Vec<Prefix> {
    // Behind these nobody asks for an address.
    if matches!(link.kind.as_deref(), Some("tun" | "wireguard" | "ppp" | "dummy")) {
        return Vec::new();
    }
    let shared = |address: &&Address| address.ip.is_ipv4() && address.peer.is_none();
    let networks = link.usable().filter(shared).map(Address::network);
    networks.filter(|(_, bits)| *bits < 31).collect()
}

/// The name of a setting, as sysctl(8) takes it: a dot of an interface's name is none of it.
fn sysctl(interface: &str, key: &str) -> String {
    match interface.contains('.') {
        true => format!("net/ipv4/conf/{interface}/{key}"),
        false => format!("net.ipv4.conf.{interface}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip, lo, via};
    use crate::host::links::Reach;

    const CALM: &[(&str, &str, u8)] = &[("all", "arp_ignore", 1), ("all", "arp_announce", 2)];

    /// All that is found where what is for `wlan0` and all else is answered through it.
    fn told(links: &[Link], settings: &[(&str, &str, u8)]) -> Vec<String> {
        told_where(links, settings, &|_| Back::Through(links[1].index))
    }

    fn told_where(
        links: &[Link],
        settings: &[(&str, &str, u8)],
        back: &dyn Fn(IpAddr) -> Back,
    ) -> Vec<String> {
        let setting = |interface: &str, key: &str| {
            let found = settings.iter().find(|(i, k, _)| *i == interface && *k == key);
            Some(found.map_or(0, |(_, _, value)| *value))
        };
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        find(links, &names, System { setting: &setting, back }).iter().map(Obstacle::to_string).collect()
    }

    fn two() -> [Link; 3] {
        let mut second = via(eth("usb0.7", &["192.168.42.5/24"]), "192.168.42.129");
        if let Some(route) = second.defaults.iter_mut().flatten().next() {
            route.metric += 1;
        }
        [lo(), via(eth("wlan0", &["192.168.1.7/24"]), "192.168.1.1"), second]
    }

    #[test]
    fn strict_filtering_is_named_for_the_uplink_that_the_route_back_does_not_lead_through() {
        for strict in ["all", "usb0.7"] {
            assert_eq!(
                told(&two(), &[(strict, "rp_filter", 1)]),
                ["usb0.7: rp_filter=1 drops the answers that come in by it, since the default route \
                  leads through wlan0; to mend it: sysctl -w net/ipv4/conf/usb0.7/rp_filter=2"]
            );
        }
        assert_eq!(told(&two(), &[("wlan0", "rp_filter", 1)]), [""; 0]);
        // Loose filtering wins, wherever it is set.
        assert_eq!(told(&two(), &[("all", "rp_filter", 1), ("usb0.7", "rp_filter", 2)]), [""; 0]);
        assert_eq!(told(&two(), &[("all", "rp_filter", 2), ("usb0.7", "rp_filter", 1)]), [""; 0]);
        let silent = System { setting: &|_, _| None, back: &|_| Back::Unknown };
        let unknown = find(&two(), &["wlan0", "usb0.7"], silent);
        assert_eq!(unknown, [], "other systems have no such settings");
    }

    const STRICT: &[(&str, &str, u8)] = &[("all", "rp_filter", 1)];

    #[test]
    fn where_the_routes_lead_back_is_asked_for_each_address() {
        let links = two();
        // A rule for its source.
        let back = |own: IpAddr| Back::Through(links[if own == ip("192.168.42.5") { 2 } else { 1 }].index);
        assert_eq!(told_where(&links, STRICT, &back), [""; 0]);
        // A VPN that takes all.
        let vpn = told_where(&links, STRICT, &|_| Back::Through(links[2].index));
        assert!(
            vpn.len() == 1 && vpn[0].starts_with("wlan0: rp_filter=1") && vpn[0].contains("usb0.7"),
            "{vpn:?}"
        );
        assert_eq!(told_where(&links, STRICT, &|_| Back::Unknown), [""; 0]);
    }

    #[test]
    fn where_no_route_leads_back_that_is_told_unless_the_carrier_is_gone() {
        let mut links = two();
        let lines = told_where(&links, STRICT, &|_| Back::Nowhere);
        assert!(
            lines.len() == 2 && lines[0].contains("since no route leads back from 192.168.1.7"),
            "{lines:?}"
        );
        links.iter_mut().for_each(|link| link.up = false);
        assert_eq!(told_where(&links, STRICT, &|_| Back::Nowhere), [""; 0]);
    }

    #[test]
    fn one_route_with_hops_through_both_leads_back_through_both() {
        let mut links = two();
        let metric = links[1].default_routes().next().map(|route| route.metric).expect("it has one");
        links[2].defaults.iter_mut().flatten().for_each(|route| route.metric = metric);
        assert_eq!(told(&links, STRICT), [""; 0]);
        links[2].defaults.iter_mut().flatten().for_each(|route| route.reach = Reach::Never);
        assert_eq!(told(&links, STRICT).len(), 1, "another route that looks alike");
    }

    #[test]
    fn networks_that_overlap_are_one() {
        let mut links = two();
        for (other, told_of) in
            [("192.168.1.200/25", true), ("192.168.9.9/16", true), ("192.168.2.8/24", false)]
        {
            links[2].addresses = eth("", &[other]).addresses;
            let lines = told(&links, &[]);
            assert_eq!(lines.len(), if told_of { 2 } else { 0 }, "{other}: {lines:?}");
        }
        links[2].addresses = eth("", &["192.168.1.8/24"]).addresses;
        links[2].kind = Some("wireguard".into());
        assert_eq!(told(&links, &[]), [""; 0], "nobody asks for addresses there");
    }

    #[test]
    fn two_interfaces_in_one_network_are_named_until_each_answers_for_itself() {
        let mut links = two();
        links[2].addresses = eth("", &["192.168.1.8/24"]).addresses;
        let lines = told(&links, &[]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("wlan0: usb0.7 is in the same network 192.168.1.0/24"), "{lines:?}");
        assert!(lines[1].contains("arp_ignore=1 net.ipv4.conf.all.arp_announce=2"), "{lines:?}");
        assert_eq!(told(&links, CALM), [""; 0]);
        assert_eq!(told(&links, &CALM[..1]).len(), 2, "one of them is not enough");
        links[2].addresses = eth("", &["192.168.2.8/24"]).addresses;
        assert_eq!(told(&links, &[]), [""; 0]);
    }

    fn neighbours(one: Link, two: Link) -> usize {
        told(&[one, two], &[]).len()
    }

    #[test]
    fn only_a_network_with_room_for_a_router_is_shared() {
        let pair = |bits: u8| {
            let of = |name: &str, last: u8| eth(name, &[&format!("10.0.0.{last}/{bits}")]);
            neighbours(of("eth0", 1), of("eth1", 1))
        };
        assert_eq!((pair(30), pair(31), pair(32)), (2, 0, 0));
        let peer = |name: &str| {
            let mut link = eth(name, &["10.0.0.2/24"]);
            link.addresses[0].peer = Some(ip("10.0.0.1"));
            link
        };
        assert_eq!(neighbours(peer("ppp0"), peer("ppp1")), 0, "a link with two ends has no ARP");
        let v6 = |name: &str| eth(name, &["2001:db8::1/64"]);
        assert_eq!(neighbours(v6("eth0"), v6("eth1")), 0, "nor has IPv6");
    }

    #[test]
    fn an_interface_that_is_off_or_the_loopback_answers_for_nobody() {
        let of = |name: &str| eth(name, &["10.0.0.2/24"]);
        assert_eq!(neighbours(of("eth0"), of("eth1")), 2);
        let off = Link { enabled: false, up: false, ..of("eth1") };
        assert_eq!(neighbours(of("eth0"), off), 1, "it would be told once it is on");
        let back = Link { loopback: true, ..of("lo") };
        assert_eq!(neighbours(of("eth0"), back), 1);
        // Each setting has the value from which on it helps.
        let both = [of("eth0"), of("eth1")];
        let of_values = |ignore, announce| {
            told(&both, &[("all", "arp_ignore", ignore), ("all", "arp_announce", announce)]).len()
        };
        assert_eq!([of_values(1, 2), of_values(2, 3), of_values(1, 1), of_values(0, 2)], [0, 0, 2, 2]);
    }

    #[test]
    fn other_values_of_the_filter_drop_nothing_or_only_what_is_from_nowhere() {
        let of = |value| told(&two(), &[("all", "rp_filter", value)]).len();
        assert_eq!([of(0), of(1), of(2)], [0, 1, 0]);
    }

    #[test]
    fn an_interface_whose_name_has_no_dot_is_written_with_dots() {
        let links = two();
        let lines = told_where(&links, STRICT, &|_| Back::Through(links[2].index));
        assert!(lines[0].ends_with("sysctl -w net.ipv4.conf.wlan0.rp_filter=2"), "{lines:?}");
    }
}
