//! The bond's machines, as a scenario sets them, and their news in words.

use super::io::{SERVER, via};
use super::world::CLIENT;
use super::{RunError, Side};
use crate::scenario::Scenario;
use ropewalk_core::bond::crypto::{CipherOrder, PresharedKey, Rng, SecretKey};
use ropewalk_core::bond::{
    Client, ClientConfig, Common, KnownClient, Parts, Server, ServerConfig, Strategy, Tuning, Uplink,
};
use ropewalk_core::machine::event::BondNews;
use ropewalk_core::machine::{ListenerId, TunId, UplinkId};
use std::net::{IpAddr, Ipv4Addr};

/// The server's own address inside, and the length of the network's prefix.
const INSIDE: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), 24);

/// The two machines, with keys that follow from the scenario's seed.
pub(super) fn machines(scenario: &Scenario) -> Result<(Client, Server), RunError> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&scenario.seed.to_le_bytes());
    let mut rng = Rng::new(seed);
    let (client_key, server_key) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
    let psk = PresharedKey::generate(&mut rng);
    let common = |key: &SecretKey| -> Result<Common, RunError> {
        Ok(Common {
            tun: TunId(0),
            offload: scenario.host.offload,
            mtu: scenario.inner_mtu(),
            key: key.clone(),
            ciphers: CipherOrder::fast_aes(),
            tuning: tuning(scenario)?,
        })
    };
    let links = scenario.links.iter().enumerate();
    let client = ClientConfig {
        common: common(&client_key)?,
        server: SERVER,
        server_key: server_key.public(),
        psk: psk.clone(),
        token: Vec::new(),
        uplinks: links
            .map(|(index, spec)| Uplink {
                id: UplinkId(index as u16),
                via: via(index, spec),
                weight: u16::try_from(spec.weight).unwrap_or(u16::MAX),
            })
            .collect(),
    };
    let known = KnownClient { key: client_key.public(), psk, addresses: vec![IpAddr::V4(CLIENT)] };
    let server = ServerConfig {
        common: common(&server_key)?,
        listener: ListenerId(0),
        addresses: vec![INSIDE],
        clients: vec![known],
        max_clients: 16,
        allow_client_to_client: false,
        // The target of the flows is in a network for documentation.
        allow_private: true,
    };
    let unsupported = |error: ropewalk_core::bond::ConfigError| RunError::Unsupported(error.to_string());
    let seeds = [rng.seed(), rng.seed()];
    Ok((
        Client::new(client, seeds[0]).map_err(unsupported)?,
        Server::new(server, seeds[1]).map_err(unsupported)?,
    ))
}

fn tuning(scenario: &Scenario) -> Result<Tuning, RunError> {
    let mut tuning = Tuning::default();
    let bond = &scenario.bond;
    if let Some(mode) = &bond.mode {
        tuning.strategy = Strategy::named(mode).ok_or_else(|| {
            let names = Strategy::NAMES.join(", ");
            RunError::Unsupported(format!("bond.mode: expected one of {names}, got {mode:?}"))
        })?;
    }
    tuning.max_skew = bond.max_skew.unwrap_or(tuning.max_skew);
    tuning.hold = bond.hold.unwrap_or(tuning.hold);
    for part in &bond.without {
        tuning.parts = tuning.parts.without(part).ok_or_else(|| {
            let names = Parts::NAMES.join(", ");
            RunError::Unsupported(format!("bond.without: expected one of {names}, got {part:?}"))
        })?;
    }
    Ok(tuning)
}

/// A piece of news in words, and what it says of the state of a link: its place, and whether it
/// carries data.
pub(super) fn described(news: BondNews, side: Side, scenario: &Scenario) -> (String, Option<(usize, bool)>) {
    let side = match side {
        Side::Client => "client",
        Side::Server => "server",
    };
    let (path, what, live) = match news {
        BondNews::Established => return (format!("{side}: the bond is there"), None),
        BondNews::Closed => return (format!("{side}: the bond has ended"), None),
        BondNews::PathValidated { path, .. } => (path, "answers", None),
        BondNews::PathLive { path, .. } => (path, "carries data", Some(true)),
        BondNews::PathSuspect { path, .. } => (path, "is suspect", Some(false)),
        BondNews::PathDown { path, .. } => (path, "is down", Some(false)),
        other => return (format!("{side}: {other:?}"), None),
    };
    // A client numbers its paths as its uplinks.
    let link = usize::from(path);
    let name = scenario.links.get(link).map_or("?", |link| &link.name);
    (format!("{side}: {name} {what}"), live.map(|live| (link, live)))
}
