//! Events that can come in floods: logged at most once a second, with a count of those left out.

use ropewalk_core::time::{Duration, Instant};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// One kind of line.
#[derive(Default)]
pub(crate) struct Flood(Mutex<State>);

/// When a line was last written, and how many were not since.
#[derive(Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Flood {
    /// Warns, unless it did within the last second.
    pub(crate) fn warn(&self, now: Instant, text: fmt::Arguments<'_>) {
        let mut flood = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flood.last.is_some_and(|last| now - last < Duration::from_secs(1)) {
            flood.held_back += 1;
            return;
        }
        let more = std::mem::take(&mut flood.held_back);
        flood.last = Some(now);
        match more {
            0 => log::warn!("{text}"),
            more => log::warn!("{text} (and {more} more since the last such line)"),
        }
    }
}
