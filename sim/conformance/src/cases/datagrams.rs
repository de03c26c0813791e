//! What becomes of a datagram.

use crate::AnyRuntime;
use crate::client::pattern;
use crate::flows::{Flows, HERE, HERE_V6, Peer, families};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// After this long nothing more comes.
const QUIET: Duration = Duration::from_millis(150);

fn silent(peers: &[&Peer]) {
    for peer in peers {
        assert_eq!(peer.rest(QUIET), [], "nothing more was for {}", peer.address);
    }
}

/// The client's datagrams reach the server, and those the server answers with the client.
fn to_and_fro(client: &Peer, server: &Peer, list: &[Vec<u8>], say: impl Fn(&[Vec<u8>])) {
    say(list);
    let mut flow = None;
    for bytes in list {
        let came = server.hear();
        assert!(came.bytes == *bytes, "{} bytes to the server, {} came", bytes.len(), came.bytes.len());
        flow = Some(came.from);
    }
    let flow = flow.expect("there are datagrams");
    list.iter().for_each(|bytes| server.send(flow, bytes));
    for bytes in list {
        let came = client.hear();
        assert!(came.bytes == *bytes, "{} bytes to the client, {} came", bytes.len(), came.bytes.len());
    }
}

pub(super) fn an_echo_comes_back_through_a_flow(runtime: &AnyRuntime) {
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::start(runtime, &server);
    for round in 0..50 {
        client.say(proxy.address, &pattern(100, round));
        let came = server.hear();
        assert_eq!(came.bytes, pattern(100, round));
        assert_eq!(came.from.ip(), HERE, "it leaves from the client's address");
        server.send(came.from, &pattern(200, round));
        let back = client.hear();
        assert_eq!((back.bytes, back.from), (pattern(200, round), proxy.address));
    }
    silent(&[&server, &client]);
    let counters = proxy.finish();
    assert_eq!((counters.opened, counters.sent, counters.received, counters.dropped), (1, 50, 50, 0));
}

