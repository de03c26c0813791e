//! The server's end: one socket, many clients, an address for each.
//!
//! ```text
//!   datagram ─┬─ INIT ──▶ Responder ──▶ RESPONSE; a session in waiting
//!             └─ transport ─ receiver index ─▶ client ─▶ association ─▶ source check ─▶ TUN
//!   TUN ─ destination address ─▶ client ─▶ association ─▶ paths, in turns
//! ```
//!
//! Invariants
//! - An association lives from the first packet that proves its keys; what is in waiting answers nothing else.
//! - A path goes to an address only after a packet from there was answered from there.
//! - A client's packets have its own source address, and go nowhere that the configuration does not allow.

use super::client::path_news;
use super::config::{ConfigError, ServerConfig};
use super::crypto::Rng;
use super::handshake::{ClientId, Kind, Responder, Strangers};
use super::peer::{Give, News, Peer, Remote};
use super::session::{OpenError, Role};
use super::status::{PathStatus, Status};
use super::wire::{CloseReason, Config, ConfigEntry, Frame, Header, PacketType, PathId, Purpose};
use crate::machine::event::{BondNews, Event};
use crate::machine::{
    DatagramMachine, Fault, Input, Machine, Offload, Output, Rx, SocketId, StreamMachine, Transmit, TunId,
    TunMachine,
};
use crate::scope;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Handshake messages that may wait for the socket. What is over it is lost: the client asks again.
const REPLIES: usize = 256;

