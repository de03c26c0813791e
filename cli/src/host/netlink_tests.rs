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
    assert!(!usable(AddressHeaderFlags::Deprecated));
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
