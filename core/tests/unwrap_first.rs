//! UDP with a header in the first datagram only: what follows belongs to it, whatever it looks
//! like.

mod util;

use ropewalk_core::machine::Fault;
use ropewalk_core::machine::event::{Dropped, FlowEnd, Refusal};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, PortConflict, UdpHeader};
use std::net::SocketAddr;
use util::manual::{BALANCER, LISTEN, ManualDriver, SERVER_V4, udp};
use util::{addr, secs};

const OTHER_BALANCER: &str = "10.0.0.2:9000";
const ANN: &str = "192.0.2.1:5000";
const BOB: &str = "192.0.2.2:5000";

fn v2(client: &str) -> Vec<u8> {
    emit::v2(addr(client), addr(LISTEN), Transport::Datagram, &[], false)
}

fn first() -> Config {
    udp(UdpHeader::First)
}

fn server(bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    (addr(SERVER_V4), bytes.to_vec())
}

#[test]
fn what_follows_the_first_datagram_goes_the_same_way_whole() {
    let mut driver = ManualDriver::new(first());
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    for bytes in [&b"2"[..], b"", b"PROXY", b"\r\n\r\n"] {
        driver.datagram(BALANCER, &[bytes]);
    }
    let flow = driver.only_flow();
    assert_eq!(driver.via(flow).transparent, Some(addr(ANN)));
    assert_eq!(
        driver.said_to(),
        [server(b"1"), server(b"2"), server(b""), server(b"PROXY"), server(b"\r\n\r\n")]
    );
    driver.answer(flow, b"answer");
    assert_eq!(driver.said_to(), [(addr(BALANCER), b"answer".to_vec())]);
}

#[test]
fn a_payload_that_looks_like_a_header_does_not_change_the_client() {
    let simple = emit::simple(addr(BOB), addr(LISTEN)).to_vec();
    for forged in [v2(BOB), v2("127.0.0.1:1"), emit::v2_local(&[]), simple, v2(ANN)] {
        let mut driver = ManualDriver::new(first());
        driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
        driver.datagram(BALANCER, &[&forged, b"2"]);
        let all = [&forged[..], b"2"].concat();
        assert_eq!(driver.via(driver.only_flow()).transparent, Some(addr(ANN)));
        assert_eq!(driver.said_to(), [server(b"1"), server(&all)]);
        driver.answer(driver.only_flow(), b"3");
        assert_eq!(driver.said_to(), [(addr(BALANCER), b"3".to_vec())], "no header is learnt from it either");
    }
}

#[test]
fn a_datagram_without_header_and_flow_is_dropped_and_counted() {
    let mut driver = ManualDriver::new(first());
    for bytes in [&b"hello"[..], b"", &v2(ANN)[..11], b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n"] {
        driver.datagram(BALANCER, &[bytes]);
    }
    assert_eq!(driver.drops(), [Dropped::NoFlow; 4]);
    assert_eq!((driver.flows().len(), driver.counters().dropped, driver.said_to()), (0, 4, vec![]));
    driver.datagram(BALANCER, &[&v2("127.0.0.1:1"), b"x"]);
    assert!(matches!(driver.drops().last(), Some(Dropped::Refused(Refusal::BogusSource(_)))));
    // Nor is what follows a refused header anybody's.
    driver.datagram(BALANCER, &[b"x"]);
    assert_eq!((driver.drops().last(), driver.flows().len()), (Some(&Dropped::NoFlow), 0));
}

#[test]
fn after_the_idle_close_a_datagram_without_a_header_is_dropped_and_a_new_header_counts() {
    let mut driver = ManualDriver::new(first());
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.advance(secs(30));
    driver.datagram(BALANCER, &[b"2"]);
    driver.said_to();
    driver.advance(secs(60));
    assert_eq!(driver.flow_ends(), [FlowEnd::Idle]);
    driver.datagram(BALANCER, &[b"3"]);
    assert_eq!((driver.drops(), driver.said_to()), (vec![Dropped::NoFlow], vec![]));
    driver.datagram(BALANCER, &[&v2(BOB), b"4"]);
    driver.datagram(BALANCER, &[b"5"]);
    assert_eq!(driver.via(driver.only_flow()).transparent, Some(addr(BOB)));
    assert_eq!(driver.said_to(), [server(b"4"), server(b"5")]);
}

