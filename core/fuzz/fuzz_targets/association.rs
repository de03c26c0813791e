//! UDP associations of the dispatch machine: whatever a client, its neighbours and servers send,
//! however it is grouped, whatever fails and whenever, nothing panics and the contract holds.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run association --sanitizer none  # in core/
//! ```
//!
//! The first uplink has a name server, carries IPv6 alone, and has a rate; what comes from the name
//! server is fuzzed too.
//!
//! An input is a script: a byte says what happens, the next ones to whom and how much of the rest
//! is sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::dispatch::{Config, Dispatch, NamesConfig, Rate};
use ropewalk_core::machine::*;
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::Prefix64;
use std::net::SocketAddr;

struct World {
    machine: Dispatch,
    now: Instant,
    accepts: Vec<StreamId>,
    open: Vec<StreamId>,
    sockets: Vec<SocketId>,
    /// Sockets that speak with a name server alone.
    askers: Vec<SocketId>,
    /// Those that did not open.
    failed: Vec<SocketId>,
    queries: Vec<QueryId>,
    finished: bool,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

fn config() -> Config {
    Config {
        listeners: vec![address("198.51.100.1:1080")],
        max_connections: 8,
        max_associations: 4,
        max_destinations: 3,
        max_queue: 70_000,
        max_lookups: 2,
        buffer_size: 2048,
        names: NamesConfig {
            resolvers: vec![vec![address("[2001:db8::53]:53")]],
            cache: 2,
            v6_only: UplinkSet::from_bits(1),
            ..NamesConfig::default()
        },
        rates: vec![Some(Rate { sent: Some(1000), received: Some(1000) })],
        ..Config::default()
    }
}

impl World {
    /// Does what a driver does after each input.
    fn settle(&mut self, fail: u8) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.perform(output, fail);
            }
            if let Some(stream) = self.machine.poll_dirty() {
                let len = self.machine.write_buf(stream).len();
                if len > 0 && self.open.contains(&stream) {
                    self.machine.handle_input(self.now, Input::Written { stream, len: len.div_ceil(2) });
                }
            } else if let Some(socket) = self.machine.poll_dirty_socket() {
                let mut buf = [0; 65_536];
                while let Some(sent) = self.machine.poll_transmit(self.now, socket, &mut buf) {
                    assert!(self.sockets.contains(&socket), "{socket:?} is closed");
                    assert!(sent.len <= buf.len() && sent.to.is_some() != self.askers.contains(&socket));
                }
            } else {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output, fail: u8) {
        assert!(!self.finished, "{output:?} after Finished");
        match output {
            Output::Accept { stream, .. } => self.accepts.push(stream),
            Output::CancelAccept { stream, .. } => self.accepts.retain(|s| *s != stream),
            Output::Unlisten { .. } => self.accepts.clear(),
            Output::Connect { stream, .. } => {
                let fault = Fault::Refused;
                self.machine.handle_input(self.now, Input::ConnectFailed { stream, fault });
            }
            Output::Close { stream, .. } => {
                assert!(self.open.contains(&stream), "{stream:?} was not open");
                self.open.retain(|s| *s != stream);
            }
            Output::Shutdown { stream } => assert!(self.open.contains(&stream)),
            Output::BindSocket { socket, to, .. } if fail & 1 != 0 && to.port() & 1 != 0 => {
                self.machine.handle_input(self.now, Input::OpenFailed { socket, fault: Fault::NoRoute });
            }
            Output::BindSocket { socket, mut local, .. } => {
                self.sockets.push(socket);
                local.set_port(9);
                self.machine.handle_input(self.now, Input::Opened { socket, local });
            }
            Output::OpenSocket { socket, .. } if fail & 1 != 0 => {
                self.failed.push(socket);
                self.machine.handle_input(self.now, Input::OpenFailed { socket, fault: Fault::NoRoute });
            }
            Output::OpenSocket { socket, .. } => {
                self.sockets.push(socket);
                self.askers.push(socket);
                let local = address("[2001:db8::1]:9");
                self.machine.handle_input(self.now, Input::Opened { socket, local });
            }
            Output::Entropy => self.machine.handle_input(self.now, Input::Entropy { bytes: &[0; 32] }),
            Output::CloseSocket { socket } => {
                // What fails to open may have been given up in the same breath: then both cross.
                let crossed = self.failed.contains(&socket);
                assert!(crossed || self.sockets.contains(&socket), "{socket:?} was not open");
                self.failed.retain(|s| *s != socket);
                self.sockets.retain(|s| *s != socket);
                self.askers.retain(|s| *s != socket);
            }
            Output::Assign(assign) => {
                let prefix = Prefix64::new([0x64, 0xff9b, 0, 0, 0, 0, 0, 0].into(), 96);
                let uplink = (0..2).map(UplinkId).find(|uplink| !assign.tried.contains(*uplink));
                let assignment = uplink.filter(|_| fail & 2 == 0).map(|uplink| Assignment {
                    uplink: Some(uplink),
                    via: Via::default(),
                    endpoint: None,
                    prefix64: (fail & 4 != 0).then_some(prefix).flatten(),
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

    fn step(&mut self, op: u8, whom: u8, bytes: &[u8]) {
        let now = self.now;
        let pick = |all: &[StreamId]| (!all.is_empty()).then(|| all[usize::from(whom) % all.len()]);
        let socket = self.sockets.get(usize::from(whom) % self.sockets.len().max(1)).copied();
        match op % 12 {
            0 | 1 => {
                if let Some(stream) = self.accepts.pop() {
                    self.open.push(stream);
                    let (peer, local) = (address("203.0.113.5:9"), address("198.51.100.1:1080"));
                    self.machine.handle_input(now, Input::Accepted { stream, peer, local });
                    let ask = [5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
                    let buf = self.machine.read_buf(stream);
                    if buf.len() >= ask.len() {
                        buf[..ask.len()].copy_from_slice(&ask);
                        self.machine.handle_input(now, Input::Read { stream, len: ask.len() });
                    }
                }
            }
            2 => {
                let Some(stream) = pick(&self.open) else { return };
                let buf = self.machine.read_buf(stream);
                let len = buf.len().min(bytes.len());
                if len > 0 {
                    buf[..len].copy_from_slice(&bytes[..len]);
                    self.machine.handle_input(now, Input::Read { stream, len });
                }
            }
            3 => {
                if let Some(stream) = pick(&self.open).filter(|s| !self.machine.read_buf(*s).is_empty()) {
                    self.machine.handle_input(now, Input::ReadClosed { stream });
                }
            }
            4..=7 => {
                let Some(socket) = socket else { return };
                let mut data = bytes.to_vec();
                let from = SocketAddr::new([203, 0, 113, 5 + (op >> 7)].into(), 1 + u16::from(op >> 6 & 1));
                let stride = data.len().div_ceil(1 + usize::from(op >> 4 & 3));
                let rx = Rx { data: &mut data, stride, from, to: None, interface: None, ecn: op & 3 };
                self.machine.handle_datagrams(now, socket, &mut [rx]);
            }
            8 => {
                let Some(query) = self.queries.pop() else { return };
                let ip = bytes.first_chunk::<4>().map(|octets| std::net::IpAddr::from(*octets));
                match ip {
                    Some(ip) => self.machine.handle_input(now, Input::Resolved { query, addresses: &[ip] }),
                    None => {
                        let fault = Fault::NameNotFound;
                        self.machine.handle_input(now, Input::ResolveFailed { query, fault });
                    }
                }
            }
            9 => self.now += Duration::from_millis(u64::from(whom) * 1000),
            10 => {
                let uplink = UplinkId(u16::from(whom & 1));
                self.machine.handle_input(now, Input::UplinkGone { uplink });
            }
            _ if whom == 0 => self.machine.handle_input(now, Input::Drain),
            _ => {
                let Some(socket) = socket else { return };
                let fault = [Fault::NoDevice, Fault::Refused][usize::from(whom & 1)];
                self.machine.handle_input(now, Input::SendFailed { socket, id: 0, sent: 0, fault });
            }
        }
        self.settle(op >> 4);
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.machine.handle_timeout(self.now);
        }
        self.settle(op >> 4);
    }
}

fuzz_target!(|script: &[u8]| {
    let mut world = World {
        machine: Dispatch::new(config()).expect("the configuration is well"),
        now: Instant::ZERO,
        accepts: Vec::new(),
        open: Vec::new(),
        sockets: Vec::new(),
        askers: Vec::new(),
        failed: Vec::new(),
        queries: Vec::new(),
        finished: false,
    };
    world.settle(0);
    let mut rest = script;
    while let [op, whom, len, more @ ..] = rest {
        let (bytes, after) = more.split_at(usize::from(*len).min(more.len()));
        world.step(*op, *whom, bytes);
        rest = after;
        if world.finished {
            return;
        }
    }
    // Whatever has happened, it comes to an end.
    world.machine.handle_input(world.now, Input::Drain);
    world.settle(0);
    for _ in 0..64 {
        for stream in world.open.clone() {
            world.machine.handle_input(world.now, Input::Failed { stream, fault: Fault::Reset });
            world.settle(0);
        }
        if let Some(at) = world.machine.poll_timeout() {
            world.now = world.now.max(at);
            world.machine.handle_timeout(world.now);
            world.settle(0);
        }
    }
    assert!(world.finished && world.sockets.is_empty(), "it does not finish");
});
