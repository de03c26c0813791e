//! The texts for `nft -f -`. Each replaces a table of ours in one transaction (nft(8)): there is no
//! instant with half of it, and nothing of others is read or touched.

use super::plan::{CLIENT_FILTER, SERVER_FILTER};
use crate::host::prefix::Prefix;
use std::fmt::{Display, Write as _};
use std::net::IpAddr;

/// What a LAN may be. A network that claims to be on-link with other addresses than these (a rogue
/// access point, or DHCP option 121, RFC 3442) draws nothing past the kill switch.
///
/// RFC 1918, RFC 3927; multicast that routers do not forward or that stays in the site (RFC 5771
/// section 4, RFC 2365 section 6); broadcast.
const LAN_V4: &str = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, 224.0.0.0/24, \
                      239.0.0.0/8, 255.255.255.255";
/// RFC 4193, RFC 4291 section 2.5.6; multicast of interface, link and site (RFC 7346).
const LAN_V6: &str = "fc00::/7, fe80::/10, ff01::/16, ff02::/16, ff05::/16";

/// What clients of a server do not reach, of IPv4: `core::scope` has the reasons. It drops them
/// first; this holds if that fails.
const PRIVATE_V4: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, \
                          172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";
/// The same, of IPv6.
const PRIVATE_V6: &str = "::/96, 64:ff9b:1::/48, 2001::/32, fc00::/7, fe80::/10, fec0::/10, ff00::/8";

/// What the kill switch lets out.
pub(super) struct KillSwitch<'a> {
    pub(super) tun: &'a str,
    pub(super) mark: u32,
    /// Holds these alone; `None` holds everything.
    pub(super) prefixes: Option<&'a [Prefix]>,
}

/// The text that puts the kill switch in the place of the one before.
///
/// It stands behind all else that chooses a packet's way (postrouting), so it holds what this host
/// sends and what it forwards (containers, virtual machines).
pub(super) fn kill_switch(what: &KillSwitch) -> String {
    let KillSwitch { tun, mark, prefixes } = what;
    let mut rules = String::new();
    let mut rule = |text: &dyn Display| {
        let _ = writeln!(rules, "    {text}");
    };
    rule(&format_args!("meta mark {mark} accept comment \"the bond itself\""));
    rule(&format_args!("oifname {{ \"lo\", \"{tun}\" }} accept"));
    rule(&"udp sport 68 udp dport 67 accept comment \"DHCP\"");
    rule(&"ip6 daddr { fe80::/10, ff02::/16 } udp sport 546 udp dport 547 accept comment \"DHCPv6\"");
    rule(
        &"ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
    );
    let policy = match prefixes {
        None => {
            rule(&"meta l4proto { tcp, udp } th dport { 53, 853 } drop comment \"names\"");
            rule(&format_args!("ip daddr {{ {LAN_V4} }} accept"));
            rule(&format_args!("ip6 daddr {{ {LAN_V6} }} accept"));
            "drop"
        }
        Some(prefixes) => {
            for prefix in *prefixes {
                rule(&format_args!("{} drop", to(*prefix)));
            }
            "accept"
        }
    };
    replace(
        CLIENT_FILTER,
        &format!(
            "  chain leave {{\n    type filter hook postrouting priority 300; policy {policy};\n{rules}  }}\n"
        ),
    )
}

/// What a server's filter needs to know.
pub(super) struct Gateway<'a> {
    pub(super) tun: &'a str,
    /// Its inner addresses, with the bits of the tunnel's network.
    pub(super) addresses: &'a [(IpAddr, u8)],
    /// The networks of this host, which are closed to clients beside all private ones; `None`:
    /// nothing is closed.
    pub(super) closed: Option<&'a [Prefix]>,
    pub(super) allow_client_to_client: bool,
}

/// The text that puts the server's table in the place of the one before.
pub(super) fn gateway(what: &Gateway) -> String {
    let Gateway { tun, addresses, closed, allow_client_to_client } = what;
    let networks: Vec<Prefix> =
        addresses.iter().map(|(ip, bits)| crate::host::prefix::network(*ip, *bits)).collect();
    let (mut clients, mut input, mut nat) = (String::new(), String::new(), String::new());
    for (v6, word) in [(false, "ip"), (true, "ip6")] {
        let own: Vec<String> = networks
            .iter()
            .filter(|(ip, _)| ip.is_ipv6() == v6)
            .map(|(ip, bits)| format!("{ip}/{bits}"))
            .collect();
        let family = if v6 { "ipv6" } else { "ipv4" };
        if own.is_empty() {
            let _ = writeln!(clients, "    meta nfproto {family} drop");
            continue;
        }
        let own = own.join(", ");
        let _ = writeln!(clients, "    {word} saddr != {{ {own} }} drop");
        let _ = writeln!(nat, "    {word} saddr {{ {own} }} oifname != \"{tun}\" masquerade");
    }
    if !allow_client_to_client {
        let _ = writeln!(clients, "    oifname \"{tun}\" drop");
    } else {
        let _ = writeln!(clients, "    oifname \"{tun}\" accept");
    }
    if let Some(closed) = closed {
        let _ = writeln!(clients, "    ip daddr {{ {PRIVATE_V4} }} drop");
        let _ = writeln!(clients, "    ip6 daddr {{ {PRIVATE_V6} }} drop");
        for prefix in *closed {
            let _ = writeln!(clients, "    {} drop", to(*prefix));
        }
        // This host by its inner address, and nothing else of it.
        for (v6, word) in [(false, "ip"), (true, "ip6")] {
            let own: Vec<String> =
                addresses.iter().filter(|(ip, _)| ip.is_ipv6() == v6).map(|(ip, _)| ip.to_string()).collect();
            let link = if v6 { ["fe80::/10", "ff02::/16"].map(String::from).to_vec() } else { Vec::new() };
            let all = [own, link].concat();
            let _ = match all.is_empty() {
                true => writeln!(input, "    iifname \"{tun}\" meta nfproto ipv4 drop"),
                false => {
                    writeln!(input, "    iifname \"{tun}\" {word} daddr != {{ {} }} drop", all.join(", "))
                }
            };
        }
    }
    let body = format!(
        "  chain clients {{\n{clients}  }}\n\
        \x20 chain forward {{\n    type filter hook forward priority 0; policy accept;\n\
        \x20   iifname \"{tun}\" jump clients\n\
        \x20   iifname != \"{tun}\" oifname \"{tun}\" ct state != {{ established, related }} drop\n  }}\n\
        \x20 chain input {{\n    type filter hook input priority 0; policy accept;\n{input}  }}\n\
        \x20 chain leave {{\n    type nat hook postrouting priority 100; policy accept;\n{nat}  }}\n"
    );
    replace(SERVER_FILTER, &body)
}

