//! A recording, run again.

use super::codec::{Entry, Reader};
use super::{MAGIC, fingerprint, print_of, print_of_output, print_of_packet, print_of_transmit};
use crate::machine::{Application, Input, Output, Rx, SocketId, StreamId, TunId};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

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

/// Where a replay is not what was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Divergence {
    /// The bytes are no recording, or are damaged at this offset.
    Damaged {
        /// The offset, in bytes.
        at: usize,
    },
    /// The machine said something else, or nothing.
    Output {
        /// The number of the entry, from 0.
        entry: usize,
        /// What it said now.
        got: Option<String>,
    },
    /// The machine said more than was recorded before this entry.
    Extra {
        /// The number of the entry, from 0.
        entry: usize,
        /// What it said.
        got: String,
    },
    /// The machine would have written other bytes, or fewer.
    Written {
        /// The number of the entry, from 0.
        entry: usize,
        /// Where to.
        stream: StreamId,
    },
    /// The machine would have sent another datagram, or none.
    Sent {
        /// The number of the entry, from 0.
        entry: usize,
        /// On which socket.
        socket: SocketId,
    },
    /// The machine would have given another packet to a TUN device, or none.
    Given {
        /// The number of the entry, from 0.
        entry: usize,
        /// To which device.
        tun: TunId,
    },
    /// The machine would not have taken that packet out of a TUN device.
    Taken {
        /// The number of the entry, from 0.
        entry: usize,
        /// Out of which device.
        tun: TunId,
    },
    /// The machine did not take a configuration that was recorded.
    Configuration {
        /// The number of the entry, from 0.
        entry: usize,
    },
    /// The machine would not have read that much.
    Read {
        /// The number of the entry, from 0.
        entry: usize,
        /// Where from.
        stream: StreamId,
    },
    /// The machine would keep more bytes than a replay gives it.
    TooMuch {
        /// The number of the entry, from 0.
        entry: usize,
        /// How many bytes it keeps.
        held: usize,
        /// The most that it may.
        most: usize,
    },
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Divergence::Damaged { at } => {
                write!(f, "not a recording of this version, or damaged at byte {at}")
            }
            Divergence::Output { entry, got: Some(got) } => {
                write!(f, "entry {entry}: another output was recorded than {got}")
            }
            Divergence::Output { entry, got: None } => {
                write!(f, "entry {entry}: an output was recorded, none came")
            }
            Divergence::Extra { entry, got } => write!(f, "before entry {entry}: {got} was not recorded"),
            Divergence::Written { entry, stream } => {
                write!(f, "entry {entry}: other bytes were written to {stream:?}")
            }
            Divergence::Sent { entry, socket } => {
                write!(f, "entry {entry}: another datagram was sent on {socket:?}")
            }
            Divergence::Given { entry, tun } => {
                write!(f, "entry {entry}: another packet was given to {tun:?}")
            }
            Divergence::Taken { entry, tun } => {
                write!(f, "entry {entry}: no packet of that length would be taken out of {tun:?}")
            }
            Divergence::Configuration { entry } => {
                write!(f, "entry {entry}: the recorded configuration was not taken")
            }
            Divergence::Read { entry, stream } => {
                write!(f, "entry {entry}: {stream:?} would not be read that far")
            }
            Divergence::TooMuch { entry, held, most } => {
                write!(f, "entry {entry}: expected at most {most} bytes that wait to be sent, got {held}")
            }
        }
    }
}

impl core::error::Error for Divergence {}

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

