//! The kernel's rules and routes: read, added, removed.

use super::plan::{Route, Rule, TAG};
use crate::host::prefix;
use crate::host::rtnetlink::{Asker, KernelError, attributes, ip, number, text};
use crate::unwrap::target::{Ports, Protocol};
use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage, RulePortRange,
};
use rustix::io::Errno;
use std::fmt::Display;

// linux/rtnetlink.h
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
pub(super) const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
// linux/fib_rules.h
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
// linux/in.h
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The loopback device is the first of each network namespace (LOOPBACK_IFINDEX in the kernel).
const LO: u32 = 1;
/// The metric that the kernel gives to an IPv6 route for which none is asked (IP6_RT_PRIO_USER).
const METRIC_V6: u32 = 1024;

/// A rule or route that is there.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Found<T> {
    /// As far as ours go.
    pub(crate) what: T,
    pub(crate) tag: u8,
    /// It has more to it, or is of another kind: never one of ours.
    pub(crate) strange: bool,
}

impl<T> Found<T> {
    pub(crate) fn is_ours(&self) -> bool {
        self.tag == TAG && !self.strange
    }
}

/// What is there in this network namespace.
pub(crate) struct Present {
    pub(crate) rules: Vec<Found<Rule>>,
    pub(crate) routes: Vec<Found<Route>>,
}

impl Present {
    /// Whether anything is ours.
    pub(crate) fn has_ours(&self) -> bool {
        self.rules.iter().any(Found::is_ours) || self.routes.iter().any(Found::is_ours)
    }
}

pub(crate) struct Kernel(pub(super) Asker);

impl Kernel {
    pub(crate) fn new() -> Result<Self, String> {
        Asker::new().map(Kernel).map_err(|error| format!("cannot open rtnetlink: {error}"))
    }

    pub(crate) fn present(&mut self) -> Result<Present, String> {
        let text = |error: std::io::Error| error.to_string();
        let rules = self.0.dump("rules", RTM_GETRULE, &RuleHeader::default(), rule).map_err(text)?;
        let routes = self.0.dump("routes", RTM_GETROUTE, &RouteHeader::default(), route).map_err(text)?;
        Ok(Present { rules, routes })
    }

    /// Adds a rule; never beside one that is the same and ours.
    pub(crate) fn add_rule(&mut self, rule: &Rule) -> Result<(), String> {
        let added = self.0.change(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &rule_message(rule));
        added.map_err(|refusal| refused("add the rule", rule, &refusal))
    }

    pub(crate) fn remove_rule(&mut self, rule: &Rule) -> Result<(), String> {
        let removed = gone(self.0.change(RTM_DELRULE, 0, &rule_message(rule)));
        removed.map_err(|refusal| refused("remove the rule", rule, &refusal))
    }

    /// Adds a route, where its table has none to the same destination.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), String> {
        let added = self.0.change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route_message(route));
        added.map_err(|refusal| refused("add the route", route, &refusal))
    }

    pub(crate) fn remove_route(&mut self, route: &Route) -> Result<(), String> {
        let removed = gone(self.0.change(RTM_DELROUTE, 0, &route_message(route)));
        removed.map_err(|refusal| refused("remove the route", route, &refusal))
    }
}

/// Somebody else was quicker: it is gone all the same.
fn gone(removed: Result<(), KernelError>) -> Result<(), KernelError> {
    match removed {
        Err(refusal) if refusal.is(Errno::NOENT) || refusal.is(Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// What the kernel did not want to do, and why.
fn refused(what: &str, which: impl Display, refusal: &KernelError) -> String {
    if refusal.is(Errno::PERM) {
        return format!(
            "cannot {what} {which}: expected the right to change routes (CAP_NET_ADMIN, which root has), got: \
             {refusal}"
        );
    }
    format!("cannot {what} {which}: {refusal}")
}

pub(super) fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// The table in a header, which has 8 bits for it; 0 (unspecified) where the attribute must tell.
fn short(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(0)
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.v6);
    message.header.action = RuleAction::ToTable;
    message.header.table = short(rule.table);
    message.header.src_len = rule.from.map_or(0, |(_, bits)| bits);
    let number = |protocol| match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    // The library keeps its type for it to itself.
    let protocol = |own| RuleAttribute::Other(DefaultNla::new(FRA_IP_PROTO, vec![number(own)]));
    let attributes = [
        rule.from.map(|(ip, _)| RuleAttribute::Source(ip)),
        rule.iif.clone().map(RuleAttribute::Iifname),
        Some(RuleAttribute::Priority(rule.priority)),
        rule.mark.map(RuleAttribute::FwMark),
        // The kernel removes only a rule with the same mask.
        rule.mark.map(|_| RuleAttribute::FwMask(u32::MAX)),
        rule.protocol.map(protocol),
        rule.ports.map(|ports| {
            RuleAttribute::SourcePortRange(RulePortRange { start: ports.first, end: ports.last })
        }),
        Some(RuleAttribute::Table(rule.table)),
        Some(RuleAttribute::Protocol(RouteProtocol::Other(TAG))),
    ];
    message.attributes = attributes.into_iter().flatten().collect();
    message
}

fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(route.v6),
        table: short(route.table),
        protocol: RouteProtocol::Other(TAG),
        // The scope of a route of type local in IPv4 (ip-route(8)); IPv6 has none.
        scope: if route.v6 { RouteScope::Universe } else { RouteScope::Host },
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Oif(LO), RouteAttribute::Table(route.table)];
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

/// The rule in an RTM_NEWRULE body.
fn rule(payload: &[u8]) -> Option<Found<Rule>> {
    let header = RuleHeader::parse(payload).ok()?;
    let v6 = is_v6(header.family)?;
    let mut rule = Rule {
        v6,
        priority: 0,
        from: None,
        iif: None,
        protocol: None,
        ports: None,
        mark: None,
        table: header.table.into(),
    };
    let (mut tag, mut strange) = (0, header.action != RuleAction::ToTable || header.tos != 0);
    // The detached flags tell of devices that are not there now.
    strange |= header.dst_len != 0 || header.flags.contains(RuleFlags::Invert);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            FRA_SRC => rule.from = Some(prefix::network(ip(value)?, header.src_len)),
            FRA_IIFNAME => rule.iif = text(value),
            FRA_PRIORITY => rule.priority = number(value)?,
            FRA_FWMARK => rule.mark = number(value).filter(|mark| *mark > 0),
            FRA_FWMASK => strange |= number(value) != Some(u32::MAX),
            FRA_TABLE => rule.table = number(value)?,
            FRA_PROTOCOL => tag = *value.first()?,
            FRA_IP_PROTO if value == [TCP] => rule.protocol = Some(Protocol::Tcp),
            FRA_IP_PROTO if value == [UDP] => rule.protocol = Some(Protocol::Udp),
            FRA_SPORT_RANGE => rule.ports = Some(ports(value)?),
            FRA_SUPPRESS_PREFIXLEN => strange |= number(value) != Some(u32::MAX),
            FRA_L3MDEV => strange |= value != [0],
            FRA_IP_PROTO | FRA_OIFNAME | FRA_TUN_ID | FRA_UID_RANGE | FRA_DPORT_RANGE => {
                strange = true;
            }
            // A kernel that tells more of our rules must not make us forget them.
            _ => {}
        }
    }
    Some(Found { what: rule, tag, strange })
}

