//! The client's end: a socket for each uplink, one handshake, one association.
//!
//! ```text
//!   uplink ──OpenSocket──▶ Opened ──▶ INIT on it ──▶ session ──▶ challenge ──▶ carries data
//!      ▲                                                            │
//!      └── gone, back, refused: opened again after a while ◀────────┘
//! ```
//!
//! A path's id is its uplink's place, for the whole life of the association: what was measured of it stays.

use super::config::{ClientConfig, ConfigError, Uplink};
use super::crypto::Rng;
use super::handshake::{Initiator, InitiatorConfig, Token};
use super::path;
use super::peer::{Give, News, Peer, Remote};
use super::session::Role;
use super::status::{PathStatus, Status};
use super::wire::{ConfigRequest, Frame, PacketType, PathId, Purpose};
use crate::machine::event::{BondNews, Event};
use crate::machine::{
    DatagramMachine, Fault, Input, Machine, Offload, Output, Rx, SocketId, StreamMachine, Transmit,
    TunConfiguration, TunId, TunMachine, UplinkId,
};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

/// A socket that could not be opened is tried again after this, then twice as long, up to [`REOPEN_MOST`].
const REOPEN: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(8);

/// A configuration that did not come is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// One uplink.
#[derive(Debug)]
struct Way {
    uplink: Uplink,
    path: PathId,
    generation: u32,
    socket: Option<SocketId>,
    open: bool,
    /// When it is opened again.
    reopen: Option<Instant>,
    tries: u32,
    gone: bool,
}

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
    outputs: VecDeque<Output>,
    /// Sockets on which a handshake message is due.
    dirty: VecDeque<SocketId>,
    tun_dirty: bool,
    established: bool,
    /// The epoch of the configuration that is in force, and when it is asked for again.
    epoch: u32,
    ask_config: Option<Instant>,
    addresses: Vec<IpAddr>,
    drained: bool,
}

