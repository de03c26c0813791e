//! UDP with a header in each datagram: which datagram reaches whom, and how long a flow lives.

mod util;

use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::machine::{Fault, Input};
use ropewalk_core::time::Duration;
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, Destinations, PortConflict, UdpHeader};
use std::net::SocketAddr;
use util::manual::{BALANCER, ELSEWHERE, LISTEN, ManualDriver, SERVER_V4, SERVER_V6, prefixes, udp};
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
        let mut driver = ManualDriver::new(Config { mark: Some(9), request_events: true, ..each() });
        driver.datagram(BALANCER, &[&v2(client), b"query"]);
        let flow = driver.only_flow();
        assert_eq!((driver.via(flow).transparent, driver.via(flow).mark), (Some(addr(client)), Some(9)));
        assert_eq!(driver.said_to(), [(addr(to), b"query".to_vec())]);
        driver.answer(flow, b"answer");
        let sent = driver.sent();
        assert_eq!((sent.len(), sent[0].to, &sent[0].data[..]), (1, addr(BALANCER), &b"answer"[..]));
        assert_eq!(sent[0].from, Some(addr(LISTEN).ip()), "from the address that the balancer sent to");
        let counters = driver.counters();
        assert_eq!((counters.opened, counters.open, counters.sent, counters.received), (1, 1, 1, 1));
    }
}

#[test]
fn how_many_datagrams_have_passed_is_told_while_they_do_and_at_the_end() {
    let mut driver = ManualDriver::new(each());
    let told = |driver: &ManualDriver| {
        let sum = |(a, b), event: &Event| match event {
            Event::Datagrams { sent, received } => (a + sent, b + received),
            _ => (a, b),
        };
        driver.events.iter().fold((0, 0), sum)
    };
    driver.datagram(BALANCER, &[&v2(ANN), b"first"]);
    assert_eq!(told(&driver), (1, 0), "at once, as nothing was told before");
    let flow = driver.only_flow();
    for _ in 0..100 {
        driver.answer(flow, b"answer");
    }
    assert_eq!(told(&driver), (1, 0), "not for each");
    driver.advance(secs(1));
    driver.answer(flow, b"answer");
    assert_eq!(told(&driver), (1, 101));
    driver.answer(flow, b"last");
    driver.advance(secs(70));
    assert_eq!((told(&driver), driver.counters().open), ((1, 102), 0));
}

#[test]
fn two_clients_behind_one_socket_of_a_balancer_are_two_flows() {
    let mut driver = ManualDriver::new(each());
    driver.datagram(BALANCER, &[&v2(ANN), b"from ann"]);
    driver.datagram(BALANCER, &[&v2(BOB), b"from bob"]);
    driver.datagram(BALANCER, &[&v2(ANN), b"ann again"]);
    let flows = driver.flows();
    assert_eq!(flows.len(), 2);
    for sent in driver.sent() {
        let client = if sent.data.starts_with(b"from bob") { BOB } else { ANN };
        assert_eq!(driver.via(sent.socket).transparent, Some(addr(client)));
    }
    driver.answer(flows[0], b"to ann");
    driver.answer(flows[1], b"to bob");
    assert_eq!(driver.said_to(), [balancer(b"to ann"), balancer(b"to bob")]);
}

#[test]
fn one_client_by_two_balancers_and_two_listeners_is_one_flow_answered_where_it_was_last() {
    let mut config = each();
    config.datagram_listeners.push(config.datagram_listeners[0].clone());
    config.datagram_listeners[1].address = addr("198.51.100.1:25599");
    let mut driver = ManualDriver::new(config);
    let sockets = [driver.listener_socket(0), driver.listener_socket(1)];
    driver.datagram_at(0, BALANCER, &[&v2(ANN), b"1"]);
    let flow = driver.only_flow();
    assert_eq!(driver.said_to(), [server(b"1")]);
    for (listener, from) in [(1, OTHER_BALANCER), (0, OTHER_BALANCER), (1, BALANCER), (0, BALANCER)] {
        driver.datagram_at(listener, from, &[&v2(ANN), b"2"]);
        assert_eq!((driver.only_flow(), driver.said_to()), (flow, vec![server(b"2")]));
        driver.answer(flow, b"3");
        let sent = driver.sent();
        assert_eq!((sent.len(), sent[0].socket, sent[0].to), (1, sockets[usize::from(listener)], addr(from)));
    }
}

