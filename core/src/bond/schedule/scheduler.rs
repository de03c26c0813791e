//! The decision: one match over the strategies.

use super::active::Active;
use super::admission::Admission;
use super::completion::{completion, earliest, worth_waiting};
use super::shares::{Shares, Verdict};
use super::sticky::Sticky;
use super::strategy::Strategy;
use super::view::{Decision, Head, PathSet, PathView};
use crate::bond::parts::Parts;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// A path's run goes on while another would deliver sooner by less than this, and for as many bytes
/// as the path takes in it: long runs are cheap to send, and must not cost delay.
const RUN: Duration = Duration::from_millis(1);

/// And at most for as many bytes as leave in one call, 44 packets of full size: then each call of a
/// fast path is one run, and nothing in it overtakes another path's.
const LONGEST: u64 = 44 * 1500;

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
    parts: Parts,
    admission: Admission,
    shares: Shares,
    active: Active,
    sticky: Sticky,
    /// The load is on all paths, so that their rates are found.
    seeking: bool,
    /// The path that carried the last packet, and the bytes of its run.
    run: Option<(u8, u64)>,
    /// Bytes that may be spent on copies.
    copies: u64,
    /// Room for the paths that have a weight, used again.
    room: Vec<PathView>,
}

impl Scheduler {
    /// The default of `max_skew`.
    pub(crate) const MAX_SKEW: Duration = Duration::from_millis(60);

