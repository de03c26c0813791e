//! A shipped scenario, held to what its file asks for.

use ropewalk_sim::packet::{Options, run};
use ropewalk_sim::scenario::{Overrides, catalog};

/// Runs the first `seconds` of a scenario: its figures are met, but for those that its file calls
/// missed, which must be missed still.
///
/// The same seed gives the same run, so the figures have no tolerance.
pub(crate) fn holds(name: &str, seconds: u32) {
    judge(name, &Overrides::new([format!("duration={seconds} s").as_str()]).expect("it is well formed"));
}

/// The same of the whole scenario.
#[allow(dead_code, reason = "each test file is a crate of its own and uses a part")]
pub(crate) fn holds_whole(name: &str) {
    judge(name, &Overrides::default());
}

fn judge(name: &str, overrides: &Overrides) {
    let scenario = catalog::find(name).expect("it ships").read(overrides).expect("it is well formed");
    let report = run(&scenario, Options::default()).expect("this build has the bond");
    assert!(!report.verdicts.is_empty(), "{name} asks for nothing");
    for verdict in &report.verdicts {
        match &verdict.missed {
            None => assert!(verdict.met, "{name}: {}, got {}\n{report}", verdict.asked, verdict.got),
            Some(why) => assert!(
                !verdict.met,
                "{name}: {} is met, with {}: strike `missed` from the file ({why})",
                verdict.asked, verdict.got
            ),
        }
    }
}
