//! 7: bytes follow the weights, within 1% over 1000 packets or one scheduling quantum.

use super::lab::Setup;
use super::link::Nature;
use super::packet::{Flow, Kind, Way};
use super::server::calm;
use super::sut::Sut;
use super::transition::Transition;
use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::bond::{Strategy as Spread, Uplink};
use ropewalk_core::machine::{Device, UplinkId, Via};
use ropewalk_core::time::Duration;

/// What one decision may be off: 16 packets, and one more for each path.
const QUANTUM: u64 = 16 * 1500;

/// Links whose rates are as their weights say: the weights can be kept.
fn fitting(seed: u64, weights: &[u16]) -> Setup {
    let mut setup = calm(seed, weights.len());
    setup.tuning.strategy = Spread::Weighted;
    for (both, weight) in setup.clients[0].iter_mut().zip(weights) {
        *both = both.map(|nature| Nature { rate: u64::from(*weight) * 200_000, ..nature });
    }
    setup
}

fn weigh(sut: &mut Sut, weights: &[u16]) {
    let uplinks: Vec<Uplink> = (0u16..)
        .zip(weights)
        .map(|(id, weight)| {
            let via = Via { device: Device::new(&format!("up{id}")), ..Via::default() };
            Uplink { id: UplinkId(id), via, weight: *weight }
        })
        .collect();
    let now = sut.lab.now;
    sut.lab.clients[0].machine.set_uplinks(now, &uplinks).expect("they are as they were");
    sut.lab.clients[0].turn(now);
    sut.lab.run(Duration::from_secs(2));
}

/// More than all links carry, for so long.
fn load(sut: &mut Sut, way: Way, total: u64, milliseconds: u64) {
    let flow = Flow { client: 0, way, kind: Kind::Tcp, id: 0 };
    // Inner packets of 1040 bytes.
    let count = (total * 12 / 10 / 100 / 1040).max(1) as u8;
    for _ in 0..milliseconds / 10 {
        sut.apply(&Transition::Send { flow, count, size: 1000, joined: false });
        sut.apply(&Transition::Wait(10));
    }
}

proptest! {
    #![proptest_config(super::cases(8))]

    #[test]
    fn bytes_follow_the_weights(seed: u64, weights in vec(2u16..6, 2..5), up: bool) {
        let mut sut = Sut::new(&fitting(seed, &weights));
        weigh(&mut sut, &weights);
        let way = if up { Way::Up } else { Way::Down };
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        load(&mut sut, way, total * 200_000, 3000);
        let before = sut.lab.data[way as usize].clone();
        load(&mut sut, way, total * 200_000, 2000);
        let after = &sut.lab.data[way as usize];
        let sent: Vec<u64> = (0u8..).zip(&weights).map(|(path, _)| after[&path] - before[&path]).collect();
        let all: u64 = sent.iter().sum();
        prop_assert!(all > 1000 * 1076, "{} bytes are too few to tell", all);
        for (sent, weight) in sent.iter().zip(&weights) {
            let share = all * u64::from(*weight) / total;
            let most = (all / 100).max(QUANTUM + 1500 * weights.len() as u64);
            let off = sent.abs_diff(share);
            prop_assert!(off <= most, "{} of {}, its share is {}: {:#?}", sent, all, share, sut.client());
        }
    }
}

#[test]
fn weights_are_kept_from_the_moment_they_are_set_though_one_path_carried_all_before() {
    for way in [Way::Up, Way::Down] {
        let mut setup = fitting(5, &[100, 100]);
        setup.tuning.strategy = Spread::Aggregate;
        let mut sut = Sut::new(&setup);
        // What one link carries easily: 8 of 20 Mbit/s.
        load(&mut sut, way, 1_000_000, 3000);
        let now = sut.lab.now;
        sut.lab.clients[0].machine.set_strategy(now, Spread::Weighted);
        sut.lab.clients[0].turn(now);
        load(&mut sut, way, 1_000_000, 1000);
        let before = sut.lab.data[way as usize].clone();
        load(&mut sut, way, 1_000_000, 4000);
        let after = &sut.lab.data[way as usize];
        let sent: Vec<u64> =
            (0u8..2).map(|path| after[&path] - before.get(&path).copied().unwrap_or(0)).collect();
        let all: u64 = sent.iter().sum();
        assert!(all > 1000 * 1076, "{all} bytes are too few to tell");
        assert!(sent[0].abs_diff(sent[1]) <= (all / 50).max(2 * QUANTUM), "{sent:?} by equal weights");
    }
}
