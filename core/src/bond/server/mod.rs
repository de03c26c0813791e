//! The server's end: one socket, many clients, an address for each.
//!
//! ```text
//!   datagram ─┬─ INIT ──▶ Responder ──▶ RESPONSE; a session in waiting
//!             └─ transport ─ receiver index ─▶ client ─▶ association ─▶ source check ─▶ TUN
//!   TUN ─ destination address ─▶ client ─▶ association ─▶ paths, in turns
//! ```
//!
//! Invariants
//! - An association lives from the first packet that proves its keys; what is in waiting answers
//!   nothing else.
//! - A path goes to an address only after a packet from there was answered from there.
//! - A client's packets have its own source address, and go nowhere that the configuration does not
//!   allow.
//!
//! | file | is |
//! | --- | --- |
//! | `machine` | inputs, time, the end |
//! | `socket` | datagrams: whose they are, and who sends next |
//! | `tun` | packets of the TUN device |
//! | `handshake` | associations begin and end |
//! | `enrol` | strangers with an invitation |
//! | `revoke` | clients that may come in no more |
//! | `rules` | where a client's packets may come from and go to |
//! | `news` | what follows from what an association reports |

mod enrol;
mod handshake;
mod machine;
mod news;
mod revoke;
mod rules;
mod socket;
mod tun;

pub use enrol::Invitation;

use super::config::{ConfigError, ServerConfig};
use super::crypto::Rng;
use super::handshake::{ClientId, Responder};
use super::peer::{Give, LARGEST, Peer};
use super::status::{PathStatus, Status};
use super::wire::PathId;
use crate::machine::{Output, SocketId};
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use enrol::Invitations;

/// Bytes that may wait for the paths of all clients together, bytes of copies of all, and bytes
/// that all hold for their order. With up to sixteen clients that want it all, each has what is
/// configured for one.
const QUEUES: usize = 64 << 20;
const MEMORY: usize = 128 << 20;
/// And what each has at least: some hundred packets.
const LEAST: usize = 128 << 10;

/// A datagram of no path: where to, from which address, and its bytes.
type Reply = (SocketAddr, Option<IpAddr>, Vec<u8>);

/// A client, and what lives of it.
#[derive(Debug)]
struct Session {
    addresses: Vec<IpAddr>,
    live: Option<Peer>,
    waiting: Option<Peer>,
    heard: Instant,
}

/// The machine of `bond serve`.
pub struct Server {
    config: ServerConfig,
    socket: SocketId,
    responder: Responder,
    rng: Rng,
    sessions: BTreeMap<ClientId, Session>,
    routes: BTreeMap<IpAddr, ClientId>,
    give: Give,
    take: Vec<u8>,
    /// When the last packet was taken, and the clients whose paths were not asked for theirs yet:
    /// they are when the driver asks what follows, so that packets which come together leave
    /// together.
    taken: (Instant, Vec<ClientId>),
    outputs: VecDeque<Output>,
    replies: VecDeque<Reply>,
    /// Paths that have something to send, each once, served in turns.
    busy: VecDeque<(ClientId, PathId)>,
    socket_dirty: bool,
    tun_dirty: bool,
    /// Packets from the TUN for an address without a client.
    unroutable: u64,
    /// What strangers may come in with.
    invitations: Invitations,
    drained: bool,
    /// When it goes though its farewells have not left.
    farewell: Option<Instant>,
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that listens at once. `seed` is secret.
    ///
    /// # Errors
    /// What cannot be: an MTU under 1280; an inner address given twice, no host's, or the second of
    /// its family; more clients than allowed.
    pub fn new(config: ServerConfig, seed: [u8; 32]) -> Result<Server, ConfigError> {
        config.check()?;
        let mut rng = Rng::new(seed);
        let common = &config.common;
        let key = common.key.clone();
        let mut responder =
            Responder::new(Instant::ZERO, key, common.ciphers, config.max_clients, rng.fork());
        let (mut sessions, mut routes) = (BTreeMap::new(), BTreeMap::new());
        for (index, client) in config.clients.iter().enumerate() {
            let id = ClientId(index as u32);
            if !responder.add_client(id, client.key, client.psk.clone()) {
                return Err(ConfigError(alloc::format!(
                    "client {index}: expected a key that no other has, and at most {} clients",
                    config.max_clients
                )));
            }
            routes.extend(client.addresses.iter().map(|address| (*address, id)));
            let addresses = client.addresses.clone();
            sessions.insert(id, Session { addresses, live: None, waiting: None, heard: Instant::ZERO });
        }
        let socket = SocketId::from_parts(0, 0);
        let receive = Output::Receive { listener: config.listener, socket, fragments: false };
        let outputs = VecDeque::from([Output::Entropy, receive]);
        Ok(Server {
            socket,
            responder,
            rng,
            sessions,
            routes,
            give: Give::new(common.offload),
            take: vec![0; LARGEST],
            taken: (Instant::ZERO, Vec::new()),
            outputs,
            replies: VecDeque::new(),
            busy: VecDeque::new(),
            socket_dirty: false,
            tun_dirty: true,
            unroutable: 0,
            invitations: Invitations::default(),
            drained: false,
            farewell: None,
            config,
        })
    }

    /// What it seals with for its first client that lives, for recordings.
    #[cfg(all(feature = "laws", feature = "std"))]
    pub(super) fn sealing_key(&self) -> Option<(u8, [u8; 32])> {
        self.sessions.values().find_map(|session| session.live.as_ref()?.keys.told())
    }

    /// What each client that is here is doing, by its place in the configuration.
    pub fn status(&self, now: Instant) -> Vec<(u32, Status)> {
        let live =
            self.sessions.iter().filter_map(|(id, session)| Some((id, session, session.live.as_ref()?)));
        live.map(|(id, session, peer)| {
            let paths = peer.slots().map(|slot| PathStatus::of(now, slot, None)).collect();
            (id.0, Status::of(peer, true, &session.addresses, paths))
        })
        .collect()
    }

    /// Packets that paths were given and that have not left.
    #[cfg(test)]
    pub(super) fn staged(&self) -> usize {
        let live = self.sessions.values().filter_map(|session| session.live.as_ref());
        live.flat_map(Peer::slots).map(super::peer::Slot::staged_packets).sum()
    }

    /// Packets from the TUN for an address that is no client's.
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }

    /// Divides the memory among those that are here: many clients that take nothing cost no more
    /// than a few.
    fn share_memory(&mut self) {
        let live = || self.sessions.values().filter(|session| session.live.is_some());
        let count = live().count().max(1);
        for peer in self.sessions.values_mut().filter_map(|session| session.live.as_mut()) {
            peer.set_memory((QUEUES / count).max(LEAST), (MEMORY / count).max(LEAST));
        }
    }

    fn each(&mut self, mut work: impl FnMut(&mut Self, ClientId)) {
        let ids: Vec<ClientId> =
            self.sessions.iter().filter(|(_, session)| session.live.is_some()).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| work(self, id));
    }
}
