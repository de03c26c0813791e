//! The client's rules and routes.
//!
//! ```text
//!  2930: fwmark MARK goto 3930                  the bond's own packets: as if we were not here
//!  2931: ipproto udp dport 53 lookup 29304      names, wherever the name server is
//!  2932: ipproto tcp dport 53 lookup 29304
//!  2933: lookup main suppress_prefixlength 0    what `main` knows better than by a default route
//!  2934: lookup 29304                           all else: into the TUN, or refused
//!  3930: nop
//! ```
//!
//! With named prefixes 2933 and 2934 stand once for each, the longest first, with `to PREFIX` and
//! its length as `suppress_prefixlength`.
//!
//! The table leads into the TUN. What must not leave by other ways has an unreachable route there
//! too, of the highest metric: the kernel takes the routes of a TUN away when it goes.

use super::plan::{ClientPlan, Dns, PRIORITY, Routes, TABLE};
use crate::host::policy::{Action, Kind, PortRange, Route, Rule, TCP, UDP, whole};
use crate::host::prefix::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// linux/rtnetlink.h: RT_TABLE_MAIN
const MAIN: u32 = 254;
/// Where the bond's own packets go on.
const END: u32 = PRIORITY + 1000;
/// The metric of routes that count when no other is there.
const LAST: u32 = u32::MAX;

/// What goes through the bond, the longest prefixes first.
pub(super) fn prefixes(plan: &ClientPlan) -> Vec<Prefix> {
    let mut all: Vec<Prefix> = match &plan.routes {
        Routes::None => return Vec::new(),
        Routes::All => vec![(Ipv4Addr::UNSPECIFIED.into(), 0), (Ipv6Addr::UNSPECIFIED.into(), 0)],
        Routes::Prefixes(prefixes) => {
            let servers = servers(plan).into_iter().map(|ip| (ip, whole(ip.is_ipv6())));
            prefixes.iter().copied().chain(servers).collect()
        }
    };
    all.sort_by_key(|(ip, bits)| (u8::MAX - bits, *ip));
    all.dedup();
    all
}

/// The name servers that are asked through the bond.
fn servers(plan: &ClientPlan) -> Vec<IpAddr> {
    match &plan.dns {
        Dns::Keep => Vec::new(),
        Dns::Servers(servers) => servers.iter().copied().filter(|ip| !ip.is_loopback()).collect(),
    }
}

/// The rules, in the order in which they are added: the bond's own packets have their way before
/// anybody loses one.
pub(super) fn rules(plan: &ClientPlan) -> Vec<Rule> {
    let prefixes = prefixes(plan);
    if prefixes.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let ours = Action::Lookup { table: TABLE, suppress: None };
    for v6 in [false, true] {
        all.push(Rule::new(v6, END, Action::Nop));
        all.push(Rule { mark: Some(plan.mark), ..Rule::new(v6, PRIORITY, Action::Goto(END)) });
        if plan.routes == Routes::All && !servers(plan).is_empty() {
            let names = Some(PortRange { first: 53, last: 53 });
            for (priority, protocol) in [(PRIORITY + 1, UDP), (PRIORITY + 2, TCP)] {
                let rule = Rule::new(v6, priority, ours);
                all.push(Rule { protocol: Some(protocol), dports: names, ..rule });
            }
        }
        let own = prefixes.iter().filter(|(ip, _)| ip.is_ipv6() == v6);
        for (priority, prefix) in (PRIORITY + 3..).step_by(2).zip(own) {
            let to = (prefix.1 > 0).then_some(*prefix);
            let better = Action::Lookup { table: MAIN, suppress: Some(prefix.1.into()) };
            all.push(Rule { to, ..Rule::new(v6, priority, better) });
            all.push(Rule { to, ..Rule::new(v6, priority + 1, ours) });
        }
    }
    all
}

/// The routes that refuse what the TUN does not take.
pub(super) fn refusing(plan: &ClientPlan) -> Vec<Route> {
    let refuse = |to: &Prefix| Route {
        to: *to,
        metric: Some(LAST),
        ..Route::default(to.0.is_ipv6(), TABLE, Kind::Unreachable)
    };
    prefixes(plan).iter().map(refuse).collect()
}

