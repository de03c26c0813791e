//! UDP at its limits: queues, flows, drain; and datagrams that are sent in one go.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::event::{Dropped, FlowEnd};
use ropewalk_core::machine::{Fault, Input, MAX_SEGMENTS, SocketId};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, ConfigError, UdpHeader, Unwrap};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use util::manual::{BALANCER, LISTEN, ManualDriver, SERVER_V4, tcp, udp};
use util::{addr, ms, pattern, secs};

/// The header of client number `n`.
fn v2(n: usize) -> Vec<u8> {
    let client = SocketAddr::new([192, 0, 2, (n >> 12) as u8].into(), 1 + (n & 0xfff) as u16);
    emit::v2(client, addr(LISTEN), Transport::Datagram, &[], false)
}

fn each() -> Config {
    udp(UdpHeader::Each)
}

fn payloads(driver: &mut ManualDriver) -> Vec<Vec<u8>> {
    driver.sent().into_iter().map(|sent| sent.data).collect()
}

// ---- queues ----

#[test]
fn a_full_queue_drops_the_newest_and_counts_it() {
    let mut driver = ManualDriver::new(Config { max_queue: 1000, ..each() });
    driver.datagram(BALANCER, &[&v2(1), &[1; 400]]);
    driver.blocked.insert(driver.only_flow());
    for n in 2..5 {
        driver.datagram(BALANCER, &[&v2(1), &[n; 400]]);
    }
    driver.datagram(BALANCER, &[&v2(1), &[5; 200]]);
    driver.datagram(BALANCER, &[&v2(1), &[6; 1]]);
    assert_eq!(driver.drops(), [Dropped::QueueFull { limit: 1000 }; 3]);
    assert_eq!(payloads(&mut driver), Vec::<Vec<u8>>::new());
    driver.blocked.clear();
    assert_eq!(payloads(&mut driver), [vec![1; 400], vec![2; 400], vec![5; 200]]);
    let counters = driver.counters();
    assert_eq!((counters.sent, counters.dropped), (3, 3));
    driver.datagram(BALANCER, &[&v2(1), &[7; 400]]);
    assert_eq!(payloads(&mut driver), [vec![7; 400]]);
}

#[test]
fn a_datagram_larger_than_the_queue_does_not_stop_what_comes_after_it() {
    let mut driver = ManualDriver::new(Config { max_queue: 1000, ..each() });
    driver.datagram(BALANCER, &[&v2(1), b"first"]);
    assert_eq!(payloads(&mut driver), [b"first"]);
    driver.datagram(BALANCER, &[&v2(1), &[1; 1001]]);
    assert_eq!(driver.drops(), [Dropped::QueueFull { limit: 1000 }]);
    driver.datagram(BALANCER, &[&v2(1), b"small"]);
    assert_eq!(payloads(&mut driver), [b"small"]);
    // And on the way back.
    driver.answer(driver.only_flow(), &[1; 1001]);
    driver.answer(driver.only_flow(), b"answer");
    assert_eq!(payloads(&mut driver), [b"answer"]);
}

#[test]
fn one_flow_that_does_not_drain_takes_no_room_from_another() {
    let mut driver = ManualDriver::new(Config { max_queue: 1000, ..each() });
    driver.datagram(BALANCER, &[&v2(1), &[1; 900]]);
    driver.blocked.insert(driver.only_flow());
    driver.datagram(BALANCER, &[&v2(2), &[2; 900]]);
    driver.datagram(BALANCER, &[&v2(1), &[1; 900]]);
    assert_eq!(payloads(&mut driver), [vec![2; 900]]);
    assert_eq!(driver.drops().len(), 1);
}

#[test]
fn empty_datagrams_cannot_fill_memory_either() {
    let mut driver = ManualDriver::new(Config { max_queue: 1 << 10, ..each() });
    driver.datagram(BALANCER, &[&v2(1)]);
    driver.blocked.insert(driver.only_flow());
    for _ in 0..5_000 {
        driver.datagram(BALANCER, &[&v2(1)]);
    }
    assert!(driver.counters().dropped > 4_000, "{:?}", driver.counters());
    driver.blocked.clear();
    assert!(!payloads(&mut driver).is_empty());
}

