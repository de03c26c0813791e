//! The header comes whole or in pieces, and the server sees its client.

use crate::common::{assert_pattern, here, pattern};
use crate::host::{CLIENT, Host, LISTEN, LISTEN_V6, WANTED, addr, beyond, carries, expect, serves, v1, v2};
use ropewalk_core::unwrap::emit::{self, Tlv, Transport, kind};
use std::io::{Read, Write};

#[test]
fn the_server_sees_the_clients_address_and_port() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    let mut port = 40_000;
    // A balancer speaks of clients of either family, whichever it reaches us by.
    for listen in [LISTEN, LISTEN_V6] {
        for header in [v1, v2] {
            for (ip, server) in [("192.0.2.7", &server), ("[2001:db8::7]", &server_v6)] {
                port += 1;
                let client = format!("{ip}:{port}");
                let mut outer = host.send_to(listen, &[&header(&client), &b"first"[..]].concat());
                let (mut inner, peer) = server.accept();
                assert_eq!(peer, addr(&client), "by {listen}");
                expect(&mut inner, b"first");
                carries(&mut inner, &mut outer, b"answer");
                carries(&mut outer, &mut inner, b"more");
            }
        }
    }
}

#[test]
fn an_ipv4_client_in_ipv6_notation_is_an_ipv4_client() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    let _outer = host.send(&v2("[::ffff:192.0.2.7]:40000"));
    assert_eq!(server.accept().1, addr(CLIENT));
    let _outer = host.send(&v1("[::ffff:192.0.2.7]:40001"));
    assert_eq!(server.accept().1, addr("192.0.2.7:40001"));
    server_v6.expect_nobody();
}

#[test]
fn a_header_may_come_one_byte_at_a_time() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    for (number, header) in [v1, v2].into_iter().enumerate() {
        for (ip, server) in [("192.0.2.7", &server), ("[2001:db8::7]", &server_v6)] {
            let client = format!("{ip}:{}", 40_000 + number);
            let mut outer = host.dial(LISTEN);
            for byte in header(&client) {
                server.expect_nobody();
                outer.write_all(&[byte]).expect("ropewalk reads");
            }
            let (mut inner, peer) = server.accept();
            assert_eq!(peer, addr(&client));
            carries(&mut outer, &mut inner, b"payload");
        }
    }
}

#[test]
fn what_comes_right_behind_the_header_is_the_servers_to_the_byte() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    let payload = pattern(0, 300_000);
    for (number, header) in [v1, v2].into_iter().enumerate() {
        let client = format!("192.0.2.7:{}", 41_000 + number);
        let mut outer = host.dial(LISTEN);
        let sent = [&header(&client)[..], &payload].concat();
        let writer = std::thread::spawn(move || {
            outer.write_all(&sent).expect("ropewalk reads");
            outer
        });
        let (mut inner, _) = server.accept();
        let mut got = vec![0; payload.len()];
        inner.read_exact(&mut got).expect("all of it");
        assert_pattern(0, &got);
        drop(writer.join().expect("it wrote"));
        assert_eq!(inner.read(&mut [0]).expect("a quiet end"), 0);
    }
}

#[test]
fn a_payload_that_looks_like_a_header_is_payload() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    let second = v1("203.0.113.66:666");
    let _outer = host.send(&[v2(CLIENT), second.clone()].concat());
    let (mut inner, peer) = server.accept();
    assert_eq!(peer, addr(CLIENT));
    expect(&mut inner, &second);
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    let mut outer = host.send(&v1(CLIENT));
    let (mut inner, _) = server.accept();
    carries(&mut inner, &mut outer, b"220 mail.example ESMTP\r\n");
}

#[test]
fn a_header_with_everything_in_it_is_shown_at_level_two() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("-vv");
    let ssl = emit::ssl(1, 0, &[Tlv::new(0x21, b"TLSv1.3"), Tlv::new(0x22, b"client.example")]);
    let tlvs = [
        Tlv::new(kind::AUTHORITY, b"example.org"),
        Tlv::new(kind::ALPN, b"h2"),
        Tlv::new(kind::UNIQUE_ID, b"0123456789"),
        Tlv::new(kind::SSL, &ssl),
        Tlv::new(kind::NOOP, &[0; 7]),
        Tlv::new(0xEA, b"\x01vpce-0123456789"),
        Tlv::new(0xE7, b"whatever"),
    ];
    let _outer = host.send(&emit::v2(addr(CLIENT), addr(WANTED), Transport::Stream, &tlvs, true));
    assert_eq!(server.accept().1, addr(CLIENT));
    let line = proxy.wait_for("header of 127.0.0.1:");
    for part in ["example.org", "h2", "TLSv1.3", "client.example", "vpce-0123456789"] {
        assert!(line.contains(part), "expected {part} in {line:?}");
    }
    let line = proxy.wait_for("(by 127.0.0.1:");
    assert!(line.contains("192.0.2.7:40000 (by 127.0.0.1:") && line.contains("to 127.0.0.1:25578"), "{line}");
}

#[test]
fn a_balancer_on_another_host_is_served_on_all_addresses() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let [server, server_v6] = host.servers();
    let _proxy = host.unwrap(
        "-l 0.0.0.0:25577 -l [::]:25577 -4 127.0.0.1:25578 -6 [::1]:25578 --allow-from 10.9.0.0/24 \
         --allow-from fd09::/64",
    );
    for (number, to) in ["10.9.0.1:25577", "[fd09::1]:25577"].into_iter().enumerate() {
        for (ip, server) in [("192.0.2.7", &server), ("[2001:db8::7]", &server_v6)] {
            let client = format!("{ip}:{}", 40_000 + number);
            let mut outer = far.run(|| crate::common::socks::dial(addr(to)));
            outer.write_all(&v2(&client)).expect("ropewalk reads");
            let (mut inner, peer) = server.accept();
            assert_eq!(peer, addr(&client), "by {to}");
            carries(&mut outer, &mut inner, b"question");
            carries(&mut inner, &mut outer, b"answer");
        }
    }
}

#[test]
fn workers_share_the_clients() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("--workers 3");
    for port in 50_000..50_030 {
        serves(&host, &server, &format!("192.0.2.7:{port}"));
    }
}
