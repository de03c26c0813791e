//! Malformed input, and peers that may not send headers.

use crate::common::{LONG, here, wait_until};
use crate::host::{CLIENT, End, Host, LISTEN, SERVER, WANTED, addr, end_of, expect, serves, v1, v2};
use ropewalk_core::unwrap::emit::{self, Tlv, Transport, kind};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 with these four bytes behind the signature, and these behind them.
fn raw(four: [u8; 4], rest: &[u8]) -> Vec<u8> {
    [&SIGNATURE[..], &four, rest].concat()
}

/// What ended other programs of this kind, or should have been refused by them.
fn wrong() -> Vec<(&'static str, Vec<u8>)> {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let mut crc = v2(CLIENT);
    crc[17] ^= 1;
    let datagram = emit::v2(addr(CLIENT), addr(WANTED), Transport::Datagram, &[], false);
    let long_id = [Tlv::new(kind::UNIQUE_ID, &[7; 129])];
    let long_id = emit::v2(addr(CLIENT), addr(WANTED), Transport::Stream, &long_id, false);
    vec![
        ("a version 2 header without addresses", raw([0x21, 0x11, 0, 0], b"")),
        ("the same for IPv6", raw([0x21, 0x21, 0, 12], &[1; 12])),
        ("port 99999", line("PROXY TCP4 192.0.2.7 198.51.100.2 99999 443")),
        ("port -5", line("PROXY TCP4 192.0.2.7 198.51.100.2 -5 443")),
        ("port +5", line("PROXY TCP4 192.0.2.7 198.51.100.2 +5 443")),
        ("port 007", line("PROXY TCP4 192.0.2.7 198.51.100.2 007 443")),
        ("an IPv6 address under TCP4", line("PROXY TCP4 2001:db8::7 2001:db8::1 40000 443")),
        ("an IPv4 address under TCP6", line("PROXY TCP6 192.0.2.7 198.51.100.2 40000 443")),
        ("mixed families", line("PROXY TCP6 2001:db8::7 198.51.100.2 40000 443")),
        ("two spaces", line("PROXY  TCP4 192.0.2.7 198.51.100.2 40000 443")),
        ("fields that are missing", line("PROXY TCP4 192.0.2.7")),
        ("a field too many", line("PROXY TCP4 192.0.2.7 198.51.100.2 40000 443 1")),
        ("a lone line feed", b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\nGET / HTTP/1.1\r\n".to_vec()),
        ("108 bytes without an end", [&b"PROXY UNKNOWN "[..], &[b'x'; 94]].concat()),
        ("small letters", line("proxy tcp4 192.0.2.7 198.51.100.2 40000 443")),
        ("no header: HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("no header: TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()),
        ("no header: SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("one wrong byte", b"\0".to_vec()),
        ("version 3", raw([0x31, 0x11, 0, 12], &[1; 12])),
        ("command 2", raw([0x22, 0x11, 0, 12], &[1; 12])),
        ("family 4", raw([0x21, 0x41, 0, 12], &[1; 12])),
        ("transport 3", raw([0x21, 0x13, 0, 12], &[1; 12])),
        ("65535 bytes to come", raw([0x21, 0x11, 0xff, 0xff], &[1; 12])),
        ("a TLV that goes beyond the header", raw([0x21, 0x11, 0, 15], &[&[1; 12][..], &[1, 0, 9]].concat())),
        ("half a TLV", raw([0x21, 0x11, 0, 14], &[&[1; 12][..], &[1, 0]].concat())),
        ("a wrong checksum", crc),
        ("a datagram's", datagram),
        ("a unique id of 129 bytes", long_id),
    ]
}

#[test]
fn a_wrong_header_ends_its_own_connection_and_nothing_else() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let mut proxy = host.usual("--header-timeout 600 --stats 9090");
    let mut bystander = host.send(&v2("192.0.2.99:9999"));
    let (mut inner, _) = server.accept();
    let all = wrong();
    for (what, bytes) in &all {
        let mut stream = host.send(bytes);
        let end = end_of(&mut stream);
        assert_eq!(end, End::Reset, "{what}");
        assert!(proxy.is_running(), "{what}");
    }
    server.expect_nobody();
    server_v6.expect_nobody();
    let count = host.metric("ropewalk_refused_total{service=\"unwrap\",reason=\"malformed\"}");
    assert_eq!(count, all.len() as u64);
    bystander.write_all(b"still here").expect("nothing of it was ours");
    expect(&mut inner, b"still here");
    serves(&host, &server, CLIENT);
}

#[test]
fn a_header_that_ends_in_the_middle_leads_nowhere() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("--header-timeout 600");
    for header in [v1(CLIENT), v2(CLIENT)] {
        for len in 1..header.len() {
            let mut stream = host.send(&header[..len]);
            stream.shutdown(std::net::Shutdown::Write).expect("connected");
            end_of(&mut stream);
        }
    }
    server.expect_nobody();
    proxy.wait_for("it left in the middle of its header");
    serves(&host, &server, CLIENT);
}

