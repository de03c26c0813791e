//! What a broken driver would do, to prove that the kit can fail.
//!
//! [`Faulty`] stands outermost, so driver and fault together look like a broken driver to auditor,
//! recorder and machine: a recording of such a run replays, since the machine did nothing wrong.
//! What fails must be what people would see, or a rule of the contract. `list` names the faults;
//! `datagrams` and `packets` do those of datagram sockets and of TUN devices.

mod datagrams;
mod list;
mod packets;

pub use list::{FAULTS, Kind, Spec};

use datagrams::Kept;
use ropewalk_core::machine::{
    self, Application, Assignment, Close, Fault, Input, Layer, Offload, Output, Rx, SocketId, StreamId,
    Transmit, TunId, Via,
};
use ropewalk_core::time::{Duration, Instant};
use std::cell::Cell;
use std::collections::VecDeque;

/// Set in the process of a case: the name of its fault.
pub const FAULT: &str = "ROPEWALK_FAULT";
/// Set to 0 in the process of a case: what the auditor finds does not count.
pub const AUDIT: &str = "ROPEWALK_AUDIT";

/// The fault of this name.
///
/// # Panics
/// When there is none.
pub fn find(name: &str) -> &'static Spec {
    FAULTS.iter().find(|fault| fault.name == name).unwrap_or_else(|| panic!("no fault is called {name}"))
}

/// The fault this process shall have.
pub fn wanted() -> Kind {
    std::env::var(FAULT).map_or(Kind::None, |name| find(&name).kind)
}

/// A machine whose driver is broken.
pub struct Faulty<M> {
    machine: M,
    kind: Kind,
    now: Instant,
    count: u64,
    /// Outputs the fault made up.
    own: VecDeque<Output>,
    accept_failed: bool,
    accepted: Option<StreamId>,
    /// An output was polled in this turn.
    polled: Cell<bool>,
    /// A read that was not reported yet, and whether its buffer was lent again.
    late: Option<(StreamId, usize, bool)>,
    sockets: Kept,
    packets: packets::Kept,
}

impl<M> Faulty<M> {
    /// Breaks the driver of `machine` in this way.
    pub fn new(machine: M, kind: Kind) -> Self {
        Faulty {
            machine,
            kind,
            now: Instant::ZERO,
            count: 0,
            own: VecDeque::new(),
            accept_failed: false,
            accepted: None,
            polled: Cell::new(false),
            late: None,
            sockets: Kept::default(),
            packets: packets::Kept::default(),
        }
    }

    /// The machine.
    pub fn into_inner(self) -> M {
        self.machine
    }

    /// True once in `n`.
    fn each(&mut self, n: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(n)
    }
}

impl<M: Application> Faulty<M> {
    fn tell_late(&mut self) {
        if let Some((stream, len, true)) = self.late {
            self.late = None;
            self.machine.handle_input(self.now, Input::Read { stream, len });
        }
    }