#[test]
fn the_answers_of_the_simple_protocol_carry_the_header_that_came_last() {
    let mut driver = ManualDriver::new(each());
    for proxy in ["203.0.113.1:53", "203.0.113.2:53", "[2001:db8::7]:53"] {
        let header = emit::simple(addr(ANN), addr(proxy));
        driver.datagram(BALANCER, &[&header, b"query"]);
        assert_eq!(driver.said_to(), [server(b"query")]);
        driver.answer(driver.only_flow(), b"answer");
        driver.answer(driver.only_flow(), b"");
        assert_eq!(driver.said_to(), [balancer(&[&header[..], b"answer"].concat()), balancer(&header)]);
    }
    driver.datagram(BALANCER, &[&v2(ANN), b"plain"]);
    driver.answer(driver.only_flow(), b"answer");
    assert_eq!(driver.said_to(), [server(b"plain"), balancer(b"answer")].as_slice().sorted());
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
    let mut driver = ManualDriver::new(each());
    driver.datagram(BALANCER, &[&emit::simple(addr(ANN), addr(LISTEN)), b"query"]);
    driver.said_to();
    let long = vec![7; 65_527 - 38 + 1];
    driver.answer(driver.only_flow(), &long);
    assert_eq!(driver.said_to(), []);
    assert_eq!((driver.drops(), driver.counters().dropped), (vec![Dropped::TooLong(65_528)], 1));
    driver.answer(driver.only_flow(), &long[1..]);
    assert_eq!(driver.said_to()[0].1.len(), 65_527);
    assert_eq!((driver.counters().received, driver.counters().dropped), (1, 1));
}

#[test]
fn datagrams_received_in_one_go_are_one_datagram_each() {
    let mut driver = ManualDriver::new(each());
    let socket = driver.listener_socket(0);
    let part = |client: &str, text: &[u8]| [&v2(client)[..], text].concat();
    let all = [part(ANN, b"aaaa"), part(BOB, b"bbbb"), part(ANN, b"c")];
    let stride = all[0].len();
    driver.receive(socket, addr(BALANCER), stride, &all.concat());
    let flows = driver.flows();
    let mut sent: Vec<_> = driver.sent().into_iter().map(|sent| (sent.socket, sent.data)).collect();
    sent.sort_by_key(|(socket, _)| *socket);
    let of = |n: usize, text: &[u8]| (flows[n], text.to_vec());
    assert_eq!(sent, [of(0, b"aaaa"), of(0, b"c"), of(1, b"bbbb")]);
    // And the way back.
    driver.receive(flows[0], addr(SERVER_V4), 4, b"111122223");
    assert_eq!(driver.said_to(), [balancer(b"1111"), balancer(b"2222"), balancer(b"3")]);
    assert_eq!(driver.counters().received, 3);
}

#[test]
fn one_bad_datagram_in_a_group_takes_no_other_with_it() {
    let mut driver = ManualDriver::new(each());
    let part = |bytes: &[u8]| [&v2(ANN)[..], bytes].concat();
    let mut all = [part(b"good"), part(b"bad!"), part(b"fine")];
    all[1][0] = b'x';
    let stride = all[0].len();
    let socket = driver.listener_socket(0);
    driver.receive(socket, addr(BALANCER), stride, &all.concat());
    assert_eq!(driver.said_to(), [server(b"good"), server(b"fine")]);
    assert!(matches!(driver.drops()[..], [Dropped::Refused(Refusal::BadHeader(_))]));
}

