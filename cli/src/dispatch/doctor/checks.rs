//! What can be known without sending anything.

use crate::doctor::report::Report;
use crate::host::links::{self, Link};
use crate::host::matching::{self, UplinkSpec};
use crate::host::uplink::UplinkArg;
use crate::host::{obstacles, port};
use crate::process::{descriptors as limit, files};
use ropewalk_core::machine::Device;
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, SocketAddr};

/// Under so many connections a browser with many tabs, or a torrent client, waits.
const FEW: u64 = 2048;

pub(super) fn descriptors(report: &mut Report) {
    let descriptors = limit::raise_descriptors();
    let connections = limit::connections(descriptors);
    let Some(descriptors) = descriptors else { return report.ok("descriptors", "without a limit") };
    let found = format!("{descriptors}, enough for {connections} connections");
    match connections < FEW {
        true => report.warn(
            "descriptors",
            format_args!("{found}; for more: ulimit -Hn 65536, or in the unit LimitNOFILE=65536"),
        ),
        false => report.ok("descriptors", found),
    }
}

pub(super) fn listeners(addresses: &[SocketAddr], report: &mut Report) {
    for address in addresses {
        let what = format!("listen on {address}");
        match ropewalk_mio::listen(*address, false) {
            Ok(_) => report.ok(what, "nobody else does"),
            // It may be the proxy itself that runs.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                report.warn(what, port::cannot_listen(*address, &error, "--listen"));
            }
            Err(error) => report.fail(what, port::cannot_listen(*address, &error, "--listen")),
        }
    }
}

/// resolv.conf(5): without a line `nameserver` the one on this host is asked.
pub(super) fn resolvers(report: &mut Report) {
    let path = "/etc/resolv.conf";
    let text = match files::text(path.as_ref()) {
        Ok(text) => text,
        Err(error) => return report.warn("name servers", format_args!("{path} cannot be read: {error}")),
    };
    let servers = servers(&text);
    if servers.is_empty() {
        return report.fail(
            "name servers",
            format_args!("{path} names none: names cannot be looked up; echo nameserver 9.9.9.9 >> {path}"),
        );
    }
    let all: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    let all = all.join(", ");
    let served = port::served(true);
    let silent = |ip: &&IpAddr| {
        let serves = |at: &SocketAddr| at.port() == 53 && (at.ip() == **ip || at.ip().is_unspecified());
        ip.is_loopback() && !served.iter().any(serves)
    };
    match servers.iter().find(silent) {
        Some(ip) => report.fail(
            "name servers",
            format_args!(
                "{ip} is to answer on this host, and nothing does there; systemctl start systemd-resolved, \
                 or name another in {path}"
            ),
        ),
        None => report.ok("name servers", all),
    }
}

fn servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let ip = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A link-local one has its interface behind it.
        ip.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

pub(super) fn links(report: &mut Report) -> Vec<Link> {
    links::snapshot().unwrap_or_else(|error| {
        report.fail("interfaces", format_args!("cannot be read: {error}"));
        Vec::new()
    })
}

/// The uplinks, and what each lacks: an address, a carrier, a default route of its own.
pub(super) fn uplinks(wanted: &[UplinkArg], links: &[Link], report: &mut Report) -> Vec<UplinkSpec> {
    let matched = match matching::match_all(wanted, links) {
        Ok(matched) => matched,
        Err(error) => {
            report.fail("uplinks", error);
            return Vec::new();
        }
    };
    for (name, why) in &matched.left_out {
        report.ok(name, format_args!("auto leaves it out: {why}"));
    }
    match &matched.uplinks[..] {
        [] => report.fail(
            "uplinks",
            "no interface has an address and a default route of its own; ropewalk list says why",
        ),
        [one] => report.warn("uplinks", format_args!("{} alone: there is nothing to spread over", one.label)),
        several => report.ok("uplinks", several.len()),
    }
    for uplink in &matched.uplinks {
        match &uplink.warnings[..] {
            [] if uplink.upstream.is_some() => {
                report.ok(format_args!("uplink {}", uplink.label), "a proxy, which is not asked here");
            }
            [] => report.ok(format_args!("uplink {}", uplink.label), "has an address and a way out"),
            all => all.iter().for_each(|why| report.fail(format_args!("uplink {}", uplink.label), why)),
        }
    }
    matched.uplinks
}

/// The reverse path filter, and two interfaces in one network.
pub(super) fn settings(uplinks: &[UplinkSpec], links: &[Link], report: &mut Report) {
    let devices: Vec<&str> =
        uplinks.iter().filter_map(|uplink| uplink.device.as_ref()).map(Device::as_str).collect();
    let found = obstacles::find(links, &devices, obstacles::NOW);
    found.iter().for_each(|obstacle| report.fail("kernel settings", obstacle));
    if found.is_empty() {
        report.ok("kernel settings", "answers come back by each uplink");
    }
}

/// Who is asked for names through it, where no `--resolver` says otherwise.
#[cfg(feature = "names")]
pub(super) fn names(uplink: &UplinkSpec, links: &[Link], report: &mut Report) {
    let what = format!("names through {}", uplink.label);
    let link = links.iter().find(|link| uplink.device.is_some() && link.device == uplink.device);
    let servers = link.map(crate::host::name_servers::of).unwrap_or_default();
    match &servers[..] {
        [] => report.ok(what, "asked of the system; --resolver names a server of its own"),
        servers => {
            let all: Vec<String> = servers.iter().map(ToString::to_string).collect();
            report.ok(what, format_args!("asked of {}, which this host knows for its link", all.join(", ")));
        }
    }
    if link.is_some_and(Link::is_v6_only) {
        let what = format!("IPv4 by {}", uplink.label);
        match servers.is_empty() {
            false => {
                report.ok(what, "it has no IPv4: by NAT64, if its name servers know of it (ipv4only.arpa)")
            }
            true => report.warn(
                what,
                format_args!(
                    "it has no IPv4, and nobody is known who says how its network translates (NAT64): IPv4 \
                     destinations do not go by it; --resolver {}=ADDRESS",
                    uplink.label
                ),
            ),
        }
    }
}

/// Whether a connection may be bound to it.
pub(super) fn binding(uplink: &UplinkSpec, report: &mut Report) -> bool {
    let what = format!("binding to {}", uplink.label);
    match bound(uplink, !uplink.carries(false)) {
        Ok(_) => {
            report.ok(what, "is allowed");
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let program = std::env::current_exe().unwrap_or_else(|_| "ropewalk".into());
            report.fail(
                what,
                format_args!(
                    "{error}: Linux before 5.7 wants a privilege; setcap cap_net_raw+ep {}",
                    program.display()
                ),
            );
            false
        }
        Err(error) => {
            report.fail(what, error);
            false
        }
    }
}

/// A TCP socket that leaves by the uplink.
pub(super) fn bound(uplink: &UplinkSpec, v6: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(if v6 { Domain::IPV6 } else { Domain::IPV4 }, Type::STREAM, None)?;
    if let Some(device) = &uplink.device {
        socket.bind_device(Some(device.as_str().as_bytes()))?;
    }
    let source = match v6 {
        true => uplink.source_v6.map(IpAddr::V6),
        false => uplink.source_v4.map(IpAddr::V4),
    };
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::servers;

    #[test]
    fn name_servers_are_read_as_the_system_reads_them() {
        let text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 127.0.0.53\n nameserver fe80::1%eth0\n\
                    nameserver x\nnameserverx 9.9.9.9\nnameserver\n";
        let found: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53", "fe80::1"]);
    }
}