#[test]
fn who_comes_and_goes_without_a_word_is_no_fault() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("");
    for _ in 0..20 {
        let mut probe = host.dial(LISTEN);
        probe.shutdown(std::net::Shutdown::Write).expect("connected");
        assert_eq!(end_of(&mut probe), End::Closed);
    }
    serves(&host, &server, CLIENT);
    let lines = proxy.stop();
    assert!(lines.last().is_some_and(|line| line.contains("0 refused")), "{lines:#?}");
}

#[test]
fn a_header_that_drips_is_cut_off_at_the_deadline_and_holds_nobody_up() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.usual("--header-timeout 1.5");
    // A thousand that say nothing, and one that says a byte now and then.
    let mut silent: Vec<TcpStream> = (0..1000).map(|_| host.dial(LISTEN)).collect();
    let mut dripping = host.dial(LISTEN);
    let mut bytes = v1(CLIENT).into_iter();
    serves(&host, &server, "192.0.2.7:1000");
    wait_until("the drip is cut off", LONG, || {
        let sent = dripping.write(&[bytes.next().expect("106 bytes last for longer")]);
        std::thread::sleep(std::time::Duration::from_millis(30));
        sent.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
    });
    for stream in &mut silent {
        end_of(stream);
    }
    proxy.wait_for("no whole header in the time set (--header-timeout)");
    serves(&host, &server, "192.0.2.7:1001");
    server.expect_nobody();
}

/// Sends this from `from`, and is reset: sometimes so soon that already the connect fails.
#[track_caller]
fn turned_away(host: &Host, from: &str, to: &str, bytes: &[u8]) {
    match host.try_dial_from(from, to) {
        Ok(mut stream) => {
            let _ = stream.write_all(bytes);
            end_of(&mut stream);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "from {from}"),
    }
}

#[test]
fn a_stranger_is_shown_the_door_before_a_byte_is_read() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let list = host.file("subnets", "# the balancers\n127.0.0.8/29 # all eight\n\n2001:db8:1::/64\n");
    let switches = format!("-l {LISTEN} -l [::1]:25577 -4 {SERVER} --allowed-subnets {list}");
    let proxy = host.unwrap(&format!("{switches} --header-timeout 600 --stats 9090"));
    for from in ["127.0.0.7:0", "127.0.0.16:0", "127.0.0.1:0"] {
        // It need not say anything to be sent away.
        turned_away(&host, from, LISTEN, &[]);
        turned_away(&host, from, LISTEN, &v2(CLIENT));
    }
    turned_away(&host, "[::1]:0", "[::1]:25577", &[]);
    server.expect_nobody();
    for (number, from) in ["127.0.0.8:0", "127.0.0.15:0"].into_iter().enumerate() {
        let client = format!("192.0.2.7:{}", 40_000 + number);
        let mut balancer = host.dial_from(from, LISTEN);
        balancer.write_all(&v2(&client)).expect("ropewalk reads");
        let (mut inner, peer) = server.accept();
        assert_eq!(peer, addr(&client));
        crate::host::carries(&mut inner, &mut balancer, b"welcome");
    }
    assert_eq!(host.metric("ropewalk_refused_total{service=\"unwrap\",reason=\"peer_not_allowed\"}"), 7);
    assert_eq!(host.metric("ropewalk_connections_total{service=\"unwrap\"}"), 2);
    proxy.wait_for("peer is not in the allowed subnets");
}