    pub(crate) fn new(strategy: Strategy) -> Self {
        Scheduler {
            strategy,
            max_skew: Scheduler::MAX_SKEW,
            parts: Parts::default(),
            admission: Admission::default(),
            shares: Shares::default(),
            active: Active::new(),
            sticky: Sticky::default(),
            seeking: false,
            run: None,
            copies: COPY_BURST,
            room: Vec::new(),
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

    /// Takes parts of the decision out.
    pub(crate) fn set_parts(&mut self, parts: Parts) {
        self.parts = parts;
    }

    /// What is to become of the head. It may be asked as often as one likes; what is really sent is
    /// told to [`Scheduler::handle_sent`].
    pub(crate) fn decide(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Decision {
        let one_for_a_load = matches!(self.strategy, Strategy::LowestLatency | Strategy::Flow);
        if one_for_a_load && self.seeks(now, head, views) {
            return self.aggregate(now, head, views);
        }
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

    /// Whether the head goes wherever it is early, so that the rates of all paths that are near are
    /// found: to choose one path for a load the scheduler must know what each carries, and a path
    /// that carries nothing is never measured. It is over in a second, and order is kept meanwhile.
    /// Flows that had a path before that are placed anew.
    fn seeks(&mut self, now: Instant, head: &Head, views: &[PathView]) -> bool {
        if head.sparse || head.backlog == head.bytes {
            return false;
        }
        let members = self.members(now, views);
        let unknown = |view: &PathView| members.contains(view.path) && !view.found;
        let seeking = members.len() > 1 && views.iter().any(unknown);
        if self.seeking && !seeking {
            self.sticky = Sticky::default();
        }
        self.seeking = seeking;
        seeking
    }

    fn aggregate(&mut self, now: Instant, head: &Head, views: &[PathView]) -> Decision {
        let members = self.members(now, views);
        if head.sparse {
            // A path that is too far is measured by what it carries now and then, so it may be the
            // only fresh one.
            let near = views.iter().filter(|view| members.contains(view.path));
            return send_or_wait(now, fastest(now, head, near));
        }
        if !self.parts.completion {
            return self.round_robin(now, views, members);
        }
        let member = |view: &&PathView| members.contains(view.path);
        // One path alone has nothing to be weighed against.
        if members.len() == 1
            && let Some(view) = views.iter().find(member)
        {
            return if view.is_ready(now) {
                Decision::Send(view.path)
            } else {
                Decision::Wait(Some(view.free_at))
            };
        }
        let ready = || views.iter().filter(member).filter(|view| view.is_ready(now));
        let Some(best) = earliest(now, head.bytes as u64, ready()) else {
            return Decision::Wait(views.iter().filter(member).map(|view| view.free_at).min());
        };
        let best = self.keep_running(now, head, best, ready());
        // What a path measured long ago is worth nothing against what others measure now.
        let slowest = views.iter().filter(member).filter(|view| view.fresh).map(|view| view.delay).max();
        let delay = if best.fresh { best.delay } else { best.delay.max(slowest.unwrap_or_default()) };
        let until = completion(now, &PathView { delay, ..*best }, head.bytes as u64);
        let others = views.iter().filter(member).filter(|_| self.parts.ecf);
        match worth_waiting(now, head.backlog as u64, until, others) {
            Some(free) => Decision::Wait(Some(free)),
            None => Decision::Send(best.path),
        }
    }

    /// What stands in for the earliest completion where that is taken out: bytes by measured rate.
    fn round_robin(&mut self, now: Instant, views: &[PathView], members: PathSet) -> Decision {
        let weight = |view: &PathView| u32::try_from(view.rate.bytes_per_second() / 1000).unwrap_or(u32::MAX);
        let members = views.iter().filter(|view| members.contains(view.path));
        let views: Vec<PathView> =
            members.map(|view| PathView { weight: weight(view).max(1), ..*view }).collect();
        self.shares.update(&views);
        self.by_weight(now, &views)
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
        let at_most = LONGEST.min(last.rate.bytes_in(RUN));
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
        let mut weighty = core::mem::take(&mut self.room);
        weighty.clear();
        weighty.extend(views.iter().filter(|view| view.weight > 0));
        let members = self.members(now, &weighty);
        // Those that are near first.
        weighty.sort_by_key(|view| !members.contains(view.path));
        let near = weighty.partition_point(|view| members.contains(view.path));
        let decision = self.among_weighty(now, head, &weighty, near);
        self.room = weighty;
        decision
    }

    /// The decision of `weighted`, where the first `near` paths share the load.
    fn among_weighty(&mut self, now: Instant, head: &Head, weighty: &[PathView], near: usize) -> Decision {
        let views = &weighty[..near];
        self.shares.update(views);
        match self.shares.judge(views) {
            Verdict::Kept => {}
            Verdict::Left => return self.aggregate(now, head, weighty),
            Verdict::Sought => {
                return match self.shares.next_ready(now, views) {
                    Some(view) => Decision::Send(view.path),
                    None => self.aggregate(now, head, weighty),
                };
            }
        }
        // What is sparse goes by the fastest path as long as that stays within its share.
        if head.sparse
            && let Some(view) = fastest(now, head, views.iter()).filter(|view| view.is_ready(now))
            && self.shares.entitled(views).any(|entitled| entitled.path == view.path)
        {
            return Decision::Send(view.path);
        }
        self.by_weight(now, views)
    }

    fn by_weight(&self, now: Instant, views: &[PathView]) -> Decision {
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

/// The path that delivers the head first, of all, whether it may send now or not. What was not
/// measured of late comes behind what was. Where little is sent no rate is ever found, and a path
/// is no better for having one.
fn fastest<'a>(
    now: Instant,
    head: &Head,
    views: impl Iterator<Item = &'a PathView> + Clone,
) -> Option<&'a PathView> {
    let usable = views.filter(|view| view.may_carry());
    let fresh = usable.clone().any(|view| view.fresh);
    usable.min_by_key(|view| (fresh && !view.loaded, completion(now, view, head.bytes as u64)))
}

/// The head by the path that delivers all that waits first, and by up to `copies - 1` others that
/// may send now: the slow ones carry what they can, and hold nothing up. By the head alone a slow
/// path would be first, and waited for, whenever a queue stood on the fast one for a moment.
///
/// What was not measured of late counts as what it was measured as: a copy goes by another path, so
/// little is risked, and a slow path, which is always full and so always fresh, sets no pace.
fn redundant(now: Instant, head: &Head, views: &[PathView], copies: usize) -> Decision {
    let usable = views.iter().filter(|view| view.may_carry());
    let first = send_or_wait(now, usable.min_by_key(|view| completion(now, view, head.backlog as u64)));
    let Decision::Send(path) = first else { return first };
    let mut others = PathSet::EMPTY;
    while others.len() + 1 < copies {
        let left = |view: &&PathView| view.is_ready(now) && view.path != path && !others.contains(view.path);
        let Some(next) = earliest(now, head.bytes as u64, views.iter().filter(left)) else { break };
        others.insert(next.path);
    }
    if others.is_empty() { first } else { Decision::Copies { path, others } }
}
