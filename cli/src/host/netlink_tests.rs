//! Messages built by the library, read by ours.

use super::*;
use crate::host::fixtures::ip as addr;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHop};
use std::net::Ipv4Addr;

fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn link_with(flags: LinkFlags) -> Link {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.flags = flags;
    message.attributes = vec![
        LinkAttribute::IfName("veth-made-up".into()),
        LinkAttribute::Controller(3),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
    ];
    link(&bytes(&message)).expect("a link")
}

fn address_with(local: &str, peer: &str, flags: AddressHeaderFlags) -> Address {
    let mut message = AddressMessage::default();
    message.header.index = 7;
    message.header.prefix_len = 24;
    message.header.flags = flags;
    message.attributes = vec![AddressAttribute::Address(addr(peer)), AddressAttribute::Local(addr(local))];
    address(&bytes(&message)).expect("an address").1
}

fn route_with(attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.header.table = 252;
    message.attributes = attributes;
    message
}

#[test]
fn a_link_tells_name_kind_and_master() {
    let link = link_with(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running);
    assert_eq!((link.index, link.name.as_str(), link.master), (7, "veth-made-up", Some(3)));
    assert_eq!(link.kind.as_deref(), Some("veth"));
    assert!(link.up && !link.loopback && !link.physical);
}

#[test]
fn a_link_that_is_on_without_a_carrier_is_not_up() {
    assert_eq!(link_with(LinkFlags::Up).state(), "no carrier");
    assert_eq!(link_with(LinkFlags::Up | LinkFlags::LowerUp).state(), "no carrier");
    assert_eq!(link_with(LinkFlags::LowerUp).state(), "off");
}

#[test]
fn an_address_that_is_tentative_or_deprecated_is_not_usable() {
    let usable = |flags| address_with("10.0.0.2", "10.0.0.2", flags).usable;
    assert!(usable(AddressHeaderFlags::Permanent));
    assert!(!usable(AddressHeaderFlags::Tentative));
    assert!(usable(AddressHeaderFlags::Tentative | AddressHeaderFlags::Optimistic));
    // In IPv4 "no longer preferred" is a word: Linux sends from such an address as before.
    assert!(usable(AddressHeaderFlags::Deprecated));
    assert!(!address_with("2001:db8::2", "2001:db8::2", AddressHeaderFlags::Deprecated).usable);
    assert!(!address_with("169.254.3.4", "169.254.3.4", AddressHeaderFlags::Permanent).usable);
}

#[test]
fn of_two_addresses_the_local_one_is_ours_and_the_other_the_peers() {
    let address = address_with("10.0.0.2", "10.9.9.9", AddressHeaderFlags::Permanent);
    assert_eq!((address.ip, address.peer), (addr("10.0.0.2"), Some(addr("10.9.9.9"))));
    assert_eq!(address.network(), (addr("10.9.9.0"), 24));
}

#[test]
fn a_default_route_tells_interface_router_table_and_metric() {
    let message = route_with(vec![
        RouteAttribute::Table(5000),
        RouteAttribute::Priority(600),
        RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, 1))),
        RouteAttribute::Oif(7),
    ]);
    let found = default_routes(&bytes(&message)).expect("a default route");
    let [(index, route)] = found[..] else { panic!("one interface, got {found:?}") };
    assert_eq!((index, route.table, route.metric), (7, 5000, 600));
    assert_eq!(route.gateway, Some(addr("10.0.0.1")));
}

#[test]
fn a_multipath_route_is_the_default_route_of_each_of_its_interfaces() {
    let hop = |index, last| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = index;
        let router = RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, last));
        hop.attributes = vec![RouteAttribute::Gateway(router)];
        hop
    };
    let message = route_with(vec![RouteAttribute::MultiPath(vec![hop(7, 1), hop(8, 2)])]);
    let found = default_routes(&bytes(&message)).expect("a default route");
    let found: Vec<_> = found.iter().map(|(index, route)| (*index, route.gateway)).collect();
    assert_eq!(found, vec![(7, Some(addr("10.0.0.1"))), (8, Some(addr("10.0.0.2")))]);
}

