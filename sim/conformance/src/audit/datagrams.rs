//! The datagram half: which sockets there are, and what may be said of them.

use super::Auditor;
use ropewalk_core::machine::{Application, Input, MAX_SEGMENTS, Output, Rx, SocketId, Transmit};
use ropewalk_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// `Open` was asked; neither `Opened` nor `OpenFailed` was reported yet.
    Asked,
    Open,
}

/// The sockets that were asked for.
#[derive(Default)]
pub(super) struct Sockets {
    states: BTreeMap<SocketId, State>,
    /// The last that were to be sent on each, by their id, and how many datagrams each was.
    last: BTreeMap<SocketId, VecDeque<(u32, usize)>>,
}

/// No driver takes more at a time.
const KEEP: usize = 64;
/// The largest payload of a UDP datagram, in bytes (over IPv6).
const LARGEST: usize = 65_527;

impl<M: Application> Auditor<M> {
    pub(super) fn check_socket(&mut self, input: &Input<'_>) {
        match *input {
            Input::Opened { socket, .. } if self.answered_socket(socket, input) => {
                self.sockets.states.insert(socket, State::Open);
            }
            Input::OpenFailed { socket, .. } if self.answered_socket(socket, input) => {
                self.sockets.states.remove(&socket);
            }
            Input::SendFailed { socket, id, sent, .. } => {
                let last = self.sockets.last.get(&socket);
                let was_said = last.is_some_and(|last| last.iter().any(|(own, n)| *own == id && sent < *n));
                if !was_said && self.sockets.states.contains_key(&socket) {
                    self.broken("D12, SendFailed of what was not to be sent lately", input);
                }
            }
            _ => {}
        }
    }

    pub(super) fn hear_socket(&mut self, output: &Output) {
        let (socket, state) = match output {
            Output::Receive { socket, .. } => (*socket, Some(State::Open)),
            Output::OpenSocket { socket, .. } | Output::BindSocket { socket, .. } => {
                (*socket, Some(State::Asked))
            }
            Output::CloseSocket { socket } => (*socket, None),
            _ => return,
        };
        self.sockets.states.remove(&socket);
        self.sockets.last.remove(&socket);
        if let Some(state) = state {
            self.sockets.states.insert(socket, state);
        }
    }

    /// Sockets that were asked for and neither opened nor failed.
    pub fn unanswered(&self) -> Vec<SocketId> {
        let asked = self.sockets.states.iter().filter(|(_, state)| **state == State::Asked);
        asked.map(|(socket, _)| *socket).collect()
    }

    fn answered_socket(&self, socket: SocketId, input: &Input<'_>) -> bool {
        let asked = self.sockets.states.get(&socket) == Some(&State::Asked);
        if !asked && (self.sockets.states.contains_key(&socket)) {
            self.broken("D9, an answer to an Open that was answered or never said", input);
        }
        asked
    }

    fn check_open(&self, rule: &str, socket: SocketId) {
        match self.sockets.states.get(&socket) {
            Some(State::Open) => {}
            other => self.broken(rule, &(socket, other)),
        }
    }
}

/// What the layer does otherwise with datagrams.
impl<M: Application> Auditor<M> {
    pub(super) fn next_dirty_socket(&mut self) -> Option<SocketId> {
        let dirty = self.machine.poll_dirty_socket();
        if dirty.is_none() {
            self.quiet.set(super::Quiet { sockets: true, ..self.quiet.get() });
        }
        dirty
    }

    pub(super) fn take_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.at(now, &(socket, "datagrams"));
        self.check_open("D10, datagrams of a socket that is not open", socket);
        for rx in rx.iter() {
            if rx.stride == 0 && !rx.data.is_empty() || rx.ecn > 3 {
                self.broken("D11, datagrams without their length, or no codepoint", rx);
            }
            let count = rx.datagrams().count() as u64;
            let mut found = self.findings.lock();
            found.received.0 += count;
            found.received.1 += u64::from(count > 1);
        }
        self.machine.handle_datagrams(now, socket, rx);
    }

    pub(super) fn next_transmit(
        &mut self,
        now: Instant,
        socket: SocketId,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        if now < self.now {
            self.broken("D2, `now` went back", &socket);
        }
        self.check_open("D10, asked for what to send on a socket that is not open", socket);
        if buf.len() < LARGEST {
            self.broken("D12, no room for the largest datagram", &buf.len());
        }
        let transmit = self.machine.poll_transmit(now, socket, buf)?;
        // A machine may say something when its queue has become shorter.
        self.quiet.take();
        let size = transmit.segment.unwrap_or(transmit.len).max(1);
        let count = transmit.len.div_ceil(size).max(1);
        assert!(
            transmit.len <= buf.len() && count <= MAX_SEGMENTS,
            "the machine says too much: {transmit:?}"
        );
        let last = self.sockets.last.entry(socket).or_default();
        last.push_back((transmit.id, count));
        if last.len() > KEEP {
            last.pop_front();
        }
        let mut found = self.findings.lock();
        found.sent.0 += count as u64;
        found.sent.1 += u64::from(count > 1);
        Some(transmit)
    }
}
