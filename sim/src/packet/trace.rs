//! The trace: every packet that enters or leaves a link, and a number that stands for all of it.
//!
//! The hash is FNV-1a over 64-bit words: of the fields of each entry, and of the bytes of each
//! packet as it enters a link. Integers in a fixed order only, so a debug and a release build, and
//! two machines, agree.

use crate::fnv::Fnv;
use crate::scenario::Direction;
use ropewalk_core::time::Instant;
use std::io::{self, Write};

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It was given to a link.
    Enter,
    /// It came out of a link.
    Leave,
    /// It entered a link that was full, silent, or whose MTU it is over.
    Drop,
    /// It left a link at whose end there was no host.
    Unheard,
    /// A host gave it to the tunnel.
    Take,
    /// The tunnel gave it to a host.
    Give,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Step::Enter => "enter",
            Step::Leave => "leave",
            Step::Drop => "drop",
            Step::Unheard => "unheard",
            Step::Take => "take",
            Step::Give => "give",
        }
    }
}

/// The trace of one run.
pub(super) struct Tracer {
    hash: Fnv,
    out: Option<Box<dyn Write>>,
    failed: Option<io::Error>,
}

impl Tracer {
    /// `out` gets a line for each entry: seconds, step, place, direction, bytes of IP, hash of the
    /// content as it enters.
    pub(super) fn new(out: Option<Box<dyn Write>>) -> Self {
        let mut tracer = Tracer { hash: Fnv::default(), out, failed: None };
        tracer.write(format_args!("# seconds step place direction bytes content\n"));
        tracer
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(out) = &mut self.out
            && let Err(error) = out.write_fmt(line)
        {
            self.failed = Some(error);
            self.out = None;
        }
    }

    /// Writes an entry down. `place` is a link's name or `tun`.
    pub(super) fn step(
        &mut self,
        now: Instant,
        step: Step,
        place: (usize, &str),
        direction: Direction,
        size: usize,
        content: &[u8],
    ) {
        self.hash.word(now.as_nanos());
        let (index, name) = place;
        self.hash.word(step as u64 | (direction as u64) << 8 | (index as u64) << 16 | (size as u64) << 32);
        // A packet's bytes are the same until it leaves.
        if !content.is_empty() {
            self.hash.bytes(content);
        }
        if self.out.is_some() {
            let mut own = Fnv::default();
            own.bytes(content);
            let (nanos, step, way) = (now.as_nanos(), step.as_str(), direction.as_str());
            let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            let content = if content.is_empty() { "-".to_owned() } else { format!("{:016x}", own.value()) };
            self.write(format_args!("{seconds}.{nanos:09} {step} {name} {way} {size} {content}\n"));
        }
    }

    /// The hash of all entries.
    ///
    /// # Errors
    /// That of the first write that failed.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if let Some(out) = &mut self.out {
            out.flush()?;
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.hash.value()),
        }
    }
}