#[test]
fn answers_are_bounded_by_the_listeners_queue() {
    let mut driver = ManualDriver::new(Config { max_queue: 100, ..each() });
    for n in 0..2 {
        driver.datagram(BALANCER, &[&v2(n), b"x"]);
    }
    let listener = driver.listener_socket(0);
    driver.blocked.insert(listener);
    for flow in driver.flows() {
        driver.answer(flow, &[flow.index() as u8; 60]);
    }
    assert_eq!(driver.drops(), [Dropped::QueueFull { limit: 100 }]);
    assert_eq!((driver.counters().received, driver.counters().dropped), (1, 1));
    driver.sent();
    driver.blocked.clear();
    assert_eq!(payloads(&mut driver), [[1; 60]]);
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
        let mut driver = ManualDriver::new(Config { max_flows: 3, ..each() });
        let mut ids = Vec::new();
        for n in 0..3 {
            driver.datagram(BALANCER, &[&v2(n), b"x"]);
            ids.push(*driver.flows().last().expect("a flow"));
            driver.advance(gap);
        }
        // The first sends, the second hears: the third is the longest idle.
        driver.datagram(BALANCER, &[&v2(0), b"x"]);
        driver.advance(gap);
        driver.answer(ids[1], b"x");
        driver.advance(gap);
        driver.datagram(BALANCER, &[&v2(3), b"new"]);
        assert_eq!(driver.closed_sockets, [ids[2]], "with {gap:?} between them");
        assert_eq!(driver.flow_ends(), [FlowEnd::Evicted { limit: 3 }]);
        assert_eq!((driver.counters().evicted, driver.counters().open), (1, 3));
    }
}

#[test]
fn thousands_of_flows_leave_nothing_behind() {
    let mut driver = ManualDriver::new(Config { max_flows: 50, ..each() });
    for round in 0..40 {
        for n in 0..250 {
            if n % 7 == 3 {
                driver.open_faults.push_back(Fault::NoDescriptors);
            }
            driver.datagram(BALANCER, &[&v2(round * 250 + n), b"x"]);
        }
        payloads(&mut driver);
        driver.advance(secs(if round % 3 == 0 { 61 } else { 1 }));
    }
    driver.advance(secs(61));
    let counters = driver.counters();
    assert_eq!((counters.open, counters.opened, driver.flows().len()), (0, 10_000, 0));
    assert!(driver.highest_index <= 51, "slots are not used again: {}", driver.highest_index);
    assert_eq!(driver.machine_timeout(), None, "timers are left");
}

#[test]
fn a_drain_begins_no_flow_and_ends_when_the_last_is_silent_for_3_seconds() {
    let mut config = each();
    config.datagram_listeners.push(config.datagram_listeners[0].clone());
    config.datagram_listeners[1].address = addr("198.51.100.1:25599");
    config.listeners = tcp().listeners;
    let mut driver = ManualDriver::new(config);
    driver.datagram_at(1, BALANCER, &[&v2(1), b"1"]);
    let flow = driver.only_flow();
    driver.advance(secs(1));
    driver.drain();
    driver.advance(ms(1_999));
    driver.datagram_at(1, BALANCER, &[&v2(2), b"2"]);
    driver.datagram_at(1, BALANCER, &[&v2(1), b"3"]);
    assert_eq!(driver.drops(), [Dropped::Draining]);
    assert_eq!(payloads(&mut driver), [b"1", b"3"]);
    for _ in 0..40 {
        driver.advance(ms(2_999));
        driver.answer(flow, b"4");
        assert_eq!(payloads(&mut driver), [b"4"]);
        driver.drain();
    }
    driver.advance(ms(2_999));
    assert_eq!((driver.finished, driver.closed_sockets.len()), (0, 0));
    driver.advance(ms(1));
    assert_eq!(driver.finished, 1);
    assert_eq!(driver.closed_sockets.len(), 3, "the flow, then each listener");
    assert_eq!(driver.closed_sockets[0], flow);
    driver.drain();
    driver.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
    driver.advance(secs(100));
    assert_eq!(driver.finished, 1);
}

