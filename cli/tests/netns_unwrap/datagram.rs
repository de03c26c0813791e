//! A UDP balancer and a UDP server, which the test plays itself.

use crate::common::LONG;
use crate::host::{self, CLIENT, Host, WANTED, WANTED_V6, addr, v1};
use ropewalk_core::unwrap::emit::{self, Transport};
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

/// The usual listeners and servers, for UDP.
pub(crate) const UDP: &str = "-p udp -l 127.0.0.1:25577 -l [::1]:25577 -4 127.0.0.1:25578 -6 [::1]:25578 \
                              --allow-from 127.0.0.0/8 --allow-from ::1/128";

/// A socket at `at` on which nothing hangs for ever.
#[track_caller]
pub(crate) fn bind(host: &Host, at: &str) -> UdpSocket {
    host.ns.run(|| socket(at))
}

/// The same, in the caller's namespace.
#[track_caller]
pub(crate) fn socket(at: &str) -> UdpSocket {
    let at = addr(at);
    let domain = if at.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, None).expect("a descriptor");
    if at.is_ipv6() {
        socket.set_only_v6(true).expect("an IPv6 socket");
    }
    host::bind(&socket, at);
    socket.set_read_timeout(Some(LONG)).expect("a time above zero");
    socket.into()
}

/// A balancer's socket that speaks with `listen`.
#[track_caller]
pub(crate) fn balancer(host: &Host, listen: &str) -> UdpSocket {
    let socket = bind(host, if listen.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" });
    socket.connect(addr(listen)).expect("there is a route");
    socket
}

/// `payload` behind a header of version 2.
pub(crate) fn v2(client: &str, payload: &[u8]) -> Vec<u8> {
    let wanted = addr(if addr(client).is_ipv4() { WANTED } else { WANTED_V6 });
    [&emit::v2(addr(client), wanted, Transport::Datagram, &[], false)[..], payload].concat()
}

/// `payload` behind a header of the Simple Proxy Protocol.
pub(crate) fn simple(client: &str, payload: &[u8]) -> Vec<u8> {
    let wanted = addr(if addr(client).is_ipv4() { WANTED } else { WANTED_V6 });
    [&emit::simple(addr(client), wanted)[..], payload].concat()
}

/// What is no header of a datagram, for one reason or another.
pub(crate) fn wrong() -> Vec<Vec<u8>> {
    let whole = v2(CLIENT, b"");
    let stream = emit::v2(addr(CLIENT), addr(WANTED), Transport::Stream, &[], false);
    let mut all =
        vec![b"".to_vec(), b"hello".to_vec(), v1(CLIENT), stream, simple(CLIENT, b"")[..37].to_vec()];
    all.extend((1..whole.len()).map(|len| whole[..len].to_vec()));
    all
}

/// The next datagram and its sender.
#[track_caller]
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buf = vec![0; 1 << 16];
    let (len, from) = loop {
        match socket.recv_from(&mut buf) {
            // signal(7): a socket with a time-out is not restarted.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other.expect("a datagram, soon"),
        }
    };
    buf.truncate(len);
    (buf, from)
}

/// Expects this datagram; returns its sender.
#[track_caller]
pub(crate) fn expect(socket: &UdpSocket, bytes: &[u8]) -> SocketAddr {
    let (got, from) = receive(socket);
    if got != bytes {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let (wanted, found) = (text(bytes), text(&got));
        panic!("expected {} bytes {wanted:?}, got {} {found:?}", bytes.len(), got.len());
    }
    from
}

/// Nothing has come.
#[track_caller]
pub(crate) fn expect_nothing(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("a socket");
    let came = socket.recv_from(&mut [0; 64]);
    socket.set_nonblocking(false).expect("a socket");
    assert!(came.is_err(), "expected no datagram, got {came:?}");
}

/// A question of `client` and its answer.
#[track_caller]
pub(crate) fn round_trip(balancer: &UdpSocket, server: &UdpSocket, client: &str, payload: &[u8]) {
    balancer.send(&v2(client, payload)).expect("sent");
    let from = expect(server, payload);
    assert_eq!(from, addr(client));
    let answer = [b"answer to ", payload].concat();
    server.send_to(&answer, from).expect("there is a route");
    expect(balancer, &answer);
}
