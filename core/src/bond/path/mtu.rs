//! The largest packet a path carries, found by probing (RFC 8899).
//!
//! ```text
//! sizes    1280  1400  1420  1440  1452  1472  1492  1500         the largest first, then the middle of what is
//!           ^ confirmed        ^ probe              ^ refused     left; each size is tried three times
//! ```
//!
//! A path that swallows what it once carried (a black hole) falls back to the smallest and is
//! searched again.

use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `SIZES` | bytes of the IP packet: IPv6's least, tunnels over 1500, mobile networks, PPPoE, Ethernet |
/// | `TRIES` 3 | RFC 8899 section 5.1.2, MAX_PROBES |
/// | `PATIENCE` 1 s | RFC 8899 section 5.1.1: a probe's timer is at least that, as the lone probe of an idle path |
/// | `RAISE` 600 s | RFC 8899 section 5.1.1, PMTU_RAISE_TIMER |
/// | `SWALLOWED` 8 | so many full packets in a row lost while smaller ones arrive: at 20% random loss 1 in 400,000 |
const SIZES: [u16; 8] = [1280, 1400, 1420, 1440, 1452, 1472, 1492, 1500];
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(1);
const RAISE: Duration = Duration::from_secs(600);
const SWALLOWED: u32 = 8;

/// The search for one path's MTU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mtu {
    confirmed: usize,
    /// The smallest size known not to pass, or one beyond the largest to try.
    refused: usize,
    tries: u32,
    /// The size on its way, and when its time is over.
    probe: Option<(usize, Instant)>,
    /// The search is over; when it begins again.
    raise: Option<Instant>,
    swallowed: u32,
    smaller: bool,
}

impl Mtu {
    /// A search up to `largest`, the device's own MTU.
    pub(crate) fn new(largest: u16) -> Self {
        let refused = SIZES.iter().position(|size| *size > largest).unwrap_or(SIZES.len()).max(1);
        Mtu { confirmed: 0, refused, tries: 0, probe: None, raise: None, swallowed: 0, smaller: false }
    }

    /// What may be sent, bytes of the IP packet.
    pub(crate) fn size(&self) -> u16 {
        SIZES[self.confirmed]
    }

    /// A probe to send now, padded to that size. Tell [`Mtu::handle_sent`] when it left.
    pub(crate) fn poll_probe(&self, now: Instant) -> Option<u16> {
        if self.probe.is_some() || self.raise.is_some_and(|raise| raise > now) {
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
    }

    /// A probe was acknowledged. True where packets may be larger now.
    pub(crate) fn handle_acked(&mut self, now: Instant, bytes: u32) -> bool {
        self.probe = None;
        let Some(size) = SIZES.iter().position(|size| u32::from(*size) == bytes) else { return false };
        if size <= self.confirmed {
            return false;
        }
        self.confirmed = size;
        self.refused = self.refused.max(size + 1);
        self.settle(now);
        true
    }

    /// When the probe on its way counts as lost, or the search begins again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.probe.map(|(_, until)| until).or(self.raise)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some((size, until)) = self.probe
            && until <= now
        {
            self.probe = None;
            self.tries += 1;
            if self.tries >= TRIES {
                self.refused = self.refused.min(size);
                self.settle(now);
            }
        }
        if self.raise.is_some_and(|raise| raise <= now) {
            (self.raise, self.refused) = (None, SIZES.len());
        }
    }

    /// The operating system refused a packet of that size: it never left. True where packets must
    /// be smaller now.
    pub(crate) fn handle_too_large(&mut self, now: Instant, bytes: u32) -> bool {
        let size = SIZES.iter().position(|size| u32::from(*size) >= bytes).unwrap_or(SIZES.len());
        self.probe = None;
        self.refused = self.refused.min(size.max(1));
        let falls = self.confirmed >= self.refused;
        self.confirmed = self.confirmed.min(self.refused - 1);
        self.settle(now);
        falls
    }

    /// A packet that is no probe was acknowledged.
    pub(crate) fn handle_carried(&mut self, bytes: u32) {
        if bytes > u32::from(SIZES[0]) {
            (self.swallowed, self.smaller) = (0, false);
        } else {
            self.smaller |= self.swallowed > 0;
        }
    }

