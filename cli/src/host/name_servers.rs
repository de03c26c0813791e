//! The name servers that this host knows for each of its links.
//!
//! ```text
//!  systemd-resolved ── what a person or NetworkManager has set for the link
//!  systemd-networkd ── its settings, its lease, router advertisements
//!  NetworkManager, dhclient ── their leases, where they may be read
//! ```
//!
//! The first that names any is believed. Where systemd-resolved asks over TLS only, none is: what
//! was to be secret must not leave as plain text.

use super::links::Link;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

/// Where name servers listen (RFC 1035 section 4.2).
pub(crate) const PORT: u16 = 53;

/// The name servers of a link, best first; none where the system tells none.
pub(crate) fn of(link: &Link) -> Vec<SocketAddr> {
    below(Path::new("/"), link)
}

fn below(root: &Path, link: &Link) -> Vec<SocketAddr> {
    let index = link.index;
    let resolved = read(&root.join(format!("run/systemd/resolve/netif/{index}")));
    if asks_over_tls(&resolved) || asks_over_tls(&settings(root)) {
        return Vec::new();
    }
    let networkd = |folder: &str| read(&root.join(format!("run/systemd/netif/{folder}/{index}")));
    let texts = [
        values(&resolved, "SERVERS="),
        values(&networkd("links"), "DNS="),
        values(&networkd("leases"), "DNS="),
    ];
    let leases = leases(root, &link.name);
    let texts = texts.into_iter().chain(leases.iter().map(|path| lease(&read(path))));
    let mut all = texts.map(|words| words.iter().filter_map(|word| address(word, index)).collect());
    all.find(|servers: &Vec<SocketAddr>| !servers.is_empty()).unwrap_or_default()
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// resolved.conf(5), with the files that add to it.
fn settings(root: &Path) -> String {
    let mut all = read(&root.join("etc/systemd/resolved.conf"));
    for path in files(&root.join("etc/systemd/resolved.conf.d")) {
        all += "\n";
        all += &read(&path);
    }
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// `DNSOverTLS=yes`, in whichever case the key is written.
fn asks_over_tls(text: &str) -> bool {
    let strict = |line: &str| {
        let (key, value) = line.trim().split_once('=').unwrap_or_default();
        key.trim().eq_ignore_ascii_case("DNSOverTLS") && matches!(value.trim(), "yes" | "true" | "on" | "1")
    };
    text.lines().any(strict)
}

/// The words behind a key.
fn values(text: &str, key: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The files in which NetworkManager and dhclient keep the leases of an interface, newest first.
fn leases(root: &Path, interface: &str) -> Vec<PathBuf> {
    let folders = ["var/lib/NetworkManager", "var/lib/dhcp", "var/lib/dhclient"];
    let is_its = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".lease").or_else(|| name.strip_suffix(".leases"));
        stem.is_some_and(|stem| {
            stem.ends_with(&format!("-{interface}")) || stem.ends_with(&format!(".{interface}"))
        })
    };
    let mut all: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files(&root.join(folder))).filter(is_its).collect();
    let written = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    all.sort_by_key(|path| std::cmp::Reverse(written(path)));
    all
}

/// The servers of the last lease of a file: dhclient.leases(5), or `DNS=` as NetworkManager has it.
fn lease(text: &str) -> Vec<String> {
    let option = |line: &str| {
        let words = line.trim().strip_prefix("option domain-name-servers ")?;
        Some(words.trim_end_matches(';').split(',').map(|word| word.trim().to_owned()).collect())
    };
    text.lines().rev().find_map(option).unwrap_or_else(|| values(text, "DNS="))
}

/// `ADDRESS`, perhaps with a port, a scope (`%2`) and the server's name (`#name`) behind it.
fn address(word: &str, index: u32) -> Option<SocketAddr> {
    let word = word.split('#').next()?;
    let (ip, port) = match word.parse::<SocketAddr>() {
        Ok(address) => (address.ip(), address.port()),
        Err(_) => match word.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((ip, port)) => (ip.split('%').next()?.parse().ok()?, port.parse().ok()?),
            None => (word.split('%').next()?.parse().ok()?, PORT),
        },
    };
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
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
mod tests {
    use super::*;
    use crate::host::fixtures::eth;

