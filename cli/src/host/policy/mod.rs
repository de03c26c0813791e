//! The kernel's policy: rules that choose a routing table, and the routes in it, as far as services
//! of ours write them. Read, added, removed over rtnetlink; printed as iproute2 takes them.
//!
//! ```text
//!  rule.rs   Rule  ─┐ to and from messages
//!  route.rs  Route ─┼─▶ Kernel: present, add, remove
//!  way.rs    Way   ─┘          where a packet would go
//! ```
//!
//! Invariants
//! - What a service adds carries its tag (FRA_PROTOCOL, rtm_protocol), and is known again by it.
//! - A rule or route that has more to it than these types hold is `strange`, and never ours.

mod route;
mod rule;
mod way;

pub(crate) use route::{Kind, Route};
pub(crate) use rule::{Action, PortRange, Rule, TCP, UDP};
pub(crate) use way::Way;

use super::rtnetlink::{Asker, KernelError};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::rule::RuleHeader;
use rustix::io::Errno;
use std::fmt::Display;
use std::net::IpAddr;

// linux/rtnetlink.h
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;

/// A rule or route that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found<T> {
    /// As far as ours go.
    pub(crate) what: T,
    /// The number that its maker gave it (FRA_PROTOCOL, rtm_protocol).
    pub(crate) tag: u8,
    /// It has more to it, or is of another kind: never one of ours.
    pub(crate) strange: bool,
}

impl<T> Found<T> {
    /// Whether a service with this tag has made it.
    pub(crate) fn is_of(&self, tag: u8) -> bool {
        self.tag == tag && !self.strange
    }
}

/// Rules and routes of this network namespace, for the service whose tag this is.
pub(crate) struct Kernel {
    asker: Asker,
    tag: u8,
}

impl Kernel {
    pub(crate) fn new(tag: u8) -> Result<Self, String> {
        let asker = Asker::new().map_err(|error| format!("cannot open rtnetlink: {error}"))?;
        Ok(Kernel { asker, tag })
    }

    /// All rules, whoever made them.
    pub(crate) fn rules(&mut self) -> Result<Vec<Found<Rule>>, String> {
        let rules = self.asker.dump("rules", RTM_GETRULE, &RuleHeader::default(), rule::read);
        rules.map_err(|error| error.to_string())
    }

    /// All routes of all tables, whoever made them.
    pub(crate) fn routes(&mut self) -> Result<Vec<Found<Route>>, String> {
        let routes = self.asker.dump("routes", RTM_GETROUTE, &RouteHeader::default(), route::read);
        routes.map_err(|error| error.to_string())
    }

    /// Where a packet to `ip` would go.
    pub(crate) fn way(&mut self, ip: IpAddr) -> Result<Option<Way>, KernelError> {
        self.way_from(ip, None)
    }

    /// Where a packet to `ip` would go that has the source `from`, an address of this host.
    pub(crate) fn way_from(&mut self, ip: IpAddr, from: Option<IpAddr>) -> Result<Option<Way>, KernelError> {
        self.asker.ask(RTM_GETROUTE, &way::question(ip, from), way::read)
    }

    /// The name of an interface.
    pub(crate) fn name_of(&self, interface: u32) -> std::io::Result<String> {
        self.asker.name_of(interface)
    }

    /// Adds a rule; never beside one that is the same and ours.
    pub(crate) fn add_rule(&mut self, rule: &Rule) -> Result<Added, String> {
        let added = self.asker.change(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &rule.message(self.tag));
        once(added).map_err(|refusal| refused("add the rule", rule, &refusal))
    }

    pub(crate) fn remove_rule(&mut self, rule: &Rule) -> Result<(), String> {
        let removed = gone(self.asker.change(RTM_DELRULE, 0, &rule.message(self.tag)));
        removed.map_err(|refusal| refused("remove the rule", rule, &refusal))
    }

    /// Adds a route, where its table has none to the same destination with the same metric.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<Added, String> {
        let added = self.asker.change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route.message(self.tag));
        once(added).map_err(|refusal| refused("add the route", route, &refusal))
    }

    pub(crate) fn remove_route(&mut self, route: &Route) -> Result<(), String> {
        let removed = gone(self.asker.change(RTM_DELROUTE, 0, &route.message(self.tag)));
        removed.map_err(|refusal| refused("remove the route", route, &refusal))
    }
}

/// What came of adding.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    New,
    /// An equal one was there.
    Before,
}

