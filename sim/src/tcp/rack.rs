//! Which transmissions are lost: RACK (RFC 8985) with the reordering window of Linux, or the
//! thresholds of QUIC (RFC 9002 section 6.1).
//!
//! RACK: a transmission is lost where one that was sent later has arrived, and a round trip and the
//! reordering window have passed since. The window is zero until reordering is seen and grows by a
//! quarter of the shortest round trip with each round in which a DSACK shows that a retransmission
//! was needless.

use super::config::Profile;
use super::scoreboard::{Scoreboard, Sent, Verdict};

/// Duplicates that mean a loss where no reordering was seen (RFC 5681).
const THRESHOLD: u32 = 3;
/// Linux counts no more reordering than this, in segments.
const MAX_REORDERING: u32 = 300;
/// Recoveries after which the window shrinks again (RFC 8985 section 6.2, step 4).
const PERSIST: u32 = 16;

#[derive(Clone, Debug)]
pub(super) struct Rack {
    profile: Profile,
    /// The latest transmission that arrived: when it was sent and where it ends. The round trip of
    /// what arrived last.
    sent: Option<(u64, u64)>,
    rtt: u64,
    serial: u64,
    pub(super) advanced: bool,
    /// Whether reordering was ever seen, and how much, in segments.
    reordered: bool,
    reordering: u32,
    steps: u32,
    persist: u32,
    dsack: bool,
    /// Segments delivered when the window grew last.
    grew: u64,
}

/// What a sender's state says about the reordering window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) now: u64,
    pub(super) recovering: bool,
    pub(super) min_rtt: Option<u64>,
    pub(super) srtt: u64,
}

impl Rack {
    pub(super) fn new(profile: Profile) -> Self {
        Rack {
            profile,
            sent: None,
            rtt: 0,
            serial: 0,
            advanced: false,
            reordered: false,
            reordering: THRESHOLD,
            steps: 1,
            persist: 0,
            dsack: false,
            grew: 0,
        }
    }

    /// A transmission arrived (RFC 8985 section 6.2, step 2).
    pub(super) fn arrived(&mut self, now: u64, segment: &Sent, min_rtt: Option<u64>) {
        let key = (segment.at, segment.end());
        let latest = self.sent.is_none_or(|sent| key > sent);
        if self.profile == Profile::Quic && !latest {
            return;
        }
        let rtt = now - segment.at;
        // Perhaps it was the first transmission that arrived.
        if segment.ever_resent && min_rtt.is_none_or(|min| rtt < min) {
            return;
        }
        // The RFC takes the round trip of the latest transmission alone. Linux takes that of
        // whatever arrived last, so that a late one makes the wait longer.
        self.rtt = rtt;
        self.serial = self.serial.max(segment.serial);
        self.advanced = true;
        if latest {
            self.sent = Some(key);
        }
    }

    /// A segment below one that had arrived arrived without having been sent again (step 3).
    pub(super) fn reordering_seen(&mut self, distance: u64, mss: u32) {
        if self.profile == Profile::Quic {
            return;
        }
        let segments = u32::try_from(distance.div_ceil(u64::from(mss.max(1)))).unwrap_or(u32::MAX);
        if distance > u64::from(self.reordering) * u64::from(mss) {
            self.reordering = segments.min(MAX_REORDERING);
        }
        self.reordered = true;
    }

    /// Whether more than the usual reordering was seen: then the window grows with SACKs too.
    pub(super) fn reorders_much(&self) -> bool {
        self.reordering > THRESHOLD
    }

    /// A time-out after many duplicates: reordering was thought larger than it is.
    pub(super) fn calm(&mut self, sacked: u32) {
        if sacked >= THRESHOLD {
            self.reordering = self.reordering.min(THRESHOLD);
        }
    }

    /// A DSACK that shows a needless retransmission.
    pub(super) fn dsack_seen(&mut self) {
        self.dsack |= self.reordered;
    }

    /// Step 4: `sent_at` is how many segments were delivered when the latest one that arrived was
    /// sent.
    pub(super) fn adapt(&mut self, sent_at: Option<u64>, delivered: u64) {
        let Some(sent_at) = sent_at else { return };
        if sent_at < self.grew {
            self.dsack = false;
        }
        if self.dsack {
            self.steps = (self.steps + 1).min(255);
            self.dsack = false;
            self.grew = delivered;
            self.persist = PERSIST;
        } else if self.persist == 0 {
            self.steps = 1;
        }
    }

    /// A recovery ended that was not for nothing.
    pub(super) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
    }

    /// A recovery was undone.
    pub(super) fn undone(&mut self) {
        self.persist = (self.persist + 1).min(PERSIST);
    }

    fn window(&self, board: &Scoreboard, around: &Around) -> u64 {
        if !self.reordered && (around.recovering || board.sacked() >= self.reordering) {
            return 0;
        }
        (around.min_rtt.unwrap_or(u64::MAX >> 10) / 4).saturating_mul(u64::from(self.steps)).min(around.srtt)
    }

    /// How long from `now` until this transmission counts as lost with a window of zero; none where
    /// it does already.
    pub(super) fn remaining(&self, now: u64, segment: &Sent) -> Option<u64> {
        (segment.at + self.rtt).checked_sub(now).filter(|&left| left > 0)
    }

    /// Step 5. What was marked, and how long until more may be.
    pub(super) fn detect(&self, board: &mut Scoreboard, around: &Around) -> (bool, Option<u64>) {
        let Some(sent) = self.sent else { return (false, None) };
        let mut wait: Option<u64> = None;
        let quic = self.profile == Profile::Quic;
        // RFC 9002 section 6.1.2: 9/8 of the larger of the two round trips, at least a millisecond.
        let window = if quic { 0 } else { self.window(board, around) };
        let span = if quic { (around.srtt.max(self.rtt) * 9 / 8).max(1_000) } else { self.rtt + window };
        let any = board.scan(|segment| {
            if (segment.at, segment.end()) >= sent {
                return Verdict::Stop;
            }
            let left = (segment.at + span).saturating_sub(around.now);
            if left == 0 || (quic && segment.serial + u64::from(THRESHOLD) <= self.serial) {
                return Verdict::Lost;
            }
            wait = wait.max(Some(left));
            Verdict::Wait
        });
        (any, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: u64, seq: u64) -> Sent {
        Sent {
            seq,
            len: 1_000,
            at,
            serial: at,
            delivered: 0,
            sacked: false,
            lost: false,
            resent: false,
            ever_resent: false,
        }
    }

    #[test]
    fn the_round_trip_is_that_of_what_arrived_last() {
        for (profile, left) in [(Profile::Kernel, Some(500)), (Profile::Quic, None)] {
            let mut rack = Rack::new(profile);
            rack.arrived(20_000, &sent(1_000, 1_000), Some(15_000));
            rack.arrived(25_000, &sent(0, 0), Some(15_000));
            assert_eq!(rack.remaining(25_000, &sent(500, 500)), left, "{profile:?}");
        }
    }
}
