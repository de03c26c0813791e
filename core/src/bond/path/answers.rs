//! What is asked of a path: what was measured, and what follows from it. Nothing here changes it.

use super::delay::OneWay;
use super::liveness::{self, State};
use super::received::{self, Received};
use super::rtt::Rtt;
use super::{Counters, Packet, Path, STALE, loss};
use crate::bond::rate::Rate;
use crate::time::{Duration, Instant};

/// The most time, and the most round trips, that the search for the rate may take.
const SOUGHT: Duration = Duration::from_secs(1);
const SOUGHT_ROUNDS: u32 = 8;

impl Path {
    /// The rate the path is believed to have; in start-up a lower bound, zero before anything was
    /// delivered.
    pub(crate) fn rate(&self) -> Rate {
        self.control.rate()
    }

    /// False during start-up.
    pub(crate) fn rate_found(&self) -> bool {
        self.control.found()
    }

    /// Whether the loss of `packet` may be our own doing: it was sent to ask for more than the path
    /// is believed to have. A path that is given little is in start-up for ever, and asks for
    /// nothing.
    pub(crate) fn may_be_pressed(&self, packet: &Packet) -> bool {
        packet.probing && !self.control.limited()
    }

    /// Whether it carried data of late: what is measured of it is of now.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.loaded_at.is_some_and(|loaded| now - loaded <= STALE)
    }

    /// How fast it sends now.
    pub(crate) fn pacing_rate(&self) -> Rate {
        self.pacer.rate()
    }

    /// The most bytes that may be in flight.
    pub(crate) fn cap(&self) -> u64 {
        debug_assert_eq!(self.bounds, self.compute_bounds(), "who changes the rate bounds it again");
        self.bounds.cap
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.sent.in_flight()
    }

    /// The number for the next packet.
    #[cfg(test)]
    pub(crate) fn next_number(&self) -> u64 {
        self.sent.next()
    }

    /// Eliciting packets that are neither acknowledged nor lost, oldest first.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = &Packet> {
        self.sent.iter()
    }

    pub(crate) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// The one-way delay of what we send, as the peer reports it.
    pub(crate) fn one_way(&self) -> &OneWay {
        &self.one_way
    }

    /// Excess delay of a whole round that is not of our making. What stands while the rate is
    /// sought is ours, for as long as that takes: a path that has little to carry is sought for
    /// ever.
    pub(crate) fn foreign_excess(&self, now: Instant) -> Duration {
        let sought = now - self.sought_at < SOUGHT.max(self.view().unloaded * SOUGHT_ROUNDS);
        if sought && !self.control.cruising() { Duration::ZERO } else { self.one_way.standing() }
    }

    /// The jitter of what we send.
    pub(crate) fn jitter(&self) -> Duration {
        self.jitter.ask()
    }

    /// The receiving side: one-way delay and jitter of what arrives, when anything was heard last.
    pub(crate) fn received(&self) -> &Received {
        &self.received
    }

    /// The share of packets lost lately, of 1024.
    pub(crate) fn loss_share(&self) -> u64 {
        self.loss.ask()
    }

    /// The round trip of a flow inside that meets no queue: with the time that acknowledgements
    /// gather, and that repairs take in its bad rounds.
    pub(crate) fn inner_rtt(&self) -> Duration {
        let (view, rtt) = (self.view(), self.rtt.min());
        let repairs = loss::repair_delay(self.lossy.0, self.rate().bytes_in(rtt), rtt);
        view.unloaded + view.aggregated + repairs
    }

    /// For how long repairs hold up a flow in its bad rounds.
    pub(crate) fn repairs(&self) -> Duration {
        let rtt = self.rtt.min();
        loss::repair_delay(self.view().loss, self.rate().bytes_in(rtt), rtt)
    }

    /// The share of those lost, of 1024, that were not sent to ask for more than the path is
    /// believed to have.
    pub(crate) fn random_loss(&self) -> u64 {
        self.random_loss.ask()
    }

    /// Smoothed RTT + max(4 x variance, 5 ms) + acknowledgement delay: what the peer may take, and
    /// what aggregates. No less than the path's own way back takes: that of the nearest path, by
    /// which acknowledgements come first, may have become longer since.
    pub(crate) fn probe_timeout(&self) -> Duration {
        let held = received::LATEST + self.view().aggregated;
        let own = Duration::from_micros(self.own_way.into());
        liveness::probe_timeout(self.rtt.smoothed(), self.rtt.variance(), held).max(liveness::probe_timeout(
            own,
            Duration::ZERO,
            held,
        ))
    }

    /// What is thought of the sending direction.
    pub(crate) fn state(&self) -> State {
        self.liveness.state()
    }

    /// What it is known to carry, bytes of the IP packet.
    pub(crate) fn mtu(&self) -> u16 {
        self.mtu.size()
    }

    /// Whether a packet of `bytes` may be sent: nothing speaks against it.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        bytes <= u64::from(self.mtu.trusted())
    }

    /// What the tunnel can count on, bytes of the IP packet.
    pub(crate) fn counted_mtu(&self) -> u16 {
        self.mtu.counted()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }
}
