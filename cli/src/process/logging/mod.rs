//! Log lines on standard error: seconds since the start, level, text.
//!
//! A thread of their own writes them: a slow reader of standard error, or one that has stopped,
//! holds up no worker. What does not fit into the queue meanwhile is lost and counted, and one line
//! reports the count as soon as there is room.

mod queue;

use log::{Level, LevelFilter, Log, Metadata, Record};
use queue::Queue;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What the writing thread needs is little: one piece of lines, on the heap.
const STACK: usize = 64 * 1024;
/// How long the end of the process waits for its last lines to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a terminal that another program has made non-blocking is asked again.
const AGAIN: Duration = Duration::from_millis(10);

static QUEUE: Queue = Queue::new();
/// Set once the writer runs.
static START: OnceLock<Instant> = OnceLock::new();

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            QUEUE.push(&line(record.level(), record.args()));
        }
    }

    fn flush(&self) {
        flush();
    }
}

fn line(level: Level, text: &fmt::Arguments<'_>) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn ",
        Level::Info => "info ",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let since = START.get().map(Instant::elapsed).unwrap_or_default();
    format!("[{:6}.{:03}] {level} {text}\n", since.as_secs(), since.subsec_millis())
}

/// Starts logging and the thread that writes; may be called once. The thread keeps the privileges
/// of its caller.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(verbose: u8, quiet: u8) -> Result<(), String> {
    if log::set_logger(&Logger).is_err() {
        return Ok(());
    }
    let thread = std::thread::Builder::new().name("log".into()).stack_size(STACK).spawn(write_for_ever);
    thread.map_err(|error| format!("cannot start the thread that writes the log: {error}"))?;
    let _ = START.set(Instant::now());
    set_level(verbose, quiet);
    // The message of a panic is written by the thread that panics, which must not wait for ever
    // either.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if flush() {
            before(info);
        }
    }));
    Ok(())
}

/// How much is said from now on.
pub(crate) fn set_level(verbose: u8, quiet: u8) {
    log::set_max_level(match (quiet, verbose) {
        (0, 0) => LevelFilter::Info,
        (0, 1) => LevelFilter::Debug,
        (0, _) => LevelFilter::Trace,
        (1, _) => LevelFilter::Warn,
        (_, _) => LevelFilter::Error,
    });
}

fn write_for_ever() {
    let tell = |missing| {
        let text = format_args!("{missing} log lines were lost here: standard error is read too slowly");
        line(Level::Warn, &text)
    };
    let mut piece = Vec::new();
    loop {
        QUEUE.take(&mut piece, tell);
        write(&piece);
    }
}

fn write(mut bytes: &[u8]) {
    let mut stderr = std::io::stderr();
    while !bytes.is_empty() {
        match stderr.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A closed standard error is no reason to stop a proxy.
            Err(_) => return,
        }
    }
}

/// Waits until all lines are written, for a second at most. Says whether they are.
pub(crate) fn flush() -> bool {
    QUEUE.flush(LAST_WORDS)
}

/// Writes what the command ends with, after all lines before it; waits a second at most for these
/// and for it.
pub(crate) fn last_words(text: &str) {
    if START.get().is_none() {
        // Nobody may read it any more.
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    }
    flush();
    QUEUE.push(&format!("{text}\n"));
    flush();
}

/// Lines that were not read in time.
pub(crate) fn lost() -> u64 {
    QUEUE.lost()
}
