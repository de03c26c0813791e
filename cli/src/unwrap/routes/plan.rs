//! What setup wants to be there, as a function of its arguments alone; and how it reads as commands
//! of iproute2.

use super::place::{LO, Place, Placed};
use crate::host::policy::{self, whole};
use crate::host::prefix::{self, Prefix};
use crate::unwrap::routes::args::Setup;
use crate::unwrap::target::{Ports, Protocol, Target};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol number of our rules (FRA_PROTOCOL) and routes (rtm_protocol), by which we know them
/// again.
///
/// linux/rtnetlink.h: the kernel does not interpret values above 4. Free of the names in iproute2's
/// rt_protos and of what FRR (186-199), OVN (84) and Calico (80) use.
pub(crate) const TAG: u8 = 229;

/// The sysctls that mark mode needs. Each is 0 or 1.
pub(crate) const SYSCTLS: [Sysctl; 3] = [
    // An accepted connection takes over the mark of the packet that opened it; in spite of its name
    // for IPv6 too.
    Sysctl("net.ipv4.tcp_fwmark_accept"),
    // So do answers without a connection: resets and ICMP errors.
    Sysctl("net.ipv4.fwmark_reflect"),
    Sysctl("net.ipv6.fwmark_reflect"),
];

/// A rule of the routing policy, as far as ours go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    pub(crate) v6: bool,
    pub(crate) priority: u32,
    pub(crate) from: Option<Prefix>,
    /// Only what comes in here: by `lo` what this host itself sends.
    pub(crate) iif: Option<String>,
    pub(crate) protocol: Option<Protocol>,
    /// Ports that the packet comes from.
    pub(crate) ports: Option<Ports>,
    pub(crate) mark: Option<u32>,
    pub(crate) table: u32,
}

impl Rule {
    /// Whether it catches what a server at `target` sends, by a socket with the address or
    /// (`wildcard`) by one that has none when the route is looked up.
    pub(crate) fn catches(
        &self,
        target: &Placed,
        protocol: Protocol,
        mark: Option<u32>,
        wildcard: bool,
    ) -> bool {
        let Placed { target, place } = target;
        self.v6 == target.is_v6()
            && self.iif.as_deref().is_none_or(|iif| iif == place.interface())
            && self.from.is_none_or(|from| !wildcard && prefix::contains(from, target.ip))
            && self.protocol.is_none_or(|own| own == protocol)
            && self.ports.is_none_or(|ports| ports.contains(target.ports))
            && self.mark.is_none_or(|own| mark == Some(own))
    }

    /// Whether the kernel takes `wider` for this one: when it looks for a rule, to add none twice
    /// or to remove it, a rule asked for without `from` is any rule that is the same but for that.
    pub(crate) fn hides(&self, wider: &Rule) -> bool {
        self.from.is_some() && wider.from.is_none() && Rule { from: None, ..self.clone() } == *wider
    }

    /// The command that adds (`add`) or removes (`del`) it.
    pub(crate) fn command(&self, verb: &str) -> String {
        format!("ip {}rule {verb} {self} protocol {TAG}", six(self.v6))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        policy::Rule::from(self).fmt(f)
    }
}

/// The route by which everything is delivered to this host. There is one in each table and family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) v6: bool,
    pub(crate) table: u32,
    /// What a socket without an address gets as its own. Without it the kernel takes the
    /// destination's in IPv4, and in IPv6 any address of this host with a scope as wide as the
    /// destination's.
    pub(crate) source: Option<IpAddr>,
}

impl Route {
    /// The command that adds (`add`) or removes (`del`) it.
    pub(crate) fn command(&self, verb: &str) -> String {
        format!("ip {}route {verb} {self} proto {TAG}", six(self.v6))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        policy::Route::from(self).fmt(f)
    }
}

/// The name of a sysctl that is to be 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sysctl(pub(crate) &'static str);

impl Sysctl {
    /// Those that a mark needs in these families.
    pub(crate) fn needed(v4: bool, v6: bool) -> impl Iterator<Item = Sysctl> {
        let wanted = move |sysctl: &Sysctl| match sysctl.0 {
            "net.ipv4.fwmark_reflect" => v4,
            "net.ipv6.fwmark_reflect" => v6,
            _ => true,
        };
        SYSCTLS.into_iter().filter(wanted)
    }

    /// The command that sets it.
    pub(crate) fn command(self, value: &str) -> String {
        format!("sysctl -q -w {}={value}", self.0)
    }
}