/// The text that takes a table of ours away, if it is there.
pub(super) fn remove(table: &str) -> String {
    // `delete` alone is an error where there is none.
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// The same filter, and an error where somebody has made its table meanwhile.
pub(super) fn create(table: &str, text: &str) -> String {
    format!("create table inet {table}\n{text}")
}

/// Whether a table of nftables is one of ours.
pub(super) fn is_ours(table: &str) -> bool {
    [CLIENT_FILTER, SERVER_FILTER].contains(&table)
}

fn replace(table: &str, body: &str) -> String {
    format!("{}table inet {table} {{\n{body}}}\n", remove(table))
}

/// What matches packets to this prefix.
fn to((ip, bits): Prefix) -> String {
    let word = if ip.is_ipv6() { "ip6" } else { "ip" };
    match bits {
        // nftables takes no prefix of length 0.
        0 => format!("meta nfproto {}", if ip.is_ipv6() { "ipv6" } else { "ipv4" }),
        bits => format!("{word} daddr {ip}/{bits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::ip;

    fn lines(text: &str) -> Vec<&str> {
        text.lines().map(str::trim).collect()
    }

    #[test]
    fn the_kill_switch_lets_out_the_bond_the_lan_and_what_gets_an_address() {
        let text = kill_switch(&KillSwitch { tun: "rw0", mark: 7, prefixes: None });
        let lines = lines(&text);
        assert_eq!(
            lines[..3],
            [
                "add table inet ropewalk_bond_client",
                "delete table inet ropewalk_bond_client",
                "table inet ropewalk_bond_client {",
            ]
        );
        assert!(lines.contains(&"type filter hook postrouting priority 300; policy drop;"));
        assert!(lines.contains(&"meta mark 7 accept comment \"the bond itself\""));
        let at = |part: &str| lines.iter().position(|line| line.contains(part)).expect(part);
        assert!(at("dport { 53, 853 }") < at("192.168.0.0/16"), "names do not go to the LAN");
        assert!(at("oifname { \"lo\", \"rw0\" }") < at("dport { 53, 853 }"), "names go through the bond");
    }

    #[test]
    fn with_named_prefixes_it_holds_these_alone() {
        let prefixes = [(ip("10.0.0.0"), 8), (ip("::"), 0)];
        let text = kill_switch(&KillSwitch { tun: "rw0", mark: 7, prefixes: Some(&prefixes) });
        let lines = lines(&text);
        assert!(lines.contains(&"type filter hook postrouting priority 300; policy accept;"));
        assert!(lines.contains(&"ip daddr 10.0.0.0/8 drop") && lines.contains(&"meta nfproto ipv6 drop"));
        assert!(!text.contains("192.168"), "{text}");
    }

    fn server(closed: Option<&[Prefix]>, allow_client_to_client: bool) -> String {
        let addresses = [(ip("10.77.0.1"), 24), (ip("fd77::1"), 64)];
        gateway(&Gateway { tun: "rw1", addresses: &addresses, closed, allow_client_to_client })
    }

    #[test]
    fn a_server_hides_its_clients_and_closes_what_is_private() {
        let text = server(Some(&[(ip("203.0.113.0"), 24)]), false);
        for line in [
            "ip saddr != { 10.77.0.0/24 } drop",
            "ip6 saddr != { fd77::/64 } drop",
            "oifname \"rw1\" drop",
            "ip daddr 203.0.113.0/24 drop",
            "iifname \"rw1\" ip daddr != { 10.77.0.1 } drop",
            "ip saddr { 10.77.0.0/24 } oifname != \"rw1\" masquerade",
            "ip6 saddr { fd77::/64 } oifname != \"rw1\" masquerade",
        ] {
            assert!(lines(&text).contains(&line), "{line}: {text}");
        }
        assert!(text.contains("168.63.129.16") && text.contains("169.254.0.0/16"));
    }

    #[test]
    fn what_is_allowed_is_open_in_the_kernel_too() {
        let text = server(None, true);
        assert!(
            !text.contains("168.63.129.16")
                && !text.contains("hook input priority 0; policy accept;\n    iif")
        );
        assert!(lines(&text).contains(&"oifname \"rw1\" accept"));
    }

    #[test]
    fn a_family_that_is_not_inside_does_not_leave() {
        let addresses = [(ip("10.77.0.1"), 24)];
        let text = gateway(&Gateway {
            tun: "rw1",
            addresses: &addresses,
            closed: None,
            allow_client_to_client: false,
        });
        assert!(lines(&text).contains(&"meta nfproto ipv6 drop"), "{text}");
        assert!(!text.contains("ip6 saddr"), "{text}");
    }
}
