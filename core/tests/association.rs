//! UDP ASSOCIATE: RFC 1928 section 7, clause by clause.

mod util;

use ropewalk_core::dispatch::{Config, Credentials};
use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::machine::{Close, Fault, Input};
use ropewalk_core::uplink::PoolConfig;
use util::desk::{CLIENT, Desk, FAR, LISTEN, PORT, uplinks, wrapped, wrapped_name};
use util::{addr, say, secs};

fn desk(config: Config) -> Desk {
    Desk::new(config, uplinks(&[("wan", 1)]))
}

#[test]
fn a_datagram_goes_out_without_its_header_and_its_answer_comes_back_with_one() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, b"question"));
    let way = desk.way("wan");
    assert_eq!(desk.said_to(), [(addr(FAR), b"question".to_vec())]);
    desk.datagram(way, FAR, b"answer");
    assert_eq!(desk.said_to(), [(addr(PORT), wrapped(FAR, b"answer"))]);
    assert_eq!(desk.drops(), []);
}

#[test]
fn the_answer_names_the_address_that_the_client_has_reached_us_by() {
    let mut desk = desk(Config::default());
    let (_, answer) = desk.asks(CLIENT, "0.0.0.0:0");
    let bound = desk.sockets.values().next().expect("a socket").local;
    assert_eq!(bound.ip(), addr(LISTEN).ip());
    assert_ne!(bound.port(), 0);
    assert_eq!(answer, say::socks5_reply(0, bound));
}

#[test]
fn fragments_are_dropped_and_told() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    for fragment in [1, 2, 0x7f, 0x80, 0xff] {
        let mut datagram = wrapped(FAR, b"part");
        datagram[2] = fragment;
        desk.datagram(socket, PORT, &datagram);
    }
    assert_eq!(desk.drops(), [1, 2, 0x7f, 0x80, 0xff].map(Dropped::Fragment));
    assert_eq!(desk.said_to(), []);
}

#[test]
fn the_first_port_that_the_client_uses_is_the_one_that_is_heard() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, "203.0.113.6:5000", &wrapped(FAR, b"from elsewhere"));
    desk.datagram(socket, PORT, &wrapped(FAR, b"first"));
    desk.datagram(socket, "203.0.113.5:5001", &wrapped(FAR, b"by another port"));
    desk.datagram(socket, "203.0.113.6:5000", &wrapped(FAR, b"from elsewhere"));
    desk.datagram(socket, PORT, &wrapped(FAR, b"second"));
    assert_eq!(desk.said_to(), [(addr(FAR), b"first".to_vec()), (addr(FAR), b"second".to_vec())]);
    assert_eq!(desk.drops(), [Dropped::NotClient; 3]);
}

#[test]
fn a_port_that_the_client_has_told_is_the_one_that_is_heard_unless_a_nat_is_between() {
    let told = |expected: &str| {
        let mut desk = desk(Config::default());
        desk.asks(CLIENT, expected);
        let socket = *desk.sockets.keys().next().expect("a socket");
        desk.datagram(socket, "203.0.113.5:6000", &wrapped(FAR, b"x"));
        desk.said_to().len()
    };
    assert_eq!(told("203.0.113.5:5000"), 0, "it said 5000");
    assert_eq!(told("203.0.113.5:6000"), 1);
    assert_eq!(told("192.168.1.5:5000"), 1, "its own address is not what we see");
    assert_eq!(told("0.0.0.0:5000"), 1);
    assert_eq!(told("203.0.113.5:0"), 1);
}

