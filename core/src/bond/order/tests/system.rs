//! The order under test, driven through a plan: every timer at its time, every event at its.

use super::reference::Reference;
use super::transition::{Event, Plan, microseconds};
use crate::bond::order::{Config, Reorder};
use crate::time::Instant;
use alloc::vec::Vec;

/// A packet handed on, and when, in microseconds.
pub(super) type Log = Vec<(u64, usize)>;

/// Runs a plan to its end. With a reference, both must hand on the same at every instant.
pub(super) fn run(plan: &Plan, mut reference: Option<&mut Reference>) -> Log {
    let mut order = Reorder::new(Config { repair: plan.repair(), ..Config::default() });
    for path in 0..3 {
        order.set_path(Instant::ZERO, path, Some(plan.patience()));
    }
    let mut log = Log::new();
    let mut step = |order: &mut Reorder<usize>, at, event| {
        match event {
            None => order.handle_timeout(microseconds(at)),
            Some(Event::Path { path, live }) => {
                order.set_path(microseconds(at), path, live.then(|| plan.patience()));
            }
            Some(Event::Arrive { path, index }) => {
                let (sequence, distance) = (plan.sequence(index), plan.distance(index));
                // A second copy is refused, which the log shows.
                let _ = order.push(microseconds(at), path, sequence, distance, 1000, index);
            }
        }
        let out: Vec<usize> = core::iter::from_fn(|| order.poll()).collect();
        log.extend(out.iter().map(|index| (at, *index)));
        if let Some(reference) = reference.as_deref_mut() {
            let expected = reference.handle(at, event);
            assert_eq!(by_flow(plan, &out), by_flow(plan, &expected), "at {at} us after {event:?}");
            let (early, exact) = (order.poll_timeout(), reference.deadline());
            assert!(exact.is_none_or(|exact| early.is_some_and(|early| early <= exact)), "a timer is late");
        }
    };
    for (at, event) in plan.events() {
        while let Some(timer) = order.poll_timeout().filter(|timer| *timer <= microseconds(at)) {
            step(&mut order, timer.as_nanos() / 1000, None);
        }
        step(&mut order, at, Some(event));
    }
    while let Some(timer) = order.poll_timeout() {
        step(&mut order, timer.as_nanos() / 1000, None);
    }
    assert_eq!(order.held(), (0, 0), "all is handed on in the end");
    log
}

/// Packets by flow, in the order in which they came: across flows none is promised. Those of no
/// order are sorted.
fn by_flow(plan: &Plan, indices: &[usize]) -> Vec<(u8, usize)> {
    let mut all: Vec<_> = indices.iter().map(|index| (plan.packets[*index].flow, *index)).collect();
    all.sort_by_key(|(flow, index)| (*flow, if *flow == 0 { *index } else { 0 }));
    all
}
