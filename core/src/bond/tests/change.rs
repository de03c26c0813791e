//! Modes, weights and links that change while the bond runs.

use super::pair::{Pair, uplink};
use crate::bond::{PathState, Strategy};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_server_sends_by_the_weights_that_the_client_wants() {
    let mut pair = Pair::connected();
    pair.client.set_strategy(pair.now, Strategy::Weighted);
    pair.client.set_uplinks(pair.now, &[uplink(0, 3), uplink(1, 1)]).expect("both are there");
    pair.run(SECOND);
    let before = pair.sent();
    pair.download(400);
    let [heavy, light] = [0, 1].map(|path| pair.sent()[path] - before[path]);
    assert!((280_000..340_000).contains(&heavy) && light > 90_000, "{heavy} and {light} bytes");
}

#[test]
fn a_wish_is_heard_though_its_first_saying_is_lost() {
    let mut pair = Pair::connected();
    pair.client.set_uplinks(pair.now, &[uplink(1, 1)]).expect("it is there");
    pair.deaf = pair.now + Duration::from_millis(150);
    pair.run(Duration::from_millis(140));
    assert_eq!(pair.states()[1][0], PathState::Live, "the server has heard nothing");
    pair.run(SECOND);
    assert_eq!(pair.states()[1], [PathState::Down, PathState::Live]);
}

#[test]
fn both_ends_leave_a_link_that_is_dropped_at_once_and_take_it_back() {
    let mut pair = Pair::connected();
    pair.client.set_uplinks(pair.now, &[uplink(0, 1)]).expect("it is there");
    pair.run(Duration::from_millis(20));
    assert_eq!(pair.states(), [[PathState::Live, PathState::Down]; 2]);
    let before = pair.sent();
    pair.download(50);
    assert_eq!(pair.sent()[1], before[1], "nothing is sent where nobody listens");
    let drops = pair.client.status(pair.now).drops;
    assert_eq!(drops, crate::bond::Drops::default());

    pair.client.set_uplinks(pair.now, &[uplink(0, 1), uplink(1, 1)]).expect("both are there");
    pair.run(SECOND * 3);
    assert_eq!(pair.states(), [[PathState::Live; 2]; 2]);
}

#[test]
fn links_that_cannot_be_are_refused_and_change_nothing() {
    let mut pair = Pair::connected();
    let refused = |pair: &mut Pair, uplinks: &[_], expected: &str| {
        let error = pair.client.set_uplinks(pair.now, uplinks).expect_err("refused");
        assert!(alloc::format!("{error}").contains(expected), "{error}");
    };
    refused(&mut pair, &[uplink(0, 0)], "weight above 0");
    refused(&mut pair, &[uplink(0, 1), uplink(0, 2)], "twice");
    let many: alloc::vec::Vec<_> = (1..17).map(|id| uplink(id, 1)).collect();
    refused(&mut pair, &many, "at most 16, got 17");
    pair.run(SECOND);
    assert_eq!(pair.states(), [[PathState::Live; 2]; 2]);
    pair.client.set_uplinks(pair.now, &many[..15]).expect("with the first they are 16");
}

#[test]
fn a_wish_of_while_no_path_carried_is_heard_when_one_is_back() {
    let mut pair = Pair::connected();
    pair.deaf = pair.now + SECOND * 10;
    pair.client.set_strategy(pair.now, Strategy::Weighted);
    pair.client.set_uplinks(pair.now, &[uplink(0, 3), uplink(1, 1)]).expect("both are there");
    pair.run(SECOND * 20);
    assert_eq!(pair.states(), [[PathState::Live; 2]; 2]);
    let before = pair.sent();
    pair.download(400);
    let [heavy, light] = [0, 1].map(|path| pair.sent()[path] - before[path]);
    assert!((280_000..340_000).contains(&heavy) && light > 90_000, "{heavy} and {light} bytes");
}
