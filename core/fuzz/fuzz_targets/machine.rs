//! The whole unwrap machine: whatever peers send, however it is split, whatever fails and whenever,
//! nothing panics and the contract holds.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run machine --sanitizer none  # in core/
//! ```
//!
//! An input is a script: a byte selects what happens, the next ones which peer it concerns and how
//! much of the rest that peer sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::machine::*;
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::unwrap::*;
use std::net::SocketAddr;

struct World {
    machine: Unwrap,
    now: Instant,
    accepts: Vec<StreamId>,
    /// With the address each is to have.
    connecting: Vec<(StreamId, SocketAddr)>,
    open: Vec<StreamId>,
    sockets: Vec<SocketId>,
    opening: Vec<SocketId>,
    finished: bool,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

fn config() -> Config {
    let allowed: std::sync::Arc<[_]> = vec!["10.0.0.0/8".parse().expect("literal")].into();
    let datagrams = |port, header| DatagramListener {
        address: SocketAddr::new([0, 0, 0, 0].into(), port),
        allowed: allowed.clone(),
        target_v4: Some(address("127.0.0.1:3")),
        target_v6: None,
        to_header: None,
        header,
    };
    Config {
        listeners: vec![Listener {
            address: address("0.0.0.0:1"),
            allowed: allowed.clone(),
            target_v4: Some(Target::Address(address("127.0.0.1:2"))),
            target_v6: Some(Target::Address(address("[::1]:2"))),
            to_header: None,
        }],
        datagram_listeners: vec![datagrams(1, UdpHeader::Each), datagrams(2, UdpHeader::First)],
        on_port_conflict: PortConflict::Ephemeral,
        max_connections: 8,
        max_flows: 4,
        max_queue: 70_000,
        buffer_size: 2048,
        request_events: true,
        ..Config::default()
    }
}

impl World {
    /// Does what a driver does after each input.
    fn settle(&mut self, fail: bool) {
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
                    assert!(sent.len <= buf.len());
                }
            } else {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output, fail: bool) {
        assert!(!self.finished, "{output:?} after Finished");
        match output {
            Output::Accept { stream, .. } => self.accepts.push(stream),
            Output::CancelAccept { stream, .. } => self.accepts.retain(|s| *s != stream),
            Output::Unlisten { .. } => self.accepts.clear(),
            Output::Connect { stream, via, .. } => {
                self.connecting.push((stream, via.transparent.unwrap_or(address("1.1.1.1:1"))));
            }
            Output::ConnectLocal { stream, .. } => self.connecting.push((stream, address("0.0.0.0:0"))),
            Output::Close { stream, .. } => {
                let before = self.open.len() + self.connecting.len();
                self.open.retain(|s| *s != stream);
                self.connecting.retain(|(s, _)| *s != stream);
                assert_eq!(self.open.len() + self.connecting.len() + 1, before, "{stream:?} was not open");
            }
            Output::Shutdown { stream } => assert!(self.open.contains(&stream)),
            Output::Receive { socket, .. } => self.sockets.push(socket),
            Output::OpenSocket { socket, to, .. } if fail => {
                let fault = if to.port() == 3 { Fault::AddressInUse } else { Fault::NoDescriptors };
                self.machine.handle_input(self.now, Input::OpenFailed { socket, fault });
            }
            Output::OpenSocket { socket, to, via, .. } => {
                self.sockets.push(socket);
                self.opening.push(socket);
                let local = via.transparent.unwrap_or(to);
                self.machine.handle_input(self.now, Input::Opened { socket, local });
            }
            Output::CloseSocket { socket } => {
                assert!(self.sockets.contains(&socket), "{socket:?} was not open");
                self.sockets.retain(|s| *s != socket);
            }
            Output::Finished => self.finished = true,
            Output::Event(_) => {}
            other => panic!("never asked for: {other:?}"),
        }
    }

