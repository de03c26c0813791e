//! The bond's machines in the packet world, with the model of the kernel's TCP inside.
//!
//! The whole scenarios and what is expected of them are run by `ropewalk sim`; here are their first
//! seconds.

use ropewalk_sim::packet::{Options, run};
use ropewalk_sim::report::Report;
use ropewalk_sim::scenario::{Overrides, catalog};

fn seconds(name: &str, seconds: u32) -> Report {
    let duration = format!("duration={seconds} s");
    let overrides = Overrides::new([duration.as_str()]).expect("it is well formed");
    let scenario = catalog::find(name).expect("it ships").read(&overrides).expect("it is well formed");
    run(&scenario, Options::default()).expect("this build has the bond")
}

/// Goodput of the first flow in thousandths of the ceiling.
fn share(report: &Report) -> u64 {
    report.flows[0].goodput.expect("it carries bytes") * 1000 / report.ceiling
}

#[test]
fn two_links_carry_one_download_and_the_same_seed_gives_the_same_trace() {
    let (first, again) = (seconds("s1", 4), seconds("s1", 4));
    assert_eq!(first.hash, again.hash);
    // The start-up of TCP and of both paths is in it.
    assert!(share(&first) >= 850, "{first}");
    for link in &first.links {
        assert!(link.carried * 10 >= link.rate * 8, "link {} is not used: {first}", link.name);
    }
    let ping = first.flows.iter().find_map(|flow| flow.ping_p50).expect("there is a ping");
    assert!(ping.as_millis() <= 35, "the ping waits for {ping:?}");
}

#[test]
fn random_loss_on_the_way_is_repaired() {
    let report = seconds("one-loss1", 4);
    assert!(share(&report) >= 750, "{report}");
}

#[test]
fn a_far_trickle_does_not_hold_up_a_near_flood() {
    let report = seconds("s3", 4);
    // The ceiling counts both links; the near one alone is nine tenths of it, and TCP's start is in
    // it.
    assert!(share(&report) >= 800, "{report}");
}
