//! A client and a server, each with its driver, joined by links: the shipped machines and the
//! shipped driver in virtual time.

use super::io::{LabIo, SERVER};
use super::link::{Datagram, Dice, Link, Nature};
use ropewalk_core::bond::crypto::{CipherOrder, PresharedKey, Rng, SecretKey};
use ropewalk_core::bond::{Client, ClientConfig, Common, KnownClient, Server, ServerConfig, Tuning, Uplink};
use ropewalk_core::drive::{Drive, Turn};
use ropewalk_core::machine::{Application, Device, Input, ListenerId, Offload, TunId, UplinkId, Via};
use ropewalk_core::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The headers of IPv4 and UDP.
pub(crate) const HEADERS: usize = 28;

/// What a datagram has beside an inner packet, and the inner packets that tell themselves from all
/// else by their length.
pub(crate) const OVERHEAD: usize = 36;
pub(crate) const SHORTEST: usize = 300;
pub(crate) const LONGEST: usize = 1200;

/// A turn's fuel, as the shipped driver's, and turns in a row without a wait: more is a machine
/// that never comes to rest.
const FUEL: usize = 64;
const RESTLESS: u32 = 20_000;

/// A machine with its driver and its sockets.
pub(crate) struct End<M> {
    pub(crate) machine: M,
    pub(crate) drive: Drive,
    pub(crate) io: LabIo,
    pub(crate) finished: bool,
    alarm: Option<Instant>,
}

impl<M: Application> End<M> {
    fn new(machine: M, io: LabIo) -> Self {
        End { machine, drive: Drive::new(), io, finished: false, alarm: Some(Instant::ZERO) }
    }

    pub(crate) fn input(&mut self, now: Instant, input: Input<'_>) {
        self.io.now = now;
        self.drive.input(&mut self.machine, &mut self.io, input);
        self.turn(now);
    }

    pub(crate) fn turn(&mut self, now: Instant) {
        self.io.now = now;
        for _ in 0..RESTLESS {
            let Turn { more, timeout, finished } = self.drive.turn(&mut self.machine, &mut self.io, FUEL);
            self.finished |= finished;
            if !more {
                self.alarm = timeout;
                return;
            }
        }
        panic!("the machine has not come to rest at {now:?} after {RESTLESS} turns");
    }

    /// The system sends a packet into the TUN.
    pub(crate) fn ingest(&mut self, now: Instant, packet: Vec<u8>, offload: Offload) {
        self.io.tun_in.push_back((packet, offload));
        self.drive.tun_ready(TunId(0), true, false);
        self.turn(now);
    }

    /// The sockets take what is sent, or they do not.
    pub(crate) fn block(&mut self, now: Instant, index: usize, blocked: bool) {
        if let Some(uplink) = self.io.uplinks.get_mut(index) {
            uplink.blocked = blocked;
        }
        if let Some(socket) = self.io.sockets.get_mut(index) {
            socket.blocked = blocked;
            self.drive.socket_ready(index as u32, false, !blocked);
            self.turn(now);
        }
    }

    /// The system takes packets out of the TUN, or it does not.
    pub(crate) fn stop_reading(&mut self, now: Instant, stop: bool) {
        self.io.tun_full = stop;
        self.drive.tun_ready(TunId(0), false, !stop);
        self.turn(now);
    }
}

/// How the two ends are set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    /// For each client, for each of its links: up and down.
    pub(crate) clients: Vec<Vec<[Nature; 2]>>,
    /// The client's device takes superpackets, the server's does.
    pub(crate) offload: [bool; 2],
    pub(crate) tuning: Tuning,
}

/// All of it.
pub(crate) struct Lab {
    pub(crate) now: Instant,
    pub(crate) setup: Setup,
    pub(crate) clients: Vec<End<Client>>,
    pub(crate) server: End<Server>,
    /// By client and link: up and down.
    pub(crate) links: Vec<Vec<[Link; 2]>>,
    /// How often the NAT of each has forgotten.
    pub(crate) rebinds: Vec<Vec<u16>>,
    pub(crate) dice: Dice,
    /// The last datagrams that were sent, for replays.
    pub(crate) heard: Vec<Datagram>,
    /// Datagrams to addresses that are no client's: bytes of IP by address.
    pub(crate) answered: BTreeMap<SocketAddr, usize>,
    /// Receiver index, path and number of all that was sealed, once more the sender.
    sealed: BTreeSet<(bool, [u8; 9])>,
    /// FNV-1a over all that the two sides sent, and when.
    pub(crate) hash: u64,
    /// Bytes of small sealed IP packets that the clients sent, and the server.
    pub(crate) sent: [u64; 2],
    /// Bytes of IP that the clients sent, and the server, in datagrams of data's size, by path.
    pub(crate) data: [BTreeMap<u8, u64>; 2],
    /// The lengths of those that have come: to the server, and to the clients.
    pub(crate) brought: [Vec<usize>; 2],
    /// The next large datagram to the server comes from there.
    pub(crate) hijack: Option<SocketAddr>,
    keys: Vec<SecretKey>,
    server_key: SecretKey,
    psk: PresharedKey,
    rng: Rng,
}

