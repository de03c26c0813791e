//! The driver's half of the contract, checked as the run goes.
//!
//! The [`Auditor`] stands between the driver and the machine. The numbers (D1 and on) are those of
//! the rules that a driver keeps, in the [contract](ropewalk_core::docs::contract). It forgives
//! what the contract forgives: an input for an id that is dead comes too late and misses. It also
//! writes down what was said, for [`normalised`](super::normalised()).
//!
//! | file | is |
//! | --- | --- |
//! | `streams` | the rules of streams |
//! | `datagrams` | the rules of datagrams |
//! | `packets` | the rules of packets of TUN devices |
//! | `findings` | what was found |

mod datagrams;
mod findings;
mod packets;
mod streams;

pub use findings::{Findings, Found};

use datagrams::Sockets;
use packets::Tuns;
use ropewalk_core::machine::{
    Application, ConnId, Fault, Id, Input, Kept, Layer, ListenerId, Mention, Offload, Output, QueryId, Rx,
    SocketId, StreamId, Transmit, TunId,
};
use ropewalk_core::time::Instant;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Asked,
    Connecting,
    Open(Ends),
}

/// What has ended of an open stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ends {
    read: bool,
    written: bool,
    failed: bool,
    write_failed: bool,
    piped: usize,
}

/// A machine whose driver is watched.
pub struct Auditor<M> {
    machine: M,
    findings: Findings,
    now: Instant,
    streams: BTreeMap<StreamId, State>,
    /// All ids that the machine has ever given.
    given: BTreeSet<Id>,
    /// Where each accept was asked for.
    asked_of: BTreeMap<StreamId, ListenerId>,
    queries: BTreeSet<QueryId>,
    /// Queries whose answer may still arrive, and is ignored.
    cancelled: BTreeSet<QueryId>,
    asked: Option<ConnId>,
    /// More was kept than may be when that was last told.
    keeps_too_much: bool,
    drained: bool,
    finished: bool,
    sockets: Sockets,
    tuns: Tuns,
    quiet: Cell<Quiet>,
}

/// What was polled to its end since the last input.
#[derive(Clone, Copy, Default)]
struct Quiet {
    outputs: bool,
    streams: bool,
    sockets: bool,
    tuns: bool,
}

impl<M> Auditor<M> {
    /// Watches the driver of `machine`.
    pub fn new(machine: M, findings: Findings) -> Self {
        Auditor {
            machine,
            findings,
            now: Instant::ZERO,
            streams: BTreeMap::new(),
            given: BTreeSet::new(),
            asked_of: BTreeMap::new(),
            queries: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            asked: None,
            keeps_too_much: false,
            drained: false,
            finished: false,
            sockets: Sockets::default(),
            tuns: Tuns::default(),
            quiet: Cell::default(),
        }
    }

    /// The machine.
    pub fn into_inner(self) -> M {
        self.machine
    }

    /// Whether the machine has said that it has finished.
    pub fn finished(&self) -> bool {
        self.finished
    }

    fn broken(&self, rule: &str, what: &impl std::fmt::Debug) {
        self.findings.broken(format!("{rule}: {what:?}"));
    }

    fn at(&mut self, now: Instant, what: &impl std::fmt::Debug) {
        if now < self.now {
            self.broken("D2, `now` went back", what);
        }
        self.now = self.now.max(now);
        self.quiet.take();
        if self.finished {
            self.broken("D8, an input after Finished", what);
        }
    }

    /// Whatever the input is, the machine must have given the ids that it names.
    fn check_ids(&self, input: &Input<'_>) {
        for (id, _) in input.ids() {
            let by_place = matches!(id, Id::Listener(_) | Id::Tun(_) | Id::Uplink(_));
            if !by_place && !self.given.contains(&id) {
                self.broken("D18, an id that the machine never gave", input);
            }
        }
    }
}