#[test]
fn what_is_no_default_route_is_passed_over() {
    let mut longer = route_with(vec![RouteAttribute::Oif(7)]);
    longer.header.destination_prefix_length = 1;
    assert_eq!(default_routes(&bytes(&longer)), None);
    let mut unreachable = route_with(vec![RouteAttribute::Oif(1)]);
    unreachable.header.kind = RouteType::Unreachable;
    assert_eq!(default_routes(&bytes(&unreachable)), None);
}

#[test]
fn broken_messages_are_passed_over_without_a_panic() {
    let whole = bytes(&route_with(vec![RouteAttribute::MultiPath(vec![RouteNextHop::default()])]));
    for end in 0..whole.len() {
        let _ = (default_routes(&whole[..end]), link(&whole[..end]), address(&whole[..end]));
    }
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] = 0xff;
        let _ = (default_routes(&bent), link(&bent), address(&bent));
    }
}

#[test]
fn a_broadcast_address_need_not_be_the_networks_last() {
    let mut message = AddressMessage::default();
    message.header.prefix_len = 24;
    let odd = std::net::Ipv4Addr::new(10, 9, 9, 9);
    message.attributes = vec![AddressAttribute::Local(addr("10.0.0.2")), AddressAttribute::Broadcast(odd)];
    assert_eq!(address(&bytes(&message)).expect("an address").1.broadcast, Some(odd.into()));
}