#[test]
fn it_ends_with_its_connection_and_nothing_is_left() {
    for (number, how) in ["end", "failure"].into_iter().enumerate() {
        let mut desk = desk(Config::default());
        let (stream, socket) = desk.associate(CLIENT);
        desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
        desk.datagram(socket, PORT, &wrapped("192.0.2.2:53", b"x"));
        desk.datagram(socket, PORT, &wrapped_name("host.example", 53, b"x"));
        assert_eq!(desk.sent().len(), 2);
        match number {
            0 => desk.input(Input::ReadClosed { stream }),
            _ => desk.input(Input::Failed { stream, fault: Fault::Reset }),
        }
        assert!(desk.sockets.is_empty() && desk.asked.is_empty(), "after its {how}");
        let close = [Close::Graceful, Close::Reset][number];
        assert_eq!(desk.closed, [(stream, close)]);
        let ended = desk
            .events
            .iter()
            .any(|event| matches!(event, Event::AssociationEnded { sent: 2, received: 0, .. }));
        assert!(ended, "{:?}", desk.events);
        assert!(desk.ends().iter().all(|(_, why)| *why == FlowEnd::Association));
    }
}

#[test]
fn what_is_said_on_the_connection_behind_the_request_ends_nothing() {
    let mut desk = desk(Config::default());
    let (stream, socket) = desk.associate(CLIENT);
    desk.says(stream, &[7; 10_000]);
    desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    assert_eq!(desk.sent().len(), 1);
}

#[test]
fn headers_of_each_address_type_lead_to_their_destination() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped("[2001:db8::1]:53", b"six"));
    desk.datagram(socket, PORT, &wrapped("[::ffff:192.0.2.1]:53", b"four"));
    desk.datagram(socket, PORT, &wrapped_name("192.0.2.1", 53, b"in letters"));
    let said = desk.said_to();
    assert_eq!(
        said,
        [
            (addr("[2001:db8::1]:53"), b"six".to_vec()),
            (addr(FAR), b"four".to_vec()),
            (addr(FAR), b"in letters".to_vec())
        ]
    );
    let six = desk.sockets.iter().find(|(_, bound)| bound.local.is_ipv6()).map(|(socket, _)| *socket);
    desk.datagram(six.expect("a socket of IPv6"), "[2001:db8::1]:53", b"back");
    assert_eq!(desk.said_to(), [(addr(PORT), wrapped("[2001:db8::1]:53", b"back"))]);
}

#[test]
fn headers_that_are_none_are_dropped_with_their_reason() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &[]);
    desk.datagram(socket, PORT, &wrapped(FAR, b"")[..9]);
    desk.datagram(socket, PORT, &[0, 0, 0, 9, 1, 2, 3, 4]);
    desk.datagram(socket, PORT, &wrapped_name("", 53, b"x"));
    desk.datagram(socket, PORT, &wrapped("192.0.2.1:0", b"x"));
    let drops = desk.drops();
    assert_eq!(
        drops[..3],
        [Dropped::CutShort(0), Dropped::CutShort(9), Dropped::Refused(Refusal::AddressType(9))]
    );
    assert!(matches!(drops[3], Dropped::Refused(Refusal::BadHost(_))));
    assert!(matches!(drops[4], Dropped::Refused(Refusal::Unreachable(Fault::Refused))));
    assert_eq!((drops.len(), desk.said_to().len()), (5, 0));
}

#[test]
fn an_empty_datagram_is_a_datagram() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, b""));
    assert_eq!(desk.said_to(), [(addr(FAR), Vec::new())]);
    let way = desk.way("wan");
    desk.datagram(way, FAR, b"");
    assert_eq!(desk.said_to(), [(addr(PORT), wrapped(FAR, b""))]);
}

#[test]
fn a_group_of_datagrams_is_taken_apart_and_leaves_as_a_group() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    let group: Vec<u8> = [&b"one"[..], b"two", b"six"].iter().flat_map(|data| wrapped(FAR, data)).collect();
    desk.receive(socket, PORT, 13, &group);
    let expected: Vec<_> = [&b"one"[..], b"two", b"six"].map(|data| (addr(FAR), data.to_vec())).into();
    assert_eq!(desk.said_to(), expected);
    let way = desk.way("wan");
    desk.receive(way, FAR, 3, b"ONETWOS");
    let expected: Vec<_> = [&b"ONE"[..], b"TWO", b"S"].map(|data| (addr(PORT), wrapped(FAR, data))).into();
    assert_eq!(desk.said_to(), expected);
}