impl Client {
    /// A client that begins at once. `seed` is known to nobody else.
    ///
    /// # Errors
    /// What cannot be: no uplink, or more than 16; an MTU under 1280; a token over 64 bytes.
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
        let ways = config.uplinks.iter().enumerate().map(|(index, uplink)| Way {
            uplink: *uplink,
            path: PathId::new(index as u8).expect("at most MAX_PATHS"),
            generation: 0,
            socket: None,
            open: false,
            reopen: None,
            tries: 0,
            gone: false,
        });
        let peer = Peer::new(Instant::ZERO, Role::Initiator, common.tuning, common.offload, common.mtu);
        let mut client = Client {
            ways: ways.collect(),
            initiator: Initiator::new(initiator, rng.fork()),
            rng,
            peer,
            give: Give::new(common.offload),
            take: vec![0; 65_535],
            outputs: VecDeque::from([Output::Entropy]),
            dirty: VecDeque::new(),
            tun_dirty: true,
            established: false,
            epoch: 0,
            ask_config: None,
            addresses: Vec::new(),
            drained: false,
            config,
        };
        (0..client.ways.len()).for_each(|index| client.open(index));
        Ok(client)
    }

    /// What it is doing.
    pub fn status(&self, now: Instant) -> Status {
        let paths = self.peer.slots().map(|slot| {
            let uplink = self.ways.get(slot.id.index()).map(|way| way.uplink.id);
            PathStatus::of(now, slot, uplink)
        });
        Status::of(&self.peer, self.established, &self.addresses, paths.collect())
    }

    fn open(&mut self, index: usize) {
        let (to, way) = (self.config.server, &mut self.ways[index]);
        let socket = SocketId::from_parts(index as u32, way.generation);
        way.generation += 1;
        (way.socket, way.open, way.reopen) = (Some(socket), false, None);
        self.outputs.push_back(Output::OpenSocket { socket, to, via: way.uplink.via, fragments: false });
    }

    fn close(&mut self, index: usize) {
        let way = &mut self.ways[index];
        if let Some(socket) = way.socket.take().filter(|_| way.open) {
            self.outputs.push_back(Output::CloseSocket { socket });
        }
        way.open = false;
    }

    fn way_of(&self, socket: SocketId) -> Option<usize> {
        let index = socket.index() as usize;
        self.ways.get(index).is_some_and(|way| way.socket == Some(socket)).then_some(index)
    }

    fn opened(&mut self, now: Instant, index: usize) {
        let way = &mut self.ways[index];
        let Some(socket) = way.socket else { return };
        (way.open, way.tries) = (true, 0);
        let (id, weight) = (way.path, u32::from(way.uplink.weight));
        let remote = Remote { socket, to: self.config.server, from: None, named: false };
        let slot = self.peer.add_path(now, id, remote, weight);
        slot.dirty = false;
        slot.validated = false;
        self.peer.handle_link(now, id, true);
        if self.established {
            self.challenge(now, id);
        } else {
            self.initiator.start(now);
            self.initiator.hurry(now);
        }
        self.shake(now);
    }

    /// A socket failed or could not be opened: it is tried again later.
    fn reopen_later(&mut self, now: Instant, index: usize) {
        self.close(index);
        let way = &mut self.ways[index];
        let wait = (REOPEN * (1 << way.tries.min(5))).min(REOPEN_MOST);
        way.tries += 1;
        way.reopen = (!way.gone && !self.drained).then_some(now + wait);
        self.peer.handle_link(now, self.ways[index].path, false);
    }

    fn challenge(&mut self, now: Instant, id: PathId) {
        let token = self.rng.bytes();
        let Some(remote) = self.peer.slot(id).map(|slot| slot.remote) else { return };
        self.peer.challenge(now, id, remote, token, 0);
    }

    /// Lets the handshake go on: names the sockets on which a message is due.
    fn shake(&mut self, now: Instant) {
        if self.initiator.poll_timeout().is_some_and(|at| at <= now) {
            self.outputs.push_back(Output::Entropy);
            self.initiator.handle_timeout(now);
        }
        for way in self.ways.iter().filter(|way| way.open && self.initiator.is_due(way.path)) {
            self.dirty.extend(way.socket);
        }
    }

    fn handle_datagram(&mut self, now: Instant, index: usize, datagram: &mut [u8], ecn: u8) {
        let path = self.ways[index].path;
        let Some(kind) = datagram.first().and_then(|first| PacketType::of(*first).ok()) else { return };
        match kind {
            // Nobody asks a client.
            PacketType::Init => {}
            PacketType::Cookie => {
                self.initiator.handle_cookie(now, path, datagram);
            }
            PacketType::Response => self.handle_response(now, path, datagram),
            PacketType::Transport => {
                let headers = self.peer.slot(path).map_or(28, |slot| slot.remote.headers());
                let ours = &self.addresses;
                let accept =
                    |packet: &[u8]| super::inner::destination(packet).is_some_and(|to| ours.contains(&to));
                let Ok(arrival) = self.peer.receive(now, datagram, headers, ecn, accept) else { return };
                if arrival.confirms {
                    self.initiator.confirmed();
                }
            }
        }
    }

    fn handle_response(&mut self, now: Instant, path: PathId, datagram: &[u8]) {
        let Some(established) = self.initiator.handle_response(now, datagram) else { return };
        if established.restarted {
            self.begin_again(now);
        }
        self.peer.keys.install(established.session);
        while self.peer.keys.poll_retired().is_some() {}
        let first = !core::mem::replace(&mut self.established, true);
        if first {
            self.outputs.push_back(Output::Event(Event::Bond { client: None, news: BondNews::Established }));
            self.ask_config = Some(now);
        }
        // The way of the response first: the server learns of the others by their first packets.
        let others = self.ways.iter().filter(|way| way.open && way.path != path).map(|way| way.path);
        let ids: Vec<PathId> = core::iter::once(path).chain(others).collect();
        for id in ids {
            if self.peer.slot(id).is_some_and(|slot| !slot.validated) {
                self.challenge(now, id);
            } else if let Some(slot) = self.peer.slot_mut(id) {
                // The server uses new keys when it has seen a packet under them.
                slot.ping |= id == path;
            }
        }
    }

    /// The server knows nothing of what was before: neither its paths nor its numbers mean anything now.
    fn begin_again(&mut self, now: Instant) {
        let common = &self.config.common;
        self.peer = Peer::new(now, Role::Initiator, common.tuning, common.offload, common.mtu);
        (self.established, self.epoch) = (false, 0);
        for way in self.ways.iter().filter(|way| way.open) {
            let Some(socket) = way.socket else { continue };
            let remote = Remote { socket, to: self.config.server, from: None, named: false };
            self.peer.add_path(now, way.path, remote, u32::from(way.uplink.weight));
        }
    }

    /// Does what the association has news of, and names what there is to send.
    fn settle(&mut self, now: Instant) {
        while let Some(news) = self.peer.poll_news() {
            self.obey(now, news);
        }
        if self.ask_config.is_some_and(|at| at <= now) && self.established {
            self.ask_config = Some(now + ASK_AGAIN);
            let mtu = self.config.common.mtu;
            self.peer.send_frame(Frame::ConfigRequest(ConfigRequest {
                epoch: self.epoch,
                v4: true,
                v6: true,
                mtu,
            }));
        }
        if self.established && self.peer.keys.wants_rekey(now) && self.peer.is_busy() {
            self.initiator.start(now);
        }
        self.shake(now);
        self.tun_dirty |= !self.give.is_empty();
    }

    fn obey(&mut self, now: Instant, news: News) {
        match news {
            News::Path(id, state) => {
                let Some(uplink) = self.ways.get(id.index()).map(|way| way.uplink.id) else { return };
                self.tell(path_news(id, Some(uplink), state));
                if state == path::State::Down
                    && self.peer.slots().all(|slot| slot.path.state() == path::State::Down)
                {
                    // Nothing answers: the server may have another address of ours, or have forgotten us.
                    self.initiator.start(now);
                }
            }
            News::Response(id, token) => {
                if self.peer.answered(now, id, token) {
                    let uplink = self.ways.get(id.index()).map(|way| way.uplink.id);
                    self.tell(BondNews::PathValidated { path: id.get(), uplink });
                }
            }
            News::Config(config) => self.configure(&config),
            News::Rekey => self.initiator.start(now),
            News::Mtu => {}
            News::Closed(_) => {
                self.tell(BondNews::Closed);
                self.begin_again(now);
                self.initiator.start(now);
            }
            // The server's part.
            News::ConfigRequest(_) | News::ConfigAck(_) => {}
        }
    }

    fn configure(&mut self, config: &super::wire::Config) {
        self.peer.send_frame(Frame::ConfigAck(config.epoch()));
        self.ask_config = None;
        if config.epoch() <= self.epoch {
            return;
        }
        self.epoch = config.epoch();
        let own = config.entries().filter(|entry| entry.purpose() == Purpose::Own);
        let addresses: Vec<(IpAddr, u8)> = own.map(|entry| (entry.address(), entry.prefix())).collect();
        self.addresses = addresses.iter().map(|(address, _)| *address).collect();
        let mtu = config.mtu().min(self.config.common.mtu);
        self.peer.set_mtu(mtu);
        let configuration = TunConfiguration { addresses, mtu };
        self.outputs.push_back(Output::Configure { tun: self.config.common.tun, configuration });
    }

    fn tell(&mut self, news: BondNews) {
        self.outputs.push_back(Output::Event(Event::Bond { client: None, news }));
    }

    fn index_of(&self, uplink: UplinkId) -> Option<usize> {
        self.ways.iter().position(|way| way.uplink.id == uplink)
    }
}

