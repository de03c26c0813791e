//! UDP at its limits: queues, flows, drain; and datagrams that are sent in one go.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::event::{Dropped, FlowEnd};
use ropewalk_core::machine::{Fault, Input, MAX_SEGMENTS, SocketId};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, ConfigError, UdpHeader, Unwrap};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use util::hand::{BALANCER, Hand, LISTEN, SERVER_V4, tcp, udp};
use util::{addr, ms, pattern, secs};

/// The header of client number `n`.
fn v2(n: usize) -> Vec<u8> {
    let client = SocketAddr::new([192, 0, 2, (n >> 12) as u8].into(), 1 + (n & 0xfff) as u16);
    emit::v2(client, addr(LISTEN), Transport::Datagram, &[], false)
}

fn each() -> Config {
    udp(UdpHeader::Each)
}

fn payloads(hand: &mut Hand) -> Vec<Vec<u8>> {
    hand.sent().into_iter().map(|sent| sent.data).collect()
}

// ---- queues ----

#[test]
fn a_full_queue_drops_the_newest_and_counts_it() {
    let mut hand = Hand::new(Config { max_queue: 1000, ..each() });
    hand.datagram(BALANCER, &[&v2(1), &[1; 400]]);
    hand.blocked.insert(hand.only_flow());
    for n in 2..5 {
        hand.datagram(BALANCER, &[&v2(1), &[n; 400]]);
    }
    hand.datagram(BALANCER, &[&v2(1), &[5; 200]]);
    hand.datagram(BALANCER, &[&v2(1), &[6; 1]]);
    assert_eq!(hand.drops(), [Dropped::QueueFull { limit: 1000 }; 3]);
    assert_eq!(payloads(&mut hand), Vec::<Vec<u8>>::new());
    hand.blocked.clear();
    assert_eq!(payloads(&mut hand), [vec![1; 400], vec![2; 400], vec![5; 200]]);
    let counters = hand.counters();
    assert_eq!((counters.sent, counters.dropped), (3, 3));
    hand.datagram(BALANCER, &[&v2(1), &[7; 400]]);
    assert_eq!(payloads(&mut hand), [vec![7; 400]]);
}

#[test]
fn a_datagram_larger_than_the_queue_does_not_stop_what_comes_after_it() {
    let mut hand = Hand::new(Config { max_queue: 1000, ..each() });
    hand.datagram(BALANCER, &[&v2(1), b"first"]);
    assert_eq!(payloads(&mut hand), [b"first"]);
    hand.datagram(BALANCER, &[&v2(1), &[1; 1001]]);
    assert_eq!(hand.drops(), [Dropped::QueueFull { limit: 1000 }]);
    hand.datagram(BALANCER, &[&v2(1), b"small"]);
    assert_eq!(payloads(&mut hand), [b"small"]);
    // And on the way back.
    hand.answer(hand.only_flow(), &[1; 1001]);
    hand.answer(hand.only_flow(), b"answer");
    assert_eq!(payloads(&mut hand), [b"answer"]);
}

#[test]
fn one_flow_that_does_not_drain_takes_no_room_from_another() {
    let mut hand = Hand::new(Config { max_queue: 1000, ..each() });
    hand.datagram(BALANCER, &[&v2(1), &[1; 900]]);
    hand.blocked.insert(hand.only_flow());
    hand.datagram(BALANCER, &[&v2(2), &[2; 900]]);
    hand.datagram(BALANCER, &[&v2(1), &[1; 900]]);
    assert_eq!(payloads(&mut hand), [vec![2; 900]]);
    assert_eq!(hand.drops().len(), 1);
}

#[test]
fn empty_datagrams_cannot_fill_memory_either() {
    let mut hand = Hand::new(Config { max_queue: 1 << 10, ..each() });
    hand.datagram(BALANCER, &[&v2(1)]);
    hand.blocked.insert(hand.only_flow());
    for _ in 0..5_000 {
        hand.datagram(BALANCER, &[&v2(1)]);
    }
    assert!(hand.counters().dropped > 4_000, "{:?}", hand.counters());
    hand.blocked.clear();
    assert!(!payloads(&mut hand).is_empty());
}

#[test]
fn answers_are_bounded_by_the_listeners_queue() {
    let mut hand = Hand::new(Config { max_queue: 100, ..each() });
    for n in 0..2 {
        hand.datagram(BALANCER, &[&v2(n), b"x"]);
    }
    let listener = hand.listener_socket(0);
    hand.blocked.insert(listener);
    for flow in hand.flows() {
        hand.answer(flow, &[flow.index() as u8; 60]);
    }
    assert_eq!(hand.drops(), [Dropped::QueueFull { limit: 100 }]);
    assert_eq!((hand.counters().received, hand.counters().dropped), (1, 1));
    hand.sent();
    hand.blocked.clear();
    assert_eq!(payloads(&mut hand), [[1; 60]]);
}

// ---- flows ----

