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
        let Some((source, to)) = inner::source(packet).zip(inner::destination(packet)) else {
            return false;
        };
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
