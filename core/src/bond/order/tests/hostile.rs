//! Peers that make sequences up, memory that is short, and the rule of release in examples.

use crate::bond::order::{Config, Refused, Reorder};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use proptest::prelude::*;

fn at(milliseconds: u64) -> Instant {
    Instant::from_nanos(milliseconds * 1_000_000)
}

fn order(repair: Option<u64>, patience: u64) -> Reorder<u32> {
    let mut order = Reorder::new(Config { repair: repair.map(Duration::from_millis), ..Config::default() });
    for path in 0..2 {
        order.set_path(at(0), path, Some(Duration::from_millis(patience)));
    }
    order
}

fn take(order: &mut Reorder<u32>) -> Vec<u32> {
    core::iter::from_fn(|| order.poll()).collect()
}

/// A packet of one flow, a hundred bytes.
fn push(order: &mut Reorder<u32>, now: u64, path: u8, sequence: u32) -> Vec<u32> {
    order.push(at(now), path, sequence, u16::from(sequence > 0), 100, sequence).expect("it is new");
    take(order)
}

#[test]
fn a_run_that_waited_is_handed_on_whole() {
    let mut order = order(None, 100);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    for sequence in 2..9 {
        assert_eq!(push(&mut order, 1, 0, sequence), []);
    }
    assert_eq!(push(&mut order, 2, 1, 1), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn when_all_paths_have_passed_and_no_repair_comes_it_goes_at_once() {
    let mut order = order(None, 100);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    assert_eq!(push(&mut order, 1, 0, 2), [], "the other path may have it");
    assert_eq!(push(&mut order, 2, 1, 3), [2, 3], "it has not");
    assert_eq!(push(&mut order, 3, 1, 1), [1], "late is better than never");
    assert_eq!(order.push(at(4), 0, 1, 1, 100, 1), Err(Refused::Duplicate));
    assert_eq!(order.counters().passed, 1);
}

#[test]
fn progress_without_data_counts_too() {
    let mut order = order(None, 100);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    assert_eq!(push(&mut order, 1, 0, 2), []);
    order.handle_progress(at(2), 1, 2);
    assert_eq!(take(&mut order), [2]);
}

#[test]
fn a_repair_is_waited_for_until_its_own_deadline() {
    let mut order = order(Some(40), 100);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    assert_eq!(push(&mut order, 1, 0, 2), []);
    assert_eq!(push(&mut order, 10, 1, 3), [], "passed at 10 ms");
    order.handle_timeout(at(49));
    assert_eq!(take(&mut order), []);
    order.handle_timeout(at(50));
    assert_eq!(take(&mut order), [2, 3]);
}

#[test]
fn a_silent_path_is_waited_out_and_no_longer() {
    let mut order = order(None, 60);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    assert_eq!(push(&mut order, 10, 0, 2), []);
    assert_eq!(order.poll_timeout(), Some(at(70)));
    // It is heard, though not beyond the missing one: it is slow, not silent.
    order.handle_progress(at(50), 1, 0);
    order.handle_timeout(at(70));
    assert_eq!(take(&mut order), []);
    assert_eq!(order.poll_timeout(), Some(at(110)));
    order.handle_timeout(at(110));
    assert_eq!(take(&mut order), [2]);
    assert_eq!(order.counters().expired, 1);
}

#[test]
fn a_path_that_goes_down_is_no_longer_waited_for() {
    let mut order = order(None, 100);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    assert_eq!(push(&mut order, 1, 0, 2), []);
    order.set_path(at(2), 1, None);
    assert_eq!(take(&mut order), [2]);
}

#[test]
fn short_of_memory_the_oldest_goes() {
    let mut order = Reorder::new(Config { memory: 1000, ..Config::default() });
    order.set_path(at(0), 0, Some(Duration::from_millis(100)));
    order.set_path(at(0), 1, Some(Duration::from_millis(100)));
    for sequence in [1, 3, 5, 7] {
        assert_eq!(push(&mut order, 1, 0, sequence), []);
    }
    assert_eq!(push(&mut order, 1, 0, 9), [1]);
    assert_eq!(order.counters().forced, 1);
    let (_, bytes) = order.held();
    assert!(bytes <= 1000);
}

#[test]
fn a_tun_that_takes_nothing_fills_no_memory() {
    let mut order: Reorder<u32> = Reorder::new(Config { memory: 1000, ..Config::default() });
    for sequence in 0..10 {
        order.push(at(0), 0, sequence, 0, 100, sequence).expect("there is room");
    }
    assert_eq!(order.push(at(0), 0, 10, 0, 100, 10), Err(Refused::Full));
    assert_eq!(order.counters().full, 1);
    assert_eq!(take(&mut order).len(), 10);
    assert_eq!(order.push(at(0), 0, 11, 1, 100, 11), Ok(()), "what was refused is not waited for");
    assert_eq!(take(&mut order), [11]);
}

proptest! {
    /// Invariant 2.
    #[test]
    fn made_up_sequences_stay_within_the_bounds(
        steps in prop::collection::vec(
            (
                prop_oneof![0u32..300, any::<u32>()], prop_oneof![0u16..20, any::<u16>()],
                0usize..3000, 0u64..40, 0u8..4,
            ),
            1..300,
        ),
        memory in 0usize..20_000,
    ) {
        let mut order = Reorder::new(Config { memory, ..Config::default() });
        order.set_path(at(0), 0, Some(Duration::from_millis(100)));
        order.set_path(at(0), 1, Some(Duration::from_millis(30)));
        let (mut now, mut taken, mut out) = (0, 0, 0);
        for (sequence, distance, bytes, wait, path) in steps {
            taken += usize::from(order.push(at(now), path, sequence, distance, bytes, now).is_ok());
            prop_assert!(order.held().1 <= memory);
            while order.poll_timeout().is_some_and(|timer| timer <= at(now)) {
                order.handle_timeout(at(now));
            }
            while let Some(came) = order.poll() {
                out += 1;
                prop_assert!(now - came <= 250 + wait.max(40), "held {} ms", now - came);
            }
            now += wait;
        }
        order.handle_timeout(at(now + 250));
        out += core::iter::from_fn(|| order.poll()).count();
        prop_assert_eq!(taken, out, "what was taken is handed on");
        prop_assert_eq!(order.held(), (0, 0));
        prop_assert_eq!(order.poll_timeout(), None);
    }
}

#[test]
fn a_peer_whose_delay_swings_costs_a_few_looks_for_each_packet() {
    let mut order = order(None, 100);
    assert_eq!(push(&mut order, 0, 0, 0), [0]);
    let mut next = 2;
    let mut held = |order: &mut Reorder<u32>| {
        order.push(at(1), 0, next, (next - 1) as u16, 10, next).expect("it is new");
        next += 1;
    };
    (0..20_000).for_each(|_| held(&mut order));
    let before = order.looked;
    for turn in 0..2000 {
        order.set_path(at(1), 0, Some(Duration::from_millis(if turn % 2 == 0 { 50 } else { 200 })));
        held(&mut order);
    }
    assert!(order.looked - before < 500_000, "{} looks", order.looked - before);
    assert_eq!((order.held().0, take(&mut order)), (22_000, [].to_vec()), "the other path may have it");
}
