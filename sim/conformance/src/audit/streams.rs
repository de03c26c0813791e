//! The rules of streams.

use super::{Auditor, Ends, State};
use ropewalk_core::machine::{Application, Input, StreamId};

impl<M> Auditor<M> {
    /// The open stream that `input` is about; `None` when it is dead, which is forgiven.
    pub(super) fn open(&mut self, stream: StreamId, input: &Input<'_>) -> Option<Ends> {
        match self.streams.get(&stream) {
            Some(State::Open(ends)) => {
                if ends.failed {
                    self.broken("D6, an input for a stream that was told as failed", input);
                }
                Some(*ends)
            }
            Some(State::Asked | State::Connecting) => {
                self.broken("D6, an input for a stream that is not open", input);
                None
            }
            None => {
                self.dead(stream, input);
                None
            }
        }
    }

    /// An input for a dead id comes too late and misses, which is forgiven. One that was never
    /// given is not: see [`Auditor::check_ids`].
    fn dead(&self, _: StreamId, _: &Input<'_>) {}

    /// An asked-for stream becomes open, or dies.
    pub(super) fn answered(&mut self, stream: StreamId, expected: State, open: bool, input: &Input<'_>) {
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

    pub(super) fn keep(&mut self, stream: StreamId, ends: Ends) {
        self.streams.insert(stream, State::Open(ends));
    }
}

impl<M: Application> Auditor<M> {
    pub(super) fn check_read(&mut self, stream: StreamId, len: usize, input: &Input<'_>) {
        let Some(ends) = self.open(stream, input) else { return };
        let room = self.machine.read_buf(stream).len();
        if len == 0 {
            self.broken("D5, Read of nothing", input);
        }
        if len > room {
            self.broken("D3, more was read than there was room", input);
        }
        if ends.read {
            self.broken("D5, Read after ReadClosed", input);
        }
    }

    pub(super) fn check_written(&mut self, stream: StreamId, len: usize, input: &Input<'_>) {
        let Some(ends) = self.open(stream, input) else { return };
        let held = self.machine.write_buf(stream).len();
        self.findings.lock().partial += u64::from(len < held);
        if len == 0 || len > held {
            self.broken("D4, more was written than there was, or nothing", input);
        }
        if ends.write_failed {
            self.broken("D6, Written after WriteFailed", input);
        }
        if ends.written {
            self.broken("Written after Shutdown", input);
        }
    }

    pub(super) fn check_spliced(&mut self, from: StreamId, input: &Input<'_>) {
        let Input::Spliced { to, taken, given, eof, .. } = *input else { return };
        let Some(ends) = self.open(from, input) else { return };
        if self.machine.splice(from).is_none_or(|leave| leave.to != to || taken > leave.max) {
            self.broken("spliced without leave", input);
        }
        if given > ends.piped + taken {
            self.broken("a splice gave more than it took", input);
        }
        if ends.read && (taken > 0 || eof) {
            self.broken("D5, a splice took after the end", input);
        }
        let piped = (ends.piped + taken).saturating_sub(given);
        self.keep(from, Ends { piped, read: ends.read || eof, ..ends });
    }
}
