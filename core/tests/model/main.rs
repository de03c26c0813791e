//! The model of the dispatch machine: random sequences of what clients, targets and uplinks do, and
//! after each step a comparison with a reference that knows only what was done.
//!
//! - [`transition`]: what may happen.
//! - [`reference`]: what must be true of it.
//! - [`sut`]: the machine in its world, to which it is done.
//! - [`assertions`]: the comparison.
//!
//! A failure prints the setting, with its seed, and the shortest sequence that still fails.
//! PROPTEST_CASES asks for more than the usual number.

mod assertions;
mod observed;
mod reference;
mod relayed;
mod said;
mod sut;
mod transition;
#[path = "../util/mod.rs"]
mod util;

use assertions::Assertions;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use reference::Reference;
use sut::Sut;
use transition::{Sequence, Setting, sequence, setting};

fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        max_shrink_iters: 3000,
        ..ProptestConfig::with_cases(asked.unwrap_or(usual))
    }
}

fn play(setting: &Setting, sequence: &Sequence) {
    let mut sut = Sut::new(setting);
    let mut reference = Reference::new(&setting.weights);
    let mut assertions = Assertions::new(setting.weights.len());
    for transition in &sequence.0 {
        sut.apply(&mut reference, transition);
        assertions.after_each(&sut.lab, &reference);
    }
    sut.farewell(&mut reference);
    assertions.after_each(&sut.lab, &reference);
    assertions.at_the_end(&sut.lab, &reference);
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn the_machine_does_what_the_reference_says(setting in setting(), sequence in sequence()) {
        play(&setting, &sequence);
    }
}

/// Found by the model, and allowed by it until it is decided: see
/// [`reference::Reference::allowed`].
#[test]
fn a_refusal_through_one_uplink_is_told_while_another_is_silent() {
    let mut lab = util::Setup::new(2).build();
    lab.link(0, util::Link::BlackHole);
    lab.target("192.0.2.1:80", util::Target::that(util::Behave::Refuse));
    let who =
        lab.client([util::Act::Send(util::say::socks5(util::addr("192.0.2.1:80"))), util::Act::AwaitEnd]);
    lab.run();
    assert_eq!(lab.world.attempts.len(), 2, "one into the hole, and one that was refused");
    let answered = lab.sock(who).got.byte_at(2).expect("an answer");
    assert_eq!(lab.got(who)[3], 5, "connection refused, RFC 1928 section 6; told at {answered:?}");
    assert!(answered.saturating_since(ropewalk_core::time::Instant::ZERO) < util::secs(2));
}