/// An association on which nothing came for so long is ended: three idle pings of every path were missed.
const IDLE: Duration = Duration::from_secs(180);

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
    outputs: VecDeque<Output>,
    replies: VecDeque<(SocketAddr, Option<IpAddr>, Vec<u8>)>,
    /// Paths that have something to send, each once, served in turns.
    busy: VecDeque<(ClientId, PathId)>,
    socket_dirty: bool,
    tun_dirty: bool,
    /// Packets from the TUN for an address that is nobody's.
    unroutable: u64,
    drained: bool,
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that listens at once. `seed` is known to nobody else.
    ///
    /// # Errors
    /// What cannot be: an MTU under 1280, an inner address given twice, more clients than allowed.
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
            take: vec![0; 65_535],
            outputs,
            replies: VecDeque::new(),
            busy: VecDeque::new(),
            socket_dirty: false,
            tun_dirty: true,
            unroutable: 0,
            drained: false,
            config,
        })
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

    /// Packets from the TUN for an address that is no client's.
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        from: SocketAddr,
        to: Option<IpAddr>,
        ecn: u8,
    ) {
        let Some(kind) = datagram.first().and_then(|first| PacketType::of(*first).ok()) else { return };
        match kind {
            PacketType::Init => self.handle_init(now, datagram, from, to),
            PacketType::Transport => {
                // What was not opened changed nothing; the keyring and the responder count it.
                let _ = self.handle_transport(now, datagram, from, to, ecn);
            }
            // Nobody answers what a server did not ask.
            PacketType::Response | PacketType::Cookie => {}
        }
    }

    fn handle_init(&mut self, now: Instant, datagram: &[u8], from: SocketAddr, to: Option<IpAddr>) {
        let reaction = self.responder.handle_init(now, from, datagram, &mut Strangers);
        if let Some(accepted) = reaction.accepted
            && let Some(session) = self.sessions.get_mut(&accepted.client)
        {
            let common = &self.config.common;
            let peer = match accepted.kind {
                Kind::Rekey => session.live.as_mut(),
                Kind::Restart => {
                    if let Some(gone) = session.waiting.take() {
                        gone.keys.indexes().for_each(|index| self.responder.release(index));
                    }
                    let peer = Peer::new(now, Role::Responder, common.tuning, common.offload, common.mtu);
                    Some(session.waiting.insert(peer))
                }
            };
            if let Some(peer) = peer {
                peer.keys.install(accepted.session);
                while let Some(index) = peer.keys.poll_retired() {
                    self.responder.release(index);
                }
            }
        }
        if let Some(reply) = reaction.reply
            && self.replies.len() < REPLIES
        {
            self.replies.push_back((from, to, reply.as_bytes().to_vec()));
            self.socket_dirty = true;
        }
    }

    fn handle_transport(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        from: SocketAddr,
        to: Option<IpAddr>,
        ecn: u8,
    ) -> Result<(), OpenError> {
        let header = Header::parse(datagram).map_err(OpenError::Malformed)?;
        let client = self.responder.owner(header.receiver).ok_or(OpenError::NoSession)?;
        let session = self.sessions.get_mut(&client).ok_or(OpenError::NoSession)?;
        let is_live = session.live.as_ref().is_some_and(|peer| peer.keys.owns(header.receiver));
        let peer = if is_live { &mut session.live } else { &mut session.waiting };
        let peer = peer.as_mut().ok_or(OpenError::NoSession)?;
        let remote = Remote { socket: self.socket, to: from, from: to, named: true };
        let rules = Rules { config: &self.config, routes: &self.routes, addresses: &session.addresses };
        let known = peer.slot(header.path).is_some();
        let bytes = datagram.len() as u64;
        let arrival = if known {
            peer.receive(now, datagram, remote.headers(), ecn, |packet| rules.allow(packet))?
        } else {
            // A path begins with its first valid packet, and not before.
            peer.receive_first(now, datagram, remote, ecn, |packet| rules.allow(packet))?
        };
        session.heard = now;
        if arrival.confirms {
            self.confirmed(client, header.receiver, is_live);
        }
        let Some(session) = self.sessions.get_mut(&client) else { return Ok(()) };
        let Some(peer) = session.live.as_mut() else { return Ok(()) };
        let moved = peer.slot(arrival.path).is_some_and(|slot| slot.remote != remote || !slot.validated);
        if arrival.newest && moved {
            let token = self.rng.bytes();
            peer.challenge(now, arrival.path, remote, token, bytes);
        }
        while let Some(index) = peer.keys.poll_retired() {
            self.responder.release(index);
        }
        Ok(())
    }

    /// The first packet under new keys: what waited lives.
    fn confirmed(&mut self, client: ClientId, receiver: u32, was_live: bool) {
        self.responder.confirm(client, receiver);
        if was_live {
            return;
        }
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let gone = core::mem::replace(&mut session.live, session.waiting.take());
        if let Some(gone) = gone {
            gone.keys.indexes().for_each(|index| self.responder.release(index));
        }
        self.busy.retain(|(id, _)| *id != client);
        self.tell(client, BondNews::Established);
    }

    fn tell(&mut self, client: ClientId, news: BondNews) {
        self.outputs.push_back(Output::Event(Event::Bond { client: Some(client.0), news }));
    }

    /// Does what an association has news of, and names what it has to send.
    fn settle(&mut self, now: Instant, client: ClientId) {
        loop {
            let Some(peer) = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut()) else {
                return;
            };
            let Some(news) = peer.poll_news() else { break };
            self.obey(now, client, news);
        }
        let Some(peer) = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut()) else {
            return;
        };
        if peer.keys.wants_rekey(now) && peer.is_busy() {
            peer.send_frame(Frame::Rekey);
        }
        while let Some(path) = peer.poll_dirty() {
            self.busy.push_back((client, path));
            self.socket_dirty = true;
        }
        self.tun_dirty |= !self.give.is_empty();
    }

    fn obey(&mut self, now: Instant, client: ClientId, news: News) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(peer) = session.live.as_mut() else { return };
        match news {
            News::Path(id, state) => self.tell(client, path_news(id, None, state)),
            News::Response(id, token) => {
                if peer.answered(now, id, token) {
                    self.tell(client, BondNews::PathValidated { path: id.get(), uplink: None });
                }
            }
            News::ConfigRequest(request) => {
                let mtu = request.mtu.min(self.config.common.mtu);
                peer.set_mtu(mtu);
                if let Some(config) = configuration(&self.config, &session.addresses, mtu) {
                    peer.send_frame(Frame::Config(config));
                }
            }
            News::ConfigAck(_) | News::Mtu => {}
            News::Closed(_) => self.end(client),
            // The client's part.
            News::Config(_) | News::Rekey => {}
        }
    }

    /// The association is over.
    fn end(&mut self, client: ClientId) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        for gone in [session.live.take(), session.waiting.take()].into_iter().flatten() {
            gone.keys.indexes().for_each(|index| self.responder.release(index));
        }
        self.responder.forget(client);
        self.busy.retain(|(id, _)| *id != client);
        self.tell(client, BondNews::Closed);
    }

    fn each(&mut self, mut work: impl FnMut(&mut Self, ClientId)) {
        let ids: Vec<ClientId> =
            self.sessions.iter().filter(|(_, session)| session.live.is_some()).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| work(self, id));
    }
}