#[test]
fn limits_of_nothing_are_refused() {
    assert_eq!(Unwrap::new(Config { max_flows: 0, ..each() }).err(), Some(ConfigError::Zero("max_flows")));
    assert_eq!(Unwrap::new(Config { max_queue: 0, ..each() }).err(), Some(ConfigError::Zero("max_queue")));
    assert!(Unwrap::new(Config { listeners: Vec::new(), ..tcp() }).is_err());
}

#[test]
fn at_the_limit_the_longest_idle_flow_makes_room() {
    for gap in [secs(2), ms(1)] {
        let mut hand = Hand::new(Config { max_flows: 3, ..each() });
        let mut ids = Vec::new();
        for n in 0..3 {
            hand.datagram(BALANCER, &[&v2(n), b"x"]);
            ids.push(*hand.flows().last().expect("a flow"));
            hand.advance(gap);
        }
        // The first sends, the second hears: the third is the longest idle.
        hand.datagram(BALANCER, &[&v2(0), b"x"]);
        hand.advance(gap);
        hand.answer(ids[1], b"x");
        hand.advance(gap);
        hand.datagram(BALANCER, &[&v2(3), b"new"]);
        assert_eq!(hand.closed_sockets, [ids[2]], "with {gap:?} between them");
        assert_eq!(hand.flow_ends(), [FlowEnd::Evicted { limit: 3 }]);
        assert_eq!((hand.counters().evicted, hand.counters().open), (1, 3));
    }
}

#[test]
fn thousands_of_flows_leave_nothing_behind() {
    let mut hand = Hand::new(Config { max_flows: 50, ..each() });
    for round in 0..40 {
        for n in 0..250 {
            if n % 7 == 3 {
                hand.open_faults.push_back(Fault::NoDescriptors);
            }
            hand.datagram(BALANCER, &[&v2(round * 250 + n), b"x"]);
        }
        payloads(&mut hand);
        hand.advance(secs(if round % 3 == 0 { 61 } else { 1 }));
    }
    hand.advance(secs(61));
    let counters = hand.counters();
    assert_eq!((counters.open, counters.opened, hand.flows().len()), (0, 10_000, 0));
    assert!(hand.highest_index <= 51, "slots are not used again: {}", hand.highest_index);
    assert_eq!(hand.machine_timeout(), None, "timers are left");
}

#[test]
fn a_drain_begins_no_flow_and_ends_when_the_last_is_silent_for_3_seconds() {
    let mut config = each();
    config.datagram_listeners.push(config.datagram_listeners[0].clone());
    config.datagram_listeners[1].address = addr("198.51.100.1:25599");
    config.listeners = tcp().listeners;
    let mut hand = Hand::new(config);
    hand.datagram_at(1, BALANCER, &[&v2(1), b"1"]);
    let flow = hand.only_flow();
    hand.advance(secs(1));
    hand.drain();
    hand.advance(ms(1_999));
    hand.datagram_at(1, BALANCER, &[&v2(2), b"2"]);
    hand.datagram_at(1, BALANCER, &[&v2(1), b"3"]);
    assert_eq!(hand.drops(), [Dropped::Draining]);
    assert_eq!(payloads(&mut hand), [b"1", b"3"]);
    for _ in 0..40 {
        hand.advance(ms(2_999));
        hand.answer(flow, b"4");
        assert_eq!(payloads(&mut hand), [b"4"]);
        hand.drain();
    }
    hand.advance(ms(2_999));
    assert_eq!((hand.finished, hand.closed_sockets.len()), (0, 0));
    hand.advance(ms(1));
    assert_eq!(hand.finished, 1);
    assert_eq!(hand.closed_sockets.len(), 3, "the flow, then each listener");
    assert_eq!(hand.closed_sockets[0], flow);
    hand.drain();
    hand.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
    hand.advance(secs(100));
    assert_eq!(hand.finished, 1);
}

#[test]
fn a_drain_ends_at_once_what_was_silent_for_longer() {
    let mut hand = Hand::new(each());
    hand.datagram(BALANCER, &[&v2(1), b"1"]);
    hand.advance(secs(30));
    hand.datagram(BALANCER, &[&v2(2), b"2"]);
    hand.drain();
    hand.advance(ms(0));
    assert_eq!((hand.flows().len(), hand.finished), (1, 0));
    hand.advance(secs(3));
    assert_eq!((hand.flows().len(), hand.finished), (0, 1));
    // An idle time that is shorter still holds.
    let mut hand = Hand::new(Config { flow_idle_timeout: secs(1), ..each() });
    hand.datagram(BALANCER, &[&v2(1), b"1"]);
    hand.drain();
    hand.advance(ms(999));
    assert_eq!(hand.finished, 0);
    hand.advance(ms(1));
    assert_eq!(hand.finished, 1);
}

#[test]
fn a_drain_without_flows_finishes_at_once() {
    let mut hand = Hand::new(each());
    hand.drain();
    assert_eq!((hand.finished, hand.closed_sockets.len()), (1, 1));
}