    fn step(&mut self, op: u8, whom: u8, bytes: &[u8]) {
        let pick = |all: &[StreamId]| (!all.is_empty()).then(|| all[usize::from(whom) % all.len()]);
        let pick_connecting =
            |all: &[(StreamId, SocketAddr)]| (!all.is_empty()).then(|| all[usize::from(whom) % all.len()]);
        let now = self.now;
        match op % 12 {
            0 => {
                if let Some(stream) = self.accepts.pop() {
                    self.open.push(stream);
                    let peer = if whom == 255 { address("192.0.2.1:9") } else { address("10.0.0.1:9") };
                    self.machine.handle_input(now, Input::Accepted { stream, peer, local: peer });
                }
            }
            1..=3 => {
                let Some(stream) = pick(&self.open) else { return };
                let buf = self.machine.read_buf(stream);
                let len = buf.len().min(bytes.len());
                if len > 0 {
                    buf[..len].copy_from_slice(&bytes[..len]);
                    self.machine.handle_input(now, Input::Read { stream, len });
                }
            }
            4 => {
                if let Some(stream) = pick(&self.open).filter(|s| !self.machine.read_buf(*s).is_empty()) {
                    self.machine.handle_input(now, Input::ReadClosed { stream });
                }
            }
            5 => {
                if let Some((stream, local)) = pick_connecting(&self.connecting) {
                    self.connecting.retain(|(s, _)| *s != stream);
                    self.open.push(stream);
                    self.machine.handle_input(now, Input::Connected { stream, local });
                }
            }
            6 => {
                if let Some((stream, _)) = pick_connecting(&self.connecting) {
                    self.connecting.retain(|(s, _)| *s != stream);
                    let fault = [Fault::Refused, Fault::AddressInUse][usize::from(whom & 1)];
                    self.machine.handle_input(now, Input::ConnectFailed { stream, fault });
                }
            }
            7 => {
                if let Some(stream) = pick(&self.open) {
                    self.machine.handle_input(now, Input::Failed { stream, fault: Fault::Reset });
                }
            }
            8 | 9 => {
                let at = usize::from(whom) % self.sockets.len().max(1);
                let Some(socket) = self.sockets.get(at) else { return };
                let mut data = bytes.to_vec();
                let from = SocketAddr::new([10, 0, 0, whom & 3].into(), u16::from(whom >> 6));
                let stride = data.len().div_ceil(1 + usize::from(op >> 6));
                let rx = Rx { data: &mut data, stride, from, to: None, interface: None, ecn: op & 3 };
                self.machine.handle_datagrams(now, *socket, &mut [rx]);
            }
            10 => self.now += Duration::from_millis(u64::from(whom) * 300),
            _ if whom == 0 => self.machine.handle_input(now, Input::Drain),
            _ => {
                if let Some(socket) = self.opening.get(usize::from(whom) % self.opening.len().max(1)) {
                    let (socket, fault) = (*socket, Fault::Refused);
                    self.machine.handle_input(now, Input::SocketFailed { socket, fault });
                }
            }
        }
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.machine.handle_timeout(self.now);
        }
        self.settle(op & 32 != 0);
    }
}

fuzz_target!(|script: &[u8]| {
    let mut world = World {
        machine: Unwrap::new(config()).expect("the configuration is well"),
        now: Instant::ZERO,
        accepts: Vec::new(),
        connecting: Vec::new(),
        open: Vec::new(),
        sockets: Vec::new(),
        opening: Vec::new(),
        finished: false,
    };
    world.settle(false);
    let mut rest = script;
    while let [op, whom, len, more @ ..] = rest {
        let (bytes, after) = more.split_at(usize::from(*len).min(more.len()));
        world.step(*op, *whom, bytes);
        rest = after;
    }
    // Whatever has happened, it comes to an end.
    world.machine.handle_input(world.now, Input::Drain);
    world.settle(false);
    for _ in 0..64 {
        for stream in world.open.clone() {
            world.machine.handle_input(world.now, Input::Failed { stream, fault: Fault::Reset });
            world.settle(false);
        }
        if let Some(at) = world.machine.poll_timeout() {
            world.now = world.now.max(at);
            world.machine.handle_timeout(world.now);
            world.settle(false);
        }
    }
    assert!(world.finished, "it does not finish");
});
