//! A handshake is the same however its bytes come; but it has a deadline.

use crate::common::proxy::Proxy;
use crate::common::servers::{ClosedPort, DeafPort, Server};
use crate::common::{socks, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn a_handshake_of_one_byte_at_a_time_gets_its_tunnel() {
    let server = Server::echo();
    let proxy = Proxy::start(&[]);
    let mut client = socks::dial(proxy.address);
    for (at, byte) in socks::hello(server.address).into_iter().enumerate() {
        // Nagle is off: each byte is a segment. The answer to the greeting is read in its place, so
        // that the rest cannot join it.
        client.write_all(&[byte]).expect("the proxy reads");
        if at == 2 {
            let mut method = [0; 2];
            client.read_exact(&mut method).expect("the answer to the greeting");
            assert_eq!(method, [5, 0]);
        }
    }
    let mut reply = [0; 10];
    client.read_exact(&mut reply).expect("the reply");
    assert_eq!(reply[..4], [5, 0, 0, 1]);
    client.write_all(b"hello").expect("the tunnel stands");
    let mut back = [0; 5];
    client.read_exact(&mut back).expect("the echo");
    assert_eq!(&back, b"hello");
}

#[test]
fn a_handshake_in_one_write_with_payload_behind_loses_nothing() {
    let server = Server::echo();
    let proxy = Proxy::start(&[]);
    let mut client = socks::dial(proxy.address);
    let mut all = socks::hello(server.address);
    all.extend(crate::common::pattern(0, 100_000));
    client.write_all(&all).expect("the proxy reads");
    client.shutdown(Shutdown::Write).expect("open until now");
    let bound = socks::read_answers(&mut client).expect("a reply").expect("a tunnel");
    assert!(bound.port() != 0, "expected the true local address, got {bound}");
    let mut back = Vec::new();
    client.read_to_end(&mut back).expect("the echo");
    assert_eq!(back.len(), 100_000);
    crate::common::assert_pattern(0, &back);
}

#[test]
fn a_handshake_that_dribbles_is_closed_at_its_deadline() {
    let proxy = Proxy::start(&["--handshake-timeout", "1"]);
    let mut client = socks::dial(proxy.address);
    // The read is the pause between two bytes.
    client.set_read_timeout(Some(Duration::from_millis(150))).expect("above zero");
    let began = Instant::now();
    // A greeting that announces 255 methods and never comes to its end.
    let mut bytes = [5, 255].into_iter().chain(std::iter::repeat(0));
    loop {
        let byte = bytes.next().expect("endless");
        let written = client.write_all(&[byte]);
        match (written, client.read(&mut [0; 16])) {
            (Ok(()), Err(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            (Ok(()), Ok(0)) => break,
            // The byte that crossed the close met a reset.
            (Err(_), _) => break,
            (_, Err(error)) if error.kind() == ErrorKind::ConnectionReset => break,
            (_, other) => panic!("expected silence, then the end, got {other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(5), "the deadline is 1 s");
    }
    assert!(began.elapsed() > Duration::from_millis(900), "got {:?} of 1 s", began.elapsed());
}

#[test]
fn a_client_that_says_nothing_is_closed_at_the_same_deadline() {
    let proxy = Proxy::start(&["--handshake-timeout", "0.5"]);
    let mut client = socks::dial(proxy.address);
    let began = Instant::now();
    let end = client.read(&mut [0; 1]);
    let took = began.elapsed();
    let closed = end.as_ref().map_or_else(|e| e.kind() == ErrorKind::ConnectionReset, |len| *len == 0);
    assert!(closed, "expected the end, got {end:?}");
    assert!(took > Duration::from_millis(400) && took < Duration::from_secs(3), "after {took:?}");
}

#[test]
fn a_refused_target_is_told_by_its_code_on_loopback() {
    let closed = ClosedPort::new();
    let proxy = Proxy::start(&[]);
    assert_eq!(socks::connect(proxy.address, closed.1).err(), Some(socks::Refused(5)));
}

#[test]
fn the_proxy_does_not_serve_itself() {
    let proxy = Proxy::start(&[]);
    assert_eq!(socks::connect(proxy.address, proxy.address).err(), Some(socks::Refused(2)));
}

#[cfg(target_os = "linux")]
#[test]
fn a_target_that_answers_nobody_is_told_as_a_time_out() {
    let deaf = DeafPort::new();
    let proxy = Proxy::start(&["--connect-timeout", "1"]);
    let began = Instant::now();
    assert_eq!(socks::connect(proxy.address, deaf.address).err(), Some(socks::Refused(6)));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(3), "after {took:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_leaves_before_its_target_answers_leaves_nothing_behind() {
    let deaf = DeafPort::new();
    let mut proxy = Proxy::start(&["-v"]);
    let mut client = socks::dial(proxy.address);
    client.write_all(&socks::hello(deaf.address)).expect("the proxy reads");
    proxy.wait_for(&format!("asks for {}", deaf.address));
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("a TCP socket");
    drop(client);
    proxy.terminate();
    // Drained means: no connection is left. It must not take the connect timeout of 20 s.
    wait_until("it ends", Duration::from_secs(5), || !proxy.is_running());
}
