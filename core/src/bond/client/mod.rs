//! The client's end: a socket for each uplink, one handshake, one association.
//!
//! ```text
//!   uplink ──OpenSocket──▶ Opened ──▶ INIT on it ──▶ session ──▶ challenge ──▶ carries data
//!      ▲                                                            │
//!      └── gone, back, refused: opened again after a while ◀────────┘
//! ```
//!
//! A path's id is its uplink's place, for the whole life of the association: what was measured of
//! it stays.
//!
//! | file | is |
//! | --- | --- |
//! | `machine` | inputs, time, the end |
//! | `uplinks` | the sockets: opened, closed, opened again |
//! | `socket` | datagrams: which path they belong to, and which sends next |
//! | `tun` | packets of the TUN device |
//! | `handshake` | keys and challenges; a server that has restarted |
//! | `change` | strategy and uplinks, changed while it runs |
//! | `news` | what follows from what the association reports |

mod change;
mod handshake;
mod machine;
mod news;
mod socket;
mod tun;
mod uplinks;

use change::Wishes;
pub(super) use machine::FAREWELL;
pub(super) use news::path_news;
use uplinks::Way;

use super::config::{ClientConfig, ConfigError};
use super::crypto::Rng;
use super::handshake::{Initiator, InitiatorConfig, Token};
use super::peer::{Give, LARGEST, Peer};
use super::session::Role;
use super::status::{PathStatus, Status};
use crate::machine::{Output, SocketId};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

/// The machine of `bond connect`.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    ways: Vec<Way>,
    initiator: Initiator,
    rng: Rng,
    peer: Peer,
    give: Give,
    take: Vec<u8>,
    /// When the last packet was taken, if its path was not asked for yet: it is when the driver
    /// asks what follows, so that packets which come together leave together.
    taken: Option<Instant>,
    outputs: VecDeque<Output>,
    /// Sockets on which a handshake message is due.
    dirty: VecDeque<SocketId>,
    tun_dirty: bool,
    established: bool,
    /// The epoch of the configuration that is in force, and when it is asked for again.
    epoch: u32,
    ask_config: Option<Instant>,
    addresses: Vec<IpAddr>,
    /// The same with the lengths of their networks, and the MTU: as the device was set last.
    networks: Vec<(IpAddr, u8)>,
    device_mtu: u16,
    wishes: Wishes,
    /// How often another host with the same key has taken its place, and when it did so last.
    pushed_out: (u32, Instant),
    /// When something of the server's was opened last.
    heard: Instant,
    drained: bool,
    /// It has said that it is done.
    finished: bool,
    /// When it goes though its farewell has not left.
    farewell: Option<Instant>,
}

impl Client {
    /// A client that begins at once. `seed` is secret.
    ///
    /// # Errors
    /// What cannot be: more than 16 uplinks, a weight of 0, an id given twice; an MTU under 1280; a
    /// token over 64 bytes.
    pub fn new(config: ClientConfig, seed: [u8; 32]) -> Result<Client, ConfigError> {
        config.check()?;
        let token = Token::new(&config.token)
            .ok_or_else(|| ConfigError("token: expected at most 64 bytes".into()))?;
        let mut rng = Rng::new(seed);
        let common = &config.common;
        let initiator = InitiatorConfig {
            key: common.key.clone(),
            server: config.server_key,
            psk: config.psk.clone(),
            ciphers: common.ciphers,
            token,
        };
        let ways = config.uplinks.iter().enumerate().map(|(index, uplink)| Way::new(index, *uplink));
        let peer = Peer::new(Instant::ZERO, Role::Initiator, common.tuning, common.offload, common.mtu);
        let mut client = Client {
            ways: ways.collect(),
            initiator: Initiator::new(initiator, rng.fork()),
            rng,
            peer,
            give: Give::new(common.offload),
            take: vec![0; LARGEST],
            taken: None,
            outputs: VecDeque::from([Output::Entropy]),
            dirty: VecDeque::new(),
            tun_dirty: true,
            established: false,
            epoch: 0,
            ask_config: None,
            addresses: Vec::new(),
            networks: Vec::new(),
            device_mtu: 0,
            wishes: Wishes::default(),
            pushed_out: (0, Instant::ZERO),
            heard: Instant::ZERO,
            drained: false,
            finished: false,
            farewell: None,
            config,
        };
        (0..client.ways.len()).for_each(|index| client.open(index));
        Ok(client)
    }

    /// What it seals with now, for recordings.
    #[cfg(all(feature = "laws", feature = "std"))]
    pub(super) fn sealing_key(&self) -> Option<(u8, [u8; 32])> {
        self.peer.keys.told()
    }

    /// Its association, to say by it what no client says.
    #[cfg(test)]
    pub(super) fn peer_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }

    /// What it is doing.
    pub fn status(&self, now: Instant) -> Status {
        let paths = self.peer.slots().map(|slot| {
            let uplink = self.ways.get(slot.id.index()).map(|way| way.uplink.id);
            PathStatus::of(now, slot, uplink)
        });
        Status::of(&self.peer, self.established, &self.addresses, paths.collect())
    }
}
