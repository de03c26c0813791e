//! UDP with a header in each datagram: who gets what, from whom, and for how long.

mod util;

use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::machine::{Fault, Input};
use ropewalk_core::time::Duration;
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, Destinations, PortConflict, UdpHeader};
use std::net::SocketAddr;
use util::hand::{BALANCER, ELSEWHERE, Hand, LISTEN, SERVER_V4, SERVER_V6, prefixes, udp};
use util::{addr, ms, secs};

const OTHER_BALANCER: &str = "10.0.0.2:9000";
const ANN: &str = "192.0.2.1:5000";
const BOB: &str = "192.0.2.1:5001";

fn v2(client: &str) -> Vec<u8> {
    let to = if addr(client).is_ipv4() { LISTEN } else { "[2001:db8::ffff]:443" };
    emit::v2(addr(client), addr(to), Transport::Datagram, &[], true)
}

fn each() -> Config {
    udp(UdpHeader::Each)
}

fn server(bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    (addr(SERVER_V4), bytes.to_vec())
}

fn balancer(bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    (addr(BALANCER), bytes.to_vec())
}

#[test]
fn a_datagram_goes_to_the_server_from_its_client_and_the_answer_back_without_a_header() {
    for (client, to) in [(ANN, SERVER_V4), ("[2001:db8::1]:5000", SERVER_V6)] {
        let mut hand = Hand::new(Config { mark: Some(9), narrate: true, ..each() });
        hand.datagram(BALANCER, &[&v2(client), b"query"]);
        let flow = hand.only_flow();
        assert_eq!((hand.via(flow).transparent, hand.via(flow).mark), (Some(addr(client)), Some(9)));
        assert_eq!(hand.said_to(), [(addr(to), b"query".to_vec())]);
        hand.answer(flow, b"answer");
        let sent = hand.sent();
        assert_eq!((sent.len(), sent[0].to, &sent[0].data[..]), (1, addr(BALANCER), &b"answer"[..]));
        assert_eq!(sent[0].from, Some(addr(LISTEN).ip()), "from the address that the balancer sent to");
        let counters = hand.counters();
        assert_eq!((counters.opened, counters.open, counters.sent, counters.received), (1, 1, 1, 1));
    }
}

#[test]
fn how_many_datagrams_have_passed_is_told_while_they_do_and_at_the_end() {
    let mut hand = Hand::new(each());
    let told = |hand: &Hand| {
        let sum = |(a, b), event: &Event| match event {
            Event::Datagrams { sent, received } => (a + sent, b + received),
            _ => (a, b),
        };
        hand.events.iter().fold((0, 0), sum)
    };
    hand.datagram(BALANCER, &[&v2(ANN), b"first"]);
    assert_eq!(told(&hand), (1, 0), "at once, as nothing was told before");
    let flow = hand.only_flow();
    for _ in 0..100 {
        hand.answer(flow, b"answer");
    }
    assert_eq!(told(&hand), (1, 0), "not for each");
    hand.advance(secs(1));
    hand.answer(flow, b"answer");
    assert_eq!(told(&hand), (1, 101));
    hand.answer(flow, b"last");
    hand.advance(secs(70));
    assert_eq!((told(&hand), hand.counters().open), ((1, 102), 0));
}

#[test]
fn two_clients_behind_one_socket_of_a_balancer_are_two_flows() {
    let mut hand = Hand::new(each());
    hand.datagram(BALANCER, &[&v2(ANN), b"from ann"]);
    hand.datagram(BALANCER, &[&v2(BOB), b"from bob"]);
    hand.datagram(BALANCER, &[&v2(ANN), b"ann again"]);
    let flows = hand.flows();
    assert_eq!(flows.len(), 2);
    for sent in hand.sent() {
        let client = if sent.data.starts_with(b"from bob") { BOB } else { ANN };
        assert_eq!(hand.via(sent.socket).transparent, Some(addr(client)));
    }
    hand.answer(flows[0], b"to ann");
    hand.answer(flows[1], b"to bob");
    assert_eq!(hand.said_to(), [balancer(b"to ann"), balancer(b"to bob")]);
}

