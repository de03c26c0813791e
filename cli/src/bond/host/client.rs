//! The steps of a client, as a function of its plan and of the sysctls.

use super::filter::{KillSwitch, kill_switch};
use super::plan::{CLIENT_FILTER, ClientPlan, Dns, Routes};
use super::rules;
use super::step::{Change, Record, Step};
use super::sysctl::Sysctl;
use crate::host::policy::Route;

/// What a sysctl is now; `None` where it is not there.
pub(super) type Look<'a> = &'a dyn Fn(&Sysctl) -> Option<String>;

/// What is done before the bond speaks to its server. The TUN has the number `index`, and is up.
pub(super) fn start(plan: &ClientPlan, index: u32, look: Look) -> Vec<Step> {
    let mut steps = vec![Step::record(Record::Server(plan.server))];
    steps.extend(kill_switch_step(plan));
    if rules::prefixes(plan).is_empty() {
        return steps;
    }
    steps.push(Step::record(Record::Routes));
    steps.extend(held(plan, index).into_iter().map(|route| Step::change(Change::Route(route))));
    steps.extend(rules::rules(plan).into_iter().map(|rule| Step::change(Change::Rule(rule))));
    steps.extend(uplinks(&plan.uplinks, look));
    steps
}

/// The filter, if the plan has a kill switch.
pub(super) fn kill_switch_step(plan: &ClientPlan) -> Option<Step> {
    let prefixes = rules::prefixes(plan);
    let named = matches!(plan.routes, Routes::Prefixes(_)).then_some(&prefixes[..]);
    let what = KillSwitch { tun: &plan.tun, mark: plan.mark, prefixes: named };
    let change = Change::Filter(kill_switch(&what));
    plan.kill_switch.then(|| Step::both(Record::Filter(CLIENT_FILTER.into()), change))
}

/// The routes before anything is inside: none, but under a kill switch.
///
/// IPv4 leads into the TUN at once: the kernel drops what comes from an address that it has no
/// route to (rp_filter, also a loose one), and the server's is such, seen from a socket without our
/// mark.
pub(super) fn held(plan: &ClientPlan, index: u32) -> Vec<Route> {
    if !plan.kill_switch {
        return Vec::new();
    }
    let mut routes = rules::into_tun(plan, index, true, false);
    routes.extend(rules::refusing(plan));
    routes
}

/// Answers of the server come by each uplink, while the way to it leads by one, or into the TUN: a
/// strict reverse path filter would drop them (RFC 3704 section 2.4 has the loose one for this).
pub(super) fn uplinks(names: &[String], look: Look) -> Vec<Step> {
    // ip-sysctl: what counts is the larger of `all` and the device's.
    let all = look(&Sysctl::of("ipv4", "all", "rp_filter"));
    let strict = |name: &String| {
        let sysctl = Sysctl::of("ipv4", name, "rp_filter");
        let own = look(&sysctl)?;
        let counts = all.as_ref().into_iter().chain([&own]).filter_map(|text| text.parse::<u8>().ok()).max();
        (counts == Some(1)).then(|| Step::sysctl(sysctl, own, "2"))
    };
    names.iter().filter_map(strict).collect()
}

/// What is done when the TUN has its addresses: routes into it, and refusals for a family that it
/// has no address of.
pub(super) fn inside(plan: &ClientPlan, index: u32, v4: bool, v6: bool) -> Vec<Route> {
    // See `held`: with a kill switch IPv4 leads into the TUN whatever is inside. The server's core
    // drops it there.
    let mut routes = rules::into_tun(plan, index, v4 || plan.kill_switch, v6);
    let refused = |route: &Route| plan.kill_switch || !if route.v6 { v6 } else { v4 };
    routes.extend(rules::refusing(plan).into_iter().filter(refused));
    routes
}

