//! What is asked for, and the numbers and names that are ours.

use crate::host::prefix::Prefix;
use std::net::{IpAddr, SocketAddr};

/// The protocol number of our rules (FRA_PROTOCOL) and routes (rtm_protocol), by which we know them
/// again. See `unwrap::routes::plan::TAG`, which is 229, for why it is free.
pub(crate) const TAG: u8 = 230;

/// The routing table of the client. Any number would do; iproute2 names none above 255.
pub(crate) const TABLE: u32 = 29304;

/// The first priority of the client's rules: after those of unwrap (293) and of VRFs (1000), before
/// those of VPN programs (from 5000 on) and of `main` (32766).
pub(crate) const PRIORITY: u32 = 2930;

/// The mark of the bond's own packets, unless told otherwise. It has none of the bits that
/// Kubernetes (0x4000, 0x8000) and Tailscale (0xff0000) take for theirs.
pub(crate) const MARK: u32 = 0x2930;

/// The client's table of nftables: the kill switch.
pub(crate) const CLIENT_FILTER: &str = "ropewalk_bond_client";

/// The server's table of nftables: NAT, and where clients may go.
pub(crate) const SERVER_FILTER: &str = "ropewalk_bond_server";

/// What a client wants of its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClientPlan {
    /// The name of its TUN device, which is there.
    pub(crate) tun: String,
    pub(crate) routes: Routes,
    pub(crate) dns: Dns,
    /// Nothing leaves but through the bond, even when it has crashed.
    pub(crate) kill_switch: bool,
    /// The mark of its own sockets (`Via::mark`), above 0.
    pub(crate) mark: u32,
    /// The interfaces that its own sockets are bound to, as far as they are there.
    pub(crate) uplinks: Vec<String>,
    /// Where its server is: remembered, since the next start may find no name server behind the
    /// kill switch.
    pub(crate) server: SocketAddr,
}

/// What goes through the bond.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Routes {
    /// Everything. Networks that `main` knows better than by a default route stay as they are.
    All,
    /// Nothing but what is sent to the tunnel's own network: no rule, no table.
    None,
    /// These. Networks that `main` knows by longer prefixes stay as they are.
    Prefixes(Vec<Prefix>),
}

/// Who answers for names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Dns {
    /// Whoever does now.
    Keep,
    /// These servers, through the bond.
    Servers(Vec<IpAddr>),
}

/// What a server wants of its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerPlan {
    /// The name of its TUN device, which is there.
    pub(crate) tun: String,
    /// Its inner addresses, each with the bits of the tunnel's network: at most one of each family.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// Packets of clients leave with this host's address. Without it nothing is changed at all.
    pub(crate) nat: bool,
    /// Clients reach private networks and those of this host.
    pub(crate) allow_private: bool,
    /// Clients reach each other.
    pub(crate) allow_client_to_client: bool,
}

/// Whether a device's name can stand in a filter. Linux allows more than nftables reads as a name.
pub(super) fn check_device(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 15 || !name.bytes().all(plain) || name == "." || name == ".." {
        return Err(format!(
            "expected the name of a TUN device, at most 15 letters, digits, dots, dashes and underscores, \
             got '{name}'"
        ));
    }
    Ok(())
}

impl ClientPlan {
    pub(super) fn check(&self) -> Result<(), String> {
        check_device(&self.tun)?;
        if self.kill_switch && self.routes == Routes::None {
            return Err(
                "--kill-switch holds what --route sends through the bond: expected --route all or prefixes \
                        with it, got --route none"
                    .into(),
            );
        }
        if let Routes::Prefixes(prefixes) = &self.routes
            && prefixes.len() > MAX_PREFIXES
        {
            return Err(format!("--route: expected at most {MAX_PREFIXES} prefixes, got {}", prefixes.len()));
        }
        Ok(())
    }
}

/// Two rules for each prefix fit between our first rule and the first of VPN programs.
pub(crate) const MAX_PREFIXES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_that_a_filter_would_misread_is_refused() {
        for good in ["rw0", "tun-a.b_c"] {
            assert_eq!(check_device(good), Ok(()));
        }
        for bad in ["", "a\"b", "tun*", "..", "a-name-of-16-byt", "a b", "a;b"] {
            assert!(check_device(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }
}