#[test]
fn one_client_by_two_balancers_and_two_listeners_is_one_flow_answered_where_it_was_last() {
    let mut config = each();
    config.datagram_listeners.push(config.datagram_listeners[0].clone());
    config.datagram_listeners[1].address = addr("198.51.100.1:25599");
    let mut hand = Hand::new(config);
    let sockets = [hand.listener_socket(0), hand.listener_socket(1)];
    hand.datagram_at(0, BALANCER, &[&v2(ANN), b"1"]);
    let flow = hand.only_flow();
    assert_eq!(hand.said_to(), [server(b"1")]);
    for (listener, from) in [(1, OTHER_BALANCER), (0, OTHER_BALANCER), (1, BALANCER), (0, BALANCER)] {
        hand.datagram_at(listener, from, &[&v2(ANN), b"2"]);
        assert_eq!((hand.only_flow(), hand.said_to()), (flow, vec![server(b"2")]));
        hand.answer(flow, b"3");
        let sent = hand.sent();
        assert_eq!((sent.len(), sent[0].socket, sent[0].to), (1, sockets[usize::from(listener)], addr(from)));
    }
}

#[test]
fn the_answers_of_the_simple_protocol_carry_the_header_that_came_last() {
    let mut hand = Hand::new(each());
    for proxy in ["203.0.113.1:53", "203.0.113.2:53", "[2001:db8::7]:53"] {
        let header = emit::simple(addr(ANN), addr(proxy));
        hand.datagram(BALANCER, &[&header, b"query"]);
        assert_eq!(hand.said_to(), [server(b"query")]);
        hand.answer(hand.only_flow(), b"answer");
        hand.answer(hand.only_flow(), b"");
        assert_eq!(hand.said_to(), [balancer(&[&header[..], b"answer"].concat()), balancer(&header)]);
    }
    hand.datagram(BALANCER, &[&v2(ANN), b"plain"]);
    hand.answer(hand.only_flow(), b"answer");
    assert_eq!(hand.said_to(), [server(b"plain"), balancer(b"answer")].as_slice().sorted());
}

/// Order between sockets says nothing.
trait Sorted {
    fn sorted(self) -> Vec<(SocketAddr, Vec<u8>)>;
}

impl Sorted for &[(SocketAddr, Vec<u8>)] {
    fn sorted(self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = self.to_vec();
        all.sort_by_key(|(to, _)| *to == addr(SERVER_V4));
        all
    }
}

#[test]
fn an_answer_too_long_with_its_header_is_dropped_and_counted() {
    let mut hand = Hand::new(each());
    hand.datagram(BALANCER, &[&emit::simple(addr(ANN), addr(LISTEN)), b"query"]);
    hand.said_to();
    let long = vec![7; 65_527 - 38 + 1];
    hand.answer(hand.only_flow(), &long);
    assert_eq!(hand.said_to(), []);
    assert_eq!((hand.drops(), hand.counters().dropped), (vec![Dropped::TooLong(65_528)], 1));
    hand.answer(hand.only_flow(), &long[1..]);
    assert_eq!(hand.said_to()[0].1.len(), 65_527);
    assert_eq!((hand.counters().received, hand.counters().dropped), (1, 1));
}

#[test]
fn datagrams_received_in_one_go_are_one_datagram_each() {
    let mut hand = Hand::new(each());
    let socket = hand.listener_socket(0);
    let part = |client: &str, text: &[u8]| [&v2(client)[..], text].concat();
    let all = [part(ANN, b"aaaa"), part(BOB, b"bbbb"), part(ANN, b"c")];
    let stride = all[0].len();
    hand.receive(socket, addr(BALANCER), stride, &all.concat());
    let flows = hand.flows();
    let mut sent: Vec<_> = hand.sent().into_iter().map(|sent| (sent.socket, sent.data)).collect();
    sent.sort_by_key(|(socket, _)| *socket);
    let of = |n: usize, text: &[u8]| (flows[n], text.to_vec());
    assert_eq!(sent, [of(0, b"aaaa"), of(0, b"c"), of(1, b"bbbb")]);
    // And the way back.
    hand.receive(flows[0], addr(SERVER_V4), 4, b"111122223");
    assert_eq!(hand.said_to(), [balancer(b"1111"), balancer(b"2222"), balancer(b"3")]);
    assert_eq!(hand.counters().received, 3);
}

