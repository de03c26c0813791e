//! What can be known without sending anything.

use crate::doctor::report::Report;
use crate::host::{links, port};
use crate::unwrap::routes::kernel::{Found, Present};
use crate::unwrap::routes::place::{Place, Placed};
use crate::unwrap::routes::plan::{Rule, Sysctl, TAG};
use crate::unwrap::routes::sysctl;
use crate::unwrap::target::{Protocol, Target};
use rustix::thread::CapabilitySet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

pub(super) fn kernel(mark: Option<u32>, report: &mut Report) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let what = "kernel";
    match super::version(&release) {
        Some(version) if version < (4, 17) && mark.is_none() => report.fail(
            what,
            format_args!("Linux {release} has no rules by protocol and port (4.17 and newer do); use --mark"),
        ),
        Some(version) if version < (5, 17) && mark.is_some() => report.warn(
            what,
            format_args!(
                "Linux {release} lets only CAP_NET_ADMIN set a mark (from 5.17 on CAP_NET_RAW does too); leave \
                 that capability to unwrap, or use no mark"
            ),
        ),
        Some(_) => report.ok(what, format_args!("Linux {release}")),
        None => report.warn(what, format_args!("the release {release} is not understood")),
    }
}

pub(super) fn capabilities(report: &mut Report) {
    let own = match rustix::thread::capabilities(None) {
        Ok(sets) => sets.effective,
        Err(error) => return report.warn("privileges", format_args!("cannot be read: {error}")),
    };
    if own.contains(CapabilitySet::NET_RAW) {
        report.ok("privileges", "CAP_NET_RAW, to lend foreign addresses");
    } else if own.contains(CapabilitySet::NET_ADMIN) {
        report.ok("privileges", "CAP_NET_ADMIN, which serves for CAP_NET_RAW");
    } else {
        report.fail(
            "privileges",
            "no CAP_NET_RAW, without which no foreign address can be lent; run as root, or give it to the \
             program: setcap cap_net_raw,cap_net_bind_service+ep ropewalk",
        );
    }
    let what = "low client ports";
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first = std::fs::read_to_string(path).ok().and_then(|text| text.trim_end().parse::<u32>().ok());
    match first.unwrap_or(1024) {
        _ if own.contains(CapabilitySet::NET_BIND_SERVICE) => report.ok(what, "CAP_NET_BIND_SERVICE"),
        0 | 1 => report.ok(what, "no port needs a privilege here"),
        first => report.warn(
            what,
            format_args!(
                "no CAP_NET_BIND_SERVICE: clients with a port under {first} cannot keep it; give it to the \
                 program, or let them have another port (--on-port-conflict ephemeral)"
            ),
        ),
    }
}

pub(super) fn loopback(report: &mut Report) {
    let what = "loopback interface";
    match links::snapshot() {
        Err(error) => report.fail(what, format_args!("cannot be read: {error}")),
        Ok(links) => match links.iter().find(|link| link.loopback) {
            Some(lo) if lo.enabled => report.ok(what, format_args!("{} is up", lo.name)),
            Some(lo) => {
                report.fail(what, format_args!("{name} is down; ip link set {name} up", name = lo.name));
            }
            None => report.fail(what, "there is none in this network namespace"),
        },
    }
}

pub(super) fn sysctls(v4: bool, v6: bool, report: &mut Report) {
    for sysctl in Sysctl::needed(v4, v6) {
        match sysctl::read(sysctl).as_deref() {
            Ok("0") => {
                report
                    .fail(sysctl.0, "0, so that answers lose the mark; ropewalk unwrap setup --mark sets it");
            }
            Ok(value) => report.ok(sysctl.0, value),
            Err(error) => report.fail(sysctl.0, error),
        }
    }
}

/// Where the target is; `None`: where it cannot be served.
pub(super) fn placed(
    target: Target,
    placed: Result<Placed, String>,
    mark: Option<u32>,
    report: &mut Report,
) -> Option<Placed> {
    let placed = match placed {
        Ok(placed) => placed,
        Err(why) => {
            report.fail(target.ip, format_args!("is not this host's: {why}"));
            return None;
        }
    };
    match (&placed.place, mark) {
        (Place::Here, _) => is_local(target, mark, report),
        (Place::Behind(interface), None) => report.warn(
            target.ip,
            format_args!(
                "is behind {interface} (a container or a namespace): clients that come to the server past \
                 unwrap get no answers"
            ),
        ),
        (Place::Behind(interface), Some(_)) => {
            report.fail(
                target.ip,
                format_args!(
                    "is behind {interface}, and answers come from there without a mark; leave \
                     --mark out"
                ),
            );
            return None;
        }
    }
    Some(placed)
}

