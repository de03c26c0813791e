//! What a client or a target does, step by step, and what it got.

use ropewalk_core::time::{Duration, Instant};
use std::collections::VecDeque;

/// One step of a script; the next begins when it is done.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Send these bytes, as the window allows.
    Send(Vec<u8>),
    /// End our half.
    Fin,
    /// Reset the connection.
    Reset,
    /// Close both halves: what still comes is answered with a reset.
    Close,
    /// Wait.
    Pause(Duration),
    /// Wait until this many bytes were received in all.
    AwaitTotal(usize),
    /// Wait until this text was received, behind what was awaited before.
    AwaitText(Vec<u8>),
    /// Wait for the other side's end, orderly or not.
    AwaitEnd,
    /// Read otherwise from now on.
    Read(Reading),
    /// Send in segments of this size, this far apart, from now on.
    Pace(usize, Duration),
    /// Send back what comes, and end when it ends.
    Echo,
}

/// How fast a person reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// All there is, as soon as it is there.
    Fast,
    /// This many bytes, at this interval.
    Slow(usize, Duration),
    /// Not at all.
    Stopped,
}

/// How the other side's half ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Not yet.
    Open,
    /// With a FIN, after the last byte.
    Fin,
    /// With a reset.
    Reset,
}

/// A client or a target: its ways and its script.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) script: VecDeque<Act>,
    /// Bytes of one segment sent.
    pub(crate) segment: usize,
    /// Time between two segments.
    pub(crate) gap: Duration,
    /// One way.
    pub(crate) latency: Duration,
    /// Bytes the proxy can write before this person reads.
    pub(crate) window: usize,
    /// Bytes this person can send before the proxy reads.
    pub(crate) inbox: usize,
    pub(crate) reading: Reading,
    /// Ends its own half when the script is over and the other half has ended.
    pub(crate) polite: bool,
}

impl Person {
    pub(crate) fn new(script: impl IntoIterator<Item = Act>) -> Self {
        Person {
            script: script.into_iter().collect(),
            segment: 1448,
            gap: Duration::ZERO,
            latency: Duration::from_millis(5),
            window: 64 * 1024,
            inbox: 64 * 1024,
            reading: Reading::Fast,
            polite: true,
        }
    }

    pub(crate) fn segments(mut self, segment: usize, gap: Duration) -> Self {
        (self.segment, self.gap) = (segment, gap);
        self
    }

    /// Each Send arrives as one piece, if the window allows it.
    pub(crate) fn whole(self) -> Self {
        self.segments(usize::MAX, Duration::ZERO)
    }

    pub(crate) fn windows(mut self, window: usize, inbox: usize) -> Self {
        (self.window, self.inbox) = (window, inbox);
        self
    }

    pub(crate) fn reads(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    pub(crate) fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

/// What a person got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    /// When how many bytes had been received.
    pub(crate) times: Vec<(Instant, usize)>,
    pub(crate) end: End,
    pub(crate) ended_at: Option<Instant>,
    /// A reset came, perhaps behind a FIN.
    pub(crate) reset: bool,
    /// Bytes it could send.
    pub(crate) sent: usize,
}

impl Got {
    pub(crate) fn new() -> Self {
        Got { bytes: Vec::new(), times: Vec::new(), end: End::Open, ended_at: None, reset: false, sent: 0 }
    }

    /// When the first byte came.
    pub(crate) fn first_at(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// When the byte at `offset` came.
    pub(crate) fn byte_at(&self, offset: usize) -> Option<Instant> {
        self.times.iter().find(|(_, total)| *total > offset).map(|(at, _)| *at)
    }
}
