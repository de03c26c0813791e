//! A machine that always has more to send, and says so each time it is asked; some of it is too
//! large.
//!
//! It sends to its sink without an end, gives back what comes in on its listener, and keeps a clock
//! that ticks.

use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    DatagramMachine, Input, ListenerId, Machine, Output, Rx, SocketId, StreamMachine, Transmit, TunMachine,
    Via,
};
use ropewalk_core::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The machine.
#[derive(Debug)]
pub struct EndlessSender {
    outputs: VecDeque<Output>,
    dirty: VecDeque<SocketId>,
    answers: VecDeque<(Vec<u8>, Transmit)>,
    next: Option<Instant>,
    drained: bool,
    /// Datagrams for the sink.
    pub sent: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Ticks of the clock.
    pub ticks: u64,
}

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(20);

const LISTENER: SocketId = SocketId::from_parts(0, 0);
const SPRING: SocketId = SocketId::from_parts(1, 0);
/// Bytes of a datagram, and datagrams in a group.
const GROUP: (usize, usize) = (100, 8);
/// An IPv4 datagram has no room for this many bytes.
const TOO_LARGE: usize = 65_520;

impl EndlessSender {
    /// It sends to `sink`.
    pub fn new(sink: SocketAddr) -> Self {
        let outputs = [
            Output::Receive { listener: ListenerId(0), socket: LISTENER, fragments: true },
            Output::OpenSocket { socket: SPRING, to: sink, via: Via::default(), fragments: true },
        ];
        EndlessSender {
            outputs: outputs.into(),
            dirty: VecDeque::new(),
            answers: VecDeque::new(),
            next: None,
            drained: false,
            sent: 0,
            failed: 0,
            ticks: 0,
        }
    }
}

impl Machine for EndlessSender {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { socket, .. } => {
                self.dirty.push_back(socket);
                self.next = Some(now + TICK);
            }
            Input::SendFailed { fault, .. } => {
                self.failed += 1;
                self.outputs.push_back(Output::Event(Event::DatagramLost { to: None, fault }));
            }
            Input::Drain if !self.drained => {
                self.drained = true;
                self.next = None;
                self.outputs.extend([LISTENER, SPRING].map(|socket| Output::CloseSocket { socket }));
                self.outputs.push_back(Output::Finished);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.ticks += 1;
        self.next = Some(now + TICK);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}

impl DatagramMachine for EndlessSender {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.dirty.pop_front()
    }

    fn handle_datagrams(&mut self, _: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        for rx in rx.iter() {
            for datagram in rx.datagrams() {
                let answer = Transmit { to: Some(rx.from), from: rx.to, ..Transmit::default() };
                self.answers.push_back((datagram.to_vec(), answer));
            }
        }
        self.dirty.push_back(socket);
    }

    fn poll_transmit(&mut self, _: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        if socket == LISTENER {
            let (bytes, transmit) = self.answers.pop_front()?;
            buf[..bytes.len()].copy_from_slice(&bytes);
            return Some(Transmit { len: bytes.len(), ..transmit });
        }
        if self.dirty.is_empty() {
            self.dirty.push_back(socket);
        }
        self.sent += 1;
        let (size, count) = GROUP;
        let (len, segment) = match self.sent.is_multiple_of(64) {
            true => (TOO_LARGE, None),
            false => (size * count, Some(size)),
        };
        buf[..len].fill(7);
        Some(Transmit { id: self.sent as u32, len, segment, ..Transmit::default() })
    }
}

/// It has no streams.
impl StreamMachine for EndlessSender {}

impl TunMachine for EndlessSender {}
