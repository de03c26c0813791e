//! Which routing tables a socket bound to an interface gets to: the rules of `ip rule`, as far as
//! they can be known without a packet at hand.
//!
//! ```text
//! 0:      from all lookup local
//! 32764:  from 10.0.1.2 lookup 100     a socket with that source address
//! 32765:  from all oif wlan0 lookup 7  any socket bound to wlan0
//! 32766:  from all lookup main         any socket
//! ```

use super::links::{DefaultRoute, Reach};
use super::prefix::{self, Prefix};
use super::rtnetlink::{attributes, ip, number, text};
use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleFlags, RuleHeader};
use std::net::IpAddr;

// linux/fib_rules.h
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_FWMARK: u16 = 10;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
// linux/rtnetlink.h
const RT_TABLE_DEFAULT: u32 = 253;
const RT_TABLE_MAIN: u32 = 254;

/// A rule that leads to a table's default route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    v6: bool,
    table: Table,
    /// Only packets that leave by this interface.
    device: Option<String>,
    /// Only packets with this source.
    source: Option<Prefix>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Table {
    Number(u32),
    /// The table of the VRF that the interface is a part of.
    OfVrf,
}

/// The rule in an RTM_NEWRULE body; `None` where it never applies to a plain TCP socket of ours, or
/// leads to no default route.
pub(super) fn parse(payload: &[u8]) -> Option<Rule> {
    let header = RuleHeader::parse(payload).ok()?;
    let v6 = match header.family {
        AddressFamily::Inet => false,
        AddressFamily::Inet6 => true,
        _ => return None,
    };
    if header.action != RuleAction::ToTable {
        return None;
    }
    let mut table = Table::Number(header.table.into());
    let (mut device, mut source, mut marked, mut other) = (None, None, false, false);
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            FRA_TABLE => table = Table::Number(number(value)?),
            FRA_L3MDEV if value.first() == Some(&1) => table = Table::OfVrf,
            FRA_OIFNAME => device = text(value),
            FRA_SRC => source = Some(prefix::network(ip(value)?, header.src_len)),
            // A mark of 0 is what every socket of ours has.
            FRA_FWMARK => marked = number(value) != Some(0),
            // Packets of this host come in by `lo`.
            FRA_IIFNAME => other |= text(value).as_deref() != Some("lo"),
            FRA_DST | FRA_TUN_ID | FRA_UID_RANGE | FRA_IP_PROTO | FRA_SPORT_RANGE | FRA_DPORT_RANGE => {
                other = true
            }
            // What hides prefixes of length 0 hides the default route.
            FRA_SUPPRESS_PREFIXLEN => other |= number(value) != Some(u32::MAX),
            _ => {}
        }
    }
    if header.flags.contains(RuleFlags::Invert) {
        // wg-quick: `not from all fwmark 0xca6c lookup 51820` takes every socket without the mark.
        let by_mark_alone = marked && !other && device.is_none() && source.is_none();
        return by_mark_alone.then_some(Rule { v6, table, device: None, source: None });
    }
    (!marked && !other).then_some(Rule { v6, table, device, source })
}