#[test]
fn an_answer_carries_its_true_source_and_strangers_are_not_heard() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, b"read request"));
    desk.sent();
    let way = desk.way("wan");
    // TFTP answers from another port.
    desk.datagram(way, "192.0.2.1:4711", b"block");
    assert_eq!(desk.said_to(), [(addr(PORT), wrapped("192.0.2.1:4711", b"block"))]);
    desk.datagram(way, "192.0.2.2:53", b"who is this?");
    assert_eq!((desk.said_to().len(), desk.drops()), (0, vec![Dropped::Stranger]));
}

#[test]
fn each_datagram_is_judged_by_where_it_leads() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    for to in [
        "127.0.0.1:53",
        "10.0.0.1:53",
        "169.254.169.254:80",
        "[::1]:53",
        "224.0.0.251:5353",
        "255.255.255.255:9",
    ] {
        desk.datagram(socket, PORT, &wrapped(to, b"x"));
        assert_eq!(desk.drops().pop(), Some(Dropped::Refused(Refusal::NotAllowed(addr(to)))), "{to}");
    }
    desk.datagram(socket, PORT, &wrapped_name("localhost", 53, b"x"));
    assert!(matches!(desk.drops().pop(), Some(Dropped::Refused(Refusal::NotAllowed(_)))));
    desk.datagram(socket, PORT, &wrapped(LISTEN, b"x"));
    assert!(matches!(desk.drops().pop(), Some(Dropped::Refused(Refusal::Itself(_)))));
    desk.datagram(socket, PORT, &wrapped(FAR, b"well"));
    // An address of this host's from now on: the destination is known, and judged anew.
    desk.input(Input::LocalAddresses { addresses: &[addr(FAR).ip()] });
    desk.datagram(socket, PORT, &wrapped(FAR, b"not any more"));
    assert_eq!(desk.said_to(), [(addr(FAR), b"well".to_vec())]);
    assert_eq!(desk.drops().pop(), Some(Dropped::Refused(Refusal::NotAllowed(addr(FAR)))));
}

#[test]
fn a_client_of_this_host_may_go_anywhere() {
    let mut desk = Desk::new(Config::default(), PoolConfig::default());
    let (_, socket) = desk.associate("127.0.0.1:40000");
    desk.datagram(socket, "127.0.0.1:5000", &wrapped("127.0.0.1:53", b"x"));
    desk.datagram(socket, "127.0.0.1:5000", &wrapped_name("localhost", 54, b"y"));
    assert_eq!(
        desk.said_to(),
        [(addr("127.0.0.1:53"), b"x".to_vec()), (addr("127.0.0.1:54"), b"y".to_vec())]
    );
}

#[test]
fn a_name_is_looked_up_once_and_stays_where_it_led() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    for data in [&b"one"[..], b"two"] {
        desk.datagram(socket, PORT, &wrapped_name("host.example", 53, data));
    }
    assert_eq!((desk.asked.len(), desk.sent().len()), (1, 0));
    desk.resolved("host.example", &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(desk.said_to(), [(addr(FAR), b"one".to_vec()), (addr(FAR), b"two".to_vec())]);
    desk.datagram(socket, PORT, &wrapped_name("host.example", 53, b"three"));
    assert_eq!((desk.asked.len(), desk.said_to()), (0, vec![(addr(FAR), b"three".to_vec())]));
    // Another port is asked for anew; so is the name when its destination is forgotten.
    desk.datagram(socket, PORT, &wrapped_name("host.example", 54, b"x"));
    desk.take_asked("host.example");
    desk.advance(secs(121));
    assert_eq!(desk.ends(), [(addr(FAR), FlowEnd::Idle)]);
    desk.datagram(socket, PORT, &wrapped_name("host.example", 53, b"again"));
    desk.resolved("host.example", &["192.0.2.9"]);
    assert_eq!(desk.said_to(), [(addr("192.0.2.9:53"), b"again".to_vec())]);
}

