//! A recording of a live process, which others may read: no secret, and payload only where it is
//! asked for.
//!
//! ```text
//!   driver ──▶ Incident ──▶ machine          written by `Incident`, entry by entry, to a `Sink`
//!                 │ what the machine reads, masked (`follow`, `mask`, `secrets`)
//!                 └─▶ Sink ──▶ file (`file`) ──▶ replayed in a fresh machine of the recorded `config`
//! ```
//!
//! The manual, with the format, is `core/docs/record.md`.
//!
//! | file | is |
//! | --- | --- |
//! | `follow` | which bytes of a stream are kept |
//! | `mask` | what is blanked in them |
//! | `secrets` | names and passwords, and what stands for them |
//! | `config` | the machine's configuration, written and read |
//! | `file` | the file: sections of several workers |

mod config;
mod file;
mod follow;
mod mask;
mod secrets;

pub use file::{FILE_MAGIC, File, FileError, Section, Stop, section};

use super::codec::Writer;
use super::entry::first_configuration;
use super::replay::{Bound, FILLER};
use super::{
    Discreet, Divergence, MAGIC, Moment, Reading, Replayed, print_of_output, print_of_transmit, replay,
};
use crate::dispatch::{self, ConfigError, Dispatch};
use crate::machine::{Input, Layer, Output, Rx, SocketId, StreamId, Transmit};
use crate::time::Instant;
use crate::unwrap::{self, Unwrap};
use crate::wire::http::HeadLimits;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use follow::{Rules, Track};
use secrets::Secrets;

/// The most bytes that a replayed machine keeps: 8,192 full buffers that wait for their readers.
const MOST_HELD: usize = 1 << 30;

/// Where entries go.
pub trait Sink: Send {
    /// Takes one entry, whole. False: it takes no more, and the recording ends here. It must not
    /// wait: it is called on the event loop.
    fn put(&mut self, entry: &[u8]) -> bool;
}

/// A machine that may be recorded.
pub struct Incident<M> {
    machine: M,
    log: Option<Box<Log>>,
}

struct Log {
    writer: Writer,
    sink: Box<dyn Sink>,
    tracks: Vec<Option<(u32, Track)>>,
    secrets: Secrets,
    heads: HeadLimits,
    payload: bool,
    headers: crate::wire::proxy::Rules,
}

impl Log {
    fn new(sink: Box<dyn Sink>, payload: bool) -> Box<Log> {
        let mut writer = Writer::default();
        writer.raw(MAGIC);
        Box::new(Log {
            writer,
            sink,
            tracks: Vec::new(),
            secrets: Secrets::default(),
            heads: HeadLimits { bytes: 0, fields: 0 },
            payload,
            headers: crate::wire::proxy::Rules {
                transport: crate::wire::proxy::Transport::Stream,
                max_length: 0,
                mixed_families: false,
            },
        })
    }

    /// Hands on what was written. False: no more is wanted.
    fn flush(&mut self) -> bool {
        let entry = self.writer.take();
        self.sink.put(&entry)
    }

    fn read(&mut self, stream: StreamId, reading: &Reading, bytes: &[u8]) {
        let at = stream.index() as usize;
        if self.tracks.len() <= at {
            self.tracks.resize_with(at + 1, || None);
        }
        let rules =
            Rules { secrets: &self.secrets, heads: self.heads, payload: self.payload, headers: self.headers };
        let Some(slot) = self.tracks.get_mut(at) else { return };
        if slot.as_ref().is_none_or(|(generation, _)| *generation != stream.generation()) {
            *slot = Some((stream.generation(), Track::default()));
        }
        let Some((_, track)) = slot else { return };
        for (from, kept) in track.read(reading, bytes, &rules) {
            self.writer.kept(stream, from, &kept);
        }
    }
}

impl<M> Incident<M> {
    /// A machine that is not recorded.
    pub fn off(machine: M) -> Self {
        Incident { machine, log: None }
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Writes by `f`, then hands on; ends the recording where no more is wanted.
    fn log(&mut self, f: impl FnOnce(&mut Log, &mut M)) {
        let Some(log) = &mut self.log else { return };
        f(log, &mut self.machine);
        if !log.flush() {
            self.log = None;
        }
    }
}

impl<M> fmt::Debug for Incident<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incident").field("recorded", &self.log.is_some()).finish_non_exhaustive()
    }
}

impl Incident<Dispatch> {
    /// The machine's configuration, as it is now.
    pub fn config(&self) -> &dispatch::Config {
        self.machine.config()
    }

    /// A machine of this configuration that is recorded from its beginning. `payload`: what clients
    /// and targets send is kept too.
    ///
    /// # Errors
    /// As [`Dispatch::new`].
    pub fn of_dispatch(
        config: dispatch::Config,
        payload: bool,
        sink: Box<dyn Sink>,
    ) -> Result<Self, ConfigError> {
        let mut incident =
            Incident { machine: Dispatch::new(config.clone())?, log: Some(Log::new(sink, payload)) };
        incident.configured(Instant::ZERO, &config);
        Ok(incident)
    }

    fn configured(&mut self, now: Instant, config: &dispatch::Config) {
        self.log(|log, _| {
            log.secrets.set(config.credentials.as_ref());
            log.heads = HeadLimits { bytes: config.max_head, fields: config.max_fields };
            let told = config::of_dispatch(config, &log.secrets);
            log.writer.configured(now, &told);
        });
    }

    /// See [`Dispatch::reconfigure`].
    ///
    /// # Errors
    /// As [`Dispatch::reconfigure`].
    pub fn reconfigure(&mut self, now: Instant, config: dispatch::Config) -> Result<usize, ConfigError> {
        self.machine.check_change(&config)?;
        self.configured(now, &config);
        self.machine.reconfigure(now, config)
    }
}

