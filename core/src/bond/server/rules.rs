//! Where a client's packets may come from and go to.

use crate::bond::config::ServerConfig;
use crate::bond::handshake::ClientId;
use crate::bond::inner;
use crate::scope;
use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// Where a client's packets may come from and go to.
pub(super) struct Rules<'a> {
    pub(super) config: &'a ServerConfig,
    pub(super) routes: &'a BTreeMap<IpAddr, ClientId>,
    pub(super) addresses: &'a [IpAddr],
}

impl Rules<'_> {
    pub(super) fn allow(&self, packet: &[u8]) -> bool {
        let Some((source, to)) = inner::ends(packet) else { return false };
        if !self.addresses.contains(&source) {
            return false;
        }
        let to = to.to_canonical();
        if self.config.addresses.iter().any(|(ours, _)| *ours == to) {
            return true;
        }
        // The whole tunnel network is the clients', whoever has an address of it now.
        let inside = self.routes.contains_key(&to)
            || self.config.addresses.iter().any(|(ours, prefix)| same_network(*ours, to, *prefix));
        if inside {
            return self.config.allow_client_to_client;
        }
        self.config.allow_private || !scope::private(to)
    }
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32u32.saturating_sub(prefix.into());
            a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128u32.saturating_sub(prefix.into());
            a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::config::Common;
    use crate::bond::crypto::{CipherOrder, Rng, SecretKey};
    use crate::bond::{DEFAULT_MTU, Tuning};
    use crate::machine::{ListenerId, TunId};
    use alloc::vec;
    use alloc::vec::Vec;

    fn config() -> ServerConfig {
        let common = Common {
            tun: TunId(0),
            offload: false,
            mtu: DEFAULT_MTU,
            key: SecretKey::generate(&mut Rng::new([1; 32])),
            ciphers: CipherOrder::fast_aes(),
            tuning: Tuning::default(),
        };
        let addresses = vec![(address("10.77.0.1"), 24), (address("fd77::1"), 64)];
        ServerConfig {
            common,
            listener: ListenerId(0),
            addresses,
            clients: Vec::new(),
            max_clients: 4,
            allow_client_to_client: false,
            allow_private: false,
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("literal")
    }

    /// Whether the client with 10.77.0.2 and fd77::2 may send a packet from one address to another.
    fn allows(config: &ServerConfig, from: &str, to: &str) -> bool {
        let packet = match (address(from), address(to)) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0];
                packet.extend(from.octets().into_iter().chain(to.octets()));
                packet
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut packet = vec![0x60, 0, 0, 0, 0, 0, 59, 64];
                packet.extend(from.octets().into_iter().chain(to.octets()));
                packet
            }
            _ => unreachable!("both of one family"),
        };
        let routes = [("10.77.0.2", 0), ("fd77::2", 0), ("10.77.0.3", 1), ("203.0.113.9", 2)];
        let routes = routes.map(|(text, id)| (address(text), ClientId(id))).into();
        let own = [address("10.77.0.2"), address("fd77::2")];
        Rules { config, routes: &routes, addresses: &own }.allow(&packet)
    }

    #[test]
    fn a_client_has_its_own_source_and_no_other() {
        let config = config();
        assert!(allows(&config, "10.77.0.2", "1.1.1.1") && allows(&config, "fd77::2", "2606:4700::1111"));
        for foreign in ["10.77.0.3", "10.77.0.1", "8.8.8.8", "127.0.0.1", "0.0.0.0", "255.255.255.255"] {
            assert!(!allows(&config, foreign, "1.1.1.1"), "from {foreign}");
        }
        for foreign in ["fd77::3", "fd77::1", "::1", "::", "::ffff:10.77.0.2"] {
            assert!(!allows(&config, foreign, "2606:4700::1111"), "from {foreign}");
        }
    }

    #[test]
    fn a_client_reaches_neither_others_nor_private_networks_unless_it_may() {
        let mut config = config();
        let others = ["10.77.0.3", "10.77.0.200", "203.0.113.9"];
        let private = [
            "192.168.1.1",
            "172.16.0.1",
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
        ];
        let reach = |config: &ServerConfig, to: &[&str]| -> Vec<bool> {
            to.iter().map(|to| allows(config, "10.77.0.2", to)).collect()
        };
        assert!(allows(&config, "10.77.0.2", "10.77.0.1"), "the server's own inner address");
        assert_eq!(reach(&config, &others), [false; 3]);
        assert_eq!(reach(&config, &private), [false; 7]);
        assert!(!allows(&config, "fd77::2", "::1") && !allows(&config, "fd77::2", "fe80::1"));
        assert!(!allows(&config, "fd77::2", "::ffff:127.0.0.1"), "a mapped address is that of IPv4");
        config.allow_client_to_client = true;
        assert_eq!(reach(&config, &others), [true; 3]);
        assert_eq!(reach(&config, &private), [false; 7]);
        config.allow_private = true;
        assert_eq!(reach(&config, &private), [true; 7]);
    }
}
