//! A rule of the routing policy.

use super::{Found, family, is_v6, short, whole};
use crate::host::prefix::{self, Prefix};
use crate::host::rtnetlink::{attributes, ip, number, text};
use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage, RulePortRange,
};
use std::fmt;

// linux/fib_rules.h
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
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
/// linux/in.h
pub(crate) const TCP: u8 = 6;
/// linux/in.h
pub(crate) const UDP: u8 = 17;

/// Ports in a row, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PortRange { first, last } if first == last => write!(f, "{first}"),
            PortRange { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// What a rule does with the packets it catches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Looks into a table; with `suppress`, its routes with so many bits of prefix or fewer count
    /// as not there.
    Lookup { table: u32, suppress: Option<u32> },
    /// Goes on with the rule that has this priority.
    Goto(u32),
    /// Goes on with the next one.
    Nop,
}

/// A rule of the routing policy, as far as ours go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    pub(crate) v6: bool,
    pub(crate) priority: u32,
    pub(crate) from: Option<Prefix>,
    pub(crate) to: Option<Prefix>,
    /// Only what comes in here: by `lo` what this host itself sends.
    pub(crate) iif: Option<String>,
    pub(crate) mark: Option<u32>,
    /// [`TCP`] or [`UDP`].
    pub(crate) protocol: Option<u8>,
    /// Ports that the packet comes from.
    pub(crate) sports: Option<PortRange>,
    /// Ports that it goes to.
    pub(crate) dports: Option<PortRange>,
    pub(crate) action: Action,
}

impl Rule {
    /// One that catches everything of its family.
    pub(crate) fn new(v6: bool, priority: u32, action: Action) -> Self {
        let (from, to, iif, mark, protocol, sports, dports) = (None, None, None, None, None, None, None);
        Rule { v6, priority, from, to, iif, mark, protocol, sports, dports, action }
    }

    pub(super) fn message(&self, tag: u8) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.v6);
        message.header.src_len = self.from.map_or(0, |(_, bits)| bits);
        message.header.dst_len = self.to.map_or(0, |(_, bits)| bits);
        let range = |ports: PortRange| RulePortRange { start: ports.first, end: ports.last };
        // The library keeps its type for it to itself.
        let protocol = |own| RuleAttribute::Other(DefaultNla::new(FRA_IP_PROTO, vec![own]));
        let attributes = [
            self.from.map(|(ip, _)| RuleAttribute::Source(ip)),
            self.to.map(|(ip, _)| RuleAttribute::Destination(ip)),
            self.iif.clone().map(RuleAttribute::Iifname),
            Some(RuleAttribute::Priority(self.priority)),
            self.mark.map(RuleAttribute::FwMark),
            // The kernel removes only a rule with the same mask.
            self.mark.map(|_| RuleAttribute::FwMask(u32::MAX)),
            self.protocol.map(protocol),
            self.sports.map(range).map(RuleAttribute::SourcePortRange),
            self.dports.map(range).map(RuleAttribute::DestinationPortRange),
            Some(RuleAttribute::Protocol(RouteProtocol::Other(tag))),
        ];
        message.attributes = attributes.into_iter().flatten().collect();
        match self.action {
            Action::Lookup { table, suppress } => {
                message.header.action = RuleAction::ToTable;
                message.header.table = short(table);
                message.attributes.push(RuleAttribute::Table(table));
                message.attributes.extend(suppress.map(RuleAttribute::SuppressPrefixLen));
            }
            Action::Goto(priority) => {
                message.header.action = RuleAction::Goto;
                message.attributes.push(RuleAttribute::Goto(priority));
            }
            Action::Nop => message.header.action = RuleAction::Nop,
        }
        message
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {}", self.priority)?;
        for (word, prefix) in [("from", self.from), ("to", self.to)] {
            match prefix {
                Some((ip, bits)) if bits == whole(self.v6) => write!(f, " {word} {ip}")?,
                Some((ip, bits)) => write!(f, " {word} {ip}/{bits}")?,
                None => {}
            }
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {mark}")?;
        }
        match self.protocol {
            Some(TCP) => f.write_str(" ipproto tcp")?,
            Some(UDP) => f.write_str(" ipproto udp")?,
            Some(other) => write!(f, " ipproto {other}")?,
            None => {}
        }
        for (word, ports) in [("sport", self.sports), ("dport", self.dports)] {
            if let Some(ports) = ports {
                write!(f, " {word} {ports}")?;
            }
        }
        match self.action {
            Action::Lookup { table, suppress: None } => write!(f, " lookup {table}"),
            Action::Lookup { table, suppress: Some(bits) } => {
                write!(f, " lookup {table} suppress_prefixlength {bits}")
            }
            Action::Goto(priority) => write!(f, " goto {priority}"),
            Action::Nop => f.write_str(" nop"),
        }
    }
}

