//! A snapshot over rtnetlink: links, addresses, routes of all tables and rules, each asked for as
//! one dump.
//!
//! Attributes are walked here and only the few that matter are read. A kernel that reports more, or
//! reports something else in another shape, then costs nothing; a parser of whole messages would
//! refuse the link.

use super::links::{Address, DefaultRoute, Link};
use super::prefix;
use super::rtnetlink::{Asker, about, attributes, ip, number, text};
use super::rules::{self, Rule};
use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressFlags, AddressHeader, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteType};
use netlink_packet_route::rule::RuleHeader;
use ropewalk_core::machine::Device;
use std::io;
use std::net::IpAddr;
use std::path::Path;

// linux/rtnetlink.h
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETRULE: u16 = 34;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTNH_F_DEAD: u8 = 1;
/// Bytes of `struct rtnexthop`.
const NEXT_HOP: usize = 8;
// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_PARENT_DEV_NAME: u16 = 56;
const IFLA_INFO_KIND: u16 = 1;
// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;

pub(super) fn snapshot() -> io::Result<Vec<Link>> {
    let mut asker = Asker::new().map_err(|error| about("opening rtnetlink", &error))?;
    let links = asker.dump("links", RTM_GETLINK, &LinkHeader::default(), link)?;
    let addresses = asker.dump("addresses", RTM_GETADDR, &AddressHeader::default(), address)?;
    let routes = asker.dump("routes", RTM_GETROUTE, &RouteHeader::default(), default_routes)?;
    // A kernel without CONFIG_IP_MULTIPLE_TABLES has no rules to tell.
    let rules = asker.dump("rules", RTM_GETRULE, &RuleHeader::default(), rules::parse).ok();
    Ok(together(links, &addresses, &routes.concat(), rules.as_deref()))
}

/// Each link with its addresses, and its default routes with the reach that the rules give them.
fn together(
    mut links: Vec<Link>,
    addresses: &[(u32, Address)],
    routes: &[(u32, DefaultRoute)],
    rules: Option<&[Rule]>,
) -> Vec<Link> {
    let masters: Vec<u32> =
        links.iter().filter(|link| link.kind.as_deref() == Some("vrf")).map(|vrf| vrf.index).collect();
    for link in &mut links {
        let own = addresses.iter().filter(|(index, _)| *index == link.index);
        link.addresses = own.map(|(_, address)| *address).collect();
        let in_vrf = link.master.is_some_and(|master| masters.contains(&master));
        let own = routes.iter().filter(|(index, _)| *index == link.index);
        let mut defaults: Vec<DefaultRoute> = own.map(|(_, route)| *route).collect();
        for route in &mut defaults {
            route.reach = reach(route, link, in_vrf, rules);
        }
        defaults.sort_by_key(|route| (route.v6, route.metric, route.table));
        link.defaults = Some(defaults);
    }
    links
}

fn reach(route: &DefaultRoute, link: &Link, in_vrf: bool, rules: Option<&[Rule]>) -> super::links::Reach {
    let own: Vec<IpAddr> = link.addresses.iter().map(|address| address.ip).collect();
    rules::reach(route, &link.name, &own, in_vrf, rules)
}

fn link(payload: &[u8]) -> Option<Link> {
    let header = LinkHeader::parse(payload).ok()?;
    let (mut name, mut master, mut kind, mut physical) = (None, None, None, false);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            IFLA_IFNAME => name = text(value),
            IFLA_MASTER => master = number(value),
            IFLA_PARENT_DEV_NAME => physical = true,
            IFLA_LINKINFO => {
                kind = attributes(value).find(|(attribute, _)| *attribute == IFLA_INFO_KIND);
            }
            _ => {}
        }
    }
    let name = name?;
    // Kernels before 5.14 do not report the parent.
    physical = physical || Path::new("/sys/class/net").join(&name).join("device").exists();
    let ready = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
    Some(Link {
        index: header.index,
        device: Device::new(&name),
        enabled: header.flags.contains(LinkFlags::Up),
        up: header.flags.contains(ready),
        loopback: header.flags.contains(LinkFlags::Loopback),
        kind: kind.and_then(|(_, value)| text(value)),
        master,
        physical,
        addresses: Vec::new(),
        defaults: None,
        name,
    })
}

