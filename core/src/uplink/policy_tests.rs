//! What each policy promises.

use super::*;
use crate::name::{Destination, Host};
use alloc::vec;
use proptest::prelude::*;

fn chooser(policy: Policy, weights: &[u32]) -> Chooser {
    let uplink = |(i, weight): (usize, &u32)| UplinkConfig {
        weight: *weight,
        ..UplinkConfig::new(alloc::format!("up{i}"))
    };
    let mut chooser = Chooser::new(policy);
    weights.iter().enumerate().map(uplink).enumerate().for_each(|(i, uplink)| chooser.set(i, &uplink));
    chooser
}

fn second(n: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn set(indices: impl IntoIterator<Item = usize>) -> UplinkSet {
    let mut set = UplinkSet::EMPTY;
    indices.into_iter().for_each(|i| set.insert(UplinkId(i as u16)));
    set
}

fn key(n: u64) -> HostKey {
    HostKey::of_name(&alloc::format!("host{n}.example"))
}

#[test]
fn the_fewest_connections_for_its_weight_are_two_to_one() {
    let mut chooser = chooser(Policy::LeastConnections, &[2, 1]);
    let mut open = [0u64; 2];
    for _ in 0..30 {
        let i = chooser.choose(second(0), key(0), |i| open[i], set(0..2)).expect("two");
        open[i] += 1;
    }
    assert_eq!(open, [20, 10]);
    // Those of the first end: it is filled again before the other gets any.
    open[0] = 0;
    for _ in 0..19 {
        let i = chooser.choose(second(0), key(0), |i| open[i], set(0..2)).expect("two");
        assert_eq!(i, 0);
        open[0] += 1;
    }
}

#[test]
fn the_nearest_takes_all_but_what_is_needed_to_measure_the_others() {
    let mut chooser = chooser(Policy::LeastLatency, &[1, 1]);
    let mut chosen = [0; 2];
    for n in 0..600 {
        let now = Instant::ZERO + ms(n * 100);
        let i = chooser.choose(now, key(n), |_| 0, set(0..2)).expect("two");
        chooser.connected(now, i, ms([20, 80][i]));
        chosen[i] += 1;
    }
    assert_eq!(chosen, [594, 6], "one in ten seconds");
}

#[test]
fn a_far_uplink_that_became_near_is_found_and_used() {
    let mut chooser = chooser(Policy::LeastLatency, &[1, 1]);
    let mut last = [0; 2];
    for n in 0..1200 {
        let now = Instant::ZERO + ms(n * 100);
        let i = chooser.choose(now, key(n), |_| 0, set(0..2)).expect("two");
        // After 30 s the second is ten times as near.
        chooser.connected(now, i, ms([50, if n < 300 { 200 } else { 5 }][i]));
        if n >= 1100 {
            last[i] += 1;
        }
    }
    assert_eq!(last, [1, 99]);
}

#[test]
fn uplinks_that_are_about_as_near_share_by_weight() {
    let mut chooser = chooser(Policy::LeastLatency, &[3, 1]);
    (0..2).for_each(|i| chooser.connected(second(1), i, ms(40 + i as u64)));
    let mut chosen = [0; 2];
    for _ in 0..40 {
        chosen[chooser.choose(second(2), key(0), |_| 0, set(0..2)).expect("two")] += 1;
    }
    assert_eq!(chosen, [30, 10]);
}

#[test]
fn a_new_time_counts_an_eighth_and_after_ten_seconds_a_half() {
    let mut chooser = chooser(Policy::LeastLatency, &[1, 1]);
    chooser.connected(second(1), 0, ms(80));
    assert_eq!((chooser.latency(0), chooser.latency(1)), (Some(ms(80)), None));
    chooser.connected(second(10), 0, ms(160));
    assert_eq!(chooser.latency(0), Some(ms(90)));
    chooser.connected(second(20), 0, ms(30));
    assert_eq!(chooser.latency(0), Some(ms(60)));
}

#[test]
fn as_near_is_within_an_eighth_and_two_milliseconds() {
    for (near, count) in [(92, 2), (93, 1)] {
        let mut chooser = chooser(Policy::LeastLatency, &[1, 1]);
        (0..2).for_each(|i| chooser.connected(second(1), i, ms([80, near][i])));
        let chosen: std::collections::BTreeSet<_> =
            (0..4).filter_map(|_| chooser.choose(second(2), key(0), |_| 0, set(0..2))).collect();
        assert_eq!(chosen.len(), count, "{near} ms beside 80 ms");
    }
}

#[test]
fn who_was_not_looked_at_for_ten_seconds_is_looked_at_once_and_the_oldest_first() {
    let mut chooser = chooser(Policy::LeastLatency, &[1, 1, 1]);
    (0..3).for_each(|i| chooser.connected(second(3 - i as u64), i, ms([10, 500, 500][i])));
    let mut choose = |now| chooser.choose(second(now), key(0), |_| 0, set(0..3));
    assert_eq!(choose(10), Some(0), "nobody waits for so long");
    assert_eq!((choose(11), choose(11)), (Some(2), Some(0)));
    assert_eq!((choose(13), choose(13), choose(13)), (Some(1), Some(0), Some(0)));
    // It has been looked at, though nothing has come of it.
    assert_eq!((choose(20), choose(21)), (Some(0), Some(2)));
}

/// Links of fixed capacity (bytes a second) with `flows` greedy connections, for `windows` of a
/// second each; as a connection ends another begins, by the policy. Gives the last tenth's shares.
fn greedy(capacities: &[u64], flows: usize, windows: u64) -> (Chooser, Vec<u32>) {
    let mut chooser = chooser(Policy::Adaptive, &vec![1; capacities.len()]);
    let all = set(0..capacities.len());
    let mut on: std::collections::VecDeque<usize> =
        (0..flows).map(|n| chooser.choose(second(0), key(n as u64), |_| 0, all).expect("some")).collect();
    let mut counts = vec![0u32; capacities.len()];
    for n in 1..=windows {
        let count = |i: usize| on.iter().filter(|at| **at == i).count().max(1) as u64;
        let rates: Vec<u64> = (0..capacities.len()).map(|i| capacities[i] / count(i)).collect();
        on.iter().for_each(|i| chooser.moved(second(n), *i, rates[*i], Duration::from_secs(1)));
        for _ in 0..flows / 4 {
            on.pop_front();
            let i = chooser.choose(second(n), key(n), |_| 0, all).expect("some");
            if n > windows - windows / 10 {
                counts[i] += 1;
            }
            on.push_back(i);
        }
    }
    (chooser, counts)
}

#[test]
fn weights_are_learned_until_links_of_four_to_one_are_filled_alike() {
    let (_, counts) = greedy(&[40_000_000, 10_000_000], 40, 200);
    let share = counts[0] * 100 / (counts[0] + counts[1]);
    assert!((74..=86).contains(&share), "{share}% of the connections for 80% of the capacity");
}

#[test]
fn equal_links_keep_their_weights() {
    let (chooser, _) = greedy(&[10_000_000, 10_000_000, 10_000_000], 30, 100);
    assert!(
        (0..3).all(|i| (300..=367).contains(&chooser.share(i))),
        "{:?}",
        [0, 1, 2].map(|i| chooser.share(i))
    );
}

#[test]
fn a_link_that_carries_next_to_nothing_keeps_an_eighth_of_an_even_share() {
    let (chooser, counts) = greedy(&[50_000_000, 300_000], 20, 200);
    assert!((62..=75).contains(&chooser.share(1)), "{}", chooser.share(1));
    assert!(counts[1] > 0, "it goes on to be measured");
}

#[test]
fn conversations_teach_nothing() {
    let mut chooser = chooser(Policy::Adaptive, &[3, 1]);
    for n in 0..100 {
        chooser.moved(second(n), 0, 8_000, Duration::from_secs(1));
        chooser.moved(second(n), 1, 900, Duration::from_secs(1));
    }
    assert_eq!([chooser.share(0), chooser.share(1)], [750, 250]);
}

#[test]
fn a_host_is_known_by_its_name_whatever_its_case_and_port_and_by_its_address_in_either_form() {
    let key = |text: &str, port| {
        let host = Host::parse(text.as_bytes()).expect("a host");
        HostKey::of_host(&Destination { host, port }.host)
    };
    assert_eq!(key("Example.org", 80), key("example.ORG.", 443));
    assert_eq!(key("192.0.2.1", 80), key("[::ffff:192.0.2.1]", 80));
    assert_ne!(key("192.0.2.1", 80), key("192.0.2.2", 80));
}

/// Weights of two equal uplinks after a window in which a connection moved so many bytes a second.
fn learned_in_a_window(rates: [u64; 2]) -> [u32; 2] {
    let mut learned = Learned::new(&[1, 1]);
    for (uplink, rate) in rates.into_iter().enumerate() {
        learned.moved(second(0), uplink, rate, second(1) - second(0));
    }
    learned.moved(second(2), 0, 0, Duration::ZERO);
    [learned.weight(0), learned.weight(1)]
}

#[test]
fn a_window_moves_a_weight_a_third_of_the_way_that_its_rate_asks_for() {
    // From a half towards three quarters, and towards one.
    assert_eq!(learned_in_a_window([3_000_000, 1_000_000]), [38229, 27307]);
    // None is asked to be under a quarter of what it was.
    assert_eq!(learned_in_a_window([50_000_000, 50_000]), [41884, 23652]);
    // Within a quarter of each other rates are alike.
    assert_eq!(learned_in_a_window([5_000_000, 4_100_000]), [1 << 15; 2]);
    // What is small is no evidence.
    assert_eq!(learned_in_a_window([8_191, 1_000_000]), [1 << 15; 2]);
}

proptest! {
    #[test]
    fn whatever_happens_the_choice_is_a_candidate(
        policy in prop::sample::select(&Policy::ALL[..]),
        weights in prop::collection::vec(1u32..65_536, 1..8),
        steps in prop::collection::vec((0u64..20_000, any::<u64>(), any::<u64>(), 0u64..5000), 1..200),
    ) {
        let mut one = chooser(policy, &weights);
        let mut other = chooser(policy, &weights);
        let mut now = Instant::ZERO;
        for (later, host, bits, amount) in steps {
            now += ms(later);
            let candidates = set((0..weights.len()).filter(|i| bits >> i & 1 == 1));
            let load = |i: usize| bits.rotate_left(i as u32 * 8) & 0xff;
            let chosen = one.choose(now, key(host), load, candidates);
            prop_assert_eq!(chosen, other.choose(now, key(host), load, candidates), "the same again");
            prop_assert_eq!(chosen.is_some(), !candidates.is_empty());
            if let Some(i) = chosen {
                prop_assert!(candidates.contains(UplinkId(i as u16)));
                for chooser in [&mut one, &mut other] {
                    chooser.connected(now, i, ms(amount));
                    chooser.moved(now, i, amount * 1000, ms(later));
                }
            }
        }
    }

    #[test]
    fn learned_weights_keep_their_sum_and_their_floor(
        weights in prop::collection::vec(1u32..65_536, 1..64),
        reports in prop::collection::vec((0usize..64, 0u64..3000, any::<u64>(), 1u64..u64::MAX), 1..300),
    ) {
        let mut learned = Learned::new(&weights);
        let floor = super::super::learned::WHOLE / super::super::learned::FLOOR / weights.len() as u32;
        let mut now = Instant::ZERO;
        for (uplink, later, bytes, over) in reports {
            now += ms(later);
            learned.moved(now, uplink % weights.len(), bytes, Duration::from_nanos(over));
            let all: Vec<u32> = (0..weights.len()).map(|i| learned.weight(i)).collect();
            prop_assert_eq!(all.iter().sum::<u32>(), super::super::learned::WHOLE);
            prop_assert!(all.iter().all(|weight| *weight >= floor), "{:?}", all);
        }
    }

    #[test]
    fn nobody_starves_by_weights_or_learned_weights_or_connections(
        policy in prop::sample::select(vec![Policy::RoundRobin, Policy::LeastConnections, Policy::Adaptive]),
        weights in prop::collection::vec(1u32..20, 1..8),
    ) {
        let mut chooser = chooser(policy, &weights);
        let mut open = vec![0u64; weights.len()];
        // The least share is a floor's: an eighth of an even one.
        let enough = 8 * weights.len() as u64 * u64::from(weights.iter().sum::<u32>());
        for n in 0..enough {
            let i = chooser.choose(second(0), key(n), |i| open[i], set(0..weights.len())).expect("some");
            open[i] += 1;
        }
        prop_assert!(open.iter().all(|count| *count > 0), "{:?}", open);
    }

    #[test]
    fn only_the_hosts_of_the_uplink_that_goes_move_and_they_return(
        weights in prop::collection::vec(1u32..9, 2..8),
        gone in 0usize..8,
        first in any::<u32>(),
    ) {
        let gone = gone % weights.len();
        let mut chooser = chooser(Policy::Sticky, &weights);
        let (all, rest) = (set(0..weights.len()), set((0..weights.len()).filter(|i| *i != gone)));
        for n in 0..200 {
            let key = key(u64::from(first) + n);
            let mut choose = |set| chooser.choose(second(0), key, |_| 0, set).expect("some");
            let before = choose(all);
            let meanwhile = choose(rest);
            prop_assert!(meanwhile == before || before == gone);
            prop_assert_eq!(choose(all), before);
        }
    }

    #[test]
    fn hosts_are_spread_by_weight(weights in prop::collection::vec(1u32..6, 2..5), first in any::<u32>()) {
        let mut chooser = chooser(Policy::Sticky, &weights);
        let mut counts = vec![0u32; weights.len()];
        for n in 0..4000 {
            let key = key(u64::from(first) + n);
            counts[chooser.choose(second(0), key, |_| 0, set(0..weights.len())).expect("some")] += 1;
        }
        let sum: u32 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let wanted = 4000 * weight / sum;
            // Six standard deviations of 4000 draws are less than 200.
            prop_assert!(count.abs_diff(wanted) < 200, "{:?} for {:?}", counts, weights);
        }
    }
}
