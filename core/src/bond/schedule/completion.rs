//! When a path would deliver a packet, and whether others would have delivered everything by then.

use super::view::PathView;
use crate::time::{Duration, Instant};

/// When `bytes` given to the path at its next chance would be at the other end. Only differences
/// mean anything.
pub(super) fn completion(now: Instant, view: &PathView, bytes: u64) -> Instant {
    view.free_at.max(now) + view.rate.time_for(bytes) + view.delay
}

/// The path that delivers `bytes` first. What was not measured of late comes behind what was.
pub(super) fn earliest<'a>(
    now: Instant,
    bytes: u64,
    views: impl Iterator<Item = &'a PathView>,
) -> Option<&'a PathView> {
    views.min_by_key(|view| (!view.fresh, completion(now, view, bytes)))
}

/// The ECF exception: whether the paths of `others` that cannot send yet would, all together,
/// deliver `backlog` bytes before `until`. Then it is better to wait, and the answer is for what:
/// the first of them to be free.
pub(super) fn worth_waiting<'a>(
    now: Instant,
    backlog: u64,
    until: Instant,
    others: impl Iterator<Item = &'a PathView>,
) -> Option<Instant> {
    let mut delivered: u64 = 0;
    let mut first: Option<Instant> = None;
    for view in others.filter(|view| view.fresh && view.free_at > now) {
        let time = until.saturating_since(view.free_at + view.delay);
        if time > Duration::ZERO {
            delivered = delivered.saturating_add(view.rate.bytes_in(time));
            first = Some(first.map_or(view.free_at, |first| first.min(view.free_at)));
        }
    }
    first.filter(|_| delivered >= backlog)
}
