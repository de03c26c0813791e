//! A recording, run again; `divergence` says where it is not what was recorded.

mod divergence;

pub use divergence::Divergence;

use super::codec::{Entry, Reader};
use super::{MAGIC, fingerprint, print_of, print_of_output, print_of_packet, print_of_transmit};
use crate::machine::{Application, Fault, Input, Offload, Output, Rx, SocketId, StreamId, Transmit, TunId};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// No driver lends a larger buffer to send from: a damaged recording must not take memory.
const MAX_ROOM: usize = 1 << 20;

/// What stands for a byte that was left out.
pub(super) const FILLER: u8 = b'x';

/// How much was replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Entries of the recording.
    pub entries: usize,
    /// Inputs and time-outs given.
    pub inputs: usize,
    /// Outputs and writes compared.
    pub compared: usize,
}

/// A step of a replay, with its time.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Moment<'a> {
    /// The machine is told this.
    Input(Instant, &'a Input<'a>),
    /// The machine is told that time has passed.
    Timeout(Instant),
    /// The machine says this.
    Output(Instant, &'a Output),
    /// Datagrams came: how many, and their bytes.
    Received(Instant, SocketId, usize, usize),
    /// The machine sends so many bytes.
    Sent(Instant, SocketId, usize),
    /// The machine is given another configuration.
    Configured(Instant),
}

/// Tells `machine` what was recorded, and compares what it says.
///
/// # Errors
/// [`Divergence`] names the first difference.
pub fn replay<M: Application>(recording: &[u8], mut machine: M) -> Result<Replayed, Divergence> {
    // Of its own tests: it is believed.
    let bound = Bound { most: usize::MAX, held: |_| 0 };
    let replayed = run(recording, &mut machine, &mut |_| {}, &mut |_, _, _| false, &bound)?;
    match machine.poll_output() {
        None => Ok(replayed),
        Some(extra) => {
            let entry = replayed.entries;
            Err(Divergence::Extra { entry, got: format!("{extra:?}") })
        }
    }
}

/// What gives the machine a recorded configuration. False: it was not taken.
pub(super) type Configure<'c, M> = &'c mut dyn FnMut(Instant, &mut M, &[u8]) -> bool;

/// What a machine may keep. A few bytes of a recording stand for many of filler, and its
/// configuration may allow any number of buffers: without a bound a hostile one takes all memory.
pub(super) struct Bound<M> {
    /// The most bytes.
    pub(super) most: usize,
    /// How many it keeps now.
    pub(super) held: fn(&M) -> usize,
}

/// Does the same, and shows `watch` each step; what was not polled when the recording ends is left.
pub(super) fn run<M: Application>(
    recording: &[u8],
    machine: &mut M,
    watch: &mut dyn FnMut(Moment<'_>),
    configure: Configure<'_, M>,
    bound: &Bound<M>,
) -> Result<Replayed, Divergence> {
    let kept = Kept::find(recording)?;
    let mut reader = Reader::new(recording, MAGIC).ok_or(Divergence::Damaged { at: 0 })?;
    let done = Replayed::default();
    let mut replay = Replay { machine, watch, configure, kept, now: Instant::ZERO, done };
    while let Some(entry) = reader.next().map_err(|at| Divergence::Damaged { at })? {
        replay.now = entry.at().unwrap_or(replay.now);
        replay.step(entry)?;
        replay.check(bound)?;
        replay.done.entries += 1;
    }
    Ok(replay.done)
}

/// A replay under way.
struct Replay<'r, M> {
    machine: &'r mut M,
    watch: &'r mut dyn FnMut(Moment<'_>),
    configure: Configure<'r, M>,
    kept: Kept<'r>,
    /// When the current entry was recorded.
    now: Instant,
    done: Replayed,
}

