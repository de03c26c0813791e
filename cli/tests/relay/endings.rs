//! A half-close goes through as a half-close, a reset as a reset.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::{LONG, assert_pattern, pattern, socks};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

const UP: usize = 8 << 20;
const DOWN: usize = 1 << 20;
/// Longer than any lingering a relay might do for the other half.
const PAUSE: Duration = Duration::from_secs(6);

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}

#[test]
fn a_server_answers_long_after_the_client_has_said_its_last() {
    let server = Server::on_loopback(|mut stream| {
        let bytes = read_all(&mut stream);
        assert_eq!(bytes.len(), UP);
        assert_pattern(0, &bytes);
        std::thread::sleep(PAUSE);
        stream.write_all(&pattern(UP as u64, DOWN)).expect("the client reads");
    });
    let proxy = Proxy::start(&[]);
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    client.write_all(&pattern(0, UP)).expect("the server reads");
    client.shutdown(Shutdown::Write).expect("open until now");
    let answer = read_all(&mut client);
    assert_eq!(answer.len(), DOWN, "nothing is lost after the half-close");
    assert_pattern(UP as u64, &answer);
}

#[test]
fn a_client_goes_on_long_after_the_server_has_said_its_last() {
    let (tell, told) = mpsc::channel();
    let server = Server::on_loopback(move |mut stream| {
        stream.write_all(&pattern(0, UP)).expect("the client reads");
        stream.shutdown(Shutdown::Write).expect("open until now");
        // The client is gone only if the test has failed.
        let _ = tell.send(read_all(&mut stream));
    });
    let proxy = Proxy::start(&[]);
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    let bytes = read_all(&mut client);
    assert_eq!(bytes.len(), UP);
    assert_pattern(0, &bytes);
    std::thread::sleep(PAUSE);
    client.write_all(&pattern(UP as u64, DOWN)).expect("this half is open");
    client.shutdown(Shutdown::Write).expect("open until now");
    let rest = told.recv_timeout(LONG).expect("the server reads to the end");
    assert_eq!(rest.len(), DOWN, "nothing is lost after the half-close");
    assert_pattern(UP as u64, &rest);
}

/// Closes with a reset: what is under way is thrown away.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a TCP socket");
    drop(stream);
}

/// How reading ends: `None` in an orderly way.
fn end_of(stream: &mut TcpStream) -> Option<ErrorKind> {
    stream.set_read_timeout(Some(LONG)).expect("above zero");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).err().map(|error| error.kind())
}

#[test]
fn a_reset_by_the_client_reaches_the_server_as_a_reset() {
    let (tell, told) = mpsc::channel();
    let server = Server::on_loopback(move |mut stream| {
        stream.write_all(b"hello").expect("the client reads");
        let _ = tell.send(end_of(&mut stream));
    });
    let proxy = Proxy::start(&[]);
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    client.read_exact(&mut [0; 5]).expect("the tunnel stands");
    reset(client);
    assert_eq!(told.recv_timeout(LONG).expect("an end"), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_reset_by_the_server_reaches_the_client_as_a_reset() {
    let server = Server::on_loopback(|mut stream| {
        stream.read_exact(&mut [0; 5]).expect("the client writes");
        reset(stream);
    });
    let proxy = Proxy::start(&[]);
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    client.write_all(b"hello").expect("the tunnel stands");
    assert_eq!(end_of(&mut client), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_reset_goes_through_a_half_closed_tunnel_too() {
    let server = Server::on_loopback(|mut stream| {
        assert_eq!(read_all(&mut stream), b"hello");
        reset(stream);
    });
    let proxy = Proxy::start(&[]);
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    client.write_all(b"hello").expect("the tunnel stands");
    client.shutdown(Shutdown::Write).expect("open until now");
    assert_eq!(end_of(&mut client), Some(ErrorKind::ConnectionReset));
}

#[test]
fn urgent_data_does_not_stop_a_flow_and_stays_in_its_place() {
    let server = Server::echo();
    let proxy = Proxy::start(&[]);
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    // A read of the proxy ends at the mark of the urgent byte, though more is there.
    client.write_all(b"before").expect("open");
    socket2::SockRef::from(&client).send_out_of_band(b"!").expect("open");
    client.write_all(b"behind").expect("open");
    let mut echoed = [0; 13];
    client.set_read_timeout(Some(LONG)).expect("a socket");
    client.read_exact(&mut echoed).expect("all of it comes back");
    assert_eq!(&echoed, b"before!behind");
}

#[test]
fn a_client_that_resets_while_its_origin_is_mute_is_noticed_though_all_it_may_send_ahead_is_sent() {
    let (tell, told) = mpsc::channel();
    let origin = Server::on_loopback(move |mut stream| {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head);
        let _ = tell.send(());
        // Mute: it only waits for the end.
        end_of(&mut stream);
        let _ = tell.send(());
    });
    let proxy = Proxy::start(&[]);
    let mut client = TcpStream::connect(proxy.address).expect("the proxy listens");
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n", origin.address);
    client.write_all(request.as_bytes()).expect("the proxy reads");
    told.recv_timeout(LONG).expect("the request has come");
    client.write_all(&[b'x'; 64 * 1024]).expect("the system's buffers have room");
    // What is read ahead is read, the rest stays in the system.
    std::thread::sleep(Duration::from_millis(200));
    reset(client);
    told.recv_timeout(LONG).expect("the origin sees the end");
}
