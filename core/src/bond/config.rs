//! The configuration of the two ends of a bond.

use super::Tuning;
use super::crypto::{CipherOrder, PresharedKey, PublicKey, SecretKey};
use super::wire::{ConfigEntry, MAX_PATHS, OVERHEAD, Purpose};
use crate::machine::{ListenerId, TunId, UplinkId, Via};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// The least MTU inside (RFC 8200 section 5: IPv6 needs it).
pub(super) const MIN_MTU: u16 = 1280;

/// What a path of 1500 bytes leaves for an inner packet over IPv4: 20 + 8 of IP and UDP, 36 of our
/// own.
pub const DEFAULT_MTU: u16 = 1500 - 28 - OVERHEAD as u16;

/// One way of the client to the server.
#[derive(Clone, Copy, Debug)]
pub struct Uplink {
    /// Its id, by which the driver reports that it is gone or back.
    pub id: UplinkId,
    /// How to leave by it.
    pub via: Via,
    /// Its share in `weighted` mode, 1 to 65,535.
    pub weight: u16,
}

/// What both ends have.
#[derive(Clone, Debug)]
pub struct Common {
    /// The TUN device.
    pub tun: TunId,
    /// The device takes and gives superpackets and leaves sums to us.
    pub offload: bool,
    /// The largest packet inside, in bytes: 1280 to 65,535. Default [`DEFAULT_MTU`].
    pub mtu: u16,
    /// This side's own key.
    pub key: SecretKey,
    /// Which ciphers it has, the preferred one first.
    pub ciphers: CipherOrder,
    /// What can be tuned.
    pub tuning: Tuning,
}

/// A client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What both ends have.
    pub common: Common,
    /// Where the server is.
    pub server: SocketAddr,
    /// Its key.
    pub server_key: PublicKey,
    /// The secret that both have in addition to their keys.
    pub psk: PresharedKey,
    /// What enrols this client, at most 64 bytes; empty for one that is known.
    pub token: Vec<u8>,
    /// Its ways to the server: at most 16, and none while there are none.
    pub uplinks: Vec<Uplink>,
}

/// A client that a server knows.
#[derive(Clone, Debug)]
pub struct KnownClient {
    /// Its key.
    pub key: PublicKey,
    /// The secret that both have in addition to their keys.
    pub psk: PresharedKey,
    /// Its inner addresses: at most one of each family. Nothing else is taken as a source from it.
    pub addresses: Vec<IpAddr>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What both ends have.
    pub common: Common,
    /// Where its clients come in.
    pub listener: ListenerId,
    /// Its own inner addresses with the length of the tunnel's network in bits: at most one of each
    /// family.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The clients it knows.
    pub clients: Vec<KnownClient>,
    /// Clients at the same time. Default 1,024.
    pub max_clients: usize,
    /// Clients reach each other. Default false.
    pub allow_client_to_client: bool,
    /// Clients reach private networks and this host beyond its inner address. Default false.
    pub allow_private: bool,
}

/// Why a bond cannot be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError(pub(super) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ConfigError {}

impl Common {
    fn check(&self) -> Result<(), ConfigError> {
        if self.mtu < MIN_MTU {
            return Err(ConfigError(alloc::format!(
                "mtu: expected at least {MIN_MTU} bytes, got {}",
                self.mtu
            )));
        }
        Ok(())
    }
}

impl ClientConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.common.check()?;
        match self.uplinks.len() {
            0..=MAX_PATHS => {}
            got => return Err(too_many(got)),
        }
        check_uplinks(&self.uplinks)
    }
}

pub(super) fn too_many(got: usize) -> ConfigError {
    ConfigError(alloc::format!("uplinks: expected at most {MAX_PATHS}, got {got}"))
}

pub(super) fn check_uplinks(uplinks: &[Uplink]) -> Result<(), ConfigError> {
    for (at, uplink) in uplinks.iter().enumerate() {
        let id = uplink.id;
        if uplink.weight == 0 {
            return Err(ConfigError(alloc::format!("uplink {id:?}: expected a weight above 0, got 0")));
        }
        if uplinks.iter().take(at).any(|before| before.id == id) {
            return Err(ConfigError(alloc::format!("uplink {id:?} is given twice")));
        }
    }
    Ok(())
}

