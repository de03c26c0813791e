//! The driver's half of the contract, checked as the run goes.
//!
//! The [`Auditor`] stands between the driver and the machine. Rule numbers are those of "Rules a driver keeps" in the
//! [contract](ropewalk_core::docs::contract). It forgives what the contract forgives: an input for an id that is dead
//! comes too late and misses. It also writes down what was said, for
//! [`normalised`](super::normalised()).

mod datagrams;

use datagrams::Sockets;
use ropewalk_core::machine::{
    Application, ConnId, Input, Machine, Output, QueryId, Splice, StreamId, StreamMachine,
};
use ropewalk_core::time::{Duration, Instant};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the auditor has found so far; shared with the case.
#[derive(Clone, Default)]
pub struct Findings(Arc<Mutex<Found>>);

/// What was seen of a run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Broken rules, the first of them.
    pub broken: Vec<String>,
    /// What was told (`<`) and said (`>`), in its order; capped.
    pub lines: Vec<String>,
    /// Inputs of each kind.
    pub inputs: BTreeMap<&'static str, u64>,
    /// The highest stream index and generation seen.
    pub highest: (u32, u32),
    /// How late a due timer was told, at worst.
    pub latest: Duration,
    /// How often the driver asked when to come back: at least once for each time it woke.
    pub looks: u64,
    /// Writes that took only a part of what there was.
    pub partial: u64,
    /// Datagrams that were received, and the groups of more than one that some of them came in.
    pub received: (u64, u64),
    /// Datagrams that were sent, and the groups of more than one that some of them left in.
    pub sent: (u64, u64),
    /// Bytes taken from sockets and not yet given to others, now and at most: of all connections together.
    pub in_hand: (i64, i64),
}

/// Broken rules that are kept.
const KEEP: usize = 8;
/// Lines that are kept.
const LINES: usize = 20_000;

impl Findings {
    /// What was seen so far.
    pub fn look(&self) -> Found {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, what: String) {
        let mut found = self.lock();
        if found.broken.len() < KEEP {
            found.broken.push(what);
        }
    }

    fn line(&self, mark: char, what: &impl std::fmt::Debug) {
        let mut found = self.lock();
        if found.lines.len() < LINES {
            found.lines.push(format!("{mark} {what:?}"));
        }
    }
}

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
    piped: usize,
}

/// A machine whose driver is watched.
pub struct Auditor<M> {
    machine: M,
    findings: Findings,
    now: Instant,
    streams: BTreeMap<StreamId, State>,
    known: BTreeSet<StreamId>,
    queries: BTreeSet<QueryId>,
    asked: Option<ConnId>,
    drained: bool,
    finished: bool,
    sockets: Sockets,
    quiet: Cell<Quiet>,
}

/// What was polled to its end since the last input.
#[derive(Clone, Copy, Default)]
struct Quiet {
    outputs: bool,
    streams: bool,
    sockets: bool,
}

impl<M> Auditor<M> {
    /// Watches the driver of `machine`.
    pub fn new(machine: M, findings: Findings) -> Self {
        Auditor {
            machine,
            findings,
            now: Instant::ZERO,
            streams: BTreeMap::new(),
            known: BTreeSet::new(),
            queries: BTreeSet::new(),
            asked: None,
            drained: false,
            finished: false,
            sockets: Sockets::default(),
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
            self.broken("rule 2, `now` went back", what);
        }
        self.now = self.now.max(now);
        self.quiet.take();
        if self.finished {
            self.broken("rule 8, an input after Finished", what);
        }
    }

    /// The open stream that `input` is about; `None` when it is dead, which is forgiven.
    fn open(&mut self, stream: StreamId, input: &Input<'_>) -> Option<Ends> {
        match self.streams.get(&stream) {
            Some(State::Open(ends)) => {
                if ends.failed {
                    self.broken("rule 6, an input for a stream that was told as failed", input);
                }
                Some(*ends)
            }
            Some(State::Asked | State::Connecting) => {
                self.broken("rule 6, an input for a stream that is not open", input);
                None
            }
            None => {
                self.dead(stream, input);
                None
            }
        }
    }

    fn dead(&self, stream: StreamId, input: &Input<'_>) {
        if !self.known.contains(&stream) {
            self.broken("an id the machine never gave", input);
        }
    }

    /// An asked-for stream becomes open, or dies.
    fn answered(&mut self, stream: StreamId, expected: State, open: bool, input: &Input<'_>) {
        match self.streams.get(&stream) {
            Some(state) if *state == expected => {
                self.streams.remove(&stream);
                if open {
                    self.streams.insert(stream, State::Open(Ends::default()));
                }
            }
            Some(_) => self.broken("an answer to what was not asked", input),
            None => self.dead(stream, input),
        }
    }

    fn keep(&mut self, stream: StreamId, ends: Ends) {
        self.streams.insert(stream, State::Open(ends));
    }
}

