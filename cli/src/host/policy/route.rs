//! A route of a table.

use super::{Found, family, is_v6, short};
use crate::host::prefix::Prefix;
use crate::host::rtnetlink::{attributes, ip, number};
use netlink_packet_core::Emitable;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// linux/rtnetlink.h
const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
pub(super) const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
/// The loopback device is the first of each network namespace (LOOPBACK_IFINDEX in the kernel).
const LO: u32 = 1;
/// The metric that the kernel gives to an IPv6 route for which none is asked (IP6_RT_PRIO_USER).
const METRIC_V6: u32 = 1024;

/// What a route does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Delivers it to this host.
    Local,
    /// Sends it by this device, on which everybody is a neighbour.
    Device(u32),
    /// Refuses it, and tells the sender.
    Unreachable,
}

/// A route of a table, as far as ours go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) v6: bool,
    pub(crate) table: u32,
    pub(crate) kind: Kind,
    /// Where it leads; an address with 0 bits is everywhere.
    pub(crate) to: Prefix,
    /// The lower is preferred; `None` is the kernel's own choice.
    pub(crate) metric: Option<u32>,
    /// What a socket without an address gets as its own.
    pub(crate) source: Option<IpAddr>,
}

impl Route {
    /// One that leads everywhere.
    pub(crate) fn default(v6: bool, table: u32, kind: Kind) -> Self {
        Route { v6, table, kind, to: everywhere(v6), metric: None, source: None }
    }

    pub(super) fn message(&self, tag: u8) -> RouteMessage {
        let mut message = RouteMessage::default();
        // The scope of IPv4 routes (ip-route(8)); IPv6 has none.
        let (kind, scope, device) = match self.kind {
            Kind::Local => (RouteType::Local, RouteScope::Host, Some(LO)),
            Kind::Device(index) => (RouteType::Unicast, RouteScope::Link, Some(index)),
            Kind::Unreachable => (RouteType::Unreachable, RouteScope::Universe, None),
        };
        message.header = RouteHeader {
            address_family: family(self.v6),
            table: short(self.table),
            protocol: RouteProtocol::Other(tag),
            scope: if self.v6 { RouteScope::Universe } else { scope },
            kind,
            destination_prefix_length: self.to.1,
            ..RouteHeader::default()
        };
        let destination = match self.to {
            (_, 0) => None,
            (IpAddr::V4(ip), _) => Some(RouteAddress::Inet(ip)),
            (IpAddr::V6(ip), _) => Some(RouteAddress::Inet6(ip)),
        };
        let attributes = [
            destination.map(RouteAttribute::Destination),
            device.map(RouteAttribute::Oif),
            Some(RouteAttribute::Table(self.table)),
            self.metric.map(RouteAttribute::Priority),
            self.source.map(|source| RouteAttribute::PrefSource(source.into())),
        ];
        message.attributes = attributes.into_iter().flatten().collect();
        message
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Local => "local ",
            Kind::Device(_) => "",
            Kind::Unreachable => "unreachable ",
        })?;
        match self.to {
            (_, 0) => f.write_str("default")?,
            (ip, bits) => write!(f, "{ip}/{bits}")?,
        }
        match self.kind {
            Kind::Local => f.write_str(" dev lo")?,
            Kind::Device(index) => write!(f, " dev if{index}")?,
            Kind::Unreachable => {}
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        write!(f, " table {}", self.table)?;
        self.metric.map_or(Ok(()), |metric| write!(f, " metric {metric}"))
    }
}

/// The destination of a default route.
fn everywhere(v6: bool) -> Prefix {
    let ip = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    (ip, 0)
}

/// The route in an RTM_NEWROUTE body; `None` for what is none of a table.
pub(super) fn read(payload: &[u8]) -> Option<Found<Route>> {
    let header = RouteHeader::parse(payload).ok()?;
    let v6 = is_v6(header.address_family)?;
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (mut device, mut strange) = (None, header.source_prefix_length != 0 || header.tos != 0);
    let mut route = Route::default(v6, header.table.into(), Kind::Unreachable);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            RTA_DST => route.to = (ip(value)?, header.destination_prefix_length),
            RTA_OIF => device = number(value),
            RTA_PREFSRC => route.source = Some(ip(value)?),
            RTA_TABLE => route.table = number(value)?,
            RTA_PRIORITY => {
                route.metric = number(value).filter(|metric| *metric != if v6 { METRIC_V6 } else { 0 });
            }
            RTA_GATEWAY | RTA_MULTIPATH | RTA_VIA | RTA_ENCAP | RTA_NH_ID => strange = true,
            _ => {}
        }
    }
    match (header.kind, device) {
        (RouteType::Local, None | Some(LO)) => route.kind = Kind::Local,
        (RouteType::Unicast, Some(index)) => route.kind = Kind::Device(index),
        // IPv6 tells `lo` for it.
        (RouteType::Unreachable, _) => {}
        _ => strange = true,
    }
    Some(Found { what: route, tag: header.protocol.into(), strange })
}

