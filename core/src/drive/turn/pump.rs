//! Moving the bytes of one stream: read, write, splice.

use super::{COPIED, Drive, SHARE, SPLICED, Slot, State};
use crate::drive::io::{Io, Moved, SpliceError, TryError};
use crate::machine::{Application, Fault, Input, StreamId};

impl Drive {
    /// Lets one stream do what it can, up to its share. Returns how many operations it made.
    pub(super) fn pump<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, index: u32) -> usize {
        let mut operations = 0;
        let stream = match self.slots[index as usize] {
            Slot { state: State::Empty, .. } => return 0,
            Slot { generation, .. } => StreamId::from_parts(index, generation),
        };
        if self.slots[index as usize].state == State::Connecting {
            operations += 1;
            match io.finish_connect(stream) {
                Ok(local) => {
                    let slot = &mut self.slots[index as usize];
                    (slot.state, slot.writable) = (State::Open, true);
                    self.input(machine, io, Input::Connected { stream, local });
                }
                Err(TryError::WouldBlock) => return operations,
                Err(TryError::Fault(fault)) => {
                    self.forget(stream);
                    self.input(machine, io, Input::ConnectFailed { stream, fault });
                    return operations;
                }
            }
        }
        operations += self.flush(machine, io, stream);
        let slot = &mut self.slots[index as usize];
        let (failed, ended) = (slot.failed, slot.ended);
        if failed && self.live(stream) && (ended || unread(machine, stream)) {
            self.slots[index as usize].failed = false;
            let input = self.fail(stream, Fault::Reset);
            machine.handle_input(io.now(), input);
        }
        self.settle(machine, io);
        while operations < SHARE && self.live(stream) {
            let slot = self.slots[index as usize];
            let cost = if let Some(splice) = machine.splice(stream) {
                self.splice(machine, io, stream, splice.to, splice.max)
            } else if slot.readable {
                self.read(machine, io, stream)
            } else {
                0
            };
            self.settle(machine, io);
            if cost == 0 {
                return operations;
            }
            operations += cost;
        }
        if self.live(stream) {
            self.enqueue(index);
        }
        operations
    }

    /// One read. Returns what it cost; 0 when nothing was to be done.
    fn read<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, stream: StreamId) -> usize {
        let buf = machine.read_buf(stream);
        if buf.is_empty() {
            return 0;
        }
        let mut cost = 1;
        let result = io.try_read(stream, buf);
        let slot = &mut self.slots[stream.index() as usize];
        let input = match result {
            Ok(Moved { len: 0, .. }) => {
                (slot.readable, slot.ended) = (false, true);
                Input::ReadClosed { stream }
            }
            Ok(Moved { len, more }) => {
                slot.readable = more;
                cost += len / COPIED;
                Input::Read { stream, len }
            }
            Err(TryError::WouldBlock) => {
                slot.readable = false;
                return 0;
            }
            Err(TryError::Fault(fault)) => {
                (slot.readable, slot.writable) = (false, false);
                Input::Failed { stream, fault }
            }
        };
        machine.handle_input(io.now(), input);
        cost
    }

    /// One splice. Returns what it cost; 0 when nothing was to be done.
    fn splice<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        from: StreamId,
        to: StreamId,
        max: usize,
    ) -> usize {
        let source = self.slots[from.index() as usize];
        if !self.live(to) || !self.slots[to.index() as usize].writable || !(source.readable || source.holds) {
            if self.live(to) {
                self.slots[to.index() as usize].feeder = from.index();
            }
            return 0;
        }
        let mut cost = 1;
        let input = match io.try_splice(from, to, max) {
            Ok(moved) => {
                let source = &mut self.slots[from.index() as usize];
                source.readable &= !moved.from_blocked && !moved.eof;
                source.ended |= moved.eof;
                source.holds = moved.held > 0;
                let sink = &mut self.slots[to.index() as usize];
                sink.feeder = from.index();
                sink.writable &= !moved.to_blocked;
                if moved.taken == 0 && moved.given == 0 && !moved.eof {
                    return 0;
                }
                cost += moved.taken / SPLICED;
                Input::Spliced { from, to, taken: moved.taken, given: moved.given, eof: moved.eof }
            }
            Err(SpliceError::Unavailable) => {
                machine.refuse_splice(from);
                return 1;
            }
            Err(SpliceError::From(fault)) => self.fail(from, fault),
            Err(SpliceError::To(fault)) => self.write_failed(to, fault),
        };
        machine.handle_input(io.now(), input);
        cost
    }

    fn fail(&mut self, stream: StreamId, fault: Fault) -> Input<'static> {
        let slot = &mut self.slots[stream.index() as usize];
        (slot.readable, slot.writable) = (false, false);
        Input::Failed { stream, fault }
    }

    /// Marks the stream readable: unread data may remain, and no event will report it.
    fn write_failed(&mut self, stream: StreamId, fault: Fault) -> Input<'static> {
        let slot = &mut self.slots[stream.index() as usize];
        (slot.readable, slot.writable) = (true, false);
        self.enqueue(stream.index());
        Input::WriteFailed { stream, fault }
    }

    /// Writes what the machine has for `stream`. Returns how many operations it made.
    pub(super) fn flush<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        stream: StreamId,
    ) -> usize {
        let mut operations = 0;
        while self.live(stream) && self.slots[stream.index() as usize].writable {
            let buf = machine.write_buf(stream);
            if buf.is_empty() || self.slots[stream.index() as usize].state != State::Open {
                break;
            }
            operations += 1;
            let input = match io.try_write(stream, buf) {
                Ok(Moved { len, more }) => {
                    self.slots[stream.index() as usize].writable = more;
                    if len == 0 {
                        break;
                    }
                    Input::Written { stream, len }
                }
                Err(TryError::WouldBlock) => {
                    self.slots[stream.index() as usize].writable = false;
                    break;
                }
                Err(TryError::Fault(fault)) => self.write_failed(stream, fault),
            };
            machine.handle_input(io.now(), input);
        }
        operations
    }
}

/// Whether nothing is read that would meet the fault of this stream, and the machine wants to hear
/// of it all the same.
fn unread<M: Application>(machine: &mut M, stream: StreamId) -> bool {
    machine.hears_faults(stream) && machine.read_buf(stream).is_empty()
}
