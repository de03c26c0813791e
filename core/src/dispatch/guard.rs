//! Where a client may not go, judged on the resolved address.
//!
//! A client on this very host may go anywhere but back into the proxy. A client from elsewhere must
//! not use the proxy as a door to this host, to private networks or to a cloud's metadata service.
//! (A network of public addresses behind this host is public to its clients too.)

use super::config::Config;
use crate::machine::Fault;
use crate::machine::event::Refusal;
use crate::scope::{self, private};
use core::net::{IpAddr, SocketAddr};

/// Whether `client` may go to `to`.
pub(super) fn check(config: &Config, client: IpAddr, to: SocketAddr) -> Result<(), Refusal> {
    let ip = to.ip().to_canonical();
    if is_itself(config, to) {
        return Err(Refusal::Itself(to));
    }
    if client.to_canonical().is_loopback() {
        return Ok(());
    }
    // The figures of this process are for this host, whatever else is allowed.
    let figures = config.private_endpoints.iter().any(|endpoint| leads_to(config, to, *endpoint));
    if !figures && (config.allow_private || !(is_here(config, ip) || private(ip))) {
        return Ok(());
    }
    Err(Refusal::NotAllowed(to))
}

/// The same, for what cannot be reached at all too.
pub(super) fn allowed(config: &Config, client: IpAddr, to: SocketAddr) -> Result<(), Refusal> {
    check(config, client, to)?;
    // Nobody can listen on port 0; a connect to it may be refused or hang, by system.
    if to.port() == 0 {
        return Err(Refusal::Unreachable(Fault::Refused));
    }
    Ok(())
}

/// Whether `to` is one of the proxy's own listeners.
pub(super) fn is_itself(config: &Config, to: SocketAddr) -> bool {
    config.listeners.iter().any(|listener| leads_to(config, to, *listener))
}

fn is_here(config: &Config, ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || config.local_addresses.contains(&ip)
}