#[test]
fn an_empty_payload_is_passed_on_and_an_empty_datagram_is_not() {
    let mut driver = ManualDriver::new(each());
    driver.datagram(BALANCER, &[&v2(ANN)]);
    driver.datagram(BALANCER, &[&v2(ANN)]);
    assert_eq!(driver.said_to(), [server(b""), server(b"")]);
    driver.answer(driver.only_flow(), b"");
    assert_eq!(driver.said_to(), [balancer(b"")]);
    driver.datagram(BALANCER, &[]);
    assert_eq!((driver.said_to(), driver.drops()), (vec![], vec![Dropped::CutShort(0)]));
}

#[test]
fn a_header_cut_short_at_any_byte_is_dropped_and_begins_no_flow() {
    for header in [v2(ANN), v2("[2001:db8::1]:5000"), emit::simple(addr(ANN), addr(LISTEN)).to_vec()] {
        let mut driver = ManualDriver::new(each());
        for len in 0..header.len() {
            driver.datagram(BALANCER, &[&header[..len]]);
            assert_eq!(driver.drops().last(), Some(&Dropped::CutShort(len)));
        }
        // What follows is judged for itself.
        driver.datagram(BALANCER, &[&header[header.len() - 3..], b"rest"]);
        assert!(matches!(driver.drops().last(), Some(Dropped::Refused(Refusal::BadHeader(_)))));
        assert_eq!((driver.flows().len(), driver.said_to()), (0, vec![]));
        assert_eq!(driver.counters().dropped, header.len() as u64 + 1);
    }
}

#[test]
fn what_is_for_tcp_is_refused() {
    let mut driver = ManualDriver::new(each());
    let tcp = emit::v2(addr(ANN), addr(LISTEN), Transport::Stream, &[], false);
    for bytes in [&emit::v1(addr(ANN), addr(LISTEN))[..], &emit::v1_unknown(), &tcp] {
        driver.datagram(BALANCER, &[bytes, b"x"]);
        assert!(matches!(driver.drops().last(), Some(Dropped::Refused(Refusal::BadHeader(_)))));
    }
    assert_eq!((driver.flows().len(), driver.counters().dropped), (0, 3));
}

#[test]
fn a_health_check_is_the_balancers_own_flow() {
    for (from, to) in [(BALANCER, SERVER_V4), ("[fd00::7]:7000", SERVER_V6)] {
        let mut driver = ManualDriver::new(each());
        driver.datagram(from, &[&emit::v2_local(&[]), b"ping"]);
        let flow = driver.only_flow();
        assert_eq!((driver.via(flow).transparent, driver.via(flow).source), (Some(addr(from)), None));
        assert_eq!(driver.said_to(), [(addr(to), b"ping".to_vec())]);
        driver.answer(flow, b"pong");
        assert_eq!(driver.said_to(), [(addr(from), b"pong".to_vec())]);
    }
    let mut driver = ManualDriver::new(each());
    driver.datagram("127.0.0.1:7000", &[&emit::v2_local(&[]), b"ping"]);
    let via = driver.via(driver.only_flow());
    assert_eq!((via.transparent, via.source), (None, Some(addr(SERVER_V4).ip())));
}

#[test]
fn a_balancer_that_is_ipv4_mapped_is_believed_as_ipv4_and_answered_as_it_came() {
    let mapped = "[::ffff:10.0.0.1]:7000";
    let mut driver = ManualDriver::new(each());
    driver.datagram(mapped, &[&emit::v2_local(&[]), b"ping"]);
    let flow = driver.only_flow();
    assert_eq!(driver.via(flow).transparent, Some(addr("10.0.0.1:7000")));
    assert_eq!(driver.said_to(), [server(b"ping")]);
    driver.answer(flow, b"pong");
    assert_eq!(driver.said_to(), [(addr(mapped), b"pong".to_vec())]);
}

