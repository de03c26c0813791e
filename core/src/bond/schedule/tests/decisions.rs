//! What is decided, by numbers.

use super::*;
use alloc::vec::Vec;

fn scheduler(strategy: Strategy) -> Scheduler {
    Scheduler::new(strategy)
}

/// The view of a path that may send again this many milliseconds from the start.
fn until(free: u64, view: PathView) -> PathView {
    PathView { free_at: milliseconds(free), ..view }
}

#[test]
fn a_slow_path_is_used_when_the_fast_one_would_need_longer_for_all() {
    // S2: the slow path delivers at 40.6 ms. The fast one is free at 1 ms and delivers 6250 bytes a
    // millisecond from 11 ms on: by then 185,000 bytes.
    let views = [until(1, path(0, 50, 10)), path(1, 20, 40)];
    for (backlog, expected) in [
        (1_500, Decision::Wait(Some(milliseconds(1)))),
        (184_000, Decision::Wait(Some(milliseconds(1)))),
        (186_000, Decision::Send(1)),
        (1_000_000, Decision::Send(1)),
    ] {
        let decision = scheduler(Strategy::Aggregate).decide(milliseconds(0), &bulk(backlog), &views);
        assert_eq!(decision, expected, "{backlog} bytes wait");
    }
}

#[test]
fn the_head_goes_where_it_arrives_first() {
    let mut scheduler = scheduler(Strategy::Aggregate);
    let views = [path(0, 50, 30), path(1, 20, 10)];
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1_000_000), &views), Decision::Send(1));
    // A queue on a path shows in its measured delay.
    let views = [path(0, 50, 30), path(1, 20, 45)];
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1_000_000), &views), Decision::Send(0));
}

#[test]
fn nobody_free_means_waiting_for_the_first() {
    let views = [until(4, path(0, 50, 10)), until(3, path(1, 50, 10)), until(1, path(2, 50, 500))];
    for strategy in [Strategy::Aggregate, Strategy::Adaptive] {
        let decision = scheduler(strategy).decide(milliseconds(0), &bulk(1_000_000), &views);
        assert_eq!(decision, Decision::Wait(Some(milliseconds(3))));
    }
    assert_eq!(
        scheduler(Strategy::Aggregate).decide(milliseconds(0), &bulk(1500), &[]),
        Decision::Wait(None)
    );
}

#[test]
fn a_path_beyond_the_skew_carries_nothing_of_the_load() {
    // S3: the far path is 145 ms behind.
    let views = [until(1, path(0, 100, 5)), path(1, 10, 150)];
    let mut scheduler = scheduler(Strategy::Aggregate);
    let wait = Decision::Wait(Some(milliseconds(1)));
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(10_000_000), &views), wait);
    // With more skew allowed it does, after it has settled.
    scheduler.set_max_skew(Duration::from_millis(200));
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(10_000_000), &views), wait);
    let later = [until(501, path(0, 100, 5)), path(1, 10, 150)];
    assert_eq!(scheduler.decide(milliseconds(500), &bulk(10_000_000), &later), Decision::Send(1));
}

