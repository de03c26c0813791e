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
        self.servers_after(0)
    }

    /// So many seconds after its files were written.
    fn servers_after(&self, seconds: u64) -> Vec<String> {
        let link = Link { index: 7, ..eth("wlan0", &["192.168.1.7/24"]) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        below(&self.0, &link, now + seconds).iter().map(ToString::to_string).collect()
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

const LEASE: (&str, &str) = ("run/systemd/netif/leases/7", "ADDRESS=192.168.1.7\nDNS=192.168.1.1\n");

#[test]
fn what_was_set_for_the_link_goes_before_what_its_lease_says() {
    let all = Root::new("order", &[RESOLVED, NETWORKD]);
    assert_eq!(all.servers(), ["192.0.2.1:53", "[fe80::1%7]:53", "192.0.2.2:5353"]);
    let networkd = Root::new("networkd", &[NETWORKD, ("run/systemd/netif/links/8", "DNS=192.0.2.8\n")]);
    assert_eq!(networkd.servers(), ["192.0.2.3:53", "[2001:db8::3]:53"]);
    assert_eq!(Root::new("lease", &[LEASE]).servers(), ["192.168.1.1:53"]);
    assert!(Root::new("nothing", &[]).servers().is_empty());
}

#[test]
fn a_link_whose_lease_is_not_to_be_asked_is_left_to_the_system() {
    let no = ("run/systemd/netif/links/7", "ADMIN_STATE=configured\nDNS=\nDNSSEC=no\n");
    assert!(Root::new("use-dns-no", &[no, LEASE]).servers().is_empty(), "UseDNS=no");
    let other = ("run/systemd/netif/links/7", "ADMIN_STATE=unmanaged\n");
    assert_eq!(Root::new("unmanaged", &[other, LEASE]).servers().len(), 1, "networkd does not speak of it");
    let told = ("run/systemd/resolve/netif/7", "LLMNR=yes\nDEFAULT_ROUTE=no\n");
    assert!(Root::new("told", &[told, LEASE]).servers().is_empty(), "resolved was told of no servers");
    let id = "0b1c35a4-5b4c-4a5e-8d5f-0d6d0a6f9e11";
    let lease = (
        "var/lib/NetworkManager/internal-0b1c35a4-5b4c-4a5e-8d5f-0d6d0a6f9e11-wlan0.lease",
        "ADDRESS=192.168.1.7\nDNS=192.0.2.6\n",
    );
    for (of, ignores, count) in [("ipv4", "true", 0), ("ipv4", "false", 1), ("ipv6", "true", 1)] {
        let profile =
            format!("[connection]\nid=Home\nuuid={id}\n\n[{of}]\nignore-auto-dns={ignores}\n\n[proxy]\n");
        let profile = ("etc/NetworkManager/system-connections/Home.nmconnection", profile.as_str());
        let root = Root::new(&format!("ignore-{of}-{ignores}"), &[profile, lease]);
        assert_eq!(root.servers().len(), count, "{of} {ignores}");
    }
}

#[test]
fn the_last_lease_of_dhclient_and_networkmanagers_are_read() {
    let text = "lease {\n  fixed-address 192.168.1.7;\n  option domain-name-servers 192.0.2.9;\n}\nlease {\n  \
                interface \"wlan0\";\n  fixed-address 192.168.1.7;\n  \
                option domain-name-servers 192.0.2.4, 192.0.2.5;\n  expire never;\n}\n";
    let other = (
        "var/lib/dhcp/dhclient.xwlan0.leases",
        "lease {\n  fixed-address 192.168.1.7;\n  option domain-name-servers 192.0.2.66;\n}\n",
    );
    let dhclient = Root::new("dhclient", &[("var/lib/dhcp/dhclient.wlan0.leases", text), other]);
    assert_eq!(dhclient.servers(), ["192.0.2.4:53", "192.0.2.5:53"]);
    let path = "var/lib/NetworkManager/internal-0b1c-wlan0.lease";
    let manager = Root::new("manager", &[(path, "# private\nADDRESS=192.168.1.7\nDNS=192.0.2.6\n")]);
    assert_eq!(manager.servers(), ["192.0.2.6:53"]);
}

#[test]
fn a_lease_that_has_ended_or_is_of_another_network_is_not_believed() {
    let lease = |address: &str, expire: &str, server: &str| {
        format!(
            "lease {{\n  interface \"wlan0\";\n  fixed-address {address};\n  option domain-name-servers \
             {server};\n  expire {expire};\n}}\n"
        )
    };
    let dhclient = |test: &str, leases: &[String]| {
        Root::new(test, &[("var/lib/dhcp/dhclient.wlan0.leases", &leases.concat())]).servers()
    };
    let (old, far) = ("4 2001/02/03 04:05:06", "4 2099/02/03 04:05:06");
    assert!(dhclient("ended", &[lease("192.168.1.7", old, "192.0.2.4")]).is_empty());
    assert!(dhclient("elsewhere", &[lease("10.0.0.7", far, "192.0.2.4")]).is_empty());
    let both = [lease("192.168.1.7", far, "192.0.2.4"), lease("10.0.0.7", far, "192.0.2.5")];
    assert_eq!(dhclient("both", &both), ["192.0.2.4:53"]);
    let unknown = "lease {\n  option domain-name-servers 192.0.2.4;\n}\n".to_owned();
    assert!(dhclient("unknown", &[unknown]).is_empty(), "nobody knows which network it is of");
    let other = ("run/systemd/netif/leases/7", "ADDRESS=10.0.0.7\nDNS=192.168.1.1\n");
    assert!(Root::new("other", &[other]).servers().is_empty());
    let path = "var/lib/NetworkManager/internal-0b1c-wlan0.lease";
    let hour = Root::new("hour", &[(path, "ADDRESS=192.168.1.7\nLIFETIME=3600\nDNS=192.0.2.6\n")]);
    assert_eq!(hour.servers().len(), 1);
    assert!(hour.servers_after(4_000).is_empty());
}

#[test]
fn what_is_answered_on_this_host_on_purpose_is_left_to_the_system() {
    for server in ["127.0.0.53 0.0.0.0 garbage", "192.0.2.1 ::1", "127.0.0.1:5353#stubby"] {
        let set = format!("SERVERS={server}\n");
        let back = Root::new("back", &[("run/systemd/resolve/netif/7", &set), NETWORKD, LEASE]);
        assert!(back.servers().is_empty(), "{server}");
    }
    let host = ("etc/systemd/resolved.conf.d/dnscrypt.conf", "[Resolve]\nDNS=127.0.0.1:53\nDomains=~.\n");
    assert!(Root::new("dnscrypt", &[host, NETWORKD]).servers().is_empty());
    let written = |text| ("etc/resolv.conf", text);
    assert!(Root::new("by-hand", &[written("nameserver 127.0.0.1\n"), LEASE]).servers().is_empty());
    assert_eq!(Root::new("stub", &[written("nameserver 127.0.0.53\n"), LEASE]).servers().len(), 1);
}

#[test]
fn what_is_to_be_secret_does_not_leave_as_plain_text() {
    const CONF: &str = "systemd/resolved.conf";
    let is_secret = |path: &str, text: &str| {
        Root::new(&format!("tls-{}", path.replace('/', "-")), &[RESOLVED, NETWORKD, (path, text)])
            .servers()
            .is_empty()
    };
    assert!(is_secret("run/systemd/resolve/netif/7", "DNSOVERTLS=yes\nSERVERS=192.0.2.1\n"));
    assert!(is_secret("run/systemd/netif/links/7", "DNS=192.0.2.3\nDNS_OVER_TLS=yes\n"), "networkd's word");
    for folder in ["etc", "run", "usr/local/lib", "usr/lib"] {
        assert!(is_secret(&format!("{folder}/{CONF}"), "[Resolve]\nDNSOverTLS=yes\n"), "{folder}");
        let more = format!("{folder}/{CONF}.d/tls.conf");
        assert!(is_secret(&more, "[Resolve]\nDNSOverTLS = yes\n"), "{folder}");
        assert!(!is_secret(&format!("{more}.old"), "[Resolve]\nDNSOverTLS=yes\n"), "{folder}");
    }
    let conf = format!("etc/{CONF}");
    for yes in ["1", "Yes", "y", "TRUE", "t", "on"] {
        assert!(is_secret(&conf, &format!("DNSOverTLS={yes}\n")), "{yes}");
    }
    assert!(!is_secret(&conf, "#DNSOverTLS=yes\nDNSOverTLS=opportunistic\n"));
    let masked = [
        RESOLVED,
        ("usr/lib/systemd/resolved.conf.d/tls.conf", "DNSOverTLS=yes\n"),
        ("etc/systemd/resolved.conf.d/tls.conf", ""),
    ];
    assert_eq!(Root::new("masked", &masked).servers().len(), 3);
}

#[test]
fn the_domains_of_a_link_are_those_that_its_servers_were_set_for() {
    let of = |test: &str, files: &[(&str, &str)]| {
        let root = Root::new(test, files);
        domains_below(&root.0, &Link { index: 7, ..eth("tun0", &[]) })
    };
    let resolved =
        ("run/systemd/resolve/netif/7", "SERVERS=10.0.0.53\nDOMAINS=~Corp.Example. lab.example ~.\n");
    assert_eq!(of("domains-resolved", &[resolved, NETWORKD]), ["corp.example", "lab.example"]);
    let text = "DNS=10.0.0.53\nDOMAINS=lab.example\nROUTE_DOMAINS=corp.example .\n";
    assert_eq!(
        of("domains-networkd", &[("run/systemd/netif/links/7", text)]),
        ["lab.example", "corp.example"]
    );
    let none = ("run/systemd/netif/links/7", "DNS=\nDOMAINS=lab.example\n");
    assert!(of("domains-none", &[none]).is_empty(), "nobody is asked there");
}

#[test]
fn of_two_files_the_one_written_last_is_believed() {
    let lease = |server: &str| format!("ADDRESS=192.168.1.7\nDNS={server}\n");
    let paths =
        ["var/lib/NetworkManager/internal-1-wlan0.lease", "var/lib/NetworkManager/internal-2-wlan0.lease"];
    let (one, two) = (lease("192.0.2.1"), lease("192.0.2.2"));
    for (newer, server) in [(0, "192.0.2.1:53"), (1, "192.0.2.2:53")] {
        let root = Root::new(&format!("newest-{newer}"), &[(paths[0], &one), (paths[1], &two)]);
        for (at, path) in paths.iter().enumerate() {
            let file = std::fs::File::options().write(true).open(root.0.join(path)).expect("ours");
            let hours = if at == newer { 1 } else { 2 };
            let then = SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
            file.set_modified(then).expect("ours");
        }
        assert_eq!(root.servers(), [server]);
    }
}

#[test]
fn a_lease_ends_at_the_second_that_it_says() {
    let path = "var/lib/NetworkManager/internal-0b1c-wlan0.lease";
    let root = Root::new("second", &[(path, "ADDRESS=192.168.1.7\nLIFETIME=3600\nDNS=192.0.2.6\n")]);
    let at = std::fs::metadata(root.0.join(path)).and_then(|file| file.modified()).expect("ours");
    let at = at.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let link = Link { index: 7, ..eth("wlan0", &["192.168.1.7/24"]) };
    let count = |after: u64| below(&root.0, &link, at + after).len();
    assert_eq!((count(3599), count(3600)), (1, 0));
}

#[test]
fn a_profile_without_an_id_is_nobodys() {
    let lease = ("var/lib/NetworkManager/internal-0b1c-wlan0.lease", "ADDRESS=192.168.1.7\nDNS=192.0.2.6\n");
    for (uuid, servers) in [("", 1), ("0b1c", 0), ("0b1d", 1)] {
        let profile = format!("[connection]\nuuid={uuid}\n[ipv4]\nignore-auto-dns=true\n");
        let profile = ("etc/NetworkManager/system-connections/Home.nmconnection", profile.as_str());
        assert_eq!(Root::new(&format!("id-{uuid}"), &[profile, lease]).servers().len(), servers, "{uuid:?}");
    }
}

#[test]
fn what_is_no_server_is_left_out_and_only_link_local_addresses_have_a_scope() {
    let told = "SERVERS=0.0.0.0 :: 224.0.0.251 ff02::fb garbage fec0::1 fe80::2 febf::3 [fe80::4%9]:5353 \
                [2001:db8::5]:54 192.0.2.6\n";
    let root = Root::new("servers", &[("run/systemd/resolve/netif/7", told)]);
    let expected = [
        "[fec0::1]:53",
        "[fe80::2%7]:53",
        "[febf::3%7]:53",
        "[fe80::4%7]:5353",
        "[2001:db8::5]:54",
        "192.0.2.6:53",
    ];
    assert_eq!(root.servers(), expected);
}
