//! The queue as a whole, in virtual time.

use super::*;
use crate::bond::inner::testing::Build;
use crate::bond::inner::{Ecn, Flow, FlowKey, Packet, Segments};
use crate::machine::Offload;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// `count` packets of `size` bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packets {
    flow: u16,
    first: u32,
    count: usize,
    size: usize,
    capable: bool,
}

impl Item for Packets {
    fn next_len(&self) -> usize {
        if self.count == 0 { 0 } else { self.size }
    }

    fn bytes_left(&self) -> usize {
        self.count * self.size
    }

    fn advance(&mut self) {
        (self.count, self.first) = (self.count - 1, self.first + 1);
    }

    fn mark(&mut self) -> bool {
        self.capable
    }
}

fn key(flow: u16) -> FlowKey {
    let packet = Build { ports: (flow, 443), ..Build::default() }.udp(b"");
    Flow::of(&Packet::parse(&packet).expect("a packet")).key
}

fn at(microseconds: u64) -> Instant {
    Instant::from_nanos(microseconds * 1000)
}

fn packets(flow: u16, first: u32, count: usize, size: usize) -> Packets {
    Packets { flow, first, count, size, capable: false }
}

/// The next packet to leave, as flow and number.
fn next(queue: &mut FqCodel<Packets>, now: Instant) -> Option<(u16, u32)> {
    queue.peek(now)?;
    queue.pop(|item| (item.flow, item.first))
}

#[test]
fn flows_get_equal_bytes_whatever_their_packets() {
    let mut queue = FqCodel::new(Config::default());
    for number in 0..600 {
        queue.push(at(0), key(1), packets(1, number, 1, 1500));
        queue.push(at(0), key(2), packets(2, number, 1, 300));
        queue.push(at(0), key(3), packets(3, number * 4, 4, 1000));
    }
    let mut bytes = [0; 4];
    for _ in 0..900 {
        let head = queue.peek(at(1)).expect("a backlog");
        let flow = queue.pop(|item| item.flow).expect("it was chosen");
        bytes[usize::from(flow)] += head.bytes;
    }
    let most = *bytes[1..].iter().max().expect("three flows");
    let least = *bytes[1..].iter().min().expect("three flows");
    assert!(most - least <= 2 * 1500, "{bytes:?}");
}

#[test]
fn a_sparse_flow_overtakes_the_backlog() {
    let mut queue = FqCodel::new(Config::default());
    queue.push(at(0), key(1), packets(1, 0, 40, 1500));
    for number in 0..3 {
        assert_eq!(next(&mut queue, at(1)), Some((1, number)));
    }
    assert!(!queue.peek(at(1)).expect("a backlog").sparse);
    queue.push(at(2), key(2), packets(2, 0, 1, 100));
    let head = queue.peek(at(3)).expect("a backlog");
    assert!(head.sparse);
    assert_eq!((head.bytes, head.flow_bytes, head.backlog), (100, 100, 37 * 1500 + 100));
    assert_eq!(next(&mut queue, at(3)), Some((2, 0)));
    assert_eq!(next(&mut queue, at(3)), Some((1, 3)));
}

#[test]
fn a_flow_that_cannot_go_keeps_its_turn() {
    let mut queue = FqCodel::new(Config::default());
    for flow in 1..=3 {
        queue.push(at(0), key(flow), packets(flow, 0, 2, 1500));
    }
    assert!(queue.peek_where(at(1), |_, item| item.flow == 2).is_some());
    assert_eq!(queue.pop(|item| item.flow), Some(2));
    assert_eq!(queue.peek_where(at(1), |_, _| false), None);
    assert_eq!(queue.pop(|item| item.flow), None, "nothing was chosen");
    let order: Vec<_> = core::iter::from_fn(|| next(&mut queue, at(1))).collect();
    assert_eq!(order, [(1, 0), (3, 0), (2, 1), (1, 1), (3, 1)]);
}