/// All that is to be there.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) routes: Vec<Route>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) sysctls: Vec<Sysctl>,
}

impl Plan {
    pub(crate) fn new(args: &Setup, targets: &[Placed]) -> Result<Self, String> {
        match args.mark {
            Some(mark) => Plan::by_mark(args, targets, mark),
            None => Plan::by_target(args, targets),
        }
    }

    /// Whether it matters what the route gives to sockets without an address: only UDP servers on
    /// all addresses answer by such.
    pub(crate) fn needs_source(&self, v6: bool) -> bool {
        self.rules.iter().any(|rule| rule.v6 == v6 && rule.from.is_none() && rule.mark.is_none())
    }

    fn by_target(args: &Setup, targets: &[Placed]) -> Result<Self, String> {
        if targets.is_empty() {
            return Err("setup expects where the server is, such as -4 127.0.0.1:25578, got no target".into());
        }
        let mut plan = Plan { routes: Vec::new(), rules: Vec::new(), sysctls: Vec::new() };
        for v6 in [false, true] {
            let family = || targets.iter().filter(move |placed| placed.target.is_v6() == v6);
            let here = || family().filter(|placed| placed.place == Place::Here).map(|placed| placed.target);
            if family().next().is_none() {
                continue;
            }
            let wildcard = args.targets.protocol.contains(&Protocol::Udp) && !args.udp_bound_server;
            let source = if wildcard { sole_address(here())? } else { None };
            let source = source.unwrap_or_else(|| loopback(v6));
            plan.routes.push(Route { v6, table: args.table, source: Some(source) });
            for Placed { target, place } in family() {
                for protocol in &args.targets.protocol {
                    // A UDP socket on all addresses has none while it looks for a route: `from`
                    // would miss it. A TCP connection always has that of the target, and so has
                    // what comes in by another interface.
                    let narrow = *protocol == Protocol::Tcp || args.udp_bound_server || *place != Place::Here;
                    let rule = Rule {
                        v6,
                        priority: args.priority,
                        from: narrow.then_some((target.ip, whole(v6))),
                        iif: Some(place.interface().to_owned()),
                        protocol: Some(*protocol),
                        ports: Some(target.ports),
                        mark: None,
                        table: args.table,
                    };
                    if !plan.rules.contains(&rule) {
                        plan.rules.push(rule);
                    }
                }
            }
        }
        Ok(plan)
    }

    fn by_mark(args: &Setup, targets: &[Placed], mark: u32) -> Result<Self, String> {
        if args.targets.protocol.contains(&Protocol::Udp) {
            return Err(
                "--mark is for TCP: an accepted connection takes over the mark of its client's packets, \
                        but the answers of a UDP server carry none; leave --mark out for UDP"
                    .into(),
            );
        }
        if let Some(Placed { target, place }) = targets.iter().find(|placed| placed.place != Place::Here) {
            return Err(format!(
                "--mark is for a server on this host: {target} is behind {}, and its answers come from there \
                 without a mark; leave --mark out",
                place.interface()
            ));
        }
        let mut plan = Plan { routes: Vec::new(), rules: Vec::new(), sysctls: Vec::new() };
        for v6 in [false, true] {
            // The mark says enough: without targets it is for both families.
            if !targets.is_empty() && !targets.iter().any(|placed| placed.target.is_v6() == v6) {
                continue;
            }
            plan.routes.push(Route { v6, table: args.table, source: Some(loopback(v6)) });
            plan.rules.push(Rule {
                v6,
                priority: args.priority,
                from: None,
                iif: Some(LO.to_owned()),
                protocol: None,
                ports: None,
                mark: Some(mark),
                table: args.table,
            });
        }
        let has = |v6: bool| plan.routes.iter().any(|route| route.v6 == v6);
        plan.sysctls = Sysctl::needed(has(false), has(true)).collect();
        Ok(plan)
    }
}

/// The address that a UDP server on all addresses must answer with. The route can name one only.
fn sole_address(mut targets: impl Iterator<Item = Target>) -> Result<Option<IpAddr>, String> {
    let Some(first) = targets.next().map(|target| target.ip) else { return Ok(None) };
    match targets.find(|target| target.ip != first) {
        None => Ok(Some(first)),
        Some(other) => Err(format!(
            "UDP servers on all addresses answer with the one address that the route names: expected \
             targets with one address in each family, got {first} and {}; set the other up by itself with a \
             --table of its own, or say --udp-bound-server if each is bound to its address",
            other.ip
        )),
    }
}