#[test]
fn a_queue_of_our_own_puts_no_path_out() {
    // S2: while the far link is sought it queues for 50 ms on top of its 30.
    let mut scheduler = scheduler(Strategy::Aggregate);
    let queued = PathView { delay: Duration::from_millis(90), ..path(1, 20, 40) };
    let members = scheduler.members(milliseconds(0), &[path(0, 50, 10), queued]);
    assert_eq!(members.iter().collect::<Vec<_>>(), [0, 1]);
    let farther = PathView { far: Duration::from_millis(90), ..path(1, 20, 40) };
    let members = scheduler.members(milliseconds(1), &[path(0, 50, 10), farther]);
    assert_eq!(members.iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_near_trickle_never_shuts_out_a_far_flood() {
    let views = [path(0, 1, 5), path(1, 100, 80)];
    let members = scheduler(Strategy::Aggregate).members(milliseconds(0), &views);
    assert_eq!(members.iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_swinging_delay_makes_one_change_a_swing() {
    // S10: 100 to 1200 ms and back every 15 s, measured every 10 ms with 4 ms of jitter.
    let mut scheduler = scheduler(Strategy::Aggregate);
    let (mut changes, mut last) = (0, true);
    for step in 0..6000u64 {
        let phase = (step * 10) % 15_000;
        let swing = if phase < 7500 { phase } else { 15_000 - phase };
        let delay = 20 + swing * 1200 / 7500 + step % 5;
        let views = [path(0, 50, 20), path(1, 20, delay)];
        let member = scheduler.members(milliseconds(step * 10), &views).contains(1);
        changes += u32::from(member != last);
        last = member;
    }
    assert_eq!(changes, 7, "out with each of four swings, and back before the next");
}

#[test]
fn what_is_sparse_goes_by_the_lowest_delay() {
    let views = [path(0, 100, 30), path(1, 10, 20)];
    for strategy in [Strategy::Aggregate, Strategy::Weighted] {
        assert_eq!(scheduler(strategy).decide(milliseconds(0), &sparse(100), &views), Decision::Send(1));
    }
    // It waits for the better path, if that is better still.
    let views = [path(0, 100, 30), until(5, path(1, 10, 20))];
    let decision = scheduler(Strategy::Aggregate).decide(milliseconds(0), &sparse(100), &views);
    assert_eq!(decision, Decision::Wait(Some(milliseconds(5))));
    let views = [path(0, 100, 30), until(15, path(1, 10, 20))];
    let decision = scheduler(Strategy::Aggregate).decide(milliseconds(0), &sparse(100), &views);
    assert_eq!(decision, Decision::Send(0));
}

#[test]
fn stale_data_never_outranks_fresh() {
    // An idle link measures beautifully.
    let idle = PathView { fresh: false, loaded: false, ..path(0, 1000, 1) };
    let views = [idle, path(1, 20, 40)];
    for name in Strategy::NAMES
        .into_iter()
        .filter(|name| !matches!(*name, "active-backup" | "weighted" | "redundant"))
    {
        let strategy = Strategy::named(name).expect("it has that name");
        for head in [bulk(1_000_000), sparse(1000)] {
            let decision = scheduler(strategy).decide(milliseconds(1), &head, &views);
            assert_eq!(decision, Decision::Send(1), "{name}");
        }
    }
    // Nor does it say what is too far.
    let views = [idle, path(1, 20, 140)];
    let members = scheduler(Strategy::Aggregate).members(milliseconds(1), &views);
    assert_eq!(members.iter().collect::<Vec<_>>(), [0, 1]);
    // It is tried when the others are busy, so that it can be measured; not with the last packet.
    let views = [idle, until(2, path(1, 20, 40))];
    let mut scheduler = scheduler(Strategy::Aggregate);
    assert_eq!(scheduler.decide(milliseconds(1), &bulk(1_000_000), &views), Decision::Send(0));
    let views = [idle, until(2, path(1, 20, 40)), until(2, path(2, 20, 60))];
    assert_eq!(scheduler.decide(milliseconds(1), &bulk(1500), &views), Decision::Wait(Some(milliseconds(2))));
}

#[test]
fn runs_stay_on_a_path_where_that_costs_nothing() {
    let mut scheduler = scheduler(Strategy::Aggregate);
    // At a gigabit a run is what leaves in one call: 44 packets. The other path is better by a
    // little.
    let views = [path(0, 1000, 10), PathView { delay: Duration::from_micros(9_990), ..path(1, 1000, 0) }];
    scheduler.handle_sent(&views[0], 1500, false);
    let mut run = Vec::new();
    for _ in 0..48 {
        let Decision::Send(path) = scheduler.decide(milliseconds(0), &bulk(10_000_000), &views) else {
            panic!()
        };
        scheduler.handle_sent(&views[usize::from(path)], 1500, false);
        run.push(path);
    }
    assert_eq!(run[..43], [0; 43]);
    assert_eq!(run[43..], [1; 5]);
}

#[test]
fn lowest_latency_changes_for_a_clear_gain_and_not_often() {
    let mut scheduler = scheduler(Strategy::LowestLatency);
    let mut at = |now, delays: [u64; 2]| {
        let views = [path(0, 100, delays[0]), path(1, 100, delays[1])];
        scheduler.decide(milliseconds(now), &bulk(1_000_000), &views)
    };
    assert_eq!(at(0, [20, 30]), Decision::Send(0));
    assert_eq!(at(1000, [31, 30]), Decision::Send(0), "not clearly better");
    assert_eq!(at(2000, [40, 30]), Decision::Send(1));
    assert_eq!(at(2100, [20, 30]), Decision::Send(1), "too soon");
    assert_eq!(at(2500, [20, 30]), Decision::Send(0));
}

#[test]
fn lowest_latency_is_that_under_load() {
    // S8: equal round trips, but sixteen packets take 19 ms more on the slow link.
    let views = [path(0, 10, 10), path(1, 100, 10)];
    let decision = scheduler(Strategy::LowestLatency).decide(milliseconds(0), &bulk(1_000_000), &views);
    assert_eq!(decision, Decision::Send(1));
}

#[test]
fn links_of_one_delay_do_not_take_turns() {
    // F2: what is queued is on the link that carries the load, whichever that is.
    let mut scheduler = scheduler(Strategy::LowestLatency);
    let mut active = 0;
    for step in 0..100u64 {
        let queued = |view: PathView| match view.path == active {
            true => PathView { delay: view.far + Duration::from_millis(8), ..view },
            false => view,
        };
        let views = [queued(path(0, 100, 10)), queued(path(1, 200, 10))];
        let decision = scheduler.decide(milliseconds(step * 100), &bulk(1_000_000), &views);
        let Decision::Send(path) = decision else { panic!("both may send") };
        assert!(step == 0 || path == 1, "step {step}: the slower one carries the load");
        active = path;
    }
}

#[test]
fn a_backup_takes_over_and_gives_back_more_slowly_each_time() {
    let mut scheduler = scheduler(Strategy::ActiveBackup { switch_above: Duration::from_millis(100) });
    // The main path is slow while it carries load, and measures well while it is idle.
    let (mut active, mut changes) = (0, Vec::new());
    for step in 0..12_000u64 {
        let main = PathView { weight: 2, ..path(0, 50, if active == 0 && step > 0 { 150 } else { 20 }) };
        let views = [main, path(1, 50, 30)];
        let Decision::Send(now) = scheduler.decide(milliseconds(step * 10), &bulk(1_000_000), &views) else {
            panic!("both may send")
        };
        if now != active {
            changes.push(step * 10);
        }
        active = now;
    }
    // Slow from 10 ms on: out after half a second. Idle from the next step on: back after 5 s, then
    // 10, 20, 40.
    let expected = [510, 5520, 6030, 16_040, 16_550, 36_560, 37_070, 77_080, 77_590];
    assert_eq!(changes, expected);
}

#[test]
fn a_backup_takes_over_at_once_from_a_path_that_fails() {
    let mut scheduler = scheduler(Strategy::ActiveBackup { switch_above: Duration::from_millis(100) });
    let main = PathView { weight: 2, ..path(0, 50, 20) };
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1500), &[main, path(1, 50, 30)]), Decision::Send(0));
    let down = PathView { usable: false, ..main };
    assert_eq!(scheduler.decide(milliseconds(1), &bulk(1500), &[down, path(1, 50, 30)]), Decision::Send(1));
}

#[test]
fn copies_never_hold_up_the_first() {
    let mut scheduler = scheduler(Strategy::Redundant { copies: 2 });
    let views = [path(0, 50, 10), path(1, 20, 40), path(2, 20, 30)];
    let both = Decision::Copies { path: 0, others: [2].into_iter().collect() };
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1500), &views), both);
    let busy = [path(0, 50, 10), until(1, path(1, 20, 40)), until(1, path(2, 20, 30))];
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1500), &busy), Decision::Send(0));
    let behind = [until(1, path(0, 50, 10)), path(1, 20, 40), path(2, 20, 30)];
    assert_eq!(
        scheduler.decide(milliseconds(0), &bulk(1500), &behind),
        Decision::Wait(Some(milliseconds(1)))
    );
}

