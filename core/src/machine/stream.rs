//! The stream half of the contract: bytes that are read and written, and the machine that moves
//! them.

#[cfg(doc)]
use super::Input;
use super::{Machine, StreamId};

/// Leave to move bytes in the kernel, without a look at them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    /// Where they go.
    pub to: StreamId,
    /// At most this many may be taken in one call; 0: only give what is inside already.
    pub max: usize,
}

/// A machine that moves the bytes of streams. One that has none says so: `impl StreamMachine for
/// Mine {}`.
pub trait StreamMachine: Machine {
    /// A stream whose wishes (read, write, splice) may have changed since it was last listed, each
    /// once.
    fn poll_dirty(&mut self) -> Option<StreamId> {
        None
    }

    /// Where to read the next bytes of `stream` into; empty: do not read now. The driver passes
    /// what it read as [`Input::Read`] before any other call that takes `&mut self`: the next
    /// stream may get the same buffer.
    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        let _ = stream;
        &mut []
    }

    /// What to write to `stream` next; empty: nothing.
    fn write_buf(&self, stream: StreamId) -> &[u8] {
        let _ = stream;
        &[]
    }

    /// Leave to move bytes from `from` in the kernel. While it stands, `read_buf` of `from` is
    /// empty. A driver that cannot splice reads instead: see [`StreamMachine::refuse_splice`].
    fn splice(&self, from: StreamId) -> Option<Splice> {
        let _ = from;
        None
    }

    /// Whether the driver reports a fault of `stream` although the machine does not read now, after
    /// the bytes that came before it. Else the next read meets it.
    fn hears_faults(&self, stream: StreamId) -> bool {
        let _ = stream;
        false
    }

    /// The driver cannot splice (at all, or no pipe is left for `from` now): the machine offers
    /// `read_buf` for it again. Never said while a splice has taken more than it has given.
    fn refuse_splice(&mut self, from: StreamId) {
        let _ = from;
    }
}
