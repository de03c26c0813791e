//! `--record`: what a service did, in a file that `ropewalk sim replay` runs again.
//!
//! ```text
//!   worker 0: Incident ──▶ Lane ──▶ bytes ─┐
//!   worker 1: Incident ──▶ Lane ──▶ bytes ─┼──▶ thread `record` ──▶ file
//!   pool's events ───────▶ Recording::news ┘     every 200 ms
//! ```
//!
//! A worker never waits for the disk: what it has to say is copied, and the thread takes it. What
//! the file may hold is counted before it is copied, so the file ends with a whole entry.
//!
//! - `file`: the thread and what it shares with the workers.

mod file;

use file::{Kept, Shared};
use ropewalk_core::dispatch::{Config, ConfigError, Dispatch};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::machine::event::Event;
use ropewalk_core::record::{FILE_MAGIC, Incident, Section, section};
use ropewalk_core::time::Instant;
use ropewalk_core::unwrap::{self, Unwrap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The least that a file may hold: what describes the process must fit.
const LEAST: u64 = 64 * 1024;

/// The switches.
#[derive(clap::Args, Debug, PartialEq, Eq)]
pub(crate) struct RecordArgs {
    /// Record what happens and what is decided into this new file, for `ropewalk sim replay`.
    /// Passwords are never in it, nor is what clients and servers send each other
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// The file that --record names may be there already, and is replaced
    #[arg(long)]
    record_replace: bool,

    /// The recording ends when its file has this size; the service goes on
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    record_limit: u64,

    /// Record what clients and servers send each other, too
    #[arg(long)]
    record_payload: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = crate::dispatch::cap::bytes(text)?;
    match bytes >= LEAST {
        true => Ok(bytes),
        false => Err(format!("expected 64KiB or more, got {text:?}")),
    }
}

/// A machine that may be recorded.
pub(crate) type Recorded<M> = Incident<M>;

/// A file that nothing was written to yet, or none.
pub(crate) struct Opened(Option<File>);

/// A recording under way, or none.
#[derive(Clone)]
pub(crate) struct Recording(Option<Arc<Running>>);

struct Running {
    shared: Arc<Shared>,
    payload: bool,
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Recording {
    /// Makes the file: with the privileges of the start, where there are some.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn open(args: &RecordArgs) -> Result<Opened, String> {
        args.record.as_deref().map(|path| create(path, args.record_replace)).transpose().map(Opened)
    }

    /// Starts the thread that writes it. `uplinks`: what people call them.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn start(
        args: &RecordArgs,
        opened: Opened,
        service: &str,
        uplinks: &[String],
        workers: u16,
    ) -> Result<Self, String> {
        let (Some(path), Some(mut file)) = (&args.record, opened.0) else { return Ok(Recording(None)) };
        let failed = |error: std::io::Error| format!("--record {}: {error}", path.display());
        let about = about(service, uplinks);
        let head = [FILE_MAGIC.to_vec(), section(Section::About(&about))].concat();
        file.write_all(&head).map_err(failed)?;
        let shared = Arc::new(Shared::new(usize::from(workers), args.record_limit, head.len() as u64));
        let kept = Kept { file, path: path.clone(), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new()
            .name("record".into())
            .spawn(move || kept.run())
            .map_err(|error| format!("cannot start the thread of --record: {error}"))?;
        let payload = if args.record_payload { "with" } else { "without" };
        log::info!(
            "recording into {}, up to {} bytes, {payload} what is sent: ropewalk sim replay {0}",
            path.display(),
            args.record_limit
        );
        let thread = std::sync::Mutex::new(Some(thread));
        Ok(Recording(Some(Arc::new(Running { shared, payload: args.record_payload, thread }))))
    }

    /// The machine of this worker.
    ///
    /// # Errors
    /// As [`Dispatch::new`].
    pub(crate) fn dispatch(&self, worker: usize, config: Config) -> Result<Recorded<Dispatch>, ConfigError> {
        match &self.0 {
            None => Dispatch::new(config).map(Incident::off),
            Some(running) => {
                let lane = Box::new(running.shared.lane(worker));
                Incident::of_dispatch(config, running.payload, lane)
            }
        }
    }

    /// The same for `unwrap`.
    ///
    /// # Errors
    /// As [`Unwrap::new`].
    pub(crate) fn unwrap(
        &self,
        worker: usize,
        config: unwrap::Config,
    ) -> Result<Recorded<Unwrap>, ConfigError> {
        match &self.0 {
            None => Unwrap::new(config).map(Incident::off),
            Some(running) => {
                let lane = Box::new(running.shared.lane(worker));
                Incident::of_unwrap(config, running.payload, lane)
            }
        }
    }

    /// Something that no worker was told: what the pool says.
    pub(crate) fn news(&self, now: Instant, event: &Event) {
        if let Some(running) = &self.0
            && let Some(text) = told(event)
        {
            running.shared.news(section(Section::News(now, &text)));
        }
    }

    /// What people call an uplink from now on.
    pub(crate) fn name(&self, now: Instant, uplink: UplinkId, label: &str) {
        if let Some(running) = &self.0 {
            let text = format!("uplink {} is called {label}", uplink.0);
            running.shared.news(section(Section::News(now, &text)));
        }
    }

    /// Bytes that were recorded, and whether the recording has ended before the process; `None`:
    /// nothing is recorded.
    pub(crate) fn figures(&self) -> Option<(u64, bool)> {
        self.0.as_ref().map(|running| (running.shared.recorded(), running.shared.has_stopped()))
    }

    /// Writes what is left, and ends the file.
    pub(crate) fn finish(&self) {
        let Some(running) = &self.0 else { return };
        running.shared.end();
        let thread = running.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of --record panicked: the recording is not whole");
        }
    }
}

