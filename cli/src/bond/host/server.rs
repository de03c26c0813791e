//! The steps of a server, as a function of its plan, of the interfaces and of the sysctls.

use super::client::Look;
use super::filter::{Gateway, gateway};
use super::plan::{SERVER_FILTER, ServerPlan};
use super::step::{Change, Record, Step};
use super::sysctl::Sysctl;
use crate::host::links::Link;
use crate::host::prefix::{self, Prefix};

/// What is done: the filter first, forwarding then.
pub(super) fn start(plan: &ServerPlan, links: &[Link], look: Look) -> Vec<Step> {
    if !plan.nat {
        return Vec::new();
    }
    let closed = own_networks(plan, links);
    let text = gateway(&Gateway {
        tun: &plan.tun,
        addresses: &plan.addresses,
        closed: (!plan.allow_private).then_some(&closed[..]),
        allow_client_to_client: plan.allow_client_to_client,
    });
    let mut steps = vec![Step::both(Record::Filter(SERVER_FILTER.into()), Change::Filter(text))];
    let has = |v6: bool| plan.addresses.iter().any(|(ip, _)| ip.is_ipv6() == v6);
    if has(false) {
        steps.extend(forward_v4(links, look));
    }
    if has(true) {
        steps.extend(forward_v6(links, look));
    }
    steps
}

/// The networks that this host is in, public ones too. What leads into the tunnel is the clients'.
fn own_networks(plan: &ServerPlan, links: &[Link]) -> Vec<Prefix> {
    let others = links.iter().filter(|link| !link.loopback && link.name != plan.tun);
    let inside = |network: &Prefix| plan.addresses.iter().any(|(ip, _)| prefix::contains(*network, *ip));
    let mut all: Vec<Prefix> = others.flat_map(Link::networks).filter(|network| !inside(network)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// ip-sysctl, `ip_forward`: a change sets `forwarding` of all devices, and `accept_redirects` of
/// `all`.
fn forward_v4(links: &[Link], look: Look) -> Vec<Step> {
    let name = Sysctl::ip_forward();
    let Some(old) = look(&name).filter(|old| old == "0") else { return Vec::new() };
    let mut along = vec![Sysctl::of("ipv4", "all", "accept_redirects")];
    let devices = ["all", "default"].into_iter().chain(links.iter().map(|link| link.name.as_str()));
    along.extend(devices.map(|device| Sysctl::of("ipv4", device, "forwarding")));
    together(name, old, along, look)
}

/// The same of IPv6. A host that forwards takes no router advertisements, and loses the default
/// route that it has from one, unless `accept_ra` is 2 before.
fn forward_v6(links: &[Link], look: Look) -> Vec<Step> {
    let name = Sysctl::of("ipv6", "all", "forwarding");
    let Some(old) = look(&name).filter(|old| old == "0") else { return Vec::new() };
    let mut steps = Vec::new();
    for link in links.iter().filter(|link| !link.loopback) {
        let accepts = Sysctl::of("ipv6", &link.name, "accept_ra");
        let forwards = look(&Sysctl::of("ipv6", &link.name, "forwarding"));
        if let Some(old) = look(&accepts).filter(|old| old == "1" && forwards.as_deref() == Some("0")) {
            steps.push(Step::sysctl(accepts, old, "2"));
        }
    }
    let devices = ["default"].into_iter().chain(links.iter().map(|link| link.name.as_str()));
    let along = devices.map(|device| Sysctl::of("ipv6", device, "forwarding")).collect();
    steps.extend(together(name, old, along, look));
    steps
}

/// A sysctl that is set to 1, and those that the kernel changes along with it.
fn together(name: Sysctl, old: String, along: Vec<Sysctl>, look: Look) -> Vec<Step> {
    let record = |name: Sysctl| look(&name).map(|old| Step::record(Record::Along { name, old }));
    let mut steps: Vec<Step> = along.into_iter().filter_map(record).collect();
    steps.push(Step::sysctl(name, old, "1"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip};

    fn plan() -> ServerPlan {
        ServerPlan {
            tun: "rw1".into(),
            addresses: vec![(ip("10.77.0.1"), 24), (ip("fd77::1"), 64)],
            nat: true,
            allow_private: false,
            allow_client_to_client: false,
        }
    }

    fn links() -> [Link; 2] {
        [eth("eth0", &["203.0.113.5/24", "2001:db8::5/64"]), eth("rw1", &["10.77.0.1/24", "fd77::1/64"])]
    }

    #[test]
    fn without_nat_nothing_is_changed() {
        assert_eq!(start(&ServerPlan { nat: false, ..plan() }, &links(), &|_| Some("0".into())), []);
    }

    #[test]
    fn the_filter_is_there_before_anything_is_forwarded() {
        let steps = start(&plan(), &links(), &|_| Some("0".into()));
        assert!(matches!(steps[0].change, Some(Change::Filter(_))));
        let set: Vec<&Sysctl> = steps
            .iter()
            .filter_map(|step| match &step.change {
                Some(Change::Sysctl { name, .. }) => Some(name),
                _ => None,
            })
            .collect();
        assert_eq!(set, [&Sysctl::ip_forward(), &Sysctl::of("ipv6", "all", "forwarding")]);
    }

    #[test]
    fn a_host_that_forwards_already_is_left_alone() {
        let steps = start(&plan(), &links(), &|_| Some("1".into()));
        assert_eq!(steps.len(), 1, "{steps:?}");
    }

    #[test]
    fn a_host_that_has_its_routes_from_advertisements_keeps_them() {
        let look =
            |sysctl: &Sysctl| Some(if sysctl.as_str().ends_with("accept_ra") { "1" } else { "0" }.to_owned());
        let steps = start(&plan(), &links(), &look);
        let at = |name: &Sysctl| {
            let sets =
                |step: &Step| matches!(&step.change, Some(Change::Sysctl { name: own, .. }) if own == name);
            steps.iter().position(sets)
        };
        let accepts = at(&Sysctl::of("ipv6", "eth0", "accept_ra"));
        assert!(accepts.is_some() && accepts < at(&Sysctl::of("ipv6", "all", "forwarding")));
    }

    #[test]
    fn the_networks_of_this_host_are_closed_and_the_tunnels_is_not() {
        assert_eq!(own_networks(&plan(), &links()), [(ip("203.0.113.0"), 24), (ip("2001:db8::"), 64)]);
    }
}
