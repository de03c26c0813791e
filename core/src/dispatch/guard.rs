//! Where a client may not go, judged on the resolved address.
//!
//! A client on this very host may go anywhere but back into the proxy. A client from elsewhere must not use
//! the proxy as a door to this host, to private networks or to a cloud's metadata service. (A network of public
//! addresses behind this host is public to its clients too.)

use super::config::Config;
use crate::machine::event::Refusal;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whether `client` may go to `to`.
pub(super) fn check(config: &Config, client: IpAddr, to: SocketAddr) -> Result<(), Refusal> {
    let ip = to.ip().to_canonical();
    let here = ip.is_loopback() || ip.is_unspecified() || config.local_addresses.contains(&ip);
    let itself = |listener: &SocketAddr| {
        let own = listener.ip().to_canonical();
        // A listener on [::] takes IPv6 only.
        let any = own.is_unspecified() && own.is_ipv4() == ip.is_ipv4();
        listener.port() == to.port() && (own == ip || (here && (any || ip.is_unspecified())))
    };
    if config.listeners.iter().any(itself) {
        return Err(Refusal::Itself(to));
    }
    if client.to_canonical().is_loopback() || config.allow_private || !(here || private(ip)) {
        return Ok(());
    }
    Err(Refusal::NotAllowed(to))
}

/// Addresses that mean another thing on each network.
fn private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            // RFC 6052 section 2.1: the last 32 bits of 64:ff9b::/96 are an IPv4 address; RFC 3056: so are
            // bits 16 to 47 of 2002::/16.
            let low = Ipv4Addr::from_bits(v6.to_bits() as u32);
            let high = Ipv4Addr::from_bits((v6.to_bits() >> 80) as u32);
            (segments[0] & 0xfe00) == 0xfc00
                || (segments[0] & 0xffc0) == 0xfe80
                || (segments[0] & 0xffc0) == 0xfec0
                || v6.is_multicast()
                || v6.is_loopback()
                || v6.is_unspecified()
                || (segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && private_v4(low))
                || (segments[..6] == [0; 6])
                // RFC 8215: translation prefixes of the local network; RFC 4380: Teredo, which hides an IPv4 address.
                || segments[..3] == [0x64, 0xff9b, 1]
                || segments[..2] == [0x2001, 0]
                || (segments[0] == 0x2002 && private_v4(high))
        }
    }
}

fn private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || a == 0
        || a >= 240
        || (a == 100 && (b & 0xc0) == 64)
        // RFC 6890: special purpose (one cloud's metadata is at 192.0.0.192), and benchmarks.
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b & 0xfe) == 18)
        // Another cloud's host services, at a public address.
        || v4.octets() == [168, 63, 129, 16]
}

#[cfg(test)]
mod tests {
    use super::*;
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
