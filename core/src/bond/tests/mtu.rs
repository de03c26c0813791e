//! The tunnel's MTU follows its paths: one with 1300 bytes joins and leaves.

use super::pair::{Pair, uplink};
use crate::bond::Tuning;
use crate::machine::{Input, Machine, UplinkId, Via};
use crate::time::Duration;
use alloc::vec::Vec;

const WIDE: u16 = crate::bond::DEFAULT_MTU;
/// What 1280 bytes leave, the largest size that is tried below 1300.
const NARROW: u16 = WIDE - (1500 - 1280);

impl Pair {
    fn device(&self) -> u16 {
        self.mtus.last().expect("it was configured").1
    }

    /// The MTU as both ends see it.
    fn mtu(&self) -> [u16; 2] {
        [self.client.status(self.now).mtu, self.server.status(self.now)[0].1.mtu]
    }

    fn link(&mut self, id: u16, up: bool) {
        let uplink = UplinkId(id);
        let via = Via::default();
        let input = if up { Input::UplinkBack { uplink, via } } else { Input::UplinkGone { uplink } };
        self.client.handle_input(self.now, input);
    }
}

#[test]
fn a_narrow_path_lowers_the_tunnel_when_it_joins_and_not_for_ever() {
    let mut pair = Pair::new(&[super::pair::key(2).public()], 2, &[]);
    pair.widths[1] = 1300;
    pair.run(Duration::from_secs(16));
    assert_eq!((pair.mtu(), pair.device()), ([NARROW; 2], NARROW));
    assert_eq!(pair.mtus.len(), 2, "as agreed, then once more: {:?}", pair.mtus);
    pair.link(1, false);
    pair.run(Duration::from_secs(4));
    assert_eq!(pair.device(), NARROW, "it may be back");
    pair.run(Duration::from_secs(2));
    assert_eq!((pair.mtu(), pair.device()), ([WIDE; 2], WIDE));
    pair.link(1, true);
    pair.run(Duration::from_secs(4));
    assert_eq!((pair.mtu(), pair.device()), ([NARROW; 2], NARROW));
}

#[test]
fn a_path_that_comes_and_goes_changes_the_size_once() {
    let mut pair = Pair::new(&[super::pair::key(2).public()], 2, &[]);
    pair.widths[1] = 1300;
    pair.run(Duration::from_secs(4));
    for _ in 0..10 {
        pair.link(1, false);
        pair.run(Duration::from_secs(2));
        pair.link(1, true);
        pair.run(Duration::from_secs(3));
    }
    assert_eq!(pair.mtus.len(), 2, "{:?}", pair.mtus);
}

#[test]
fn who_sends_too_much_is_told_the_size() {
    let mut pair = Pair::new(&[super::pair::key(2).public()], 2, &[]);
    pair.widths[1] = 1300;
    pair.run(Duration::from_secs(16));
    pair.download_of(1, NARROW + 1);
    let [answer] = &pair.given[1][..] else { panic!("one answer, got {}", pair.given[1].len()) };
    let told = u16::from_be_bytes([answer[26], answer[27]]);
    assert_eq!((answer[9], answer[20], answer[21], told), (1, 3, 4, NARROW), "RFC 1191");
    pair.download_of(1, NARROW);
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.given[0].last().map(Vec::len), Some(usize::from(NARROW)));
}

#[test]
fn what_waits_for_a_path_that_turns_narrow_holds_up_nothing() {
    // One path alone: what no longer fits goes under its name, and what fits comes through.
    let mut pair = Pair::connected();
    pair.client.set_uplinks(pair.now, &[uplink(1, 1)]).expect("one is enough");
    pair.run(Duration::from_secs(1));
    pair.widths[1] = 1300;
    for _ in 0..300 {
        pair.download_of(1, WIDE);
        pair.download_of(1, 200);
    }
    pair.run(Tuning::default().hold * 20);
    let small = pair.given[0].iter().filter(|packet| packet.len() == 200).count();
    assert!(small >= 295, "{small} of 300");
    assert_eq!(pair.mtu(), [WIDE, NARROW], "the client sent nothing large");
}
