//! What both machines of a bond cost for each packet, without a system around them: ingest,
//! schedule, seal, open, order, join.
//!
//! ```text
//! cargo bench -p ropewalk-core --bench bond_pair
//! ```
//!
//! A client uploads one TCP flow over one path in virtual time, as superpackets (`offload`) or
//! packet by packet (`plain`). Each figure is the best of many rounds: the others were disturbed.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use ropewalk_core::bond::crypto::{CipherOrder, PresharedKey, Rng, SecretKey};
use ropewalk_core::bond::{
    Client, ClientConfig, Common, DEFAULT_MTU, KnownClient, Server, ServerConfig, Tuning, Uplink,
};
use ropewalk_core::machine::{
    Application, DatagramMachine, Input, ListenerId, Machine, Offload, Output, Rx, SocketId, TunId,
    TunMachine, UplinkId, Via,
};
use ropewalk_core::time::{Duration, Instant};

const TUN: TunId = TunId(0);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4500);
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 4000);
const INSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
/// Bytes of IP and TCP headers, with timestamps.
const HEADERS: usize = 52;
const SEGMENT: usize = DEFAULT_MTU as usize - HEADERS;
const SEGMENTS: usize = 44;
/// Superpackets, or as many single ones, in a round.
const RUNS: u32 = 16;
const ROUNDS: u32 = 400;
/// 44 packets each: 4 Gbit/s.
const APART: Duration = Duration::from_micros(125);

struct Pair {
    now: Instant,
    client: Client,
    server: Server,
    socket: SocketId,
    buf: Vec<u8>,
    sequence: u32,
    given: usize,
}

impl Pair {
    fn new(offload: bool) -> Pair {
        let key = |seed| SecretKey::generate(&mut Rng::new([seed; 32]));
        let common = |key| Common {
            tun: TUN,
            offload,
            mtu: DEFAULT_MTU,
            key,
            ciphers: CipherOrder::fast_aes(),
            tuning: Tuning::default(),
        };
        let known =
            KnownClient { key: key(2).public(), psk: PresharedKey::NONE, addresses: vec![INSIDE[1].into()] };
        let server = ServerConfig {
            common: common(key(1)),
            listener: ListenerId(0),
            addresses: vec![(INSIDE[0].into(), 24)],
            clients: vec![known],
            max_clients: 2,
            allow_client_to_client: false,
            allow_private: false,
        };
        let client = ClientConfig {
            common: common(key(2)),
            server: SERVER,
            server_key: key(1).public(),
            psk: PresharedKey::NONE,
            token: Vec::new(),
            uplinks: vec![Uplink { id: UplinkId(0), via: Via::default(), weight: 1 }],
        };
        let mut pair = Pair {
            now: Instant::ZERO,
            client: Client::new(client, [3; 32]).expect("a whole configuration"),
            server: Server::new(server, [4; 32]).expect("a whole configuration"),
            socket: SocketId::from_parts(0, 0),
            buf: vec![0; 65_536],
            sequence: 0,
            given: 0,
        };
        for _ in 0..1000 {
            pair.pass(Duration::from_millis(1));
        }
        assert_eq!(pair.server.status(pair.now).len(), 1, "a client has come in");
        pair
    }

    /// Lets time pass, and everything move that can.
    fn pass(&mut self, span: Duration) {
        self.now += span;
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
        }
        while let Some(output) = self.client.poll_output() {
            if let Output::OpenSocket { socket, .. } = output {
                self.socket = socket;
                self.client.handle_input(self.now, Input::Opened { socket, local: CLIENT });
            }
        }
        while self.server.poll_output().is_some() {}
        let (now, buf) = (self.now, &mut self.buf[..]);
        while let Some(socket) = self.client.poll_dirty_socket() {
            carry(
                now,
                buf,
                (&mut self.client, socket),
                (&mut self.server, SocketId::from_parts(0, 0)),
                CLIENT,
            );
        }
        while let Some(socket) = self.server.poll_dirty_socket() {
            carry(now, buf, (&mut self.server, socket), (&mut self.client, self.socket), SERVER);
        }
        self.given += drain(&mut self.server, now);
        drain(&mut self.client, now);
    }

    /// A flow's next bytes, as one superpacket or as single packets.
    fn upload(&mut self, offload: bool) {
        let segments = if offload { SEGMENTS } else { 1 };
        for _ in 0..SEGMENTS / segments {
            let payload = SEGMENT * segments;
            let packet = self.client.take_buf(TUN);
            write_headers(packet, HEADERS + payload, self.sequence);
            self.sequence = self.sequence.wrapping_add(payload as u32);
            let tcp = Offload::Tcp { header: HEADERS as u16, size: SEGMENT as u16, v6: false };
            let how = if offload { tcp } else { Offload::None };
            self.client.handle_packet(self.now, TUN, HEADERS + payload, how);
        }
    }
}

/// Carries what one end has to send to the other.
fn carry(
    now: Instant,
    buf: &mut [u8],
    (from, socket): (&mut impl Application, SocketId),
    (to, at): (&mut impl Application, SocketId),
    sender: SocketAddr,
) {
    while let Some(sent) = from.poll_transmit(now, socket, buf) {
        let stride = sent.segment.unwrap_or(sent.len);
        let data = &mut buf[..sent.len];
        let rx = Rx { data, stride, from: sender, to: None, interface: None, ecn: sent.ecn };
        to.handle_datagrams(now, at, &mut [rx]);
    }
}

/// Takes what one end gives to its TUN; bytes of payload.
fn drain(machine: &mut impl Application, now: Instant) -> usize {
    while machine.poll_dirty_tun().is_some() {}
    let mut bytes = 0;
    while let Some((packet, _)) = machine.give_buf(TUN) {
        bytes += packet.len() - HEADERS;
        machine.handle_given(now, TUN, Ok(()));
    }
    bytes
}

/// The headers of IPv4 and TCP. What the payload is does not matter, nor does TCP's sum.
fn write_headers(packet: &mut [u8], len: usize, sequence: u32) {
    packet[..HEADERS].fill(0);
    (packet[0], packet[6], packet[8], packet[9]) = (0x45, 0x40, 64, 6);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[12..16].copy_from_slice(&INSIDE[1].octets());
    packet[16..20].copy_from_slice(&INSIDE[0].octets());
    packet[20..24].copy_from_slice(&[0x9c, 0x40, 0x14, 0x51]);
    packet[24..28].copy_from_slice(&sequence.to_be_bytes());
    (packet[32], packet[33]) = (0x80, 0x10);
}

fn main() {
    println!("{:<10} {:>14}", "TUN", "ns a packet");
    for (name, offload) in [("offload", true), ("plain", false)] {
        let mut pair = Pair::new(offload);
        let mut best = std::time::Duration::MAX;
        for _ in 0..ROUNDS {
            let before = pair.given;
            let began = std::time::Instant::now();
            for _ in 0..RUNS {
                pair.upload(offload);
                pair.pass(APART);
            }
            let carried = pair.given - before;
            // While the rate is sought some of it waits.
            if carried == RUNS as usize * SEGMENTS * SEGMENT {
                best = best.min(began.elapsed());
            }
        }
        let packets = f64::from(RUNS) * SEGMENTS as f64;
        println!("{name:<10} {:>14.0}", best.as_nanos() as f64 / packets);
    }
}
