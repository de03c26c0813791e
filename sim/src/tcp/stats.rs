//! What an end counts and what its state is.

use super::receiver::Received;
use super::sender::Sender;
use ropewalk_core::time::{Duration, Instant};

/// The state and the counters of an end. Windows are bytes of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Whether the handshake is done.
    pub established: bool,
    /// The congestion window.
    pub cwnd: u64,
    /// The slow start threshold; `u64::MAX` before the first loss.
    pub ssthresh: u64,
    /// Sent and neither acknowledged nor thought lost.
    pub in_flight: u64,
    /// The smoothed round trip; zero before the first.
    pub srtt: Duration,
    /// The shortest round trip.
    pub min_rtt: Option<Duration>,
    /// The retransmission time-out.
    pub rto: Duration,
    /// Segments sent, each transmission counted.
    pub sent: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Bytes that the other end has acknowledged.
    pub acked: u64,
    /// Bytes of payload received in order, each once: goodput.
    pub received: u64,
    /// Bytes that came more than once.
    pub duplicates: u64,
    /// When the first and the last of them came.
    pub first: Option<Instant>,
    /// As `first`.
    pub last: Option<Instant>,
}

impl Stats {
    pub(super) fn sender(&mut self, sender: &Sender) {
        let mss = u64::from(sender.mss);
        self.cwnd = u64::from(sender.cwnd) * mss;
        self.ssthresh = if sender.ssthresh == u32::MAX { u64::MAX } else { u64::from(sender.ssthresh) * mss };
        self.in_flight = u64::from(sender.board.in_flight()) * mss;
        self.srtt = Duration::from_micros(sender.rtt.srtt());
        self.min_rtt = sender.rtt.min().map(Duration::from_micros);
        self.rto = Duration::from_micros(sender.rtt.rto());
        self.sent = sender.sent_segments;
        self.retransmits = sender.retransmits;
        self.acked = sender.una - sender.first;
    }

    pub(super) fn receiver(&mut self, received: &Received) {
        let at = |micros: u64| Instant::from_nanos(micros.saturating_mul(1_000));
        self.received = received.bytes;
        self.duplicates = received.duplicates;
        self.first = received.first.map(at);
        self.last = received.last.map(at);
    }
}
