//! What a client says before it is connected, to the byte: each protocol, well and badly.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::{Scratch, assert_pattern, pattern, socks};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// What comes back when these bytes are said, in one write or each by itself, up to the end that
/// the proxy makes.
#[track_caller]
fn told(proxy: &Proxy, bytes: &[u8], dribble: bool) -> Vec<u8> {
    let mut client = socks::dial(proxy.address);
    let pieces = if dribble { bytes.chunks(1) } else { bytes.chunks(bytes.len()) };
    for piece in pieces {
        // The proxy may have said its last already.
        if client.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("expected an answer and the end, got {answer:?} and {error}"),
    }
}

/// The same answer, however the bytes come.
#[track_caller]
fn gives(proxy: &Proxy, bytes: &[u8], expected: &[u8]) {
    for dribble in [false, true] {
        let answer = told(proxy, bytes, dribble);
        assert_eq!(answer, expected, "to {} (byte by byte: {dribble})", bytes.escape_ascii());
    }
}

/// A handshake that leads to an echo: its answer has `granted` bytes, and what is said behind it
/// comes back.
#[track_caller]
fn passes(proxy: &Proxy, handshake: &[u8], granted: usize) -> Vec<u8> {
    let payload = pattern(0, 2000);
    let mut answers = Vec::new();
    for dribble in [false, true] {
        let mut client = socks::dial(proxy.address);
        if dribble {
            handshake.iter().for_each(|byte| client.write_all(&[*byte]).expect("the proxy reads"));
            client.write_all(&payload).expect("the proxy reads");
        } else {
            client.write_all(&[handshake, &payload].concat()).expect("the proxy reads");
        }
        client.shutdown(Shutdown::Write).expect("open until now");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an orderly end");
        assert_eq!(answer.len(), granted + payload.len(), "{:?}", &answer[..answer.len().min(40)]);
        assert_pattern(0, &answer[granted..]);
        answers = answer;
    }
    answers.truncate(granted);
    answers
}

/// The request for a name.
fn by_name(name: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8], name, &port.to_be_bytes()].concat()
}

