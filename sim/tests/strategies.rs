//! A bond is never slower than its best link, whatever the strategy.
//!
//! Judged is every shipped scenario whose best link is steady, from three seconds after a flow's
//! begin on, against what that link could carry of TCP payload through the bond: alone and without
//! one it carries 4.4% more, the header's 64 bytes of 1500. Flows that go both ways count together.

#[path = "util/ways.rs"]
mod ways;

use ropewalk_sim::scenario::{MODES, Overrides, catalog};
use ways::{best_link, carried};

/// Of the ceiling of the best link, in hundredths.
const LEAST: u64 = 95;

/// Runs a scenario, or its first seconds, by every strategy. How many figures were judged, and what
/// is not as it should be.
fn judge(name: &str, seconds: Option<u32>) -> (usize, Vec<String>) {
    let duration = seconds.map(|seconds| format!("duration={seconds} s"));
    let overrides = Overrides::new(duration.as_deref()).expect("it is well formed");
    let scenario = catalog::find(name).expect("it ships").read(&overrides).expect("it is well formed");
    let Some(best) = best_link(&scenario) else { return (0, Vec::new()) };
    let mut faults = Vec::new();
    for mode in MODES {
        let share = carried(&scenario, mode, &best) * 1000 / best.ceiling;
        let (flows, link) = (best.names(&scenario), &scenario.links[best.link].name);
        let told =
            format!("{name} by {mode}: {flows} has {share} thousandths of what {link} alone would carry");
        println!("{told}");
        faults.extend((share < LEAST * 10).then_some(told));
    }
    (MODES.len(), faults)
}

/// Judges the first seconds of a scenario with one flow.
fn assert_held(name: &str, seconds: u32) {
    let (judged, faults) = judge(name, Some(seconds));
    assert_eq!(judged, MODES.len());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_slow_link_slows_no_strategy_down() {
    assert_held("s8", 6);
}

#[test]
fn a_link_that_swings_slows_no_strategy_down() {
    assert_held("s10", 9);
}

/// Each fall of the swinging link moved what the steady one had a copy of: `redundant` had 90.9%.
#[test]
fn a_link_as_wide_that_swings_slows_no_strategy_down() {
    assert_held("f9", 45);
}

#[test]
fn the_link_that_is_best_this_way_is_found() {
    assert_held("f2-up", 6);
}

#[test]
fn flows_both_ways_have_together_what_one_link_gives_them() {
    assert_held("f5", 6);
}

/// The whole of all scenarios: some minutes in a release build. `.ci/long` runs it.
#[test]
#[ignore = "takes minutes"]
fn no_strategy_is_slower_than_the_best_link_in_any_scenario() {
    let results: Vec<_> = catalog::BUILTIN.iter().map(|builtin| judge(builtin.name, None)).collect();
    let judged: usize = results.iter().map(|(judged, _)| judged).sum();
    let faults: Vec<&String> = results.iter().flat_map(|(_, faults)| faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(judged >= 20 * MODES.len(), "only {judged} figures were judged");
}
