//! A run written down, and run again.
//!
//! A [`Recorder`] stands between a driver and its machine and writes down everything that reaches
//! the machine: inputs with their times, the bytes that were read, the pool's answers. Of the
//! machine's outputs it writes fingerprints. [`replay`] gives a fresh machine of the same
//! configuration the same inputs and compares: the same inputs give the same outputs, on every
//! machine, or [`Divergence`] says where not.
//!
//! A recording holds what clients sent, passwords too: treat it as they would be treated. It never
//! holds entropy ([`Input::Entropy`] is replayed as zeros): what was sealed with it replays in
//! length and time only.
//!
//! ```
//! use ropewalk_core::dispatch::{Config, Dispatch};
//! use ropewalk_core::machine::{Input, Machine, Output};
//! use ropewalk_core::record::{Recorder, replay};
//! use ropewalk_core::time::Instant;
//!
//! let config = || Config { listeners: vec!["127.0.0.1:1080".parse().unwrap()], ..Config::default() };
//! let mut machine = Recorder::new(Dispatch::new(config())?);
//! assert!(matches!(machine.poll_output(), Some(Output::Accept { .. })));
//! machine.handle_input(Instant::ZERO, Input::Drain);
//! while machine.poll_output().is_some() {}
//! let recording = machine.take();
//! assert!(replay(&recording, Dispatch::new(config())?).is_ok());
//! # Ok::<(), ropewalk_core::dispatch::ConfigError>(())
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `codec` | the bytes of an entry |
//! | `datagram`, `tun` | entries of datagrams and of packets |

mod codec;
mod datagram;
mod tun;

use crate::machine::{
    Application, Fault, Input, Layer, Offload, Output, Rx, SocketId, StreamId, Transmit, TunId,
};
use crate::time::Instant;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use codec::{Entry, Reader, Writer};
use core::fmt;

/// What a recording begins with: a name and the version of the format.
pub const MAGIC: &[u8; 8] = b"RWREC\0\0\x03";

/// No driver lends a larger buffer to send from: a damaged recording must not take memory.
const MAX_ROOM: usize = 1 << 20;

/// A machine that is written down.
#[derive(Debug)]
pub struct Recorder<M> {
    machine: M,
    writer: Writer,
}

impl<M> Recorder<M> {
    /// Records everything that reaches `machine` from now on. Wrap it before its first output is
    /// polled. The recording grows until [`Recorder::take`].
    pub fn new(machine: M) -> Self {
        let mut writer = Writer::default();
        writer.raw(MAGIC);
        Recorder { machine, writer }
    }

    /// What was written since the last time this was called. The parts in their order make one
    /// recording.
    pub fn take(&mut self) -> Vec<u8> {
        self.writer.take()
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine, no longer recorded.
    pub fn into_inner(self) -> M {
        self.machine
    }
}

impl<M: Application> Layer for Recorder<M> {
    type Inner = M;

    fn inner(&self) -> &M {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Read { stream, len } => {
                let read = self.machine.read_buf(stream);
                let read = &read[..len.min(read.len())];
                self.writer.read(now, stream, read);
            }
            Input::Written { stream, len } => {
                let written = self.machine.write_buf(stream);
                let print = fingerprint(&written[..len.min(written.len())]);
                self.writer.written(now, stream, len, print);
            }
            other => self.writer.input(now, &other),
        }
        self.machine.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.writer.timeout(now);
        self.machine.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.machine.poll_output()?;
        self.writer.output(fingerprint(format!("{output:?}").as_bytes()));
        Some(output)
    }

    fn hears_faults(&self, stream: StreamId) -> bool {
        self.machine.hears_faults(stream)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        self.writer.refuse_splice(from);
        self.machine.refuse_splice(from);
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.writer.datagrams(now, socket, rx);
        self.machine.handle_datagrams(now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let transmit = self.machine.poll_transmit(now, socket, buf)?;
        self.writer.transmit(now, socket, buf.len(), print_of(&transmit, buf));
        Some(transmit)
    }

    fn handle_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        let packet = self.machine.take_buf(tun);
        let packet = &packet[..len.min(packet.len())];
        self.writer.packet(now, tun, packet, offload);
        self.machine.handle_packet(now, tun, len, offload);
    }

    fn handle_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        let print = print_of_packet(self.machine.give_buf(tun));
        self.writer.given(now, tun, print, result);
        self.machine.handle_given(now, tun, result);
    }
}

