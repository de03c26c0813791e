//! The switch `--resolver`: `[UPLINK=]ADDRESS[:PORT]` or `[UPLINK=]system`; and who is asked for
//! names through which uplink.

use super::args::Args;
use super::probe;
use ropewalk_core::dispatch::NamesConfig;
use ropewalk_core::uplink::UplinkConfig;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Where name servers listen (RFC 1035 section 4.2).
const PORT: u16 = 53;

/// One as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResolverArg {
    /// The uplink it is for; `None`: all that have none of their own.
    uplink: Option<String>,
    /// The server; `None`: the system.
    server: Option<SocketAddr>,
}

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<ResolverArg, String> {
    let (uplink, server) = match text.rsplit_once('=') {
        Some((uplink, server)) => (Some(uplink.to_owned()), server),
        None => (None, text),
    };
    if server == "system" {
        return Ok(ResolverArg { uplink, server: None });
    }
    let address = match server.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, PORT)),
        Err(_) => server.parse().ok().filter(|address: &SocketAddr| address.port() > 0),
    };
    let usable = address.filter(|address| !address.ip().is_unspecified() && !address.ip().is_multicast());
    let server = usable.ok_or_else(|| {
        format!("expected ADDRESS, ADDRESS:PORT or system, such as 192.0.2.53, got {server:?}")
    })?;
    Ok(ResolverArg { uplink, server: Some(server) })
}

/// Who is asked for names, in the order of the uplinks.
///
/// # Errors
/// A server that is for no uplink.
pub(super) fn plan(options: &Args, uplinks: &[UplinkConfig]) -> Result<NamesConfig, String> {
    let all = &options.resolver;
    for name in all.iter().filter_map(|arg| arg.uplink.as_ref()) {
        probe::find(name, uplinks, "--resolver")?;
    }
    let resolvers = uplinks.iter().map(|uplink| servers(all, uplink)).collect();
    let system = std::fs::read("/etc/hosts").map(|bytes| names_of(&bytes)).unwrap_or_default();
    Ok(NamesConfig { resolvers, cache: options.name_cache as usize, system })
}

fn servers(all: &[ResolverArg], uplink: &UplinkConfig) -> Vec<SocketAddr> {
    // A proxy is told names as they are.
    if uplink.endpoint.is_some() || uplink.upstream {
        return Vec::new();
    }
    let of = |name: Option<&String>| {
        let its: Vec<_> = all.iter().filter(|arg| arg.uplink.as_ref() == name).collect();
        (!its.is_empty()).then(|| its.into_iter().filter_map(|arg| arg.server).collect())
    };
    of(Some(&uplink.label)).or_else(|| of(None)).unwrap_or_default()
}

/// The names of a hosts file (hosts(5)), as they are compared.
fn names_of(hosts: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(hosts);
    let line = |line: &str| {
        let named = line.split('#').next().unwrap_or_default();
        named.split_whitespace().skip(1).map(str::to_ascii_lowercase).collect::<Vec<_>>()
    };
    text.lines().flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_an_address_perhaps_of_one_uplink_perhaps_with_a_port() {
        let read = |text: &str| parse(text).map(|arg| (arg.uplink, arg.server.map(|at| at.to_string())));
        assert_eq!(read("192.0.2.53"), Ok((None, Some("192.0.2.53:53".into()))));
        assert_eq!(read("eth1=192.0.2.53:5353"), Ok((Some("eth1".into()), Some("192.0.2.53:5353".into()))));
        assert_eq!(read("10.0.0.2%eth1=2001:db8::1"), {
            Ok((Some("10.0.0.2%eth1".into()), Some("[2001:db8::1]:53".into())))
        });
        assert_eq!(read("eth1=system"), Ok((Some("eth1".into()), None)));
        for bad in ["", "eth1=", "host.example", "192.0.2.53:0", "eth1=0.0.0.0", "224.0.0.1", "eth1=[::1]"] {
            assert!(read(bad).is_err_and(|error| error.contains("ADDRESS")), "{bad}");
        }
    }

    #[test]
    fn an_uplinks_own_servers_go_before_those_of_all_and_a_proxy_has_none() {
        let all = ["192.0.2.1", "b=192.0.2.2", "b=192.0.2.3:5353", "c=system"]
            .map(|text| parse(text).expect("valid"));
        let of = |label: &str| {
            let its = servers(&all, &UplinkConfig::new(label));
            its.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("a"), ["192.0.2.1:53"]);
        assert_eq!(of("b"), ["192.0.2.2:53", "192.0.2.3:5353"]);
        assert!(of("c").is_empty());
        let proxy = UplinkConfig { upstream: true, ..UplinkConfig::new("a") };
        assert!(servers(&all, &proxy).is_empty());
    }

    #[test]
    fn the_names_of_a_hosts_file_are_those_behind_addresses() {
        let hosts =
            b"127.0.0.1 localhost # not this\n\n# 192.0.2.1 nor.this\n192.0.2.2\tNAS.Home.Example nas\n";
        let expected = ["localhost", "nas", "nas.home.example"].map(String::from);
        assert_eq!(names_of(hosts), expected.into());
    }
}