/// The inner address of a client.
pub(crate) fn inside(client: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, (client / 250) as u8, (client % 250) as u8 + 2)
}

fn address(client: usize, link: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, client as u8 / 100, client as u8 % 100, link as u8 + 1)), 0)
}

fn place(address: SocketAddr) -> Option<(usize, usize)> {
    match address.ip() {
        IpAddr::V4(v4) if v4.octets()[0] == 203 => {
            let [_, hundreds, client, link] = v4.octets();
            Some((usize::from(hundreds) * 100 + usize::from(client), usize::from(link) - 1))
        }
        _ => None,
    }
}

impl Lab {
    pub(crate) fn new(setup: Setup) -> Lab {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&setup.seed.to_le_bytes());
        let mut rng = Rng::new(seed);
        let server_key = SecretKey::generate(&mut rng);
        let keys: Vec<SecretKey> = setup.clients.iter().map(|_| SecretKey::generate(&mut rng)).collect();
        let psk = PresharedKey::generate(&mut rng);
        let links = setup
            .clients
            .iter()
            .map(|links| links.iter().map(|both| both.map(Link::new)).collect::<Vec<_>>());
        let links: Vec<Vec<[Link; 2]>> = links.collect();
        let mut lab = Lab {
            now: Instant::from_nanos(1_000_000_000),
            rebinds: links.iter().map(|links| vec![0; links.len()]).collect(),
            links,
            clients: Vec::new(),
            server: server_end(&setup, &server_key, &keys, &psk, rng.seed()),
            dice: Dice::new(setup.seed),
            heard: Vec::new(),
            answered: BTreeMap::new(),
            sealed: BTreeSet::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            sent: [0; 2],
            data: Default::default(),
            brought: Default::default(),
            hijack: None,
            keys,
            server_key,
            psk,
            rng,
            setup,
        };
        for client in 0..lab.setup.clients.len() {
            let end = lab.client_end(client);
            lab.clients.push(end);
        }
        lab
    }

    fn client_end(&mut self, client: usize) -> End<Client> {
        let links = self.setup.clients[client].len();
        let uplink = |index: usize| Uplink {
            id: UplinkId(index as u16),
            via: Via { device: Device::new(&format!("up{index}")), ..Via::default() },
            weight: 1,
        };
        let config = ClientConfig {
            common: common(&self.setup, 0, &self.keys[client]),
            server: SERVER.parse().expect("literal"),
            server_key: self.server_key.public(),
            psk: self.psk.clone(),
            token: Vec::new(),
            uplinks: (0..links).map(uplink).collect(),
        };
        let machine = Client::new(config, self.rng.seed()).expect("a configuration that can be");
        let addresses = (0..links).map(|link| address(client, link)).collect();
        End::new(machine, LabIo::new(addresses, self.setup.seed + client as u64))
    }

    /// The client begins anew, with nothing of what it knew.
    pub(crate) fn restart_client(&mut self, client: usize) {
        let fresh = self.client_end(client);
        let old = std::mem::replace(&mut self.clients[client], fresh);
        let io = &mut self.clients[client].io;
        (io.uplinks, io.tun_full) = (old.io.uplinks, old.io.tun_full);
    }

    /// The server begins anew, with nothing of what it knew.
    pub(crate) fn restart_server(&mut self) {
        let seed = self.rng.seed();
        let fresh = server_end(&self.setup, &self.server_key, &self.keys, &self.psk, seed);
        let old = std::mem::replace(&mut self.server, fresh);
        self.server.io.tun_full = old.io.tun_full;
        let blocked = old.io.sockets.first().is_some_and(|socket| socket.blocked);
        let now = self.now;
        self.server.turn(now);
        self.server.block(now, 0, blocked);
    }

    /// Time passes.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Time passes until `done`, at most for so long. Whether it came about.
    pub(crate) fn run_until(&mut self, time: Duration, mut done: impl FnMut(&Lab) -> bool) -> bool {
        let end = self.now + time;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return false;
            }
        }
    }

    /// To the next event, at most to `end`. False when there is none before.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        self.flush();
        let links = self.links.iter().flatten().flatten().filter_map(Link::next);
        let alarms = self.clients.iter().filter_map(|client| client.alarm).chain(self.server.alarm);
        let next = links.chain(alarms).min().map_or(end, |next| next.max(self.now));
        if next >= end {
            self.now = end;
            return false;
        }
        self.now = next;
        let now = next;
        for client in 0..self.links.len() {
            for link in 0..self.links[client].len() {
                while let Some(mut datagram) = self.links[client][link][0].poll(now) {
                    if let Some(address) = self.hijack.take_if(|_| datagram.data.len() > 800) {
                        datagram.from = address;
                    }
                    self.reach_server(datagram);
                }
                while let Some(mut datagram) = self.links[client][link][1].poll(now) {
                    let port = datagram.to.port().wrapping_sub(self.rebinds[client][link] * 1000);
                    datagram.to.set_port(port);
                    self.reach_client(client, datagram);
                }
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.alarm.is_some_and(|at| at <= now)) {
            client.turn(now);
        }
        if self.server.alarm.is_some_and(|at| at <= now) {
            self.server.turn(now);
        }
        true
    }

    pub(crate) fn reach_server(&mut self, datagram: Datagram) {
        let len = datagram.data.len();
        if let Some(socket) = self.server.io.arrive(datagram) {
            self.brought[0].extend(is_data(len).then_some(len));
            self.server.drive.socket_ready(socket, true, false);
            self.server.turn(self.now);
        }
    }

    pub(crate) fn reach_client(&mut self, client: usize, datagram: Datagram) {
        let len = datagram.data.len();
        if let Some(socket) = self.clients[client].io.arrive(datagram) {
            self.brought[1].extend(is_data(len).then_some(len));
            self.clients[client].drive.socket_ready(socket, true, false);
            self.clients[client].turn(self.now);
        }
    }

    /// Several datagrams come at once: the receiver's system joins what is alike.
    pub(crate) fn burst_to_server(&mut self, datagrams: impl IntoIterator<Item = Datagram>) {
        for datagram in datagrams {
            if let Some(socket) = self.server.io.arrive(datagram) {
                self.server.drive.socket_ready(socket, true, false);
            }
        }
        self.server.turn(self.now);
    }

    fn note(&mut self, side: usize, datagram: &Datagram) {
        // Probes of the MTU are large, and few.
        let small = datagram.data[0] >> 1 & 0x1f == 4 && datagram.data.len() < 200;
        self.sent[side] += if small { datagram.data.len() as u64 + 28 } else { 0 };
        let at = self.now.as_nanos().to_le_bytes();
        for byte in at.iter().chain(&datagram.to.port().to_le_bytes()).chain(&datagram.data) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// What the ends have sent enters the links.
    pub(crate) fn flush(&mut self) {
        let now = self.now;
        for client in 0..self.clients.len() {
            while let Some(mut datagram) = self.clients[client].io.outbox.pop_front() {
                let (_, link) = place(datagram.from).expect("a client's address");
                self.remember(true, &datagram);
                datagram.from.set_port(datagram.from.port().wrapping_add(self.rebinds[client][link] * 1000));
                self.links[client][link][0].send(now, &mut self.dice, datagram);
            }
        }
        while let Some(datagram) = self.server.io.outbox.pop_front() {
            self.remember(false, &datagram);
            match place(datagram.to) {
                Some((client, link)) if client < self.links.len() => {
                    self.links[client][link][1].send(now, &mut self.dice, datagram);
                }
                _ => *self.answered.entry(datagram.to).or_default() += datagram.data.len() + HEADERS,
            }
        }
    }

    fn remember(&mut self, by_client: bool, datagram: &Datagram) {
        self.note(usize::from(!by_client), datagram);
        let data = &datagram.data;
        if data[0] >> 1 & 0x1f == 4 {
            let place: [u8; 9] = data[1..10].try_into().expect("nine bytes");
            assert!(
                self.sealed.insert((by_client, place)),
                "sealed twice with one key, path and number: {place:?}"
            );
            if is_data(data.len()) {
                *self.data[usize::from(!by_client)].entry(data[5]).or_default() += data.len() as u64 + 28;
            }
        }
        if self.heard.len() < 256 {
            self.heard.push(datagram.clone());
        } else {
            let at = self.dice.below(256) as usize;
            self.heard[at] = datagram.clone();
        }
    }
}