#[test]
fn a_drain_waits_for_connections_and_flows_alike() {
    let mut hand = Hand::new(Config { listeners: tcp().listeners, ..each() });
    let client = hand.accept(BALANCER);
    let socket = hand.listener_socket(1);
    hand.receive(socket, addr(BALANCER), 29, &[&v2(1)[..], b"x"].concat());
    hand.advance(secs(1));
    hand.receive(socket, addr(BALANCER), 29, &[&v2(1)[..], b"x"].concat());
    hand.drain();
    hand.advance(secs(2));
    // The connection has had its three seconds, the flow not yet.
    assert_eq!((hand.how_closed(client).is_some(), hand.finished), (true, 0));
    hand.advance(secs(1));
    assert_eq!(hand.finished, 1);
}

// ---- what is sent in one go ----

#[derive(Clone, Debug)]
enum Step {
    /// Answers of one flow: how many, and of how many bytes.
    Answers(usize, usize, usize),
    /// Datagrams of a client.
    Queries(usize, usize),
    Send,
    Block(bool),
    Room(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![Just(0), Just(1), 1usize..40, Just(1200), 1usize..3000, Just(60_000)];
    prop_oneof![
        4 => (0usize..3, 1usize..90, size()).prop_map(|(flow, count, size)| Step::Answers(flow, count, size)),
        3 => (0usize..3, size()).prop_map(|(flow, size)| Step::Queries(flow, size)),
        4 => Just(Step::Send),
        1 => any::<bool>().prop_map(Step::Block),
        1 => (65_536usize..200_000).prop_map(Step::Room),
    ]
}

proptest! {
    #![proptest_config(util::cases(150))]

    /// Against the simplest model: a queue for each socket, bounded in bytes and in number.
    #[test]
    fn however_they_are_put_together_the_same_datagrams_leave_in_order(
        steps in proptest::collection::vec(step(), 1..60),
        limit in prop_oneof![Just(1usize << 20), 1_000usize..100_000],
    ) {
        let mut hand = Hand::new(Config { max_queue: limit, ..each() });
        let balancers = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.1:7000"];
        for (n, from) in balancers.iter().enumerate() {
            hand.datagram(from, &[&v2(n)]);
        }
        hand.sent();
        let flows = hand.flows();
        let listener = hand.listener_socket(0);
        let mut model: BTreeMap<SocketId, Vec<(SocketAddr, Vec<u8>)>> = BTreeMap::new();
        let (mut serial, mut dropped) = (0u8, 0);
        for step in steps.into_iter().chain([Step::Block(false), Step::Send]) {
            match step {
                Step::Answers(flow, count, size) => {
                    let mut group = Vec::new();
                    for _ in 0..if size == 0 { 1 } else { count } {
                        serial = serial.wrapping_add(1);
                        let data = pattern(size, serial);
                        group.extend_from_slice(&data);
                        let queue = model.entry(listener).or_default();
                        let waits: usize = queue.iter().map(|(_, data)| data.len()).sum();
                        if waits + size <= limit && queue.len() < MAX_SEGMENTS + limit / 16 {
                            queue.push((addr(balancers[flow]), data));
                        } else {
                            dropped += 1;
                        }
                    }
                    hand.receive(flows[flow], addr(SERVER_V4), size, &group);
                }
                Step::Queries(flow, size) => {
                    serial = serial.wrapping_add(1);
                    let data = pattern(size, serial);
                    hand.datagram(balancers[flow], &[&v2(flow), &data]);
                    let queue = model.entry(flows[flow]).or_default();
                    let waits: usize = queue.iter().map(|(_, data)| data.len()).sum();
                    if waits + size <= limit && queue.len() < MAX_SEGMENTS + limit / 16 {
                        queue.push((addr(SERVER_V4), data));
                    } else {
                        dropped += 1;
                    }
                }
                Step::Block(true) => hand.blocked.extend([listener, flows[1]]),
                Step::Block(false) => hand.blocked.clear(),
                Step::Room(room) => hand.room = room,
                Step::Send => {
                    let mut sent: BTreeMap<SocketId, Vec<(SocketAddr, Vec<u8>)>> = BTreeMap::new();
                    for one in hand.sent() {
                        sent.entry(one.socket).or_default().push((one.to, one.data));
                    }
                    let blocked = hand.blocked.clone();
                    let wanted: BTreeMap<_, _> =
                        model.extract_if(.., |socket, queue| !blocked.contains(socket) && !queue.is_empty()).collect();
                    prop_assert!(sent == wanted, "sent {:?}, wanted {:?}", lens(&sent), lens(&wanted));
                }
            }
        }
        prop_assert_eq!(hand.counters().dropped, dropped);
    }
}

fn lens(all: &BTreeMap<SocketId, Vec<(SocketAddr, Vec<u8>)>>) -> Vec<(SocketId, Vec<usize>)> {
    all.iter().map(|(id, queue)| (*id, queue.iter().map(|(_, data)| data.len()).collect())).collect()
}
