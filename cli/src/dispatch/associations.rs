//! What `dispatch` counts and logs of UDP associations.

use crate::process::watch::{Datagrams, Flood, add, get};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::machine::event::{Dropped, Event, FlowEnd};
use ropewalk_core::time::Instant;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Associations {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    /// Destinations by uplink; those that leave unbound last.
    pub(crate) destinations: Vec<AtomicU64>,
    /// Destinations that were forgotten because there were too many.
    pub(crate) evicted: AtomicU64,
    /// Destinations whose uplink was no more.
    pub(crate) moved: AtomicU64,
    pub(crate) datagrams: Datagrams,
    flood: Flood,
}

impl Associations {
    pub(crate) fn new(uplinks: usize) -> Self {
        Associations {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            destinations: (0..=uplinks).map(|_| AtomicU64::new(0)).collect(),
            evicted: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            datagrams: Datagrams::default(),
            flood: Flood::default(),
        }
    }

    /// The run in some words.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} UDP associations, {} datagrams up, {} down, {} dropped",
            get(&self.opened),
            get(&self.datagrams.sent),
            get(&self.datagrams.received),
            self.datagrams.all_lost(),
        )
    }

    /// Counts and tells; false where the event is not about associations. `via` names an uplink.
    pub(crate) fn event<V: fmt::Display>(
        &self,
        now: Instant,
        event: &Event,
        via: impl Fn(Option<UplinkId>) -> V,
    ) -> bool {
        match event {
            Event::Associated { conn, client, local } => {
                add(&self.opened);
                log::debug!("{conn:?}: UDP association of {client} at {local}");
            }
            Event::AssociationEnded { conn, sent, received, lasted } => {
                add(&self.closed);
                log::debug!(
                    "{conn:?}: UDP association ended after {lasted:?}: {sent} datagrams up, {received} down"
                );
            }
            Event::DestinationAssigned { conn, to, uplink } => {
                let at = uplink.map_or(self.destinations.len() - 1, |uplink| usize::from(uplink.0));
                self.destinations.get(at).inspect(|count| add(count));
                log::debug!("{conn:?}: datagrams to {to} leave{}", via(*uplink));
            }
            Event::DestinationEnded { conn, to, sent, received, lasted, why } => {
                log::debug!("{conn:?}: {to} forgotten after {lasted:?}, {why}: {sent} up, {received} down");
                if let FlowEnd::Evicted { limit } = why {
                    add(&self.evicted);
                    let text = format_args!(
                        "a UDP association has {limit} destinations: the longest idle ones go \
                         (--max-destinations)"
                    );
                    self.flood.warn(now, text);
                }
            }
            Event::DestinationsMoved { conn, uplink, count } => {
                self.moved.fetch_add(*count as u64, Ordering::Relaxed);
                log::debug!("{conn:?}: {count} destinations must leave otherwise than{}", via(*uplink));
            }
            Event::Datagrams { sent, received } => self.datagrams.passed(*sent, *received),
            Event::DatagramDropped { peer, why } => {
                self.datagrams.dropped(why);
                match why {
                    Dropped::QueueFull { .. } => {
                        self.datagrams.warn_dropped(now, peer, format_args!("{why} (--max-queue)"));
                    }
                    Dropped::Rate => self.datagrams.warn_dropped(now, peer, format_args!("{why} (--rate)")),
                    Dropped::NamesFull { .. } => self.datagrams.warn_dropped(now, peer, why),
                    // Whoever sends it could fill the log with it.
                    _ => log::debug!("a datagram of {peer} is dropped: {why}"),
                }
            }
            Event::DatagramLost { to, fault } => self.datagrams.lost(now, to.as_ref(), *fault),
            _ => return false,
        }
        true
    }
}