impl<M: Application> Auditor<M> {
    fn check(&mut self, input: &Input<'_>) {
        if let Some(conn) = self.asked.take()
            && !matches!(input, Input::Assigned { conn: other, .. } if *other == conn)
        {
            self.broken("rule 7, Assign was not answered at once", input);
        }
        match *input {
            Input::Accepted { stream, .. } => self.answered(stream, State::Asked, true, input),
            Input::AcceptFailed { stream, .. } => self.answered(stream, State::Asked, false, input),
            Input::Connected { stream, .. } => self.answered(stream, State::Connecting, true, input),
            Input::ConnectFailed { stream, .. } => self.answered(stream, State::Connecting, false, input),
            Input::Read { stream, len } => {
                let Some(ends) = self.open(stream, input) else { return };
                let room = self.machine.read_buf(stream).len();
                if len == 0 {
                    self.broken("rule 5, Read of nothing", input);
                }
                if len > room {
                    self.broken("rule 3, more was read than there was room", input);
                }
                if ends.read {
                    self.broken("rule 5, Read after ReadClosed", input);
                }
            }
            Input::ReadClosed { stream } => {
                let Some(ends) = self.open(stream, input) else { return };
                if ends.read {
                    self.broken("rule 5, ReadClosed twice", input);
                }
                self.keep(stream, Ends { read: true, ..ends });
            }
            Input::Written { stream, len } => {
                let Some(ends) = self.open(stream, input) else { return };
                let held = self.machine.write_buf(stream).len();
                self.findings.lock().partial += u64::from(len < held);
                if len == 0 || len > held {
                    self.broken("rule 4, more was written than there was, or nothing", input);
                }
                if ends.written {
                    self.broken("Written after Shutdown", input);
                }
            }
            Input::Spliced { from, to, taken, given, eof } => {
                let Some(ends) = self.open(from, input) else { return };
                if self.machine.splice(from).is_none_or(|leave| leave.to != to || taken > leave.max) {
                    self.broken("spliced without leave", input);
                }
                if given > ends.piped + taken {
                    self.broken("a splice gave more than it took", input);
                }
                if ends.read && (taken > 0 || eof) {
                    self.broken("rule 5, a splice took after the end", input);
                }
                let piped = (ends.piped + taken).saturating_sub(given);
                self.keep(from, Ends { piped, read: ends.read || eof, ..ends });
            }
            Input::Failed { stream, .. } => {
                let Some(ends) = self.open(stream, input) else { return };
                self.keep(stream, Ends { failed: true, ..ends });
            }
            Input::Resolved { query, .. } | Input::ResolveFailed { query, .. } => {
                let waits = self.queries.remove(&query);
                if !waits {
                    self.broken("an answer to a query that was answered or never asked", input);
                }
            }
            Input::Drain => self.drained = true,
            Input::Assigned { .. } => {}
            _ => self.check_socket(input),
        }
    }

    fn hear(&mut self, output: &Output) {
        match output {
            Output::Accept { stream, .. } => self.born(*stream, State::Asked),
            Output::Connect { stream, .. } => self.born(*stream, State::Connecting),
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
            Output::Finished => self.finished = true,
            _ => self.hear_socket(output),
        }
    }

    fn born(&mut self, stream: StreamId, state: State) {
        self.streams.insert(stream, state);
        self.known.insert(stream);
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

fn kind(input: &Input<'_>) -> &'static str {
    match input {
        Input::Accepted { .. } => "Accepted",
        Input::AcceptFailed { .. } => "AcceptFailed",
        Input::Connected { .. } => "Connected",
        Input::ConnectFailed { .. } => "ConnectFailed",
        Input::Assigned { .. } => "Assigned",
        Input::Resolved { .. } => "Resolved",
        Input::ResolveFailed { .. } => "ResolveFailed",
        Input::Read { .. } => "Read",
        Input::ReadClosed { .. } => "ReadClosed",
        Input::Written { .. } => "Written",
        Input::Spliced { .. } => "Spliced",
        Input::Failed { .. } => "Failed",
        Input::Opened { .. } => "Opened",
        Input::OpenFailed { .. } => "OpenFailed",
        Input::SocketFailed { .. } => "SocketFailed",
        Input::SendFailed { .. } => "SendFailed",
        Input::Drain => "Drain",
        _ => "other",
    }
}

impl<M: Application> Machine for Auditor<M> {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.at(now, &input);
        self.check(&input);
        {
            let mut found = self.findings.lock();
            *found.inputs.entry(kind(&input)).or_default() += 1;
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
                self.broken("rule 1, about to wait with outputs unpolled", &self.now);
            }
            Quiet { streams: false, .. } => {
                self.broken("rule 1, about to wait with dirty streams unpolled", &self.now);
            }
            Quiet { sockets: false, .. } => {
                self.broken("rule 1, about to wait with dirty sockets unpolled", &self.now);
            }
            Quiet { outputs: true, streams: true, sockets: true } => {}
        }
        self.machine.poll_timeout()
    }
}

impl<M: Application> StreamMachine for Auditor<M> {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        let dirty = self.machine.poll_dirty();
        if dirty.is_none() {
            self.quiet.set(Quiet { streams: true, ..self.quiet.get() });
        }
        dirty
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        self.machine.read_buf(stream)
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.machine.write_buf(stream)
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        self.machine.splice(from)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        if let Some(State::Open(Ends { piped: 1.., .. })) = self.streams.get(&from) {
            self.broken("refuse_splice while bytes are inside", &from);
        }
        self.quiet.take();
        self.machine.refuse_splice(from);
    }
}
