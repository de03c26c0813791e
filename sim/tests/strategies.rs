//! A bond is never slower than its best link, whatever the strategy.
//!
//! Judged is every shipped scenario whose best link is steady, from three seconds after a flow's
//! begin on, against what that link could carry of TCP payload through the bond: alone and without
//! one it carries 4.4% more, the header's 64 bytes of 1500.

#[path = "util/ways.rs"]
mod ways;

use ropewalk_sim::scenario::{MODES, Overrides, catalog};
use ways::{best_links, carried};

/// Of the ceiling of the best link, in hundredths.
const LEAST: u64 = 95;

/// Scenario, strategy, and why it is under that.
const MISSED: &[(&str, &str, &str)] = &[
    ("f2", "lowest-latency", "80%: two links of one delay take turns, and each change costs the flow a cut"),
    ("f2-up", "lowest-latency", "83%: as in f2"),
    ("f5", "lowest-latency", "no link is the best both ways: the upload goes by the near one, at 41% of LTE"),
    ("f5", "active-backup", "no link is the best both ways: the upload goes by the first, at 15% of LTE"),
    ("f5", "redundant", "no link is the best both ways: the upload has 16% of LTE, and why was not found"),
    ("s8", "redundant", "94.3%: a flow waits for a repair now and then while the slow link is behind"),
];

/// Runs a scenario, or its first seconds, by every strategy. How many figures were judged, and what
/// is not as it should be.
fn judge(name: &str, seconds: Option<u32>) -> (usize, Vec<String>) {
    let duration = seconds.map(|seconds| format!("duration={seconds} s"));
    let overrides = Overrides::new(duration.as_deref()).expect("it is well formed");
    let scenario = catalog::find(name).expect("it ships").read(&overrides).expect("it is well formed");
    let best = best_links(&scenario);
    if best.is_empty() {
        return (0, Vec::new());
    }
    let mut faults = Vec::new();
    for mode in MODES {
        let known = MISSED.iter().find(|(of, strategy, _)| *of == name && strategy == mode);
        let mut missed = 0;
        for (best, got) in best.iter().zip(carried(&scenario, mode, &best)) {
            let share = got * 1000 / best.ceiling;
            let (flow, link) = (&scenario.flows[best.flow].name, &scenario.links[best.link].name);
            let told =
                format!("{name} by {mode}: {flow} has {share} thousandths of what {link} alone would carry");
            println!("{told}");
            if share < LEAST * 10 {
                missed += 1;
                faults.extend(known.is_none().then_some(told));
            }
        }
        // A short run may end before it shows.
        if let (Some((.., why)), None, 0) = (known, seconds, missed) {
            faults.push(format!("{name} by {mode} is met: strike it from the table ({why})"));
        }
    }
    (best.len() * MODES.len(), faults)
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

#[test]
fn the_link_that_is_best_this_way_is_found() {
    assert_held("f2-up", 6);
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
