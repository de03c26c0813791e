//! UDP ASSOCIATE over several uplinks: which way each destination takes, and when it takes another.

mod util;

use ropewalk_core::dispatch::{Config, Rate};
use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::machine::{Fault, Input, Report, UplinkId};
use ropewalk_core::uplink::{Networks, PoolConfig};
use util::desk::{CLIENT, Desk, FAR, PORT, uplinks, wrapped, wrapped_name};
use util::{addr, ms, secs};

fn two() -> Desk {
    Desk::new(Config::default(), uplinks(&[("a", 3), ("b", 1)]))
}

#[test]
fn destinations_are_spread_by_weight_and_each_keeps_to_its_uplink() {
    let mut desk = two();
    let (_, socket) = desk.associate(CLIENT);
    let to: Vec<String> = (1..=40).map(|n| format!("192.0.2.{n}:53")).collect();
    let first: Vec<_> = to.iter().map(|to| desk.uplink_of(socket, to)).collect();
    let on = |label: &str| first.iter().filter(|uplink| uplink.as_deref() == Some(label)).count();
    assert_eq!((on("a"), on("b")), (30, 10));
    for _ in 0..3 {
        let again: Vec<_> = to.iter().map(|to| desk.uplink_of(socket, to)).collect();
        assert_eq!(again, first);
    }
    assert_eq!(desk.sockets.len(), 3, "the client's, and one for each uplink");
}

#[test]
fn two_ports_of_one_host_are_two_destinations() {
    let mut desk = Desk::new(Config::default(), uplinks(&[("a", 1), ("b", 1)]));
    let (_, socket) = desk.associate(CLIENT);
    let first = desk.uplink_of(socket, "192.0.2.1:1");
    assert_ne!(desk.uplink_of(socket, "192.0.2.1:2"), first);
}

#[test]
fn the_uplinks_account_has_the_bytes_of_both_directions() {
    let mut desk = two();
    let (stream, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped(FAR, &[0; 100]));
    let way = desk.way("a");
    desk.datagram(way, FAR, &[0; 300]);
    desk.sent();
    desk.input(Input::ReadClosed { stream });
    let account = desk.pool.accounts(desk.now).next().map(|(_, account, _)| (account.sent, account.received));
    assert_eq!(account, Some((100, 300)));
}

#[test]
fn destinations_of_an_uplink_that_vanishes_move_and_the_others_stay() {
    let mut desk = Desk::new(Config::default(), uplinks(&[("a", 1), ("b", 1)]));
    let (_, socket) = desk.associate(CLIENT);
    let to = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"];
    let before = to.map(|to| desk.uplink_of(socket, to));
    assert_eq!(before.iter().flatten().filter(|label| *label == "a").count(), 2);
    let without = Networks { v4: false, v6: false, ..Networks::default() };
    desk.pool.set_networks(vec![without, Networks::default()], Vec::new());
    desk.gone(0);
    assert!(desk.events.contains(&Event::DestinationsMoved {
        conn: ropewalk_core::machine::ConnId::from_parts(0, 0),
        uplink: Some(UplinkId(0)),
        count: 2
    }));
    assert_eq!(desk.sockets.len(), 2);
    assert_eq!(to.map(|to| desk.uplink_of(socket, to)), [(); 4].map(|()| Some("b".into())));
    // It is back: what has moved stays where it is, new destinations are spread again.
    desk.pool.set_networks(vec![Networks::default(); 2], Vec::new());
    assert_eq!(to.map(|to| desk.uplink_of(socket, to)), [(); 4].map(|()| Some("b".into())));
    let new = ["192.0.2.5:1", "192.0.2.6:1"].map(|to| desk.uplink_of(socket, to));
    assert!(new.contains(&Some("a".into())));
    assert_eq!(desk.ends(), []);
}

#[test]
fn an_uplink_whose_device_is_gone_is_left_at_the_first_send_that_fails() {
    let mut desk = two();
    let (_, socket) = desk.associate(CLIENT);
    assert_eq!(desk.uplink_of(socket, FAR).as_deref(), Some("a"));
    let way = desk.way("a");
    desk.input(Input::SendFailed { socket: way, id: 0, sent: 0, fault: Fault::NoDevice });
    assert!(desk.reports.contains(&Report::Failed { uplink: UplinkId(0), fault: Fault::NoDevice }));
    assert_eq!(desk.uplink_of(socket, FAR).as_deref(), Some("b"));
    // What a destination is to blame for moves nothing.
    let way = desk.way("b");
    desk.input(Input::SendFailed { socket: way, id: 0, sent: 0, fault: Fault::TooLarge });
    assert!(desk.sockets.contains_key(&way));
}

#[test]
fn a_datagram_whose_uplink_cannot_be_bound_leaves_by_the_next() {
    let mut desk = two();
    let (_, socket) = desk.associate(CLIENT);
    desk.open_faults.push_back(Some(Fault::NoRoute));
    assert_eq!(desk.uplink_of(socket, FAR).as_deref(), Some("b"));
    assert!(desk.reports.contains(&Report::Failed { uplink: UplinkId(0), fault: Fault::NoRoute }));
    assert_eq!(desk.drops(), []);
}

#[test]
fn where_no_uplink_can_be_bound_the_datagram_is_dropped_and_told() {
    let mut desk = two();
    let (_, socket) = desk.associate(CLIENT);
    desk.open_faults.extend([Some(Fault::NoRoute); 2]);
    desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    assert_eq!(desk.drops(), [Dropped::Refused(Refusal::NoUplink)]);
    assert_eq!((desk.ends(), desk.sockets.len()), (vec![(addr(FAR), FlowEnd::NoUplink)], 1));
    desk.datagram(socket, PORT, &wrapped(FAR, b"x"));
    assert_eq!(desk.sent().len(), 1, "the next is tried anew");
}

