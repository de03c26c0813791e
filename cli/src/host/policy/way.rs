//! Where the kernel would send a packet.

use super::family;
use super::route::{RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_VIA};
use crate::host::rtnetlink::{attributes, number};
use netlink_packet_core::Emitable;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use std::net::IpAddr;

/// A route, as far as it tells where its destination is.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub(crate) local: bool,
    pub(crate) by_gateway: bool,
    pub(crate) interface: Option<u32>,
}

pub(super) fn question(to: IpAddr, from: Option<IpAddr>) -> RouteMessage {
    let whole = if to.is_ipv6() { 128 } else { 32 };
    let address = |ip| match ip {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(to.is_ipv6()),
        destination_prefix_length: whole,
        source_prefix_length: if from.is_some() { whole } else { 0 },
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Destination(address(to))];
    message.attributes.extend(from.map(|from| RouteAttribute::Source(address(from))));
    message
}

/// The route in an RTM_NEWROUTE body.
pub(super) fn read(payload: &[u8]) -> Option<Way> {
    let header = RouteHeader::parse(payload).ok()?;
    let mut way = Way { local: header.kind == RouteType::Local, by_gateway: false, interface: None };
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            RTA_OIF => way.interface = number(value),
            RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH => way.by_gateway = true,
            _ => {}
        }
    }
    Some(way)
}

#[cfg(test)]
mod tests {
    use super::super::bytes;
    use super::*;
    use crate::host::fixtures::ip;
    use std::net::Ipv4Addr;

    #[test]
    fn a_question_names_one_address_and_no_network() {
        for (to, bits) in [("10.0.0.1", 32), ("2001:db8::1", 128)] {
            let header = question(ip(to), None).header;
            assert_eq!(
                (header.address_family, header.destination_prefix_length),
                (family(bits == 128), bits)
            );
        }
    }

    #[test]
    fn a_way_leads_to_this_host_or_by_a_router_or_by_an_interface_alone() {
        let way = |kind, attributes| {
            let mut message = question(ip("10.0.0.1"), None);
            message.header.kind = kind;
            message.attributes = attributes;
            read(&bytes(&message)).expect("a way")
        };
        let router = RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, 254)));
        let of = |local, by_gateway, interface| Way { local, by_gateway, interface };
        assert_eq!(way(RouteType::Local, vec![RouteAttribute::Oif(1)]), of(true, false, Some(1)));
        assert_eq!(way(RouteType::Unicast, vec![RouteAttribute::Oif(3)]), of(false, false, Some(3)));
        assert_eq!(way(RouteType::Unicast, vec![RouteAttribute::Oif(3), router]), of(false, true, Some(3)));
        assert_eq!(way(RouteType::Unicast, vec![]), of(false, false, None));
    }
}