/// Whether a connection to `to` would come in on a socket of ours that listens on `listener`.
fn leads_to(config: &Config, to: SocketAddr, listener: SocketAddr) -> bool {
    let ip = to.ip().to_canonical();
    // The system takes 0.0.0.0 and [::] for loopback, where `listener` may be.
    let unspecified = ip.is_unspecified() && to.port() == listener.port();
    unspecified || scope::leads_to(to, listener, is_here(config, ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn config() -> Config {
        Config {
            listeners: vec!["0.0.0.0:8080".parse().expect("literal"), "[::1]:8081".parse().expect("literal")],
            local_addresses: vec!["203.0.113.9".parse().expect("literal")],
            ..Config::default()
        }
    }

    fn verdict(client: &str, to: &str) -> Result<(), Refusal> {
        check(&config(), client.parse().expect("literal"), to.parse().expect("literal"))
    }

    #[test]
    fn a_client_from_elsewhere_gets_no_door_into_this_host_or_its_networks() {
        for to in [
            "127.0.0.1:22",
            "[::ffff:127.0.0.1]:22",
            "0.0.0.0:22",
            "[::]:22",
            "[::1]:22",
            "169.254.169.254:80",
            "10.1.2.3:80",
            "172.31.0.1:80",
            "192.168.1.1:80",
            "100.64.0.1:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "[64:ff9b::a00:1]:80",
            "[2002:a00:1::1]:80",
            "[::10.0.0.1]:80",
            "168.63.129.16:80",
            "192.0.0.192:80",
            "198.19.0.1:80",
            "[64:ff9b:1::7f00:1]:80",
            "[2001:0:1::1]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "203.0.113.9:22",
        ] {
            assert!(matches!(verdict("198.51.100.7", to), Err(Refusal::NotAllowed(_))), "{to}");
            assert_eq!(verdict("127.0.0.1", to), Ok(()), "{to}");
            assert_eq!(verdict("::ffff:127.0.0.1", to), Ok(()), "{to}");
        }
        for to in ["192.0.2.1:80", "[2001:db8::1]:443", "[64:ff9b::c000:201]:80", "172.32.0.1:80"] {
            assert_eq!(verdict("198.51.100.7", to), Ok(()), "{to}");
        }
        let open = Config { allow_private: true, ..config() };
        let client = "198.51.100.7".parse().expect("literal");
        assert_eq!(check(&open, client, "10.1.2.3:80".parse().expect("literal")), Ok(()));
    }

    /// Ranges that are refused to clients from elsewhere, first and last address of each, with a
    /// public address beside the range where there is one.
    #[test]
    fn ranges_begin_and_end_where_their_registries_say() {
        for (first, last, before, behind) in [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("::", "::ffff:ffff", None, Some("0:0:0:0:0:1::")),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("fbff::"), Some("fe00::")),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("fe7f::"), None),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("64:ff9b::a00:0", "64:ff9b::aff:ffff", Some("64:ff9b::9ff:ffff"), Some("64:ff9b::b00:0")),
            (
                "64:ff9b:1::",
                "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                Some("64:ff9b:0:ffff::"),
                Some("64:ff9b:2::"),
            ),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000:ffff::"), Some("2001:1::")),
            (
                "2002:a00::",
                "2002:aff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2002:9ff:ffff::"),
                Some("2002:b00::"),
            ),
            ("2002:7f00::", "2002:7fff:ffff::", Some("2002:7eff:ffff::"), Some("2002:8000::")),
        ] {
            let at = |ip: &str| SocketAddr::new(ip.parse().expect("literal"), 80).to_string();
            for ip in [first, last] {
                let refused = Err(Refusal::NotAllowed(at(ip).parse().expect("printed")));
                assert_eq!(verdict("198.51.100.7", &at(ip)), refused, "{ip}");
            }
            for ip in [before, behind].into_iter().flatten() {
                assert_eq!(verdict("198.51.100.7", &at(ip)), Ok(()), "{ip}");
            }
        }
    }

    /// A listener, a destination, and whether the one leads to the other. This host is 203.0.113.9
    /// and 2001:db8::9.
    #[test]
    fn a_listener_is_reached_by_the_addresses_it_takes_and_by_no_other() {
        for (listener, to, itself) in [
            ("0.0.0.0:1", "203.0.113.9:1", true),
            ("0.0.0.0:1", "127.0.0.9:1", true),
            ("0.0.0.0:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "203.0.113.9:2", false),
            ("0.0.0.0:1", "203.0.113.8:1", false),
            ("0.0.0.0:1", "[2001:db8::9]:1", false),
            ("0.0.0.0:1", "[::1]:1", false),
            ("0.0.0.0:1", "[::ffff:203.0.113.9]:1", true),
            ("[::]:1", "[2001:db8::9]:1", true),
            ("[::]:1", "[::1]:1", true),
            ("[::]:1", "[::]:1", true),
            ("[::]:1", "203.0.113.9:1", false),
            ("[::]:1", "127.0.0.1:1", false),
            ("[::]:1", "[2001:db8::8]:1", false),
            ("203.0.113.9:1", "203.0.113.9:1", true),
            ("203.0.113.9:1", "127.0.0.1:1", false),
            ("203.0.113.9:1", "0.0.0.0:1", true),
            ("[2001:db8::9]:1", "[2001:db8::9]:1", true),
            ("[2001:db8::9]:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
        ] {
            let config = Config {
                listeners: vec![listener.parse().expect("literal")],
                local_addresses: ["203.0.113.9", "2001:db8::9"].map(|ip| ip.parse().expect("literal")).into(),
                ..Config::default()
            };
            let to: SocketAddr = to.parse().expect("literal");
            let verdict = check(&config, "127.0.0.1".parse().expect("literal"), to);
            assert_eq!(verdict.is_err(), itself, "{listener} {to}");
            // A client from elsewhere reaches no address of this host, whatever listens there.
            let far = check(&config, "198.51.100.7".parse().expect("literal"), to);
            let here = is_here(&config, to.ip().to_canonical());
            assert_eq!(far.is_err(), here || itself, "{listener} {to}");
        }
    }

    #[test]
    fn figures_are_for_this_host_though_private_destinations_are_open() {
        let config = Config {
            private_endpoints: vec!["127.0.0.1:9090".parse().expect("literal")],
            allow_private: true,
            ..config()
        };
        let verdict = |client: &str, to: &str| {
            check(&config, client.parse().expect("literal"), to.parse().expect("literal"))
        };
        for to in ["127.0.0.1:9090", "0.0.0.0:9090", "[::ffff:127.0.0.1]:9090", "[::]:9090"] {
            assert!(matches!(verdict("198.51.100.7", to), Err(Refusal::NotAllowed(_))), "{to}");
            assert_eq!(verdict("127.0.0.1", to), Ok(()), "{to}");
        }
        assert_eq!(verdict("198.51.100.7", "127.0.0.1:9091"), Ok(()));
    }

    #[test]
    fn nobody_reaches_the_proxy_through_itself() {
        for to in [
            "127.0.0.1:8080",
            "127.0.0.9:8080",
            "0.0.0.0:8080",
            "203.0.113.9:8080",
            "[::1]:8081",
            "[::]:8081",
        ] {
            assert!(matches!(verdict("127.0.0.1", to), Err(Refusal::Itself(_))), "{to}");
        }
        assert_eq!(verdict("127.0.0.1", "192.0.2.1:8080"), Ok(()));
        assert_eq!(verdict("127.0.0.1", "127.0.0.1:8081"), Ok(()));
    }
}
