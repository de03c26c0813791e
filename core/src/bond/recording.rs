//! A recording of two ends that speak with each other: what a second implementation can be held
//! against. Its lines:
//!
//! ```text
//!   key c 1 HEX      what the client seals with, by cipher 1;  key s ...: the server
//!   tun c HEX        the client's TUN gave this inner packet;  tun s ...: the server's
//!   c 0 HEX          the client sent this datagram by path 0;  s 0 ...: the server to path 0
//!   lost c 1 HEX     likewise, and it did not arrive
//! ```
//!
//! `core/examples/bond_decode.rs` reads it, and `core/tests/bond_decode.rs` holds the two against
//! each other.

use super::crypto::{Cipher, CipherOrder, PresharedKey, Rng, SecretKey};
use super::{Client, ClientConfig, Common, DEFAULT_MTU, KnownClient, Server, ServerConfig, Tuning, Uplink};
use crate::machine::{
    Application, DatagramMachine, Input, ListenerId, Machine, Offload, Output, Rx, SocketId, TunId,
    TunMachine, UplinkId, Via,
};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::string::String;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4500);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const TUN: TunId = TunId(0);

/// Where the client's path is, as the server sees it.
fn address(path: u32) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1 + path as u8], 40_000))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Datagrams under way: when they arrive, in which order they left, to whom (true: the server), by
/// which path.
type Wire = BTreeMap<(Instant, u64), (bool, u32, Vec<u8>)>;

struct World {
    now: Instant,
    client: Client,
    server: Server,
    sockets: Vec<SocketId>,
    wire: Wire,
    sent: u64,
    text: String,
    /// The keys that the text has, of the client and of the server.
    keys: [Option<(u8, [u8; 32])>; 2],
    /// Datagrams with data that path 1 carried to the server.
    far: u32,
}

