//! One path of an association: its estimates, its address, what it is to send.

use super::health::Health;
use crate::bond::path::{Path, State};
use crate::bond::wire::{Frame, OVERHEAD, PathId};
use crate::machine::SocketId;
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use core::net::{IpAddr, SocketAddr};

/// Where a path's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bond) struct Remote {
    /// The socket they leave by.
    pub(in crate::bond) socket: SocketId,
    /// The peer's address.
    pub(in crate::bond) to: SocketAddr,
    /// Our address they leave from, where the socket has several.
    pub(in crate::bond) from: Option<IpAddr>,
    /// `to` is said with each datagram: the socket speaks with many.
    pub(in crate::bond) named: bool,
}

impl Remote {
    /// Bytes of the IP and the UDP header of its packets.
    pub(in crate::bond) fn headers(&self) -> u32 {
        // An IPv4-mapped address travels as IPv4.
        let v6 =
            self.to.is_ipv6() && !matches!(self.to.ip(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if v6 { 48 } else { 28 }
    }
}

/// Bytes that may be sent to an address before it has answered: three for each received (RFC 9000
/// section 8.1).
pub(in crate::bond) const AMPLIFICATION: u64 = 3;

/// A question to an address: is the peer there?
#[derive(Clone, Copy, Debug)]
pub(super) struct Challenge {
    pub(super) token: [u8; 8],
    /// Where it goes; where the path goes, once it is answered.
    pub(super) remote: Remote,
    /// When it is asked next, and how often it was.
    pub(super) next: Instant,
    pub(super) asked: u32,
    /// Bytes that may still be sent there.
    pub(super) allowance: u64,
}

/// Questions to an address that does not answer. After them the path waits for its next packet from
/// there.
pub(super) const MOST_QUESTIONS: u32 = 6;

/// A path counts as proved, that is: it carries what we send, for two of its probe time-outs after
/// the last acknowledgement of something that we sent by it, and for at most 500 ms.
///
/// The peer gives a path up after seven of its own probe time-outs without an acknowledgement. So
/// within that time we must have noticed that the path which our acknowledgements take is dead, and
/// have sent them by another. With 500 ms alone, two links of 1 ms took each other down when one
/// died.
const PROOF: Duration = Duration::from_millis(500);
const PROOF_TIMEOUTS: u32 = 2;

/// Questions of an idle peer are further apart than this, those of one that looks for a dead path
/// are nearer.
const IDLE_QUESTIONS: Duration = Duration::from_secs(5);

/// Control frames that may wait for one path. What is over it is dropped oldest first: an
/// acknowledgement is followed by a newer one, a question is asked again. A socket that takes
/// nothing, or a peer that asks all the time, costs no more.
const MOST_CONTROL: usize = 64;

/// One path.
#[derive(Debug)]
pub(in crate::bond) struct Slot {
    pub(in crate::bond) path: Path,
    pub(in crate::bond) health: Health,
    pub(in crate::bond) id: PathId,
    pub(in crate::bond) remote: Remote,
    pub(in crate::bond) weight: u32,
    /// Control frames that must go this way.
    pub(in crate::bond) control: VecDeque<Frame>,
    /// An eliciting packet is asked for.
    pub(in crate::bond) ping: bool,
    /// A probe of its MTU is due.
    pub(super) sizes: bool,
    /// An address that is asked whether the peer is there.
    pub(super) challenge: Option<Challenge>,
    /// The address has answered.
    pub(in crate::bond) validated: bool,
    /// Bytes that may still be sent to an address that has not.
    pub(in crate::bond) allowance: u64,
    /// Sequences of packets that leave next, with the bytes they take on the wire.
    pub(super) stage: VecDeque<(u32, u32)>,
    pub(super) staged: u64,
    /// When something of ours was acknowledged last: our packets arrive by this path.
    pub(super) proved: Option<Instant>,
    /// The challenge is due.
    pub(super) asks: bool,
    /// DATA came by it since the last acknowledgement.
    pub(super) carried: bool,
    /// When an acknowledgement left last of packets that carried no DATA.
    pub(super) quiet: Option<Instant>,
    /// Since when something waits to leave, without anything having left.
    pub(super) waiting: Option<Instant>,
    /// The owner knows that there is something to send.
    pub(in crate::bond) dirty: bool,
    /// The state that the owner was told last.
    pub(super) told: State,
}

impl Slot {
    pub(super) fn new(path: Path, id: PathId, remote: Remote, weight: u32) -> Self {
        Slot {
            path,
            health: Health::default(),
            id,
            remote,
            weight,
            control: VecDeque::new(),
            ping: false,
            sizes: false,
            challenge: None,
            validated: false,
            allowance: 0,
            stage: VecDeque::new(),
            staged: 0,
            proved: None,
            asks: false,
            carried: false,
            quiet: None,
            waiting: None,
            dirty: false,
            told: State::Live,
        }
    }

    /// Whether our packets arrived by this path of late.
    pub(super) fn is_proved(&self, now: Instant) -> bool {
        let lasts = (self.path.probe_timeout() * PROOF_TIMEOUTS).min(PROOF);
        self.proved.is_some_and(|proved| now - proved <= lasts)
    }

    /// Whether the proof is so old that it should be renewed: half of its time is over.
    pub(super) fn wants_proof(&self, now: Instant) -> bool {
        let half = self.path.probe_timeout().min(PROOF / 2);
        self.proved.is_none_or(|proved| now - proved > half)
    }

    /// What is acknowledged now is a question of an idle peer, such as it asks three times a
    /// minute, and not one that it repeats: the answer goes back by this path, and is all.
    pub(super) fn answers_idle(&mut self, now: Instant) -> bool {
        let before = self.quiet.replace(now);
        self.path.state() == State::Live && before.is_none_or(|before| now - before > IDLE_QUESTIONS)
    }

    /// Control frames go by this path.
    pub(in crate::bond) fn push_control(&mut self, frame: Frame) {
        if self.control.len() >= MOST_CONTROL {
            self.control.pop_front();
        }
        self.control.push_back(frame);
    }

    /// When the path is suspect if nothing of what waits has left by then: its own socket takes
    /// nothing. One that is shared with other paths says nothing of this one.
    pub(super) fn blocked_at(&self) -> Option<Instant> {
        let alone = !self.remote.named && self.path.state() == State::Live;
        self.waiting.filter(|_| alone).map(|since| since + self.path.probe_timeout())
    }

    /// For how long nothing of what waits has left.
    pub(super) fn stuck(&self, now: Instant) -> Duration {
        self.waiting.map_or(Duration::ZERO, |since| now - since)
    }

    /// Notes since when something waits, if something does.
    pub(super) fn note_waiting(&mut self, now: Instant) {
        if !self.wants_to_send() {
            self.waiting = None;
        } else if self.waiting.is_none() {
            self.waiting = Some(now);
        }
    }

    /// What `state` is to who does not know why: a path that loses too much is out of use whatever
    /// its answers say, unless it is down.
    pub(super) fn told_as(&self, state: State) -> State {
        match state {
            State::Live if self.health.is_sick() => State::Suspect,
            other => other,
        }
    }

    /// Whether it loses too much to carry what others can.
    pub(in crate::bond) fn is_sick(&self) -> bool {
        self.health.is_sick()
    }

    /// Whether data may go by it.
    pub(super) fn is_usable(&self) -> bool {
        self.path.state() == State::Live && self.validated && !self.health.is_sick()
    }

    /// Whether it carries an inner packet of `bytes`.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.path.fits((bytes + OVERHEAD) as u64 + u64::from(self.remote.headers()))
    }

    #[cfg(test)]
    pub(in crate::bond) fn staged_packets(&self) -> usize {
        self.stage.len()
    }

    /// Whether there is something to send.
    pub(in crate::bond) fn wants_to_send(&self) -> bool {
        !self.stage.is_empty() || !self.control.is_empty() || self.ping || self.asks || self.sizes
    }
}
