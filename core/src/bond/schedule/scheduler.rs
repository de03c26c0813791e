//! The decision: one match over the strategies.

use super::QUANTUM;
use super::active::Active;
use super::admission::Admission;
use super::completion::{completion, earliest, worth_waiting};
use super::shares::Shares;
use super::sticky::Sticky;
use super::strategy::Strategy;
use super::view::{Decision, Head, PathSet, PathView};
use crate::time::{Duration, Instant};

/// A path's run goes on while another would deliver sooner by less than this, and for as many bytes
/// as the path takes in it: long runs are cheap to send, and must not cost delay.
const RUN: Duration = Duration::from_millis(1);

/// Packets up to this size are sent twice by `adaptive`, if they are sparse: questions, keystrokes,
/// acknowledgements.
const SMALL: usize = 576;

/// Copies cost at most a tenth of what is sent, and as much at once.
const COPY_SHARE: u64 = 10;
const COPY_BURST: u64 = 16 * 1024;

/// Decides for one direction of one association.
#[derive(Debug)]
pub(crate) struct Scheduler {
    strategy: Strategy,
    max_skew: Duration,
    admission: Admission,
    shares: Shares,
    active: Active,
    sticky: Sticky,
    /// The path that carried the last packet, and the bytes of its run.
    run: Option<(u8, u64)>,
    /// Bytes that may be spent on copies.
    copies: u64,
}

impl Scheduler {
    /// The default of `max_skew`.
    pub(crate) const MAX_SKEW: Duration = Duration::from_millis(60);

    pub(crate) fn new(strategy: Strategy) -> Self {
        Scheduler {
            strategy,
            max_skew: Scheduler::MAX_SKEW,
            admission: Admission::default(),
            shares: Shares::default(),
            active: Active::new(),
            sticky: Sticky::default(),
            run: None,
            copies: COPY_BURST,
        }
    }

    /// Another strategy from the next packet on. What the old one has learnt of the paths stays.
    pub(crate) fn set_strategy(&mut self, strategy: Strategy) {
        self.strategy = strategy;
    }

    #[cfg(test)]
    pub(crate) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// By how much the delays of paths that share the load may differ.
    pub(crate) fn set_max_skew(&mut self, max_skew: Duration) {
        self.max_skew = max_skew;
        self.admission.refresh();
    }

    /// What is to become of the head. It may be asked as often as one likes; what is really sent is
    /// told to [`Scheduler::handle_sent`].
    pub(crate) fn decide(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Decision {
        match self.strategy {
            Strategy::Aggregate => self.aggregate(now, head, views),
            Strategy::Adaptive => self.adaptive(now, head, views),
            Strategy::Weighted => self.weighted(now, head, views),
            Strategy::LowestLatency => send_or_wait(now, self.active.lowest(now, views)),
            Strategy::ActiveBackup { switch_above } => {
                send_or_wait(now, self.active.preferred(now, switch_above, views))
            }
            Strategy::Redundant { copies } => redundant(now, head, views, usize::from(copies)),
            Strategy::Flow => send_or_wait(now, self.sticky.path(head.flow, views)),
        }
    }

    /// Takes in that a packet of `bytes` was sent on the path of `view`. `copy`: as one more of its
    /// kind.
    pub(crate) fn handle_sent(&mut self, view: &PathView, bytes: usize, copy: bool) {
        let bytes = bytes as u64;
        self.shares.handle_sent(view.path, view.weight, bytes);
        if copy {
            self.copies = self.copies.saturating_sub(bytes);
            return;
        }
        self.copies = (self.copies + bytes / COPY_SHARE).min(COPY_BURST);
        let before = self.run.filter(|(path, _)| *path == view.path).map_or(0, |(_, bytes)| bytes);
        self.run = Some((view.path, before + bytes));
    }

    /// The paths that share the load, for status and for the queue's target: the skew in use is
    /// what lies between them.
    pub(crate) fn members(&mut self, now: Instant, views: &[PathView]) -> PathSet {
        self.admission.admit(now, self.max_skew, views)
    }

    fn aggregate(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Decision {
        let members = self.members(now, views);
        if head.sparse {
            return send_or_wait(now, fastest(now, head, views));
        }
        let member = |view: &&PathView| members.contains(view.path);
        let ready = || views.iter().filter(member).filter(|view| view.is_ready(now));
        let Some(best) = earliest(now, head.bytes as u64, ready()) else {
            return Decision::Wait(views.iter().filter(member).map(|view| view.free_at).min());
        };
        let best = self.keep_running(now, head, best, ready());
        // What a path measured long ago is worth nothing against what others measure now.
        let slowest = views.iter().filter(member).filter(|view| view.fresh).map(|view| view.delay).max();
        let delay = if best.fresh { best.delay } else { best.delay.max(slowest.unwrap_or_default()) };
        let until = completion(now, &PathView { delay, ..*best }, head.bytes as u64);
        match worth_waiting(now, head.backlog as u64, until, views.iter().filter(member)) {
            Some(free) => Decision::Wait(Some(free)),
            None => Decision::Send(best.path),
        }
    }

    /// The path of the run that goes on, if that costs nothing to speak of; else `best`.
    fn keep_running<'a>(
        &self,
        now: Instant,
        head: &Head,
        best: &'a PathView,
        mut ready: impl Iterator<Item = &'a PathView>,
    ) -> &'a PathView {
        let Some((path, bytes)) = self.run else { return best };
        let Some(last) = ready.find(|view| view.path == path) else { return best };
        let at_most = QUANTUM.min(last.rate.bytes_in(RUN));
        let goes_on = bytes + head.bytes as u64 <= at_most && last.fresh == best.fresh;
        let lag = completion(now, last, head.bytes as u64) - completion(now, best, head.bytes as u64);
        if goes_on && lag <= RUN { last } else { best }
    }

