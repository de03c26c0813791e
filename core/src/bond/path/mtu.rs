//! The largest packet a path carries, found by probing (RFC 8899).
//!
//! ```text
//! sizes    1280  1364  1400  1420  1440  1452  1472  1492  1500   the largest first, then the middle of what is
//!           ^ confirmed              ^ probe              ^ refused     left; each size is tried three times
//! ```
//!
//! A new path is trusted with packets of every size, because most paths carry 1500 bytes and
//! nothing is to wait for the first probe. The trust ends with the first evidence against it: two
//! probes in a row without an answer, large packets that are lost while small ones arrive, a
//! refusal by the operating system. From then on the path carries what is confirmed, no more.
//!
//! A path that swallows what it once carried (a black hole, RFC 8899 section 4.3) falls back to the
//! smallest and is searched again. Two things tell it from a path that is dead for a while:
//!
//! ```text
//! small packets arrive beside them    S L S L L S   large ones that were sent after a small one arrived are lost
//! nothing but large ones is sent      L L L . P a   a silence that the first probe ends, which is small. Several of
//!                                     L L L . P a   them, or one and the confirmed size is asked for in vain
//! ```

use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `SIZES` | bytes of the IP packet: IPv6's least; what carries IPv6's least inside; tunnels, mobile networks, PPPoE, Ethernet |
/// | `TRIES` 3 | RFC 8899 section 5.1.2, MAX_PROBES |
/// | `PATIENCE` 1 s | RFC 8899 section 5.1.1: a probe's timer is at least that, as the lone probe of an idle path |
/// | `RAISE` 600 s | RFC 8899 section 5.1.1, PMTU_RAISE_TIMER |
/// | `SWALLOWED` 8 | so many full packets in a row lost while smaller ones arrive: at 20% random loss 1 in 400,000 |
/// | `AFTER` 2 | so many of those must have been sent after a small one arrived: a path that was dead lost all that was sent before |
/// | `SILENCES` 3 | so many silences of large packets alone: as the tries of a probe. Two that fall on two pauses of the link are bad luck |
/// | `DOUBTED` 2 | probes lost in a row end the trust in a new path: with one, each twentieth path of 5% loss was doubted |
/// | `OPEN` 1 s | so long a search may take before the tunnel goes by what it has confirmed: most need three round trips |
/// | `OVERDUE` 2 | probe time-outs without an answer to a probe end that wait too: to refuse a size takes three seconds, and a path alone drops meanwhile what its hosts send |
/// | `SAME` 10 ms | refusals by the system within that are of one burst: each alone would be a step down |
const SIZES: [u16; 9] = [1280, 1364, 1400, 1420, 1440, 1452, 1472, 1492, 1500];
const TRIES: u8 = 3;
const PATIENCE: Duration = Duration::from_secs(1);
const RAISE: Duration = Duration::from_secs(600);
const SWALLOWED: u8 = 8;
const AFTER: u8 = 2;
const SILENCES: u8 = 3;
const DOUBTED: u8 = 2;
const OPEN: Duration = Duration::from_secs(1);
const OVERDUE: u32 = 2;
const SAME: Duration = Duration::from_millis(10);

/// The search for one path's MTU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mtu {
    confirmed: usize,
    /// The smallest size known not to pass, or one beyond the largest to try.
    refused: usize,
    tries: u8,
    /// The size on its way, and when its time is over.
    probe: Option<(usize, Instant)>,
    /// When its answer should have been there, though it is not yet given up; whether another
    /// packet was answered since it left. A path that is silent says nothing of sizes.
    overdue: Option<Instant>,
    answered: bool,
    /// The search is over; when it begins again.
    raise: Option<Instant>,
    /// Large packets lost in a row, and how many of them were sent after a small one arrived.
    swallowed: u8,
    after: u8,
    /// When the first small packet arrived since the last large one did.
    smaller: Option<Instant>,
    /// Nothing but large packets is missing, and a probe asks whether the path is dead; how often
    /// it was not, since the last large one arrived.
    asked: bool,
    silences: u8,
    /// Since when something speaks against the largest size.
    doubt: Option<Instant>,
    /// The search was long enough: what is confirmed counts.
    closed: bool,
    /// The operating system's last refusal.
    refusal: Option<Instant>,
}