#[test]
fn one_bad_datagram_in_a_group_takes_no_other_with_it() {
    let mut hand = Hand::new(each());
    let part = |bytes: &[u8]| [&v2(ANN)[..], bytes].concat();
    let mut all = [part(b"good"), part(b"bad!"), part(b"fine")];
    all[1][0] = b'x';
    let stride = all[0].len();
    let socket = hand.listener_socket(0);
    hand.receive(socket, addr(BALANCER), stride, &all.concat());
    assert_eq!(hand.said_to(), [server(b"good"), server(b"fine")]);
    assert!(matches!(hand.drops()[..], [Dropped::Refused(Refusal::BadHeader(_))]));
}

#[test]
fn an_empty_payload_is_passed_on_and_an_empty_datagram_is_not() {
    let mut hand = Hand::new(each());
    hand.datagram(BALANCER, &[&v2(ANN)]);
    hand.datagram(BALANCER, &[&v2(ANN)]);
    assert_eq!(hand.said_to(), [server(b""), server(b"")]);
    hand.answer(hand.only_flow(), b"");
    assert_eq!(hand.said_to(), [balancer(b"")]);
    hand.datagram(BALANCER, &[]);
    assert_eq!((hand.said_to(), hand.drops()), (vec![], vec![Dropped::CutShort(0)]));
}

#[test]
fn a_header_cut_short_at_any_byte_is_dropped_and_begins_no_flow() {
    for header in [v2(ANN), v2("[2001:db8::1]:5000"), emit::simple(addr(ANN), addr(LISTEN)).to_vec()] {
        let mut hand = Hand::new(each());
        for len in 0..header.len() {
            hand.datagram(BALANCER, &[&header[..len]]);
            assert_eq!(hand.drops().last(), Some(&Dropped::CutShort(len)));
        }
        // What follows is judged for itself.
        hand.datagram(BALANCER, &[&header[header.len() - 3..], b"rest"]);
        assert!(matches!(hand.drops().last(), Some(Dropped::Refused(Refusal::BadHeader(_)))));
        assert_eq!((hand.flows().len(), hand.said_to()), (0, vec![]));
        assert_eq!(hand.counters().dropped, header.len() as u64 + 1);
    }
}

#[test]
fn what_is_for_tcp_is_refused() {
    let mut hand = Hand::new(each());
    let tcp = emit::v2(addr(ANN), addr(LISTEN), Transport::Stream, &[], false);
    for bytes in [&emit::v1(addr(ANN), addr(LISTEN))[..], &emit::v1_unknown(), &tcp] {
        hand.datagram(BALANCER, &[bytes, b"x"]);
        assert!(matches!(hand.drops().last(), Some(Dropped::Refused(Refusal::BadHeader(_)))));
    }
    assert_eq!((hand.flows().len(), hand.counters().dropped), (0, 3));
}

#[test]
fn a_health_check_is_the_balancers_own_flow() {
    for (from, to) in [(BALANCER, SERVER_V4), ("[fd00::7]:7000", SERVER_V6)] {
        let mut hand = Hand::new(each());
        hand.datagram(from, &[&emit::v2_local(&[]), b"ping"]);
        let flow = hand.only_flow();
        assert_eq!((hand.via(flow).transparent, hand.via(flow).source), (Some(addr(from)), None));
        assert_eq!(hand.said_to(), [(addr(to), b"ping".to_vec())]);
        hand.answer(flow, b"pong");
        assert_eq!(hand.said_to(), [(addr(from), b"pong".to_vec())]);
    }
    let mut hand = Hand::new(each());
    hand.datagram("127.0.0.1:7000", &[&emit::v2_local(&[]), b"ping"]);
    let via = hand.via(hand.only_flow());
    assert_eq!((via.transparent, via.source), (None, Some(addr(SERVER_V4).ip())));
}

#[test]
fn a_balancer_that_is_ipv4_mapped_is_believed_as_ipv4_and_answered_as_it_came() {
    let mapped = "[::ffff:10.0.0.1]:7000";
    let mut hand = Hand::new(each());
    hand.datagram(mapped, &[&emit::v2_local(&[]), b"ping"]);
    let flow = hand.only_flow();
    assert_eq!(hand.via(flow).transparent, Some(addr("10.0.0.1:7000")));
    assert_eq!(hand.said_to(), [server(b"ping")]);
    hand.answer(flow, b"pong");
    assert_eq!(hand.said_to(), [(addr(mapped), b"pong".to_vec())]);
}

