//! Which interfaces `auto` takes: those that are up and have a usable address and a default route
//! of their own, but no bridge, no link to a container, no tunnel. Of each of the others it says
//! why not.

use super::links::{DefaultRoute, Link, Reach};
use super::uplink::{Selector, UplinkArg};

/// Software that wraps packets into others: traffic through these leaves by another uplink in the
/// end.
const TUNNEL_KINDS: &[&str] = &[
    "wireguard",
    "amneziawg",
    "ovpn-dco",
    "ovpn",
    "tun",
    "ipip",
    "ip6tnl",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "erspan",
    "ip6erspan",
    "sit",
    "vti",
    "vti6",
    "xfrm",
    "vxlan",
    "geneve",
    "bareudp",
    "gtp",
    "amt",
];
/// The same by name, where the kind is not known.
const TUNNEL_NAMES: &[&str] =
    &["wg", "tailscale", "zt", "tun", "tap", "utun", "ipsec", "nordlynx", "proton", "cloudflarewarp"];
/// What container and machine managers call their links; macOS's own helpers too.
const CONTAINER_NAMES: &[&str] = &[
    "veth",
    "docker",
    "br-",
    "cni",
    "virbr",
    "lxc",
    "lxd",
    "podman",
    "flannel",
    "cali",
    "vnet",
    "vmnet",
    "vmenet",
    "vEthernet",
    "awdl",
    "llw",
    "anpi",
];
/// What the names of ropewalk's own interfaces begin with: the TUN of a bond must not carry the
/// bond.
const OWN_NAME: &str = "ropewalk";

/// What `auto` stands for on this host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selection {
    /// The interfaces taken, weight 1 each, by index.
    pub(crate) uplinks: Vec<UplinkArg>,
    /// The others: name, and why not in plain words.
    pub(crate) left_out: Vec<(String, String)>,
}

/// The uplinks of this host.
pub(crate) fn auto(links: &[Link]) -> Selection {
    let mut selection = Selection::default();
    for link in links {
        match judge(link, links) {
            Ok(uplink) => selection.uplinks.push(uplink),
            Err(why) => selection.left_out.push((link.name.clone(), why)),
        }
    }
    selection
}

/// How `auto` uses `link`, or why it does not.
pub(crate) fn judge(link: &Link, links: &[Link]) -> Result<UplinkArg, String> {
    if let Some(why) = unfit(link, links) {
        return Err(why);
    }
    if !link.up {
        return Err(if link.enabled { "no carrier: unplugged, or not joined" } else { "switched off" }.into());
    }
    if link.usable().next().is_none() {
        return Err("no address that reaches beyond its own link".into());
    }
    let Some(routes) = &link.defaults else {
        // The system does not tell; the address is then all there is to go by.
        return Ok(by_name(link));
    };
    if routes.is_empty() {
        return Err("no default route of its own".into());
    }
    let with_address = |route: &&DefaultRoute| link.usable().any(|address| address.ip.is_ipv6() == route.v6);
    let Some(first) = routes.iter().find(with_address) else {
        return Err("no address of the family of its default route".into());
    };
    if routes.iter().filter(with_address).any(|route| route.reach == Reach::Always) {
        return Ok(by_name(link));
    }
    let source = link.usable().map(|address| address.ip).find(|source| {
        let route = link.default_route(source.is_ipv6(), Some(*source));
        route.is_ok_and(|route| route.is_some())
    });
    match source {
        // The route is there for this source alone: bound to the interface only, nothing would get
        // out.
        Some(source) => {
            let label = format!("{source}%{}", link.name);
            Ok(UplinkArg { label, selector: Selector::Both(source, link.name.clone()), weight: 1 })
        }
        None => Err(format!("its default route is in table {}, which no rule opens to us", first.table)),
    }
}

fn by_name(link: &Link) -> UplinkArg {
    UplinkArg { label: link.name.clone(), selector: Selector::Interface(link.name.clone()), weight: 1 }
}

