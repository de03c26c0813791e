//! A snapshot over rtnetlink: links, addresses, routes of all tables and rules, each asked for as one dump.
//!
//! Attributes are walked here and only the few that matter are read. A kernel that tells more, or tells
//! something else in another shape, then costs nothing; a parser of whole messages would refuse the link.

use super::links::{Address, DefaultRoute, Link};
use super::prefix;
use super::rules::{self, Rule};
use netlink_packet_core::{
    Emitable, NLA_HEADER_SIZE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NlasIterator, Parseable,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressFlags, AddressHeader, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteType};
use netlink_packet_route::rule::RuleHeader;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
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
const IFA_FLAGS: u16 = 8;

/// A dump that the kernel calls interrupted (something changed under it) is asked for anew so often.
const TRIES: usize = 5;

pub(super) fn snapshot() -> io::Result<Vec<Link>> {
    let mut asker = Asker::new().map_err(|error| about("opening rtnetlink", &error))?;
    let mut links = asker.dump("links", RTM_GETLINK, &LinkHeader::default(), link)?;
    let addresses = asker.dump("addresses", RTM_GETADDR, &AddressHeader::default(), address)?;
    let routes = asker.dump("routes", RTM_GETROUTE, &RouteHeader::default(), default_routes)?;
    // A kernel without CONFIG_IP_MULTIPLE_TABLES has no rules to tell.
    let rules = asker.dump("rules", RTM_GETRULE, &RuleHeader::default(), rules::parse).ok();
    let masters: Vec<u32> =
        links.iter().filter(|link| link.kind.as_deref() == Some("vrf")).map(|vrf| vrf.index).collect();
    for link in &mut links {
        let own = addresses.iter().filter(|(index, _)| *index == link.index);
        link.addresses = own.map(|(_, address)| *address).collect();
        let in_vrf = link.master.is_some_and(|master| masters.contains(&master));
        let own = routes.iter().flatten().filter(|(index, _)| *index == link.index);
        let mut defaults: Vec<DefaultRoute> = own.map(|(_, route)| *route).collect();
        for route in &mut defaults {
            route.reach = reach(route, link, in_vrf, rules.as_deref());
        }
        defaults.sort_by_key(|route| (route.v6, route.metric, route.table));
        link.defaults = Some(defaults);
    }
    Ok(links)
}

fn reach(route: &DefaultRoute, link: &Link, in_vrf: bool, rules: Option<&[Rule]>) -> super::links::Reach {
    let own: Vec<IpAddr> = link.addresses.iter().map(|address| address.ip).collect();
    rules::reach(route, &link.name, &own, in_vrf, rules)
}

/// A blocking rtnetlink socket.
struct Asker {
    socket: Socket,
    sequence: u32,
}

impl Asker {
    fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Asker { socket, sequence: 0 })
    }

    /// All that the kernel tells to the dump request `kind`, each message's body through `parse`.
    fn dump<T>(
        &mut self,
        what: &str,
        kind: u16,
        body: &dyn Emitable,
        parse: fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found.clear();
            let whole = self.dump_once(kind, body, parse, &mut found);
            if whole.map_err(|error| about(&format!("reading the {what} over rtnetlink"), &error))? {
                break;
            }
        }
        Ok(found)
    }

    /// One dump; `Ok(false)` where the kernel calls it interrupted.
    fn dump_once<T>(
        &mut self,
        kind: u16,
        body: &dyn Emitable,
        parse: fn(&[u8]) -> Option<T>,
        found: &mut Vec<T>,
    ) -> io::Result<bool> {
        self.sequence += 1;
        self.socket.send(&request(kind, self.sequence, body), 0)?;
        let mut whole = true;
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                let length = message.length() as usize;
                let header = NetlinkHeader::parse(&message).map_err(io::Error::other)?;
                // RFC 3549 section 2.2: messages are aligned to 4 bytes.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if header.sequence_number != self.sequence {
                    continue;
                }
                whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.message_type {
                    NLMSG_DONE => return code(message.payload()).map(|()| whole),
                    NLMSG_ERROR => {
                        return code(message.payload()).and(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    NLMSG_OVERRUN => return Err(io::Error::other("the kernel lost a part of its answer")),
                    NLMSG_NOOP => {}
                    _ => found.extend(parse(message.payload())),
                }
            }
        }
    }
}

fn request(kind: u16, sequence: u32, body: &dyn Emitable) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    let start = header.buffer_len();
    header.length = (start + body.buffer_len()) as u32;
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let mut bytes = vec![0; start + body.buffer_len()];
    header.emit(&mut bytes);
    body.emit(&mut bytes[start..]);
    bytes
}

/// The error number that ends an answer, negative; 0 or none when all went well.
fn code(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The attributes in `bytes`, up to the first that is broken.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        (kind, &attribute.into_inner()[NLA_HEADER_SIZE..length])
    })
}

pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

pub(super) fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    (end > 0).then(|| String::from_utf8_lossy(&value[..end]).into_owned())
}

pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => value.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
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
    // Kernels before 5.14 do not tell the parent.
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
    let (mut local, mut other) = (None, None);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => other = ip(value),
            IFA_FLAGS => flags = AddressFlags::from_bits_retain(number(value).unwrap_or(flags.bits())),
            _ => {}
        }
    }
    // IFA_ADDRESS is the peer's where IFA_LOCAL is told and differs (linux/if_addr.h).
    let own = local.or(other)?;
    let optimistic = flags.contains(AddressFlags::Optimistic);
    let unusable = flags.intersects(AddressFlags::Deprecated | AddressFlags::Dadfailed)
        || flags.contains(AddressFlags::Tentative) && !optimistic
        || matches!(header.scope, AddressScope::Host | AddressScope::Nowhere)
        || prefix::is_link_local(own)
        || own.is_loopback();
    let peer = other.filter(|peer| *peer != own);
    Some((header.index, Address { ip: own, prefix_len: header.prefix_len, peer, usable: !unusable }))
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

/// The router in RTA_GATEWAY, or in RTA_VIA (an IPv6 router of an IPv4 route, after a 2-byte family).
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