fn address(payload: &[u8]) -> Option<(u32, Address)> {
    let header = AddressHeader::parse(payload).ok()?;
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    let (mut local, mut other, mut broadcast) = (None, None, None);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => other = ip(value),
            IFA_BROADCAST => broadcast = ip(value),
            IFA_FLAGS => flags = AddressFlags::from_bits_retain(number(value).unwrap_or(flags.bits())),
            _ => {}
        }
    }
    // IFA_ADDRESS is the peer's where IFA_LOCAL is present and differs (linux/if_addr.h).
    let own = local.or(other)?;
    let optimistic = flags.contains(AddressFlags::Optimistic);
    // RFC 6724 is IPv6's: Linux goes on with an IPv4 address that is no longer preferred.
    let unusable = flags.contains(AddressFlags::Deprecated) && own.is_ipv6()
        || flags.contains(AddressFlags::Dadfailed)
        || flags.contains(AddressFlags::Tentative) && !optimistic
        || matches!(header.scope, AddressScope::Host | AddressScope::Nowhere)
        || prefix::is_link_local(own)
        || own.is_loopback();
    let peer = other.filter(|peer| *peer != own);
    Some((
        header.index,
        Address { ip: own, prefix_len: header.prefix_len, peer, broadcast, usable: !unusable },
    ))
}

/// The interfaces a route leaves by, when it is a default route; their reach is not yet known.
fn default_routes(payload: &[u8]) -> Option<Vec<(u32, DefaultRoute)>> {
    let header = RouteHeader::parse(payload).ok()?;
    let ip_route = matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6);
    let dead = RouteFlags::Dead | RouteFlags::Cloned;
    if !ip_route
        || header.kind != RouteType::Unicast
        || header.destination_prefix_length != 0
        || header.flags.intersects(dead)
    {
        return None;
    }
    let mut route = DefaultRoute {
        v6: header.address_family == AddressFamily::Inet6,
        table: header.table.into(),
        metric: 0,
        gateway: None,
        reach: super::links::Reach::Never,
    };
    let (mut hops, mut single) = (Vec::new(), None);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            RTA_OIF => single = number(value),
            RTA_TABLE => route.table = number(value).unwrap_or(route.table),
            RTA_PRIORITY => route.metric = number(value).unwrap_or(0),
            RTA_MULTIPATH => hops = next_hops(value),
            RTA_GATEWAY | RTA_VIA => route.gateway = gateway(attribute, value),
            _ => {}
        }
    }
    let single = single.map(|index| (index, route.gateway));
    hops.extend(single);
    Some(hops.into_iter().map(|(index, gateway)| (index, DefaultRoute { gateway, ..route })).collect())
}

/// The living hops of a multipath route: interface and router.
fn next_hops(mut bytes: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    let mut hops = Vec::new();
    // struct rtnexthop: u16 length, u8 flags, u8 hops, s32 interface, attributes.
    while let Some(head) = bytes.first_chunk::<NEXT_HOP>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(body) = bytes.get(NEXT_HOP..length) else {
            break;
        };
        if head[2] & RTNH_F_DEAD == 0 {
            let gateway = attributes(body).find_map(|(attribute, value)| gateway(attribute, value));
            hops.push((u32::from_ne_bytes([head[4], head[5], head[6], head[7]]), gateway));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// The router in RTA_GATEWAY, or in RTA_VIA (an IPv6 router of an IPv4 route, after a 2-byte
/// family).
fn gateway(attribute: u16, value: &[u8]) -> Option<IpAddr> {
    match attribute {
        RTA_GATEWAY => ip(value),
        RTA_VIA => ip(value.get(2..)?),
        _ => None,
    }
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
