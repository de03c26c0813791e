//! Limits: connections, descriptors, and one unwrap for each address.

use crate::common::proxy::Launch;
use crate::common::{LONG, has, here, wait_until};
use crate::datagram::{UDP, balancer, bind, receive, round_trip};
use crate::host::{Host, SERVER, USUAL, addr, carries, serves, v2};

#[test]
fn who_comes_when_all_places_are_taken_waits_for_one() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("--max-connections 2");
    let mut first = host.send(&v2("192.0.2.7:40001"));
    let (mut inner, _) = server.accept();
    carries(&mut first, &mut inner, b"first");
    let _second = host.send(&v2("192.0.2.7:40002"));
    server.accept();
    let mut third = host.send(&v2("192.0.2.7:40003"));
    carries(&mut first, &mut inner, b"still first");
    server.expect_nobody();
    drop((first, inner));
    let (mut inner, peer) = server.accept();
    assert_eq!(peer, addr("192.0.2.7:40003"));
    carries(&mut inner, &mut third, b"welcome");
    proxy.wait_for("--max-connections");
}

/// With 64 descriptors.
fn with_few_descriptors(host: &Host, switches: &str) -> crate::common::proxy::Proxy {
    let words: Vec<&str> = switches.split_ascii_whitespace().collect();
    host.start(Launch::unwrap_by(&["prlimit", "--nofile=64:64"], None, &words))
}

#[test]
fn few_descriptors_are_shared_by_those_who_come() {
    if !has(here!(), "prlimit") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    // All of them may come before the first is read.
    let mut proxy = with_few_descriptors(&host, &format!("{USUAL} --max-handshakes 100"));
    let mut waiting: Vec<_> =
        (0..100).map(|n| Some(host.send(&v2(&format!("192.0.2.7:{}", 40_000 + n))))).collect();
    // Each that is served ends and makes room for the next.
    for _ in 0..waiting.len() {
        let (mut inner, peer) = server.accept();
        let mut outer = waiting[usize::from(peer.port()) - 40_000].take().expect("each comes once");
        carries(&mut inner, &mut outer, b"welcome");
    }
    assert!(proxy.is_running());
    serves(&host, &server, "192.0.2.8:40000");
}

#[test]
fn more_flows_than_descriptors_end_only_themselves() {
    if !has(here!(), "prlimit") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let proxy = with_few_descriptors(&host, &format!("{UDP} --max-flows 1000 --close-after 600"));
    let balancer = balancer(&host, crate::host::LISTEN);
    round_trip(&balancer, &server, "192.0.2.7:40000", b"first");
    for port in 41_000..41_100 {
        balancer.send(&crate::datagram::v2(&format!("192.0.2.7:{port}"), b"many")).expect("sent");
    }
    proxy.wait_for("its socket cannot be opened");
    // Those that were there go on.
    balancer.send(&crate::datagram::v2("192.0.2.7:40000", b"last")).expect("sent");
    wait_until("the first flow goes on", LONG, || receive(&server).0 == b"last");
    drop(proxy);
    // By default there are as many as fit.
    let _proxy = with_few_descriptors(&host, UDP);
    for port in 42_000..42_100 {
        round_trip(&balancer, &server, &format!("192.0.2.7:{port}"), b"question");
    }
}

#[test]
fn a_second_unwrap_on_the_same_address_does_not_start() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    for more in ["-p tcp", "-p tcp --workers 2", "-p udp", "-p udp --workers 2"] {
        let _first = host.usual(more);
        let outcome = host.attempt(&format!("{USUAL} {more}"));
        assert_eq!(outcome.code, Some(1), "{more}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("127.0.0.1:25577"), "{more}: {}", outcome.stderr);
    }
    let _first = host.usual("-p tcp");
    serves(&host, &server, "192.0.2.7:40000");
}
