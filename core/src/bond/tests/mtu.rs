//! The tunnel's MTU follows its paths: one with 1300 bytes joins and leaves.

use super::pair::{Pair, uplink};
use crate::bond::{Drops, Strategy, Tuning};
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

    /// What each end dropped.
    pub(super) fn drops(&self) -> [Drops; 2] {
        [self.client.status(self.now).drops, self.server.status(self.now)[0].1.drops]
    }

    pub(super) fn link(&mut self, id: u16, up: bool) {
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
    // From an address of the server's own host the kernel would not take it.
    let packet = &answer[28..];
    assert_eq!((&answer[12..16], &answer[16..20]), (&packet[16..20], &packet[12..16]));
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

/// Sends as one does who heeds what he is told: packets as large as the tunnel's MTU of the moment,
/// one each millisecond. How many, until the server knows that a path is narrow.
fn bulk_until_noticed(pair: &mut Pair, most: u32) -> u32 {
    let noticed = |pair: &Pair| pair.mtu()[1] < WIDE;
    (1..=most)
        .find(|_| {
            pair.download_of(1, pair.mtu()[1]);
            noticed(pair)
        })
        .unwrap_or_else(|| panic!("not noticed after {most} packets: {:#?}", pair.server.status(pair.now)))
}

/// A SYN from outside, with an MSS of 1460, as it comes out at the client.
fn syn_through(pair: &mut Pair) -> u16 {
    let mut packet = super::pair::packet(44);
    packet[9] = 6;
    packet.truncate(20);
    packet.extend([0x01, 0xbb, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend([2, 4, 0x05, 0xb4]);
    pair.download_bytes(&packet);
    pair.run(Duration::from_millis(100));
    let came = pair.given[0].last().expect("it came");
    assert_eq!((came.len(), came[9]), (44, 6), "it is the SYN");
    u16::from_be_bytes([came[42], came[43]])
}

/// What the server answers to a packet of the former size.
fn told(pair: &mut Pair) -> u16 {
    pair.given[1].clear();
    pair.download_of(1, WIDE);
    let answer = pair.given[1].last().expect("it is told");
    assert_eq!((answer[9], answer[20], answer[21]), (1, 3, 4), "RFC 1191: too big");
    u16::from_be_bytes([answer[26], answer[27]])
}

#[test]
fn a_path_that_turns_narrow_is_noticed_by_what_it_swallows_and_nothing_is_lost_inside() {
    let mut pair = Pair::connected();
    pair.client.set_strategy(pair.now, Strategy::Weighted);
    pair.client.set_uplinks(pair.now, &[uplink(0, 3), uplink(1, 1)]).expect("both are there");
    pair.run(Duration::from_secs(5));
    pair.widths[1] = 1300;
    // It carries little: one silence, and three probes of a second.
    let noticed = bulk_until_noticed(&mut pair, 5000);
    let after = 2000;
    (0..after).for_each(|_| pair.download_of(1, NARROW));
    pair.run(Duration::from_secs(1));
    let [client, server] = pair.drops();
    assert_eq!((client, server), (Drops::default(), Drops::default()));
    assert_eq!(pair.given[0].len(), (noticed + after) as usize);
    assert_eq!((pair.mtu(), told(&mut pair), syn_through(&mut pair)), ([WIDE, NARROW], NARROW, NARROW - 40));
}

#[test]
fn a_path_alone_that_turns_narrow_under_bulk_is_noticed_within_moments() {
    let mut pair = Pair::connected();
    pair.client.set_uplinks(pair.now, &[uplink(1, 1)]).expect("one is enough");
    pair.run(Duration::from_secs(5));
    pair.widths[1] = 1300;
    // Three silences, and two probe time-outs in which a wider size may still be found.
    let noticed = bulk_until_noticed(&mut pair, 1500);
    assert!(noticed < 500, "the tunnel waits for the search: {noticed} ms");
    assert!(pair.given[0].is_empty(), "nothing of that size came through");
    (0..500).for_each(|_| pair.download_of(1, NARROW));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.given[0].len(), 500, "what fits comes through, all of it");
    assert_eq!((told(&mut pair), syn_through(&mut pair)), (NARROW, NARROW - 40));
}

#[test]
fn a_narrow_path_with_small_packets_alone_is_as_good_as_any() {
    let mut pair = Pair::connected();
    pair.client.set_uplinks(pair.now, &[uplink(1, 1)]).expect("one is enough");
    pair.run(Duration::from_secs(5));
    pair.widths[1] = 1300;
    for _ in 0..60 {
        pair.download_of(1, 200);
        pair.run(Duration::from_secs(1));
    }
    assert_eq!((pair.given[0].len(), pair.mtu()), (60, [WIDE; 2]), "nobody asked for more");
    pair.run(Duration::from_secs(60));
    bulk_until_noticed(&mut pair, 1500);
}

#[test]
fn a_path_that_pauses_under_bulk_again_and_again_is_not_narrow() {
    for pause in [30, 60, 120, 400] {
        let mut pair = Pair::connected();
        pair.client.set_uplinks(pair.now, &[uplink(1, 1)]).expect("one is enough");
        pair.run(Duration::from_secs(5));
        for _ in 0..20 {
            pair.widths[1] = 0;
            pair.download_of(pause, WIDE);
            pair.widths[1] = 1500;
            pair.download_of(300, WIDE);
        }
        assert_eq!((pair.mtu(), pair.mtus.len()), ([WIDE; 2], 1), "pauses of {pause} ms");
    }
}
