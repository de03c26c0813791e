//! Uplinks that are proxies: whatever such a proxy answers, and however it is split, nothing panics
//! and the contract holds.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run upstream --sanitizer none  # in core/
//! ```
//!
//! The first byte says what the proxy speaks, whether it has a login and how the client asks. The
//! rest is one of two:
//!
//! | first byte | the rest is | what holds |
//! | --- | --- | --- |
//! | below 128 | the proxy's answer | the client gets the same, whole or in pieces |
//! | else | a script of clients, proxies, faults and time | it ends, and nothing is left |

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::dispatch::{Config, Dispatch, Upstream, UpstreamProtocol};
use ropewalk_core::machine::*;
use ropewalk_core::time::{Duration, Instant};
use std::net::SocketAddr;

struct World {
    machine: Dispatch,
    now: Instant,
    accepts: Vec<StreamId>,
    connecting: Vec<StreamId>,
    open: Vec<StreamId>,
    queries: Vec<QueryId>,
    /// What the machine wrote to streams that were accepted.
    told: Vec<u8>,
    clients: Vec<StreamId>,
    finished: bool,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

impl World {
    fn new(kind: u8) -> Self {
        let protocol = [UpstreamProtocol::Socks5, UpstreamProtocol::Http][usize::from(kind & 1)];
        let login = (kind & 2 != 0).then(|| (b"user".to_vec(), b"word".to_vec()));
        let config = Config {
            listeners: vec![address("198.51.100.1:1080")],
            max_connections: 8,
            buffer_size: 2048,
            upstreams: vec![Some(Upstream { protocol, login }), None],
            ..Config::default()
        };
        let mut world = World {
            machine: Dispatch::new(config).expect("the configuration is well"),
            now: Instant::ZERO,
            accepts: Vec::new(),
            connecting: Vec::new(),
            open: Vec::new(),
            queries: Vec::new(),
            told: Vec::new(),
            clients: Vec::new(),
            finished: false,
        };
        world.settle(false);
        world
    }

    /// Does what a driver does after each input. `proxy_only`: no uplink without a proxy is there.
    fn settle(&mut self, proxy_only: bool) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.perform(output, proxy_only);
            }
            let Some(stream) = self.machine.poll_dirty() else { return };
            let buf = self.machine.write_buf(stream);
            let len = buf.len();
            if len > 0 && self.open.contains(&stream) {
                if self.clients.contains(&stream) {
                    self.told.extend_from_slice(buf);
                }
                self.machine.handle_input(self.now, Input::Written { stream, len });
            }
        }
    }

    fn perform(&mut self, output: Output, proxy_only: bool) {
        assert!(!self.finished, "{output:?} after Finished");
        match output {
            Output::Accept { stream, .. } => self.accepts.push(stream),
            Output::CancelAccept { stream, .. } => self.accepts.retain(|s| *s != stream),
            Output::Unlisten { .. } => self.accepts.clear(),
            Output::Connect { stream, .. } => self.connecting.push(stream),
            Output::Close { stream, .. } => {
                let before = self.open.len() + self.connecting.len();
                self.open.retain(|s| *s != stream);
                self.connecting.retain(|s| *s != stream);
                self.clients.retain(|s| *s != stream);
                assert_eq!(self.open.len() + self.connecting.len() + 1, before, "{stream:?} was not open");
            }
            Output::Shutdown { stream } => assert!(self.open.contains(&stream)),
            Output::Assign(assign) => {
                let last = if proxy_only { 1 } else { 2 };
                let uplink = (0..last).map(UplinkId).find(|uplink| !assign.tried.contains(*uplink));
                let assignment = uplink.map(|uplink| Assignment {
                    uplink: Some(uplink),
                    via: Via::default(),
                    endpoint: (uplink.0 == 0).then(|| address("198.51.100.7:1080")),
                    prefix64: None,
                    patience: Duration::from_millis(250),
                });
                self.machine.handle_input(self.now, Input::Assigned { conn: assign.conn, assignment });
            }
            Output::Resolve { query, .. } => self.queries.push(query),
            Output::CancelResolve { query } => self.queries.retain(|other| *other != query),
            Output::Finished => self.finished = true,
            Output::Report(_) | Output::Event(_) => {}
            other => panic!("never asked for: {other:?}"),
        }
    }

    /// A client comes.
    fn accept(&mut self) -> Option<StreamId> {
        let stream = self.accepts.pop()?;
        self.open.push(stream);
        self.clients.push(stream);
        let (peer, local) = (address("203.0.113.5:9"), address("198.51.100.1:1080"));
        self.machine.handle_input(self.now, Input::Accepted { stream, peer, local });
        Some(stream)
    }

    fn connected(&mut self, index: usize) {
        let stream = self.connecting.swap_remove(index);
        self.open.push(stream);
        self.machine.handle_input(self.now, Input::Connected { stream, local: address("10.0.0.1:1") });
    }

    /// Gives a stream these bytes, as far as it takes them.
    fn read(&mut self, stream: StreamId, mut bytes: &[u8], pieces: usize, proxy_only: bool) {
        while !bytes.is_empty() && self.open.contains(&stream) {
            let buf = self.machine.read_buf(stream);
            let len = buf.len().min(bytes.len()).min(pieces);
            if len == 0 {
                return;
            }
            buf[..len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            self.machine.handle_input(self.now, Input::Read { stream, len });
            self.settle(proxy_only);
        }
    }

    fn step(&mut self, op: u8, whom: u8, bytes: &[u8]) {
        let now = self.now;
        let pick = |all: &[StreamId]| (!all.is_empty()).then(|| all[usize::from(whom) % all.len()]);
        let open = pick(&self.open);
        match op % 12 {
            0 => {
                if let Some(client) = self.accept() {
                    self.read(client, &request(whom), usize::MAX, false);
                }
            }
            1..=3 => {
                if let Some(stream) = open {
                    self.read(stream, bytes, usize::MAX, false);
                }
            }
            4 => {
                if let Some(stream) = open.filter(|s| !self.machine.read_buf(*s).is_empty()) {
                    self.machine.handle_input(now, Input::ReadClosed { stream });
                }
            }
            5 | 6 if !self.connecting.is_empty() => self.connected(usize::from(whom) % self.connecting.len()),
            7 => {
                if let Some(stream) = pick(&self.connecting) {
                    self.connecting.retain(|s| *s != stream);
                    self.machine.handle_input(now, Input::ConnectFailed { stream, fault: Fault::Refused });
                }
            }
            8 => {
                if let Some(stream) = open {
                    self.machine.handle_input(now, Input::Failed { stream, fault: Fault::Reset });
                }
            }
            9 => {
                let Some(query) = self.queries.pop() else { return };
                match bytes.first_chunk::<4>().map(|octets| std::net::IpAddr::from(*octets)) {
                    Some(ip) => self.machine.handle_input(now, Input::Resolved { query, addresses: &[ip] }),
                    None => {
                        let fault = Fault::NameNotFound;
                        self.machine.handle_input(now, Input::ResolveFailed { query, fault });
                    }
                }
            }
            10 => self.now += Duration::from_millis(u64::from(whom) * 100),
            11 if whom == 0 => self.machine.handle_input(now, Input::Drain),
            11 => self.machine.handle_input(now, Input::UplinkGone { uplink: UplinkId(u16::from(whom & 1)) }),
            _ => {}
        }
        self.settle(false);
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.machine.handle_timeout(self.now);
        }
        self.settle(false);
    }

    /// Whatever has happened, it comes to an end.
    fn end(mut self) {
        self.machine.handle_input(self.now, Input::Drain);
        self.settle(false);
        for _ in 0..64 {
            for stream in self.open.clone() {
                self.machine.handle_input(self.now, Input::Failed { stream, fault: Fault::Reset });
                self.settle(false);
            }
            if let Some(at) = self.machine.poll_timeout() {
                self.now = self.now.max(at);
                self.machine.handle_timeout(self.now);
                self.settle(false);
            }
        }
        assert!(self.finished && self.open.is_empty() && self.connecting.is_empty(), "it does not finish");
    }
}