/// Whether a datagram of that length can only be data, if inner packets have [`SHORTEST`] to
/// [`LONGEST`] bytes: those of control are shorter, probes of an MTU longer.
fn is_data(len: usize) -> bool {
    (SHORTEST + OVERHEAD..=LONGEST + OVERHEAD).contains(&len)
}

fn common(setup: &Setup, side: usize, key: &SecretKey) -> Common {
    Common {
        tun: TunId(0),
        offload: setup.offload[side],
        mtu: 1436,
        key: key.clone(),
        ciphers: CipherOrder::fast_aes(),
        tuning: setup.tuning,
    }
}

fn server_end(
    setup: &Setup,
    key: &SecretKey,
    clients: &[SecretKey],
    psk: &PresharedKey,
    seed: [u8; 32],
) -> End<Server> {
    let known = clients.iter().enumerate().map(|(client, key)| KnownClient {
        key: key.public(),
        psk: psk.clone(),
        addresses: vec![IpAddr::V4(inside(client))],
    });
    let config = ServerConfig {
        common: common(setup, 1, key),
        listener: ListenerId(0),
        addresses: vec![(IpAddr::V4(INSIDE), 16)],
        clients: known.collect(),
        max_clients: 1024,
        allow_client_to_client: false,
        allow_private: false,
    };
    let machine = Server::new(config, seed).expect("a configuration that can be");
    End::new(machine, LabIo::new(Vec::new(), setup.seed ^ 0xffff))
}