impl<M: Application> Auditor<M> {
    fn check(&mut self, input: &Input<'_>) {
        if let Some(conn) = self.asked.take()
            && !matches!(input, Input::Assigned { conn: other, .. } if *other == conn)
        {
            self.broken("D7, Assign was not answered at once", input);
        }
        self.check_ids(input);
        self.check_tun(input);
        match *input {
            Input::Accepted { stream, .. } => self.answered(stream, State::Asked, true, input),
            Input::AcceptFailed { stream, .. } => self.answered(stream, State::Asked, false, input),
            Input::Connected { stream, .. } => self.answered(stream, State::Connecting, true, input),
            Input::ConnectFailed { stream, .. } => self.answered(stream, State::Connecting, false, input),
            Input::Read { stream, len } => self.check_read(stream, len, input),
            Input::ReadClosed { stream } => {
                let Some(ends) = self.open(stream, input) else { return };
                if ends.read {
                    self.broken("D5, ReadClosed twice", input);
                }
                self.keep(stream, Ends { read: true, ..ends });
            }
            Input::Written { stream, len } => self.check_written(stream, len, input),
            Input::Spliced { from, .. } => self.check_spliced(from, input),
            Input::Failed { stream, .. } => {
                let Some(ends) = self.open(stream, input) else { return };
                self.keep(stream, Ends { failed: true, ..ends });
            }
            Input::Resolved { query, .. } | Input::ResolveFailed { query, .. } => {
                let waits = self.queries.remove(&query) || self.cancelled.remove(&query);
                if !waits {
                    self.broken("an answer to a query that was answered or never asked", input);
                }
            }
            Input::WriteFailed { stream, .. } => {
                let Some(ends) = self.open(stream, input) else { return };
                if ends.write_failed {
                    self.broken("D6, WriteFailed twice", input);
                }
                self.keep(stream, Ends { write_failed: true, ..ends });
            }
            Input::SocketMemory { used, limit, streams } => self.check_memory(used, limit, streams),
            Input::Drain => self.drained = true,
            // `Assigned` is checked above, and so is what is about a TUN device. The others are not
            // about what the machine has asked for, and have no rule but that they come in time.
            Input::Assigned { .. }
            | Input::LocalAddresses { .. }
            | Input::UplinkGone { .. }
            | Input::UplinkBack { .. }
            | Input::ConfigureFailed { .. }
            | Input::Entropy { .. } => {}
            Input::Opened { .. }
            | Input::OpenFailed { .. }
            | Input::SocketFailed { .. }
            | Input::SendFailed { .. } => self.check_socket(input),
            // `Input` may grow: a new variant needs a rule of the auditor here.
            _ => self.broken("the auditor has no rule for this input", input),
        }
    }

    fn check_memory(&mut self, used: u64, limit: u64, streams: &[Kept]) {
        let is_open = |kept: &Kept| matches!(self.streams.get(&kept.stream), Some(State::Open(_)));
        let named: BTreeSet<StreamId> = streams.iter().map(|kept| kept.stream).collect();
        let sum: u64 = streams.iter().map(|kept| u64::from(kept.bytes)).sum();
        let told = (used, limit, streams);
        if !streams.iter().all(is_open) {
            self.broken("D19, what is kept for a stream that is not open", &told);
        }
        if named.len() < streams.len() {
            self.broken("D19, a stream that is named twice", &told);
        }
        if sum > used {
            self.broken("D19, more for some streams than for all", &told);
        }
        let too_much = used > limit;
        let over = self.keeps_too_much && streams.is_empty();
        if !(too_much || over) {
            self.broken("D19, told though no more is kept than may be", &told);
        }
        self.keeps_too_much = too_much;
    }