    /// A file system that holds these files.
    struct Root(PathBuf);

    impl Root {
        fn new(test: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ropewalk-names-{test}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().expect("below the root")).expect("ours");
                std::fs::write(path, text).expect("ours");
            }
            Root(root)
        }

        fn servers(&self) -> Vec<String> {
            let link = Link { index: 7, ..eth("wlan0", &["192.168.1.7/24"]) };
            below(&self.0, &link).iter().map(ToString::to_string).collect()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const RESOLVED: (&str, &str) = (
        "run/systemd/resolve/netif/7",
        "# private\nLLMNR=yes\nSERVERS=192.0.2.1 fe80::1%7 192.0.2.2:5353#dns.example\n",
    );
    const NETWORKD: (&str, &str) =
        ("run/systemd/netif/links/7", "ADMIN_STATE=configured\nDNS=192.0.2.3 2001:db8::3\n");

    #[test]
    fn what_was_set_for_the_link_goes_before_what_its_lease_says() {
        let all = Root::new("order", &[RESOLVED, NETWORKD]);
        assert_eq!(all.servers(), ["192.0.2.1:53", "[fe80::1%7]:53", "192.0.2.2:5353"]);
        let networkd = Root::new("networkd", &[NETWORKD, ("run/systemd/netif/links/8", "DNS=192.0.2.8\n")]);
        assert_eq!(networkd.servers(), ["192.0.2.3:53", "[2001:db8::3]:53"]);
        let lease =
            Root::new("lease", &[("run/systemd/netif/leases/7", "ADDRESS=192.168.1.7\nDNS=192.168.1.1\n")]);
        assert_eq!(lease.servers(), ["192.168.1.1:53"]);
        assert!(Root::new("nothing", &[]).servers().is_empty());
    }

    #[test]
    fn the_last_lease_of_dhclient_and_networkmanagers_are_read() {
        let text = "lease {\n  option domain-name-servers 192.0.2.9;\n}\nlease {\n  interface \"wlan0\";\n  \
                    option domain-name-servers 192.0.2.4, 192.0.2.5;\n}\n";
        let other = ("var/lib/dhcp/dhclient.xwlan0.leases", "option domain-name-servers 192.0.2.66;\n");
        let dhclient = Root::new("dhclient", &[("var/lib/dhcp/dhclient.wlan0.leases", text), other]);
        assert_eq!(dhclient.servers(), ["192.0.2.4:53", "192.0.2.5:53"]);
        let path = "var/lib/NetworkManager/internal-0b1c-wlan0.lease";
        let manager = Root::new("manager", &[(path, "# private\nADDRESS=192.168.1.7\nDNS=192.0.2.6\n")]);
        assert_eq!(manager.servers(), ["192.0.2.6:53"]);
    }

    #[test]
    fn what_leads_back_to_this_host_and_what_is_to_be_secret_is_not_asked() {
        let back = Root::new(
            "back",
            &[("run/systemd/resolve/netif/7", "SERVERS=127.0.0.53 0.0.0.0 garbage\n"), NETWORKD],
        );
        assert_eq!(back.servers(), ["192.0.2.3:53", "[2001:db8::3]:53"]);
        let link =
            Root::new("link", &[("run/systemd/resolve/netif/7", "DNSOVERTLS=yes\nSERVERS=192.0.2.1\n")]);
        let host = ("etc/systemd/resolved.conf.d/tls.conf", "[Resolve]\nDNSOverTLS = yes\n");
        let host = Root::new("host", &[RESOLVED, host]);
        assert!(link.servers().is_empty() && host.servers().is_empty());
        let no = Root::new(
            "no",
            &[RESOLVED, ("etc/systemd/resolved.conf", "#DNSOverTLS=yes\nDNSOverTLS=opportunistic\n")],
        );
        assert_eq!(no.servers().len(), 3);
    }
}
