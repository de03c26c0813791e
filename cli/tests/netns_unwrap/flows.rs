//! UDP flows: how they begin where only the first datagram has a header, how many there may be, and
//! how they end.

use crate::common::proxy::Proxy;
use crate::common::{LONG, here, wait_until};
use crate::datagram::{UDP, balancer, bind, expect, receive, round_trip, v2, wrong};
use crate::host::{CLIENT, Host, LISTEN, SERVER, addr};
use std::net::UdpSocket;

/// Where only the first datagram has a header.
fn first(host: &Host, more: &str) -> Proxy {
    host.unwrap(&format!("{UDP} --udp-header first --stats 9090 {more}"))
}

fn dropped(host: &Host, reason: &str) -> u64 {
    host.metric(&format!("ropewalk_unwrap_datagrams_dropped_total{{reason=\"{reason}\"}}"))
}

#[test]
fn after_the_first_datagram_there_is_no_header() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = first(&host, "");
    let (one, other) = (balancer(&host, LISTEN), balancer(&host, LISTEN));
    round_trip(&one, &server, CLIENT, b"first");
    round_trip(&other, &server, "192.0.2.8:40000", b"first");
    for (balancer, client) in [(&one, CLIENT), (&other, "192.0.2.8:40000"), (&one, CLIENT)] {
        balancer.send(b"plain").expect("sent");
        assert_eq!(expect(&server, b"plain"), addr(client));
        // A client must not choose its own address, however well it knows the protocol.
        let forged = v2("203.0.113.66:666", b"forged");
        balancer.send(&forged).expect("sent");
        assert_eq!(expect(&server, &forged), addr(client));
        balancer.send(b"").expect("sent");
        assert_eq!(expect(&server, b""), addr(client));
        server.send_to(b"answer", addr(client)).expect("there is a route");
        expect(balancer, b"answer");
    }
}

#[test]
fn what_belongs_to_no_flow_is_dropped_and_counted() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = first(&host, "");
    let all = wrong();
    let ports: Vec<_> = all.iter().map(|_| balancer(&host, LISTEN)).collect();
    for (balancer, datagram) in ports.iter().zip(&all) {
        balancer.send(datagram).expect("sent");
    }
    round_trip(&balancer(&host, LISTEN), &server, CLIENT, b"first");
    // A datagram that begins like a header counts as a wrong one, and its port is not trusted
    // again: see the next test.
    let reasons = ["no_flow", "cut_short", "malformed"].map(|reason| dropped(&host, reason));
    assert!(reasons.iter().all(|count| *count > 0), "{reasons:?}");
    assert_eq!(reasons.iter().sum::<u64>(), all.len() as u64);
}

#[test]
fn a_port_whose_header_was_wrong_cannot_write_another() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = first(&host, "");
    let balancer = balancer(&host, LISTEN);
    // The balancer's own, cut short; then what its client writes.
    let whole = v2("192.0.2.8:40000", b"");
    balancer.send(&whole[..whole.len() - 1]).expect("sent");
    balancer.send(&v2("203.0.113.66:666", b"forged")).expect("sent");
    round_trip(&self::balancer(&host, LISTEN), &server, CLIENT, b"first");
    assert_eq!((dropped(&host, "cut_short"), dropped(&host, "no_flow")), (1, 1));
}

#[test]
fn a_balancer_that_begins_anew_from_another_port_is_followed() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = first(&host, "");
    let (one, other) = (balancer(&host, LISTEN), balancer(&host, LISTEN));
    round_trip(&one, &server, CLIENT, b"first");
    round_trip(&other, &server, CLIENT, b"moved");
    // The old port stands for no client now, and may stand for another one later.
    one.send(b"late").expect("sent");
    round_trip(&one, &server, "192.0.2.8:40000", b"another");
    other.send(b"plain").expect("sent");
    assert_eq!(expect(&server, b"plain"), addr(CLIENT));
    assert_eq!(dropped(&host, "no_flow"), 1);
}

/// The flows that are open.
fn open(host: &Host) -> u64 {
    host.metric("ropewalk_unwrap_open_flows")
}

#[test]
fn the_longest_idle_flow_makes_room_for_a_new_one() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let proxy = host.unwrap(&format!("{UDP} --max-flows 3 --stats 9090"));
    let balancer = balancer(&host, LISTEN);
    for port in 40_000..40_100 {
        round_trip(&balancer, &server, &format!("192.0.2.7:{port}"), b"question");
        assert!(open(&host) <= 3);
    }
    let evicted = || host.metric("ropewalk_unwrap_flows_evicted_total");
    assert_eq!((open(&host), evicted()), (3, 97));
    proxy.wait_for("3 UDP flows are open: the longest idle one is ended (--max-flows)");
    // Those that are still there are the latest ones.
    for port in 40_097..40_100 {
        round_trip(&balancer, &server, &format!("192.0.2.7:{port}"), b"again");
    }
    assert_eq!(evicted(), 97);
    round_trip(&balancer, &server, "192.0.2.7:40000", b"back");
    assert_eq!(evicted(), 98);
}