/// What a path's state is called outside.
pub(super) fn path_news(id: PathId, uplink: Option<UplinkId>, state: path::State) -> BondNews {
    let path = id.get();
    match state {
        path::State::Live => BondNews::PathLive { path, uplink },
        path::State::Suspect => BondNews::PathSuspect { path, uplink },
        path::State::Down => BondNews::PathDown { path, uplink },
    }
}

impl Machine for Client {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { socket, .. } => {
                if let Some(index) = self.way_of(socket) {
                    self.opened(now, index);
                }
            }
            Input::OpenFailed { socket, .. } => {
                if let Some(index) = self.way_of(socket) {
                    self.reopen_later(now, index);
                }
            }
            Input::SendFailed { socket, fault, .. } => {
                if let Some(index) = self.way_of(socket) {
                    self.send_failed(now, index, fault);
                }
            }
            // Nobody listens there, or a router says so: the probes will tell whether it stays so.
            Input::SocketFailed { .. } => {}
            Input::UplinkGone { uplink } => {
                if let Some(index) = self.index_of(uplink) {
                    self.ways[index].gone = true;
                    self.close(index);
                    self.ways[index].reopen = None;
                    self.peer.handle_link(now, self.ways[index].path, false);
                }
            }
            Input::UplinkBack { uplink, via } => {
                if let Some(index) = self.index_of(uplink) {
                    self.ways[index].gone = false;
                    self.ways[index].uplink.via = via;
                    self.close(index);
                    self.open(index);
                }
            }
            Input::Entropy { bytes } => {
                self.rng.mix(bytes);
                self.initiator.mix(bytes);
            }
            Input::ConfigureFailed { .. } => {
                // It is asked for again: what was in the way may be gone by then.
                self.epoch = 0;
                self.ask_config = Some(now + ASK_AGAIN * 10);
            }
            Input::Drain => {
                self.drained = true;
                self.peer.send_frame(Frame::Close(super::wire::CloseReason::Shutdown));
            }
            // A bond has no streams, asks for no names and no uplinks.
            Input::Accepted { .. }
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
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.ways.len() {
            if self.ways[index].reopen.is_some_and(|at| at <= now) {
                self.open(index);
            }
        }
        self.peer.handle_timeout(now, &mut self.give);
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        // The farewell has left, or there is nobody to say it to.
        let done = self.drained && !self.peer.slots().any(|slot| slot.wants_to_send() && slot.validated);
        if done && self.ways.iter().any(|way| way.open || way.socket.is_some()) {
            (0..self.ways.len()).for_each(|index| self.close(index));
            self.ways.iter_mut().for_each(|way| way.socket = None);
            self.outputs.push_back(Output::Finished);
        }
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let reopen = self.ways.iter().filter_map(|way| way.reopen);
        let own = [
            self.initiator.poll_timeout(),
            self.ask_config.filter(|_| self.established),
            self.peer.poll_timeout(),
        ];
        reopen.chain(own.into_iter().flatten()).min()
    }
}

