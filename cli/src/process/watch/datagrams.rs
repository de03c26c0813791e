//! What every service that passes datagrams on has to tell of them.

use super::flood::Flood;
use super::reasons::{DROPS, REASONS, drop_place, place};
use super::relays::{add, get};
use crate::process::stats::Samples;
use ropewalk_core::machine::Fault;
use ropewalk_core::machine::event::Dropped;
use ropewalk_core::time::Instant;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The figures of a service, by their names.
pub(crate) struct Names {
    pub(crate) passed: &'static str,
    pub(crate) dropped: &'static str,
    pub(crate) lost: &'static str,
}

/// Datagrams of the whole process.
#[derive(Default)]
pub(crate) struct Datagrams {
    /// From clients to servers.
    pub(crate) sent: AtomicU64,
    /// From servers to clients.
    pub(crate) received: AtomicU64,
    dropped: AtomicU64,
    /// By reason, in the order of [`REASONS`].
    refused: [AtomicU64; REASONS.len()],
    /// By reason, in the order of [`DROPS`].
    drops: [AtomicU64; DROPS.len()],
    /// Those that the system would not send.
    lost: AtomicU64,
    flood_dropped: Flood,
    flood_lost: Flood,
}

impl Datagrams {
    /// So many have passed.
    pub(crate) fn passed(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }

    /// One was not passed on.
    pub(crate) fn dropped(&self, why: &Dropped) {
        add(&self.dropped);
        add(match why {
            Dropped::Refused(why) => &self.refused[place(why)],
            other => &self.drops[drop_place(other)],
        });
    }

    /// Says that one was not passed on, where too many lines do not follow each other.
    pub(crate) fn warn_dropped(&self, now: Instant, peer: &SocketAddr, why: impl fmt::Display) {
        self.flood_dropped.warn(now, format_args!("a datagram of {peer} is dropped: {why}"));
    }

    /// The system would not send one.
    pub(crate) fn lost(&self, now: Instant, to: Option<&SocketAddr>, fault: Fault) {
        add(&self.lost);
        match to {
            Some(to) => self.flood_lost.warn(now, format_args!("a datagram for {to} was not sent: {fault}")),
            None => self.flood_lost.warn(now, format_args!("a datagram was not sent: {fault}")),
        }
    }

    /// All that went no further, for whatever reason.
    pub(crate) fn all_lost(&self) -> u64 {
        get(&self.dropped) + get(&self.lost)
    }

    /// Tells them all.
    pub(crate) fn collect(&self, names: &Names, out: &mut Samples) {
        out.counters(names.passed, "Datagrams of UDP flows, as of a second ago.")
            .add(&[("direction", "sent")], get(&self.sent))
            .add(&[("direction", "received")], get(&self.received));
        let dropped = out.counters(names.dropped, "Datagrams that were not passed on.");
        for (reason, count) in REASONS.iter().zip(&self.refused).chain(DROPS.iter().zip(&self.drops)) {
            dropped.add(&[("reason", reason)], get(count));
        }
        out.counter(names.lost, "Datagrams that the system would not send.", get(&self.lost));
    }
}