#[test]
fn a_queue_on_the_fast_path_makes_no_copy_wait_for_a_slow_one() {
    // S8: the slow path would deliver this packet first, at its next chance, not all that waits.
    let views = [path(0, 100, 14), until(1, path(1, 10, 10))];
    let mut scheduler = scheduler(Strategy::Redundant { copies: 2 });
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(100_000), &views), Decision::Send(0));
    let wait = Decision::Wait(Some(milliseconds(1)));
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1500), &views), wait);
}

#[test]
fn adaptive_sends_twice_what_is_small_and_urgent_within_a_budget() {
    let mut scheduler = scheduler(Strategy::Adaptive);
    let views = [path(0, 50, 10), path(1, 20, 40)];
    let both = Decision::Copies { path: 0, others: [1].into_iter().collect() };
    assert_eq!(scheduler.decide(milliseconds(0), &sparse(100), &views), both);
    assert_eq!(scheduler.decide(milliseconds(0), &sparse(1400), &views), Decision::Send(0));
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1_000_000), &views), Decision::Send(0));
    // 16 KiB at once, then a tenth of what is sent.
    let (mut sent, mut copied) = (0u64, 0u64);
    for _ in 0..10_000 {
        let copies =
            matches!(scheduler.decide(milliseconds(0), &sparse(100), &views), Decision::Copies { .. });
        scheduler.handle_sent(&views[0], 100, false);
        sent += 100;
        if copies {
            scheduler.handle_sent(&views[1], 100, true);
            copied += 100;
        }
    }
    assert!(copied <= 16 * 1024 + sent / 10 && copied > sent / 10, "{copied} of {sent}");
}

