//! Events as counters and log lines. What can come in floods is told once a second, with a count.

mod reasons;

pub(crate) use reasons::REASONS;

use ropewalk_core::event::Event;
use ropewalk_core::machine::UplinkId;
use ropewalk_core::time::{Duration, Instant};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened in the whole process.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connected: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) broken: AtomicU64,
    /// Bytes of connections that have ended, from clients to targets.
    pub(crate) sent: AtomicU64,
    /// The same, from targets to clients.
    pub(crate) received: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// By reason, in the order of [`REASONS`].
    pub(crate) refusals: [AtomicU64; REASONS.len()],
    pub(crate) attempts_failed: AtomicU64,
    pub(crate) connection_limit: AtomicU64,
    pub(crate) accept_paused: AtomicU64,
    pub(crate) buffers_exhausted: AtomicU64,
}

pub(crate) struct Watcher {
    labels: Vec<String>,
    pub(crate) counts: Counts,
    floods: [Mutex<Flood>; 3],
}

/// When a line was last written, and how many were not since.
#[derive(Default)]
struct Flood {
    last: Option<Instant>,
    held_back: u64,
}

const LIMIT: usize = 0;
const PAUSE: usize = 1;
const BUFFERS: usize = 2;

impl Watcher {
    pub(crate) fn new(labels: Vec<String>) -> Self {
        Watcher { labels, counts: Counts::default(), floods: Default::default() }
    }

    fn via(&self, uplink: Option<UplinkId>) -> Via<'_> {
        Via(uplink.map(|uplink| self.labels.get(usize::from(uplink.0)).map_or("?", String::as_str)))
    }

    /// Warns at most once a second for each kind.
    fn flood(&self, kind: usize, now: Instant, text: fmt::Arguments<'_>) {
        let mut flood = self.floods[kind].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if flood.last.is_some_and(|last| now - last < Duration::from_secs(1)) {
            flood.held_back += 1;
            return;
        }
        let more = std::mem::take(&mut flood.held_back);
        flood.last = Some(now);
        match more {
            0 => log::warn!("{text}"),
            more => log::warn!("{text} (and {more} times more since the last such line)"),
        }
    }

    /// One line about the whole run.
    pub(crate) fn summary(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        format!(
            "{} connections relayed ({} broken), {} refused, {} attempts failed; limits hit: \
             connections {}, descriptors {}, buffers {}",
            get(&counts.connected),
            get(&counts.broken),
            get(&counts.refused),
            get(&counts.attempts_failed),
            get(&counts.connection_limit),
            get(&counts.accept_paused),
            get(&counts.buffers_exhausted),
        )
    }
}

struct Via<'a>(Option<&'a str>);

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(label) => write!(f, " through {label}"),
            None => Ok(()),
        }
    }
}

impl ropewalk_mio::Watch for Watcher {
    fn event(&self, now: Instant, event: &Event) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let counts = &self.counts;
        match event {
            Event::Requested { conn, client, destination } => {
                log::debug!("{conn:?}: {client} asks for {destination}");
            }
            Event::Refused { conn, client, why } => {
                add(&counts.refused);
                add(&counts.refusals[reasons::place(why)]);
                log::debug!("{conn:?}: {client} refused: {why}");
            }
            Event::AttemptFailed { conn, to, uplink, fault } => {
                add(&counts.attempts_failed);
                log::debug!("{conn:?}: {to}{} failed: {fault}", self.via(*uplink));
            }
            Event::Connected { conn, to, uplink, took } => {
                add(&counts.connected);
                log::debug!("{conn:?}: connected to {to}{} in {took:?}", self.via(*uplink));
            }
            Event::Closed { conn, sent, received, lasted, fault } => {
                add(&counts.closed);
                counts.sent.fetch_add(*sent, Ordering::Relaxed);
                counts.received.fetch_add(*received, Ordering::Relaxed);
                match fault {
                    None => {
                        log::debug!("{conn:?}: closed after {lasted:?}: {sent} bytes up, {received} down")
                    }
                    Some(fault) => {
                        add(&counts.broken);
                        log::debug!("{conn:?}: {fault} after {lasted:?}: {sent} bytes up, {received} down");
                    }
                }
            }
            Event::ConnectionLimit { limit } => {
                add(&counts.connection_limit);
                let text = format_args!(
                    "{limit} connections are open in this worker: new ones wait (--max-connections)"
                );
                self.flood(LIMIT, now, text);
            }
            Event::AcceptPaused { listener, fault } => {
                add(&counts.accept_paused);
                let text =
                    format_args!("listener {}: cannot accept: {fault}; pausing (ulimit -n)", listener.0);
                self.flood(PAUSE, now, text);
            }
            Event::BuffersExhausted { limit } => {
                add(&counts.buffers_exhausted);
                let text = format_args!(
                    "all {limit} relay buffers are in use: relaying in small pieces (--max-buffers)"
                );
                self.flood(BUFFERS, now, text);
            }
            Event::UplinkDown { uplink, why, rest } => {
                log::warn!("uplink{} rests for {rest:?}: {why}", self.via(Some(*uplink)));
            }
            Event::UplinkUp { uplink } => log::info!("uplink{} carries again", self.via(Some(*uplink))),
            other => log::debug!("{other:?}"),
        }
    }
}