/// The fingerprint of what is given to a TUN device.
fn print_of_packet(given: Option<(&[u8], Offload)>) -> u64 {
    match given {
        Some((packet, offload)) => fingerprint(packet) ^ fingerprint(format!("{offload:?}").as_bytes()),
        None => 0,
    }
}

/// The fingerprint of what is sent.
fn print_of(transmit: &Transmit, buf: &[u8]) -> u64 {
    let bytes = buf.get(..transmit.len).unwrap_or(buf);
    fingerprint(format!("{transmit:?}").as_bytes()) ^ fingerprint(bytes)
}

/// How much was replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
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
    /// The machine would not have read that much.
    Read {
        /// The number of the entry, from 0.
        entry: usize,
        /// Where from.
        stream: StreamId,
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
            Divergence::Read { entry, stream } => {
                write!(f, "entry {entry}: {stream:?} would not be read that far")
            }
        }
    }
}

impl core::error::Error for Divergence {}

/// Tells `machine` what was recorded, and compares what it says.
///
/// # Errors
/// [`Divergence`] names the first difference.
pub fn replay<M: Application>(recording: &[u8], mut machine: M) -> Result<Replayed, Divergence> {
    let mut reader = Reader::new(recording, MAGIC).ok_or(Divergence::Damaged { at: 0 })?;
    let mut replayed = Replayed::default();
    let mut entry = 0;
    while let Some(next) = reader.next().map_err(|at| Divergence::Damaged { at })? {
        match next {
            Entry::Output(print) => {
                let got = machine.poll_output().map(|output| format!("{output:?}"));
                if got.as_ref().map(|got| fingerprint(got.as_bytes())) != Some(print) {
                    return Err(Divergence::Output { entry, got });
                }
                replayed.compared += 1;
            }
            Entry::Input(now, input) => {
                input.with(|input| machine.handle_input(now, input));
                replayed.inputs += 1;
            }
            Entry::Read(now, stream, bytes) => {
                let buf = machine.read_buf(stream);
                let Some(buf) = buf.get_mut(..bytes.len()) else {
                    return Err(Divergence::Read { entry, stream });
                };
                buf.copy_from_slice(bytes);
                machine.handle_input(now, Input::Read { stream, len: bytes.len() });
                replayed.inputs += 1;
            }
            Entry::Written(now, stream, len, print) => {
                let written = machine.write_buf(stream).get(..len).map(fingerprint);
                if written != Some(print) {
                    return Err(Divergence::Written { entry, stream });
                }
                machine.handle_input(now, Input::Written { stream, len });
                replayed.inputs += 1;
                replayed.compared += 1;
            }
            Entry::Packet(now, tun, packet, offload) => {
                let Some(buf) = machine.take_buf(tun).get_mut(..packet.len()) else {
                    return Err(Divergence::Taken { entry, tun });
                };
                buf.copy_from_slice(packet);
                machine.handle_packet(now, tun, packet.len(), offload);
                replayed.inputs += 1;
            }
            Entry::Given(now, tun, print, result) => {
                if print_of_packet(machine.give_buf(tun)) != print {
                    return Err(Divergence::Given { entry, tun });
                }
                machine.handle_given(now, tun, result);
                replayed.inputs += 1;
                replayed.compared += 1;
            }
            Entry::Timeout(now) => {
                machine.handle_timeout(now);
                replayed.inputs += 1;
            }
            Entry::RefuseSplice(stream) => machine.refuse_splice(stream),
            Entry::Datagrams(now, socket, groups) => {
                let mut data: Vec<Vec<u8>> = groups.iter().map(|_| Vec::new()).collect();
                let mut rx: Vec<Rx<'_>> =
                    groups.iter().zip(&mut data).map(|(group, data)| group.rx(data)).collect();
                machine.handle_datagrams(now, socket, &mut rx);
                replayed.inputs += 1;
            }
            Entry::Transmit(now, socket, room, print) => {
                let mut buf = alloc::vec![0; room.min(MAX_ROOM)];
                let sent = machine.poll_transmit(now, socket, &mut buf);
                if sent.map(|transmit| print_of(&transmit, &buf)) != Some(print) {
                    return Err(Divergence::Sent { entry, socket });
                }
                replayed.compared += 1;
            }
        }
        entry += 1;
    }
    match machine.poll_output() {
        None => Ok(replayed),
        Some(extra) => Err(Divergence::Extra { entry, got: format!("{extra:?}") }),
    }
}

/// FNV-1a, 64 bits: short, the same everywhere, and no defence against an adversary, which is not
/// needed here.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests;
