//! A run written down, and run again.
//!
//! A [`Recorder`] stands between a driver and its machine and writes down everything that reaches
//! the machine: inputs with their times, the bytes that were read, the pool's answers. Of the
//! machine's outputs it writes fingerprints. [`replay()`] gives a fresh machine of the same
//! configuration the same inputs and compares: the same inputs give the same outputs, on every
//! machine, or [`Divergence`] says where not.
//!
//! The recording of a [`Recorder`] holds what clients sent, passwords too: it is for tests. It
//! never holds entropy that makes keys ([`Input::Entropy`] is replayed as zeros): what was sealed
//! with it replays in length and time only. A live process is recorded without its secrets, by an
//! `Incident`.
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
//! | `entry` | entries that leave something out |
//! | `replay` | a recording, run again |
//! | `reading` | what of a stream a machine reads |
//! | `incident` | recordings of a live process: see `core/docs/record.md` |

mod codec;
mod datagram;
mod entry;
#[cfg(all(feature = "dispatch", feature = "unwrap"))]
mod incident;
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
mod reading;
mod replay;
mod tun;

#[cfg(all(feature = "dispatch", feature = "unwrap"))]
pub use incident::{
    FILE_MAGIC, File, FileError, Incident, Kind, Section, Sink, Stop, kind, replay_incident, section,
};
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
pub use reading::{Discreet, Reading};
pub use replay::{Divergence, Moment, Replayed, replay};

use crate::machine::{
    Application, Fault, Input, Layer, Offload, Output, Rx, SocketId, StreamId, Transmit, TunId,
};
use crate::time::Instant;
use alloc::format;
use alloc::vec::Vec;
use codec::Writer;

/// What a recording begins with: a name and the version of the format.
pub const MAGIC: &[u8; 8] = b"RWREC\0\0\x04";

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
            Input::Entropy { bytes } if !self.machine.entropy_is_secret() => {
                self.writer.entropy(now, bytes);
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
        self.writer.output(print_of_output(&output));
        Some(output)
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
    print_of_transmit(transmit) ^ fingerprint(bytes)
}

/// The fingerprint of what is sent, its bytes apart.
fn print_of_transmit(transmit: &Transmit) -> u64 {
    fingerprint(format!("{transmit:?}").as_bytes())
}

fn print_of_output(output: &Output) -> u64 {
    fingerprint(format!("{output:?}").as_bytes())
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
