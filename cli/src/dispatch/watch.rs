//! What `dispatch` counts and logs of its own events.

use super::associations::Associations;
use crate::host::obstacles;
use crate::process::record::Recording;
use crate::process::watch::{Flood, Relays, add, get};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{UplinkId, UplinkSet};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::UplinkConfig;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

pub(crate) struct DispatchWatch {
    /// The uplinks, by their ids.
    uplinks: RwLock<Vec<Named>>,
    pub(crate) relays: Relays,
    pub(crate) attempts_failed: AtomicU64,
    pub(crate) associations: Associations,
    #[cfg(feature = "names")]
    pub(crate) names: super::names::Names,
    /// Which uplinks are down: a bit each.
    down: AtomicU64,
    flood_unacknowledged: Flood,
    /// How often connections waited for the rate of each uplink, to targets and from them.
    pub(crate) held_back: Vec<[AtomicU64; 2]>,
    /// Uplinks of which that was said: a bit each.
    said_held_back: AtomicU64,
    pub(crate) recording: Recording,
}

/// What people call an uplink, and its interface, where it has one.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) label: String,
    pub(crate) interface: Option<String>,
}

impl Named {
    pub(crate) fn of(uplink: &UplinkConfig) -> Self {
        let interface = uplink.device.map(|device| device.as_str().to_owned());
        Named { label: uplink.label.clone(), interface }
    }
}

impl DispatchWatch {
    pub(crate) fn new(uplinks: Vec<Named>, recording: Recording) -> Self {
        // As many as there can ever be: a reload may add some.
        let associations = Associations::new(UplinkSet::CAPACITY);
        DispatchWatch {
            uplinks: RwLock::new(uplinks),
            relays: Relays::default(),
            attempts_failed: AtomicU64::new(0),
            associations,
            #[cfg(feature = "names")]
            names: super::names::Names::default(),
            down: AtomicU64::new(0),
            flood_unacknowledged: Flood::default(),
            held_back: (0..UplinkSet::CAPACITY).map(|_| Default::default()).collect(),
            said_held_back: AtomicU64::new(0),
            recording,
        }
    }

    /// Names of uplinks that have become others.
    pub(crate) fn name(&self, now: Instant, id: UplinkId, named: Named) {
        let mut uplinks = self.uplinks.write().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(id.0);
        if uplinks.len() <= index {
            uplinks.resize(index + 1, Named { label: "?".into(), interface: None });
        }
        if uplinks[index].label != named.label {
            self.recording.name(now, id, &named.label);
        }
        uplinks[index] = named;
    }

    fn named(&self, uplink: UplinkId) -> Option<Named> {
        let uplinks = self.uplinks.read().unwrap_or_else(PoisonError::into_inner);
        uplinks.get(usize::from(uplink.0)).cloned()
    }

    fn via(&self, uplink: Option<UplinkId>) -> Via {
        Via(uplink.map(|uplink| self.named(uplink).map_or("?".into(), |named| named.label)))
    }

    /// What in the system's settings may be the reason.
    fn name_obstacles(&self, uplink: UplinkId) {
        if let Some(interface) = self.named(uplink).and_then(|named| named.interface) {
            obstacles::of(&interface).iter().for_each(|obstacle| log::warn!("{obstacle}"));
        }
    }

    /// Counts and logs what an uplink does; false where the event is not about that.
    fn uplink_event(&self, event: &Event) -> bool {
        match event {
            Event::UplinkDown { uplink, why, rest } => {
                let via = self.via(Some(*uplink));
                // While it stays down it is told at growing intervals.
                if self.down.fetch_or(bit(*uplink), Ordering::Relaxed) & bit(*uplink) != 0 {
                    log::debug!("uplink{via} rests again for {rest:?}: {why}");
                } else {
                    log::warn!("uplink{via} rests for {rest:?}: {why}");
                    self.name_obstacles(*uplink);
                }
            }
            Event::UplinkStillDown { uplink, lasts, tried } => {
                let via = self.via(Some(*uplink));
                log::warn!("uplink{via} has carried nothing for {} s: {tried}", lasts.as_secs());
                self.name_obstacles(*uplink);
            }
            Event::ProbesFailed { uplink, failed, fault } => {
                self.down.fetch_or(bit(*uplink), Ordering::Relaxed);
                let via = self.via(Some(*uplink));
                log::warn!(
                    "{failed} probes of the uplink{via} failed in a row: {fault}; it is left until they succeed"
                );
                self.name_obstacles(*uplink);
            }
            Event::HeldBack { uplink, sent, count } => {
                let counts = self.held_back.get(usize::from(uplink.0));
                counts.inspect(|counts| {
                    counts[usize::from(!sent)].fetch_add(*count, Ordering::Relaxed);
                });
                let via = self.via(Some(*uplink));
                if self.said_held_back.fetch_or(bit(*uplink), Ordering::Relaxed) & bit(*uplink) == 0 {
                    log::info!("connections{via} are held back to its rate (--rate)");
                }
                let way = if *sent { "up" } else { "down" };
                log::debug!("connections{via} waited {count} times for its rate, {way}");
            }
            Event::CapReached { uplink, cap } => {
                let via = self.via(Some(*uplink));
                log::warn!(
                    "the uplink{via} has carried its {cap} bytes (--cap): it takes no new connections"
                );
            }
            Event::CapReset { uplink } => {
                log::info!("the uplink{} may carry again: a new period has begun", self.via(Some(*uplink)));
            }
            Event::Translates { uplink, prefix } => {
                let via = self.via(Some(*uplink));
                match prefix {
                    Some(prefix) => {
                        log::info!(
                            "IPv4 destinations go{via} too, which has no IPv4: its network translates \
                             ({prefix})"
                        );
                    }
                    None => log::warn!("IPv4 destinations go{via} no more: its network translates no more"),
                }
            }
            Event::UplinkUp { uplink } => {
                self.down.fetch_and(!bit(*uplink), Ordering::Relaxed);
                log::info!("uplink{} carries again", self.via(Some(*uplink)));
            }
            _ => return false,
        }
        true
    }

    /// One line about the whole run.
    pub(crate) fn summary(&self) -> String {
        let associations = self.associations.summary();
        self.relays.summary(&format!("{} attempts failed, {associations}", get(&self.attempts_failed)))
    }
}

/// There are at most 64 uplinks.
fn bit(uplink: UplinkId) -> u64 {
    1 << (uplink.0 % 64)
}

struct Via(Option<String>);

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(label) => write!(f, " through {label}"),
            None => Ok(()),
        }
    }
}

impl ropewalk_mio::Watch for DispatchWatch {
    fn event(&self, now: Instant, event: &Event) {
        self.recording.news(now, event);
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
            Event::Unacknowledged { uplink } => {
                let via = self.via(Some(*uplink));
                let device = self.named(*uplink).and_then(|named| named.interface);
                let device = device.as_deref().unwrap_or("DEVICE");
                let text = format_args!(
                    "a connection{via} broke: what it sent was not acknowledged; if uploads hang there \
                     while small requests work, the link carries no large packets: \
                     ip link set {device} mtu 1280, or sysctl -w net.ipv4.tcp_mtu_probing=1"
                );
                self.flood_unacknowledged.warn(now, text);
            }
            #[cfg(feature = "names")]
            Event::Names { uplink, news } => self.names.event(now, news, self.via(Some(*uplink))),
            other if self.uplink_event(other) => {}
            other if self.relays.event(now, other) => {}
            other if self.associations.event(now, other, |uplink| self.via(uplink)) => {}
            other => log::debug!("{other:?}"),
        }
    }
}