pub(super) fn two_clients_hear_each_their_own(runtime: &AnyRuntime) {
    let (server, one, two) = (Peer::on(HERE), Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::start(runtime, &server);
    for round in 0..20 {
        one.say(proxy.address, &[round, 1]);
        two.say(proxy.address, &[round, 2]);
        let came = [server.hear(), server.hear()];
        assert_ne!(came[0].from, came[1].from, "each has its own flow");
        for came in &came {
            server.send(came.from, &came.bytes);
        }
        assert_eq!(one.hear().bytes, [round, 1]);
        assert_eq!(two.hear().bytes, [round, 2]);
    }
    silent(&[&server, &one, &two]);
    assert_eq!(proxy.finish().opened, 2);
}

pub(super) fn empty_datagrams_keep_their_place(runtime: &AnyRuntime) {
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::headed_once(runtime, &server);
    let list: Vec<Vec<u8>> = ["", "a", "", "", "b", "bb", ""].map(|text| text.into()).into();
    client.say(proxy.address, b"");
    assert_eq!(server.hear().bytes, b"");
    for _ in 0..3 {
        to_and_fro(&client, &server, &list, |list| {
            list.iter().for_each(|bytes| client.send(proxy.address, bytes));
        });
    }
    silent(&[&server, &client]);
    assert_eq!(proxy.finish().dropped, 0);
}

pub(super) fn every_size_arrives_whole_and_alone(runtime: &AnyRuntime) {
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::headed_once(runtime, &server);
    client.say(proxy.address, b"hello");
    assert_eq!(server.hear().bytes, b"hello");
    for size in [1, 1472, 1473, 9000, 65_507] {
        to_and_fro(&client, &server, &[pattern(size, 3)], |list| client.send(proxy.address, &list[0]));
    }
    silent(&[&server, &client]);
    assert_eq!(proxy.finish().dropped, 0);
}

/// They are sent in one go, cut by the system, put together again on arrival, and so once more by
/// the flow.
pub(super) fn a_burst_of_equal_datagrams_stays_as_many_in_order(runtime: &AnyRuntime) {
    const SIZE: usize = 500;
    let (server, client) = (Peer::rich(HERE), Peer::rich(HERE));
    let proxy = Flows::headed_once(runtime, &server);
    client.say(proxy.address, b"hello");
    let flow = server.hear().from;
    for count in [2, 10, 60] {
        // The last one is shorter.
        let burst = pattern(SIZE * count + 7, count as u8);
        client.send_group(proxy.address, &burst, SIZE);
        for datagram in burst.chunks(SIZE) {
            assert!(server.hear().bytes == datagram, "to the server, of {count}");
        }
        server.send_group(flow, &burst, SIZE);
        for datagram in burst.chunks(SIZE) {
            assert!(client.hear().bytes == datagram, "to the client, of {count}");
        }
        // The same from a sender without groups.
        let list: Vec<Vec<u8>> = burst.chunks(SIZE).map(<[u8]>::to_vec).collect();
        to_and_fro(&client, &server, &list, |list| {
            list.iter().for_each(|bytes| client.send(proxy.address, bytes));
        });
    }
    silent(&[&server, &client]);
    let found = proxy.found();
    println!(
        "{} of {} in groups of several, {} of {} sent so",
        found.received.1, found.received.0, found.sent.1, found.sent.0
    );
    if cfg!(target_os = "linux") {
        assert!(found.received.1 >= 6 && found.sent.1 >= 6, "there were no groups: the case shows nothing");
    }
    assert_eq!(proxy.finish().dropped, 0);
}

pub(super) fn a_burst_of_mixed_sizes_stays_in_order(runtime: &AnyRuntime) {
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::start(runtime, &server);
    let sizes = [10, 500, 500, 500, 20, 1200, 1200, 3, 3, 4, 4, 3000, 3000, 1, 1200, 700];
    let list: Vec<Vec<u8>> = sizes.iter().zip(0..).map(|(size, salt)| pattern(*size, salt)).collect();
    for _ in 0..10 {
        to_and_fro(&client, &server, &list, |list| {
            list.iter().for_each(|bytes| client.say(proxy.address, bytes));
        });
    }
    silent(&[&server, &client]);
    assert_eq!(proxy.finish().dropped, 0);
}

/// The listener has all addresses of this host. All of 127.0.0.0/8 are, on Linux.
pub(super) fn answers_leave_from_the_address_that_was_asked(runtime: &AnyRuntime) {
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::with(runtime, Ipv4Addr::UNSPECIFIED.into(), server.address, |_| {});
    let last = if cfg!(target_os = "linux") { 4 } else { 1 };
    for host in (1..=last).chain(1..=last) {
        let asked = SocketAddr::new(IpAddr::from([127, 0, 0, host]), proxy.address.port());
        client.say(asked, &[host]);
        let came = server.hear();
        assert_eq!(came.bytes, [host]);
        server.send(came.from, &[host]);
        let back = client.hear();
        assert_eq!((back.bytes, back.from), (vec![host], asked), "the answer is from where it was asked");
    }
    assert_eq!(proxy.finish().opened, 1);
}

pub(super) fn ipv6_datagrams_pass(runtime: &AnyRuntime) {
    if !families().any(|ip| ip == HERE_V6) {
        println!("this host has no IPv6");
        return;
    }
    let (server, client) = (Peer::on(HERE_V6), Peer::on(HERE_V6));
    let proxy = Flows::headed_once(runtime, &server);
    client.say(proxy.address, b"hello");
    let came = server.hear();
    assert_eq!((came.bytes, came.from.ip()), (b"hello".to_vec(), HERE_V6));
    for size in [0, 1, 1452, 9000, 65_527] {
        to_and_fro(&client, &server, &[pattern(size, 3)], |list| client.send(proxy.address, &list[0]));
    }
    let equal = vec![pattern(600, 9); 20];
    to_and_fro(&client, &server, &equal, |list| {
        list.iter().for_each(|bytes| client.send(proxy.address, bytes));
    });
    silent(&[&server, &client]);
    assert_eq!(proxy.finish().dropped, 0);
}

/// RFC 3168: 0 is not ECN-capable, 1 and 2 are, 3 is congestion experienced.
pub(super) fn ecn_is_passed_on_both_ways(runtime: &AnyRuntime) {
    if cfg!(not(target_os = "linux")) {
        println!("this system cannot say it on connected sockets");
        return;
    }
    for ip in families() {
        let (server, client) = (Peer::rich(ip), Peer::rich(ip));
        let proxy = Flows::headed_once(runtime, &server);
        client.say(proxy.address, b"hello");
        server.hear();
        for ecn in [0, 1, 2, 3, 0] {
            client.mark(proxy.address, b"to the server", ecn);
            let came = server.hear();
            assert_eq!(came.ecn, ecn, "to the server over {ip}");
            server.mark(came.from, b"to the client", ecn);
            assert_eq!(client.hear().ecn, ecn, "to the client over {ip}");
        }
        proxy.finish();
    }
}
