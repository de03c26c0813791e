//! Clients whose own port is not available.

use crate::common::proxy::{Launch, Proxy};
use crate::common::{LONG, here, wait_until};
use crate::host::{CLIENT, End, Host, Server, USUAL, addr, carries, end_of, serves, v2};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

/// What is wrong with the client's port.
struct Case {
    client: &'static str,
    /// The process that takes it.
    taken: Option<&'static str>,
    reason: &'static str,
}

const CASES: [Case; 4] = [
    // Linux: a wildcard listener on the port is in the way of each address of that family.
    Case { client: "192.0.2.7:40000", taken: Some("0.0.0.0:40000"), reason: "port_conflict" },
    Case { client: "[2001:db8::7]:40000", taken: Some("[::]:40000"), reason: "port_conflict" },
    Case { client: "192.0.2.7:0", taken: None, reason: "no_port" },
    Case { client: "[2001:db8::7]:0", taken: None, reason: "no_port" },
];

#[test]
fn a_port_that_cannot_be_had_refuses_the_client_who_has_it() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let proxy = host.usual("--stats 9090");
    for (number, case) in CASES.iter().enumerate() {
        let _taken = case.taken.map(|at| host.listen(at));
        assert_eq!(end_of(&mut host.send(&v2(case.client))), End::Reset, "{}", case.client);
        let sample = format!("ropewalk_refused_total{{service=\"unwrap\",reason=\"{}\"}}", case.reason);
        assert_eq!(host.metric(&sample), number as u64 % 2 + 1, "{}", case.client);
    }
    proxy.wait_for("the client's own port cannot be had: ");
    server.expect_nobody();
    server_v6.expect_nobody();
    // When the other has gone the client is served.
    comes(&host, &server, CLIENT);
}

#[test]
fn a_port_that_cannot_be_had_is_changed_where_that_is_asked_for() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let proxy = host.usual("--on-port-conflict ephemeral --stats 9090");
    for case in &CASES {
        let _taken = case.taken.map(|at| host.listen(at));
        let mut outer = host.send(&v2(case.client));
        let client = addr(case.client);
        let (mut inner, peer) = if client.is_ipv4() { server.accept() } else { server_v6.accept() };
        assert_eq!(peer.ip(), client.ip());
        assert_ne!(peer.port(), client.port());
        carries(&mut outer, &mut inner, b"question");
        carries(&mut inner, &mut outer, b"answer");
    }
    assert_eq!(host.metric("ropewalk_unwrap_ports_changed_total"), CASES.len() as u64);
    proxy.wait_for("192.0.2.7:40000 has got another port: ");
    // A client with a free port keeps it.
    serves(&host, &server, "192.0.2.7:40001");
}

/// Two connections of the same client at once, by two balancers.
#[track_caller]
fn twice(host: &Host, server: &Server) -> (TcpStream, TcpStream) {
    let mut outer = host.send(&v2(CLIENT));
    let (mut inner, peer) = server.accept();
    assert_eq!(peer, addr(CLIENT));
    let second = host.send(&v2(CLIENT));
    carries(&mut outer, &mut inner, b"the first goes on");
    std::mem::forget(inner);
    (outer, second)
}

#[test]
fn the_same_client_twice_at_once_is_refused_the_second_time() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("");
    let (_first, mut second) = twice(&host, &server);
    assert_eq!(end_of(&mut second), End::Reset);
    proxy.wait_for("the client's own port cannot be had: ");
    server.expect_nobody();
}

#[test]
fn the_same_client_twice_at_once_gets_a_second_port_where_that_is_asked_for() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("--on-port-conflict ephemeral");
    let (_first, mut second) = twice(&host, &server);
    let (mut inner, peer) = server.accept();
    assert_eq!(peer.ip(), addr(CLIENT).ip());
    assert_ne!(peer.port(), addr(CLIENT).port());
    carries(&mut inner, &mut second, b"welcome");
}

/// As a user who has CAP_NET_RAW and nothing else.
fn with_raw_only(host: &Host, more: &str) -> Proxy {
    let by = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let by = [&by[..], &["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]].concat();
    let words: Vec<&str> = USUAL.split_ascii_whitespace().chain(more.split_ascii_whitespace()).collect();
    host.start(Launch::unwrap_by(&by, None, &words))
}

#[test]
fn a_port_under_1024_is_kept_with_the_privilege() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    serves(&host, &server, "192.0.2.7:123");
    let _outer = host.send(&v2("[2001:db8::7]:53"));
    assert_eq!(server_v6.accept().1, addr("[2001:db8::7]:53"));
}

#[test]
fn a_port_under_1024_is_a_conflict_without_the_privilege() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = with_raw_only(&host, "");
    assert_eq!(end_of(&mut host.send(&v2("192.0.2.7:123"))), End::Reset);
    proxy.wait_for("the client's own port cannot be had: ");
    serves(&host, &server, CLIENT);
    drop(proxy);
    let _proxy = with_raw_only(&host, "--on-port-conflict ephemeral");
    let mut outer = host.send(&v2("192.0.2.7:123"));
    let (mut inner, peer) = server.accept();
    assert_eq!(peer.ip(), addr(CLIENT).ip());
    assert!(peer.port() >= 1024, "{peer}");
    carries(&mut inner, &mut outer, b"welcome");
}

/// The client comes, again and again until it is served: Linux may keep the pair of an old
/// connection for a moment.
#[track_caller]
fn comes(host: &Host, server: &Server, client: &str) -> (TcpStream, TcpStream) {
    let mut outer = None;
    wait_until("the client is served", LONG, || {
        let stream = host.send(&v2(client));
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("above zero");
        // Refused it would be reset. signal(7): a socket with a time-out is not restarted.
        let waits = loop {
            match (&stream).read(&mut [0]).map_err(|error| error.kind()) {
                Err(ErrorKind::Interrupted) => {}
                other => break other == Err(ErrorKind::WouldBlock),
            }
        };
        outer = Some(stream);
        waits
    });
    let (inner, peer) = server.accept();
    assert_eq!(peer, addr(client));
    let outer = outer.expect("it is served");
    outer.set_read_timeout(Some(LONG)).expect("above zero");
    (outer, inner)
}

#[test]
fn a_client_that_comes_back_by_the_same_port_is_served() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    for _ in 0..5 {
        let (mut outer, inner) = comes(&host, &server, CLIENT);
        drop(inner);
        assert_eq!(end_of(&mut outer), End::Closed);
    }
    for _ in 0..3 {
        let (outer, mut inner) = comes(&host, &server, "192.0.2.9:42000");
        drop(outer);
        assert_eq!(end_of(&mut inner), End::Closed);
    }
}