/// The rule in an RTM_NEWRULE body.
pub(super) fn read(payload: &[u8]) -> Option<Found<Rule>> {
    let header = RuleHeader::parse(payload).ok()?;
    let (mut table, mut suppress, mut goto) = (u32::from(header.table), None, 0);
    let mut rule = Rule::new(is_v6(header.family)?, 0, Action::Nop);
    // The detached flags tell of devices that are not there now.
    let (mut tag, mut strange) = (0, header.tos != 0 || header.flags.contains(RuleFlags::Invert));
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            FRA_SRC => rule.from = Some(prefix::network(ip(value)?, header.src_len)),
            FRA_DST => rule.to = Some(prefix::network(ip(value)?, header.dst_len)),
            FRA_IIFNAME => rule.iif = text(value),
            FRA_PRIORITY => rule.priority = number(value)?,
            FRA_FWMARK => rule.mark = number(value).filter(|mark| *mark > 0),
            FRA_FWMASK => strange |= number(value) != Some(u32::MAX),
            FRA_TABLE => table = number(value)?,
            FRA_GOTO => goto = number(value)?,
            FRA_PROTOCOL => tag = *value.first()?,
            FRA_IP_PROTO => rule.protocol = Some(*value.first()?),
            FRA_SPORT_RANGE => rule.sports = Some(ports(value)?),
            FRA_DPORT_RANGE => rule.dports = Some(ports(value)?),
            FRA_SUPPRESS_PREFIXLEN => suppress = number(value).filter(|bits| *bits != u32::MAX),
            FRA_L3MDEV => strange |= value != [0],
            FRA_OIFNAME | FRA_TUN_ID | FRA_UID_RANGE => strange = true,
            // A kernel that tells more of our rules must not make us forget them.
            _ => {}
        }
    }
    match header.action {
        RuleAction::ToTable => rule.action = Action::Lookup { table, suppress },
        RuleAction::Goto => rule.action = Action::Goto(goto),
        RuleAction::Nop => {}
        _ => strange = true,
    }
    Some(Found { what: rule, tag, strange })
}

/// struct fib_rule_port_range
fn ports(value: &[u8]) -> Option<PortRange> {
    let [a, b, c, d] = *value.first_chunk::<4>()?;
    Some(PortRange { first: u16::from_ne_bytes([a, b]), last: u16::from_ne_bytes([c, d]) })
}

#[cfg(test)]
mod tests {
    use super::super::bytes;
    use super::*;
    use crate::host::fixtures::ip;

    const TAG: u8 = 229;