#[test]
fn an_idle_flow_ends_after_the_time_set_and_begins_anew() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let proxy = host.unwrap(&format!("{UDP} --close-after 0.2 --stats 9090 -v"));
    let balancer = balancer(&host, LISTEN);
    for round in 1..=3 {
        round_trip(&balancer, &server, CLIENT, b"question");
        wait_until("the flow has ended", LONG, || open(&host) == 0);
        assert_eq!(host.metric("ropewalk_unwrap_flows_total"), round);
    }
    let line = proxy.wait_for("192.0.2.7:40000 ended after ");
    assert!(line.contains("idle: 1 datagrams up, 1 down"), "{line}");
    assert_eq!(host.metric("ropewalk_unwrap_datagrams_total{direction=\"sent\"}"), 3);
    assert_eq!(host.metric("ropewalk_unwrap_datagrams_total{direction=\"received\"}"), 3);
}

#[test]
fn thousands_of_flows_are_served_at_once() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = host.unwrap(&format!("{UDP} --stats 9090 --max-flows 2000 --close-after 600"));
    let balancer = balancer(&host, LISTEN);
    let client = |n: u32| format!("198.18.{}.{}:{}", n / 250, n % 250 + 1, 2000 + n);
    for n in 0..2000 {
        round_trip(&balancer, &server, &client(n), &n.to_be_bytes());
    }
    assert_eq!(open(&host), 2000);
    for n in 0..2000 {
        round_trip(&balancer, &server, &client(n), &n.to_be_bytes());
    }
    assert_eq!(host.metric("ropewalk_unwrap_flows_total"), 2000);
    assert_eq!(host.metric("ropewalk_unwrap_flows_evicted_total"), 0);
}

#[test]
fn sigterm_lets_flows_go_on_until_they_are_idle_and_begins_no_others() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let mut proxy = host.unwrap(&format!("{UDP} --close-after 1.5"));
    let balancer = balancer(&host, LISTEN);
    round_trip(&balancer, &server, CLIENT, b"before");
    proxy.terminate();
    proxy.wait_for("draining");
    // It says so a moment before its workers know.
    let mut port = 40_000;
    wait_until("no flow is begun any more", LONG, || {
        port += 1;
        balancer.send(&v2(&format!("192.0.2.8:{port}"), b"new")).expect("sent");
        proxy.count_lines("it would begin a flow, and no new ones are taken") > 0
    });
    server.set_nonblocking(true).expect("a socket");
    while server.recv(&mut [0; 64]).is_ok() {}
    server.set_nonblocking(false).expect("a socket");
    round_trip(&balancer, &server, CLIENT, b"while it drains");
    assert!(proxy.wait_for_end().success());
    crate::datagram::expect_nothing(&server);
}

/// The address that the server saw for this client's flow.
fn asks(balancer: &UdpSocket, server: &UdpSocket, client: &str) -> std::net::SocketAddr {
    balancer.send(&v2(client, b"question")).expect("sent");
    let (_, from) = receive(server);
    server.send_to(b"answer", from).expect("there is a route");
    expect(balancer, b"answer");
    from
}

#[test]
fn a_port_that_cannot_be_had_is_told_or_changed() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let balancer = balancer(&host, LISTEN);
    let _taken = bind(&host, "0.0.0.0:40000");
    let proxy = host.unwrap(&format!("{UDP} --stats 9090"));
    balancer.send(&v2(CLIENT, b"question")).expect("sent");
    proxy.wait_for("a UDP flow has ended: the client's own port cannot be had: address in use");
    round_trip(&balancer, &server, "192.0.2.7:40001", b"question");
    drop(proxy);
    let proxy = host.unwrap(&format!("{UDP} --on-port-conflict ephemeral --stats 9090"));
    for client in [CLIENT, "192.0.2.8:0", "192.0.2.9:53"] {
        let from = asks(&balancer, &server, client);
        assert_eq!(from.ip(), addr(client).ip());
        assert_ne!(from.port(), addr(client).port());
        assert_eq!(asks(&balancer, &server, client), from, "the flow stays what it is");
    }
    proxy.wait_for("has got another port");
}
