//! Firewalls of others that let no client through: chains of nftables with the policy `drop` that
//! do not know the server's device, or its port. A filter of ours cannot open them.

use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;

/// What a chain drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hook {
    /// What comes to this host.
    Input,
    /// What is forwarded.
    Forward,
}

/// A chain of nftables, such as `ip filter FORWARD`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: Hook,
}

/// Chains that drop what a server needs where no rule of theirs lets it pass, as sentences that end
/// in `: ` and the commands that open them. Docker and ufw make such. Forwarded packets count for a
/// server whose clients leave by NAT; `tun` is its device, and it is reached at `listen`.
///
/// # Errors
/// A sentence.
pub(crate) fn closed(tun: &str, listen: SocketAddr) -> Result<Vec<String>, String> {
    let nft = super::world::nft()?;
    let list = |args: &[&str]| {
        let output = Command::new(&nft).args(args).output();
        let output = output.map_err(|error| format!("{}: {error}", nft.display()))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!("{}: {}", nft.display(), String::from_utf8_lossy(&output.stderr).trim())),
        }
    };
    let all = list(&["-j", "list", "chains"])?;
    let all = serde_json::from_slice(&all).map_err(|error| format!("nft list chains: {error}"))?;
    let mut closed = dropping(&all);
    closed.retain(|chain| {
        let Chain { family, table, name, hook } = chain;
        let text = |args: &[&str]| String::from_utf8_lossy(&list(args).unwrap_or_default()).into_owned();
        match hook {
            Hook::Forward => !text(&["list", "chain", family, table, name]).contains(&format!("\"{tun}\"")),
            // Rules of other chains, to which this one jumps, may open the port.
            Hook::Input => {
                filters(family, listen)
                    && !names(&text(&["-n", "list", "table", family, table]), listen.port())
            }
        }
    });
    Ok(closed.iter().map(|chain| chain.told(tun, listen.port())).collect())
}

/// Whether a chain of this family sees what comes to this address.
fn filters(family: &str, listen: SocketAddr) -> bool {
    match family {
        "ip" => listen.is_ipv4(),
        "ip6" => listen.is_ipv6(),
        _ => true,
    }
}

/// Whether rules name this port.
fn names(rules: &str, port: u16) -> bool {
    let port = port.to_string();
    rules.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == port)
}

impl Chain {
    /// What it drops, and how it is opened.
    fn told(&self, tun: &str, port: u16) -> String {
        let Chain { family, table, name, hook } = self;
        let iptables = match (family.as_str(), table.as_str()) {
            ("ip", "filter") => Some("iptables"),
            ("ip6", "filter") => Some("ip6tables"),
            _ => None,
        };
        let nft = format!("nft insert rule {family} {table} {name}");
        match (hook, iptables) {
            (Hook::Forward, tables) => {
                let cure = match tables {
                    Some(tables) => {
                        format!(
                            "{tables} -I {name} -i {tun} -j ACCEPT; {tables} -I {name} -o {tun} -j ACCEPT"
                        )
                    }
                    None => format!("{nft} iifname {tun} accept; {nft} oifname {tun} accept"),
                };
                format!("{family} {table} {name} drops what is forwarded and does not know {tun}: {cure}")
            }
            (Hook::Input, tables) => {
                let cure = match tables {
                    Some(tables) => format!("{tables} -I {name} -p udp --dport {port} -j ACCEPT"),
                    None => format!("{nft} udp dport {port} accept"),
                };
                format!("{family} {table} {name} drops what comes in and does not know port {port}: {cure}")
            }
        }
    }
}

/// Of what `nft -j list chains` says: those at the hooks `forward` and `input` with the policy
/// `drop`.
fn dropping(all: &Value) -> Vec<Chain> {
    let chains = all["nftables"].as_array().map_or(&[][..], Vec::as_slice).iter().map(|one| &one["chain"]);
    let text = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    let drops = chains.filter(|chain| chain["policy"] == "drop").filter_map(|chain| {
        let hook = match chain["hook"].as_str()? {
            "forward" => Hook::Forward,
            "input" => Hook::Input,
            _ => return None,
        };
        let (family, table, name) = (text(chain, "family"), text(chain, "table"), text(chain, "name"));
        Some(Chain { family, table, name, hook })
    });
    drops.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_drop_by_policy_are_found_and_no_others() {
        // As nft 1.0.6 writes it.
        let all = serde_json::json!({ "nftables": [
            { "metainfo": { "version": "1.0.6", "json_schema_version": 1 } },
            { "chain": { "family": "ip", "table": "filter", "name": "FORWARD", "handle": 3, "type": "filter",
                         "hook": "forward", "prio": 0, "policy": "drop" } },
            { "chain": { "family": "ip", "table": "filter", "name": "INPUT", "handle": 1, "type": "filter",
                         "hook": "input", "prio": 0, "policy": "drop" } },
            { "chain": { "family": "ip", "table": "filter", "name": "OUTPUT", "handle": 5, "type": "filter",
                         "hook": "output", "prio": 0, "policy": "drop" } },
            { "chain": { "family": "inet", "table": "ropewalk_bond_server", "name": "forward", "handle": 2,
                         "type": "filter", "hook": "forward", "prio": 0, "policy": "accept" } },
            { "chain": { "family": "ip", "table": "filter", "name": "DOCKER-USER", "handle": 7 } },
        ] });
        let told: Vec<String> = dropping(&all).iter().map(|chain| chain.told("rw0", 4500)).collect();
        assert_eq!(
            told,
            [
                "ip filter FORWARD drops what is forwarded and does not know rw0: iptables -I FORWARD -i rw0 -j ACCEPT; \
                 iptables -I FORWARD -o rw0 -j ACCEPT",
                "ip filter INPUT drops what comes in and does not know port 4500: iptables -I INPUT -p udp --dport 4500 \
                 -j ACCEPT",
            ]
        );
        assert_eq!(dropping(&Value::Null), []);
    }

    #[test]
    fn a_port_is_known_by_itself_in_a_set_and_not_by_another_number() {
        for rules in ["udp dport 4500 accept", "udp dport { 500, 4500 } accept", "dport {53,4500}"] {
            assert!(names(rules, 4500), "{rules}");
        }
        for rules in ["tcp dport 22 accept", "udp dport 45000 accept", "udp dport 14500 accept", ""] {
            assert!(!names(rules, 4500), "{rules}");
        }
        let (v4, v6) = ("0.0.0.0:4500".parse().expect("a literal"), "[::]:4500".parse().expect("a literal"));
        assert!(filters("ip", v4) && filters("inet", v6) && !filters("ip6", v4) && !filters("ip", v6));
    }
}
