//! The tunnel's MTU: the largest inner packet that every usable path carries.
//!
//! ```text
//!   what was agreed 1436 ─┐
//!   path 0: 1500 ── 1436 ─┼─ the least ── 1216      falls at once
//!   path 1: 1280 ── 1216 ─┘                          rises when more was possible for RISE
//! ```
//!
//! A path that cannot carry `floor` takes only what fits, as long as another path can.

use super::{Peer, path};
use crate::bond::wire::OVERHEAD;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `RISE` 5 s | senders inside keep for ten minutes what "packet too big" told them (RFC 1191 section 6.3), so a path that comes and goes must not change the size each time; a path that is away as in S5 (8 s) changes it twice |
/// | `V6_LEAST` 1280 | RFC 8200 section 5: a link with less cannot have IPv6, and Linux takes the addresses from it |
const RISE: Duration = Duration::from_secs(5);
const V6_LEAST: u16 = 1280;

/// What inner packets may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TunnelMtu {
    /// What both ends agreed on.
    limit: u16,
    /// What the paths carry.
    paths: u16,
    /// What paths are not to lower it below: a tunnel with IPv6 needs 1280.
    floor: u16,
    /// Since when the paths carry more.
    more: Option<Instant>,
    /// No path was usable when they were looked at last: time alone changes nothing.
    unknown: bool,
    /// A path has changed.
    pub(super) stale: bool,
}

impl TunnelMtu {
    pub(super) fn new(limit: u16) -> Self {
        TunnelMtu { limit, paths: u16::MAX, floor: 0, more: None, unknown: false, stale: false }
    }

    /// The largest inner packet, bytes.
    pub(super) fn size(&self) -> u16 {
        self.limit.min(self.paths)
    }

    pub(super) fn set_limit(&mut self, limit: u16, v6: bool) {
        self.limit = limit;
        self.floor = if v6 { V6_LEAST } else { 0 };
        self.stale = true;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.more.filter(|_| !self.unknown).map(|since| since + RISE)
    }

    /// Takes in what each usable path carries, bytes of the inner packet.
    fn feed(&mut self, now: Instant, sizes: impl Iterator<Item = u16> + Clone) {
        self.stale = false;
        let wide = sizes.clone().filter(|size| *size >= self.floor).min();
        // Where no path is wide enough the widest counts; where none is usable nothing is known.
        let size = wide.or_else(|| sizes.max());
        self.unknown = size.is_none();
        let Some(size) = size else { return };
        if size > self.paths {
            let since = *self.more.get_or_insert(now);
            if now - since < RISE {
                return;
            }
        }
        (self.paths, self.more) = (size, None);
    }
}

impl Peer {
    /// Sets the MTU that both ends agreed on; `v6`: the tunnel carries IPv6.
    pub(in crate::bond) fn set_mtu(&mut self, now: Instant, limit: u16, v6: bool) {
        self.mtu.set_limit(limit, v6);
        self.fit(now);
    }

    /// The tunnel's MTU: the largest inner packet that every path in use carries, at most what was
    /// agreed.
    pub(in crate::bond) fn mtu(&self) -> u16 {
        self.mtu.size()
    }

    /// The MTU that the tunnel's device is to have.
    pub(in crate::bond) fn device_mtu(&self) -> u16 {
        self.mtu.size().max(self.mtu.floor)
    }

    /// Sees to it that probes of sizes leave on paths that have nothing else to send. On others
    /// they go with the next control packet.
    pub(super) fn ask_sizes(&mut self, now: Instant) {
        for slot in self.slots.iter_mut().flatten() {
            slot.sizes = slot.validated && slot.path.poll_mtu_probe(now).is_some();
        }
    }

    /// Looks again at what the paths carry, if one has changed or it is time.
    pub(super) fn fit(&mut self, now: Instant) {
        if !self.mtu.stale && self.mtu.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let before = self.mtu.size();
        let mut mtu = self.mtu;
        let usable = self.slots().filter(|slot| slot.validated && slot.path.state() != path::State::Down);
        mtu.feed(now, usable.map(|slot| inner(slot.path.counted_mtu(), slot.remote.headers())));
        self.mtu = mtu;
        if before != self.mtu.size() {
            self.news.push_back(super::News::Mtu);
        }
    }

    /// Whether there are usable paths, and none of them carries an inner packet of `bytes`.
    pub(super) fn fits_nowhere(&self, bytes: usize) -> bool {
        let mut usable = self.slots().filter(|slot| slot.is_usable()).peekable();
        usable.peek().is_some() && usable.all(|slot| !slot.fits(bytes))
    }
}

/// The largest inner packet within an IP packet of `outer` bytes.
fn inner(outer: u16, headers: u32) -> u16 {
    outer.saturating_sub(OVERHEAD as u16 + headers as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn it_falls_at_once_and_rises_after_five_seconds() {
        let mut mtu = TunnelMtu::new(1436);
        let mut feed = |ms, sizes: &[u16]| {
            mtu.feed(at(ms), sizes.iter().copied());
            mtu.size()
        };
        assert_eq!(feed(0, &[1436, 1436]), 1436);
        assert_eq!(feed(1, &[1436, 1216]), 1216);
        assert_eq!(feed(1000, &[1436]), 1216, "it may be back in a moment");
        assert_eq!(feed(2000, &[1436, 1216]), 1216);
        assert_eq!(feed(6500, &[1436]), 1216, "it was back: five seconds count from now");
        assert_eq!(feed(11_400, &[]), 1216, "without a path nothing is known");
        assert_eq!(feed(11_500, &[1436]), 1436);
    }

    #[test]
    fn without_a_path_no_timer_runs_that_nothing_would_come_of() {
        let mut mtu = TunnelMtu::new(1436);
        mtu.feed(at(0), [1216].into_iter());
        mtu.feed(at(1000), [1436].into_iter());
        assert_eq!(mtu.poll_timeout(), Some(at(6000)));
        mtu.feed(at(6000), [].into_iter());
        assert_eq!(mtu.poll_timeout(), None, "it would be due at once, again and again");
        mtu.feed(at(7000), [1436].into_iter());
        assert_eq!((mtu.poll_timeout(), mtu.size()), (None, 1436));
    }

    #[test]
    fn a_path_too_narrow_for_ipv6_does_not_count_unless_there_is_no_other() {
        let mut mtu = TunnelMtu::new(1436);
        mtu.set_limit(1400, true);
        mtu.feed(at(0), [1216, 1376].into_iter());
        assert_eq!(mtu.size(), 1376);
        mtu.feed(at(1), [1216, 1196].into_iter());
        assert_eq!(mtu.size(), 1216, "IPv4 inside goes on");
    }
}