#[test]
fn who_is_not_believed_is_dropped_and_counted_each_time() {
    let mut driver = ManualDriver::new(each());
    driver.datagram("192.0.2.66:1", &[&v2(ANN), b"x"]);
    let socket = driver.listener_socket(0);
    driver.receive(socket, addr("[2001:db8::66]:1"), 5, b"abcdeabcdeab");
    assert_eq!(driver.drops(), [Dropped::Refused(Refusal::PeerNotAllowed); 4]);
    for client in
        ["127.0.0.1:1", "0.0.0.0:1", "255.255.255.255:1", "198.51.100.1:1", "[::1]:1", "[fe80::1]:1"]
    {
        driver.datagram(BALANCER, &[&v2(client), b"x"]);
        let ip = addr(client).ip();
        assert_eq!(driver.drops().last(), Some(&Dropped::Refused(Refusal::BogusSource(ip))));
    }
    driver.datagram(BALANCER, &[&v2("192.0.2.1:0"), b"x"]);
    assert_eq!(driver.drops().last(), Some(&Dropped::Refused(Refusal::NoPort)));
    assert_eq!((driver.counters().dropped, driver.flows().len(), driver.said_to()), (11, 0, vec![]));
}

#[test]
fn a_stranger_cannot_take_a_flows_answers() {
    let mut driver = ManualDriver::new(each());
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    driver.datagram("192.0.2.66:1", &[&v2(ANN), b"2"]);
    driver.answer(driver.only_flow(), b"3");
    assert_eq!(driver.said_to().sorted(), [balancer(b"3"), server(b"1")]);
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
    let mut driver = ManualDriver::new(config);
    let to = |to: &str| emit::v2(addr(ANN), addr(to), Transport::Datagram, &[], false);
    for (n, place) in ["203.0.113.1:53", "203.0.113.1:54", "203.0.113.2:53"].into_iter().enumerate() {
        driver.datagram(BALANCER, &[&to(place), b"x"]);
        assert_eq!((driver.said_to(), driver.flows().len()), (vec![(addr(place), b"x".to_vec())], n + 1));
    }
    for place in ["203.0.113.1:55", "127.0.0.1:53", LISTEN] {
        driver.datagram(BALANCER, &[&to(place), b"x"]);
        assert_eq!(driver.drops().last(), Some(&Dropped::Refused(Refusal::NotAllowed(addr(place)))));
    }
}

#[test]
fn a_header_cannot_lead_datagrams_back_to_us() {
    let mut config = each();
    let network = prefixes(&["0.0.0.0/0"])[0];
    config.datagram_listeners[0].to_header = Some([Destinations { network, ports: 1..=65535 }].into());
    let mut driver = ManualDriver::new(config);
    driver.datagram(BALANCER, &[&v2(ANN), b"x"]);
    assert_eq!(driver.drops(), [Dropped::Refused(Refusal::Itself(addr(LISTEN)))]);
}

// ---- what goes wrong on a flow's socket ----

#[test]
fn what_a_socket_tells_of_ends_no_flow() {
    let mut driver = ManualDriver::new(each());
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    let socket = driver.only_flow();
    for fault in [Fault::Refused, Fault::HostUnreachable, Fault::Other(90)] {
        driver.input(Input::SocketFailed { socket, fault });
        assert!(matches!(driver.events.last(), Some(Event::FlowFault { .. })));
    }
    driver.input(Input::SendFailed { socket, id: 0, sent: 0, fault: Fault::Refused });
    let listener = driver.listener_socket(0);
    driver.input(Input::SendFailed { socket: listener, id: 0, sent: 0, fault: Fault::NoMemory });
    driver.input(Input::SocketFailed { socket: listener, fault: Fault::Refused });
    assert_eq!(driver.counters().dropped, 2, "what was not sent is counted");
    driver.datagram(BALANCER, &[&v2(ANN), b"2"]);
    assert_eq!((driver.only_flow(), driver.said_to()), (socket, vec![server(b"1"), server(b"2")]));
}

