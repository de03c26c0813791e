//! The machine, with the contract checked at each call, and a trace of all that was said.

use ropewalk_core::dispatch::{Config, ConfigError, Counters, Dispatch};
use ropewalk_core::machine::{
    Application, Assign, Assignment, Input, Layer, ListenerId, Output, Splice, StreamId,
};
use ropewalk_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Asked(ListenerId),
    Connecting,
    Open,
    Shut,
}

/// A question to the pool, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) assign: Assign,
    pub(crate) answer: Option<Assignment>,
}

/// A machine that a lab can be built around.
pub(crate) trait Subject: Application {
    fn counters(&self) -> Counters;
    fn buffers_taken(&self) -> usize;
    /// Another configuration for the machine of dispatch, where it is one.
    fn reconfigure(&mut self, _: Instant, _: Config) -> Option<Result<usize, ConfigError>> {
        None
    }
    /// Every input it got, where that is written down.
    fn recording(&mut self) -> Option<Vec<u8>> {
        None
    }
}

impl Subject for Dispatch {
    fn counters(&self) -> Counters {
        Dispatch::counters(self)
    }
    fn buffers_taken(&self) -> usize {
        Dispatch::buffers_taken(self)
    }
    fn reconfigure(&mut self, now: Instant, config: Config) -> Option<Result<usize, ConfigError>> {
        Some(Dispatch::reconfigure(self, now, config))
    }
}

#[cfg(feature = "unwrap")]
impl Subject for super::incident::Recorded<Dispatch> {
    fn counters(&self) -> Counters {
        Dispatch::counters(self)
    }
    fn buffers_taken(&self) -> usize {
        Dispatch::buffers_taken(self)
    }
    fn reconfigure(&mut self, now: Instant, config: Config) -> Option<Result<usize, ConfigError>> {
        Some(self.reconfigure(now, config))
    }
    fn recording(&mut self) -> Option<Vec<u8>> {
        Some(self.entries.bytes())
    }
}

/// A machine that is looked at from both sides.
pub(crate) struct Watched {
    pub(crate) inner: Box<dyn Subject>,
    live: BTreeMap<StreamId, Life>,
    piped: BTreeMap<StreamId, usize>,
    dead_queries: BTreeSet<(u32, u32)>,
    now: Instant,
    timeouts_at_once: u32,
    pub(crate) finished: u32,
    /// Questions to the pool that wait for their answer, and those that have it.
    asking: Vec<Assign>,
    pub(crate) asked: Vec<Asked>,
    /// Everything said, in both directions.
    pub(crate) trace: Vec<String>,
    /// Keep no trace.
    pub(crate) quiet: bool,
}