impl Incident<Unwrap> {
    /// As [`Incident::of_dispatch`].
    ///
    /// # Errors
    /// As [`Unwrap::new`].
    pub fn of_unwrap(
        config: unwrap::Config,
        payload: bool,
        sink: Box<dyn Sink>,
    ) -> Result<Self, ConfigError> {
        let machine = Unwrap::new(config.clone())?;
        let mut incident = Incident { machine, log: Some(Log::new(sink, payload)) };
        incident.configured(Instant::ZERO, &config);
        Ok(incident)
    }

    fn configured(&mut self, now: Instant, config: &unwrap::Config) {
        self.log(|log, _| {
            log.headers.max_length = config.max_header;
            log.headers.mixed_families = config.mixed_families;
            log.writer.configured(now, &config::of_unwrap(config));
        });
    }

    /// See [`Unwrap::reconfigure`].
    ///
    /// # Errors
    /// As [`Unwrap::reconfigure`].
    pub fn reconfigure(&mut self, now: Instant, config: unwrap::Config) -> Result<(), ConfigError> {
        self.machine.check_change(&config)?;
        self.configured(now, &config);
        self.machine.reconfigure(now, config)
    }
}

impl<M: Discreet> Layer for Incident<M> {
    type Inner = M;

    fn inner(&self) -> &M {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.log(|log, machine| match input {
            Input::Read { stream, len } => {
                let reading = machine.reading(stream);
                let read = machine.read_buf(stream);
                let read = &read[..len.min(read.len())];
                log.read(stream, &reading, read);
                log.writer.taken(now, stream, len);
            }
            Input::Written { stream, len } => {
                let offered = machine.write_buf(stream).len();
                log.writer.put(now, stream, len, offered);
            }
            Input::Entropy { bytes } if !machine.entropy_is_secret() => log.writer.entropy(now, bytes),
            other => log.writer.input(now, &other),
        });
        self.machine.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.log(|log, _| log.writer.timeout(now));
        self.machine.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.machine.poll_output()?;
        self.log(|log, _| log.writer.output(print_of_output(&output)));
        Some(output)
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        if self.machine.is_pressed() {
            self.log(|log, _| log.writer.asked(stream));
        }
        self.machine.read_buf(stream)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        self.log(|log, _| log.writer.refuse_splice(from));
        self.machine.refuse_splice(from);
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.log(|log, machine| {
            let payload = log.payload;
            let kept = |from, datagram: &[u8]| match payload {
                true => datagram.len(),
                false => machine.reads_of(socket, from, datagram),
            };
            log.writer.cut_datagrams(now, socket, rx, kept);
        });
        self.machine.handle_datagrams(now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let room = buf.len();
        let transmit = self.machine.poll_transmit(now, socket, buf)?;
        self.log(|log, _| log.writer.sent(now, socket, room, print_of_transmit(&transmit)));
        Some(transmit)
    }
}

/// Which machine a recording is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// [`Dispatch`].
    Dispatch,
    /// [`Unwrap`].
    Unwrap,
}

/// Which machine a worker's recording is of.
///
/// # Errors
/// It does not begin as a recording of this version does.
pub fn kind(recording: &[u8]) -> Result<Kind, Divergence> {
    config::kind(first_configuration(recording).ok_or(Divergence::Damaged { at: 0 })?)
        .ok_or(Divergence::Damaged { at: MAGIC.len() })
}

/// Runs a worker's recording in a fresh machine of the recorded configuration. `watch` is told of
/// each input and each output. What was not polled any more when the recording ended is no
/// divergence.
///
/// # Errors
/// [`Divergence`] says where the replay is not what was recorded, or takes too much memory.
pub fn replay_incident(recording: &[u8], watch: &mut dyn FnMut(Moment<'_>)) -> Result<Replayed, Divergence> {
    replay_within(recording, MOST_HELD, watch)
}

/// The same in a machine that keeps at most so many bytes.
fn replay_within(
    recording: &[u8],
    most: usize,
    watch: &mut dyn FnMut(Moment<'_>),
) -> Result<Replayed, Divergence> {
    let damaged = || Divergence::Damaged { at: MAGIC.len() };
    let first = first_configuration(recording).ok_or(Divergence::Damaged { at: 0 })?;
    match kind(recording)? {
        Kind::Dispatch => {
            let config = config::to_dispatch(first).ok_or_else(damaged)?;
            let machine = Dispatch::new(config).map_err(|_| damaged())?;
            again(recording, machine, watch, most, |now, machine, bytes| {
                config::to_dispatch(bytes).is_some_and(|config| machine.reconfigure(now, config).is_ok())
            })
        }
        Kind::Unwrap => {
            let config = config::to_unwrap(first).ok_or_else(damaged)?;
            let machine = Unwrap::new(config).map_err(|_| damaged())?;
            again(recording, machine, watch, most, |now, machine, bytes| {
                config::to_unwrap(bytes).is_some_and(|config| machine.reconfigure(now, config).is_ok())
            })
        }
    }
}

/// The first configuration is what `machine` was made of; the others change it.
fn again<M: Discreet>(
    recording: &[u8],
    mut machine: M,
    watch: &mut dyn FnMut(Moment<'_>),
    most: usize,
    mut reconfigure: impl FnMut(Instant, &mut M, &[u8]) -> bool,
) -> Result<Replayed, Divergence> {
    let mut first = true;
    let mut configure =
        |now, machine: &mut M, bytes: &[u8]| core::mem::take(&mut first) || reconfigure(now, machine, bytes);
    replay::run(recording, &mut machine, watch, &mut configure, &Bound { most, held: M::held })
}

#[cfg(test)]
mod tests;
