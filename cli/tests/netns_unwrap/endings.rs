//! How connections end, how the server ends, how unwrap itself ends; and many at once.

use crate::common::{LONG, assert_pattern, here, pattern, skip, wait_until};
use crate::host::{CLIENT, End, Host, LISTEN, SERVER, addr, carries, end_of, expect, reset, serves, v1, v2};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Sends it all and half-closes.
fn pour(mut stream: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<TcpStream> {
    std::thread::spawn(move || {
        stream.write_all(&bytes).expect("the relay reads");
        stream.shutdown(Shutdown::Write).expect("connected");
        stream
    })
}

#[track_caller]
fn drain(stream: &mut TcpStream, len: usize) {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the bytes and a quiet end");
    assert_eq!(got.len(), len);
    assert_pattern(0, &got);
}

#[test]
fn either_side_may_half_close_and_the_other_goes_on() {
    const MUCH: usize = 8 << 20;
    const LITTLE: usize = 1 << 20;
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("-v");
    // The client ends first, then the server answers.
    let outer = host.send(&v2(CLIENT));
    let (mut inner, _) = server.accept();
    let sending = pour(outer, pattern(0, MUCH));
    drain(&mut inner, MUCH);
    let answering = pour(inner, pattern(0, LITTLE));
    drain(&mut sending.join().expect("it was read"), LITTLE);
    drop(answering.join());
    // The other way round.
    let mut outer = host.send(&v2("192.0.2.7:40001"));
    let (inner, _) = server.accept();
    let sending = pour(inner, pattern(0, MUCH));
    drain(&mut outer, MUCH);
    let answering = pour(outer, pattern(0, LITTLE));
    drain(&mut sending.join().expect("it was read"), LITTLE);
    drop(answering.join());
    let lines = proxy.stop();
    assert!(lines.last().is_some_and(|line| line.contains("2 connections relayed (0 broken)")), "{lines:#?}");
}

#[test]
fn a_client_that_has_said_all_before_it_is_connected_gets_its_answer() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    let mut outer = host.send(&[&v1(CLIENT), &b"GET / HTTP/1.0\r\n\r\n"[..]].concat());
    outer.shutdown(Shutdown::Write).expect("connected");
    let (mut inner, _) = server.accept();
    expect(&mut inner, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(end_of(&mut inner), End::Closed);
    carries(&mut inner, &mut outer, b"HTTP/1.0 200 OK\r\n\r\n");
    drop(inner);
    assert_eq!(end_of(&mut outer), End::Closed);
}

#[test]
fn a_reset_of_either_side_is_a_reset_at_the_other() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    for (number, (ip, server)) in
        [("192.0.2.7", &server), ("[2001:db8::7]", &server_v6)].into_iter().enumerate()
    {
        let mut outer = host.send(&v2(&format!("{ip}:{}", 40_000 + number)));
        let (mut inner, _) = server.accept();
        carries(&mut outer, &mut inner, b"here");
        reset(outer);
        assert_eq!(end_of(&mut inner), End::Reset);
        let mut outer = host.send(&v2(&format!("{ip}:{}", 41_000 + number)));
        let (mut inner, _) = server.accept();
        carries(&mut outer, &mut inner, b"here");
        reset(inner);
        assert_eq!(end_of(&mut outer), End::Reset);
    }
}

#[test]
fn a_server_that_is_down_refuses_and_serves_again_when_it_is_up() {
    let Some(host) = Host::new(here!()) else { return };
    let mut proxy = host.usual("--stats 9090");
    for round in 0..3 {
        let port = 40_000 + round;
        assert_eq!(end_of(&mut host.send(&v2(&format!("192.0.2.7:{port}")))), End::Reset);
        assert!(proxy.is_running());
        let server = host.listen(SERVER);
        // The same client tries again.
        serves(&host, &server, &format!("192.0.2.7:{port}"));
    }
    proxy.wait_for("the server was not reached: ");
    // Another test's child, forked just before, may keep a copy of a closed listener until it
    // execs: a client that comes then is reset and not refused.
    assert!(host.metric("ropewalk_refused_total{service=\"unwrap\",reason=\"unreachable\"}") >= 1);
}

#[test]
fn without_the_routes_the_client_is_told_after_the_time_set() {
    let Some(host) = Host::bare(here!()) else { return };
    let _servers = host.servers();
    let proxy = host.usual("--connect-timeout 0.5");
    assert_eq!(end_of(&mut host.send(&v2(CLIENT))), End::Reset);
    proxy.wait_for("the server was not reached: ");
}

#[test]
fn sigterm_lets_open_connections_end_and_takes_no_more() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let mut proxy = host.usual("");
    let mut outer = host.send(&v2(CLIENT));
    let (mut inner, _) = server.accept();
    carries(&mut outer, &mut inner, b"before");
    proxy.terminate();
    proxy.wait_for("draining");
    wait_until("nobody listens any more", LONG, || {
        host.ns.run(|| TcpStream::connect_timeout(&addr(LISTEN), LONG)).is_err()
    });
    carries(&mut outer, &mut inner, b"while it drains");
    carries(&mut inner, &mut outer, b"answer");
    assert!(proxy.is_running());
    drop(inner);
    assert_eq!(end_of(&mut outer), End::Closed);
    drop(outer);
    assert!(proxy.wait_for_end().success());
}

#[test]
fn an_idle_connection_is_closed_after_the_time_set() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("--idle-timeout 0.5");
    let mut outer = host.send(&v2(CLIENT));
    let (mut inner, _) = server.accept();
    end_of(&mut outer);
    end_of(&mut inner);
}

#[test]
fn thousands_of_clients_are_served_at_once() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Here two ends of each, in the child two more; and what the other tests have open.
    const RESERVE: u64 = 2000;
    const WANTED: u64 = 10_000;
    const LEAST: u64 = 2_000;
    let before = getrlimit(Resource::Nofile);
    let most = before.maximum.unwrap_or(u64::MAX).max(2 * WANTED + RESERVE);
    let more = Rlimit { current: Some(most), maximum: Some(most) };
    let most = match setrlimit(Resource::Nofile, more) {
        Ok(()) => most,
        Err(_) => {
            let most = before.maximum.unwrap_or(u64::MAX);
            let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
            most
        }
    };
    let count = (most.saturating_sub(RESERVE) / 2).min(WANTED);
    if count < LEAST {
        return skip(here!(), "6000 descriptors (ulimit -Hn)");
    }
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("");
    let mut pairs = Vec::new();
    for number in 0..count {
        let client = format!("198.18.{}.{}:{}", number / 250, number % 250 + 1, 1024 + number);
        let outer = host.send(&v2(&client));
        let (inner, peer) = server.accept();
        assert_eq!(peer, addr(&client));
        pairs.push((outer, inner, number.to_be_bytes()));
    }
    for (outer, _, number) in &mut pairs {
        outer.write_all(number).expect("the relay reads");
    }
    for (outer, inner, number) in &mut pairs {
        expect(inner, number);
        carries(inner, outer, number);
    }
    drop(pairs);
    let lines = proxy.stop();
    let summary = lines.last().expect("there is a summary");
    assert!(
        summary.contains(&format!("{count} connections relayed")) && summary.contains(" 0 refused"),
        "{summary}"
    );
}
