//! An association with nothing to say: its questions, and its keys.

use super::pair::{Pair, uplink};
use crate::bond::PathState;
use crate::time::Duration;

/// Bits a second that each path costs, down and up, in several spans of ten minutes.
fn costs(pair: &mut Pair) -> [[[u64; 2]; 2]; 6] {
    const SPAN: u64 = 600;
    // Sizes are found, and what a start has to say is said.
    pair.run(Duration::from_secs(60));
    [(); 6].map(|()| {
        pair.bytes = [[0; 2]; 2];
        pair.run(Duration::from_secs(SPAN));
        pair.bytes.map(|paths| paths.map(|bytes| (bytes * 8).div_ceil(SPAN)))
    })
}

#[test]
fn an_idle_path_costs_less_than_40_bits_a_second_handshakes_included() {
    let mut pair = Pair::connected();
    let costs = costs(&mut pair);
    let cheap = costs.as_flattened().as_flattened().iter().all(|rate| (10..40).contains(rate));
    assert!(cheap, "{costs:?} bit/s by each path, down and up");
    assert_eq!(pair.states(), [[PathState::Live; 2]; 2]);
    pair.download(3);
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.given[0].len(), 3, "it has not fallen asleep");
}

#[test]
fn an_idle_path_that_is_alone_costs_no_more() {
    let mut pair = Pair::connected();
    pair.client.set_uplinks(pair.now, &[uplink(0, 1)]).expect("it is there");
    let costs = costs(&mut pair);
    let alone = costs.as_flattened().iter().map(|paths| paths[0]);
    let cheap = alone.clone().all(|rate| (10..40).contains(&rate));
    assert!(cheap, "{:?} bit/s, down and up", alone.collect::<alloc::vec::Vec<_>>());
}