/// What a client is told of its tunnel.
fn configuration(config: &ServerConfig, addresses: &[IpAddr], mtu: u16) -> Option<Config> {
    let mut out = Config::new(1, mtu).ok()?;
    for address in addresses {
        let network = config.addresses.iter().find(|(ours, _)| ours.is_ipv4() == address.is_ipv4());
        let prefix = network.map_or(if address.is_ipv4() { 32 } else { 128 }, |(_, prefix)| *prefix);
        out.push(ConfigEntry::new(Purpose::Own, *address, prefix).ok()?).ok()?;
    }
    for (address, prefix) in &config.addresses {
        out.push(ConfigEntry::new(Purpose::Server, *address, *prefix).ok()?).ok()?;
    }
    Some(out)
}

/// Where a client's packets may come from and go to.
struct Rules<'a> {
    config: &'a ServerConfig,
    routes: &'a BTreeMap<IpAddr, ClientId>,
    addresses: &'a [IpAddr],
}

impl Rules<'_> {
    fn allow(&self, packet: &[u8]) -> bool {
        let Some((source, to)) = super::inner::source(packet).zip(super::inner::destination(packet)) else {
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

impl Machine for Server {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Entropy { bytes } => {
                self.rng.mix(bytes);
                self.responder.mix(bytes);
            }
            Input::SendFailed { id, fault: Fault::TooLarge, .. } => {
                // The id names the path, not the client: each with that path looks again at its size.
                let Some(path) = u8::try_from(id).ok().and_then(PathId::new) else { return };
                self.each(|server, client| {
                    let live = server.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
                    if let Some(peer) = live {
                        let bytes = peer.slot(path).map_or(0, |slot| u32::from(slot.path.mtu()));
                        peer.handle_too_large(now, path, bytes);
                    }
                    server.settle(now, client);
                });
            }
            Input::Drain => {
                self.drained = true;
                self.each(|server, client| {
                    let live = server.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
                    if let Some(peer) = live {
                        peer.send_frame(Frame::Close(CloseReason::Shutdown));
                    }
                    server.settle(now, client);
                });
            }
            // A lost datagram is repaired; a refused one is its client's affair.
            Input::SendFailed { .. } | Input::SocketFailed { .. } => {}
            // The device's addresses are set by who runs the server.
            Input::ConfigureFailed { .. } => {}
            // A server has one socket and no uplinks; a bond has no streams and asks for no names.
            Input::Opened { .. }
            | Input::OpenFailed { .. }
            | Input::UplinkGone { .. }
            | Input::UplinkBack { .. }
            | Input::Accepted { .. }
            | Input::AcceptFailed { .. }
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Assigned { .. }
            | Input::Resolved { .. }
            | Input::ResolveFailed { .. }
            | Input::Read { .. }
            | Input::ReadClosed { .. }
            | Input::Written { .. }
            | Input::Spliced { .. }
            | Input::Failed { .. }
            | Input::WriteFailed { .. }
            | Input::LocalAddresses { .. } => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.each(|server, client| {
            let Some(session) = server.sessions.get_mut(&client) else { return };
            if now - session.heard >= IDLE {
                server.end(client);
                return;
            }
            let Some(peer) = session.live.as_mut() else { return };
            if peer.poll_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now, &mut server.give);
                while let Some(index) = peer.keys.poll_retired() {
                    server.responder.release(index);
                }
                server.settle(now, client);
            }
        });
    }

    fn poll_output(&mut self) -> Option<Output> {
        if self.drained && self.outputs.is_empty() && self.busy.is_empty() {
            self.drained = false;
            self.outputs.extend([Output::CloseSocket { socket: self.socket }, Output::Finished]);
        }
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let live = self.sessions.values().filter_map(|session| Some((session.live.as_ref()?, session.heard)));
        live.flat_map(|(peer, heard)| [peer.poll_timeout(), Some(heard + IDLE)]).flatten().min()
    }
}