    /// A packet that is no probe was lost. True where the path swallows large ones: packets must be
    /// smaller now.
    pub(crate) fn handle_lost(&mut self, now: Instant, bytes: u32) -> bool {
        if bytes > u32::from(SIZES[0]) {
            self.swallowed += 1;
        }
        if self.swallowed < SWALLOWED || !self.smaller || self.confirmed == 0 {
            return false;
        }
        *self = Mtu { refused: self.confirmed + 1, ..Mtu::new(u16::MAX) };
        self.settle(now);
        true
    }

    fn candidate(&self) -> Option<usize> {
        let left = self.confirmed + 1..self.refused;
        if left.is_empty() {
            return None;
        }
        // Most paths carry the largest: asked first. A search that met a refusal takes the middle.
        let untouched = self.refused == SIZES.len() && self.tries < TRIES;
        Some(if untouched { left.end - 1 } else { left.start + (left.len() - 1) / 2 })
    }

    fn settle(&mut self, now: Instant) {
        self.tries = 0;
        self.raise = self.candidate().is_none().then(|| now + RAISE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Probes until the search is over; what was tried, and what may be sent then.
    fn search(mtu: &mut Mtu, mut now: Instant, passes: u16) -> (Vec<u16>, u16) {
        let mut tried = Vec::new();
        while let Some(size) = mtu.poll_probe(now) {
            tried.push(size);
            mtu.handle_sent(now, u32::from(size), Duration::from_millis(30));
            if size <= passes {
                mtu.handle_acked(now, u32::from(size));
            } else {
                now = mtu.poll_timeout().expect("a probe is on its way");
                mtu.handle_timeout(now);
            }
        }
        (tried, mtu.size())
    }

    #[test]
    fn the_largest_is_asked_first_and_then_the_middle() {
        assert_eq!(search(&mut Mtu::new(1500), at(0), 1500), ([1500].to_vec(), 1500));
        let (tried, size) = search(&mut Mtu::new(1500), at(0), 1450);
        assert_eq!(tried, [1500, 1500, 1500, 1440, 1472, 1472, 1472, 1452, 1452, 1452]);
        assert_eq!(size, 1440);
        assert_eq!(search(&mut Mtu::new(1500), at(0), 1280).1, 1280);
        assert_eq!(search(&mut Mtu::new(1300), at(0), 9000), (Vec::new(), 1280));
    }

    #[test]
    fn a_search_begins_again_after_ten_minutes() {
        let mut mtu = Mtu::new(1500);
        search(&mut mtu, at(0), 1450);
        let again = mtu.poll_timeout().expect("to raise it");
        assert!(again >= at(600_000) && mtu.poll_probe(at(1)).is_none());
        mtu.handle_timeout(again);
        assert_eq!(search(&mut mtu, again, 1500).1, 1500);
    }

    #[test]
    fn a_black_hole_is_seen_by_what_still_arrives() {
        let mut mtu = Mtu::new(1500);
        search(&mut mtu, at(0), 1500);
        for _ in 0..20 {
            assert!(!mtu.handle_lost(at(10), 1500), "nothing arrives: the path is dead, not narrow");
        }
        mtu.handle_carried(100);
        assert!(mtu.handle_lost(at(20), 1500));
        assert_eq!(mtu.size(), 1280);
        assert_eq!(search(&mut mtu, at(30), 1420).1, 1420);
    }

    #[test]
    fn random_loss_is_no_black_hole() {
        let mut mtu = Mtu::new(1500);
        search(&mut mtu, at(0), 1500);
        for step in 0..1000 {
            mtu.handle_carried(if step % 2 == 0 { 1500 } else { 100 });
            assert!(!mtu.handle_lost(at(10), 1500));
        }
    }

    #[test]
    fn what_the_system_refuses_is_believed() {
        let mut mtu = Mtu::new(1500);
        search(&mut mtu, at(0), 1500);
        assert!(mtu.handle_too_large(at(5), 1500));
        assert_eq!(mtu.size(), 1492);
        assert!(!mtu.handle_too_large(at(5), 1500));
        assert!(mtu.handle_too_large(at(5), 100), "the smallest stays whatever is said");
        assert_eq!(mtu.size(), 1280);
    }
}