#[cfg(test)]
mod tests {
    use super::super::bytes;
    use super::*;
    use crate::host::fixtures::ip;

    const TAG: u8 = 230;

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for v6 in [false, true] {
            let (source, network) =
                if v6 { ("::1", ("2001:db8::", 32)) } else { ("10.0.0.1", ("10.0.0.0", 8)) };
            let local = Route { source: Some(ip(source)), ..Route::default(v6, 29303, Kind::Local) };
            let device = Route { to: (ip(network.0), network.1), ..Route::default(v6, 7, Kind::Device(5)) };
            let last = Route { metric: Some(u32::MAX), ..Route::default(v6, 7, Kind::Unreachable) };
            for wanted in [local, device, last] {
                let found = read(&bytes(&wanted.message(TAG)));
                assert_eq!(found, Some(Found { what: wanted, tag: TAG, strange: false }));
            }
        }
    }

    #[test]
    fn a_route_by_a_router_is_strange() {
        let mut message = Route::default(false, 254, Kind::Device(2)).message(TAG);
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, 1))));
        assert!(read(&bytes(&message)).expect("a route").strange);
    }

    #[test]
    fn the_metric_that_the_kernel_gives_is_none() {
        let route = Route { metric: Some(METRIC_V6), ..Route::default(true, 7, Kind::Unreachable) };
        assert_eq!(read(&bytes(&route.message(TAG))).expect("a route").what.metric, None);
    }

    #[test]
    fn a_route_reads_as_a_command() {
        let last = Route { metric: Some(9), ..Route::default(false, 7, Kind::Unreachable) };
        assert_eq!(last.to_string(), "unreachable default table 7 metric 9");
        let local = Route { source: Some(ip("::1")), ..Route::default(true, 7, Kind::Local) };
        assert_eq!(local.to_string(), "local default dev lo src ::1 table 7");
        let device = Route { to: (ip("10.0.0.0"), 8), ..Route::default(false, 7, Kind::Device(3)) };
        assert_eq!(device.to_string(), "10.0.0.0/8 dev if3 table 7");
    }

    #[test]
    fn broken_messages_are_passed_over() {
        let whole = bytes(&Route::default(true, 1, Kind::Local).message(TAG));
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
    }

    #[test]
    fn a_route_that_is_narrower_or_of_another_kind_is_strange() {
        let found = |change: &dyn Fn(&mut RouteMessage)| {
            let mut message = Route::default(false, 254, Kind::Device(2)).message(TAG);
            change(&mut message);
            read(&bytes(&message))
        };
        let strange = |change: &dyn Fn(&mut RouteMessage)| found(change).expect("a route").strange;
        assert!(!strange(&|_| {}));
        assert!(strange(&|message| message.header.source_prefix_length = 8));
        assert!(strange(&|message| message.header.tos = 4));
        assert!(strange(&|message| message.header.kind = RouteType::BlackHole));
        assert!(strange(&|message| message.header.kind = RouteType::Local), "of a device that is not lo");
        assert!(!strange(&|message| message.header.kind = RouteType::Unreachable));
        let sourceless = |message: &mut RouteMessage| {
            message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
        };
        assert!(strange(&sourceless), "by no device");
        // What is no route of a table.
        assert_eq!(found(&|message| message.header.flags = RouteFlags::Cloned), None);
        assert_eq!(
            found(&|message| message.header.address_family = netlink_packet_route::AddressFamily::Bridge),
            None
        );
    }

    #[test]
    fn a_metric_that_the_other_familys_kernel_would_give_was_asked_for() {
        let metric = |v6, metric| {
            let route = Route { metric: Some(metric), ..Route::default(v6, 7, Kind::Unreachable) };
            read(&bytes(&route.message(TAG))).expect("a route").what.metric
        };
        assert_eq!((metric(false, 0), metric(false, METRIC_V6)), (None, Some(METRIC_V6)));
        assert_eq!((metric(true, 0), metric(true, METRIC_V6)), (Some(0), None));
    }

    #[test]
    fn the_scope_of_a_route_is_as_near_as_its_destination() {
        let scope = |v6, kind| Route::default(v6, 7, kind).message(TAG).header.scope;
        assert_eq!(scope(false, Kind::Local), RouteScope::Host);
        assert_eq!(scope(false, Kind::Device(3)), RouteScope::Link);
        assert_eq!(scope(false, Kind::Unreachable), RouteScope::Universe);
        assert_eq!(scope(true, Kind::Local), RouteScope::Universe);
        let table = |table| Route::default(false, table, Kind::Unreachable).message(TAG).header.table;
        assert_eq!((table(9), table(29_303)), (9, 0));
    }
}