#[test]
fn what_is_told_apart_is_put_together_by_interface() {
    use crate::host::fixtures::{eth, of_kind};
    use crate::host::links::Reach;
    use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

    let numbered = |link: Link, index| Link { index, ..link };
    let vrf = numbered(of_kind(eth("red", &[]), "vrf"), 1);
    let bridge = numbered(of_kind(eth("br0", &[]), "bridge"), 2);
    let inside = Link { master: Some(1), ..numbered(eth("eth0", &[]), 3) };
    let port = Link { master: Some(2), ..numbered(eth("eth1", &[]), 4) };
    let address = |text: &str| eth("", &[text]).addresses[0];
    let addresses = [(3, address("10.0.0.2/24")), (4, address("10.0.1.2/24")), (3, address("10.0.0.3/24"))];
    let route = |v6, metric, table| DefaultRoute { v6, table, metric, gateway: None, reach: Reach::Never };
    let routes = [
        (3, route(true, 1, 7)),
        (3, route(false, 9, 7)),
        (3, route(false, 5, 8)),
        (3, route(false, 5, 7)),
        (4, route(false, 5, 7)),
        (4, route(false, 6, 9)),
    ];
    let rule = |attribute, src_len| {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.header.src_len = src_len;
        message.attributes = attribute;
        rules::parse(&bytes(&message)).expect("a rule")
    };
    let rules = [
        rule(vec![RuleAttribute::L3MDev(true)], 0),
        rule(vec![RuleAttribute::Table(9), RuleAttribute::Source(addr("10.0.1.2"))], 32),
    ];
    let links = together(vec![vrf, bridge, inside, port], &addresses, &routes, Some(&rules));
    let told: Vec<_> = links
        .iter()
        .map(|link| {
            let ips: Vec<_> = link.addresses.iter().map(|address| address.ip).collect();
            let routes: Vec<_> = link
                .default_routes()
                .map(|route| (route.v6, route.metric, route.table, route.reach))
                .collect();
            (link.index, ips, routes)
        })
        .collect();
    let all = Reach::Always;
    let expected = vec![
        (1, vec![], vec![]),
        (2, vec![], vec![]),
        (
            3,
            vec![addr("10.0.0.2"), addr("10.0.0.3")],
            vec![(false, 5, 7, all), (false, 5, 8, all), (false, 9, 7, all), (true, 1, 7, Reach::Never)],
        ),
        (
            4,
            vec![addr("10.0.1.2")],
            vec![(false, 5, 7, Reach::Never), (false, 6, 9, Reach::From((addr("10.0.1.2"), 32)))],
        ),
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_address_that_is_for_this_host_alone_is_not_usable() {
    let with = |scope, flags: Option<AddressFlags>| {
        let mut message = AddressMessage::default();
        message.header.scope = scope;
        message.header.flags = AddressHeaderFlags::Permanent;
        message.attributes = vec![AddressAttribute::Local(addr("10.0.0.2"))];
        // What is told behind the header says more than the header.
        message.attributes.extend(flags.map(AddressAttribute::Flags));
        address(&bytes(&message)).expect("an address").1.usable
    };
    assert!(with(AddressScope::Universe, None));
    assert!(!with(AddressScope::Host, None) && !with(AddressScope::Nowhere, None));
    assert!(with(AddressScope::Universe, Some(AddressFlags::Permanent)));
    assert!(with(AddressScope::Universe, Some(AddressFlags::Deprecated)), "it is an IPv4 address");
    for bad in [AddressFlags::Tentative, AddressFlags::Dadfailed] {
        assert!(!with(AddressScope::Universe, Some(bad)), "{bad:?}");
    }
    let loopback = address_with("127.0.0.1", "127.0.0.1", AddressHeaderFlags::Permanent);
    assert!(!loopback.usable && loopback.peer.is_none());
}

#[test]
fn a_route_that_is_dead_or_of_another_kind_is_passed_over() {
    let told = |change: &dyn Fn(&mut RouteMessage)| {
        let mut message = route_with(vec![RouteAttribute::Oif(7)]);
        change(&mut message);
        default_routes(&bytes(&message)).map(|routes| (routes[0].1.v6, routes[0].1.table))
    };
    assert_eq!(told(&|_| {}), Some((false, 252)));
    assert_eq!(told(&|message| message.header.address_family = AddressFamily::Inet6), Some((true, 252)));
    assert_eq!(told(&|message| message.header.address_family = AddressFamily::Bridge), None);
    assert_eq!(told(&|message| message.header.flags = RouteFlags::Dead), None);
    assert_eq!(told(&|message| message.header.flags = RouteFlags::Cloned), None);
    assert_eq!(told(&|message| message.header.kind = RouteType::BlackHole), None);
}

#[test]
fn a_hop_that_is_dead_is_none_and_an_ipv6_router_of_an_ipv4_route_is_read() {
    let hop = |index: u32, flags: u8, attribute: u16, value: &[u8]| {
        let mut hop = vec![0, 0, flags, 0];
        hop.extend(index.to_ne_bytes());
        hop.extend((4 + value.len() as u16).to_ne_bytes());
        hop.extend(attribute.to_ne_bytes());
        hop.extend(value);
        let length = (hop.len() as u16).to_ne_bytes();
        hop[..2].copy_from_slice(&length);
        hop.resize(hop.len().next_multiple_of(4), 0);
        hop
    };
    let mut via = vec![10, 0];
    let router = addr("fe80::1");
    if let IpAddr::V6(v6) = router {
        via.extend(v6.octets());
    }
    let all = [
        hop(7, 0, RTA_VIA, &via),
        hop(8, RTNH_F_DEAD, RTA_GATEWAY, &[10, 0, 0, 1]),
        hop(9, 4, RTA_GATEWAY, &[10, 0, 0, 2]),
        hop(10, 0, 99, &[0; 4]),
    ];
    let found = next_hops(&all.concat());
    assert_eq!(found, [(7, Some(router)), (9, Some(addr("10.0.0.2"))), (10, None)]);
    // One that is cut short ends the list.
    assert_eq!(next_hops(&all.concat()[..30]), found[..1]);
}