/// Why an interface of this sort is none for `auto`, whatever its state.
fn unfit(link: &Link, links: &[Link]) -> Option<String> {
    let kind = link.kind.as_deref().unwrap_or("");
    let named = |names: &[&str]| !link.physical && names.iter().any(|name| link.name.starts_with(name));
    if link.loopback {
        return Some("loopback: it leads back to this host".into());
    }
    if link.name.starts_with(OWN_NAME) {
        return Some("ropewalk's own".into());
    }
    if TUNNEL_KINDS.contains(&kind) {
        return Some(format!("a VPN or tunnel ({kind}): it goes out through another interface"));
    }
    // DSL is ppp, and an uplink as good as any, whatever its name.
    if kind != "ppp" && named(TUNNEL_NAMES) {
        return Some("a VPN or tunnel by its name: it goes out through another interface".into());
    }
    if kind == "bridge" {
        return Some("a bridge; to use it, name it".into());
    }
    if let Some(why) = link.master.and_then(|master| part_of(master, links)) {
        return Some(why);
    }
    // Inside a container the way out is a veth, with a default route of its own.
    let way_out = kind == "veth" && link.defaults.as_ref().is_some_and(|routes| !routes.is_empty());
    if !way_out && (kind == "veth" || named(CONTAINER_NAMES)) {
        return Some("a link to containers or virtual machines".into());
    }
    None
}