/// What is known of the process: lines `key value`.
fn about(service: &str, uplinks: &[String]) -> String {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = format!(
        "service {service}\nversion {}\nbegan {}.{:09}\n",
        env!("CARGO_PKG_VERSION"),
        began.as_secs(),
        began.subsec_nanos()
    );
    for (number, label) in uplinks.iter().enumerate() {
        text += &format!("uplink.{number} {label}\n");
    }
    text
}

/// Events of the pool, in words. Those of machines come again in the replay.
fn told(event: &Event) -> Option<String> {
    Some(match event {
        Event::UplinkDown { uplink, why, rest } => format!("uplink {} rests for {rest:?}: {why}", uplink.0),
        Event::UplinkStillDown { uplink, lasts, tried } => {
            format!("uplink {} has carried nothing for {} s: {tried}", uplink.0, lasts.as_secs())
        }
        Event::ProbesFailed { uplink, failed, fault } => {
            format!("uplink {} is left: {failed} probes failed in a row: {fault}", uplink.0)
        }
        Event::CapReached { uplink, cap } => {
            format!("uplink {} has carried its cap of {cap} bytes", uplink.0)
        }
        Event::CapReset { uplink } => format!("uplink {} may carry again: a new period", uplink.0),
        Event::UplinkUp { uplink } => format!("uplink {} carries again", uplink.0),
        Event::Translates { uplink, prefix: Some(prefix) } => {
            format!("uplink {} carries IPv4 destinations under {prefix}", uplink.0)
        }
        Event::Translates { uplink, prefix: None } => {
            format!("uplink {} carries IPv4 destinations no more", uplink.0)
        }
        _ => return None,
    })
}

/// A new file that its owner alone may read.
fn create(path: &Path, replace: bool) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("--record {}: {error}", path.display());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match std::fs::symlink_metadata(path) {
        Ok(there) if replace && there.is_file() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) if replace => {
            return Err(format!(
                "--record {}: expected a file to replace, got something else",
                path.display()
            ));
        }
        Ok(_) => {
            return Err(format!(
                "--record {}: expected a file that is not there yet, or --record-replace",
                path.display()
            ));
        }
        Err(_) => {}
    }
    options.open(path).map_err(failed)
}