/// Addresses that fit into CONFIG: hosts', with a prefix, at most one of each family.
fn check_inner(addresses: impl Iterator<Item = (IpAddr, u8)>) -> Result<(), ConfigError> {
    let mut has = [false; 2];
    for (address, prefix) in addresses {
        if core::mem::replace(&mut has[usize::from(address.is_ipv6())], true) {
            let expected = "expected one inner address of each family";
            return Err(ConfigError(alloc::format!("{expected}, got {address} too")));
        }
        let wrong = |why| ConfigError(alloc::format!("inner address {address}/{prefix}: {why}"));
        ConfigEntry::new(Purpose::Server, address, prefix).map_err(wrong)?;
    }
    Ok(())
}

/// The same of a client's own.
fn check_hosts(addresses: &[IpAddr]) -> Result<(), ConfigError> {
    check_inner(addresses.iter().map(|address| (*address, if address.is_ipv4() { 32 } else { 128 })))
}

fn given_twice(address: IpAddr) -> ConfigError {
    ConfigError(alloc::format!("the inner address {address} is given twice"))
}

impl ServerConfig {
    /// Whether a client may have these addresses, whoever else has them.
    pub(super) fn check_client(&self, addresses: &[IpAddr]) -> Result<(), ConfigError> {
        check_hosts(addresses)?;
        let own = |address: &&IpAddr| self.addresses.iter().any(|(own, _)| own == *address);
        addresses.iter().find(own).map_or(Ok(()), |address| Err(given_twice(*address)))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.common.check()?;
        check_inner(self.addresses.iter().copied())?;
        let mut seen: Vec<IpAddr> = Vec::new();
        for client in &self.clients {
            self.check_client(&client.addresses)?;
            for address in &client.addresses {
                if seen.contains(address) {
                    return Err(given_twice(*address));
                }
                seen.push(*address);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::crypto::Rng;

    fn server(own: &[(&str, u8)], clients: &[&[&str]]) -> Result<(), ConfigError> {
        let ip = |text: &&str| text.parse::<IpAddr>().expect("an address");
        let key = SecretKey::generate(&mut Rng::new([1; 32]));
        let known = |addresses: &&[&str]| KnownClient {
            key: key.public(),
            psk: PresharedKey::NONE,
            addresses: addresses.iter().map(ip).collect(),
        };
        let config = ServerConfig {
            clients: clients.iter().map(known).collect(),
            common: Common {
                tun: TunId(0),
                offload: false,
                mtu: DEFAULT_MTU,
                key: key.clone(),
                ciphers: CipherOrder::slow_aes(),
                tuning: Tuning::default(),
            },
            listener: ListenerId(0),
            addresses: own.iter().map(|(text, prefix)| (ip(text), *prefix)).collect(),
            max_clients: 2,
            allow_client_to_client: false,
            allow_private: false,
        };
        config.check()
    }

    /// A server with such would serve clients that never learn their addresses.
    #[test]
    fn inner_addresses_that_no_client_can_be_told_are_refused() {
        let own = [("10.77.0.1", 24), ("fd77::1", 64)];
        assert_eq!(server(&own, &[&["10.77.0.2", "fd77::2"], &["10.77.0.3"]]), Ok(()));
        for (own, clients, expected) in [
            (&[("10.77.0.1", 24), ("10.78.0.1", 24)][..], &[][..], "one inner address of each family"),
            (&[("10.77.0.1", 33)], &[], "10.77.0.1/33"),
            (&[("10.77.0.1", 0)], &[], "10.77.0.1/0"),
            (&[("224.0.0.1", 24)], &[], "224.0.0.1/24"),
            (&own, &[&["10.77.0.2", "10.77.0.3"][..]], "got 10.77.0.3 too"),
            (&own, &[&["::1"]], "::1/128"),
            (&own, &[&["10.77.0.1"]], "twice"),
        ] {
            let error = server(own, clients).expect_err(expected);
            assert!(error.0.contains(expected), "{error}");
        }
    }
}