/// Why a link with this master does not count for itself. Members of a VRF do.
fn part_of(master: u32, links: &[Link]) -> Option<String> {
    let Some(master) = links.iter().find(|link| link.index == master) else {
        return Some("a port of an interface that is not here".into());
    };
    match master.kind.as_deref() {
        Some("vrf") => None,
        Some("bridge") => Some(format!("a port of the bridge {}", master.name)),
        Some(kind) => Some(format!("a member of the {kind} {}", master.name)),
        None => Some(format!("a member of {}", master.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip, lo, of_kind, ppp, via};

    fn why(link: &Link) -> String {
        judge(link, std::slice::from_ref(link)).expect_err("left out")
    }

    fn takes(link: &Link) {
        let uplink =
            judge(link, std::slice::from_ref(link)).unwrap_or_else(|why| panic!("{}: {why}", link.name));
        assert_eq!(uplink.selector, Selector::Interface(link.name.clone()));
    }

    #[test]
    fn interfaces_with_a_default_route_are_taken_and_the_others_named_with_the_reason() {
        let links = [
            lo(),
            via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1"),
            via(eth("wlan0", &["2001:db8::2/64"]), "fe80::1"),
            of_kind(eth("docker0", &["172.17.0.1/16"]), "bridge"),
            eth("eth1", &["10.0.1.2/24"]),
        ];
        let selection = auto(&links);
        let taken: Vec<_> = selection.uplinks.iter().map(|uplink| uplink.label.as_str()).collect();
        assert_eq!(taken, ["eth0", "wlan0"]);
        let names: Vec<_> = selection.left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lo", "docker0", "eth1"]);
        assert_eq!(selection.left_out[2].1, "no default route of its own");
    }

    #[test]
    fn a_veth_is_taken_inside_a_container_and_left_out_outside() {
        let inside = via(of_kind(eth("eth0", &["172.17.0.2/16"]), "veth"), "172.17.0.1");
        takes(&inside);
        takes(&via(of_kind(eth("veth-up1", &["10.0.0.2/24"]), "veth"), "10.0.0.1"));
        assert!(why(&of_kind(eth("vethab12", &[]), "veth")).contains("containers"));
        let bridge = of_kind(eth("br0", &["10.0.0.1/24"]), "bridge");
        let port = Link { master: Some(bridge.index), ..inside };
        assert_eq!(judge(&port, &[bridge, port.clone()]), Err("a port of the bridge br0".into()));
    }

    #[test]
    fn tunnels_are_left_out_by_kind_and_by_name_but_dsl_is_taken() {
        for kind in ["wireguard", "tun", "ipip", "gre", "sit", "vti"] {
            assert!(why(&via(of_kind(eth("up0", &["10.8.0.2/24"]), kind), "10.8.0.1")).contains(kind));
        }
        for name in ["wg0", "tailscale0", "zt7nnig26", "tun0", "tap1"] {
            let link = Link { physical: false, ..eth(name, &["10.8.0.2/24"]) };
            assert!(why(&via(link, "10.8.0.1")).contains("VPN"), "{name}");
        }
        takes(&via(ppp("ppp0", "203.0.113.9", "198.51.100.1"), "198.51.100.1"));
    }

    #[test]
    fn our_own_tun_is_never_taken() {
        assert_eq!(why(&via(eth("ropewalk0", &["10.8.0.2/24"]), "10.8.0.1")), "ropewalk's own");
    }

    #[test]
    fn a_card_is_a_card_whatever_it_is_called() {
        takes(&via(eth("wgigabit", &["10.0.0.2/24"]), "10.0.0.1"));
    }

    #[test]
    fn down_unplugged_and_without_address_are_told_apart() {
        let ready = via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1");
        let unplugged = Link { up: false, ..ready.clone() };
        assert!(why(&unplugged).starts_with("no carrier"));
        assert_eq!(why(&Link { enabled: false, ..unplugged }), "switched off");
        assert!(why(&via(eth("eth0", &["fe80::2/64"]), "fe80::1")).starts_with("no address that reaches"));
        assert!(why(&via(eth("eth0", &["10.0.0.2/24"]), "fe80::1")).contains("family"));
    }

    #[test]
    fn a_default_route_for_one_source_makes_an_uplink_with_that_source() {
        let route = |reach| DefaultRoute { v6: false, table: 100, metric: 0, gateway: None, reach };
        let mut link = eth("eth1", &["10.0.1.2/24"]);
        link.defaults = Some(vec![route(Reach::From((ip("10.0.1.2"), 32)))]);
        let uplink = judge(&link, &[]).expect("taken");
        assert_eq!(uplink.label, "10.0.1.2%eth1");
        assert_eq!(uplink.selector, Selector::Both(ip("10.0.1.2"), "eth1".into()));
        link.defaults = Some(vec![route(Reach::Never)]);
        assert!(why(&link).contains("table 100"));
    }

    #[test]
    fn members_of_a_bond_are_left_out_and_members_of_a_vrf_are_not() {
        let bond = of_kind(eth("bond0", &[]), "bond");
        let vrf = of_kind(eth("red", &[]), "vrf");
        let link = via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1");
        let member = Link { master: Some(bond.index), ..link.clone() };
        assert_eq!(judge(&member, &[bond]), Err("a member of the bond bond0".into()));
        let member = Link { master: Some(vrf.index), ..link };
        assert!(judge(&member, &[vrf]).is_ok());
    }

    #[test]
    fn where_routes_are_not_told_an_address_is_enough() {
        takes(&Link { defaults: None, ..eth("en0", &["10.0.0.2/24"]) });
    }

    #[test]
    fn a_bridge_is_left_out_itself_and_so_are_its_ports_wherever_it_is() {
        let bridge = via(of_kind(eth("br0", &["10.0.0.1/24"]), "bridge"), "10.0.0.254");
        assert_eq!(why(&bridge), "a bridge; to use it, name it");
        let port = Link { master: Some(4_711), ..via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1") };
        assert_eq!(why(&port), "a port of an interface that is not here");
        let team = Link { index: 4_711, ..eth("team0", &[]) };
        assert_eq!(judge(&port, &[team]), Err("a member of team0".into()));
    }

    #[test]
    fn what_container_managers_make_is_left_out_by_its_name_too() {
        let made = |name: &str, physical| via(Link { physical, ..eth(name, &["10.0.0.2/24"]) }, "10.0.0.1");
        for name in ["docker0", "br-lan", "virbr1", "vnet0"] {
            assert!(why(&made(name, false)).contains("containers"), "{name}");
            takes(&made(name, true));
        }
        takes(&made("dummy0", false));
    }

    #[test]
    fn dsl_is_an_uplink_whatever_its_name_and_a_tunnel_by_its_kind_is_none() {
        let dsl = via(ppp("tun-dsl", "203.0.113.9", "198.51.100.1"), "198.51.100.1");
        takes(&dsl);
        assert!(why(&of_kind(dsl, "sit")).contains("tunnel (sit)"));
    }

    #[test]
    fn one_route_that_all_sockets_get_to_is_enough_and_must_be_of_a_family_with_an_address() {
        let route = |v6, reach| DefaultRoute { v6, table: 100, metric: 0, gateway: None, reach };
        let mut link = eth("eth1", &["10.0.1.2/24"]);
        link.defaults = Some(vec![route(false, Reach::Never), route(false, Reach::Always)]);
        takes(&link);
        link.defaults = Some(vec![route(false, Reach::Never), route(true, Reach::Always)]);
        assert!(why(&link).contains("no rule opens to us"), "it has no IPv6 address");
        link.defaults = Some(vec![route(true, Reach::Always)]);
        assert_eq!(why(&link), "no address of the family of its default route");
    }
}
