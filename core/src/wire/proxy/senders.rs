//! What real senders wrote, recorded: HAProxy 2.6.12 and curl 7.88.1.

use alloc::string::{String, ToString};

use super::*;

/// The bytes end in `hello` where the sender had something to pass on.
fn read(bytes: &[u8]) -> (Origin, String) {
    let rules = Rules::new(Transport::Stream);
    laws::hold(bytes, &rules);
    let (header, used) = parse(bytes, &rules).expect("it came from a real sender");
    assert!([&b""[..], b"hello"].contains(&&bytes[used..]), "{}", bytes[used..].escape_ascii());
    (header.origin, header.tlvs(bytes).to_string())
}

fn proxied(source: &str, destination: &str) -> Origin {
    let end = |text: &str| text.parse().expect("a literal");
    Origin::Proxied { source: end(source), destination: end(destination) }
}

#[test]
fn haproxys_send_proxy_is_read() {
    let line = b"PROXY TCP6 ::1 ::1 37934 28572\r\nhello";
    assert_eq!(read(line), (proxied("[::1]:37934", "[::1]:28572"), "".into()));
}

#[test]
fn haproxys_send_proxy_v2_with_checksum_and_unique_id_is_read() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x25\x7f\0\0\x01\x7f\0\0\x01\x85\x9c\x6f\x9b\
        \x03\0\x04\x8e\xe9\xb5\x19\x05\0\x0fid-1795249251-0hello";
    let origin = proxied("127.0.0.1:34204", "127.0.0.1:28571");
    assert_eq!(read(header), (origin, "unique id \"id-1795249251-0\"".into()));
}

#[test]
fn haproxys_header_for_an_ipv4_client_of_an_ipv6_socket_is_read() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2b\
        \0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\xe3\x04\x6f\x9d\
        \x03\0\x04\xf3\x31\xfd\xa3hello";
    assert_eq!(read(header), (proxied("127.0.0.1:58116", "127.0.0.1:28573"), "".into()));
}

#[test]
fn haproxys_health_check_is_read() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x07\x03\0\x04\xa9\xb8\x7e\x8f";
    assert_eq!(read(header), (Origin::Peer(PeerReason::Local), "".into()));
}

#[test]
fn curls_haproxy_protocol_is_read() {
    let line = b"PROXY TCP4 127.0.0.1 127.0.0.1 57126 28570\r\n";
    assert_eq!(read(line), (proxied("127.0.0.1:57126", "127.0.0.1:28570"), "".into()));
}