    /// The input as the faulty driver passes it on; `None`: not at all.
    fn alter_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Option<Input<'a>> {
        match (self.kind, input) {
            (Kind::SwallowSocketFailed, Input::SocketFailed { .. })
            | (Kind::SwallowSendFailed, Input::SendFailed { .. })
            | (Kind::SwallowOpenFailed, Input::OpenFailed { .. })
            | (Kind::SwallowOpened, Input::Opened { .. })
            | (Kind::SwallowEnd, Input::ReadClosed { .. })
            | (Kind::SwallowFailed, Input::Failed { .. })
            | (Kind::SwallowConnectFailed, Input::ConnectFailed { .. })
            | (Kind::SwallowConfigureFailed, Input::ConfigureFailed { .. })
            | (Kind::SwallowEntropy, Input::Entropy { .. })
            | (Kind::SwallowKept, Input::SocketMemory { .. })
            | (Kind::SwallowNames, Input::Resolved { .. } | Input::ResolveFailed { .. }) => None,
            (Kind::SwallowRoom, Input::SocketMemory { used, limit, .. }) if used <= limit => None,
            (Kind::KeptOfAnother, Input::Accepted { stream, .. }) => {
                self.accepted = Some(stream);
                Some(input)
            }
            (Kind::KeptOfAnother, Input::SocketMemory { used, limit, streams }) => {
                let another = |kept: &machine::Kept| Some(machine::Kept { stream: self.accepted?, ..*kept });
                let streams: Vec<_> = streams.iter().filter_map(another).collect();
                self.machine.handle_input(now, Input::SocketMemory { used, limit, streams: &streams });
                None
            }
            (Kind::SameEntropy, Input::Entropy { bytes }) => {
                let bytes = *self.packets.entropy.get_or_insert(*bytes);
                self.machine.handle_input(now, Input::Entropy { bytes: &bytes });
                None
            }
            (Kind::SwallowEnd, Input::Spliced { from, to, taken, given, .. }) => {
                Some(Input::Spliced { from, to, taken, given, eof: false })
            }
            (Kind::WrittenTwice, Input::Written { .. })
            | (Kind::FailedTwice, Input::Failed { .. })
            | (Kind::OpenedTwice, Input::Opened { .. }) => {
                self.machine.handle_input(now, input);
                Some(input)
            }
            (Kind::WrittenHalf, Input::Written { stream, len }) => {
                Some(Input::Written { stream, len: len.div_ceil(2) })
            }
            (Kind::LoseByte, Input::Read { stream, len }) if len > 1 && self.each(50) => {
                Some(Input::Read { stream, len: len - 1 })
            }
            (Kind::LateRead, Input::Read { stream, len }) => {
                self.late = Some((stream, len, false));
                None
            }
            (Kind::EmptyRead, Input::ReadClosed { stream }) => Some(Input::Read { stream, len: 0 }),
            (Kind::FailedAsEnd, Input::Failed { stream, .. }) => Some(Input::ReadClosed { stream }),
            (Kind::ConnectFailedAsFailed, Input::ConnectFailed { stream, fault }) => {
                Some(Input::Failed { stream, fault })
            }
            (Kind::NoAcceptAgain, Input::AcceptFailed { .. }) => {
                self.accept_failed = true;
                Some(input)
            }
            (Kind::Block, Input::Read { len: 65536.., .. } | Input::Spliced { taken: 65536.., .. }) => {
                std::thread::sleep(Duration::from_millis(40));
                Some(input)
            }
            (Kind::DrainAtOnce, Input::Drain) => {
                self.own.push_back(Output::Finished);
                Some(input)
            }
            (_, input) => Some(input),
        }
    }

    /// An output that is done otherwise; `None`: not at all.
    fn done(&mut self, output: Output) -> Option<Output> {
        match (self.kind, output) {
            (Kind::NoShutdown, Output::Shutdown { .. })
            | (Kind::NoClose, Output::Close { .. })
            | (Kind::NoConfigure, Output::Configure { .. })
            | (Kind::NoCloseSocket, Output::CloseSocket { .. }) => None,
            (Kind::ReceiveClosed, Output::CloseSocket { socket }) => {
                self.sockets.closed = Some(socket);
                Some(Output::CloseSocket { socket })
            }
            (Kind::ResetAsEnd, Output::Close { stream, .. }) => {
                Some(Output::Close { stream, how: Close::Graceful })
            }
            (Kind::NoBinding, Output::Connect { stream, to, .. }) => {
                Some(Output::Connect { stream, to, via: Via::default() })
            }
            (Kind::NoAcceptAgain, Output::Accept { .. }) if self.accept_failed => None,
            (Kind::OwnAssignment, Output::Assign(assign)) => {
                let patience = Duration::from_millis(250);
                let assignment = Assignment {
                    uplink: None,
                    via: Via::default(),
                    endpoint: None,
                    prefix64: None,
                    patience,
                };
                let answer = Input::Assigned { conn: assign.conn, assignment: Some(assignment) };
                self.machine.handle_input(self.now, answer);
                None
            }
            (_, output) => Some(output),
        }
    }
}

impl<M: Application> Layer for Faulty<M> {
    type Inner = M;

    fn inner(&self) -> &M {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.now = now;
        if let Some((_, _, lent)) = &mut self.late {
            *lent = true;
        }
        self.tell_late();
        self.polled.set(false);
        let then = if self.kind == Kind::ClockBack && self.each(16) {
            Instant::from_nanos(now.as_nanos().saturating_sub(1_000_000_000))
        } else {
            now
        };
        if let Some(input) = self.alter_input(then, input) {
            self.machine.handle_input(then, input);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.tell_late();
        self.forget_blocked();
        if let Some(output) = self.own.pop_front() {
            return Some(output);
        }
        if self.kind == Kind::OneOutput && self.polled.get() {
            return None;
        }
        loop {
            let output = self.machine.poll_output()?;
            if let Some(output) = self.done(output) {
                self.polled.set(true);
                return Some(output);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.polled.set(false);
        let at = self.machine.poll_timeout();
        match self.kind {
            Kind::NoTimers => None,
            Kind::LateTimers => at.map(|at| at + Duration::from_millis(400)),
            Kind::Spin | Kind::SpinAtDevice => {
                let soon = self.now + Duration::from_micros(50);
                Some(at.map_or(soon, |at| at.min(soon)))
            }
            _ => at,
        }
    }

    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.tell_late();
        loop {
            let dirty = self.machine.poll_dirty()?;
            if self.kind != Kind::LoseDirty || !self.each(3) {
                return Some(dirty);
            }
        }
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        if let Some((_, _, lent)) = &mut self.late {
            *lent = true;
        }
        self.machine.read_buf(stream)
    }

    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.next_dirty_socket()
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.take_datagrams(now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.next_transmit(now, socket, buf)
    }

    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        self.next_dirty_tun()
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        self.lend(tun)
    }

    fn handle_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        self.take_packet(now, tun, len, offload);
    }

    fn give_buf(&self, tun: TunId) -> Option<(&[u8], Offload)> {
        self.next_given(tun)
    }

    fn handle_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        self.tell_given(now, tun, result);
    }
}