/// struct fib_rule_port_range
fn ports(value: &[u8]) -> Option<Ports> {
    let [a, b, c, d] = *value.first_chunk::<4>()?;
    Some(Ports { first: u16::from_ne_bytes([a, b]), last: u16::from_ne_bytes([c, d]) })
}

/// The route in an RTM_NEWROUTE body.
fn route(payload: &[u8]) -> Option<Found<Route>> {
    let header = RouteHeader::parse(payload).ok()?;
    let v6 = is_v6(header.address_family)?;
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut route = Route { v6, table: header.table.into(), source: None };
    let mut strange = header.kind != RouteType::Local || header.destination_prefix_length != 0;
    strange |= header.source_prefix_length != 0 || header.tos != 0;
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            RTA_OIF => strange |= number(value) != Some(LO),
            RTA_PREFSRC => route.source = Some(ip(value)?),
            RTA_TABLE => route.table = number(value)?,
            RTA_PRIORITY => strange |= number(value) != Some(if v6 { METRIC_V6 } else { 0 }),
            RTA_GATEWAY | RTA_MULTIPATH | RTA_VIA | RTA_ENCAP | RTA_NH_ID => strange = true,
            _ => {}
        }
    }
    Some(Found { what: route, tag: header.protocol.into(), strange })
}

fn is_v6(family: AddressFamily) -> Option<bool> {
    match family {
        AddressFamily::Inet => Some(false),
        AddressFamily::Inet6 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwrap::routes::plan::loopback;

    fn bytes(message: &impl Emitable) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn narrow() -> Rule {
        Rule {
            v6: true,
            priority: 293,
            from: Some((loopback(true), 128)),
            iif: Some("lo".into()),
            protocol: Some(Protocol::Udp),
            ports: Some(Ports { first: 80, last: 90 }),
            mark: None,
            table: 29303,
        }
    }

    #[test]
    fn a_rule_of_ours_is_read_as_it_was_written() {
        let other = Rule { iif: Some("br0".into()), ..narrow() };
        let marked = Rule { from: None, ports: None, protocol: None, mark: Some(7), table: 9, ..narrow() };
        for wanted in [narrow(), marked, other] {
            let found = rule(&bytes(&rule_message(&wanted))).expect("a rule");
            assert_eq!((found.is_ours(), found.what), (true, wanted));
        }
    }

    #[test]
    fn a_rule_that_asks_for_more_is_none_of_ours() {
        let mut message = rule_message(&narrow());
        message.attributes.push(RuleAttribute::Oifname("eth0".into()));
        assert!(!rule(&bytes(&message)).expect("a rule").is_ours());
        let mut message = rule_message(&narrow());
        message.header.flags = RuleFlags::Invert;
        assert!(!rule(&bytes(&message)).expect("a rule").is_ours());
        let mut message = rule_message(&narrow());
        message.header.action = RuleAction::Blackhole;
        assert!(!rule(&bytes(&message)).expect("a rule").is_ours());
    }

    #[test]
    fn a_route_of_ours_is_read_as_it_was_written_and_one_with_a_destination_is_none() {
        for v6 in [false, true] {
            let wanted = Route { v6, table: 29303, source: Some(loopback(v6)) };
            let mut message = route_message(&wanted);
            let found = route(&bytes(&message)).expect("a route");
            assert_eq!((found.is_ours(), found.what), (true, wanted));
            message.header.destination_prefix_length = 8;
            assert!(!route(&bytes(&message)).expect("a route").is_ours());
        }
    }

    #[test]
    fn broken_messages_are_passed_over() {
        for whole in [
            bytes(&rule_message(&narrow())),
            bytes(&route_message(&Route { v6: true, table: 1, source: None })),
        ] {
            for end in 0..whole.len() {
                let _ = (rule(&whole[..end]), route(&whole[..end]));
            }
        }
    }
}
