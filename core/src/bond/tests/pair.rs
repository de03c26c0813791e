//! A client and a server with two paths of 10 ms between them, in virtual time.

use crate::bond::crypto::{CipherOrder, PresharedKey, PublicKey, Rng, SecretKey};
use crate::bond::wire::PacketType;
use crate::bond::{
    Client, ClientConfig, Common, DEFAULT_MTU, KnownClient, PathState, Server, ServerConfig, Tuning, Uplink,
};
use crate::machine::event::{BondNews, Event};
use crate::machine::{
    Application, DatagramMachine, Input, ListenerId, Machine, Offload, Output, Rx, SocketId, TunId,
    TunMachine, UplinkId, Via,
};
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4500);
pub(super) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const TUN: TunId = TunId(0);

/// Datagrams under way: when they arrive, in which order they left, to whom (true: the server),
/// from where.
type Wire = BTreeMap<(Instant, u64), (bool, SocketAddr, Vec<u8>)>;

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) client: Client,
    pub(super) server: Server,
    /// What both said happened.
    pub(super) events: Vec<(Option<u32>, BondNews)>,
    /// A client behind the same addresses that hears all that the one in front hears, and that
    /// nobody hears.
    pub(super) aside: Option<Client>,
    /// The client's open sockets, by the addresses that the server sees.
    sockets: BTreeMap<SocketAddr, SocketId>,
    /// Where the server is, and where each of the client's sockets leads.
    pub(super) home: SocketAddr,
    towards: BTreeMap<SocketId, SocketAddr>,
    /// The client's first messages are filtered on the way.
    pub(super) filtered: bool,
    wire: Wire,
    sent: u64,
    /// Nothing of the client's arrives before.
    pub(super) deaf: Instant,
    /// The largest IP packet that each path carries.
    pub(super) widths: [usize; 2],
    /// What the client's TUN was set to, and when.
    pub(super) mtus: Vec<(Instant, u16)>,
    /// Packets that came out of the client's TUN, and of the server's.
    pub(super) given: [Vec<Vec<u8>>; 2],
    /// The client's sockets, by uplink, that take nothing; and those that were named meanwhile.
    pub(super) stuck: [bool; 2],
    named: BTreeSet<SocketId>,
    /// The client's TUN and the server's, if they take nothing.
    pub(super) full: [bool; 2],
    /// Datagrams that the client has sent by each uplink.
    pub(super) left: [u64; 2],
    /// Bytes of IP that were sent by each path: to the client, and to the server.
    pub(super) bytes: [[u64; 2]; 2],
}

pub(super) fn key(seed: u8) -> SecretKey {
    SecretKey::generate(&mut Rng::new([seed; 32]))
}

fn common(key: SecretKey) -> Common {
    let (ciphers, tuning) = (CipherOrder::slow_aes(), Tuning::default());
    Common { tun: TUN, offload: false, mtu: DEFAULT_MTU, key, ciphers, tuning }
}

pub(super) fn uplink(id: u16, weight: u16) -> Uplink {
    Uplink { id: UplinkId(id), via: Via::default(), weight }
}

/// A client with this key; each `life` has randomness of its own.
pub(super) fn client(own: u8, life: u8, token: &[u8]) -> Client {
    let config = ClientConfig {
        common: common(key(own)),
        server: SERVER,
        server_key: key(1).public(),
        psk: PresharedKey::NONE,
        token: token.to_vec(),
        uplinks: Vec::from([uplink(0, 1), uplink(1, 1)]),
    };
    Client::new(config, [life; 32]).expect("a whole configuration")
}