#[test]
fn the_next_address_of_a_name_is_taken_where_no_uplink_carries_the_first() {
    let mut desk = two();
    let without = Networks { v6: false, ..Networks::default() };
    desk.pool.set_networks(vec![without.clone(), without], Vec::new());
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped_name("both.example", 53, b"x"));
    desk.resolved("both.example", &["2001:db8::1", "2001:db8::2", "192.0.2.1"]);
    assert_eq!(desk.said_to(), [(addr(FAR), b"x".to_vec())]);
    desk.datagram(socket, PORT, &wrapped_name("both.example", 53, b"y"));
    assert_eq!((desk.asked.len(), desk.said_to()), (0, vec![(addr(FAR), b"y".to_vec())]));
    assert_eq!(desk.drops(), []);
}

#[test]
fn an_uplinks_address_that_this_host_has_lost_moves_its_destinations() {
    let mut pool = uplinks(&[("a", 1), ("b", 1)]);
    pool.uplinks[0].source_v4 = Some([10, 0, 0, 1].into());
    pool.uplinks[1].source_v4 = Some([10, 0, 1, 1].into());
    let own = ["10.0.0.1", "10.0.1.1"].map(|ip| ip.parse().expect("literal"));
    let mut desk = Desk::new(Config { local_addresses: own.into(), ..Config::default() }, pool);
    let (_, socket) = desk.associate(CLIENT);
    assert_eq!(desk.uplink_of(socket, FAR).as_deref(), Some("a"));
    let way = desk.way("a");
    assert_eq!(desk.sockets[&way].local.ip(), own[0]);
    desk.input(Input::LocalAddresses { addresses: &own[1..] });
    assert!(!desk.sockets.contains_key(&way));
    desk.pool.set_networks(vec![Networks { v4: false, ..Networks::default() }], Vec::new());
    assert_eq!(desk.uplink_of(socket, FAR).as_deref(), Some("b"));
}

#[test]
fn what_is_on_this_host_or_beside_it_leaves_unbound() {
    let unbound = vec!["172.17.0.0/16".parse().expect("literal")];
    let pool = PoolConfig { unbound, ..uplinks(&[("a", 1)]) };
    let mut desk = Desk::new(Config::default(), pool);
    let (_, socket) = desk.associate("127.0.0.1:4000");
    for to in ["127.0.0.1:53", "172.17.0.9:53"] {
        desk.datagram(socket, "127.0.0.1:5000", &wrapped(to, b"x"));
        let sent = desk.sent();
        assert_eq!(desk.sockets[&sent[0].socket].via.device, None, "{to}");
    }
    assert_eq!(desk.sockets.len(), 2, "both by the same socket");
}

#[test]
fn two_associations_have_sockets_of_their_own() {
    let mut desk = two();
    let ((first, one), (_, two)) = (desk.associate(CLIENT), desk.associate("203.0.113.9:1"));
    desk.datagram(one, PORT, &wrapped(FAR, b"x"));
    desk.datagram(two, "203.0.113.9:2", &wrapped(FAR, b"y"));
    assert_eq!(desk.sockets.len(), 4);
    let sent = desk.sent();
    let from = |data: &[u8]| sent.iter().find(|sent| sent.data == data).map(|sent| sent.socket);
    let (x, y) = (from(b"x").expect("sent"), from(b"y").expect("sent"));
    desk.datagram(y, FAR, b"to the second");
    assert_eq!(desk.said_to(), [(addr("203.0.113.9:2"), wrapped(FAR, b"to the second"))]);
    desk.input(Input::ReadClosed { stream: first });
    assert!(!desk.sockets.contains_key(&x) && desk.sockets.contains_key(&y));
    desk.advance(secs(1));
    desk.datagram(two, "203.0.113.9:2", &wrapped(FAR, b"z"));
    assert_eq!(desk.sent().len(), 1);
}

#[test]
fn datagrams_beyond_the_rate_are_dropped_and_counted_and_other_uplinks_pass_all() {
    let rate = Rate { sent: Some(10_000), received: Some(20_000) };
    let config = Config { rates: vec![Some(rate), None], ..Config::default() };
    let mut desk = Desk::new(config, uplinks(&[("a", 1), ("b", 1)]));
    let (_, socket) = desk.associate(CLIENT);
    assert_eq!(desk.uplink_of(socket, "192.0.2.1:1").as_deref(), Some("a"));
    assert_eq!(desk.uplink_of(socket, "192.0.2.2:1").as_deref(), Some("b"));
    // Ten seconds of ten times the rate, by each, up and down.
    let mut passed = [0; 4];
    for _ in 0..1_000 {
        for (n, to) in ["192.0.2.1:1", "192.0.2.2:1"].into_iter().enumerate() {
            desk.datagram(socket, PORT, &wrapped(to, &[0; 1_000]));
            passed[n] += desk.sent().len();
        }
        for (n, from) in ["192.0.2.1:1", "192.0.2.2:1"].into_iter().enumerate() {
            let way = desk.way(if n == 0 { "a" } else { "b" });
            desk.datagram(way, from, &[0; 1_000]);
            passed[2 + n] += desk.sent().len();
        }
        desk.advance(ms(10));
    }
    // A tenth, and what may be early at the start.
    assert!((99..=103).contains(&passed[0]) && (198..=204).contains(&passed[2]), "{passed:?}");
    assert_eq!((passed[1], passed[3]), (1_000, 1_000));
    let dropped = desk.drops();
    assert_eq!(dropped.len(), 2_000 - passed[0] - passed[2]);
    assert!(dropped.iter().all(|why| *why == Dropped::Rate));
}