/// What a person should know who wants this plan, with the name servers that the host has now.
pub(super) fn notes(plan: &ClientPlan, resolvers: &[std::net::IpAddr]) -> Vec<String> {
    let mut notes = Vec::new();
    let local = resolvers.iter().find(|ip| !ip.is_loopback() && is_of_lan(**ip));
    if let (true, Routes::All, Dns::Keep, Some(local)) = (plan.kill_switch, &plan.routes, &plan.dns, local) {
        notes.push(format!(
            "the name server {local} is on the LAN, where the kill switch lets no name through: \
             give --dns ADDRESS"
        ));
    }
    notes
}

/// Whether an address is one that a LAN has.
fn is_of_lan(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::ip;

    fn plan(kill_switch: bool) -> ClientPlan {
        ClientPlan {
            tun: "rw0".into(),
            routes: Routes::All,
            dns: Dns::Keep,
            kill_switch,
            mark: 7,
            uplinks: vec!["eth0".into(), "eth1".into()],
            server: "192.0.2.1:4500".parse().expect("an address"),
        }
    }

    fn values<'a>(values: &'a [(&'a str, &'a str)]) -> impl Fn(&Sysctl) -> Option<String> + 'a {
        move |sysctl| {
            let found = values.iter().find(|(name, _)| *name == sysctl.as_str());
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn the_kill_switch_comes_before_all_else_that_changes() {
        let steps = start(&plan(true), 5, &|_| None);
        let first = steps.iter().find_map(|step| step.change.as_ref());
        assert!(matches!(first, Some(Change::Filter(_))), "{first:?}");
        let at = |wanted: &dyn Fn(&Change) -> bool| {
            steps.iter().position(|step| step.change.as_ref().is_some_and(wanted)).expect("a change")
        };
        let routes = at(&|change| matches!(change, Change::Route(_)));
        let rules = at(&|change| matches!(change, Change::Rule(_)));
        assert!(routes < rules, "the table is full before anybody looks into it");
    }

    #[test]
    fn without_a_kill_switch_nothing_is_refused_before_the_bond_is_up() {
        let steps = start(&plan(false), 5, &|_| None);
        let routes =
            steps.iter().filter(|step| matches!(step.change, Some(Change::Route(_) | Change::Filter(_))));
        assert_eq!(routes.count(), 0);
        assert_eq!(inside(&plan(false), 5, true, true).len(), 2, "both lead into the TUN");
        let text: Vec<String> =
            inside(&plan(false), 5, true, false).iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["default dev if5 table 29304", "unreachable default table 29304 metric 4294967295"]
        );
    }

    #[test]
    fn a_plan_without_routes_changes_no_rule() {
        let strict = |_: &Sysctl| Some("1".to_owned());
        let steps = start(&ClientPlan { routes: Routes::None, ..plan(false) }, 5, &strict);
        assert!(steps.iter().all(|step| step.change.is_none()), "{steps:?}");
    }

    #[test]
    fn only_a_strict_reverse_path_filter_is_loosened() {
        let names = ["eth0".to_owned(), "eth1".to_owned(), "eth2".to_owned()];
        let own = [
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "1"),
            ("ipv4/conf/eth1/rp_filter", "2"),
        ];
        let strict = Step::sysctl(Sysctl::of("ipv4", "eth0", "rp_filter"), "1".into(), "2");
        assert_eq!(uplinks(&names, &values(&own)), [strict]);
        let all = [("ipv4/conf/all/rp_filter", "1"), ("ipv4/conf/eth1/rp_filter", "0")];
        assert_eq!(uplinks(&names, &values(&all)).len(), 1);
        let loose = [("ipv4/conf/all/rp_filter", "2"), ("ipv4/conf/eth0/rp_filter", "1")];
        assert_eq!(uplinks(&names, &values(&loose)), []);
    }

    #[test]
    fn a_name_server_of_the_lan_behind_a_kill_switch_is_told_of() {
        let lan = [ip("127.0.0.1"), ip("192.168.1.1")];
        assert!(notes(&plan(true), &lan).iter().any(|note| note.contains("192.168.1.1")));
        assert_eq!(notes(&plan(true), &[ip("127.0.0.53"), ip("9.9.9.9")]), [""; 0]);
        assert_eq!(notes(&plan(false), &lan), [""; 0]);
    }
}
