//! One path at a time: the one of the lowest latency, or the first of an order while it is good
//! enough.

use super::view::PathView;
use crate::time::{Duration, Instant};

/// A path is left for a better one at most this often, unless it fails.
const SETTLE: Duration = Duration::from_millis(500);

/// Better means by this much, or by an eighth: less is the noise of a radio link.
const MARGIN: Duration = Duration::from_millis(2);

/// The load by which latencies are compared, in bytes: what stands in the queue of a bulk flow. By
/// 16 packets two links of 25 and 40 Mbit/s hardly differ by more than the margin.
const LOAD: u64 = 64 * 1024;

/// How long a preferred path must be good before it is taken again. Doubled each time that it
/// disappoints, because an idle path measures beautifully.
const RETURN: Duration = Duration::from_millis(2500);
const RETURN_MOST: Duration = Duration::from_secs(320);

/// The active path of `lowest-latency` and `active-backup`.
#[derive(Debug)]
pub(super) struct Active {
    path: Option<u8>,
    changed: Instant,
    /// Since when the active path is too slow.
    slow: Option<Instant>,
    /// The preferred path that has been good, and since when.
    good: Option<(u8, Instant)>,
    back_after: Duration,
}

impl Active {
    pub(super) const fn new() -> Self {
        Active { path: None, changed: Instant::ZERO, slow: None, good: None, back_after: RETURN }
    }

    fn current<'a>(&self, views: &'a [PathView]) -> Option<&'a PathView> {
        views.iter().find(|view| Some(view.path) == self.path && view.may_carry())
    }

    fn change<'a>(&mut self, now: Instant, to: &'a PathView) -> &'a PathView {
        (self.path, self.changed, self.slow, self.good) = (Some(to.path), now, None, None);
        to
    }

    /// The path that delivers a load first, without the queue that we make ourselves: it stands on
    /// the path in use and goes with the load, so two paths of one delay would take turns, and each
    /// turn costs a flow a cut.
    pub(super) fn lowest<'a>(&mut self, now: Instant, views: &'a [PathView]) -> Option<&'a PathView> {
        let latency = |view: &PathView| view.far + view.rate.time_for(LOAD);
        let usable = views.iter().filter(|view| view.may_carry());
        let best = usable.min_by_key(|view| (!view.fresh, latency(view)))?;
        let Some(current) = self.current(views) else { return Some(self.change(now, best)) };
        let has = latency(current);
        // Differences only: the clocks' offset is in both, so the eighth is taken of what lies
        // between all paths.
        let clearly = has.saturating_sub(latency(best)) > MARGIN.max(current.rate.time_for(LOAD) / 8);
        if best.fresh && clearly && now - self.changed >= SETTLE {
            return Some(self.change(now, best));
        }
        Some(current)
    }

    /// The path of the highest weight whose delay is at most `above` over the smallest of all.
    pub(super) fn preferred<'a>(
        &mut self,
        now: Instant,
        above: Duration,
        views: &'a [PathView],
    ) -> Option<&'a PathView> {
        let usable = || views.iter().filter(|view| view.may_carry());
        let least = usable().map(|view| view.delay).min()?;
        let excess = |view: &PathView| view.delay - least;
        // The first of equal weights is preferred, so the order is the configuration's.
        let order = |view: &&PathView| core::cmp::Reverse(view.weight);
        let good = |view: &&PathView| excess(view) <= above * 3 / 4;
        let first = usable().filter(good).min_by_key(order)?;
        let Some(current) = self.current(views) else { return Some(self.change(now, first)) };
        if excess(current) > above {
            let since = *self.slow.get_or_insert(now);
            if now - since >= SETTLE {
                self.back_after = (self.back_after * 2).min(RETURN_MOST);
                return Some(self.change(now, first));
            }
            return Some(current);
        }
        self.slow = None;
        if now - self.changed > RETURN_MOST {
            self.back_after = RETURN;
        }
        if first.weight <= current.weight {
            self.good = None;
            return Some(current);
        }
        let since = self.good.filter(|(path, _)| *path == first.path).map_or(now, |(_, since)| since);
        self.good = Some((first.path, since));
        if now - since >= self.back_after { Some(self.change(now, first)) } else { Some(current) }
    }
}
