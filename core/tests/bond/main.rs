//! The bond as a whole: the shipped client, server and driver over links of any kind, in virtual
//! time.
//!
//! - [`transition`]: how it is set up, and what may happen to it.
//! - [`reference`]: what must be true of what comes out, from nothing but what went in.
//! - [`sut`]: the bond in its world ([`lab`], [`io`], [`link`]), to which it is done.
//! - [`assertions`]: the comparison, by the numbers of the protocol's invariants.
//! - [`holes`], [`weights`], [`budgets`], [`idle`]: invariants 3, 7, 8, 9.
//! - [`restart`]: an end that forgets, a link that falls silent, at each moment of a handshake.
//! - [`server`]: many clients, strangers, and bugs of others.
//!
//! A failure prints the setup, with its seed, and the shortest sequence that still fails.
//! PROPTEST_CASES asks for more than the usual number.

mod assertions;
mod budgets;
mod holes;
mod idle;
mod io;
mod lab;
mod link;
mod packet;
mod reference;
mod restart;
mod server;
mod sut;
mod transition;
mod weights;

use lab::Setup;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ropewalk_core::time::Duration;
use sut::Sut;
use transition::Transition;

/// As many cases as `PROPTEST_CASES` asks for of the property that has `MOST` without it; of dearer
/// ones as much fewer.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse::<u32>().ok());
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        max_shrink_iters: 500,
        ..ProptestConfig::with_cases(asked.map_or(usual, |asked| (asked * usual).div_ceil(MOST)))
    }
}

const MOST: u32 = 96;

/// Plays it to its end; the hash of all that was sent.
fn play(setup: &Setup, transitions: &[Transition]) -> u64 {
    let mut sut = Sut::new(setup);
    for transition in transitions {
        sut.apply(transition);
        assertions::after_each(&sut);
    }
    sut.heal();
    assertions::after_each(&sut);
    assertions::after_healing(&mut sut);
    sut.lab.hash
}

proptest! {
    #![proptest_config(cases(MOST))]

    /// 1, 2, 4, 5, 6, and 10 for one setup in eight, which is played twice.
    #[test]
    fn whatever_happens_the_bond_keeps_its_promises_and_recovers(
        setup in transition::rough(),
        transitions in vec(transition::transition(), 0..40),
    ) {
        let hash = play(&setup, &transitions);
        if setup.seed.is_multiple_of(8) {
            prop_assert_eq!(hash, play(&setup, &transitions), "the same seed gave another trace");
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// 11: one path without loss, whatever the batches and the sizes. 4: and nothing is missing
    /// that had room. Where the link's own queue was full, which is a loss, the rest of a sparse
    /// UDP flow does not wait for the repair.
    #[test]
    fn over_one_link_without_faults_order_in_is_order_out(
        setup in transition::straight(),
        transitions in vec(prop_oneof![transition::send(), transition::wait()], 1..30),
    ) {
        let mut sut = Sut::new(&setup);
        for transition in &transitions {
            sut.apply(transition);
            assertions::after_each(&sut);
        }
        sut.apply(&Transition::Wait(4000));
        let lossless = sut.lab.links[0][0].iter().all(|way| way.overflowed == 0);
        for (flow, sent) in &sut.reference.flows {
            if lossless || flow.kind != packet::Kind::Udp {
                prop_assert_eq!(sent.overtaken, 0, "{:?}", flow);
            }
        }
        assertions::after_healing(&mut sut);
    }
}

/// 10: keepalives only, under 40 bit/s for a path and a direction, and what proves new keys every
/// few minutes; and the two still reach each other at the end.
#[test]
fn an_idle_bond_sends_keepalives_only_and_lives_on() {
    for links in 1..=3 {
        let mut sut = Sut::new(&server::calm(1, links));
        sut.lab.run(Duration::from_secs(60));
        let before = sut.lab.sent;
        sut.lab.run(Duration::from_secs(900));
        for (side, before) in before.into_iter().enumerate() {
            let bits = (sut.lab.sent[side] - before) * 8 / 900 / links as u64;
            assert!((10..50).contains(&bits), "{links} links, side {side}: {bits} bit/s");
        }
        let (came, of) = sut.exchange();
        assert_eq!(came, of);
    }
}

/// 10: the same seed gives the same bytes at the same times, in debug and in release, on every
/// machine. Whoever changes what a bond sends, or when, changes the constant. To renew it: see that
/// the change is meant, run this test, take the value on the left over, and run it once more with
/// `--release`: it must be the same.
#[test]
fn the_hash_of_a_bond_is_that_of_every_other_build() {
    let setup = server::calm(7, 2);
    let flow = |way, kind, id| packet::Flow { client: 0, way, kind, id };
    let mut transitions = Vec::new();
    for id in 0..30 {
        let down = flow(packet::Way::Down, packet::Kind::Tcp, id % 3);
        let up = flow(packet::Way::Up, packet::Kind::WireGuard, 0);
        transitions.extend([
            Transition::Send { flow: down, count: 40, size: 1380, joined: true },
            Transition::Send { flow: up, count: 2, size: 300, joined: false },
            Transition::Wait(7),
        ]);
    }
    assert_eq!(format!("{:016x}", play(&setup, &transitions)), "68355dc5958892b9");
}