fn is_local(target: Target, mark: Option<u32>, report: &mut Report) {
    // Only an address of this host can be bound to; port 0 cannot be in use.
    match UdpSocket::bind((target.ip, 0)) {
        Ok(_) if !target.ip.is_loopback() && mark.is_none() => report.warn(
            target.ip,
            "is this host's, but not loopback: clients that come to the server past unwrap get no answers; \
             let it serve unwrap at 127.0.0.1 or [::1], or route by --mark",
        ),
        Ok(_) => report.ok(target.ip, "is this host's"),
        Err(error) => report.fail(
            target.ip,
            format_args!(
                "is not this host's ({error}); the server must be on this host, since its answers must come \
                 back to it"
            ),
        ),
    }
}

/// The server of the target: for each port of it the address that a socket is bound to, the most
/// definite first.
pub(super) fn servers(target: Target, protocol: Protocol) -> Vec<SocketAddr> {
    let serves = |bound: &SocketAddr| {
        let ip = bound.ip().to_canonical();
        // `::` serves IPv4 too, unless the socket is IPv6 only, which is not known here.
        let any = ip.is_unspecified() && (ip.is_ipv6() || !target.is_v6());
        (target.ports.first..=target.ports.last).contains(&bound.port()) && (ip == target.ip || any)
    };
    let mut found: Vec<SocketAddr> =
        port::served(protocol == Protocol::Udp).into_iter().filter(serves).collect();
    found.sort_by_key(|bound| (bound.port(), bound.ip().is_unspecified(), bound.is_ipv6() != target.is_v6()));
    found.dedup_by_key(|bound| bound.port());
    found
}

pub(super) fn listening(target: Target, protocol: Protocol, servers: &[SocketAddr], report: &mut Report) {
    let what = format!("server at {protocol} {target}");
    let all = usize::from(target.ports.last - target.ports.first) + 1;
    match servers {
        [] => report.fail(what, "nobody listens there; start the server"),
        [one] if all == 1 => report.ok(what, format_args!("listens at {one}")),
        some if some.len() == all => report.ok(what, "each port is listened at"),
        some => report.warn(
            what,
            format_args!("{} of {all} ports are listened at, the first is {}", some.len(), some[0]),
        ),
    }
}

/// Whether a rule leads the answers of the target to a table that delivers to this host.
pub(super) fn routed(
    placed: &Placed,
    protocol: Protocol,
    mark: Option<u32>,
    wildcard: bool,
    present: &Present,
    report: &mut Report,
) {
    let target = placed.target;
    let what = format!("routes for {protocol} {target}");
    let wildcard = wildcard && protocol == Protocol::Udp;
    let leading = |wildcard: bool| {
        let catches = |found: &&Found<Rule>| {
            // Either way of setup by itself: a rule by mark says nothing of answers without one.
            !found.strange
                && found.what.mark == mark
                && found.what.catches(placed, protocol, mark, wildcard)
                && delivers(&found.what, present).is_some()
        };
        present.rules.iter().find(catches)
    };
    let Some(found) = leading(wildcard) else {
        return match leading(false) {
            Some(_) => report.warn(
                what,
                "the server is on all addresses, and its answers have no address yet when the rule looks \
                 for it; run setup without --udp-bound-server",
            ),
            None => {
                let cure = cure(target, protocol, mark);
                report.fail(what, format_args!("no rule leads the answers back; {cure}"));
            }
        };
    };
    let by = if found.tag == TAG { "" } else { " (not by setup)" };
    match delivers(&found.what, present).expect("asked for above") {
        Some(source) if wildcard && source != target.ip => report.warn(
            what,
            format_args!(
                "the server is on all addresses and would answer from {source}; give {target} a \
                 --table of its own"
            ),
        ),
        None if wildcard => report.warn(
            what,
            format_args!("the server is on all addresses, and the route names no source for its answers{by}"),
        ),
        _ if wildcard => report.ok(
            what,
            format_args!("{}{by}; clients that come to the server past unwrap get no answers", found.what),
        ),
        _ => report.ok(what, format_args!("{}{by}", found.what)),
    }
}

/// The source of the route by which the rule's table delivers to this host; `None` where it has no
/// such route.
fn delivers(rule: &Rule, present: &Present) -> Option<Option<IpAddr>> {
    let mut routes = present.routes.iter();
    let route =
        routes.find(|found| !found.strange && found.what.v6 == rule.v6 && found.what.table == rule.table)?;
    Some(route.what.source)
}

fn cure(target: Target, protocol: Protocol, mark: Option<u32>) -> String {
    let mark = mark.map_or_else(String::new, |mark| format!(" --mark {mark}"));
    format!("ropewalk unwrap setup {} {target} --protocol {protocol}{mark}", target.switch())
}