/// How a client asks.
fn request(kind: u8) -> Vec<u8> {
    let name = b"host.example";
    match kind >> 2 & 3 {
        0 => [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8][..], name, &[1, 187]].concat(),
        1 => vec![5, 1, 0, 5, 1, 0, 1, 203, 0, 113, 9, 0, 80],
        2 => b"CONNECT host.example:443 HTTP/1.1\r\nHost: host.example:443\r\n\r\n".to_vec(),
        _ => b"GET http://host.example/ HTTP/1.1\r\nHost: host.example\r\n\r\n".to_vec(),
    }
}

/// What a client hears when the proxy says this, in pieces of so many bytes, and hangs up; and what
/// the machine took it for.
fn heard(kind: u8, answer: &[u8], pieces: usize) -> (Vec<u8>, bool) {
    let mut world = World::new(kind);
    let client = world.accept().expect("it listens");
    world.read(client, &request(kind), usize::MAX, true);
    if world.connecting.is_empty() {
        return (world.told, false);
    }
    world.connected(0);
    world.settle(true);
    let proxy = *world.open.last().expect("just connected");
    world.read(proxy, answer, pieces, true);
    if world.open.contains(&proxy) && !world.machine.read_buf(proxy).is_empty() {
        world.machine.handle_input(world.now, Input::ReadClosed { stream: proxy });
        world.settle(true);
    }
    let open = world.open.contains(&client);
    let told = std::mem::take(&mut world.told);
    world.end();
    (told, open)
}

fuzz_target!(|input: &[u8]| {
    let [kind, rest @ ..] = input else { return };
    if *kind < 128 {
        // What plain HTTP makes of a body depends on its pieces: its chunks are new ones.
        let kind = if kind >> 2 & 3 == 3 { kind & 3 } else { *kind };
        let whole = heard(kind, rest, usize::MAX);
        for pieces in [1, 2, 7] {
            assert_eq!(heard(kind, rest, pieces), whole, "in pieces of {pieces}");
        }
        return;
    }
    let (mut world, mut rest) = (World::new(*kind), rest);
    while let [op, whom, len, more @ ..] = rest {
        let (bytes, after) = more.split_at(usize::from(*len).min(more.len()));
        world.step(*op, *whom, bytes);
        rest = after;
        if world.finished {
            return;
        }
    }
    world.end();
});
