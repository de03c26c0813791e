//! A worker's end, and two workers side by side.

mod common;

use common::{LONG, LOOPBACK, Proxy, at_end, echo, patient, round_trip};
use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::UplinkId;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

#[test]
fn a_drain_without_connections_ends_the_run() {
    let proxy = Proxy::start();
    proxy.handle.drain();
    assert_eq!(proxy.ended().machine.counters().open, 0);
}

#[test]
fn a_drain_takes_no_new_connections_and_waits_for_the_open_ones() {
    let (proxy, target) = (Proxy::start(), echo());
    let mut tunnel = proxy.connect(target).expect("the target listens");
    proxy.handle.drain();
    // Refused from the moment at which the listener is closed.
    let began = std::time::Instant::now();
    while TcpStream::connect_timeout(&proxy.address, LONG).is_ok() {
        assert!(began.elapsed() < LONG, "it listens on and on");
        std::thread::sleep(Duration::from_millis(5));
    }
    round_trip(&mut tunnel, b"still here");
    assert!(proxy.runs(), "it ended before the tunnel");
    tunnel.shutdown(Shutdown::Write).expect("it is open");
    at_end(&mut tunnel).expect("the echo's end");
    drop(tunnel);
    assert_eq!(proxy.ended().machine.counters().accepted, 1);
}

#[test]
fn a_stop_ends_the_run_with_connections_open() {
    let (proxy, target) = (Proxy::start(), echo());
    let mut tunnel = proxy.connect(target).expect("the target listens");
    round_trip(&mut tunnel, b"here");
    let machine = proxy.stop().machine;
    assert_eq!(machine.counters().open, 1);
}

#[test]
fn workers_beside_each_other_each_serve_their_own() {
    let target = echo();
    let proxies: Vec<_> = (0..4).map(|_| Proxy::start()).collect();
    std::thread::scope(|scope| {
        for proxy in &proxies {
            for number in 0..16 {
                scope.spawn(move || {
                    let mut tunnel = proxy.connect(target).expect("the target listens");
                    for turn in 0..50 {
                        round_trip(&mut tunnel, format!("{turn} of {number}").as_bytes());
                    }
                });
            }
        }
    });
    for proxy in &proxies {
        assert_eq!(proxy.stop().machine.counters().accepted, 16);
    }
}

#[test]
fn more_than_one_turn_can_do_is_done_without_a_new_event() {
    // All is there before the worker begins: nothing wakes it again.
    let listener = ropewalk_async_std::listen(LOOPBACK, false).expect("a free port of loopback");
    let address = listener.local_addr().expect("it is bound");
    let mut clients: Vec<_> = (0..300)
        .map(|_| {
            let mut client = patient(TcpStream::connect_timeout(&address, LONG).expect("it listens"));
            client.write_all(&[5, 1, 0]).expect("room for a greeting");
            client
        })
        .collect();
    let _proxy = Proxy::on(listener, Config::default());
    for client in &mut clients {
        let mut choice = [0; 2];
        client.read_exact(&mut choice).expect("an answer to each greeting");
        assert_eq!(choice, [5, 0]);
    }
}

#[test]
fn what_a_handle_is_told_reaches_the_machine_in_order() {
    let proxy = Proxy::start();
    proxy.handle.local_addresses(vec![LOOPBACK.ip()]);
    proxy.handle.uplink_gone(UplinkId(3));
    proxy.handle.drain();
    let told = proxy.ended().commands;
    let wanted = ["LocalAddresses { addresses: [127.0.0.1] }", "UplinkGone { uplink: u3 }", "Drain"];
    assert_eq!(told, wanted);
}
