//! Two hosts with one key: a copy of a state directory, or of a whole machine.

use super::pair::{Pair, client};
use crate::machine::event::BondNews;
use crate::time::Duration;
use alloc::vec::Vec;
use core::mem;

const SECOND: Duration = Duration::from_secs(1);

/// How long those who were pushed out since the last call stay away.
fn pauses(pair: &mut Pair) -> Vec<Duration> {
    let all = mem::take(&mut pair.events).into_iter().filter_map(|(_, news)| match news {
        BondNews::KeyShared { pause } => pause,
        _ => None,
    });
    all.collect()
}

#[test]
fn two_hosts_with_one_key_push_each_other_out_ever_more_seldom_and_are_told() {
    let mut pair = Pair::connected();
    let second = mem::replace(&mut pair.client, client(2, 77, &[]));
    pair.aside = Some(second);
    // A longer pause would be longer than an association lives of which nothing is heard.
    for turn in 0..6 {
        pair.run(SECOND);
        assert!(pair.client.status(pair.now).established, "turn {turn}: it is in");
        // That one was in before and is back is no start of one host.
        let told = pair.events.contains(&(Some(0), BondNews::KeyShared { pause: None }));
        assert_eq!(told, turn > 0, "turn {turn}");
        let [pause] = pauses(&mut pair)[..] else {
            panic!("turn {turn}: one was pushed out, and said so once")
        };
        let least = [30, 60, 120][turn / 2] * SECOND;
        assert!(least <= pause && pause <= least * 4 / 3, "turn {turn}: {pause:?}");
        // The other comes to the front.
        mem::swap(&mut pair.client, pair.aside.as_mut().expect("put there"));
        pair.run(pause - SECOND * 2);
        assert!(!pair.client.status(pair.now).established, "turn {turn}: it waits");
        pair.run(SECOND);
    }
}

#[test]
fn a_host_that_starts_again_after_a_kill_is_no_second_host() {
    let mut pair = Pair::connected();
    for life in 100..105 {
        pair.replace(client(2, life, &[]));
        pair.run(SECOND);
        assert!(pair.client.status(pair.now).established, "life {life}");
    }
    let told = |(_, news): &(_, BondNews)| matches!(news, BondNews::KeyShared { .. });
    assert!(!pair.events.iter().any(told), "{:?}", pair.events);
}
