//! What went into a machine and what came out of it, with the virtual time, and a hash over all of
//! it.
//!
//! [`Traced`] stands around any machine, so neither the machine nor the driver knows of it. The
//! hash is FNV-1a of 64 bits over the lines and over every byte that was written to a stream: the
//! same on every machine and in every run, as long as the same things happen.
//!
//! ```text
//! 0.022000000s < Accepted { stream: s0.0, peer: 192.0.2.2:49152, local: 192.0.2.1:1080 }
//! 0.022000000s > Accept { listener: l0, stream: s1.0 }
//! ```

use crate::fnv::Fnv;
use ropewalk_core::machine::{Application, Input, Layer, Output, Rx, SocketId, Transmit};
use ropewalk_core::time::Instant;
use std::cell::{Ref, RefCell};
use std::fmt::Write;
use std::rc::Rc;

#[derive(Default)]
struct Record {
    hash: Fnv,
    lines: Vec<String>,
}

/// A trace: shared by the traced machine and its readers.
#[derive(Clone, Default)]
pub struct Trace(Rc<RefCell<Record>>);

impl Trace {
    /// An empty trace.
    pub fn new() -> Self {
        Trace::default()
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash.value()
    }

    /// The lines so far.
    pub fn lines(&self) -> Ref<'_, [String]> {
        Ref::map(self.0.borrow(), |record| &record.lines[..])
    }

    /// How many lines contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    fn note(&self, now: Instant, mark: char, what: &impl std::fmt::Debug) {
        let mut line = String::new();
        write!(line, "{now:?} {mark} {what:?}").expect("a String takes all");
        let mut record = self.0.borrow_mut();
        record.hash.octets(line.as_bytes());
        record.hash.octets(b"\n");
        record.lines.push(line);
    }

    fn bytes(&self, bytes: &[u8]) {
        self.0.borrow_mut().hash.octets(bytes);
    }
}

/// A machine whose inputs and outputs are written down.
pub struct Traced<M> {
    machine: M,
    trace: Trace,
    /// Of the last call: outputs carry no time of their own.
    now: Instant,
}

impl<M> Traced<M> {
    /// Writes what `machine` hears and says into `trace`.
    pub fn new(machine: M, trace: Trace) -> Self {
        Traced { machine, trace, now: Instant::ZERO }
    }

    /// The machine, no longer traced.
    pub fn into_inner(self) -> M {
        self.machine
    }
}

impl<M: Application> Layer for Traced<M> {
    type Inner = M;

    fn inner(&self) -> &M {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.now = now;
        self.trace.note(now, '<', &input);
        if let Input::Written { stream, len } = input
            && let Some(written) = self.machine.write_buf(stream).get(..len)
        {
            self.trace.bytes(written);
        }
        self.machine.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.trace.note(now, '<', &format_args!("timeout"));
        self.machine.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.machine.poll_output()?;
        self.trace.note(self.now, '>', &output);
        Some(output)
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.now = now;
        self.trace.note(now, '<', &rx);
        self.machine.handle_datagrams(now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let transmit = self.machine.poll_transmit(now, socket, buf)?;
        self.trace.note(now, '>', &transmit);
        self.trace.bytes(buf.get(..transmit.len).unwrap_or(buf));
        Some(transmit)
    }
}
