//! Sockets and TUN devices that take nothing for a while, and then do.

use super::pair::Pair;
use crate::bond::{Drops, PathState, Strategy};
use crate::machine::event::BondNews;
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// Of the packets here.
const LEN: usize = 1000;

/// Control frames that may wait for a path, with room for what a path says when it is new.
const FEW: u64 = 64 + 16;

/// Both paths carry what is downloaded now, and nothing of it is lost.
#[track_caller]
fn expect_all_is_well(pair: &mut Pair) {
    assert_eq!(pair.states(), [[PathState::Live; 2]; 2]);
    // One path alone could carry what comes here.
    pair.client.set_strategy(pair.now, Strategy::Redundant { copies: 2 });
    pair.run(SECOND);
    let (before, given, drops) = (pair.sent(), pair.given[0].len(), pair.drops());
    pair.download(400);
    pair.run(SECOND);
    assert_eq!((pair.given[0].len() - given, pair.drops()), (400, drops));
    let carried = [0, 1].map(|path| pair.sent()[path] - before[path]);
    assert!(carried.iter().all(|bytes| *bytes > 380_000), "{carried:?} bytes by each path");
}

/// A pair whose second uplink takes nothing while a lot is to be said by it.
fn with_waiting_frames(seconds: u32) -> Pair {
    let mut pair = Pair::connected();
    pair.stuck[1] = true;
    for second in 0..seconds {
        // Wishes, acknowledgements of what the server sends, and questions.
        let strategy = if second % 2 == 0 { Strategy::Weighted } else { Strategy::Aggregate };
        pair.client.set_strategy(pair.now, strategy);
        pair.download(100);
        pair.run(SECOND);
    }
    pair.client.set_strategy(pair.now, Strategy::Aggregate);
    pair.run(SECOND);
    assert_ne!(pair.states()[0][1], PathState::Live, "nothing leaves by it");
    pair
}

#[test]
fn frames_that_wait_when_an_uplink_goes_do_not_keep_it_from_coming_back() {
    for seconds in [1, 3, 30] {
        let mut pair = with_waiting_frames(seconds);
        let left = pair.left[1];
        pair.link(1, false);
        pair.run(SECOND);
        pair.stuck[1] = false;
        pair.run(SECOND);
        assert_eq!(pair.left[1], left, "nothing leaves by an uplink that is gone");
        pair.events.clear();
        pair.link(1, true);
        pair.run(Duration::from_millis(15));
        assert!(pair.left[1] - left <= FEW, "{} datagrams leave at once", pair.left[1] - left);
        pair.run(SECOND);
        let bad = |news: &BondNews| matches!(news, BondNews::PathSuspect { .. } | BondNews::PathDown { .. });
        assert!(!pair.events.iter().any(|(_, news)| bad(news)), "{:?}", pair.events);
        expect_all_is_well(&mut pair);
    }
}

/// How long a path of an uplink that has another address takes until both ends use it.
fn time_until_used(pair: &mut Pair) -> Duration {
    let began = pair.now;
    pair.link(1, true);
    pair.run(Duration::from_millis(1));
    while pair.states() != [[PathState::Live; 2]; 2] {
        pair.run(Duration::from_millis(1));
        assert!(pair.now - began < SECOND, "{:?}", pair.states());
    }
    pair.now - began
}

#[test]
fn an_uplink_with_another_address_is_back_as_soon_where_frames_wait_for_the_old_one() {
    let mut usual = Pair::connected();
    let usual = time_until_used(&mut usual);
    let mut pair = with_waiting_frames(3);
    // The socket is another one; the old one is closed without having taken anything.
    pair.stuck[1] = false;
    let late = time_until_used(&mut pair);
    assert!(late <= usual + Duration::from_millis(20), "{late:?}, otherwise {usual:?}");
    pair.run(SECOND);
    expect_all_is_well(&mut pair);
}

#[test]
fn an_uplink_that_comes_back_stuck_is_used_once_it_takes_something() {
    let mut pair = with_waiting_frames(3);
    pair.link(1, false);
    pair.run(SECOND);
    pair.link(1, true);
    pair.run(SECOND * 5);
    expect_one_path(&mut pair);
    pair.stuck[1] = false;
    pair.run(SECOND * 5);
    expect_all_is_well(&mut pair);
}

/// What is downloaded comes by the first path alone, all of it.
#[track_caller]
fn expect_one_path(pair: &mut Pair) {
    let (before, given) = (pair.sent(), pair.given[0].len());
    pair.download(100);
    pair.run(SECOND);
    assert_eq!(pair.given[0].len() - given, 100);
    assert!(pair.sent()[0] - before[0] > 90_000, "by the path that takes something");
}

#[test]
fn a_device_that_takes_nothing_costs_what_is_over_its_queue_and_no_path() {
    // The client's device under a download, the server's under an upload.
    for end in [0, 1] {
        let mut pair = Pair::connected();
        let other =
            |pair: &mut Pair, packets| if end == 0 { pair.download(packets) } else { pair.upload(packets) };
        other(&mut pair, 100);
        pair.run(SECOND);
        assert_eq!(pair.given[end].len(), 100);
        pair.full[end] = true;
        pair.events.clear();
        // 4 MiB wait for it; 6 MB come.
        other(&mut pair, 6000);
        pair.run(SECOND * 20);
        assert_eq!(pair.given[end].len(), 100, "it takes nothing");
        let lost = pair.drops()[end].tun_full;
        assert_eq!(lost, 6000 - ((4 << 20) / LEN) as u64);
        assert_eq!(pair.states(), [[PathState::Live; 2]; 2], "the paths are not to blame");
        assert!(pair.events.is_empty(), "{:?}", pair.events);

        pair.full[end] = false;
        other(&mut pair, 100);
        pair.run(SECOND);
        assert_eq!(
            pair.given[end].len() as u64,
            100 + 6000 - lost + 100,
            "what had waited, and what comes now"
        );
        let expected = Drops { tun_full: lost, ..Drops::default() };
        assert_eq!(pair.drops()[end], expected);
        assert_eq!(pair.drops()[1 - end], Drops::default());
        pair.given[0].clear();
        expect_all_is_well(&mut pair);
    }
}

#[test]
fn a_device_that_takes_nothing_at_one_end_does_not_hold_the_other_direction() {
    let mut pair = Pair::connected();
    pair.full[0] = true;
    pair.download(6000);
    pair.upload(500);
    pair.run(SECOND);
    assert_eq!(pair.given[1].len(), 500);
}
