//! Bytes moved in the kernel: socket to pipe to socket, never through this process.
//!
//! A pipe is lent to a stream only while bytes are inside; most of the time the same few hot pipes serve all. Their
//! number is bounded: without one the machine is asked to copy.

use crate::stream::Stream;
use ropewalk_core::drive::{SpliceError, SpliceMoved};
use ropewalk_core::errno::fault;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::{AsFd, OwnedFd};

/// Bytes one pipe can hold. The kernel lets an unprivileged user have 64 MiB of pipes.
const SIZE: usize = 256 * 1024;
/// Pipes at the same time, in each worker.
const LIMIT: usize = 64;
/// Empty pipes kept for the next.
const KEEP: usize = 4;

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

#[derive(Default)]
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    /// Pipes with bytes inside, by the index of the stream they came from.
    lent: Vec<(u32, Pipe)>,
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Pipes {
    /// Gives what is inside to `sink`, takes up to `max` from `source`, gives that.
    pub(crate) fn splice(
        &mut self,
        from: u32,
        source: &Stream,
        sink: &Stream,
        max: usize,
    ) -> Result<SpliceMoved, SpliceError> {
        let mut pipe = match self.lent.iter().position(|(owner, _)| *owner == from) {
            Some(at) => self.lent.swap_remove(at).1,
            None => self.free.pop().or_else(|| self.open()).ok_or(SpliceError::Unavailable)?,
        };
        let mut moved = SpliceMoved::default();
        let result = pipe.give(sink, &mut moved).and_then(|()| {
            if pipe.held == 0 && max > 0 {
                pipe.take(source, max, &mut moved)?;
                pipe.give(sink, &mut moved)?;
            }
            Ok(())
        });
        moved.held = pipe.held;
        if pipe.held > 0 {
            self.lent.push((from, pipe));
        } else if self.free.len() < KEEP {
            self.free.push(pipe);
        }
        match result {
            // Told now, the bytes are accounted for; the failure will be met again.
            Err(_) if moved.taken + moved.given > 0 => Ok(moved),
            other => other.map(|()| moved),
        }
    }

    /// The stream is gone, and what it had inside.
    pub(crate) fn drop_of(&mut self, from: u32) {
        self.lent.retain(|(owner, _)| *owner != from);
    }

    fn open(&self) -> Option<Pipe> {
        if self.lent.len() >= LIMIT {
            log::debug!("{LIMIT} pipes are in use: copying instead");
            return None;
        }
        let (read, write) = match pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC) {
            Ok(ends) => ends,
            Err(error) => {
                log::debug!("no pipe to splice through: {error}");
                return None;
            }
        };
        // A smaller pipe than asked for still works, at 64 KiB; below that copying is better.
        match fcntl_setpipe_size(&write, SIZE) {
            Ok(_) => {}
            Err(error) if rustix::pipe::fcntl_getpipe_size(&write).is_ok_and(|size| size < 64 * 1024) => {
                log::debug!("pipe too small to splice through: {error}");
                return None;
            }
            Err(_) => {}
        }
        Some(Pipe { read, write, held: 0 })
    }
}

impl Pipe {
    fn take(&mut self, source: &Stream, max: usize, moved: &mut SpliceMoved) -> Result<(), SpliceError> {
        loop {
            match splice(source.socket().as_fd(), None, &self.write, None, max, FLAGS) {
                Ok(0) => moved.eof = true,
                Ok(len) => {
                    self.held += len;
                    moved.taken += len;
                }
                Err(Errno::AGAIN) => moved.from_blocked = true,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(SpliceError::From(fault(&error.into()))),
            }
            return Ok(());
        }
    }

    fn give(&mut self, sink: &Stream, moved: &mut SpliceMoved) -> Result<(), SpliceError> {
        while self.held > 0 {
            match splice(&self.read, None, sink.socket().as_fd(), None, self.held, FLAGS) {
                Ok(0) => return Ok(()),
                Ok(len) => {
                    self.held -= len;
                    moved.given += len;
                }
                Err(Errno::AGAIN) => {
                    moved.to_blocked = true;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(SpliceError::To(fault(&error.into()))),
            }
        }
        Ok(())
    }
}
