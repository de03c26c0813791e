//! What must be true of a log, whatever the plan.

use super::system::Log;
use super::transition::{Event, Plan};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// When each packet first came.
fn arrivals(plan: &Plan) -> BTreeMap<usize, u64> {
    let mut first = BTreeMap::new();
    for (at, event) in plan.events() {
        if let Event::Arrive { index, .. } = event {
            first.entry(index).or_insert(at);
        }
    }
    first
}

/// Invariants 1 and 2: whatever came is handed on, once, within the hold.
pub(super) fn delivered_once_and_soon(plan: &Plan, log: &Log) {
    let arrivals = arrivals(plan);
    let mut delivered = BTreeSet::new();
    for (at, index) in log {
        assert!(delivered.insert(*index), "{index} was delivered twice");
        let waited = at - arrivals[index];
        assert!(waited <= 250_000, "{index} waited {waited} us");
    }
    assert_eq!(delivered, arrivals.into_keys().collect(), "what came was handed on");
}

/// Invariant 3: a packet whose predecessors had all been handed on did not wait.
pub(super) fn no_hole_no_wait(plan: &Plan, log: &Log) {
    let delivered: BTreeMap<usize, u64> = log.iter().map(|(at, index)| (*index, *at)).collect();
    for (index, came) in arrivals(plan) {
        let free =
            plan.predecessor(index).is_none_or(|before| delivered.get(&before).is_some_and(|at| *at <= came));
        assert!(!free || delivered[&index] == came, "{index} waited for nothing");
    }
}

pub(super) fn flows_in_order(plan: &Plan, log: &Log) {
    let mut last: BTreeMap<u8, usize> = BTreeMap::new();
    for (_, index) in log {
        let flow = plan.packets[*index].flow;
        if let Some(last) = last.insert(flow, *index).filter(|_| flow != 0) {
            assert!(last < *index, "flow {flow}: {index} behind {last}");
        }
    }
}

pub(super) fn as_it_was_sent(plan: &Plan, log: &Log) {
    let order: Vec<usize> = log.iter().map(|(_, index)| *index).collect();
    assert_eq!(order, (0..plan.packets.len()).collect::<Vec<_>>());
    let arrivals = arrivals(plan);
    assert!(log.iter().all(|(at, index)| arrivals[index] == *at), "nothing waits");
}

/// The packets of all flows but one are handed on at the same times in both logs.
pub(super) fn other_flows_alike(plan: &Plan, one: &Log, other: &Log, but: Option<u8>) {
    let rest = |log: &Log| -> BTreeMap<usize, u64> {
        let rest = log.iter().filter(|(_, index)| Some(plan.packets[*index].flow) != but);
        rest.map(|(at, index)| (*index, *at)).collect()
    };
    assert_eq!(rest(one), rest(other));
}