#[test]
fn who_is_not_believed_is_dropped_and_counted_each_time() {
    let mut hand = Hand::new(each());
    hand.datagram("192.0.2.66:1", &[&v2(ANN), b"x"]);
    let socket = hand.listener_socket(0);
    hand.receive(socket, addr("[2001:db8::66]:1"), 5, b"abcdeabcdeab");
    assert_eq!(hand.drops(), [Dropped::Refused(Refusal::PeerNotAllowed); 4]);
    for client in
        ["127.0.0.1:1", "0.0.0.0:1", "255.255.255.255:1", "198.51.100.1:1", "[::1]:1", "[fe80::1]:1"]
    {
        hand.datagram(BALANCER, &[&v2(client), b"x"]);
        let ip = addr(client).ip();
        assert_eq!(hand.drops().last(), Some(&Dropped::Refused(Refusal::BogusSource(ip))));
    }
    hand.datagram(BALANCER, &[&v2("192.0.2.1:0"), b"x"]);
    assert_eq!(hand.drops().last(), Some(&Dropped::Refused(Refusal::NoPort)));
    assert_eq!((hand.counters().dropped, hand.flows().len(), hand.said_to()), (11, 0, vec![]));
}

#[test]
fn a_stranger_cannot_take_a_flows_answers() {
    let mut hand = Hand::new(each());
    hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
    hand.datagram("192.0.2.66:1", &[&v2(ANN), b"2"]);
    hand.answer(hand.only_flow(), b"3");
    assert_eq!(hand.said_to().sorted(), [balancer(b"3"), server(b"1")]);
}

impl Sorted for Vec<(SocketAddr, Vec<u8>)> {
    fn sorted(self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.as_slice().sorted()
    }
}

#[test]
fn a_header_leads_to_its_own_destination_and_each_is_a_flow() {
    let mut config = each();
    let network = prefixes(&["203.0.113.0/24"])[0];
    config.datagram_listeners[0].to_header = Some([Destinations { network, ports: 53..=54 }].into());
    let mut hand = Hand::new(config);
    let to = |to: &str| emit::v2(addr(ANN), addr(to), Transport::Datagram, &[], false);
    for (n, place) in ["203.0.113.1:53", "203.0.113.1:54", "203.0.113.2:53"].into_iter().enumerate() {
        hand.datagram(BALANCER, &[&to(place), b"x"]);
        assert_eq!((hand.said_to(), hand.flows().len()), (vec![(addr(place), b"x".to_vec())], n + 1));
    }
    for place in ["203.0.113.1:55", "127.0.0.1:53", LISTEN] {
        hand.datagram(BALANCER, &[&to(place), b"x"]);
        assert_eq!(hand.drops().last(), Some(&Dropped::Refused(Refusal::NotAllowed(addr(place)))));
    }
}

#[test]
fn a_header_cannot_lead_datagrams_back_to_us() {
    let mut config = each();
    let network = prefixes(&["0.0.0.0/0"])[0];
    config.datagram_listeners[0].to_header = Some([Destinations { network, ports: 1..=65535 }].into());
    let mut hand = Hand::new(config);
    hand.datagram(BALANCER, &[&v2(ANN), b"x"]);
    assert_eq!(hand.drops(), [Dropped::Refused(Refusal::Itself(addr(LISTEN)))]);
}

// ---- what goes wrong on a flow's socket ----

#[test]
fn what_a_socket_tells_of_ends_no_flow() {
    let mut hand = Hand::new(each());
    hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
    let socket = hand.only_flow();
    for fault in [Fault::Refused, Fault::HostUnreachable, Fault::Other(90)] {
        hand.input(Input::SocketFailed { socket, fault });
        assert!(matches!(hand.events.last(), Some(Event::FlowFault { .. })));
    }
    hand.input(Input::SendFailed { socket, id: 0, sent: 0, fault: Fault::Refused });
    let listener = hand.listener_socket(0);
    hand.input(Input::SendFailed { socket: listener, id: 0, sent: 0, fault: Fault::NoMemory });
    hand.input(Input::SocketFailed { socket: listener, fault: Fault::Refused });
    assert_eq!(hand.counters().dropped, 2, "what was not sent is counted");
    hand.datagram(BALANCER, &[&v2(ANN), b"2"]);
    assert_eq!((hand.only_flow(), hand.said_to()), (socket, vec![server(b"1"), server(b"2")]));
}