impl StreamMachine for Server {}

impl DatagramMachine for Server {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        core::mem::take(&mut self.socket_dirty).then_some(self.socket)
    }

    fn handle_datagrams(&mut self, now: Instant, _: SocketId, rx: &mut [Rx<'_>]) {
        let mut heard: Vec<ClientId> = Vec::new();
        for rx in rx {
            let (from, to, stride, ecn) = (rx.from, rx.to, rx.stride.max(1), rx.ecn);
            for datagram in rx.data.chunks_mut(stride) {
                let client =
                    Header::parse(datagram).ok().and_then(|header| self.responder.owner(header.receiver));
                self.handle_datagram(now, datagram, from, to, ecn);
                if let Some(client) = client
                    && !heard.contains(&client)
                {
                    heard.push(client);
                }
            }
        }
        for client in heard {
            let live = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
            if let Some(peer) = live {
                peer.finish_batch(now, &mut self.give);
            }
            self.settle(now, client);
        }
    }

    fn poll_transmit(&mut self, now: Instant, _: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        if let Some((to, from, bytes)) = self.replies.pop_front() {
            buf.get_mut(..bytes.len())?.copy_from_slice(&bytes);
            // No path has this id: nothing is told of its failure.
            let id = u32::MAX;
            return Some(Transmit { id, to: Some(to), from, len: bytes.len(), ..Transmit::default() });
        }
        while let Some((client, path)) = self.busy.pop_front() {
            let live = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
            let sent = live.and_then(|peer| peer.poll_transmit(now, path, buf));
            if sent.is_some() {
                // The others first: it has its turn again behind them.
                self.busy.push_back((client, path));
                return sent;
            }
        }
        None
    }
}

impl TunMachine for Server {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        core::mem::take(&mut self.tun_dirty).then_some(self.config.common.tun)
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        if tun == self.config.common.tun { &mut self.take } else { &mut [] }
    }

    fn handle_packet(&mut self, now: Instant, _: TunId, len: usize, offload: Offload) {
        let packet = self.take.get(..len).unwrap_or_default();
        let to = super::inner::destination(packet);
        let client = to.and_then(|to| self.routes.get(&to)).copied();
        let session = client.and_then(|client| self.sessions.get_mut(&client));
        let Some(peer) = session.and_then(|session| session.live.as_mut()) else {
            self.unroutable += 1;
            return;
        };
        let ours = to.and_then(|to| {
            let ours = self.config.addresses.iter().find(|(ours, _)| ours.is_ipv4() == to.is_ipv4());
            ours.map(|(address, _)| *address)
        });
        peer.ingest(now, packet, offload, ours, &mut self.give);
        if let Some(client) = client {
            self.settle(now, client);
        }
    }

    fn give_buf(&self, _: TunId) -> Option<(&[u8], Offload)> {
        self.give.front()
    }

    fn handle_given(&mut self, _: Instant, _: TunId, _: Result<(), Fault>) {
        self.give.pop();
        self.tun_dirty |= !self.give.is_empty();
    }
}
