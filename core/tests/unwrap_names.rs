//! Servers known by name: looked up again when they cannot be reached.

mod util;

use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Close, Fault, Input, StreamId, Target};
use ropewalk_core::name::{Host, Name};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, UdpHeader};
use std::net::SocketAddr;
use util::hand::{BALANCER, Hand, LISTEN, SERVER_V4, SERVER_V6, tcp, udp};
use util::{addr, ms, secs};

const CLIENT: &str = "192.0.2.1:5000";
const ELSEWHERE: &str = "172.20.0.3:25578";

fn name() -> Name {
    match Host::parse(b"mtg") {
        Ok(Host::Name(name)) => name,
        other => panic!("{other:?}"),
    }
}

fn by_name(mut config: Config) -> Config {
    config.names.add(name(), addr(SERVER_V4));
    config
}

fn arrives(hand: &mut Hand) -> StreamId {
    hand.arrives(BALANCER, &emit::v2(addr(CLIENT), addr(LISTEN), Transport::Stream, &[], false))
}

fn to(hand: &Hand, number: usize) -> Target {
    hand.connects[number].to.clone()
}

fn moved(hand: &Hand) -> Vec<(SocketAddr, SocketAddr)> {
    let told = |event: &Event| match event {
        Event::TargetMoved { name: own, from, to } if *own == name() => Some((*from, *to)),
        _ => None,
    };
    hand.events.iter().filter_map(told).collect()
}

#[test]
fn a_server_that_refuses_is_looked_up_and_reached_where_it_is_now() {
    let mut hand = Hand::new(by_name(tcp()));
    let client = arrives(&mut hand);
    hand.connect_failed(hand.connects[0].stream, Fault::Refused);
    assert_eq!(hand.queries[0].1, "mtg");
    // The family is the client's; an address that has just failed is not tried again.
    hand.looked_up(Ok(&["::1", "127.0.0.1", "172.20.0.3"]));
    assert_eq!(to(&hand, 1), Target::Address(addr(ELSEWHERE)));
    assert_eq!(hand.connects[1].via.transparent, Some(addr(CLIENT)));
    hand.connected(hand.connects[1].stream);
    assert_eq!((hand.how_closed(client), hand.refusals()), (None, vec![]));
    assert_eq!(moved(&hand), [(addr(SERVER_V4), addr(ELSEWHERE))]);
    // Who comes next goes there at once.
    arrives(&mut hand);
    assert_eq!((to(&hand, 2), hand.queries.len()), (Target::Address(addr(ELSEWHERE)), 0));
}

#[test]
fn a_server_that_is_silent_for_a_second_is_looked_up_beside_the_attempt() {
    let mut hand = Hand::new(by_name(tcp()));
    arrives(&mut hand);
    hand.advance(ms(999));
    assert!(hand.queries.is_empty());
    hand.advance(ms(1));
    hand.looked_up(Ok(&["172.20.0.3"]));
    let (old, new) = (hand.connects[0].stream, hand.connects[1].stream);
    assert_eq!((hand.how_closed(old), to(&hand, 1)), (Some(Close::Reset), Target::Address(addr(ELSEWHERE))));
    hand.connected(new);
    assert_eq!(hand.refusals(), []);
}

#[test]
fn where_the_name_has_not_moved_the_fault_is_told_and_the_silent_attempt_goes_on() {
    for answer in [Ok(&["127.0.0.1"][..]), Ok(&["::1"]), Ok(&[]), Err(Fault::NameNotFound)] {
        let mut hand = Hand::new(by_name(tcp()));
        let client = arrives(&mut hand);
        hand.connect_failed(hand.connects[0].stream, Fault::Refused);
        hand.looked_up(answer);
        assert_eq!(hand.refusals(), [Refusal::Unreachable(Fault::Refused)]);
        assert_eq!(hand.how_closed(client), Some(Close::Reset));

        let mut hand = Hand::new(by_name(tcp()));
        let client = arrives(&mut hand);
        hand.advance(secs(1));
        hand.looked_up(answer);
        assert_eq!((hand.connects.len(), hand.how_closed(client)), (1, None));
        hand.advance(secs(9));
        assert_eq!(hand.refusals(), [Refusal::Unreachable(Fault::TimedOut)]);
        assert_eq!((moved(&hand), hand.machine.machine().counters().open), (vec![], 0));
    }
}

