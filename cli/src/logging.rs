//! Log lines on standard error: seconds since the start, level, text.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::time::Instant;

struct Logger {
    start: Instant,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn ",
            Level::Info => "info ",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let line = format!("[{:10.3}] {level} {}\n", self.start.elapsed().as_secs_f64(), record.args());
        // A closed standard error is no reason to stop a proxy.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Starts logging; may be called once.
pub(crate) fn start(verbose: u8, quiet: u8) {
    let level = match (quiet, verbose) {
        (0, 0) => LevelFilter::Info,
        (0, 1) => LevelFilter::Debug,
        (0, _) => LevelFilter::Trace,
        (1, _) => LevelFilter::Warn,
        (_, _) => LevelFilter::Error,
    };
    if log::set_boxed_logger(Box::new(Logger { start: Instant::now() })).is_ok() {
        log::set_max_level(level);
    }
}
