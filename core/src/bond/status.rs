//! What a bond is doing, for a person or a graph.

use super::path;
use super::peer::{Drops, Peer, Slot};
use crate::machine::UplinkId;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// How a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Its address has not answered yet.
    Unproven,
    /// It carries data.
    Live,
    /// It fell silent a moment ago.
    Suspect,
    /// It loses so much that others carry the data, until it has answered for long enough while
    /// data moves. Its event was [`PathSuspect`](crate::machine::event::BondNews::PathSuspect).
    Sick,
    /// Nothing comes back.
    Down,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Its number.
    pub path: u8,
    /// The client's uplink; `None` at the server.
    pub uplink: Option<UplinkId>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// How it is.
    pub state: PathState,
    /// Bits per second that it is believed to carry; 0 before that is known.
    pub rate: u64,
    /// Bits per second that it is sending at.
    pub pace: u64,
    /// Its smoothed round trip.
    pub rtt: Duration,
    /// The jitter of what we send.
    pub jitter: Duration,
    /// How much longer packets take now than at best: its queue. Zero where nothing was sent of
    /// late.
    pub queue: Duration,
    /// Packets lost lately, of 1024.
    pub loss: u64,
    /// Bytes in flight, and the most that may be.
    pub in_flight: u64,
    /// See `in_flight`.
    pub cap: u64,
    /// The largest packet it carries, bytes of IP.
    pub mtu: u16,
    /// Packets and bytes sent, and packets lost, since it began.
    pub sent: u64,
    /// See `sent`.
    pub sent_bytes: u64,
    /// See `sent`.
    pub lost: u64,
    /// Bytes of IP that came by it.
    pub received_bytes: u64,
}

impl PathStatus {
    pub(super) fn of(now: Instant, slot: &Slot, uplink: Option<UplinkId>) -> PathStatus {
        let (path, counters) = (&slot.path, slot.path.counters());
        let state = match path.state() {
            path::State::Live if !slot.validated => PathState::Unproven,
            path::State::Live if slot.is_sick() => PathState::Sick,
            path::State::Live => PathState::Live,
            path::State::Suspect => PathState::Suspect,
            path::State::Down => PathState::Down,
        };
        PathStatus {
            path: slot.id.get(),
            uplink,
            remote: slot.remote.to,
            state,
            rate: path.rate().bytes_per_second().saturating_mul(8),
            pace: path.pacing_rate().bytes_per_second().saturating_mul(8),
            rtt: path.rtt().smoothed(),
            jitter: path.jitter(),
            queue: if path.is_fresh(now) { path.one_way().recent() } else { Duration::ZERO },
            loss: path.loss_share(),
            in_flight: path.in_flight(),
            cap: path.cap(),
            mtu: path.mtu(),
            sent: counters.sent_packets,
            sent_bytes: counters.sent_bytes,
            lost: counters.lost_packets,
            received_bytes: path.received().bytes(),
        }
    }
}

/// One association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The handshake is done.
    pub established: bool,
    /// The client's inner addresses.
    pub addresses: Vec<IpAddr>,
    /// The largest packet inside, in bytes.
    pub mtu: u16,
    /// Its paths.
    pub paths: Vec<PathStatus>,
    /// What was dropped, by its reason.
    pub drops: Drops,
    /// Packets sent again because they were lost.
    pub repaired: u64,
    /// Packets sent again because their path fell silent.
    pub reinjected: u64,
    /// Hosts that were told, by ICMP through the device of this end, that their packet is too big.
    pub told_too_big: u64,
    /// TCP segments that were sent again without their payload, so that their senders learn of a
    /// congestion. Each counts as dropped too ([`Drops::queue_delay`]).
    pub trimmed: u64,
    /// Packets that the next of their flow waited for in vain: lost, or so late that it went on
    /// without them.
    pub holes: u64,
    /// Bytes that wait for a path.
    pub queued: usize,
    /// Bytes kept until they are acknowledged.
    pub copies: usize,
    /// Bytes held for their order.
    pub held: usize,
}

impl Status {
    pub(super) fn of(peer: &Peer, established: bool, addresses: &[IpAddr], paths: Vec<PathStatus>) -> Status {
        let (queued, copies, held) = peer.memory();
        let (repaired, reinjected) = peer.repairs();
        let (told_too_big, trimmed) = peer.told();
        Status {
            established,
            addresses: addresses.to_vec(),
            mtu: peer.mtu(),
            paths,
            drops: peer.drops(),
            repaired,
            reinjected,
            told_too_big,
            trimmed,
            holes: peer.holes(),
            queued,
            copies,
            held,
        }
    }
}