#[test]
fn a_name_that_leads_where_the_client_may_not_go_leads_nowhere() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped_name("rebound.example", 53, b"x"));
    desk.resolved("rebound.example", &["127.0.0.1", "::ffff:10.0.0.1"]);
    assert_eq!(desk.drops(), [Dropped::Refused(Refusal::NotAllowed(addr("10.0.0.1:53")))]);
    desk.datagram(socket, PORT, &wrapped_name("mixed.example", 53, b"x"));
    desk.resolved("mixed.example", &["127.0.0.1", "192.0.2.1"]);
    assert_eq!(desk.said_to(), [(addr(FAR), b"x".to_vec())]);
}

#[test]
fn a_name_that_is_not_found_or_hangs_drops_what_waits_for_it() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped_name("nowhere.example", 53, b"x"));
    let query = desk.take_asked("nowhere.example");
    desk.input(Input::ResolveFailed { query, fault: Fault::NameNotFound });
    desk.datagram(socket, PORT, &wrapped_name("hangs.example", 53, b"x"));
    desk.datagram(socket, PORT, &wrapped_name("hangs.example", 53, b"y"));
    desk.advance(secs(8));
    assert!(desk.asked.is_empty(), "it is not waited for any more");
    let name = |fault| Dropped::Refused(Refusal::Name(fault));
    assert_eq!(desk.drops(), [name(Fault::NameNotFound), name(Fault::TimedOut), name(Fault::TimedOut)]);
}

#[test]
fn names_and_what_waits_for_them_have_an_end() {
    let mut desk = desk(Config { max_lookups: 256, ..Config::default() });
    let (_, socket) = desk.associate(CLIENT);
    for n in 0..65 {
        desk.datagram(socket, PORT, &wrapped_name(&format!("{n}.example"), 53, b"x"));
    }
    assert_eq!(desk.drops(), [Dropped::NamesFull { limit: 64 }]);
    for _ in 0..65 {
        desk.datagram(socket, PORT, &wrapped_name("0.example", 53, b"x"));
    }
    assert!(matches!(desk.drops()[1..], [Dropped::QueueFull { .. }, Dropped::QueueFull { .. }]));
}

#[test]
fn only_who_has_the_password_gets_an_association() {
    let config = || Config { credentials: Credentials::parse(b"user:secret").ok(), ..Config::default() };
    let mut desk = desk(config());
    let stream = desk.accept(CLIENT);
    desk.says(stream, &[say::GREETING, &say::socks5_request(3, addr("0.0.0.0:0"))].concat());
    assert_eq!(desk.written(stream), [5, 0xff]);
    assert!(desk.sockets.is_empty());
    let stream = desk.accept(CLIENT);
    let request = say::socks5_request(3, addr("0.0.0.0:0"));
    desk.says(stream, &[&[5, 1, 2][..], &say::user_password(b"user", b"secret"), &request].concat());
    assert_eq!(desk.written(stream)[..6], [5, 2, 1, 0, 5, 0]);
    assert_eq!(desk.sockets.len(), 1);
}

#[test]
fn bind_is_no_command_here_and_udp_is_none_where_it_is_off() {
    for (command, max_associations) in [(2, 1024), (9, 1024), (3, 0)] {
        let mut desk = desk(Config { max_associations, ..Config::default() });
        let stream = desk.accept(CLIENT);
        desk.says(stream, &[say::GREETING, &say::socks5_request(command, addr("0.0.0.0:0"))].concat());
        assert_eq!(desk.written(stream)[2..], say::socks5_refusal(7));
        assert_eq!(desk.refusals(), [Refusal::Command(command)]);
    }
}