impl Mtu {
    /// A search up to `largest`, the device's own MTU.
    pub(crate) fn new(largest: u16) -> Self {
        let refused = SIZES.iter().position(|size| *size > largest).unwrap_or(SIZES.len()).max(1);
        Mtu {
            confirmed: 0,
            refused,
            tries: 0,
            probe: None,
            overdue: None,
            answered: false,
            raise: None,
            swallowed: 0,
            after: 0,
            smaller: None,
            asked: false,
            silences: 0,
            doubt: None,
            closed: false,
            refusal: None,
        }
    }

    /// What the path is known to carry, bytes of the IP packet.
    pub(crate) fn size(&self) -> u16 {
        SIZES[self.confirmed]
    }

    /// The largest packet that may be sent now.
    pub(crate) fn trusted(&self) -> u16 {
        if self.doubt.is_none() { SIZES[self.refused - 1] } else { self.size() }
    }

    /// What the tunnel can count on: the largest that may still pass as long as that is not known.
    pub(crate) fn counted(&self) -> u16 {
        if self.closed { self.size() } else { SIZES[self.refused - 1] }
    }

    /// The link was away and may be another one now. One that carried all is asked anew; one that
    /// did not keeps its size until larger packets have come through: else a narrow link that comes
    /// and goes would change the tunnel each time.
    pub(crate) fn search_again(&mut self) {
        if self.doubt.is_none() {
            *self = Mtu::new(u16::MAX);
        } else {
            (self.raise, self.refused, self.tries) = (None, SIZES.len(), 0);
        }
    }

    /// A probe to send now, padded to that size. Tell [`Mtu::handle_sent`] when it left.
    pub(crate) fn poll_probe(&self, now: Instant) -> Option<u16> {
        if self.probe.is_some() {
            return None;
        }
        if self.confirmed > 0 && self.silences > 0 {
            return Some(self.size());
        }
        if self.raise.is_some_and(|raise| raise > now) {
            return None;
        }
        Some(SIZES[self.candidate()?])
    }

    pub(crate) fn handle_sent(&mut self, now: Instant, bytes: u32, timeout: Duration) {
        if self.raise.is_some_and(|raise| raise <= now) {
            (self.raise, self.refused) = (None, self.refused.max(self.confirmed + 1));
        }
        let size = SIZES.iter().position(|size| u32::from(*size) == bytes);
        self.probe = size.map(|size| (size, now + PATIENCE.max(timeout * 2)));
        (self.overdue, self.answered) = (size.map(|_| now + timeout * OVERDUE), false);
    }

    /// A probe was acknowledged. True where packets may be larger now.
    pub(crate) fn handle_acked(&mut self, now: Instant, bytes: u32) -> bool {
        (self.probe, self.overdue) = (None, None);
        let Some(size) = SIZES.iter().position(|size| u32::from(*size) == bytes) else { return false };
        if size >= self.confirmed {
            self.forgive();
        }
        if size <= self.confirmed {
            return false;
        }
        self.confirmed = size;
        self.refused = self.refused.max(size + 1);
        self.settle(now);
        true
    }

