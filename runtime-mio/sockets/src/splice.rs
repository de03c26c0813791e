//! Bytes moved in the kernel: socket to pipe to socket, never through this process.
//!
//! A pipe is lent to a stream only while bytes are inside; most of the time the same few hot pipes
//! serve all. Their number is bounded: without one the machine is asked to copy.

use ropewalk_core::drive::{SpliceError, SpliceMoved};
use ropewalk_core::errno::fault;
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
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

/// The pipes of one worker.
#[derive(Default)]
pub struct Pipes {
    free: Vec<Pipe>,
    /// Pipes with bytes inside, by the index of the stream they came from.
    lent: Vec<(u32, Pipe)>,
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Pipes {
    /// Gives what is inside to `sink`, takes up to `max` (0: nothing) from `source`, gives that.
    /// `from` is the index of the source.
    ///
    /// # Errors
    /// As [`SpliceError`] says; after something was moved, at the next call.
    pub fn splice(
        &mut self,
        from: u32,
        source: &impl AsFd,
        sink: &impl AsFd,
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
            // Reported now, the bytes are accounted for; the next call meets the failure again.
            Err(_) if moved.taken + moved.given > 0 => Ok(moved),
            other => other.map(|()| moved),
        }
    }

    /// The stream is gone, and what it had inside.
    pub fn drop_of(&mut self, from: u32) {
        self.lent.retain(|(owner, _)| *owner != from);
    }

    fn open(&self) -> Option<Pipe> {
        if self.lent.len() >= LIMIT {
            crate::hits::PIPES.hit();
            log::debug!("{LIMIT} pipes are in use: copying instead");
            return None;
        }
        let (read, write) = match pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC) {
            Ok(ends) => ends,
            Err(error) => {
                crate::hits::PIPES.hit();
                log::debug!("no pipe to splice through: {error}");
                return None;
            }
        };
        // A smaller pipe than asked for still works, at 64 KiB; below that copying is better.
        if let Err(error) = fcntl_setpipe_size(&write, SIZE)
            && fcntl_getpipe_size(&write).is_ok_and(|size| size < 64 * 1024)
        {
            log::debug!("pipe too small to splice through: {error}");
            return None;
        }
        Some(Pipe { read, write, held: 0 })
    }
}

impl Pipe {
    fn take(&mut self, source: &impl AsFd, max: usize, moved: &mut SpliceMoved) -> Result<(), SpliceError> {
        match retry_on_intr(|| splice(source, None, &self.write, None, max, FLAGS)) {
            Ok(0) => moved.eof = true,
            Ok(len) => {
                self.held += len;
                moved.taken += len;
            }
            // At the mark of urgent data a splice stops for good, though there is more: reading
            // passes it.
            Err(Errno::AGAIN)
                if moved.taken == 0 && rustix::io::ioctl_fionread(source).is_ok_and(|n| n > 0) =>
            {
                return Err(SpliceError::Unavailable);
            }
            Err(Errno::AGAIN) => moved.from_blocked = true,
            Err(error) => return Err(SpliceError::From(fault(&error.into()))),
        }
        Ok(())
    }

    fn give(&mut self, sink: &impl AsFd, moved: &mut SpliceMoved) -> Result<(), SpliceError> {
        while self.held > 0 {
            match retry_on_intr(|| splice(&self.read, None, sink, None, self.held, FLAGS)) {
                Ok(0) => break,
                Ok(len) => {
                    self.held -= len;
                    moved.given += len;
                }
                Err(Errno::AGAIN) => {
                    moved.to_blocked = true;
                    break;
                }
                Err(error) => return Err(SpliceError::To(fault(&error.into()))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// A socket that does not block, and its other end.
    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("two descriptors");
        ours.set_nonblocking(true).expect("a socket can");
        (ours, theirs)
    }

    #[test]
    fn a_splice_of_nothing_takes_nothing() {
        let ((source, mut writer), (sink, _reader)) = (pair(), pair());
        writer.write_all(b"later").expect("room");
        let mut pipes = Pipes::default();
        let moved = pipes.splice(1, &source, &sink, 0).expect("nothing fails");
        assert_eq!(moved, SpliceMoved::default());
        let moved = pipes.splice(1, &source, &sink, 3).expect("nothing fails");
        assert_eq!((moved.taken, moved.given, moved.held), (3, 3, 0));
    }

    #[test]
    fn what_is_inside_is_given_without_taking_more() {
        let ((source, mut writer), (sink, mut reader)) = (pair(), pair());
        // Full but for less than is written.
        let filled = std::iter::from_fn(|| (&sink).write(&[0; 1024]).ok()).sum::<usize>();
        writer.write_all(b"one").expect("room");
        let mut pipes = Pipes::default();
        let moved = pipes.splice(1, &source, &sink, 3).expect("nothing fails");
        assert_eq!((moved.taken, moved.held, moved.to_blocked), (3, 3, true));
        writer.write_all(b"two").expect("room");
        reader.read_exact(&mut vec![0; filled]).expect("all that was filled in");
        let moved = pipes.splice(1, &source, &sink, 0).expect("nothing fails");
        assert_eq!((moved.taken, moved.given, moved.held), (0, 3, 0));
        let mut heard = [0; 3];
        reader.read_exact(&mut heard).expect("it was given");
        assert_eq!(&heard, b"one");
    }

    #[test]
    fn a_failure_after_something_was_moved_is_told_at_the_next_call() {
        let ((source, mut writer), (sink, reader)) = (pair(), pair());
        drop(reader);
        writer.write_all(b"lost").expect("room");
        let mut pipes = Pipes::default();
        let moved = pipes.splice(1, &source, &sink, 64).expect("told at the next call");
        assert_eq!((moved.taken, moved.given, moved.held), (4, 0, 4));
        assert!(matches!(pipes.splice(1, &source, &sink, 64), Err(SpliceError::To(_))));
    }

    #[test]
    fn the_next_tenant_of_an_index_gets_none_of_the_bytes_of_the_one_before() {
        let ((source, mut writer), (sink, reader)) = (pair(), pair());
        while (&sink).write(&[0; 1024]).is_ok() {}
        writer.write_all(b"secret").expect("room");
        let mut pipes = Pipes::default();
        assert_eq!(pipes.splice(1, &source, &sink, 64).map(|moved| moved.held), Ok(6));
        // Another owner's pipe is not taken.
        let ((other, mut other_writer), (other_sink, mut other_reader)) = (pair(), pair());
        while (&other_sink).write(&[0; 1024]).is_ok() {}
        other_writer.write_all(b"mine").expect("room");
        assert_eq!(pipes.splice(2, &other, &other_sink, 64).map(|moved| moved.held), Ok(4));
        pipes.drop_of(1);
        drop((source, sink, reader));

        let ((source, mut writer), (sink, mut reader)) = (pair(), pair());
        writer.write_all(b"new").expect("room");
        let moved = pipes.splice(1, &source, &sink, 64).expect("nothing fails");
        assert_eq!((moved.taken, moved.given, moved.held), (3, 3, 0));
        let mut heard = [0; 16];
        assert_eq!(reader.read(&mut heard).expect("it was given"), 3);
        assert_eq!(&heard[..3], b"new");

        other_reader.set_nonblocking(true).expect("a socket can");
        while other_reader.read(&mut [0; 4096]).is_ok() {}
        let moved = pipes.splice(2, &other, &other_sink, 0).expect("nothing fails");
        assert_eq!((moved.given, moved.held), (4, 0));
        assert_eq!(other_reader.read(&mut heard).expect("it was given"), 4);
        assert_eq!(&heard[..4], b"mine");
    }
}