    fn hear(&mut self, output: &Output) {
        self.hear_tun(output);
        self.given.extend(output.ids().filter(|(_, mention)| *mention == Mention::Born).map(|(id, _)| id));
        match output {
            Output::Accept { listener, stream } => {
                self.born(*stream, State::Asked);
                self.asked_of.insert(*stream, *listener);
            }
            // What the driver already holds may still be reported, and is ignored.
            Output::CancelAccept { stream, .. } => {
                self.streams.remove(stream);
            }
            Output::Unlisten { listener } => {
                let asked_of = &self.asked_of;
                self.streams
                    .retain(|stream, state| *state != State::Asked || asked_of.get(stream) != Some(listener));
            }
            Output::Connect { stream, .. } | Output::ConnectLocal { stream, .. } => {
                self.born(*stream, State::Connecting);
            }
            Output::Resolve { query, .. } => {
                self.queries.insert(*query);
            }
            Output::Assign(assign) => self.asked = Some(assign.conn),
            Output::Shutdown { stream } => {
                if let Some(State::Open(ends)) = self.streams.get_mut(stream) {
                    ends.written = true;
                }
            }
            Output::Close { stream, .. } => {
                self.streams.remove(stream);
            }
            Output::CancelResolve { query } => {
                self.queries.remove(query);
                self.cancelled.insert(*query);
            }
            Output::Finished => self.finished = true,
            Output::Report(_) | Output::Event(_) | Output::Entropy | Output::Configure { .. } => {}
            Output::Receive { .. }
            | Output::OpenSocket { .. }
            | Output::BindSocket { .. }
            | Output::CloseSocket { .. } => {
                self.hear_socket(output);
            }
            // As for inputs: a new one needs a decision.
            other => self.broken("the auditor has no rule for this output", other),
        }
    }

    fn born(&mut self, stream: StreamId, state: State) {
        self.streams.insert(stream, state);
        let mut found = self.findings.lock();
        found.highest.0 = found.highest.0.max(stream.index());
        found.highest.1 = found.highest.1.max(stream.generation());
    }
}

/// Bytes that came into this process's hands, or left them.
fn carried(input: &Input<'_>) -> i64 {
    let signed = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    match *input {
        Input::Read { len, .. } => signed(len),
        Input::Written { len, .. } => -signed(len),
        Input::Spliced { taken, given, .. } => signed(taken) - signed(given),
        _ => 0,
    }
}

impl<M: Application> Layer for Auditor<M> {
    type Inner = M;

    fn inner(&self) -> &M {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.at(now, &input);
        self.check(&input);
        {
            let mut found = self.findings.lock();
            *found.inputs.entry(input.name()).or_default() += 1;
            let now = found.in_hand.0 + carried(&input);
            found.in_hand = (now, now.max(found.in_hand.1));
        }
        self.findings.line('<', &input);
        self.machine.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.at(now, &"time-out");
        match self.machine.poll_timeout() {
            Some(at) if at <= now => {
                let mut found = self.findings.lock();
                found.latest = found.latest.max(now - at);
            }
            other => self.broken("handle_timeout when nothing was due", &(now, other)),
        }
        *self.findings.lock().inputs.entry("timeout").or_default() += 1;
        self.machine.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.machine.poll_output();
        match &output {
            Some(output) => {
                self.hear(output);
                self.findings.line('>', output);
            }
            None => self.quiet.set(Quiet { outputs: true, ..self.quiet.get() }),
        }
        output
    }

    /// A driver that asks this is about to wait.
    fn poll_timeout(&self) -> Option<Instant> {
        self.findings.lock().looks += 1;
        match self.quiet.get() {
            Quiet { outputs: false, .. } => {
                self.broken("D1, about to wait with outputs unpolled", &self.now);
            }
            Quiet { streams: false, .. } => {
                self.broken("D1, about to wait with dirty streams unpolled", &self.now);
            }
            Quiet { sockets: false, .. } => {
                self.broken("D1, about to wait with dirty sockets unpolled", &self.now);
            }
            Quiet { tuns: false, .. } => {
                self.broken("D1, about to wait with dirty devices unpolled", &self.now);
            }
            Quiet { outputs: true, streams: true, sockets: true, tuns: true } => {}
        }
        self.machine.poll_timeout()
    }

    fn poll_dirty(&mut self) -> Option<StreamId> {
        let dirty = self.machine.poll_dirty();
        if dirty.is_none() {
            self.quiet.set(Quiet { streams: true, ..self.quiet.get() });
        }
        dirty
    }

    fn refuse_splice(&mut self, from: StreamId) {
        if let Some(State::Open(Ends { piped: 1.., .. })) = self.streams.get(&from) {
            self.broken("refuse_splice while bytes are inside", &from);
        }
        self.quiet.take();
        self.machine.refuse_splice(from);
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

    fn handle_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        self.take_packet(now, tun, len, offload);
    }

    fn handle_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        self.tell_given(now, tun, result);
    }
}