impl World {
    fn new() -> World {
        let mut rng = Rng::new([7; 32]);
        let (own, theirs) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
        let psk = PresharedKey::generate(&mut rng);
        let common = |key: &SecretKey| Common {
            tun: TUN,
            offload: false,
            mtu: DEFAULT_MTU,
            key: key.clone(),
            ciphers: CipherOrder::only(Cipher::ChaCha20Poly1305),
            tuning: Tuning::default(),
        };
        let uplink = |id| Uplink { id: UplinkId(id), via: Via::default(), weight: 1 };
        let client = ClientConfig {
            common: common(&own),
            server: SERVER,
            server_key: theirs.public(),
            psk: psk.clone(),
            token: Vec::new(),
            uplinks: Vec::from([uplink(0), uplink(1)]),
        };
        let known = KnownClient { key: own.public(), psk, addresses: Vec::from([IpAddr::V4(INSIDE)]) };
        let server = ServerConfig {
            common: common(&theirs),
            listener: ListenerId(0),
            addresses: Vec::from([(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), 24)]),
            clients: Vec::from([known]),
            max_clients: 4,
            allow_client_to_client: false,
            allow_private: true,
        };
        World {
            now: Instant::ZERO,
            client: Client::new(client, [1; 32]).expect("it is a whole configuration"),
            server: Server::new(server, [2; 32]).expect("it is a whole configuration"),
            sockets: Vec::new(),
            wire: Wire::new(),
            sent: 0,
            text: String::new(),
            keys: [None; 2],
            far: 0,
        }
    }

    /// Lets both ends act until neither has more to say at this instant.
    fn settle(&mut self) {
        loop {
            let before = self.sent;
            while let Some(output) = self.client.poll_output() {
                if let Output::OpenSocket { socket, .. } = output {
                    self.sockets.push(socket);
                    let local = address(socket.index());
                    self.client.handle_input(self.now, Input::Opened { socket, local });
                }
            }
            while self.server.poll_output().is_some() {}
            self.tell_keys();
            self.transmit();
            // What the device is given is not looked at.
            drain(&mut self.client, self.now);
            drain(&mut self.server, self.now);
            if self.sent == before {
                return;
            }
        }
    }

    /// Writes down the keys that are new.
    fn tell_keys(&mut self) {
        let now = [self.client.sealing_key(), self.server.sealing_key()];
        for (index, key) in now.into_iter().enumerate() {
            if let Some((cipher, bytes)) = key.filter(|_| key != self.keys[index]) {
                let _ = writeln!(self.text, "key {} {cipher} {}", ['c', 's'][index], hex(&bytes));
                self.keys[index] = key;
            }
        }
    }

    fn transmit(&mut self) {
        let mut buf = [0; 65_535];
        while let Some(socket) = self.client.poll_dirty_socket() {
            while let Some(sent) = self.client.poll_transmit(self.now, socket, &mut buf) {
                for datagram in buf[..sent.len].chunks(sent.segment.unwrap_or(sent.len)) {
                    self.send(true, socket.index(), datagram);
                }
            }
        }
        while let Some(socket) = self.server.poll_dirty_socket() {
            while let Some(sent) = self.server.poll_transmit(self.now, socket, &mut buf) {
                let to = sent.to.expect("a server names the receiver");
                let path = (0..2).find(|path| address(*path) == to).expect("it is a path of the client");
                for datagram in buf[..sent.len].chunks(sent.segment.unwrap_or(sent.len)) {
                    self.send(false, path, datagram);
                }
            }
        }
    }

    /// Path 0 takes 10 ms, path 1 takes 12 ms and loses the third of the client's large packets.
    fn send(&mut self, to_server: bool, path: u32, datagram: &[u8]) {
        self.far += u32::from(to_server && path == 1 && datagram.len() > 1000);
        let lost = self.far == 3 && to_server && path == 1 && datagram.len() > 1000;
        let (word, side) = (if lost { "lost " } else { "" }, if to_server { 'c' } else { 's' });
        let _ = writeln!(self.text, "{word}{side} {path} {}", hex(datagram));
        let delay = Duration::from_millis(if path == 0 { 10 } else { 12 });
        self.sent += 1;
        if !lost {
            self.wire.insert((self.now + delay, self.sent), (to_server, path, datagram.to_vec()));
        }
    }

    /// Lets time pass until `until`.
    fn run(&mut self, until: Instant) {
        self.settle();
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let timers = [self.client.poll_timeout(), self.server.poll_timeout(), arrival];
            let Some(next) = timers.into_iter().flatten().min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to_server, path, mut data) = entry.remove();
                let (from, to) = if to_server { (address(path), SERVER) } else { (SERVER, address(path)) };
                let stride = data.len();
                let rx = Rx { data: &mut data, stride, from, to: Some(to.ip()), interface: None, ecn: 0 };
                if to_server {
                    self.server.handle_datagrams(self.now, SocketId::from_parts(0, 0), &mut [rx]);
                } else {
                    self.client.handle_datagrams(self.now, self.sockets[path as usize], &mut [rx]);
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

    fn inner(&mut self, by_client: bool, packet: &[u8]) {
        let _ = writeln!(self.text, "tun {} {}", if by_client { 'c' } else { 's' }, hex(packet));
        if by_client {
            self.client.take_buf(TUN)[..packet.len()].copy_from_slice(packet);
            self.client.handle_packet(self.now, TUN, packet.len(), Offload::None);
        } else {
            self.server.take_buf(TUN)[..packet.len()].copy_from_slice(packet);
            self.server.handle_packet(self.now, TUN, packet.len(), Offload::None);
        }
        self.settle();
    }
}

fn drain(machine: &mut impl Application, now: Instant) {
    while machine.poll_dirty_tun().is_some() {
        while machine.give_buf(TUN).is_some() {
            machine.handle_given(now, TUN, Ok(()));
        }
    }
}

/// Two ends with two paths: handshake, configuration, three flows one way, one the other, and the
/// end. Path 1 loses a packet.
pub(super) fn record() -> String {
    let mut world = World::new();
    world.settle();
    world.run(Instant::ZERO + Duration::from_millis(400));
    for round in 0..12u8 {
        for flow in 0..3 {
            world.inner(true, &packet(INSIDE, OUTSIDE, 40_000 + flow, &[round; 1300]));
        }
        world.inner(false, &packet(OUTSIDE, INSIDE, 443, b"an answer"));
        let next = world.now + Duration::from_millis(2);
        world.run(next);
    }
    world.run(Instant::ZERO + Duration::from_millis(900));
    world.client.handle_input(world.now, Input::Drain);
    world.settle();
    world.text
}

/// An IPv4 packet with TCP inside; its checksum does not matter.
fn packet(source: Ipv4Addr, to: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::from([0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0]);
    packet.extend(source.octets());
    packet.extend(to.octets());
    packet.extend(port.to_be_bytes());
    packet.extend([1, 187, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.extend(payload);
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    let sum: u32 = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}
