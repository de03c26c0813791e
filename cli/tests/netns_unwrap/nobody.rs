//! Headers that name no client: health checks of balancers.

use crate::common::here;
use crate::host::{CLIENT, Host, LISTEN, LISTEN_V6, SERVER, addr, beyond, carries, expect, serves};
use ropewalk_core::unwrap::emit::{self, Tlv};
use std::io::Write;
use std::net::IpAddr;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The headers without a client.
fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let with = |four: [u8; 4], rest: &[u8]| [&SIGNATURE[..], &four, rest].concat();
    vec![
        ("HAProxy's check", with([0x20, 0x00, 0, 0], b"")),
        // AWS NLB: LOCAL, unspecified, with TLVs: a checksum and its own.
        (
            "NLB's check",
            emit::v2_local(&[Tlv::new(0xEA, b"\x01vpce-08d2bf15fac5001c9"), Tlv::new(4, &[0; 40])]),
        ),
        ("LOCAL with addresses", with([0x20, 0x11, 0, 12], &[127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("LOCAL with too few for its family", with([0x20, 0x21, 0, 3], &[1, 2, 3])),
        ("LOCAL of a family nobody knows", with([0x20, 0xff, 0, 5], &[9; 5])),
        ("PROXY for nobody", with([0x21, 0x00, 0, 4], &[4, 0, 1, 0])),
        ("PROXY of a Unix socket", with([0x21, 0x31, 0, 216], &[b'/'; 216])),
        ("UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec()),
        ("UNKNOWN with addresses", b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec()),
        ("UNKNOWN with bytes that are no text", b"PROXY UNKNOWN \xff\xfe\x00 \r\n".to_vec()),
    ]
}

#[test]
fn a_health_check_reaches_the_server_as_the_balancer() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let [server, server_v6] = host.servers();
    let _proxy = host.unwrap(
        "-l 0.0.0.0:25577 -l [::]:25577 -4 127.0.0.1:25578 -6 [::1]:25578 --allow-from 10.9.0.2 \
         --allow-from fd09::2",
    );
    for (what, header) in headers() {
        for (to, server) in [("10.9.0.1:25577", &server), ("[fd09::1]:25577", &server_v6)] {
            let mut outer = far.run(|| crate::common::socks::dial(addr(to)));
            outer.write_all(&[&header[..], b"check"].concat()).expect("ropewalk reads");
            let (mut inner, peer) = server.accept();
            assert_eq!(peer, outer.local_addr().expect("connected"), "{what}");
            expect(&mut inner, b"check");
            carries(&mut inner, &mut outer, b"well");
        }
    }
}

#[test]
fn a_health_check_from_this_host_itself_reaches_the_server() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    for (what, header) in headers() {
        for (to, server, ip) in [(LISTEN, &server, "127.0.0.1"), (LISTEN_V6, &server_v6, "::1")] {
            let mut outer = host.send_to(to, &header);
            let (mut inner, peer) = server.accept();
            assert_eq!(peer.ip(), ip.parse::<IpAddr>().expect("literal"), "{what}");
            carries(&mut inner, &mut outer, b"well");
        }
    }
}

#[test]
fn a_health_check_by_ipv6_reaches_a_server_that_has_only_ipv4() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let [server, _] = host.servers();
    let _proxy = host.unwrap(&format!("-l {LISTEN_V6} -l [fd09::1]:25577 -4 {SERVER} --allow-any"));
    let mut outer = host.send_to(LISTEN_V6, &emit::v2_local(&[]));
    let (mut inner, peer) = server.accept();
    assert!(peer.ip().is_loopback(), "{peer}");
    carries(&mut inner, &mut outer, b"well");
    let mut outer = far.run(|| crate::common::socks::dial(addr("[fd09::1]:25577")));
    outer.write_all(&emit::v2_local(&[])).expect("ropewalk reads");
    let (mut inner, _) = server.accept();
    carries(&mut inner, &mut outer, b"well");
    serves_v6_listener(&host, &server);
}

/// Meanwhile clients are served.
fn serves_v6_listener(host: &Host, server: &crate::host::Server) {
    let _outer = host.send_to(LISTEN_V6, &crate::host::v2(CLIENT));
    assert_eq!(server.accept().1, addr(CLIENT));
}

#[test]
fn health_checks_go_on_beside_clients() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("");
    for round in 0..50 {
        let mut check = host.send(&emit::v2_local(&[]));
        let (inner, _) = server.accept();
        drop(inner);
        crate::host::end_of(&mut check);
        serves(&host, &server, &format!("192.0.2.7:{}", 40_000 + round));
    }
    let lines = proxy.stop();
    assert!(lines.last().is_some_and(|line| line.contains("100 connections relayed")), "{lines:#?}");
    assert!(lines.last().is_some_and(|line| line.contains(" 0 refused")), "{lines:#?}");
}
