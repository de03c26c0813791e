//! How many connections each client has.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};

/// The clients that have connections, and how many each has open.
#[derive(Debug, Default)]
pub(super) struct Clients(BTreeMap<IpAddr, usize>);

impl Clients {
    pub(super) fn count(&self, client: IpAddr) -> usize {
        self.0.get(&client).copied().unwrap_or(0)
    }

    pub(super) fn come(&mut self, client: IpAddr) {
        *self.0.entry(client).or_default() += 1;
    }

    pub(super) fn go(&mut self, client: IpAddr) {
        if let Some(count) = self.0.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&client);
            }
        }
    }
}

/// The client that an address stands for: an IPv6 client has a network of 64 bits to itself.
pub(super) fn whose(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_leaves_nothing_behind() {
        let mut clients = Clients::default();
        let ip = |text: &str| whose(text.parse().expect("literal"));
        for client in ["2001:db8::1", "2001:db8::2", "192.0.2.1", "::ffff:192.0.2.1"] {
            clients.come(ip(client));
        }
        assert_eq!((clients.count(ip("2001:db8::3")), clients.count(ip("192.0.2.1"))), (2, 2));
        assert_eq!(clients.count(ip("2001:db8:0:1::1")), 0);
        for client in ["2001:db8::9", "192.0.2.1", "2001:db8::9", "192.0.2.1", "192.0.2.1"] {
            clients.go(ip(client));
        }
        assert!(clients.0.is_empty());
    }
}