/// A refusal behind the answer to the greeting.
fn refused(code: u8) -> Vec<u8> {
    vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn login(user: &[u8], password: &[u8]) -> Vec<u8> {
    [&[1, user.len() as u8], user, &[password.len() as u8], password].concat()
}

fn guarded(users: &str) -> (Proxy, Scratch) {
    let scratch = Scratch::new();
    let file = scratch.file("users", users.as_bytes());
    (Proxy::start(&["--auth-file", &file]), scratch)
}

/// Behind a greeting.
fn request(to: SocketAddr) -> Vec<u8> {
    socks::hello(to).split_off(3)
}

#[test]
fn methods_are_read_to_their_end_and_unacceptable_ones_refused() {
    let (proxy, server) = (Proxy::start(&[]), Server::echo());
    for greeting in
        [&[5, 1, 1][..], &[5, 2, 1, 3], &[5, 0], &[5, 1, 0xff], &[&[5, 255][..], &[7; 255]].concat()]
    {
        gives(&proxy, greeting, &[5, 0xff]);
    }
    // No authentication stands last of 255.
    let longest: Vec<u8> =
        [5, 255].into_iter().chain((1..=255).rev().map(|m| if m == 1 { 0 } else { m })).collect();
    let reply = passes(&proxy, &[longest, request(server.address)].concat(), 12);
    assert_eq!(reply[..6], [5, 0, 5, 0, 0, 1]);
}

#[test]
fn a_wrong_version_byte_is_closed_without_words() {
    let proxy = Proxy::start(&[]);
    for first in [0, 1, 2, 3, 6, 0x16, 0x7f, 0xff] {
        gives(&proxy, &[first, 1, 0], &[]);
    }
    // Of the request behind the greeting: a general failure.
    gives(&proxy, &[5, 1, 0, 4, 1, 0, 1, 127, 0, 0, 1, 0, 80], &refused(1));
}

#[test]
fn the_password_exchange_is_kept_to_the_byte() {
    let (long, server) = ("x".repeat(255), Server::echo());
    let (proxy, _users) = guarded(&format!("ann:secret\n{long}:{long}\n"));
    let ask = |auth: &[u8]| [&[5, 1, 2], auth, &request(server.address)].concat();
    for (user, password) in [(&b"ann"[..], &b"secret"[..]), (long.as_bytes(), long.as_bytes())] {
        let reply = passes(&proxy, &ask(&login(user, password)), 14);
        assert_eq!(reply[..8], [5, 2, 1, 0, 5, 0, 0, 1]);
    }
    // A greeting that offers no password gets no other answer.
    gives(&proxy, &socks::hello(server.address), &[5, 0xff]);
    let before = server.accepted();
    for (user, password) in [(&b"ann"[..], &b"secre"[..]), (b"ann", b""), (long.as_bytes(), b"secret")] {
        assert_eq!(told(&proxy, &ask(&login(user, password)), false), [5, 2, 1, 1]);
    }
    // The version of this exchange is 1 (RFC 1929), not 5.
    let mut wrong = ask(&login(b"ann", b"secret"));
    wrong[3] = 5;
    let answer = told(&proxy, &wrong, false);
    assert!(answer == [5, 2] || answer == [5, 2, 1, 1], "{answer:?}");
    assert_eq!(server.accepted(), before, "nothing of it was served");
}

#[test]
fn names_that_are_none_are_host_unreachable() {
    let proxy = Proxy::start(&["--lookup-timeout", "3"]);
    let longest = [b'n'; 255];
    for name in [&b""[..], b"a\0b", b"\0", b"localhost\0", b"a b", b"a\xff", b"[::1", b"user@host", &longest]
    {
        gives(&proxy, &by_name(name, 80), &refused(4));
    }
}

#[test]
fn addresses_sent_as_names_are_addresses_and_port_0_is_refused() {
    let (proxy, server) = (Proxy::start(&[]), Server::echo());
    for name in [&b"127.0.0.1"[..], b"localhost", b"::ffff:127.0.0.1", b"[::ffff:127.0.0.1]"] {
        let reply = passes(&proxy, &by_name(name, server.address.port()), 12);
        assert_eq!(reply[..6], [5, 0, 5, 0, 0, 1], "{}", name.escape_ascii());
    }
    if let Ok(listener) = std::net::TcpListener::bind("[::1]:0") {
        let server = Server::of(listener, |mut stream| {
            if let Ok(mut writer) = stream.try_clone() {
                let _ = std::io::copy(&mut stream, &mut writer);
            }
        });
        for name in [&b"::1"[..], b"[::1]"] {
            let reply = passes(&proxy, &by_name(name, server.address.port()), 24);
            assert_eq!(reply[..6], [5, 0, 5, 0, 0, 4], "the true family: {}", name.escape_ascii());
        }
    }
    gives(&proxy, &by_name(b"127.0.0.1", 0), &refused(5));
    gives(&proxy, &socks::hello("127.0.0.1:0".parse().expect("an address")), &refused(5));
}

#[test]
fn unknown_commands_are_07_and_unknown_address_types_08() {
    let proxy = Proxy::start(&[]);
    let to = "127.0.0.1:80".parse().expect("an address");
    for command in [0, 2, 4, 255] {
        let mut words = socks::hello(to);
        words[4] = command;
        gives(&proxy, &words, &refused(7));
    }
    for kind in [0, 2, 5, 255] {
        let mut words = socks::hello(to);
        words[6] = kind;
        gives(&proxy, &words, &refused(8));
    }
}

#[test]
fn socks4_socks4a_and_http_share_the_port() {
    let (proxy, server) = (Proxy::start(&[]), Server::echo());
    let port = server.address.port().to_be_bytes();
    let four = [&[4, 1][..], &port, &[127, 0, 0, 1], b"ann\0"].concat();
    let named = [&[4, 1][..], &port, &[0, 0, 0, 1], b"\0localhost\0"].concat();
    for words in [four, named] {
        assert_eq!(passes(&proxy, &words, 8)[..2], [0, 90]);
    }
    let at = server.address;
    let granted = b"HTTP/1.1 200 ";
    let mut client: TcpStream = socks::dial(proxy.address);
    let head = format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    client.write_all(head.as_bytes()).expect("the proxy reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a whole head");
        answer.extend(byte);
    }
    assert!(answer.starts_with(granted), "{}", answer.escape_ascii());
    socks::round_trip(&mut client);
    assert_eq!(passes(&proxy, head.as_bytes(), answer.len()), answer);
    // BIND and unknown commands of SOCKS4 are rejected.
    for command in [0, 2, 9] {
        let words = [&[4, command][..], &port, &[127, 0, 0, 1], b"ann\0"].concat();
        gives(&proxy, &words, &[0, 91, 0, 0, 0, 0, 0, 0]);
    }
    // With passwords there is no SOCKS4: it has none.
    let (closed, _users) = guarded("ann:secret\n");
    let words = [&[4, 1][..], &port, &[127, 0, 0, 1], b"ann\0"].concat();
    gives(&closed, &words, &[0, 91, 0, 0, 0, 0, 0, 0]);
}
