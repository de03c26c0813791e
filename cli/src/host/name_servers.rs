//! The name servers that this host knows for each of its links.
//!
//! ```text
//!  systemd-resolved ── what a person or NetworkManager has set for the link
//!  systemd-networkd ── its settings, its lease where it is used, router advertisements
//!  `leases` ── of networkd, NetworkManager and dhclient, where they may be read
//! ```
//!
//! The first that speaks of the link's servers is believed, also if it has none. Names are left to
//! the system where somebody has decided against these servers: where systemd-resolved asks over
//! TLS only (what was to be secret must not leave as plain text), and where a server on this host
//! was set (dnscrypt-proxy, stubby).

mod leases;

use super::links::Link;
use crate::process::files;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where name servers listen (RFC 1035 section 4.2).
pub(crate) const PORT: u16 = 53;
/// Where systemd's settings are; what is in the first goes before what is in the others.
const SYSTEMD: [&str; 4] = ["etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd"];

/// The name servers of a link, best first; none where the system tells none.
pub(crate) fn of(link: &Link) -> Vec<SocketAddr> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    below(Path::new("/"), link, now)
}

/// The same at a time, in seconds since 1970.
fn below(root: &Path, link: &Link, now: u64) -> Vec<SocketAddr> {
    let index = link.index;
    let resolved = read(&root.join(format!("run/systemd/resolve/netif/{index}")));
    let networkd = read(&root.join(format!("run/systemd/netif/links/{index}")));
    let settings = settings(root);
    let on_this_host = |words: &[String]| words.iter().any(|word| leads_back(word));
    if [&resolved, &networkd, &settings].into_iter().any(|text| asks_over_tls(text))
        || on_this_host(&values(&settings, "DNS").unwrap_or_default())
    {
        return Vec::new();
    }
    let set = values(&resolved, "SERVERS").or_else(|| values(&networkd, "DNS"));
    let told = set.unwrap_or_else(|| match resolved.is_empty() {
        true => leases::servers(root, link, now),
        // It was told of the link, and of no servers.
        false => Vec::new(),
    });
    if on_this_host(&told) {
        return Vec::new();
    }
    told.iter().filter_map(|word| address(word, index)).collect()
}

/// The domains for which a link's name servers were set (`Domains=` of resolved.conf(5) and
/// systemd.network(5)): in lower case, without `~` and a dot at the end.
pub(crate) fn domains(link: &Link) -> Vec<String> {
    domains_below(Path::new("/"), link)
}

fn domains_below(root: &Path, link: &Link) -> Vec<String> {
    let of = |folder: &str| read(&root.join(format!("run/systemd/{folder}/{}", link.index)));
    let (resolved, networkd) = (of("resolve/netif"), of("netif/links"));
    let (text, servers, keys) = match values(&resolved, "SERVERS") {
        Some(servers) => (resolved, servers, ["DOMAINS", ""]),
        None => {
            let servers = values(&networkd, "DNS").unwrap_or_default();
            (networkd, servers, ["DOMAINS", "ROUTE_DOMAINS"])
        }
    };
    // Domains without servers are for what is asked elsewhere.
    let all = keys.iter().filter(|_| !servers.is_empty()).filter_map(|key| values(&text, key)).flatten();
    let all = all.map(|word| word.trim_matches(['~', '.']).to_ascii_lowercase());
    // `~.` is for all names: which uplink they take is said here.
    all.filter(|domain| !domain.is_empty()).collect()
}

fn read(path: &Path) -> String {
    files::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// resolved.conf(5), with the files that add to it. Of two with the same name the first folder's
/// counts.
fn settings(root: &Path) -> String {
    let mut main = SYSTEMD.iter().map(|folder| root.join(folder).join("resolved.conf"));
    let main = main.find(|path| path.exists());
    let mut all = BTreeMap::new();
    for path in SYSTEMD.iter().rev().flat_map(|folder| files(&root.join(folder).join("resolved.conf.d"))) {
        if path.extension().is_some_and(|extension| extension == "conf") {
            all.insert(path.file_name().map(ToOwned::to_owned), path);
        }
    }
    main.iter().chain(all.values()).map(|path| read(path) + "\n").collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// Keys and values of lines.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

/// `DNSOverTLS=yes`; networkd writes `DNS_OVER_TLS=`.
fn asks_over_tls(text: &str) -> bool {
    let is_it = |key: &str| key.replace('_', "").eq_ignore_ascii_case("DNSOverTLS");
    pairs(text).any(|(key, value)| is_it(key) && is_true(value))
}

/// As systemd and NetworkManager read it.
fn is_true(value: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// The words behind a key; `None`: it is not there.
fn values(text: &str, key: &str) -> Option<Vec<String>> {
    let mut its = pairs(text).filter(|(its, _)| its.eq_ignore_ascii_case(key)).peekable();
    its.peek()?;
    Some(its.flat_map(|(_, value)| value.split_whitespace()).map(str::to_owned).collect())
}

/// `ADDRESS`, perhaps with a port, a scope (`%2`) and the server's name (`#name`) behind it.
fn parts(word: &str) -> Option<(IpAddr, u16)> {
    let word = word.split('#').next()?;
    Some(match word.parse::<SocketAddr>() {
        Ok(address) => (address.ip(), address.port()),
        Err(_) => match word.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((ip, port)) => (ip.split('%').next()?.parse().ok()?, port.parse().ok()?),
            None => (word.split('%').next()?.parse().ok()?, PORT),
        },
    })
}

fn leads_back(word: &str) -> bool {
    parts(word).is_some_and(|(ip, _)| ip.to_canonical().is_loopback())
}

fn address(word: &str, index: u32) -> Option<SocketAddr> {
    let (ip, port) = parts(word)?;
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    Some(match ip {
        IpAddr::V6(v6) if is_link_local(v6) => SocketAddrV6::new(v6, port, 0, index).into(),
        ip => SocketAddr::new(ip, port),
    })
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests;