/// The same, with somebody who is told of each step; what was not polled when the recording ends is
/// left.
pub(super) fn run<M: Application>(
    recording: &[u8],
    machine: &mut M,
    watch: &mut dyn FnMut(Moment<'_>),
    configure: Configure<'_, M>,
    bound: &Bound<M>,
) -> Result<Replayed, Divergence> {
    let mut kept = Kept::find(recording)?;
    let mut reader = Reader::new(recording, MAGIC).ok_or(Divergence::Damaged { at: 0 })?;
    let mut replayed = Replayed::default();
    let mut now = Instant::ZERO;
    while let Some(next) = reader.next().map_err(|at| Divergence::Damaged { at })? {
        let entry = replayed.entries;
        now = next.at().unwrap_or(now);
        // What is compared counts twice where it is an input, too.
        let (inputs, compared) = match next {
            Entry::Output(print) => {
                let got = machine.poll_output();
                if got.as_ref().map(print_of_output) != Some(print) {
                    let got = got.map(|got| format!("{got:?}"));
                    return Err(Divergence::Output { entry, got });
                }
                if let Some(output) = &got {
                    watch(Moment::Output(now, output));
                }
                (0, 1)
            }
            Entry::Input(_, input) => {
                input.with(|input| {
                    watch(Moment::Input(now, &input));
                    machine.handle_input(now, input);
                });
                (1, 0)
            }
            Entry::Read(_, stream, bytes) => {
                let buf = machine.read_buf(stream);
                let buf = buf.get_mut(..bytes.len()).ok_or(Divergence::Read { entry, stream })?;
                buf.copy_from_slice(bytes);
                tell(machine, now, Input::Read { stream, len: bytes.len() }, watch);
                (1, 0)
            }
            Entry::Taken(_, stream, len) => {
                let buf = machine.read_buf(stream);
                let buf = buf.get_mut(..len).ok_or(Divergence::Read { entry, stream })?;
                kept.fill(stream, buf);
                tell(machine, now, Input::Read { stream, len }, watch);
                (1, 0)
            }
            Entry::Written(_, stream, len, print) => {
                if machine.write_buf(stream).get(..len).map(fingerprint) != Some(print) {
                    return Err(Divergence::Written { entry, stream });
                }
                tell(machine, now, Input::Written { stream, len }, watch);
                (1, 1)
            }
            Entry::Put(_, stream, len, offered) => {
                if machine.write_buf(stream).len() != offered || len > offered {
                    return Err(Divergence::Written { entry, stream });
                }
                tell(machine, now, Input::Written { stream, len }, watch);
                (1, 1)
            }
            Entry::Packet(_, tun, packet, offload) => {
                let buf = machine.take_buf(tun);
                let buf = buf.get_mut(..packet.len()).ok_or(Divergence::Taken { entry, tun })?;
                buf.copy_from_slice(packet);
                machine.handle_packet(now, tun, packet.len(), offload);
                (1, 0)
            }
            Entry::Given(_, tun, print, result) => {
                if print_of_packet(machine.give_buf(tun)) != print {
                    return Err(Divergence::Given { entry, tun });
                }
                machine.handle_given(now, tun, result);
                (1, 1)
            }
            Entry::Timeout(_) => {
                watch(Moment::Timeout(now));
                machine.handle_timeout(now);
                (1, 0)
            }
            Entry::RefuseSplice(stream) => {
                machine.refuse_splice(stream);
                (0, 0)
            }
            Entry::Datagrams(_, socket, groups) => {
                let mut data: Vec<Vec<u8>> = groups.iter().map(|_| Vec::new()).collect();
                let mut rx: Vec<Rx<'_>> =
                    groups.iter().zip(&mut data).map(|(group, data)| group.rx(data)).collect();
                receive(machine, now, socket, &mut rx, watch);
                (1, 0)
            }
            Entry::CutDatagrams(_, socket, mut groups) => {
                let mut rx: Vec<Rx<'_>> = groups.iter_mut().map(|group| group.rx()).collect();
                receive(machine, now, socket, &mut rx, watch);
                (1, 0)
            }
            Entry::Transmit(_, socket, room, print) => {
                let mut buf = alloc::vec![0; room.min(MAX_ROOM)];
                let sent = machine.poll_transmit(now, socket, &mut buf);
                if sent.map(|transmit| print_of(&transmit, &buf)) != Some(print) {
                    return Err(Divergence::Sent { entry, socket });
                }
                (0, 1)
            }
            Entry::Sent(_, socket, room, print) => {
                let mut buf = alloc::vec![0; room.min(MAX_ROOM)];
                let sent = machine.poll_transmit(now, socket, &mut buf);
                match sent.filter(|transmit| print_of_transmit(transmit) == print) {
                    Some(transmit) => watch(Moment::Sent(now, socket, transmit.len)),
                    None => return Err(Divergence::Sent { entry, socket }),
                }
                (0, 1)
            }
            Entry::Kept(..) => (0, 0),
            Entry::Asked(stream) => {
                machine.read_buf(stream);
                (0, 0)
            }
            Entry::Configured(_, configuration) => {
                watch(Moment::Configured(now));
                if !configure(now, machine, configuration) {
                    return Err(Divergence::Configuration { entry });
                }
                (1, 0)
            }
        };
        let (held, most) = ((bound.held)(machine), bound.most);
        if held > most {
            return Err(Divergence::TooMuch { entry, held, most });
        }
        replayed.inputs += inputs;
        replayed.compared += compared;
        replayed.entries += 1;
    }
    Ok(replayed)
}

fn tell<M: Application>(machine: &mut M, now: Instant, input: Input<'_>, watch: &mut dyn FnMut(Moment<'_>)) {
    watch(Moment::Input(now, &input));
    machine.handle_input(now, input);
}

fn receive<M: Application>(
    machine: &mut M,
    now: Instant,
    socket: SocketId,
    rx: &mut [Rx<'_>],
    watch: &mut dyn FnMut(Moment<'_>),
) {
    let datagrams = rx.iter().map(|rx| rx.datagrams().count()).sum();
    let bytes = rx.iter().map(|rx| rx.data.len()).sum();
    watch(Moment::Received(now, socket, datagrams, bytes));
    machine.handle_datagrams(now, socket, rx);
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
