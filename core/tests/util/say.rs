//! Bytes of the protocols, written by hand: the tests do not trust the codecs they test.

use std::net::{IpAddr, SocketAddr};

/// A SOCKS5 greeting without authentication.
pub(crate) const GREETING: &[u8] = &[5, 1, 0];

/// SOCKS5: `VER CMD RSV`, then address and port.
pub(crate) fn socks5_request(command: u8, to: SocketAddr) -> Vec<u8> {
    let mut out = vec![5, command, 0];
    match to.ip() {
        IpAddr::V4(v4) => {
            out.push(1);
            out.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(4);
            out.extend(v6.octets());
        }
    }
    out.extend(to.port().to_be_bytes());
    out
}

/// SOCKS5 CONNECT to a name.
pub(crate) fn socks5_name(name: &[u8], port: u16) -> Vec<u8> {
    let mut out = vec![5, 1, 0, 3, u8::try_from(name.len()).expect("at most 255 bytes")];
    out.extend(name);
    out.extend(port.to_be_bytes());
    out
}

/// Greeting and CONNECT in one.
pub(crate) fn socks5(to: SocketAddr) -> Vec<u8> {
    [GREETING, &socks5_request(1, to)].concat()
}

/// Greeting and CONNECT to a name in one.
pub(crate) fn socks5_to_name(name: &str, port: u16) -> Vec<u8> {
    [GREETING, &socks5_name(name.as_bytes(), port)].concat()
}

/// RFC 1929.
pub(crate) fn user_password(user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut out = vec![1, user.len() as u8];
    out.extend(user);
    out.push(password.len() as u8);
    out.extend(password);
    out
}

/// A SOCKS5 reply.
pub(crate) fn socks5_reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let mut out = socks5_request(code, bound);
    out[1] = code;
    out
}

/// A SOCKS5 reply that says no.
pub(crate) fn socks5_refusal(code: u8) -> Vec<u8> {
    vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// How long a good SOCKS5 answer over IPv4 is, with the answer to the greeting.
pub(crate) const SOCKS5_GRANTED: usize = 2 + 10;

/// SOCKS4.
pub(crate) fn socks4(command: u8, to: [u8; 4], port: u16, user: &[u8]) -> Vec<u8> {
    let mut out = vec![4, command];
    out.extend(port.to_be_bytes());
    out.extend(to);
    out.extend(user);
    out.push(0);
    out
}

/// SOCKS4a.
pub(crate) fn socks4a(name: &[u8], port: u16, user: &[u8]) -> Vec<u8> {
    let mut out = socks4(1, [0, 0, 0, 7], port, user);
    out.extend(name);
    out.push(0);
    out
}

/// HTTP CONNECT.
pub(crate) fn http_connect(authority: &str) -> Vec<u8> {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()
}

/// What follows a good HTTP CONNECT.
pub(crate) const HTTP_GRANTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The status of an HTTP response.
#[track_caller]
pub(crate) fn status(response: &[u8]) -> u16 {
    let line = response.split(|b| *b == b'\r').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {text:?}"))
}
