//! A machine that wants what the test says, over a system that answers what the test says.

use ropewalk_core::drive::{
    Drive, Incoming, Io, Moved, Received, SpliceError, SpliceMoved, TransmitError, TryError, Turn,
};
use ropewalk_core::machine::{
    Close, DatagramMachine, Fault, Id, Input, ListenerId, Machine, Output, Rx, SocketId, Splice, StreamId,
    StreamMachine, Transmit, TunMachine, Via,
};
use ropewalk_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

pub(crate) const LISTENER: ListenerId = ListenerId(0);

pub(crate) fn stream(index: u32) -> StreamId {
    StreamId::from_parts(index, 0)
}

pub(crate) fn socket(index: u32) -> SocketId {
    SocketId::from_parts(index, 0)
}

pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// What the machine wants, and what it has heard.
#[derive(Default)]
pub(crate) struct Toy {
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) dirty: VecDeque<StreamId>,
    /// Streams it wants bytes of.
    pub(crate) reads: BTreeSet<StreamId>,
    buf: Vec<u8>,
    /// Bytes it has for streams.
    pub(crate) writes: BTreeMap<StreamId, Vec<u8>>,
    pub(crate) splices: BTreeMap<StreamId, Splice>,
    pub(crate) hears: BTreeSet<StreamId>,
    pub(crate) dirty_sockets: VecDeque<SocketId>,
    /// Datagrams that are left to send, and how long they are.
    pub(crate) sends: usize,
    pub(crate) len: usize,
    pub(crate) due: Option<Instant>,
    pub(crate) heard: Vec<String>,
}

impl Machine for Toy {
    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        if let Input::Written { stream, len } = input {
            self.writes.entry(stream).or_default().drain(..len);
        }
        let index = input.ids().next().map(|(id, _)| match id {
            Id::Stream(id) => id.index(),
            Id::Socket(id) => id.index(),
            Id::Query(id) => id.index(),
            other => panic!("no test is about {other:?}"),
        });
        self.heard.push(format!("{} {}", input.name(), index.unwrap_or_default()));
    }
    fn handle_timeout(&mut self, _: Instant) {
        self.heard.push("timeout".into());
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl StreamMachine for Toy {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.dirty.pop_front()
    }
    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        self.buf.resize(1 << 20, 0);
        if self.reads.contains(&stream) { &mut self.buf } else { &mut [] }
    }
    fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.writes.get(&stream).map_or(&[], Vec::as_slice)
    }
    fn splice(&self, from: StreamId) -> Option<Splice> {
        self.splices.get(&from).copied()
    }
    fn hears_faults(&self, stream: StreamId) -> bool {
        self.hears.contains(&stream)
    }
    fn refuse_splice(&mut self, from: StreamId) {
        self.splices.remove(&from);
        self.reads.insert(from);
    }
}

impl DatagramMachine for Toy {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.dirty_sockets.pop_front()
    }
    fn handle_datagrams(&mut self, _: Instant, socket: SocketId, _: &mut [Rx<'_>]) {
        self.heard.push(format!("datagrams {}", socket.index()));
    }
    fn poll_transmit(&mut self, _: Instant, _: SocketId, _: &mut [u8]) -> Option<Transmit> {
        self.sends = self.sends.checked_sub(1)?;
        Some(Transmit { len: self.len, ..Transmit::default() })
    }
}

impl TunMachine for Toy {}

/// What the system answers. What nobody has told it would block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Len(usize),
    /// And the next try is known to block.
    Last(usize),
    Fails,
    Blocks,
}