/// The routes into the TUN, which has the number `index`, for the families it has addresses of.
pub(super) fn into_tun(plan: &ClientPlan, index: u32, v4: bool, v6: bool) -> Vec<Route> {
    let has = |to: &&Prefix| if to.0.is_ipv6() { v6 } else { v4 };
    let lead = |to: &Prefix| Route { to: *to, ..Route::default(to.0.is_ipv6(), TABLE, Kind::Device(index)) };
    prefixes(plan).iter().filter(has).map(lead).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::ip;

    fn plan(routes: Routes) -> ClientPlan {
        ClientPlan {
            tun: "rw0".into(),
            routes,
            dns: Dns::Servers(vec![ip("10.77.0.1")]),
            kill_switch: false,
            mark: 7,
            uplinks: Vec::new(),
            server: "192.0.2.1:4500".parse().expect("an address"),
        }
    }

    fn v4(plan: &ClientPlan) -> Vec<String> {
        let mut rules = rules(plan);
        rules.sort_by_key(|rule| rule.priority);
        rules.iter().filter(|rule| !rule.v6).map(ToString::to_string).collect()
    }

    #[test]
    fn everything_but_the_bond_and_the_lan_goes_to_our_table() {
        assert_eq!(
            v4(&plan(Routes::All)),
            [
                "priority 2930 fwmark 7 goto 3930",
                "priority 2931 ipproto udp dport 53 lookup 29304",
                "priority 2932 ipproto tcp dport 53 lookup 29304",
                "priority 2933 lookup 254 suppress_prefixlength 0",
                "priority 2934 lookup 29304",
                "priority 3930 nop",
            ]
        );
        let (v4, v6): (Vec<_>, Vec<_>) = rules(&plan(Routes::All)).into_iter().partition(|rule| !rule.v6);
        let as_v4: Vec<Rule> = v6.into_iter().map(|rule| Rule { v6: false, ..rule }).collect();
        assert_eq!(as_v4, v4, "IPv6 has the same rules");
    }

    #[test]
    fn named_prefixes_come_with_the_longest_first_and_name_servers_are_among_them() {
        let prefixes = vec![(ip("10.0.0.0"), 8), (ip("10.1.0.0"), 16)];
        assert_eq!(
            v4(&plan(Routes::Prefixes(prefixes))),
            [
                "priority 2930 fwmark 7 goto 3930",
                "priority 2933 to 10.77.0.1 lookup 254 suppress_prefixlength 32",
                "priority 2934 to 10.77.0.1 lookup 29304",
                "priority 2935 to 10.1.0.0/16 lookup 254 suppress_prefixlength 16",
                "priority 2936 to 10.1.0.0/16 lookup 29304",
                "priority 2937 to 10.0.0.0/8 lookup 254 suppress_prefixlength 8",
                "priority 2938 to 10.0.0.0/8 lookup 29304",
                "priority 3930 nop",
            ]
        );
    }

    #[test]
    fn the_most_prefixes_fit_before_the_end() {
        let many =
            (0..super::super::plan::MAX_PREFIXES as u32).map(|n| (Ipv4Addr::from_bits(n << 8).into(), 24));
        let plan = plan(Routes::Prefixes(many.collect()));
        assert_eq!(plan.check(), Ok(()));
        assert!(rules(&plan).iter().all(|rule| rule.priority <= END));
    }

    #[test]
    fn without_routes_there_is_no_rule() {
        assert_eq!(rules(&plan(Routes::None)), []);
        assert_eq!(refusing(&plan(Routes::None)), []);
    }

    #[test]
    fn a_family_without_an_address_inside_is_refused_and_does_not_go_by_other_ways() {
        let plan = plan(Routes::All);
        let text = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(into_tun(&plan, 5, true, false)), ["default dev if5 table 29304"]);
        assert_eq!(text(refusing(&plan)), ["unreachable default table 29304 metric 4294967295"; 2]);
    }
}