    /// When the probe on its way counts as lost, the search begins again, or was long enough.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let closes = self.doubt.filter(|_| !self.closed).map(|doubt| {
            let open = doubt + OPEN;
            self.overdue.filter(|_| self.answered).map_or(open, |overdue| overdue.min(open))
        });
        self.probe.map(|(_, until)| until).or(self.raise).into_iter().chain(closes).min()
    }

    /// Time has passed. True where the path counts for less now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let before = (self.trusted(), self.counted());
        if let Some((size, until)) = self.probe
            && until <= now
        {
            (self.probe, self.overdue) = (None, None);
            self.tries = self.tries.saturating_add(1);
            if size <= self.confirmed {
                if self.tries >= TRIES {
                    self.fall_back(now);
                }
            } else if self.tries >= DOUBTED && self.doubt.is_none() {
                self.doubted(now);
            } else if self.tries >= TRIES {
                self.refused = self.refused.min(size);
                self.settle(now);
            }
        }
        if self.raise.is_some_and(|raise| raise <= now) {
            (self.raise, self.refused) = (None, SIZES.len());
        }
        let overdue = self.answered && self.overdue.is_some_and(|overdue| overdue <= now);
        self.closed |= self.doubt.is_some_and(|doubt| overdue || now - doubt >= OPEN);
        before != (self.trusted(), self.counted())
    }

    /// The operating system refused a packet: it never left. That was the probe on its way, or the
    /// largest that may be sent. True where packets must be smaller now.
    pub(crate) fn handle_too_large(&mut self, now: Instant) -> bool {
        let probed = self.probe.take().map(|(size, _)| size);
        self.overdue = None;
        // Packets that were staged before the first refusal meet one each.
        let known = self.refusal.is_some_and(|at| now - at < SAME);
        if probed.is_none() && known {
            return false;
        }
        let before = (self.trusted(), self.counted());
        let largest = if self.doubt.is_none() { self.refused - 1 } else { self.confirmed };
        self.refused = self.refused.min(probed.unwrap_or(largest).max(1));
        self.confirmed = self.confirmed.min(self.refused - 1);
        self.refusal = Some(now);
        self.doubt = self.doubt.or(Some(now));
        self.settle(now);
        before != (self.trusted(), self.counted())
    }

    /// A packet that is no probe was acknowledged.
    pub(crate) fn handle_carried(&mut self, now: Instant, bytes: u32) {
        self.answered = true;
        if Self::is_large(bytes) {
            self.forgive();
        } else {
            if core::mem::take(&mut self.asked) {
                // The tries of another search are none of this one.
                if self.silences == 0 {
                    self.tries = 0;
                }
                self.silences = self.silences.saturating_add(1);
            }
            self.smaller = self.smaller.or(Some(now));
        }
    }

    /// A packet that is no probe was lost. True where the path swallows large ones: packets must be
    /// smaller now. What was sent before a small one arrived is no evidence: the path may have been
    /// dead for a while.
    pub(crate) fn handle_lost(&mut self, now: Instant, sent_at: Instant, bytes: u32) -> bool {
        if Self::is_large(bytes) {
            let after = self.smaller.is_some_and(|smaller| sent_at > smaller);
            self.swallowed = self.swallowed.saturating_add(1);
            self.after = self.after.saturating_add(u8::from(after));
        }
        let narrow = self.confirmed == 0 && self.doubt.is_some();
        let evident = self.after >= AFTER || self.silences >= SILENCES;
        if self.swallowed < SWALLOWED || !evident || narrow {
            return false;
        }
        self.fall_back(now);
        true
    }

    /// What was confirmed passes no longer: the search begins anew, up to there.
    fn fall_back(&mut self, now: Instant) {
        let refused = if self.confirmed == 0 { self.refused } else { self.confirmed + 1 };
        *self = Mtu { refused, ..Mtu::new(u16::MAX) };
        self.doubted(now);
    }

    /// A probe time-out passed. `large_alone`: it is the first of this silence, and all that is
    /// missing is too large for the smallest size. Else whatever is lost now is lost because the
    /// path is silent. Probes of a size count all the same: two in a row are seconds apart.
    pub(crate) fn handle_silence(&mut self, large_alone: bool) {
        if !large_alone {
            self.forgive();
        }
        (self.after, self.smaller, self.asked) = (0, None, large_alone);
    }

    /// What was lost says nothing of sizes any more.
    fn forgive(&mut self) {
        if self.silences > 0 {
            self.tries = 0;
        }
        (self.swallowed, self.after, self.smaller) = (0, 0, None);
        (self.asked, self.silences) = (false, 0);
    }

    /// Whether a packet of `bytes` is one that a narrow path may swallow.
    pub(crate) fn is_large(bytes: u32) -> bool {
        bytes > u32::from(SIZES[0])
    }

    /// Something speaks against the largest size: what is not confirmed is sent no longer.
    fn doubted(&mut self, now: Instant) {
        self.doubt = Some(now);
        self.settle(now);
    }

    fn candidate(&self) -> Option<usize> {
        let left = self.confirmed + 1..self.refused;
        if left.is_empty() {
            return None;
        }
        // Most paths carry the largest: asked first. Where something speaks against it, the middle.
        let untouched = self.refused == SIZES.len() && self.doubt.is_none();
        Some(if untouched { left.end - 1 } else { left.start + (left.len() - 1) / 2 })
    }

    fn settle(&mut self, now: Instant) {
        self.tries = 0;
        let over = self.candidate().is_none();
        self.raise = over.then(|| now + RAISE);
        self.closed |= over && self.doubt.is_some();
    }
}

#[cfg(test)]
#[path = "mtu_tests.rs"]
mod tests;