#[derive(Default)]
pub(crate) struct System {
    pub(crate) now: Instant,
    pub(crate) made: Vec<String>,
    /// By call and index.
    answers: BTreeMap<(&'static str, u32), VecDeque<Says>>,
    pub(crate) splices: VecDeque<Result<SpliceMoved, SpliceError>>,
}

impl System {
    pub(crate) fn say(&mut self, call: &'static str, index: u32, says: impl IntoIterator<Item = Says>) {
        self.answers.entry((call, index)).or_default().extend(says);
    }
    fn asked(&mut self, call: &'static str, index: u32) -> Result<Moved, TryError> {
        self.made.push(format!("{call} {index}"));
        match self.answers.get_mut(&(call, index)).and_then(VecDeque::pop_front).unwrap_or(Says::Blocks) {
            Says::Len(len) => Ok(Moved { len, more: true }),
            Says::Last(len) => Ok(Moved { len, more: false }),
            Says::Fails => Err(TryError::Fault(Fault::Refused)),
            Says::Blocks => Err(TryError::WouldBlock),
        }
    }
    /// Calls of each kind in a row, since this was last asked.
    pub(crate) fn runs(&mut self) -> Vec<(String, usize)> {
        let mut runs: Vec<(String, usize)> = Vec::new();
        for call in self.made.drain(..) {
            match runs.last_mut() {
                Some((last, count)) if *last == call => *count += 1,
                _ => runs.push((call, 1)),
            }
        }
        runs
    }
}

impl Io for System {
    fn now(&mut self) -> Instant {
        self.now
    }
    fn try_accept(&mut self, _: ListenerId, stream: StreamId) -> Result<Incoming, TryError> {
        self.asked("accept", stream.index()).map(|_| Incoming { peer: peer(), local: peer() })
    }
    fn unlisten(&mut self, _: ListenerId) {
        self.made.push("unlisten".into());
    }
    fn connect(&mut self, stream: StreamId, _: SocketAddr, _: &Via) -> Result<(), Fault> {
        match self.asked("connect", stream.index()) {
            Err(TryError::Fault(fault)) => Err(fault),
            Ok(_) | Err(TryError::WouldBlock) => Ok(()),
        }
    }
    fn finish_connect(&mut self, stream: StreamId) -> Result<SocketAddr, TryError> {
        self.asked("finish", stream.index()).map(|_| peer())
    }
    fn try_read(&mut self, stream: StreamId, _: &mut [u8]) -> Result<Moved, TryError> {
        self.asked("read", stream.index())
    }
    fn try_write(&mut self, stream: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        self.asked("write", stream.index()).map(|moved| Moved { len: moved.len.min(buf.len()), ..moved })
    }
    fn try_splice(&mut self, from: StreamId, _: StreamId, _: usize) -> Result<SpliceMoved, SpliceError> {
        self.made.push(format!("splice {}", from.index()));
        let nothing = SpliceMoved { from_blocked: true, ..SpliceMoved::default() };
        self.splices.pop_front().unwrap_or(Ok(nothing))
    }
    fn shutdown(&mut self, stream: StreamId) {
        self.made.push(format!("shutdown {}", stream.index()));
    }
    fn close(&mut self, stream: StreamId, _: Close) {
        self.made.push(format!("close {}", stream.index()));
    }
    fn receive(&mut self, _: ListenerId, _: SocketId, _: bool) {}
    fn open_socket(&mut self, id: SocketId, _: SocketAddr, _: &Via, _: bool) -> Result<SocketAddr, Fault> {
        match self.asked("open", id.index()) {
            Err(TryError::Fault(fault)) => Err(fault),
            Ok(_) | Err(TryError::WouldBlock) => Ok(peer()),
        }
    }
    fn close_socket(&mut self, socket: SocketId) {
        self.made.push(format!("close socket {}", socket.index()));
    }
    fn try_receive(
        &mut self,
        socket: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        let Moved { len, more } = self.asked("receive", socket.index())?;
        let mut data = vec![0; len];
        sink(&mut [Rx { data: &mut data, stride: len, from: peer(), to: None, interface: None, ecn: 0 }]);
        Ok(Received { count: 1, more })
    }
    fn try_transmit(
        &mut self,
        socket: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        let Some(_) = source(&mut [0; 9]) else { return Ok(0) };
        match self.asked("transmit", socket.index()) {
            Ok(_) => Ok(1),
            Err(TryError::WouldBlock) => Err(TransmitError::WouldBlock),
            Err(TryError::Fault(fault)) => Err(TransmitError::Failed { id: 7, sent: 0, fault }),
        }
    }
}

/// Machine, system and driver.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) toy: Toy,
    pub(crate) system: System,
    pub(crate) drive: Drive,
}

impl Stage {
    /// With so many streams open, of which the system has nothing.
    pub(crate) fn with(streams: u32) -> Stage {
        let mut stage = Stage::default();
        for index in 0..streams {
            stage.system.say("accept", index, [Says::Len(0)]);
            stage.toy.outputs.push_back(Output::Accept { listener: LISTENER, stream: self::stream(index) });
            stage.toy.reads.insert(self::stream(index));
        }
        stage.drive.listener_ready(LISTENER);
        while stage.turn(64).more {}
        stage.forget();
        stage
    }
    pub(crate) fn forget(&mut self) {
        self.system.made.clear();
        self.toy.heard.clear();
    }
    pub(crate) fn turn(&mut self, fuel: usize) -> Turn {
        self.drive.turn(&mut self.toy, &mut self.system, fuel)
    }
    pub(crate) fn ask(&mut self, output: Output) {
        self.toy.outputs.push_back(output);
    }
    /// One turn with much fuel: what was called, and what the machine has heard.
    #[track_caller]
    pub(crate) fn shows(&mut self, made: &[&str], heard: &[&str]) {
        self.turn(1000);
        assert_eq!((&self.system.made[..], &self.toy.heard[..]), (&owned(made)[..], &owned(heard)[..]));
        self.forget();
    }
}

pub(crate) fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_string()).collect()
}

pub(crate) fn run(call: &str, count: usize) -> (String, usize) {
    (call.to_string(), count)
}
