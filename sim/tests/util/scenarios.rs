//! A shipped scenario, held to what its file asks for.

use ropewalk_sim::packet::{Options, run};
use ropewalk_sim::scenario::{Overrides, catalog};

/// Runs the first `seconds` of a scenario: its figures are met, but for those that its file calls
/// missed, which must be missed still.
///
/// The same seed gives the same run, so the figures have no tolerance.
pub(crate) fn holds(name: &str, seconds: u32) {
    let overrides = Overrides::new([format!("duration={seconds} s").as_str()]).expect("it is well formed");
    let faults = judge(name, &overrides);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What of the whole scenario is not as its file says.
#[allow(dead_code, reason = "each test file is a crate of its own and uses a part")]
pub(crate) fn judge_whole(name: &str) -> Vec<String> {
    judge(name, &Overrides::default())
}

fn judge(name: &str, overrides: &Overrides) -> Vec<String> {
    let scenario = catalog::find(name).expect("it ships").read(overrides).expect("it is well formed");
    let report = run(&scenario, Options::default()).expect("this build has the bond");
    assert!(!report.verdicts.is_empty(), "{name} asks for nothing");
    let faults = report.verdicts.iter().filter_map(|verdict| match (&verdict.missed, verdict.met) {
        (None, true) | (Some(_), false) => None,
        (None, false) => Some(format!("{name}: {}, got {}\n{report}", verdict.asked, verdict.got)),
        (Some(why), true) => Some(format!(
            "{name}: {} is met, with {}: strike `missed` from the file ({why})",
            verdict.asked, verdict.got
        )),
    });
    faults.collect()
}
