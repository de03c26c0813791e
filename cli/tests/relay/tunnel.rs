//! `--tunnel`: bytes go to the endpoints as they come, by weight, and past those that are dead.

use crate::common::proxy::Proxy;
use crate::common::servers::{ClosedPort, Server};
use crate::common::{socks, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Greets with one letter, then echoes.
fn endpoint(letter: u8) -> Server {
    Server::on_loopback(move |mut stream: TcpStream| {
        let Ok(mut writer) = stream.try_clone() else { return };
        if writer.write_all(&[letter]).is_ok() {
            let _ = std::io::copy(&mut stream, &mut writer);
        }
    })
}

/// Which endpoint a new connection came to.
fn ask(proxy: &Proxy) -> char {
    let mut client = socks::dial(proxy.address);
    client.write_all(b"payload").expect("the proxy reads");
    let mut bytes = [0; 8];
    client.read_exact(&mut bytes).expect("a greeting and the echo");
    assert_eq!(&bytes[1..], b"payload");
    char::from(bytes[0])
}

#[test]
fn two_endpoints_are_served_two_to_one() {
    let (a, b) = (endpoint(b'a'), endpoint(b'b'));
    let proxy = Proxy::start(&["--tunnel", &format!("{}@2", a.address), &b.address.to_string()]);
    let order: String = (0..30).map(|_| ask(&proxy)).collect();
    assert_eq!(order, "aba".repeat(10), "interleaved, two to one");
    assert_eq!((a.accepted(), b.accepted()), (20, 10));
}

#[test]
fn a_dead_endpoint_is_passed_over_and_then_left_alone() {
    let (dead, alive) = (ClosedPort::new(), endpoint(b'b'));
    let proxy = Proxy::start(&["--tunnel", &dead.1.to_string(), &alive.address.to_string()]);
    for _ in 0..10 {
        assert_eq!(ask(&proxy), 'b');
    }
    proxy.wait_for(&format!("{} rests", dead.1));
    let log = proxy.stop();
    let line = log.iter().find(|line| line.contains(&format!("{}: 0 connections", dead.1)));
    let line = line.expect("an account of the dead endpoint");
    assert!(line.contains(", 1 attempts failed"), "it was tried once, then it rested: {line}");
}

#[test]
fn where_all_endpoints_are_dead_the_client_is_closed_and_not_left_waiting() {
    let dead = ClosedPort::new();
    let proxy = Proxy::start(&["--tunnel", &dead.1.to_string()]);
    let mut client = socks::dial(proxy.address);
    let mut bytes = Vec::new();
    // An end or a reset: the client sees either.
    let _ = client.read_to_end(&mut bytes);
    assert!(bytes.is_empty());
    assert_eq!(proxy.stop().iter().filter(|line| line.contains(" panicked")).count(), 0);
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let (first, alive) = (endpoint(b'a'), endpoint(b'b'));
    let address = first.address;
    let proxy = Proxy::start(&["--tunnel", &address.to_string(), &alive.address.to_string()]);
    assert_eq!([ask(&proxy), ask(&proxy)], ['a', 'b']);
    drop(first);
    wait_until("the port is closed", crate::common::LONG, || TcpStream::connect(address).is_err());
    assert_eq!([ask(&proxy), ask(&proxy)], ['b', 'b']);
    proxy.wait_for(&format!("{address} rests"));
    let listener = std::net::TcpListener::bind(address).expect("free again");
    let _again = Server::of(listener, |mut stream| {
        let mut bytes = [0; 7];
        if stream.read_exact(&mut bytes).is_ok() {
            let _ = stream.write_all(b"a").and_then(|()| stream.write_all(&bytes));
        }
    });
    wait_until("it is used again", crate::common::LONG, || ask(&proxy) == 'a');
    proxy.wait_for(&format!("{address} carries again"));
}