    fn adaptive(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Decision {
        let decision = self.aggregate(now, head, views);
        let Decision::Send(path) = decision else { return decision };
        if !head.sparse || head.bytes > SMALL || self.copies < head.bytes as u64 {
            return decision;
        }
        let others = views.iter().filter(|view| view.is_ready(now) && view.path != path);
        match earliest(now, head.bytes as u64, others) {
            Some(other) => Decision::Copies { path, others: [other.path].into_iter().collect() },
            None => decision,
        }
    }

    fn weighted(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Decision {
        self.shares.update(views);
        // What is sparse goes by the fastest path as long as that stays within its share.
        if head.sparse
            && let Some(view) = fastest(now, head, views).filter(|view| view.is_ready(now))
            && self.shares.entitled(views).any(|entitled| entitled.path == view.path)
        {
            return Decision::Send(view.path);
        }
        match self.shares.next(now, views) {
            Some(view) => Decision::Send(view.path),
            None => Decision::Wait(self.shares.entitled(views).map(|view| view.free_at).min()),
        }
    }
}

fn send_or_wait(now: Instant, view: Option<&PathView>) -> Decision {
    match view {
        Some(view) if view.is_ready(now) => Decision::Send(view.path),
        Some(view) => Decision::Wait(Some(view.free_at)),
        None => Decision::Wait(None),
    }
}

/// The path that delivers the head first, of all, whether it may send now or not.
fn fastest<'a>(now: Instant, head: &Head, views: &'a [PathView]) -> Option<&'a PathView> {
    earliest(now, head.bytes as u64, views.iter().filter(|view| view.may_carry()))
}

/// The head by the path that delivers it first, and by up to `copies - 1` others that may send now:
/// the slow ones carry what they can, and hold nothing up.
fn redundant(now: Instant, head: &Head, views: &[PathView], copies: usize) -> Decision {
    let first = send_or_wait(now, fastest(now, head, views));
    let Decision::Send(path) = first else { return first };
    let mut others = PathSet::EMPTY;
    while others.len() + 1 < copies {
        let left = |view: &&PathView| view.is_ready(now) && view.path != path && !others.contains(view.path);
        let Some(next) = earliest(now, head.bytes as u64, views.iter().filter(left)) else { break };
        others.insert(next.path);
    }
    if others.is_empty() { first } else { Decision::Copies { path, others } }
}