#[test]
fn a_port_that_cannot_be_had_ends_the_flow_or_costs_its_port() {
    for fault in [Fault::AddressInUse, Fault::AddressNotAvailable, Fault::PermissionDenied] {
        let mut hand = Hand::new(each());
        hand.open_faults.push_back(fault);
        hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
        assert_eq!((hand.flow_ends(), hand.counters().open), (vec![FlowEnd::PortConflict(fault)], 0));
        assert_eq!(hand.said_to(), []);

        let mut hand = Hand::new(Config { on_port_conflict: PortConflict::Ephemeral, ..each() });
        hand.open_faults.push_back(fault);
        hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
        let flow = hand.only_flow();
        assert_eq!(hand.via(flow).transparent, Some(addr("192.0.2.1:0")));
        hand.datagram(BALANCER, &[&v2(ANN), b"2"]);
        assert_eq!((hand.only_flow(), hand.said_to()), (flow, vec![server(b"1"), server(b"2")]));
        assert!(
            hand.events
                .iter()
                .any(|e| matches!(e, Event::FlowPortChanged { fault: f, .. } if *f == Some(fault)))
        );

        let mut hand = Hand::new(Config { on_port_conflict: PortConflict::Ephemeral, ..each() });
        hand.open_faults.extend([fault, fault]);
        hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
        assert_eq!((hand.flow_ends(), hand.opens.len()), (vec![FlowEnd::Failed(fault)], 2));
    }
}

#[test]
fn a_flow_whose_socket_cannot_be_opened_is_tried_again_with_its_next_datagram() {
    let mut hand = Hand::new(Config { on_port_conflict: PortConflict::Ephemeral, ..each() });
    hand.open_faults.push_back(Fault::NoDescriptors);
    hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
    assert_eq!(hand.flow_ends(), [FlowEnd::Failed(Fault::NoDescriptors)]);
    hand.datagram(BALANCER, &[&v2(ANN), b"2"]);
    assert_eq!(hand.said_to(), [server(b"2")]);
    hand.advance(secs(60));
    assert_eq!((hand.flows().len(), hand.machine.machine().flow_counters().open), (0, 0));
}

#[test]
fn what_comes_before_a_socket_is_open_goes_out_when_it_is() {
    let mut hand = Hand::new(each());
    hand.hold_opens = true;
    hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
    assert_eq!(hand.said_to(), []);
    hand.datagram(BALANCER, &[&v2(ANN), b"2"]);
    assert_eq!(hand.said_to(), []);
    hand.open_all();
    assert_eq!(hand.said_to(), [server(b"1"), server(b"2")]);
}

// ---- how long it lives ----

#[test]
fn a_flow_ends_when_it_was_idle_for_the_time_set_and_not_before() {
    for answered in [false, true] {
        let mut hand = Hand::new(each());
        hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
        let flow = hand.only_flow();
        for wait in [secs(59), ms(1), ms(900), ms(59_999), secs(30)] {
            hand.advance(wait);
            match answered {
                true => hand.answer(flow, b"x"),
                false => hand.datagram(BALANCER, &[&v2(ANN), b"x"]),
            }
        }
        hand.advance(secs(60) - Duration::from_nanos(1));
        assert_eq!(hand.only_flow(), flow);
        hand.advance(Duration::from_nanos(1));
        assert_eq!((hand.flows().len(), hand.flow_ends()), (0, vec![FlowEnd::Idle]));
        assert_eq!(hand.closed_sockets, [flow]);
        // What the server says now is nobody's; the id misses.
        hand.receive(flow, addr(SERVER_V4), 4, b"late");
        hand.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
        hand.input(Input::OpenFailed { socket: flow, fault: Fault::AddressInUse });
        hand.input(Input::Opened { socket: flow, local: addr(LISTEN) });
        assert!(hand.said_to().iter().all(|(to, data)| *to != addr(BALANCER) || data == b"x"));
        hand.datagram(BALANCER, &[&v2(ANN), b"anew"]);
        assert_ne!(hand.only_flow(), flow);
    }
}

#[test]
fn a_flow_that_the_system_would_show_as_somebody_else_ends_before_it_has_sent_anything() {
    let mut hand = Hand::new(each());
    hand.own_way = true;
    hand.datagram(BALANCER, &[&v2(ANN), b"1"]);
    assert_eq!(hand.flow_ends(), [FlowEnd::OtherAddress(addr(ELSEWHERE).ip())]);
    assert_eq!((hand.said_to(), hand.flows().len(), hand.closed_sockets.len()), (vec![], 0, 1));
}