#[test]
fn a_server_that_is_down_is_looked_up_once_a_second_and_a_connection_twice_never() {
    let mut hand = Hand::new(by_name(tcp()));
    let mut asked = 0;
    for number in 0..30 {
        arrives(&mut hand);
        hand.connect_failed(hand.connects[number].stream, Fault::Refused);
        if !hand.queries.is_empty() {
            asked += 1;
            hand.looked_up(Ok(&["127.0.0.1"]));
        }
        hand.advance(ms(100));
    }
    assert_eq!((asked, hand.refusals().len(), hand.connects.len()), (3, 30, 30));
    // It moves, and is not there either.
    hand.advance(secs(1));
    arrives(&mut hand);
    hand.connect_failed(hand.connects[30].stream, Fault::Refused);
    hand.looked_up(Ok(&["172.20.0.3"]));
    hand.connect_failed(hand.connects[31].stream, Fault::Refused);
    assert_eq!((hand.refusals().len(), hand.queries.len()), (31, 0));
}

#[test]
fn a_client_that_leaves_meanwhile_leaves_no_question() {
    let mut hand = Hand::new(by_name(tcp()));
    let client = arrives(&mut hand);
    hand.connect_failed(hand.connects[0].stream, Fault::Refused);
    assert_eq!(hand.queries.len(), 1);
    hand.input(Input::Failed { stream: client, fault: Fault::Reset });
    assert!(hand.queries.is_empty());
    // An attempt that succeeds while the name is being looked up ends the question too.
    let mut hand = Hand::new(by_name(tcp()));
    arrives(&mut hand);
    hand.advance(secs(1));
    hand.connected(hand.connects[0].stream);
    assert!(hand.queries.is_empty());
}

#[test]
fn a_server_without_a_name_is_never_looked_up() {
    let mut hand = Hand::new(by_name(tcp()));
    hand.arrives(
        BALANCER,
        &emit::v2(addr("[2001:db8::1]:1"), addr("[2001:db8::2]:1"), Transport::Stream, &[], false),
    );
    assert_eq!(to(&hand, 0), Target::Address(addr(SERVER_V6)));
    hand.connect_failed(hand.connects[0].stream, Fault::Refused);
    assert_eq!((hand.queries.len(), hand.refusals().len()), (0, 1));
}

fn datagram(hand: &mut Hand, payload: &[u8]) {
    let header = emit::v2(addr(CLIENT), addr(LISTEN), Transport::Datagram, &[], true);
    hand.datagram(BALANCER, &[&header, payload]);
}

#[test]
fn flows_follow_a_server_that_has_moved() {
    for header in [UdpHeader::Each, UdpHeader::First] {
        let mut hand = Hand::new(by_name(udp(header)));
        datagram(&mut hand, b"1");
        let flow = hand.only_flow();
        assert_eq!(hand.said_to(), [(addr(SERVER_V4), b"1".to_vec())]);
        hand.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
        hand.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
        hand.looked_up(Ok(&["172.20.0.3"]));
        assert_eq!(hand.closed_sockets, [flow]);
        assert_eq!(moved(&hand), [(addr(SERVER_V4), addr(ELSEWHERE))]);
        match header {
            UdpHeader::Each => datagram(&mut hand, b"2"),
            UdpHeader::First => hand.datagram(BALANCER, &[b"2"]),
        }
        assert_eq!(hand.said_to(), [(addr(ELSEWHERE), b"2".to_vec())], "{header:?}");
        let anew = hand.only_flow();
        assert_eq!(hand.via(anew).transparent, Some(addr(CLIENT)));
        hand.answer(anew, b"3");
        assert_eq!(hand.sent().last().map(|sent| sent.to), Some(addr(BALANCER)));
        assert_eq!((hand.counters().open, hand.counters().opened), (1, 1));
        hand.drain();
        hand.advance(secs(60));
        assert_eq!(hand.finished, 1);
    }
}