impl Client {
    fn send_failed(&mut self, now: Instant, index: usize, fault: Fault) {
        match fault {
            Fault::TooLarge => {
                let id = self.ways[index].path;
                let bytes = self.peer.slot(id).map_or(0, |slot| u32::from(slot.path.mtu()));
                self.peer.handle_too_large(now, id, bytes);
            }
            Fault::NoDevice | Fault::NetworkDown | Fault::AddressNotAvailable | Fault::NoRoute => {
                self.reopen_later(now, index);
            }
            // The system is short of something, or somebody's answer to an earlier datagram: this one is lost.
            _ => {}
        }
    }
}

impl StreamMachine for Client {}

impl DatagramMachine for Client {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        if let Some(socket) = self.dirty.pop_front() {
            return Some(socket);
        }
        let id = self.peer.poll_dirty()?;
        self.peer.slot(id).map(|slot| slot.remote.socket)
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        let Some(index) = self.way_of(socket) else { return };
        for rx in rx {
            let (stride, ecn) = (rx.stride.max(1), rx.ecn);
            for datagram in rx.data.chunks_mut(stride) {
                self.handle_datagram(now, index, datagram, ecn);
            }
        }
        self.peer.finish_batch(now, &mut self.give);
        self.settle(now);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let index = self.way_of(socket)?;
        let id = self.ways[index].path;
        if let Some(message) = self.initiator.poll_transmit(now, id) {
            buf.get_mut(..message.len())?.copy_from_slice(&message);
            return Some(Transmit { len: message.len(), ..Transmit::default() });
        }
        self.peer.poll_transmit(now, id, buf)
    }
}

impl TunMachine for Client {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        core::mem::take(&mut self.tun_dirty).then_some(self.config.common.tun)
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        if tun == self.config.common.tun && !self.drained { &mut self.take } else { &mut [] }
    }

    fn handle_packet(&mut self, now: Instant, _: TunId, len: usize, offload: Offload) {
        let packet = self.take.get(..len).unwrap_or_default();
        let source = super::inner::source(packet);
        // What leaves with another source would be dropped at the server.
        if source.is_some_and(|source| self.addresses.contains(&source)) {
            let ours = source;
            self.peer.ingest(now, packet, offload, ours, &mut self.give);
        } else {
            self.peer.count_foreign();
        }
        self.settle(now);
    }

    fn give_buf(&self, _: TunId) -> Option<(&[u8], Offload)> {
        self.give.front()
    }

    fn handle_given(&mut self, _: Instant, _: TunId, _: Result<(), Fault>) {
        self.give.pop();
        self.tun_dirty |= !self.give.is_empty();
    }
}