#[test]
fn a_group_may_begin_with_the_first_datagram() {
    let mut driver = ManualDriver::new(first());
    let header = v2(ANN);
    let one = [&header[..], b"one"].concat();
    let two = vec![b'x'; one.len()];
    let socket = driver.listener_socket(0);
    driver.receive(socket, addr(BALANCER), one.len(), &[&one[..], &two, b"end"].concat());
    assert_eq!(driver.said_to(), [server(b"one"), server(&two), server(b"end")]);
}

#[test]
fn each_port_of_a_balancer_is_a_client_of_its_own() {
    let mut driver = ManualDriver::new(first());
    driver.datagram(BALANCER, &[&v2(ANN), b"a1"]);
    driver.datagram(OTHER_BALANCER, &[&v2(BOB), b"b1"]);
    driver.datagram(BALANCER, &[b"a2"]);
    driver.datagram(OTHER_BALANCER, &[b"b2"]);
    for sent in driver.sent() {
        let client = if sent.data[0] == b'a' { ANN } else { BOB };
        assert_eq!(driver.via(sent.socket).transparent, Some(addr(client)));
    }
    for (flow, to) in driver.flows().into_iter().zip([BALANCER, OTHER_BALANCER]) {
        driver.answer(flow, b"x");
        assert_eq!(driver.said_to(), [(addr(to), b"x".to_vec())]);
    }
}

#[test]
fn a_client_that_comes_by_another_port_is_one_flow_and_its_old_port_may_be_anothers() {
    let mut driver = ManualDriver::new(first());
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.datagram(OTHER_BALANCER, &[&v2(ANN), b"2"]);
    let ann = driver.only_flow();
    driver.answer(ann, b"3");
    let mut all = driver.said_to();
    all.sort();
    assert_eq!(all, [(addr(OTHER_BALANCER), b"3".to_vec()), server(b"1"), server(b"2")]);
    // The balancer may give the old port to another client: a datagram without a header there is
    // dropped.
    driver.datagram(BALANCER, &[b"whose?"]);
    assert_eq!((driver.drops(), driver.said_to()), (vec![Dropped::NoFlow], vec![]));
    driver.datagram(BALANCER, &[&v2(BOB), b"4"]);
    driver.datagram(BALANCER, &[b"5"]);
    driver.datagram(OTHER_BALANCER, &[b"6"]);
    for sent in driver.sent() {
        let client = if sent.data == b"6" { ANN } else { BOB };
        assert_eq!(driver.via(sent.socket).transparent, Some(addr(client)), "{sent:?}");
    }
    // And back again.
    driver.datagram(OTHER_BALANCER, &[b"7"]);
    assert_eq!(driver.sent()[0].socket, ann);
}

#[test]
fn listeners_of_both_kinds_keep_their_ways() {
    let mut config = first();
    config.datagram_listeners.extend(udp(UdpHeader::Each).datagram_listeners);
    config.datagram_listeners[1].address = addr("198.51.100.1:25599");
    let mut driver = ManualDriver::new(config);
    driver.datagram_at(0, BALANCER, &[&v2(ANN), b"1"]);
    // The other listener believes no datagram without a header, though the port is known at the
    // first.
    driver.datagram_at(1, BALANCER, &[b"x"]);
    assert!(matches!(driver.drops()[..], [Dropped::Refused(Refusal::BadHeader(_))]));
    driver.datagram_at(1, BALANCER, &[&v2(BOB), b"2"]);
    driver.datagram_at(0, BALANCER, &[b"3"]);
    for sent in driver.sent() {
        let client = if sent.data == b"2" { BOB } else { ANN };
        assert_eq!(driver.via(sent.socket).transparent, Some(addr(client)), "{sent:?}");
    }
    // Ann comes by the other listener: her flow is answered there, and her old port belongs to no
    // client.
    driver.datagram_at(1, OTHER_BALANCER, &[&v2(ANN), b"4"]);
    driver.datagram_at(0, BALANCER, &[b"5"]);
    assert_eq!((driver.drops().last(), driver.flows().len()), (Some(&Dropped::NoFlow), 2));
}

#[test]
fn the_simple_protocols_header_of_the_first_datagram_stands_before_each_answer() {
    let mut driver = ManualDriver::new(first());
    let header = emit::simple(addr(ANN), addr("203.0.113.1:53"));
    driver.datagram(BALANCER, &[&header, b"1"]);
    driver.datagram(BALANCER, &[b"2"]);
    assert_eq!(driver.said_to(), [server(b"1"), server(b"2")]);
    driver.answer(driver.only_flow(), b"3");
    assert_eq!(driver.said_to(), [(addr(BALANCER), [&header[..], b"3"].concat())]);
}