pub(crate) fn loopback(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

pub(crate) fn six(v6: bool) -> &'static str {
    if v6 { "-6 " } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwrap::target;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        setup: Setup,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let line = Line::try_parse_from(std::iter::once("setup").chain(line.split_ascii_whitespace()));
        let setup = line.map_err(|error| error.to_string())?.setup;
        let targets = target::look_up(setup.targets.v4.iter().chain(&setup.targets.v6))?;
        Plan::new(&setup, &targets.into_iter().map(placed).collect::<Vec<_>>())
    }

    /// 172.20.0.0/16 and fd20::/16 are behind a bridge.
    fn placed(target: Target) -> Placed {
        let place = match target.ip {
            IpAddr::V4(ip) if ip.octets()[..2] == [172, 20] => Place::Behind("br0".into()),
            IpAddr::V6(ip) if ip.segments()[0] == 0xfd20 => Place::Behind("br0".into()),
            _ => Place::Here,
        };
        Placed { target, place }
    }

    fn commands(line: &str) -> Vec<String> {
        let plan = plan(line).expect("a sound line");
        let routes = plan.routes.iter().map(|route| route.command("add"));
        let rules = plan.rules.iter().map(|rule| rule.command("add"));
        routes.chain(rules).chain(plan.sysctls.iter().map(|sysctl| sysctl.command("1"))).collect()
    }

    #[test]
    fn a_tcp_target_gets_the_narrowest_rule() {
        assert_eq!(
            commands("-4 127.0.0.1:25578 -6 [::1]:80-90"),
            [
                "ip route add local default dev lo src 127.0.0.1 table 29303 proto 229",
                "ip -6 route add local default dev lo src ::1 table 29303 proto 229",
                "ip rule add priority 293 from 127.0.0.1 iif lo ipproto tcp sport 25578 lookup 29303 protocol 229",
                "ip -6 rule add priority 293 from ::1 iif lo ipproto tcp sport 80-90 lookup 29303 protocol 229",
            ]
        );
    }

    #[test]
    fn a_udp_server_may_be_on_all_addresses_unless_told_otherwise() {
        assert_eq!(
            commands("-4 10.0.0.1:53 -p udp --table 7 --priority 9"),
            [
                "ip route add local default dev lo src 10.0.0.1 table 7 proto 229",
                "ip rule add priority 9 iif lo ipproto udp sport 53 lookup 7 protocol 229",
            ]
        );
        let bound = commands("-4 10.0.0.1:53 -p udp --udp-bound-server");
        assert_eq!(bound[0], "ip route add local default dev lo src 127.0.0.1 table 29303 proto 229");
        assert!(bound[1].contains(" from 10.0.0.1 iif lo ipproto udp sport 53 "), "{}", bound[1]);
    }

    #[test]
    fn what_comes_back_from_a_container_comes_in_by_its_interface() {
        assert_eq!(
            commands("-4 172.20.0.2:8000 -6 [fd20::2]:53 -p tcp -p udp"),
            [
                "ip route add local default dev lo src 127.0.0.1 table 29303 proto 229",
                "ip -6 route add local default dev lo src ::1 table 29303 proto 229",
                "ip rule add priority 293 from 172.20.0.2 iif br0 ipproto tcp sport 8000 lookup 29303 protocol 229",
                "ip rule add priority 293 from 172.20.0.2 iif br0 ipproto udp sport 8000 lookup 29303 protocol 229",
                "ip -6 rule add priority 293 from fd20::2 iif br0 ipproto tcp sport 53 lookup 29303 protocol 229",
                "ip -6 rule add priority 293 from fd20::2 iif br0 ipproto udp sport 53 lookup 29303 protocol 229",
            ]
        );
        // Its address is always given, so several are no trouble.
        assert!(plan("-4 172.20.0.2:53 -4 172.20.0.3:53 -4 10.0.0.1:53 -p udp").is_ok());
        let marked = plan("--mark 1 -4 172.20.0.2:8000");
        assert!(marked.is_err_and(|error| error.contains("172.20.0.2:8000 is behind br0")));
        let rule = plan("-4 172.20.0.2:8000").expect("a sound line").rules.remove(0);
        let target = |text: &str| target::look_up([wanted(text)].iter()).expect("one")[0];
        let at = |place| Placed { target: target("172.20.0.2:8000"), place };
        assert!(rule.catches(&at(Place::Behind("br0".into())), Protocol::Tcp, None, false));
        assert!(!rule.catches(&at(Place::Behind("br1".into())), Protocol::Tcp, None, false));
        assert!(!rule.catches(&at(Place::Here), Protocol::Tcp, None, false));
    }

    fn wanted(text: &str) -> target::Wanted {
        target::wanted_v4(text).expect("a target")
    }

    #[test]
    fn both_protocols_and_several_targets_share_a_route() {
        let commands = commands("-4 127.0.0.1:1 -4 127.0.0.1:2-3 -4 127.0.0.1:1 -p tcp -p udp");
        assert_eq!(commands.len(), 1 + 4, "{commands:?}");
    }

    #[test]
    fn a_wildcard_udp_server_has_one_address_in_each_table() {
        let two = "-4 10.0.0.1:53 -4 10.0.0.2:53 -p udp";
        assert!(plan(two).is_err_and(|error| error.contains("10.0.0.1 and 10.0.0.2")));
        assert!(plan(&format!("{two} --udp-bound-server")).is_ok());
        assert!(plan("-4 10.0.0.1:53 -4 10.0.0.2:53").is_ok());
    }

    #[test]
    fn a_mark_needs_no_target_and_the_sysctls_of_its_families() {
        assert_eq!(
            commands("--mark 0x7b"),
            [
                "ip route add local default dev lo src 127.0.0.1 table 29303 proto 229",
                "ip -6 route add local default dev lo src ::1 table 29303 proto 229",
                "ip rule add priority 293 iif lo fwmark 123 lookup 29303 protocol 229",
                "ip -6 rule add priority 293 iif lo fwmark 123 lookup 29303 protocol 229",
                "sysctl -q -w net.ipv4.tcp_fwmark_accept=1",
                "sysctl -q -w net.ipv4.fwmark_reflect=1",
                "sysctl -q -w net.ipv6.fwmark_reflect=1",
            ]
        );
        let six = commands("--mark 123 -6 [::1]:1");
        assert_eq!(six.len(), 4, "{six:?}");
        assert!(six[2].contains("tcp_fwmark_accept") && six[3].contains("ipv6.fwmark_reflect"), "{six:?}");
    }

    #[test]
    fn a_rule_without_from_is_taken_for_one_with_it_and_for_no_other() {
        let rule = |line: &str| plan(line).expect("a sound line").rules.remove(0);
        let (wide, narrow) =
            (rule("-4 127.0.0.1:53 -p udp"), rule("-4 127.0.0.1:53 -p udp --udp-bound-server"));
        assert!(narrow.hides(&wide));
        assert!(!wide.hides(&narrow) && !wide.hides(&wide) && !narrow.hides(&narrow));
        assert!(!narrow.hides(&rule("-4 127.0.0.1:54 -p udp")));
        assert!(!narrow.hides(&rule("-4 127.0.0.1:53 -p udp --priority 9")));
    }

    #[test]
    fn a_mark_is_not_for_udp_and_no_target_is_no_plan() {
        assert!(
            plan("--mark 1 -4 127.0.0.1:1 -p udp")
                .is_err_and(|error| error.contains("UDP server carry none"))
        );
        assert!(plan("").is_err_and(|error| error.contains("got no target")));
    }

    #[test]
    fn a_rule_catches_what_it_names_and_no_more() {
        let rules = plan("-4 127.0.0.1:80-90 -p tcp -p udp").expect("a sound line").rules;
        let target = |text: &str| placed(target::look_up([wanted(text)].iter()).expect("an address")[0]);
        let (tcp, udp) = (&rules[0], &rules[1]);
        assert!(tcp.catches(&target("127.0.0.1:80"), Protocol::Tcp, None, false));
        assert!(!tcp.catches(&target("127.0.0.1:80"), Protocol::Tcp, None, true));
        assert!(!tcp.catches(&target("127.0.0.1:91"), Protocol::Tcp, None, false));
        assert!(!tcp.catches(&target("127.0.0.2:80"), Protocol::Tcp, None, false));
        assert!(!tcp.catches(&target("127.0.0.1:80"), Protocol::Udp, None, false));
        assert!(udp.catches(&target("127.0.0.1:80-90"), Protocol::Udp, None, true));
        let marked = plan("--mark 5").expect("a sound line");
        assert!(!marked.needs_source(false) && !marked.needs_source(true));
        let marked = &marked.rules[0];
        assert!(marked.catches(&target("127.0.0.1:80"), Protocol::Tcp, Some(5), false));
        assert!(!marked.catches(&target("127.0.0.1:80"), Protocol::Tcp, None, false));
    }
}