impl<M: Application> Replay<'_, M> {
    /// One entry: the machine is given it, or must say it.
    fn step(&mut self, entry: Entry<'_>) -> Result<(), Divergence> {
        match entry {
            Entry::Output(print) => self.output(print)?,
            Entry::Input(_, input) => input.with(|input| self.input(input)),
            Entry::Timeout(_) => self.timeout(),
            Entry::Read(_, stream, bytes) => self.read(stream, bytes)?,
            Entry::Taken(_, stream, len) => self.read_kept(stream, len)?,
            Entry::Written(_, stream, len, print) => {
                let offered = self.machine.write_buf(stream).get(..len).map(fingerprint);
                self.written(stream, len, offered == Some(print))?;
            }
            Entry::Put(_, stream, len, recorded) => {
                let offered = self.machine.write_buf(stream).len();
                self.written(stream, len, offered == recorded && len <= offered)?;
            }
            Entry::Packet(_, tun, packet, offload) => self.packet(tun, packet, offload)?,
            Entry::Given(_, tun, print, result) => self.given(tun, print, result)?,
            Entry::Datagrams(_, socket, groups) => {
                let mut data: Vec<Vec<u8>> = groups.iter().map(|_| Vec::new()).collect();
                let mut rx: Vec<Rx<'_>> =
                    groups.iter().zip(&mut data).map(|(group, data)| group.rx(data)).collect();
                self.datagrams(socket, &mut rx);
            }
            Entry::CutDatagrams(_, socket, mut groups) => {
                let mut rx: Vec<Rx<'_>> = groups.iter_mut().map(|group| group.rx()).collect();
                self.datagrams(socket, &mut rx);
            }
            Entry::Transmit(_, socket, room, print) => {
                self.transmit(socket, room, |transmit, buf| print_of(transmit, buf) == print)?;
            }
            Entry::Sent(_, socket, room, print) => {
                let sent = self.transmit(socket, room, |transmit, _| print_of_transmit(transmit) == print)?;
                (self.watch)(Moment::Sent(self.now, socket, sent.len));
            }
            Entry::Configured(_, configuration) => self.configured(configuration)?,
            Entry::RefuseSplice(stream) => self.machine.refuse_splice(stream),
            Entry::Asked(stream) => {
                self.machine.read_buf(stream);
            }
            Entry::Kept(..) => {}
        }
        Ok(())
    }

    /// The number of the current entry.
    fn entry(&self) -> usize {
        self.done.entries
    }

    fn output(&mut self, print: u64) -> Result<(), Divergence> {
        let entry = self.entry();
        match self.machine.poll_output() {
            Some(output) if print_of_output(&output) == print => {
                (self.watch)(Moment::Output(self.now, &output));
                self.done.compared += 1;
                Ok(())
            }
            got => Err(Divergence::Output { entry, got: got.map(|got| format!("{got:?}")) }),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        (self.watch)(Moment::Input(self.now, &input));
        self.machine.handle_input(self.now, input);
        self.done.inputs += 1;
    }

    fn timeout(&mut self) {
        (self.watch)(Moment::Timeout(self.now));
        self.machine.handle_timeout(self.now);
        self.done.inputs += 1;
    }

    fn read(&mut self, stream: StreamId, bytes: &[u8]) -> Result<(), Divergence> {
        let (entry, len) = (self.entry(), bytes.len());
        let buf = self.machine.read_buf(stream);
        buf.get_mut(..len).ok_or(Divergence::Read { entry, stream })?.copy_from_slice(bytes);
        self.input(Input::Read { stream, len });
        Ok(())
    }

    /// Reads what the recording has kept of the stream.
    fn read_kept(&mut self, stream: StreamId, len: usize) -> Result<(), Divergence> {
        let entry = self.entry();
        let buf = self.machine.read_buf(stream).get_mut(..len).ok_or(Divergence::Read { entry, stream })?;
        self.kept.fill(stream, buf);
        self.input(Input::Read { stream, len });
        Ok(())
    }

    fn written(&mut self, stream: StreamId, len: usize, as_recorded: bool) -> Result<(), Divergence> {
        if !as_recorded {
            return Err(Divergence::Written { entry: self.entry(), stream });
        }
        self.input(Input::Written { stream, len });
        self.done.compared += 1;
        Ok(())
    }

    fn packet(&mut self, tun: TunId, packet: &[u8], offload: Offload) -> Result<(), Divergence> {
        let (entry, len) = (self.entry(), packet.len());
        let buf = self.machine.take_buf(tun);
        buf.get_mut(..len).ok_or(Divergence::Taken { entry, tun })?.copy_from_slice(packet);
        self.machine.handle_packet(self.now, tun, len, offload);
        self.done.inputs += 1;
        Ok(())
    }

    fn given(&mut self, tun: TunId, print: u64, result: Result<(), Fault>) -> Result<(), Divergence> {
        if print_of_packet(self.machine.give_buf(tun)) != print {
            return Err(Divergence::Given { entry: self.entry(), tun });
        }
        self.machine.handle_given(self.now, tun, result);
        self.done.inputs += 1;
        self.done.compared += 1;
        Ok(())
    }

    fn datagrams(&mut self, socket: SocketId, rx: &mut [Rx<'_>]) {
        let datagrams = rx.iter().map(|rx| rx.datagrams().count()).sum();
        let bytes = rx.iter().map(|rx| rx.data.len()).sum();
        (self.watch)(Moment::Received(self.now, socket, datagrams, bytes));
        self.machine.handle_datagrams(self.now, socket, rx);
        self.done.inputs += 1;
    }

    /// What the machine sends into `room` bytes, where it is `as_recorded`.
    fn transmit(
        &mut self,
        socket: SocketId,
        room: usize,
        as_recorded: impl FnOnce(&Transmit, &[u8]) -> bool,
    ) -> Result<Transmit, Divergence> {
        let mut buf = alloc::vec![0; room.min(MAX_ROOM)];
        let sent = self.machine.poll_transmit(self.now, socket, &mut buf);
        let sent = sent.filter(|transmit| as_recorded(transmit, &buf));
        let sent = sent.ok_or(Divergence::Sent { entry: self.entry(), socket })?;
        self.done.compared += 1;
        Ok(sent)
    }

    fn configured(&mut self, configuration: &[u8]) -> Result<(), Divergence> {
        (self.watch)(Moment::Configured(self.now));
        if !(self.configure)(self.now, self.machine, configuration) {
            return Err(Divergence::Configuration { entry: self.entry() });
        }
        self.done.inputs += 1;
        Ok(())
    }

    /// Ends a replay whose machine keeps more than it may.
    fn check(&self, bound: &Bound<M>) -> Result<(), Divergence> {
        let (entry, most, held) = (self.entry(), bound.most, (bound.held)(self.machine));
        if held > most { Err(Divergence::TooMuch { entry, held, most }) } else { Ok(()) }
    }
}

/// What was kept of a stream: where each part begins, its number, its bytes.
type Parts<'a> = BTreeMap<(u64, usize), &'a [u8]>;

/// Bytes that were kept of streams. A part may be kept after it was read: when what it belongs to
/// was whole. So they are all known before the first is read.
///
/// A read looks at the parts that it can meet and at no others, so all reads together cost what the
/// file has bytes.
#[derive(Debug, Default)]
struct Kept<'a> {
    streams: BTreeMap<StreamId, (u64, Parts<'a>)>,
}

impl<'a> Kept<'a> {
    fn find(recording: &'a [u8]) -> Result<Self, Divergence> {
        let mut kept = Kept::default();
        let mut reader = Reader::new(recording, MAGIC).ok_or(Divergence::Damaged { at: 0 })?;
        let mut number = 0;
        while let Ok(Some(next)) = reader.next() {
            if let Entry::Kept(stream, from, bytes) = next
                && !bytes.is_empty()
            {
                kept.streams.entry(stream).or_default().1.insert((from, number), bytes);
                number += 1;
            }
        }
        Ok(kept)
    }

    /// The next bytes of `stream`: those that were kept, and filler. Of two for one place the later
    /// holds.
    fn fill(&mut self, stream: StreamId, buf: &mut [u8]) {
        buf.fill(FILLER);
        let Some((at, parts)) = self.streams.get_mut(&stream).filter(|_| !buf.is_empty()) else { return };
        let end = at.saturating_add(buf.len() as u64);
        let mut met: Vec<_> = parts.range(..(end, 0)).map(|(key, bytes)| (*key, *bytes)).collect();
        met.sort_unstable_by_key(|((_, number), _)| *number);
        for (key, bytes) in met {
            let (from, _) = key;
            if from.saturating_add(bytes.len() as u64) <= end {
                parts.remove(&key);
            }
            let skip = usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
            let bytes = bytes.get(skip..).unwrap_or_default();
            let to = usize::try_from(from.saturating_sub(*at)).unwrap_or(usize::MAX);
            let room = buf.get_mut(to..).unwrap_or_default();
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
        }
        *at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_parts_for_one_place_the_later_holds_and_what_is_missing_is_filler() {
        let stream = StreamId::from_parts(3, 0);
        let parts: Parts<'_> = [((2, 0), &b"abcd"[..]), ((1, 1), b"XY"), ((9, 2), b"z")].into();
        let mut kept = Kept { streams: [(stream, (0, parts))].into() };
        let mut next = |len: usize| {
            let mut buf = alloc::vec![0; len];
            kept.fill(stream, &mut buf);
            buf
        };
        assert_eq!(next(0), b"");
        assert_eq!(next(3), [FILLER, b'X', b'Y']);
        assert_eq!(next(2), *b"bc");
        assert_eq!(next(6), [b'd', FILLER, FILLER, FILLER, b'z', FILLER]);
        assert!(kept.streams[&stream].1.is_empty(), "what has passed is let go");
    }
}