/// No client can have these.
const BOGUS: [&str; 12] = [
    "127.0.0.2:40000",
    "127.5.5.5:40000",
    "0.0.0.0:40000",
    "0.1.2.3:40000",
    "255.255.255.255:40000",
    "224.0.0.1:40000",
    "169.254.1.1:40000",
    "10.9.0.1:40000",
    "[::ffff:127.0.0.2]:40000",
    "[::ffff:0.0.0.0]:40000",
    "[::ffff:169.254.169.254]:40000",
    "[::ffff:10.9.0.1]:40000",
];
const BOGUS_V6: [&str; 6] = [
    "[::1]:40000",
    "[::]:40000",
    "[fe80::1]:40000",
    "[ff02::1]:40000",
    "[::127.0.0.1]:40000",
    "[fd09::1]:40000",
];

#[test]
fn a_header_that_names_a_client_that_cannot_be_is_refused() {
    let Some(host) = Host::new(here!()) else { return };
    let _far = crate::host::beyond(&host);
    let [server, server_v6] = host.servers();
    let proxy = host.usual("--stats 9090");
    let all: Vec<&str> = BOGUS.into_iter().chain(BOGUS_V6).collect();
    for client in &all {
        for header in [v1, v2] {
            assert_eq!(end_of(&mut host.send(&header(client))), End::Reset, "{client}");
        }
    }
    server.expect_nobody();
    server_v6.expect_nobody();
    let refused = host.metric("ropewalk_refused_total{service=\"unwrap\",reason=\"bogus_source\"}");
    assert_eq!(refused, 2 * all.len() as u64);
    proxy.wait_for("which no client can have");
    serves(&host, &server, CLIENT);
}

#[test]
fn a_balancer_on_this_host_that_names_itself_gets_what_local_gets() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    for header in [v1, v2] {
        let mut balancer = host.send(&header("127.0.0.1:40000"));
        let (mut inner, peer) = server.accept();
        assert_eq!(peer.ip(), addr("127.0.0.1:0").ip());
        crate::host::carries(&mut inner, &mut balancer, b"healthy");
    }
}

#[test]
fn an_address_this_host_got_after_the_start_is_no_client_either() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("");
    host.ns.ip("addr add 198.51.100.77/32 dev lo\n");
    // It learns the address some time later.
    let mut port = 40_000;
    wait_until("the new address is known", LONG, || {
        port += 1;
        let mut stream = host.send(&v2(&format!("198.51.100.77:{port}")));
        stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).expect("above zero");
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    });
    host.ns.ip("addr del 198.51.100.77/32 dev lo\n");
    wait_until("it is known to be gone", LONG, || {
        port += 1;
        let mut stream = host.send(&v2(&format!("198.51.100.77:{port}")));
        stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).expect("above zero");
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    drop(server);
}

#[test]
fn a_bogus_client_can_be_let_in() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("--allow-source 127.0.0.0/8 --allow-source ::1/128");
    for (client, server) in
        [("127.0.0.1:40000", &server), ("127.5.5.5:40000", &server), ("[::1]:40000", &server_v6)]
    {
        let mut outer = host.send(&v2(client));
        let (mut inner, peer) = server.accept();
        assert_eq!(peer, addr(client));
        crate::host::carries(&mut inner, &mut outer, b"welcome");
    }
    // Only what was allowed.
    assert_eq!(end_of(&mut host.send(&v2("169.254.1.1:40000"))), End::Reset);
}

#[test]
fn a_client_of_a_family_without_a_server_is_refused() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.unwrap(&format!("-l {LISTEN} -4 {SERVER} --allow-any"));
    assert_eq!(end_of(&mut host.send(&v2("[2001:db8::7]:40000"))), End::Reset);
    proxy.wait_for("no target for IPv6 clients");
    proxy.wait_for("--allow-any");
    serves(&host, &server, CLIENT);
}