#[test]
fn there_is_an_end_to_associations_and_room_again_when_one_has_ended() {
    let mut desk = desk(Config { max_associations: 2, ..Config::default() });
    let (first, _) = desk.associate(CLIENT);
    desk.associate(CLIENT);
    let (_, answer) = desk.asks(CLIENT, "0.0.0.0:0");
    assert_eq!(answer, say::socks5_refusal(1));
    assert_eq!(desk.refusals(), [Refusal::AssociationLimit { limit: 2 }]);
    desk.input(Input::ReadClosed { stream: first });
    desk.associate(CLIENT);
}

#[test]
fn a_client_whose_socket_cannot_be_opened_is_told_so() {
    let mut desk = desk(Config::default());
    desk.open_faults.push_back(Some(Fault::NoDescriptors));
    let (_, answer) = desk.asks(CLIENT, "0.0.0.0:0");
    assert_eq!(answer, say::socks5_refusal(1));
    assert_eq!(desk.refusals(), [Refusal::NoRelay(Fault::NoDescriptors)]);
}

#[test]
fn destinations_have_an_end_and_the_longest_idle_goes_first() {
    let mut desk = desk(Config { max_destinations: 2, ..Config::default() });
    let (_, socket) = desk.associate(CLIENT);
    for to in ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:1", "192.0.2.3:1"] {
        desk.datagram(socket, PORT, &wrapped(to, b"x"));
        desk.advance(secs(1));
    }
    assert_eq!(desk.ends(), [(addr("192.0.2.2:1"), FlowEnd::Evicted { limit: 2 })]);
    assert_eq!(desk.sent().len(), 4);
}

#[test]
fn a_silent_destination_is_forgotten_and_its_socket_with_it_but_not_the_association() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    assert_eq!(desk.sent().len(), 1);
    desk.advance(secs(119));
    let way = desk.way("wan");
    desk.datagram(way, FAR, b"y");
    desk.advance(secs(119));
    assert_eq!(desk.ends(), []);
    desk.advance(secs(2));
    assert_eq!((desk.ends(), desk.sockets.len()), (vec![(addr(FAR), FlowEnd::Idle)], 1));
    desk.datagram(socket, PORT, &wrapped(FAR, b"z"));
    assert_eq!(desk.sent().len(), 2, "one for the client, one that begins anew");
}

#[test]
fn with_an_idle_time_for_connections_a_silent_association_ends_too() {
    let mut desk = desk(Config { idle_timeout: Some(secs(10)), ..Config::default() });
    let (stream, socket) = desk.associate(CLIENT);
    desk.advance(secs(9));
    desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    desk.advance(secs(9));
    assert!(desk.closed.is_empty());
    desk.advance(secs(1));
    assert_eq!(desk.closed, [(stream, Close::Graceful)]);
}

#[test]
fn a_service_that_drains_waits_for_associations_that_are_in_use() {
    let mut desk = desk(Config::default());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    desk.input(Input::Drain);
    for _ in 0..5 {
        desk.advance(secs(2));
        desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    }
    desk.datagram(socket, PORT, &wrapped("192.0.2.7:1", b"x"));
    assert_eq!(desk.drops(), [Dropped::Draining]);
    assert!(!desk.finished);
    desk.advance(secs(3));
    assert!(desk.finished);
}

#[test]
fn what_would_be_too_much_to_queue_is_dropped_and_told() {
    let mut desk = desk(Config { max_queue: 1000, ..Config::default() });
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, &[1; 600]));
    desk.datagram(socket, PORT, &wrapped(FAR, &[2; 600]));
    assert_eq!(desk.drops(), [Dropped::QueueFull { limit: 1000 }]);
    let way = desk.way("wan");
    desk.datagram(way, FAR, &[3; 600]);
    desk.datagram(way, FAR, &[4; 600]);
    assert_eq!(desk.drops().len(), 2);
    assert_eq!(desk.sent().len(), 2);
    desk.datagram(way, FAR, &[5; 65_520]);
    assert_eq!(desk.drops().pop(), Some(Dropped::TooLong(65_530)));
}