impl Added {
    /// For a caller who has looked before and found none.
    pub(crate) fn new_only(self, what: impl Display) -> Result<(), String> {
        match self {
            Added::New => Ok(()),
            Added::Before => Err(format!("cannot add {what}: it is there already")),
        }
    }
}

fn once(added: Result<(), KernelError>) -> Result<Added, KernelError> {
    match added {
        Ok(()) => Ok(Added::New),
        Err(refusal) if refusal.is(Errno::EXIST) => Ok(Added::Before),
        Err(refusal) => Err(refusal),
    }
}

/// Somebody else was quicker, or its device has gone: it is gone all the same.
fn gone(removed: Result<(), KernelError>) -> Result<(), KernelError> {
    match removed {
        Err(refusal) if [Errno::NOENT, Errno::SRCH, Errno::NODEV].iter().any(|errno| refusal.is(*errno)) => {
            Ok(())
        }
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

fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn is_v6(family: AddressFamily) -> Option<bool> {
    match family {
        AddressFamily::Inet => Some(false),
        AddressFamily::Inet6 => Some(true),
        _ => None,
    }
}

/// The bits of a whole address.
pub(crate) fn whole(v6: bool) -> u8 {
    if v6 { 128 } else { 32 }
}

/// The table in a header, which has 8 bits for it; 0 (unspecified) where the attribute must tell.
fn short(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(0)
}

/// What a message looks like on its way to the kernel.
#[cfg(test)]
fn bytes(message: &impl netlink_packet_core::Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: Errno) -> Result<(), KernelError> {
        Err(std::io::Error::from(errno).into())
    }

    #[test]
    fn what_was_there_before_is_told_and_other_refusals_stay() {
        assert_eq!(once(Ok(())).ok(), Some(Added::New));
        assert_eq!(once(error(Errno::EXIST)).ok(), Some(Added::Before));
        assert!(once(error(Errno::PERM)).is_err_and(|refusal| refusal.is(Errno::PERM)));
        assert_eq!(Added::New.new_only("the rule"), Ok(()));
        let error = Added::Before.new_only("the rule");
        assert_eq!(error, Err("cannot add the rule: it is there already".into()));
    }

    #[test]
    fn what_is_not_there_is_gone_and_other_refusals_stay() {
        for errno in [Errno::NOENT, Errno::SRCH, Errno::NODEV] {
            assert!(gone(error(errno)).is_ok(), "{errno}");
        }
        assert!(gone(Ok(())).is_ok());
        assert!(gone(error(Errno::BUSY)).is_err());
    }

    #[test]
    fn a_refusal_for_lack_of_rights_says_which_right() {
        let told = |errno| refused("add", "the rule", &error(errno).expect_err("an error"));
        assert!(told(Errno::PERM).starts_with("cannot add the rule: expected the right to change routes"));
        assert!(told(Errno::BUSY).starts_with("cannot add the rule: "));
        assert!(!told(Errno::BUSY).contains("CAP_NET_ADMIN"));
    }

    #[test]
    fn what_others_made_or_what_is_strange_is_never_ours() {
        let found = |tag, strange| Found { what: (), tag, strange };
        assert!(found(7, false).is_of(7));
        assert!(!found(8, false).is_of(7) && !found(7, true).is_of(7));
    }

    #[test]
    fn a_table_of_more_than_8_bits_is_told_beside_the_header() {
        assert_eq!((short(254), short(255), short(256)), (254, 255, 0));
        assert_eq!((whole(false), whole(true)), (32, 128));
        assert_eq!((is_v6(family(true)), is_v6(family(false))), (Some(true), Some(false)));
        assert_eq!(is_v6(AddressFamily::Bridge), None);
    }

    /// The kernel answers anybody who only asks.
    #[test]
    fn the_kernel_tells_its_rules_its_routes_and_the_way_to_this_host() {
        let mut kernel = Kernel::new(7).expect("rtnetlink");
        let rules = kernel.rules().expect("told");
        let main = |rule: &Found<Rule>| {
            !rule.what.v6 && matches!(rule.what.action, Action::Lookup { table: 254, .. })
        };
        assert!(rules.iter().any(main), "{rules:?}");
        let routes = kernel.routes().expect("told");
        let loopback = |route: &Found<Route>| route.what.table == 255 && route.what.kind == Kind::Local;
        assert!(routes.iter().any(loopback), "{routes:?}");
        let way = kernel.way([127, 0, 0, 1].into()).expect("told").expect("a way");
        assert_eq!(way, Way { local: true, by_gateway: false, interface: Some(1) });
        assert_eq!(kernel.name_of(1).expect("told"), "lo");
    }
}