impl Pair {
    /// A server that knows these clients, and a client with this key and token.
    pub(super) fn new(known: &[PublicKey], own: u8, token: &[u8]) -> Pair {
        let known = known.iter().enumerate().map(|(at, key)| KnownClient {
            key: *key,
            psk: PresharedKey::NONE,
            addresses: Vec::from([IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2 + at as u8))]),
        });
        let config = ServerConfig {
            common: common(key(1)),
            listener: ListenerId(0),
            addresses: Vec::from([(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), 24)]),
            clients: known.collect(),
            max_clients: 2,
            allow_client_to_client: false,
            allow_private: true,
        };
        Pair {
            now: Instant::ZERO,
            client: client(own, own, token),
            server: Server::new(config, [9; 32]).expect("a whole configuration"),
            events: Vec::new(),
            aside: None,
            sockets: BTreeMap::new(),
            home: SERVER,
            towards: BTreeMap::new(),
            filtered: false,
            wire: Wire::new(),
            sent: 0,
            deaf: Instant::ZERO,
            widths: [1500; 2],
            mtus: Vec::new(),
            given: [Vec::new(), Vec::new()],
            stuck: [false; 2],
            named: BTreeSet::new(),
            full: [false; 2],
            left: [0; 2],
            bytes: [[0; 2]; 2],
        }
    }

    /// A pair that is connected.
    pub(super) fn connected() -> Pair {
        let mut pair = Pair::new(&[key(2).public()], 2, &[]);
        pair.run(Duration::from_millis(500));
        assert_eq!(pair.states(), [[PathState::Live; 2]; 2]);
        pair
    }

    /// Another client takes the place of the one there was, at other addresses.
    pub(super) fn replace(&mut self, client: Client) {
        self.client = client;
        self.sockets.clear();
        self.wire.clear();
    }

    /// How each path is, as the client and as the server sees it.
    pub(super) fn states(&self) -> [[PathState; 2]; 2] {
        let of = |status: &crate::bond::Status| [0, 1].map(|path| status.paths[path].state);
        [of(&self.client.status(self.now)), of(&self.server.status(self.now)[0].1)]
    }

    /// Packets from outside for the client, and time for each to leave.
    pub(super) fn download(&mut self, packets: u32) {
        self.download_of(packets, 1000);
    }

    /// The same, of `len` bytes each.
    pub(super) fn download_of(&mut self, packets: u32, len: u16) {
        for _ in 0..packets {
            self.download_bytes(&packet(len));
            self.run(Duration::from_millis(1));
        }
    }

    /// A packet that reaches the server's TUN.
    pub(super) fn download_bytes(&mut self, packet: &[u8]) {
        self.server.take_buf(TUN)[..packet.len()].copy_from_slice(packet);
        self.server.handle_packet(self.now, TUN, packet.len(), Offload::None);
        self.settle();
    }

    /// Packets from inside the client's host, a millisecond apart.
    pub(super) fn upload(&mut self, packets: u32) {
        let mut bytes = packet(1000);
        // From the inner address to the one outside: the sum of the header stays.
        bytes[12..16].copy_from_slice(&INSIDE.octets());
        bytes[16..20].copy_from_slice(&OUTSIDE.octets());
        for _ in 0..packets {
            self.client.take_buf(TUN)[..bytes.len()].copy_from_slice(&bytes);
            self.client.handle_packet(self.now, TUN, bytes.len(), Offload::None);
            self.settle();
            self.run(Duration::from_millis(1));
        }
    }

    /// Bytes that the server has sent by each path.
    pub(super) fn sent(&self) -> [u64; 2] {
        let status = &self.server.status(self.now)[0].1;
        [0, 1].map(|path| status.paths[path].sent_bytes)
    }

    fn settle(&mut self) {
        loop {
            let before = self.sent;
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::OpenSocket { socket, to, .. } => {
                        self.towards.insert(socket, to);
                        let port = 40_000 + socket.generation() as u16;
                        let local = SocketAddr::from(([198, 51, 100, socket.index() as u8], port));
                        self.sockets.insert(local, socket);
                        self.client.handle_input(self.now, Input::Opened { socket, local });
                    }
                    Output::CloseSocket { socket } => self.sockets.retain(|_, open| *open != socket),
                    Output::Event(Event::Bond { client, news }) => self.events.push((client, news)),
                    Output::Configure { configuration, .. } => self.mtus.push((self.now, configuration.mtu)),
                    _ => {}
                }
            }
            while let Some(output) = self.server.poll_output() {
                if let Output::Event(Event::Bond { client, news }) = output {
                    self.events.push((client, news));
                }
            }
            self.transmit();
            self.given[0].append(&mut drain(&mut self.client, self.now, self.full[0]));
            self.given[1].append(&mut drain(&mut self.server, self.now, self.full[1]));
            if self.sent == before {
                return;
            }
        }
    }

    fn transmit(&mut self) {
        let mut buf = [0; 65_535];
        self.named.extend(core::iter::from_fn(|| self.client.poll_dirty_socket()));
        for socket in self.named.clone() {
            let uplink = socket.index() as usize;
            if self.stuck[uplink] {
                continue;
            }
            self.named.remove(&socket);
            while let Some(sent) = self.client.poll_transmit(self.now, socket, &mut buf) {
                let from = self.sockets.iter().find(|(_, open)| **open == socket).map(|(from, _)| *from);
                let hears = self.now >= self.deaf && self.towards.get(&socket) == Some(&self.home);
                let Some(from) = from.filter(|_| hears) else {
                    self.sent += 1;
                    continue;
                };
                for datagram in buf[..sent.len].chunks(sent.segment.unwrap_or(sent.len)) {
                    self.left[uplink] += 1;
                    self.send(true, from, datagram);
                }
            }
        }
        while let Some(socket) = self.server.poll_dirty_socket() {
            while let Some(sent) = self.server.poll_transmit(self.now, socket, &mut buf) {
                let to = sent.to.expect("a server names the receiver");
                for datagram in buf[..sent.len].chunks(sent.segment.unwrap_or(sent.len)) {
                    self.send(false, to, datagram);
                }
            }
        }
    }

    fn send(&mut self, to_server: bool, other: SocketAddr, datagram: &[u8]) {
        self.sent += 1;
        let path = match other.ip() {
            IpAddr::V4(ip) => usize::from(ip.octets()[3]),
            IpAddr::V6(_) => 0,
        };
        self.bytes[usize::from(to_server)][path] += datagram.len() as u64 + 28;
        let init = PacketType::of(datagram[0]).is_ok_and(|kind| kind == PacketType::Init);
        if datagram.len() + 28 > self.widths[path] || self.filtered && init {
            return;
        }
        let at = self.now + Duration::from_millis(10);
        self.wire.insert((at, self.sent), (to_server, other, datagram.to_vec()));
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        self.settle();
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let timers = [self.client.poll_timeout(), self.server.poll_timeout(), arrival];
            let Some(next) = timers.into_iter().flatten().min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to_server, other, mut data) = entry.remove();
                let (stride, now) = (data.len(), self.now);
                let (from, to) = if to_server { (other, SERVER) } else { (SERVER, other) };
                let rx = Rx { data: &mut data, stride, from, to: Some(to.ip()), interface: None, ecn: 0 };
                if to_server {
                    self.server.handle_datagrams(now, SocketId::from_parts(0, 0), &mut [rx]);
                } else if let Some(socket) =
                    self.sockets.get(&other).filter(|socket| self.towards.get(socket) == Some(&self.home))
                {
                    if let Some(aside) = &mut self.aside {
                        let mut copy = rx.data.to_vec();
                        let rx =
                            Rx { data: &mut copy, stride, from, to: Some(to.ip()), interface: None, ecn: 0 };
                        aside.handle_datagrams(now, *socket, &mut [rx]);
                        while let Some(output) = aside.poll_output() {
                            if let Output::Event(Event::Bond { client, news }) = output {
                                self.events.push((client, news));
                            }
                        }
                    }
                    self.client.handle_datagrams(now, *socket, &mut [rx]);
                }
            }
            if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
                self.client.handle_timeout(self.now);
            }
            if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
                self.server.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = until;
    }
}

/// What the device takes: it is asked each time, as by a driver that hears that there is room.
fn drain(machine: &mut impl Application, now: Instant, full: bool) -> Vec<Vec<u8>> {
    let mut given = Vec::new();
    while machine.poll_dirty_tun().is_some() || !full {
        if full || machine.give_buf(TUN).is_none() {
            break;
        }
        while let Some((packet, _)) = machine.give_buf(TUN) {
            given.push(packet.to_vec());
            machine.handle_given(now, TUN, Ok(()));
        }
    }
    given
}

/// A packet of UDP to the client, without a checksum of its own.
pub(super) fn packet(len: u16) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    let mut packet = Vec::from([0x45, 0, high, low, 0, 7, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(OUTSIDE.octets());
    packet.extend(INSIDE.octets());
    let sum: u32 = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet.extend([0x01, 0xbb, 0x9c, 0x40]);
    packet.extend((len - 20).to_be_bytes());
    packet.resize(usize::from(len), 0);
    packet
}