/// Offers one packet of 1500 bytes each `offered` us, serves one each `served` us, for ten seconds;
/// the packets that left, and the longest wait of the last second in microseconds.
fn serve(offered: u64, served: u64, capable: bool, delays: Delays) -> (Counters, u64) {
    let mut queue = FqCodel::new(Config { limit: 100 << 20, ..Config::default() });
    queue.set_delays(delays);
    let (mut number, mut longest) = (0, 0);
    for now in 0..10_000_000u64 {
        if now % offered == 0 {
            queue.push(at(now), key(1), Packets { capable, ..packets(1, number, 1, 1500) });
            number += 1;
        }
        if now % served == 0 {
            if let Some(head) = queue.peek(at(now)).filter(|_| now > 9_000_000) {
                longest = longest.max(head.waited.as_micros() as u64);
            }
            queue.pop(|_| ());
        }
        while queue.poll_spent().is_some() {}
    }
    (queue.counters(), longest)
}

#[test]
fn an_overload_is_shed_and_the_queue_comes_down() {
    let (counters, longest) = serve(1000, 1010, false, Delays::default());
    assert_eq!(counters.marked, 0);
    assert!(counters.dropped_codel > 50, "{counters:?}");
    assert!(longest < 20_000, "a queue of {longest} us");
}

#[test]
fn who_knows_ecn_is_marked_and_loses_nothing() {
    let (counters, _) = serve(1000, 1010, true, Delays::default());
    assert_eq!((counters.dropped_codel, counters.dropped_full), (0, 0));
    assert!(counters.marked > 50, "{counters:?}");
}

#[test]
fn a_load_that_fits_is_left_alone() {
    let (counters, longest) = serve(1000, 990, false, Delays::default());
    assert_eq!((counters.dropped_codel, counters.dropped_full), (0, 0));
    assert!(longest <= 1000, "a queue of {longest} us");
}

#[test]
fn a_longer_target_keeps_a_longer_queue() {
    let delays = Delays { target: Duration::from_millis(60), interval: Duration::from_millis(200) };
    let (counters, longest) = serve(1000, 1010, false, delays);
    assert!(counters.dropped_codel > 20, "{counters:?}");
    assert!((60_000..120_000).contains(&longest), "a queue of {longest} us");
}

#[test]
fn a_superpacket_loses_one_packet_at_a_time() {
    let mut queue = FqCodel::new(Config::default());
    queue.push(at(0), key(1), packets(1, 0, 40, 1500));
    assert_eq!(next(&mut queue, at(10_000)), Some((1, 0)));
    // An interval later the first drop is due, and one packet goes.
    assert_eq!(next(&mut queue, at(120_000)), Some((1, 2)));
    assert_eq!(next(&mut queue, at(120_100)), Some((1, 3)));
    assert_eq!(queue.counters().dropped_codel, 1);
}

#[test]
fn over_the_limit_the_longest_queue_pays() {
    let mut queue = FqCodel::new(Config { limit: 15_000, ..Config::default() });
    queue.push(at(0), key(1), packets(1, 0, 9, 1500));
    queue.push(at(0), key(2), packets(2, 0, 1, 1000));
    queue.push(at(0), key(3), packets(3, 0, 1, 1000));
    assert_eq!(queue.counters().dropped_full, 1);
    assert_eq!(next(&mut queue, at(1)), Some((1, 1)));
    assert_eq!(next(&mut queue, at(1)), Some((2, 0)));
    assert_eq!(next(&mut queue, at(1)), Some((3, 0)));
}