#[test]
fn a_drain_ends_at_once_what_was_silent_for_longer() {
    let mut driver = ManualDriver::new(each());
    driver.datagram(BALANCER, &[&v2(1), b"1"]);
    driver.advance(secs(30));
    driver.datagram(BALANCER, &[&v2(2), b"2"]);
    driver.drain();
    driver.advance(ms(0));
    assert_eq!((driver.flows().len(), driver.finished), (1, 0));
    driver.advance(secs(3));
    assert_eq!((driver.flows().len(), driver.finished), (0, 1));
    // An idle time that is shorter still holds.
    let mut driver = ManualDriver::new(Config { flow_idle_timeout: secs(1), ..each() });
    driver.datagram(BALANCER, &[&v2(1), b"1"]);
    driver.drain();
    driver.advance(ms(999));
    assert_eq!(driver.finished, 0);
    driver.advance(ms(1));
    assert_eq!(driver.finished, 1);
}

#[test]
fn a_drain_without_flows_finishes_at_once() {
    let mut driver = ManualDriver::new(each());
    driver.drain();
    assert_eq!((driver.finished, driver.closed_sockets.len()), (1, 1));
}

#[test]
fn a_drain_waits_for_connections_and_flows_alike() {
    let mut driver = ManualDriver::new(Config { listeners: tcp().listeners, ..each() });
    let client = driver.accept(BALANCER);
    let socket = driver.listener_socket(1);
    driver.receive(socket, addr(BALANCER), 29, &[&v2(1)[..], b"x"].concat());
    driver.advance(secs(1));
    driver.receive(socket, addr(BALANCER), 29, &[&v2(1)[..], b"x"].concat());
    driver.drain();
    driver.advance(secs(2));
    // The connection has had its three seconds, the flow not yet.
    assert_eq!((driver.how_closed(client).is_some(), driver.finished), (true, 0));
    driver.advance(secs(1));
    assert_eq!(driver.finished, 1);
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
        let mut driver = ManualDriver::new(Config { max_queue: limit, ..each() });
        let balancers = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.1:7000"];
        for (n, from) in balancers.iter().enumerate() {
            driver.datagram(from, &[&v2(n)]);
        }
        driver.sent();
        let flows = driver.flows();
        let listener = driver.listener_socket(0);
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
                    driver.receive(flows[flow], addr(SERVER_V4), size, &group);
                }
                Step::Queries(flow, size) => {
                    serial = serial.wrapping_add(1);
                    let data = pattern(size, serial);
                    driver.datagram(balancers[flow], &[&v2(flow), &data]);
                    let queue = model.entry(flows[flow]).or_default();
                    let waits: usize = queue.iter().map(|(_, data)| data.len()).sum();
                    if waits + size <= limit && queue.len() < MAX_SEGMENTS + limit / 16 {
                        queue.push((addr(SERVER_V4), data));
                    } else {
                        dropped += 1;
                    }
                }
                Step::Block(true) => driver.blocked.extend([listener, flows[1]]),
                Step::Block(false) => driver.blocked.clear(),
                Step::Room(room) => driver.room = room,
                Step::Send => {
                    let mut sent: BTreeMap<SocketId, Vec<(SocketAddr, Vec<u8>)>> = BTreeMap::new();
                    for one in driver.sent() {
                        sent.entry(one.socket).or_default().push((one.to, one.data));
                    }
                    let blocked = driver.blocked.clone();
                    let moved = model.extract_if(.., |socket, queue| {
                        !blocked.contains(socket) && !queue.is_empty()
                    });
                    let wanted: BTreeMap<_, _> = moved.collect();
                    prop_assert!(sent == wanted, "sent {:?}, wanted {:?}", lens(&sent), lens(&wanted));
                }
            }
        }
        prop_assert_eq!(driver.counters().dropped, dropped);
    }
}

fn lens(all: &BTreeMap<SocketId, Vec<(SocketAddr, Vec<u8>)>>) -> Vec<(SocketId, Vec<usize>)> {
    all.iter().map(|(id, queue)| (*id, queue.iter().map(|(_, data)| data.len()).collect())).collect()
}
