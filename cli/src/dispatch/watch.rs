//! What `dispatch` counts and logs of its own events.

use crate::process::watch::{Relays, add, get};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;
use std::fmt;
use std::sync::atomic::AtomicU64;

pub(crate) struct DispatchWatch {
    labels: Vec<String>,
    pub(crate) relays: Relays,
    pub(crate) attempts_failed: AtomicU64,
}

impl DispatchWatch {
    /// `labels`: the names of the uplinks.
    pub(crate) fn new(labels: Vec<String>) -> Self {
        DispatchWatch { labels, relays: Relays::default(), attempts_failed: AtomicU64::new(0) }
    }

    fn via(&self, uplink: Option<UplinkId>) -> Via<'_> {
        Via(uplink.map(|uplink| self.labels.get(usize::from(uplink.0)).map_or("?", String::as_str)))
    }

    /// One line about the whole run.
    pub(crate) fn summary(&self) -> String {
        self.relays.summary(&format!("{} attempts failed", get(&self.attempts_failed)))
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

impl ropewalk_mio::Watch for DispatchWatch {
    fn event(&self, now: Instant, event: &Event) {
        match event {
            Event::Requested { conn, client, destination } => {
                log::debug!("{conn:?}: {client} asks for {destination}");
            }
            Event::AttemptFailed { conn, to, uplink, fault } => {
                add(&self.attempts_failed);
                log::debug!("{conn:?}: {to}{} failed: {fault}", self.via(*uplink));
            }
            Event::Connected { conn, to, uplink, took } => {
                add(&self.relays.connected);
                log::debug!("{conn:?}: connected to {to}{} in {took:?}", self.via(*uplink));
            }
            Event::UplinkDown { uplink, why, rest } => {
                log::warn!("uplink{} rests for {rest:?}: {why}", self.via(Some(*uplink)));
            }
            Event::UplinkUp { uplink } => log::info!("uplink{} carries again", self.via(Some(*uplink))),
            other if self.relays.event(now, other) => {}
            other => log::debug!("{other:?}"),
        }
    }
}
