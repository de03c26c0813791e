//! Modes, weights and links that change while the bond runs.

use super::pair::{Pair, uplink};
use crate::bond::{PathState, Strategy};
use crate::machine::event::BondNews;
use crate::machine::{Input, Machine, Output, UplinkId, Via};
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

#[test]
fn a_server_that_moves_is_found_where_it_is_said_to_be() {
    let mut pair = Pair::connected();
    pair.home = "203.0.113.77:4501".parse().expect("a literal");
    pair.upload(5);
    pair.run(SECOND * 3);
    assert_eq!(pair.states()[0], [PathState::Down; 2]);
    pair.client.set_server(pair.now, pair.home);
    pair.run(SECOND);
    assert_eq!(pair.states()[0], [PathState::Live; 2]);
    assert!(pair.client.status(pair.now).paths.iter().all(|path| path.remote == pair.home));
    pair.given[0].clear();
    pair.download(20);
    pair.run(SECOND);
    assert_eq!(pair.given[0].len(), 20);
    // The same again changes nothing.
    pair.client.set_server(pair.now, pair.home);
    assert!(pair.client.status(pair.now).established);
    assert_eq!(pair.states()[0], [PathState::Live; 2]);
}

#[test]
fn a_client_that_ends_says_farewell_where_its_server_was_and_opens_nothing_more() {
    let mut pair = Pair::connected();
    pair.client.handle_input(pair.now, Input::Drain);
    pair.client.set_server(pair.now, "203.0.113.77:4501".parse().expect("a literal"));
    pair.run(SECOND * 2);
    assert!(pair.events.contains(&(Some(0), BondNews::Closed)), "{:?}", pair.events);
    // Links change all the same.
    pair.client.handle_input(pair.now, Input::UplinkBack { uplink: UplinkId(0), via: Via::default() });
    pair.client.set_uplinks(pair.now, &[uplink(0, 1), uplink(2, 1)]).expect("they may be");
    let opened = |output: &Output| matches!(output, Output::OpenSocket { .. });
    assert!(!core::iter::from_fn(|| pair.client.poll_output()).any(|output| opened(&output)));
}

#[test]
fn a_client_whose_first_messages_are_filtered_is_not_asked_for_them_with_every_packet() {
    let mut pair = Pair::connected();
    pair.filtered = true;
    // Data moves all the time: only so are keys renewed before they end.
    let window = |pair: &mut Pair, from: u64| {
        while pair.now < crate::time::Instant::ZERO + SECOND * from as u32 {
            pair.download(1);
            pair.run(SECOND / 4);
        }
        let before = pair.server.status(pair.now)[0].1.paths.iter().map(|path| path.sent).sum::<u64>();
        pair.download(2000);
        pair.server.status(pair.now)[0].1.paths.iter().map(|path| path.sent).sum::<u64>() - before
    };
    let (calm, asked) = (window(&mut pair, 110), window(&mut pair, 140));
    assert!(asked <= calm + 20, "{asked} packets for 2,000 of data, and {calm} before");
    // It gets through at last.
    pair.filtered = false;
    pair.run(SECOND * 12);
    pair.given[0].clear();
    pair.run(SECOND * 60);
    pair.download(20);
    pair.run(SECOND);
    assert_eq!(pair.given[0].len(), 20);
}
