//! SIGTERM drains, a second one stops.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use crate::common::{LONG, wait_until};
use std::io::Read;
use std::net::TcpStream;

fn drains(args: &[&str]) {
    let server = Server::echo();
    let mut proxy = Proxy::start(args);
    let mut tunnel = socks::connect(proxy.address, server.address).expect("a tunnel");
    round_trip(&mut tunnel);
    proxy.terminate();
    proxy.wait_for("draining");
    wait_until("new connections are refused", LONG, || TcpStream::connect(proxy.address).is_err());
    round_trip(&mut tunnel);
    assert!(proxy.is_running(), "an open tunnel keeps it alive");
    drop(tunnel);
    assert!(proxy.wait_for_end().success());
}

#[test]
fn the_first_signal_lets_open_tunnels_live_and_takes_no_new_ones() {
    drains(&[]);
}

#[test]
fn several_workers_drain_as_one() {
    drains(&["--workers", "3"]);
}

#[test]
fn the_second_signal_ends_open_tunnels() {
    let server = Server::echo();
    let mut proxy = Proxy::start(&[]);
    let mut tunnel = socks::connect(proxy.address, server.address).expect("a tunnel");
    round_trip(&mut tunnel);
    proxy.terminate();
    proxy.wait_for("draining");
    assert!(proxy.is_running(), "an open tunnel keeps it alive");
    proxy.terminate();
    assert!(proxy.wait_for_end().success());
    // An end or a reset, but not silence.
    match tunnel.read(&mut [0; 1]) {
        Ok(0) => {}
        Ok(_) => panic!("nobody wrote anything"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn without_tunnels_the_first_signal_is_enough_and_the_run_is_summed_up() {
    let server = Server::echo();
    let mut proxy = Proxy::start(&[]);
    for _ in 0..3 {
        round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    }
    proxy.terminate();
    assert!(proxy.wait_for_end().success());
    proxy.wait_for("3 connections relayed (0 broken), 0 refused, 0 attempts failed");
}
