//! What holds of every strategy, over random paths.

use super::{Decision, Head, PathView, QUANTUM, Scheduler, Strategy as Mode, bulk, key, milliseconds, path};
use crate::bond::rate::Rate;
use crate::time::Duration;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        prop::sample::select(Mode::NAMES.to_vec())
            .prop_map(|name| Mode::named(name).expect("it has that name")),
        (0u8..5).prop_map(|copies| Mode::Redundant { copies }),
        (0u64..200).prop_map(|ms| Mode::ActiveBackup { switch_above: Duration::from_millis(ms) }),
    ]
}

fn view() -> impl Strategy<Value = PathView> {
    let state = (prop::bool::weighted(0.8), prop::bool::weighted(0.8), 0u32..5);
    let rate = prop_oneof![8 => 1u64..1000, 1 => Just(0)];
    (0u8..70, state, rate, 0u64..300, 0u64..20).prop_map(
        |(id, (usable, fresh, weight), rate, delay, free)| PathView {
            usable,
            fresh,
            loaded: fresh,
            weight,
            free_at: milliseconds(free),
            ..path(id, rate, delay)
        },
    )
}

fn views() -> impl Strategy<Value = Vec<PathView>> {
    prop::collection::vec(view(), 0..6).prop_map(|mut views| {
        views.sort_by_key(|view| view.path);
        views.dedup_by_key(|view| view.path);
        views
    })
}

fn head() -> impl Strategy<Value = Head> {
    (0u16..6, 40usize..1500, 0usize..2_000_000, any::<bool>()).prop_map(|(flow, bytes, more, sparse)| Head {
        flow: key(flow),
        bytes,
        backlog: bytes + more,
        sparse,
    })
}

proptest! {
    #[test]
    fn only_what_may_send_now_is_chosen(
        steps in prop::collection::vec((mode(), views(), head(), 0u64..30), 1..20), start in mode()
    ) {
        let mut scheduler = Scheduler::new(start);
        let mut now = 0;
        for (strategy, views, head, wait) in steps {
            scheduler.set_strategy(strategy);
            let ready = |path: u8| {
                let view = views.iter().find(|view| view.path == path);
                view.is_some_and(|view| {
                    view.usable && view.rate > Rate::ZERO && view.free_at <= milliseconds(now)
                })
            };
            match scheduler.decide(milliseconds(now), &head, &views) {
                Decision::Send(path) => {
                    prop_assert!(ready(path));
                    let view = views.iter().find(|view| view.path == path).expect("just seen");
                    scheduler.handle_sent(view, head.bytes, false);
                }
                Decision::Copies { path, others } => {
                    prop_assert!(ready(path) && others.iter().all(ready));
                    prop_assert!(!others.contains(path) && !others.is_empty());
                }
                Decision::Wait(Some(until)) => prop_assert!(until > milliseconds(now), "a wait that is over"),
                Decision::Wait(None) => {
                    // Weights of zero leave paths out.
                    let weighted = scheduler.strategy() == Mode::Weighted;
                    let may = |view: &PathView| {
                        let shut_out = weighted && view.weight == 0;
                        view.usable && view.rate > Rate::ZERO && view.path < 64 && !shut_out
                    };
                    prop_assert!(!views.iter().any(may), "waits for nothing");
                }
            }
            now += wait;
        }
    }

    /// Invariant 7, where the links can carry what the weights say; else no less than the best link
    /// alone.
    #[test]
    fn bytes_follow_the_weights(
        weights in prop::collection::vec(1u32..100, 2..5),
        rates in prop::collection::vec(10u64..200, 4),
        // Most often the links are as their weights say.
        fitting in prop::bool::weighted(0.7),
        sizes in prop::collection::vec((40usize..1500, prop::bool::weighted(0.1)), 1000),
    ) {
        let rate = |index: usize| if fitting { u64::from(weights[index]) * 2 } else { rates[index] };
        let all = u64::from(weights.iter().sum::<u32>());
        let met = (0..weights.len()).map(|index| rate(index) * all / u64::from(weights[index])).min();
        let best = (0..weights.len()).map(rate).max().expect("there are some");
        let mut scheduler = Scheduler::new(Mode::Weighted);
        let mut free = BTreeMap::new();
        let mut sent: Vec<u64> = weights.iter().map(|_| 0).collect();
        let mut now = milliseconds(0);
        for (bytes, sparse) in sizes {
            // What is sparse may wait for a nearer path, and here what follows waits with it: its
            // time is no matter of its bytes.
            let head = Head { bytes, sparse: sparse && fitting, ..bulk(1_000_000) };
            loop {
                let views: Vec<_> = weights.iter().enumerate().map(|(index, weight)| PathView {
                    weight: *weight,
                    free_at: free.get(&index).copied().unwrap_or_default(),
                    ..path(index as u8, rate(index), 10 + index as u64)
                }).collect();
                match scheduler.decide(now, &head, &views) {
                    Decision::Send(path) => {
                        let index = usize::from(path);
                        sent[index] += bytes as u64;
                        free.insert(index, now + views[index].rate.time_for(bytes as u64));
                        scheduler.handle_sent(&views[index], bytes, false);
                        break;
                    }
                    Decision::Wait(Some(until)) => now = until,
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
        let (all, total) = (sent.iter().sum::<u64>(), all);
        if met < Some(best) {
            let alone = Rate::from_bits_per_second(best * 1_000_000).time_for(all);
            // The last packet may wait for a path that would be first with it.
            prop_assert!(now <= milliseconds(20) + alone * 20 / 19, "{:?} instead of {:?}", now, alone);
            return Ok(());
        }
        for (sent, weight) in sent.iter().zip(&weights) {
            let share = all * u64::from(*weight) / total;
            // Each path may be ahead of the last by a packet more than its part of the quantum.
            let most = (all / 100).max(QUANTUM + 1500 * (weights.len() as u64 - 1));
            prop_assert!(sent.abs_diff(share) <= most, "{} of {}: share {}", sent, all, share);
        }
    }

    /// Invariant 9.
    #[test]
    fn one_path_at_a_time_changes_no_faster_than_its_hysteresis(
        delays in prop::collection::vec([0u64..200, 0u64..200, 0u64..200], 200), backup in any::<bool>()
    ) {
        let strategy = if backup {
            Mode::ActiveBackup { switch_above: Duration::from_millis(50) }
        } else {
            Mode::LowestLatency
        };
        let mut scheduler = Scheduler::new(strategy);
        let mut last: Option<(u8, u64)> = None;
        for (step, delays) in delays.into_iter().enumerate() {
            let now = step as u64 * 50;
            let views = [0, 1, 2].map(|id| {
                PathView { weight: 3 - u32::from(id), ..path(id, 50, delays[usize::from(id)]) }
            });
            let Decision::Send(path) = scheduler.decide(milliseconds(now), &bulk(1_000_000), &views) else {
                panic!("all may send")
            };
            match last {
                Some((before, at)) if before != path => {
                    prop_assert!(at == 0 || now - at >= 500, "changed at {} and {}", at, now);
                    last = Some((path, now));
                }
                Some(_) => {}
                None => last = Some((path, now)),
            }
        }
    }
}