/// Which sockets bound to the interface `name`, which has the addresses `own`, get to `route`.
/// Without rules the kernel looks at `main` alone.
pub(super) fn reach(
    route: &DefaultRoute,
    name: &str,
    own: &[IpAddr],
    in_vrf: bool,
    rules: Option<&[Rule]>,
) -> Reach {
    let Some(rules) = rules else {
        let looked_at = matches!(route.table, RT_TABLE_DEFAULT | RT_TABLE_MAIN);
        return if looked_at { Reach::Always } else { Reach::Never };
    };
    let leads = |rule: &&Rule| {
        rule.v6 == route.v6
            && rule.device.as_deref().is_none_or(|device| device == name)
            && match rule.table {
                Table::Number(table) => table == route.table,
                Table::OfVrf => in_vrf,
            }
    };
    let mut reach = Reach::Never;
    for rule in rules.iter().filter(leads) {
        match rule.source {
            None => return Reach::Always,
            Some(source) if own.iter().any(|ip| prefix::contains(source, *ip)) => reach = Reach::From(source),
            Some(_) => {}
        }
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::ip;
    use netlink_packet_route::IpProtocol;
    use netlink_packet_route::rule::{RuleAttribute, RuleMessage, RulePortRange, RuleUidRange};

    fn rule(table: u32, src_len: u8, attributes: Vec<RuleAttribute>, flags: RuleFlags) -> Option<Rule> {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.header.src_len = src_len;
        message.header.flags = flags;
        // The kernel tells the table first.
        message.attributes = [vec![RuleAttribute::Table(table)], attributes].concat();
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        parse(&bytes)
    }

    fn reach_of(table: u32, rules: &[Rule]) -> Reach {
        let route = DefaultRoute { v6: false, table, metric: 0, gateway: None, reach: Reach::Never };
        reach(&route, "eth1", &[ip("10.0.1.2")], false, Some(rules))
    }

    #[test]
    fn a_rule_for_all_leads_to_its_table_and_no_other() {
        let rules = [rule(254, 0, vec![], RuleFlags::empty()).expect("a rule")];
        assert_eq!(reach_of(254, &rules), Reach::Always);
        assert_eq!(reach_of(100, &rules), Reach::Never);
    }

    #[test]
    fn a_rule_for_a_source_counts_where_the_interface_has_that_source() {
        let by_source = |text: &str| {
            rule(100, 32, vec![RuleAttribute::Source(ip(text))], RuleFlags::empty()).expect("a rule")
        };
        assert_eq!(reach_of(100, &[by_source("10.0.1.2")]), Reach::From((ip("10.0.1.2"), 32)));
        assert_eq!(reach_of(100, &[by_source("10.0.2.2")]), Reach::Never);
    }

    #[test]
    fn a_rule_for_an_interface_counts_for_that_interface() {
        let by_name = |name: &str| {
            rule(7, 0, vec![RuleAttribute::Oifname(name.into())], RuleFlags::empty()).expect("a rule")
        };
        assert_eq!(reach_of(7, &[by_name("eth1")]), Reach::Always);
        assert_eq!(reach_of(7, &[by_name("eth2")]), Reach::Never);
    }

    #[test]
    fn a_rule_for_a_mark_is_none_of_ours_unless_it_is_inverted() {
        let mark = || vec![RuleAttribute::FwMark(0xca6c)];
        assert_eq!(rule(51820, 0, mark(), RuleFlags::empty()), None);
        assert!(rule(51820, 0, mark(), RuleFlags::Invert).is_some());
    }

    #[test]
    fn a_rule_that_hides_default_routes_leads_to_none() {
        assert_eq!(rule(254, 0, vec![RuleAttribute::SuppressPrefixLen(0)], RuleFlags::empty()), None);
        assert!(rule(254, 0, vec![RuleAttribute::SuppressPrefixLen(u32::MAX)], RuleFlags::empty()).is_some());
    }

    /// What a plain TCP socket of ours, bound to an interface, is or is not.
    #[test]
    fn a_rule_that_asks_for_something_else_is_none_of_ours() {
        let ports = RulePortRange { start: 1, end: 9 };
        let cases = [
            (RuleAttribute::Destination(ip("192.0.2.1")), false),
            (RuleAttribute::Iifname("eth9".into()), false),
            (RuleAttribute::Iifname("lo".into()), true),
            (RuleAttribute::TunId(7), false),
            (RuleAttribute::UidRange(RuleUidRange { start: 0, end: 0 }), false),
            (RuleAttribute::IpProtocol(IpProtocol::Udp), false),
            (RuleAttribute::SourcePortRange(ports), false),
            (RuleAttribute::DestinationPortRange(ports), false),
            (RuleAttribute::FwMark(0), true),
            (RuleAttribute::Priority(5), true),
        ];
        for (attribute, ours) in cases {
            let plain = rule(100, 0, vec![attribute.clone()], RuleFlags::empty());
            assert_eq!(plain.is_some(), ours, "{attribute:?}");
            // Turned round only a rule for a mark alone says something of us.
            let marked = vec![RuleAttribute::FwMark(1), attribute.clone()];
            let all = matches!(attribute, RuleAttribute::Iifname(ref name) if name == "lo");
            let all = all || matches!(attribute, RuleAttribute::Priority(_));
            assert_eq!(rule(100, 0, marked, RuleFlags::Invert).is_some(), all, "not {attribute:?}");
        }
        for attribute in [RuleAttribute::Oifname("eth1".into()), RuleAttribute::Source(ip("10.0.1.2"))] {
            let marked = vec![RuleAttribute::FwMark(1), attribute.clone()];
            assert_eq!(rule(100, 32, marked, RuleFlags::Invert), None, "not {attribute:?}");
        }
        assert_eq!(rule(100, 0, vec![], RuleFlags::Invert), None);
    }

    #[test]
    fn a_rule_counts_for_its_family_and_its_vrf() {
        let route = DefaultRoute { v6: false, table: 100, metric: 0, gateway: None, reach: Reach::Never };
        let plain = Rule { v6: false, table: Table::Number(100), device: None, source: None };
        let other = Rule { v6: true, ..plain.clone() };
        assert_eq!(reach(&route, "eth1", &[], false, Some(&[other])), Reach::Never);
        let of_vrf = Rule { table: Table::OfVrf, ..plain.clone() };
        let told = rule(0, 0, vec![RuleAttribute::L3MDev(true)], RuleFlags::empty());
        assert_eq!(told.as_ref(), Some(&of_vrf));
        assert_eq!(reach(&route, "eth1", &[], true, Some(std::slice::from_ref(&of_vrf))), Reach::Always);
        assert_eq!(reach(&route, "eth1", &[], false, Some(&[of_vrf])), Reach::Never);
        // One that counts for all sockets comes before one for a source, wherever it stands.
        let own = [ip("10.0.1.2")];
        let by_source = Rule { source: Some((own[0], 32)), ..plain.clone() };
        assert_eq!(reach(&route, "eth1", &own, false, Some(&[by_source, plain])), Reach::Always);
    }

    #[test]
    fn without_rules_the_kernel_looks_at_main() {
        let route = DefaultRoute { v6: false, table: 254, metric: 0, gateway: None, reach: Reach::Never };
        assert_eq!(reach(&route, "eth1", &[], false, None), Reach::Always);
        assert_eq!(reach(&DefaultRoute { table: 253, ..route }, "eth1", &[], false, None), Reach::Always);
        assert_eq!(reach(&DefaultRoute { table: 100, ..route }, "eth1", &[], false, None), Reach::Never);
    }

    #[test]
    fn two_reasons_against_a_rule_do_not_take_each_other_back() {
        let elsewhere = || RuleAttribute::Destination(ip("192.0.2.1"));
        let second = [RuleAttribute::Iifname("eth9".into()), RuleAttribute::SuppressPrefixLen(0)];
        for attribute in second {
            let both = vec![elsewhere(), attribute.clone()];
            assert_eq!(rule(100, 0, both, RuleFlags::empty()), None, "{attribute:?}");
        }
        assert!(
            rule(100, 0, vec![RuleAttribute::L3MDev(false)], RuleFlags::empty())
                .is_some_and(|rule| rule.table == Table::Number(100))
        );
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.action = RuleAction::ToTable;
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        assert!(parse(&bytes).is_some_and(|rule| rule.v6));
    }
}
