//! What can be known without sending anything.

use super::super::host::{self, Trace};
use crate::doctor::report::Report;
use crate::host::links::{self, Link};
use crate::host::matching::{self, UplinkSpec};
use crate::host::uplink::UplinkArg;
use rustix::thread::CapabilitySet;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

/// RFC 894: what Ethernet carries, and what the MTU inside is made for.
const USUAL_MTU: u32 = 1500;
/// RFC 8200 section 5.
const V6_LEAST: u32 = 1280;

pub(super) fn capabilities(report: &mut Report) {
    match rustix::thread::capabilities(None) {
        Err(error) => report.warn("privileges", format_args!("cannot be read: {error}")),
        Ok(own) if own.effective.contains(CapabilitySet::NET_ADMIN) => {
            report.ok("privileges", "CAP_NET_ADMIN, for devices, routes, filters and marks");
        }
        Ok(_) => report
            .fail("privileges", "no CAP_NET_ADMIN, without which there is no TUN device; run it as root"),
    }
}

pub(super) fn tun(report: &mut Report) {
    let path = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => report.ok(path, "can be opened"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report.fail(
                path,
                "is not there; modprobe tun (in a container: let it have the device, --device /dev/net/tun)",
            );
        }
        Err(error) => report.fail(path, format_args!("cannot be opened: {error}; run it as root")),
    }
}

pub(super) fn filters(report: &mut Report) {
    match host::filters() {
        Ok(nft) => report.ok("nft", format_args!("{} takes the kill switch and NAT", nft.display())),
        Err(error) => {
            report.warn("nft", format_args!("{error}; without it there is no kill switch and no NAT"))
        }
    }
}

/// What a run that was killed has left. Whether a client runs.
pub(super) fn left(state_dir: &Path, report: &mut Report) -> bool {
    let traces = match host::traces(state_dir) {
        Ok(traces) => traces,
        Err(error) => {
            report.warn("state directory", error);
            return false;
        }
    };
    let restore = match state_dir.to_str() {
        Some(crate::bond::args::STATE_DIR) | None => "ropewalk bond restore".to_owned(),
        Some(other) => format!("ropewalk bond restore --state-dir {other}"),
    };
    for (role, trace) in &traces {
        match trace {
            Trace::Running => report.ok(role, "runs; ropewalk bond status shows each link"),
            Trace::Left(what) => report.warn(
                role,
                format_args!("was killed, and has left {what}; start it again, or put all back: {restore}"),
            ),
            Trace::None => {}
        }
    }
    let remembered = traces.iter().any(|(role, trace)| *role == "client" && *trace != Trace::None);
    match host::tagged() {
        Ok(found) if found > 0 && !remembered => report.warn(
            "rules and routes",
            format_args!(
                "{found} are a bond's that {} knows nothing of; run {restore} with the \
                 --state-dir of that bond",
                state_dir.display()
            ),
        ),
        Ok(_) => {}
        Err(error) => report.warn("rules and routes", error),
    }
    traces.iter().any(|(role, trace)| *role == "client" && *trace == Trace::Running)
}

pub(super) fn links(report: &mut Report) -> Vec<Link> {
    links::snapshot().unwrap_or_else(|error| {
        report.fail("interfaces", format_args!("cannot be read: {error}"));
        Vec::new()
    })
}

/// The interfaces that a client takes for links.
pub(super) fn uplinks(via: &[UplinkArg], links: &[Link], report: &mut Report) {
    let auto = [UplinkArg::auto()];
    let names = match matching::match_all(if via.is_empty() { &auto } else { via }, links) {
        Ok(matched) => matched.uplinks,
        Err(error) => return report.fail("links", error),
    };
    let name = |uplink: &UplinkSpec| uplink.device.map(|device| device.as_str().to_owned());
    let names: Vec<String> = names.iter().filter_map(name).collect();
    match &names[..] {
        [] => report.fail(
            "links",
            "no interface has an address and a default route of its own; ropewalk list says why",
        ),
        [one] => report.warn(
            "links",
            format_args!("{one} alone: a bond of one link is a tunnel; ropewalk list shows the others"),
        ),
        several => report.ok("links", several.join(", ")),
    }
    let mtus = host::mtus().unwrap_or_default();
    for name in &names {
        match mtus.iter().find(|(other, _)| other == name).map(|(_, mtu)| *mtu) {
            Some(mtu) if inside(mtu) < V6_LEAST => report.warn(
                format_args!("MTU of {name}"),
                format_args!(
                    "{mtu}: packets inside have at most {} bytes with it, and IPv6 inside needs {V6_LEAST}: \
                     its large ones go by the other links",
                    inside(mtu)
                ),
            ),
            Some(mtu) if mtu < USUAL_MTU => report.ok(
                format_args!("MTU of {name}"),
                format_args!("{mtu}: packets inside have at most {} bytes with it", inside(mtu)),
            ),
            Some(mtu) => report.ok(format_args!("MTU of {name}"), mtu),
            None => report.warn(format_args!("MTU of {name}"), "cannot be read"),
        }
    }
    match host::strict(&names) {
        Ok(strict) if strict.is_empty() => report.ok("reverse path filter", "lets answers come by each link"),
        Ok(strict) => report.ok(
            "reverse path filter",
            format_args!(
                "strict on {}: a client loosens it while it runs, but not with --route none (sysctl -w \
                 net.ipv4.conf.{}.rp_filter=2)",
                strict.join(", "),
                strict[0]
            ),
        ),
        Err(error) => report.warn("reverse path filter", error),
    }
}

/// The largest packet inside that a link of this MTU carries over IPv4.
fn inside(mtu: u32) -> u32 {
    mtu.saturating_sub(USUAL_MTU - u32::from(ropewalk_core::bond::DEFAULT_MTU))
}

pub(super) fn name_servers(report: &mut Report) {
    match host::name_servers() {
        Ok(how) => report.ok("name servers", format_args!("with --dns ADDRESS {how}")),
        Err(error) => report.warn("name servers", error),
    }
}

/// Firewalls of others that let no client through to a server that is reached at `listen`.
pub(super) fn firewall(listen: SocketAddr, report: &mut Report) {
    match host::firewall::closed("ropewalk0", listen) {
        Ok(chains) if chains.is_empty() => {
            report.ok("firewall", "drops nothing that comes from clients or is forwarded for them");
        }
        Ok(chains) => chains.iter().for_each(|told| report.warn("firewall", told)),
        Err(error) => report.warn("firewall", error),
    }
}

pub(super) fn forwarding(links: &[Link], report: &mut Report) {
    match host::forwarding(links) {
        Ok(0) => report.ok("forwarding", "is on"),
        Ok(_) => report.ok("forwarding", "is off: a server turns it on while it runs, unless --nat off"),
        Err(error) => report.warn("forwarding", error),
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn what_fits_a_link_is_less_and_never_too_little_for_ipv6() {
        assert_eq!(inside(1492), 1492 - 28 - 36);
        assert_eq!(inside(0), 0);
    }
}