#[test]
fn an_entry_is_cut_as_it_leaves() {
    let build = Build { ecn: 2, partial: true, ..Build::default() };
    let whole = build.tcp(&[7; 2500]);
    let offload = Offload::Tcp { header: 40, size: 1000, v6: false };
    let segments = Segments::of(&whole, offload).expect("it fits");
    let mut queue = FqCodel::new(Config::default());
    queue.push(at(0), key(1), Entry::new(segments, Ecn::Ect0));
    let mut seen = vec![];
    // The wait is over the target for an interval: the second packet is marked.
    for now in [10_000, 120_000, 120_001] {
        let head = queue.peek(at(now)).expect("three packets");
        let piece = queue.pop(Entry::next).expect("it was chosen");
        seen.push((head.bytes, piece.index, piece.marked));
    }
    assert_eq!(seen, [(1040, 0, false), (1040, 1, true), (540, 2, false)]);
    assert!(queue.is_empty());
    assert!(queue.poll_spent().is_some_and(|entry| entry.bytes_left() == 0));
}

#[derive(Clone, Debug)]
enum Step {
    Push { flow: u16, count: usize, size: usize, capable: bool },
    Pop,
    Refuse { flow: u16 },
    Wait { milliseconds: u64 },
    Delays { target: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u16..12, 1usize..8, 1usize..1500, any::<bool>())
            .prop_map(|(flow, count, size, capable)| Step::Push { flow, count, size, capable }),
        4 => Just(Step::Pop),
        1 => (0u16..12).prop_map(|flow| Step::Refuse { flow }),
        2 => (0u64..150).prop_map(|milliseconds| Step::Wait { milliseconds }),
        1 => (1u64..50).prop_map(|target| Step::Delays { target }),
    ]
}

proptest! {
    #[test]
    fn every_packet_leaves_in_order_or_is_counted(steps in prop::collection::vec(step(), 1..200)) {
        let config = Config { limit: 20_000, flows: 8, quantum: 1500 };
        let mut queue = FqCodel::new(config);
        let (mut now, mut given, mut sent, mut items, mut spent) = (0, 0u64, 0u64, 0, 0);
        let mut numbers: BTreeMap<u16, u32> = BTreeMap::new();
        let mut waiting: BTreeMap<u16, VecDeque<u32>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push { flow, count, size, capable } => {
                    let first = numbers.entry(flow).or_default();
                    queue.push(at(now), key(flow), Packets { capable, ..packets(flow, *first, count, size) });
                    waiting.entry(flow).or_default().extend(*first..*first + count as u32);
                    *first += count as u32;
                    given += count as u64;
                    items += 1;
                }
                Step::Pop => {
                    if let Some((flow, number)) = next(&mut queue, at(now)) {
                        sent += 1;
                        // Those before it were dropped; those behind it are still to come.
                        let waiting = waiting.get_mut(&flow).expect("it was given");
                        let place = waiting.binary_search(&number);
                        prop_assert!(place.is_ok(), "flow {} sent {} again, or out of order", flow, number);
                        waiting.drain(..=place.expect("just seen"));
                    }
                }
                Step::Refuse { flow } => {
                    let head = queue.peek_where(at(now), |_, item| item.flow != flow);
                    prop_assert!(head.is_none() || queue.chosen().is_some_and(|item| item.flow != flow));
                }
                Step::Wait { milliseconds } => now += milliseconds * 1000,
                Step::Delays { target } => {
                    let target = Duration::from_millis(target);
                    queue.set_delays(Delays { target, ..Delays::default() });
                }
            }
            spent += core::iter::from_fn(|| queue.poll_spent()).count();
            prop_assert!(queue.backlog() <= config.limit);
        }
        let counters = queue.counters();
        let left: usize = core::iter::from_fn(|| next(&mut queue, at(now))).count();
        let later = queue.counters();
        let dropped = later.dropped_codel + later.dropped_full;
        prop_assert_eq!(given, sent + left as u64 + dropped);
        prop_assert_eq!(counters.sent, sent);
        spent += core::iter::from_fn(|| queue.poll_spent()).count();
        prop_assert_eq!(items, spent);
        prop_assert!(queue.is_empty());
    }
}