#[test]
fn a_flow_stays_on_its_path_while_that_lives() {
    let mut scheduler = scheduler(Strategy::Flow);
    let views = [path(0, 50, 10), path(1, 20, 200)];
    let mut ask = |flow, views: &[PathView]| {
        let head = Head { flow: key(flow), ..bulk(1_000_000) };
        scheduler.decide(milliseconds(0), &head, views)
    };
    // By rate: 50, 25, 20 for the second path's first, 16.
    let placed: Vec<_> = (0..4).map(|flow| ask(flow, &views)).collect();
    assert_eq!(placed, [0, 0, 1, 0].map(Decision::Send));
    assert_eq!((0..4).map(|flow| ask(flow, &views)).collect::<Vec<_>>(), placed);
    let dead = [path(0, 50, 10), PathView { usable: false, ..path(1, 20, 200) }];
    assert_eq!(ask(2, &dead), Decision::Send(0));
    assert_eq!(ask(2, &views), Decision::Send(0), "it stays where it went");
    let busy = [until(7, path(0, 50, 10)), path(1, 20, 200)];
    assert_eq!(ask(2, &busy), Decision::Wait(Some(milliseconds(7))));
}

#[test]
fn a_strategy_can_change_between_two_packets() {
    let mut scheduler = scheduler(Strategy::Aggregate);
    let views = [path(0, 50, 10), path(1, 20, 40)];
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1_000_000), &views), Decision::Send(0));
    scheduler.set_strategy(Strategy::Redundant { copies: 2 });
    let both = Decision::Copies { path: 0, others: [1].into_iter().collect() };
    assert_eq!(scheduler.decide(milliseconds(0), &bulk(1_000_000), &views), both);
    assert_eq!(scheduler.strategy(), Strategy::Redundant { copies: 2 });
}

#[test]
fn a_path_whose_rate_was_never_found_has_the_share_of_its_weight_while_it_may_send() {
    let mut scheduler = scheduler(Strategy::Weighted);
    let new = PathView { found: false, fresh: false, ..path(2, 1, 10) };
    let mut sent = [0_u32, 0];
    let mut send = |views: [PathView; 2], sent: &mut [u32; 2]| {
        let Decision::Send(path) = scheduler.decide(milliseconds(0), &bulk(1500), &views) else {
            panic!("the first may send")
        };
        let index = usize::from(path) - 1;
        sent[index] += 1;
        scheduler.handle_sent(&views[index], 1500, false);
    };
    (0..200).for_each(|_| send([path(1, 20, 10), new], &mut sent));
    assert!(sent[0].abs_diff(sent[1]) <= 17, "{sent:?} packets by equal weights");
    // Nothing waits for it, and what went by the other meanwhile is not made up for.
    (0..200).for_each(|_| send([path(1, 20, 10), until(1, new)], &mut sent));
    assert!(sent[0] >= 283, "{sent:?}");
    let before = sent;
    (0..200).for_each(|_| send([path(1, 20, 10), new], &mut sent));
    assert!((sent[1] - before[1]).abs_diff(100) <= 17, "{before:?}, then {sent:?}");
    // Once it is known to be slow, it has what it can carry.
    let before = sent;
    (0..200).for_each(|_| send([path(1, 20, 10), PathView { found: true, ..new }], &mut sent));
    assert!(sent[0] - before[0] > 190, "{before:?}, then {sent:?}");
}

#[test]
fn a_far_path_is_not_preferred_because_its_rate_was_found() {
    // S10: acknowledgements go up by the steady link and find no rate; copies of them found one on
    // the link whose delay swings.
    let steady = PathView { fresh: false, found: false, ..path(0, 12, 10) };
    let views = [steady, path(1, 1, 600)];
    for strategy in [Strategy::Aggregate, Strategy::Adaptive] {
        let mut scheduler = scheduler(strategy);
        let decision = scheduler.decide(milliseconds(0), &sparse(1400), &views);
        assert_eq!(decision, Decision::Send(0), "{strategy}");
        assert_eq!(scheduler.members(milliseconds(0), &views).iter().collect::<Vec<_>>(), [0]);
    }
}