impl Watched {
    pub(crate) fn new(inner: Box<dyn Subject>) -> Self {
        Watched {
            inner,
            live: BTreeMap::new(),
            piped: BTreeMap::new(),
            dead_queries: BTreeSet::new(),
            now: Instant::ZERO,
            timeouts_at_once: 0,
            finished: 0,
            asking: Vec::new(),
            asked: Vec::new(),
            trace: Vec::new(),
            quiet: false,
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.inner.counters()
    }

    pub(crate) fn buffers_taken(&self) -> usize {
        self.inner.buffers_taken()
    }

    /// Streams the machine has not given up, accepts that wait left out.
    pub(crate) fn live_streams(&self) -> usize {
        self.live.values().filter(|life| !matches!(life, Life::Asked(_))).count()
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if !self.quiet {
            let now = self.now;
            self.trace.push(format!("{now:?} {}", line()));
        }
    }

    fn born(&mut self, stream: StreamId, life: Life) {
        let same_slot = self.live.keys().find(|other| other.index() == stream.index());
        assert_eq!(same_slot, None, "{stream:?} was handed out while its slot lives");
        self.live.insert(stream, life);
    }

    fn heard(&mut self, input: &Input<'_>) {
        match *input {
            Input::Accepted { stream, .. } | Input::Connected { stream, .. } => {
                if let Some(life) = self.live.get_mut(&stream) {
                    *life = Life::Open;
                }
            }
            Input::AcceptFailed { stream, .. } | Input::ConnectFailed { stream, .. } => {
                self.live.remove(&stream);
            }
            Input::Assigned { conn, assignment } => {
                let at = self.asking.iter().position(|assign| assign.conn == conn);
                let assign = self.asking.remove(at.expect("an answer that nobody asked for"));
                self.asked.push(Asked { at: self.now, assign, answer: assignment });
            }
            Input::Spliced { from, taken, given, .. } => {
                let piped = self.piped.entry(from).or_default();
                *piped = (*piped + taken).checked_sub(given).expect("the world gives no more than it took");
            }
            _ => {}
        }
    }

    fn said(&mut self, output: &Output) {
        match *output {
            Output::Accept { listener, stream } => self.born(stream, Life::Asked(listener)),
            Output::CancelAccept { stream, .. } => {
                assert!(
                    matches!(self.live.remove(&stream), Some(Life::Asked(_))),
                    "{stream:?} was not asked for"
                );
            }
            Output::Unlisten { listener } => self.live.retain(|_, life| *life != Life::Asked(listener)),
            Output::Assign(assign) => self.asking.push(assign),
            Output::Connect { stream, .. } => self.born(stream, Life::Connecting),
            Output::Shutdown { stream } => {
                let pending = self.inner.write_buf(stream).len();
                assert_eq!(pending, 0, "Shutdown of {stream:?} with bytes to write");
                let life = self.live.get_mut(&stream);
                assert_eq!(life, Some(&mut Life::Open), "Shutdown of a stream that is not open, {stream:?}");
                if let Some(life) = life {
                    *life = Life::Shut;
                }
            }
            Output::Close { stream, .. } => {
                assert!(self.live.remove(&stream).is_some(), "Close of a dead stream, {stream:?}");
                self.piped.remove(&stream);
            }
            Output::Finished => {
                self.finished += 1;
                assert_eq!(self.finished, 1, "Finished is said once");
                assert_eq!(self.live_streams(), 0, "Finished with open streams");
            }
            _ => {}
        }
    }
}

impl Layer for Watched {
    type Inner = dyn Subject;

    fn inner(&self) -> &(dyn Subject + 'static) {
        &*self.inner
    }

    fn inner_mut(&mut self) -> &mut (dyn Subject + 'static) {
        &mut *self.inner
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        assert!(now >= self.now, "the world's time went back");
        self.now = now;
        self.heard(&input);
        self.note(|| format!("> {input:?}"));
        self.inner.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.timeouts_at_once = if now == self.now { self.timeouts_at_once + 1 } else { 0 };
        assert!(self.timeouts_at_once < 2_000, "the machine's timers spin at {now:?}");
        self.now = now;
        self.note(|| "> timeout".into());
        self.inner.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.inner.poll_output()?;
        self.said(&output);
        self.note(|| format!("< {output:?}"));
        Some(output)
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        let splices = self.inner.splice(stream).is_some();
        let open = matches!(self.live.get(&stream), Some(Life::Open | Life::Shut));
        let buf = self.inner.read_buf(stream);
        assert!(open || buf.is_empty(), "a wish to read from a stream that is not open, {stream:?}");
        assert!(!splices || buf.is_empty(), "read_buf of {stream:?} while it may splice");
        buf
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        let buf = self.inner.write_buf(stream);
        let open = matches!(self.live.get(&stream), Some(Life::Open));
        assert!(open || buf.is_empty(), "bytes for a stream that is not open or was shut, {stream:?}");
        buf
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        let splice = self.inner.splice(from)?;
        let piped = self.piped.get(&from).copied().unwrap_or_default();
        assert!(splice.max > 0 || piped > 0, "a splice of nothing");
        assert_ne!(splice.to, from, "a splice into itself");
        assert!(matches!(self.live.get(&splice.to), Some(Life::Open)), "a splice into {:?}", splice.to);
        Some(splice)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        let piped = self.piped.get(&from).copied().unwrap_or_default();
        assert_eq!(piped, 0, "the world refuses no splice with bytes inside");
        self.note(|| format!("> refuse_splice {from:?}"));
        self.inner.refuse_splice(from);
    }
}
