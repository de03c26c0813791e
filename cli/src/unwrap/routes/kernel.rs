//! The kernel's rules and routes, read, added and removed by `host::policy`: what setup can write
//! of them, and all else as strange.

use super::plan::{Route, Rule, TAG};
use crate::host::policy::{self, Action, Kind, PortRange, TCP, UDP};
use crate::unwrap::target::{Ports, Protocol};

pub(crate) use crate::host::policy::Found;

impl<T> Found<T> {
    /// Whether setup has made it.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_of(TAG)
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

pub(crate) struct Kernel(pub(super) policy::Kernel);

impl Kernel {
    pub(crate) fn new() -> Result<Self, String> {
        policy::Kernel::new(TAG).map(Kernel)
    }

    pub(crate) fn present(&mut self) -> Result<Present, String> {
        Ok(Present {
            rules: self.0.rules()?.into_iter().map(rule).collect(),
            routes: self.0.routes()?.into_iter().map(route).collect(),
        })
    }

    /// Adds a rule; never beside one that is the same and ours.
    pub(crate) fn add_rule(&mut self, rule: &Rule) -> Result<(), String> {
        self.0.add_rule(&rule.into())?.new_only(format_args!("the rule {rule}"))
    }

    pub(crate) fn remove_rule(&mut self, rule: &Rule) -> Result<(), String> {
        self.0.remove_rule(&rule.into())
    }

    /// Adds a route, where its table has none to the same destination.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), String> {
        self.0.add_route(&route.into())?.new_only(format_args!("the route {route}"))
    }

    pub(crate) fn remove_route(&mut self, route: &Route) -> Result<(), String> {
        self.0.remove_route(&route.into())
    }
}

impl From<&Rule> for policy::Rule {
    fn from(rule: &Rule) -> Self {
        let number = |protocol| match protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        let lookup = Action::Lookup { table: rule.table, suppress: None };
        policy::Rule {
            from: rule.from,
            iif: rule.iif.clone(),
            mark: rule.mark,
            protocol: rule.protocol.map(number),
            sports: rule.ports.map(|ports| PortRange { first: ports.first, last: ports.last }),
            ..policy::Rule::new(rule.v6, rule.priority, lookup)
        }
    }
}

impl From<&Route> for policy::Route {
    fn from(route: &Route) -> Self {
        let all = policy::Route::default(route.v6, route.table, Kind::Local);
        policy::Route { source: route.source, ..all }
    }
}

fn rule(found: Found<policy::Rule>) -> Found<Rule> {
    let wide = found.what;
    let (table, plain) = match wide.action {
        Action::Lookup { table, suppress } => (table, suppress.is_none()),
        Action::Goto(_) | Action::Nop => (0, false),
    };
    let (protocol, known) = match wide.protocol {
        None => (None, true),
        Some(TCP) => (Some(Protocol::Tcp), true),
        Some(UDP) => (Some(Protocol::Udp), true),
        Some(_) => (None, false),
    };
    let what = Rule {
        v6: wide.v6,
        priority: wide.priority,
        from: wide.from,
        iif: wide.iif,
        protocol,
        ports: wide.sports.map(|ports| Ports { first: ports.first, last: ports.last }),
        mark: wide.mark,
        table,
    };
    let more = !plain || !known || wide.to.is_some() || wide.dports.is_some();
    Found { what, tag: found.tag, strange: found.strange || more }
}

fn route(found: Found<policy::Route>) -> Found<Route> {
    let wide = found.what;
    let more = wide.kind != Kind::Local || wide.to.1 != 0 || wide.metric.is_some();
    let what = Route { v6: wide.v6, table: wide.table, source: wide.source };
    Found { what, tag: found.tag, strange: found.strange || more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwrap::routes::plan::loopback;

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

    fn tagged<T>(what: T) -> Found<T> {
        Found { what, tag: TAG, strange: false }
    }

    #[test]
    fn a_rule_of_ours_is_read_as_it_was_written() {
        let marked = Rule { from: None, ports: None, protocol: None, mark: Some(7), table: 9, ..narrow() };
        let other = Rule { iif: Some("br0".into()), ..narrow() };
        for wanted in [narrow(), marked, other] {
            let found = rule(tagged((&wanted).into()));
            assert_eq!((found.is_ours(), found.what), (true, wanted));
        }
    }

    #[test]
    fn a_rule_that_asks_for_more_is_none_of_ours() {
        let wide = policy::Rule::from(&narrow());
        let lookup = |suppress| Action::Lookup { table: 29303, suppress };
        for more in [
            policy::Rule { to: Some((loopback(true), 128)), ..wide.clone() },
            policy::Rule { dports: Some(PortRange { first: 1, last: 1 }), ..wide.clone() },
            policy::Rule { protocol: Some(1), ..wide.clone() },
            policy::Rule { action: lookup(Some(0)), ..wide.clone() },
            policy::Rule { action: Action::Goto(5), ..wide.clone() },
            policy::Rule { action: Action::Nop, ..wide },
        ] {
            assert!(!rule(tagged(more.clone())).is_ours(), "{more}");
        }
    }

    #[test]
    fn a_route_of_ours_is_read_as_it_was_written_and_one_with_a_destination_is_none() {
        for v6 in [false, true] {
            let wanted = Route { v6, table: 29303, source: Some(loopback(v6)) };
            let wide = policy::Route::from(&wanted);
            let found = route(tagged(wide.clone()));
            assert_eq!((found.is_ours(), found.what), (true, wanted));
            assert!(!route(tagged(policy::Route { to: (loopback(v6), 8), ..wide.clone() })).is_ours());
            assert!(!route(tagged(policy::Route { metric: Some(7), ..wide.clone() })).is_ours());
            assert!(!route(tagged(policy::Route { kind: Kind::Unreachable, ..wide })).is_ours());
        }
    }
}