#[test]
fn a_port_that_cannot_be_had_ends_the_flow_or_costs_its_port() {
    for fault in [Fault::AddressInUse, Fault::AddressNotAvailable, Fault::PermissionDenied] {
        let mut driver = ManualDriver::new(each());
        driver.open_faults.push_back(fault);
        driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
        assert_eq!((driver.flow_ends(), driver.counters().open), (vec![FlowEnd::PortConflict(fault)], 0));
        assert_eq!(driver.said_to(), []);

        let mut driver = ManualDriver::new(Config { on_port_conflict: PortConflict::Ephemeral, ..each() });
        driver.open_faults.push_back(fault);
        driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
        let flow = driver.only_flow();
        assert_eq!(driver.via(flow).transparent, Some(addr("192.0.2.1:0")));
        driver.datagram(BALANCER, &[&v2(ANN), b"2"]);
        assert_eq!((driver.only_flow(), driver.said_to()), (flow, vec![server(b"1"), server(b"2")]));
        assert!(
            driver
                .events
                .iter()
                .any(|e| matches!(e, Event::FlowPortChanged { fault: f, .. } if *f == Some(fault)))
        );

        let mut driver = ManualDriver::new(Config { on_port_conflict: PortConflict::Ephemeral, ..each() });
        driver.open_faults.extend([fault, fault]);
        driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
        assert_eq!((driver.flow_ends(), driver.opens.len()), (vec![FlowEnd::Failed(fault)], 2));
    }
}

#[test]
fn a_flow_whose_socket_cannot_be_opened_is_tried_again_with_its_next_datagram() {
    let mut driver = ManualDriver::new(Config { on_port_conflict: PortConflict::Ephemeral, ..each() });
    driver.open_faults.push_back(Fault::NoDescriptors);
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    assert_eq!(driver.flow_ends(), [FlowEnd::Failed(Fault::NoDescriptors)]);
    driver.datagram(BALANCER, &[&v2(ANN), b"2"]);
    assert_eq!(driver.said_to(), [server(b"2")]);
    driver.advance(secs(60));
    assert_eq!((driver.flows().len(), driver.machine.machine().flow_counters().open), (0, 0));
}

#[test]
fn what_comes_before_a_socket_is_open_goes_out_when_it_is() {
    let mut driver = ManualDriver::new(each());
    driver.hold_opens = true;
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    assert_eq!(driver.said_to(), []);
    driver.datagram(BALANCER, &[&v2(ANN), b"2"]);
    assert_eq!(driver.said_to(), []);
    driver.open_all();
    assert_eq!(driver.said_to(), [server(b"1"), server(b"2")]);
}

// ---- how long it lives ----

#[test]
fn a_flow_ends_when_it_was_idle_for_the_time_set_and_not_before() {
    for answered in [false, true] {
        let mut driver = ManualDriver::new(each());
        driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
        let flow = driver.only_flow();
        for wait in [secs(59), ms(1), ms(900), ms(59_999), secs(30)] {
            driver.advance(wait);
            match answered {
                true => driver.answer(flow, b"x"),
                false => driver.datagram(BALANCER, &[&v2(ANN), b"x"]),
            }
        }
        driver.advance(secs(60) - Duration::from_nanos(1));
        assert_eq!(driver.only_flow(), flow);
        driver.advance(Duration::from_nanos(1));
        assert_eq!((driver.flows().len(), driver.flow_ends()), (0, vec![FlowEnd::Idle]));
        assert_eq!(driver.closed_sockets, [flow]);
        // What the server sends now belongs to no flow; the id misses.
        driver.receive(flow, addr(SERVER_V4), 4, b"late");
        driver.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
        driver.input(Input::OpenFailed { socket: flow, fault: Fault::AddressInUse });
        driver.input(Input::Opened { socket: flow, local: addr(LISTEN) });
        assert!(driver.said_to().iter().all(|(to, data)| *to != addr(BALANCER) || data == b"x"));
        driver.datagram(BALANCER, &[&v2(ANN), b"anew"]);
        assert_ne!(driver.only_flow(), flow);
    }
}

#[test]
fn a_flow_that_the_system_would_show_as_somebody_else_ends_before_it_has_sent_anything() {
    let mut driver = ManualDriver::new(each());
    driver.own_way = true;
    driver.datagram(BALANCER, &[&v2(ANN), b"1"]);
    assert_eq!(driver.flow_ends(), [FlowEnd::OtherAddress(addr(ELSEWHERE).ip())]);
    assert_eq!((driver.said_to(), driver.flows().len(), driver.closed_sockets.len()), (vec![], 0, 1));
}