    fn narrow() -> Rule {
        Rule {
            from: Some((ip("::1"), 128)),
            iif: Some("lo".into()),
            protocol: Some(UDP),
            sports: Some(PortRange { first: 80, last: 90 }),
            ..Rule::new(true, 293, Action::Lookup { table: 29303, suppress: None })
        }
    }

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        let rule = |action| Rule::new(false, 7, action);
        let lookup = |table, suppress| Action::Lookup { table, suppress };
        for wanted in [
            narrow(),
            Rule { mark: Some(7), ..rule(lookup(9, None)) },
            Rule { to: Some((ip("10.0.0.0"), 8)), ..rule(lookup(254, Some(8))) },
            Rule {
                dports: Some(PortRange { first: 53, last: 53 }),
                protocol: Some(TCP),
                ..rule(lookup(254, Some(0)))
            },
            Rule { mark: Some(5), ..rule(Action::Goto(99)) },
            rule(Action::Nop),
        ] {
            let found = read(&bytes(&wanted.message(TAG)));
            assert_eq!(found, Some(Found { what: wanted, tag: TAG, strange: false }));
        }
    }

    #[test]
    fn a_rule_that_asks_for_more_is_strange() {
        let strange = |change: &dyn Fn(&mut RuleMessage)| {
            let mut message = narrow().message(TAG);
            change(&mut message);
            read(&bytes(&message)).expect("a rule").strange
        };
        assert!(!strange(&|_| {}));
        assert!(strange(&|message| message.attributes.push(RuleAttribute::Oifname("eth0".into()))));
        assert!(strange(&|message| message.attributes.push(RuleAttribute::FwMask(0xff))));
        assert!(strange(&|message| message.header.flags = RuleFlags::Invert));
        assert!(strange(&|message| message.header.action = RuleAction::Blackhole));
        // Two reasons do not take each other back.
        for second in [RuleAttribute::FwMask(0xff), RuleAttribute::L3MDev(true)] {
            assert!(strange(&|message| {
                message.header.tos = 4;
                message.attributes.push(second.clone());
            }));
        }
    }

    #[test]
    fn a_rule_reads_as_a_command() {
        assert_eq!(narrow().to_string(), "priority 293 from ::1 iif lo ipproto udp sport 80-90 lookup 29303");
        let lan = Rule {
            to: Some((ip("10.0.0.0"), 8)),
            ..Rule::new(false, 7, Action::Lookup { table: 254, suppress: Some(8) })
        };
        assert_eq!(lan.to_string(), "priority 7 to 10.0.0.0/8 lookup 254 suppress_prefixlength 8");
        let own = Rule { mark: Some(5), ..Rule::new(false, 7, Action::Goto(9)) };
        assert_eq!(own.to_string(), "priority 7 fwmark 5 goto 9");
    }

    #[test]
    fn broken_messages_are_passed_over() {
        let whole = bytes(&narrow().message(TAG));
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
    }

    #[test]
    fn a_rule_reads_with_its_ports_and_protocols() {
        let rule = |protocol, dports| Rule { protocol, dports, ..Rule::new(false, 7, Action::Nop) };
        let ports = |first, last| Some(PortRange { first, last });
        assert_eq!(rule(Some(TCP), ports(80, 80)).to_string(), "priority 7 ipproto tcp dport 80 nop");
        assert_eq!(rule(Some(1), ports(80, 81)).to_string(), "priority 7 ipproto 1 dport 80-81 nop");
        let whole =
            Rule { from: Some((ip("10.0.0.1"), 32)), to: Some((ip("10.0.0.0"), 31)), ..rule(None, None) };
        assert_eq!(whole.to_string(), "priority 7 from 10.0.0.1 to 10.0.0.0/31 nop");
    }

    #[test]
    fn a_value_that_says_nothing_asks_for_nothing() {
        let with = |attributes: Vec<RuleAttribute>| {
            let mut message = Rule::new(false, 7, Action::Lookup { table: 9, suppress: None }).message(TAG);
            message.attributes.extend(attributes);
            read(&bytes(&message)).expect("a rule")
        };
        let plain = with(vec![]);
        assert_eq!(with(vec![RuleAttribute::FwMark(0)]), plain);
        assert_eq!(with(vec![RuleAttribute::SuppressPrefixLen(u32::MAX)]), plain);
        assert_eq!(with(vec![RuleAttribute::L3MDev(false)]), plain);
        assert!(with(vec![RuleAttribute::L3MDev(true)]).strange);
        assert!(with(vec![RuleAttribute::TunId(3)]).strange);
        let mut typed = Rule::new(false, 7, Action::Nop).message(TAG);
        typed.header.tos = 4;
        assert!(read(&bytes(&typed)).expect("a rule").strange);
        let mut other = Rule::new(false, 7, Action::Nop).message(TAG);
        other.header.family = netlink_packet_route::AddressFamily::Bridge;
        assert_eq!(read(&bytes(&other)), None);
    }
}