#[test]
fn a_port_conflict_keeps_the_balancers_port() {
    let mut driver = ManualDriver::new(Config { on_port_conflict: PortConflict::Ephemeral, ..first() });
    driver.open_faults.push_back(Fault::AddressInUse);
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.datagram(BALANCER, &[b"2"]);
    assert_eq!(driver.via(driver.only_flow()).transparent, Some(addr("192.0.2.1:0")));
    assert_eq!(driver.said_to(), [server(b"1"), server(b"2")]);

    let mut driver = ManualDriver::new(first());
    driver.open_faults.push_back(Fault::AddressInUse);
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.datagram(BALANCER, &[b"2"]);
    assert_eq!((driver.drops(), driver.flows().len()), (vec![Dropped::NoFlow], 0));
}

/// What leaves the session of a client without a flow while its balancer goes on.
#[test]
fn a_client_that_lost_its_flow_or_never_had_one_cannot_write_a_header_of_its_own() {
    let crc = {
        let mut bytes = emit::v2(addr(ANN), addr(LISTEN), Transport::Datagram, &[], true);
        bytes[17] ^= 1;
        bytes
    };
    let ipv6 = emit::v2(addr("[2001:db8::1]:5000"), addr("[2001:db8::2]:1"), Transport::Datagram, &[], false);
    let only_v4 = || {
        let mut config = first();
        config.datagram_listeners[0].target_v6 = None;
        config
    };
    let refused = [v2("127.0.0.1:5000"), v2("192.0.2.1:0"), ipv6, crc, v2(ANN)[..20].to_vec()];
    let mut cases: Vec<ManualDriver> = refused
        .iter()
        .map(|header| {
            let mut driver = ManualDriver::new(only_v4());
            driver.datagram(BALANCER, &[header]);
            assert!(
                matches!(driver.drops()[..], [Dropped::Refused(_) | Dropped::CutShort(20)]),
                "{:?}",
                driver.drops()
            );
            driver
        })
        .collect();
    for fault in [Fault::AddressInUse, Fault::NoDescriptors] {
        let mut driver = ManualDriver::new(first());
        driver.open_faults.push_back(fault);
        driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
        cases.push(driver);
    }
    let mut evicted = ManualDriver::new(Config { max_flows: 1, ..first() });
    evicted.datagram(BALANCER, &[&v2(ANN), b"1"]);
    evicted.datagram(OTHER_BALANCER, &[&v2("192.0.2.3:1"), b"1"]);
    cases.push(evicted);

    for mut driver in cases {
        let flows = driver.flows();
        driver.said_to();
        for _ in 0..3 {
            driver.advance(secs(59));
            driver.datagram(OTHER_BALANCER, &[b"2"]);
            driver.datagram(BALANCER, &[&v2(BOB), b"I am Bob"]);
            assert_eq!((driver.flows(), driver.drops().last()), (flows.clone(), Some(&Dropped::NoFlow)));
        }
        // A port that was silent for this long is another client's.
        driver.advance(secs(60));
        driver.datagram(BALANCER, &[&v2(BOB), b"3"]);
        assert_eq!(driver.via(driver.only_flow()).transparent, Some(addr(BOB)));
    }
}

#[test]
fn an_evicted_flows_port_stands_for_nobody() {
    let mut driver = ManualDriver::new(Config { max_flows: 1, ..first() });
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.datagram(OTHER_BALANCER, &[&v2(BOB), b"2"]);
    assert_eq!(driver.flow_ends(), [FlowEnd::Evicted { limit: 1 }]);
    driver.datagram(BALANCER, &[b"3"]);
    assert_eq!(driver.drops(), [Dropped::NoFlow]);
    assert_eq!(driver.via(driver.only_flow()).transparent, Some(addr(BOB)));
}

#[test]
fn a_stranger_cannot_speak_for_a_balancers_port() {
    let mut driver = ManualDriver::new(first());
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.datagram("192.0.2.66:7000", &[b"2"]);
    assert_eq!(driver.drops(), [Dropped::Refused(Refusal::PeerNotAllowed)]);
    assert_eq!(driver.said_to(), [server(b"1")]);
}
