//! Where connections go: by the header, port by port, to a Unix socket, by mark, from a file.

use crate::common::{LONG, here, wait_until};
use crate::host::{CLIENT, End, Host, LISTEN, SERVER, USUAL, addr, carries, end_of, expect, serves, v1, v2};
use ropewalk_core::unwrap::emit::{self, Transport};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};

/// A header of version 2 of a client that wanted to go to `wanted`.
fn to(client: &str, wanted: &str) -> Vec<u8> {
    emit::v2(addr(client), addr(wanted), Transport::Stream, &[], false)
}

#[test]
fn a_header_leads_where_it_says_if_that_is_allowed() {
    let Some(host) = Host::bare(here!()) else { return };
    host.ns.ip("addr add 198.51.100.2/32 dev lo\n-6 addr add 2001:db8:ff::2/128 dev lo nodad\n");
    host.setup("-4 198.51.100.2:443-445 -6 [2001:db8:ff::2]:443");
    let server = host.listen("198.51.100.2:443");
    let other = host.listen("198.51.100.2:446");
    let server_v6 = host.listen("[2001:db8:ff::2]:443");
    let proxy = host.unwrap(&format!(
        "-l {LISTEN} --to header --allow-target 198.51.100.0/24:443-445 --allow-target [2001:db8:ff::/48]:* \
         --allow-any --stats 9090"
    ));
    for (client, wanted, server) in
        [(CLIENT, "198.51.100.2:443", &server), ("[2001:db8::7]:40000", "[2001:db8:ff::2]:443", &server_v6)]
    {
        let mut outer = host.send(&to(client, wanted));
        let (mut inner, peer) = server.accept();
        assert_eq!(peer, addr(client));
        carries(&mut inner, &mut outer, b"welcome");
    }
    for (number, (client, wanted)) in
        [(CLIENT, "198.51.100.2:446"), (CLIENT, "127.0.0.1:443"), ("[2001:db8::7]:40000", "[::1]:443")]
            .into_iter()
            .enumerate()
    {
        assert_eq!(end_of(&mut host.send(&to(client, wanted))), End::Reset, "{wanted}");
        let sample = "ropewalk_refused_total{service=\"unwrap\",reason=\"not_allowed\"}";
        assert_eq!(host.metric(sample), number as u64 + 1, "{wanted}");
    }
    // A health check wants to go nowhere, and there is no other server.
    assert_eq!(end_of(&mut host.send(&emit::v2_local(&[]))), End::Reset);
    other.expect_nobody();
    let line = proxy.wait_for("198.51.100.2:446");
    assert!(line.contains("--allow-target"), "expected the switch that would allow it, got {line:?}");
}

#[test]
fn a_health_check_beside_headers_that_lead_goes_to_the_server() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let _proxy = host.usual("--to header --allow-target 198.51.100.0/24:443");
    let _outer = host.send(&emit::v2_local(&[]));
    server.accept();
}

#[test]
fn no_connection_leads_back_into_unwrap() {
    let Some(host) = Host::bare(here!()) else { return };
    host.ns.ip("addr add 198.51.100.2/32 dev lo\n");
    let mut proxy = host.unwrap(
        "-l 0.0.0.0:25577 --to header --allow-target 0.0.0.0/0:25577 --allow-any --stats 9090 \
         --header-timeout 600",
    );
    for wanted in ["127.0.0.1:25577", "198.51.100.2:25577", "0.0.0.0:25577", "127.3.3.3:25577"] {
        assert_eq!(end_of(&mut host.send(&to(CLIENT, wanted))), End::Reset, "{wanted}");
    }
    assert_eq!(host.metric("ropewalk_refused_total{service=\"unwrap\",reason=\"itself\"}"), 4);
    assert!(proxy.is_running());
}

#[test]
fn each_port_of_a_range_leads_to_its_own() {
    let Some(host) = Host::bare(here!()) else { return };
    host.setup("-4 127.0.0.1:3000-3004");
    let servers: Vec<_> = (3000..3005).map(|port| host.listen(&format!("127.0.0.1:{port}"))).collect();
    let one_to_one = host.unwrap("-l 127.0.0.1:2000-2004 -4 127.0.0.1:3000-3004 --allow-any");
    one_to_one.wait_for("listening on 127.0.0.1:2000-2004 (tcp), to 127.0.0.1:3000-3004");
    for (number, server) in servers.iter().enumerate() {
        let _outer = host.send_to(&format!("127.0.0.1:{}", 2000 + number), &v2(CLIENT));
        assert_eq!(server.accept().1, addr(CLIENT));
    }
    drop(one_to_one);
    let _all_to_one = host.unwrap("-l 127.0.0.1:2000-2004 -4 127.0.0.1:3002 --allow-any");
    for number in 0..5 {
        let client = format!("192.0.2.8:{}", 41_000 + number);
        let _outer = host.send_to(&format!("127.0.0.1:{}", 2000 + number), &v1(&client));
        assert_eq!(servers[2].accept().1, addr(&client));
    }
}

#[test]
fn a_port_that_the_system_chose_is_told() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let proxy = host.unwrap(&format!("-l 127.0.0.1:0 -4 {SERVER} --allow-any"));
    assert_ne!(proxy.address.port(), 0);
    let _outer = host.send_to(&proxy.at(), &v2(CLIENT));
    assert_eq!(server.accept().1, addr(CLIENT));
}

/// The next connection, soon.
#[track_caller]
fn accept(server: &UnixListener) -> (UnixStream, std::os::unix::net::SocketAddr) {
    let mut came = None;
    server.set_nonblocking(true).expect("a socket");
    wait_until("a connection comes", LONG, || {
        came = server.accept().ok();
        came.is_some()
    });
    let (stream, peer) = came.expect("waited for it");
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(LONG)).expect("a time above zero");
    (stream, peer)
}

#[test]
fn a_server_on_a_unix_socket_gets_what_is_behind_the_header() {
    let Some(host) = Host::bare(here!()) else { return };
    let path = host.dir().join("server.sock");
    let server = UnixListener::bind(&path).expect("our own directory");
    // Unwrap runs as `nobody`, which may connect to a socket that is writable for all.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&path, all).expect("our own");
    let path = path.display();
    let proxy = host.unwrap(&format!("-l {LISTEN} -4 unix:{path} -6 unix:{path} --allow-any"));
    proxy.wait_for("a server on a Unix socket sees no address");
    // Its port is nothing to a server that cannot see it.
    for client in [CLIENT, "[2001:db8::7]:40000", "192.0.2.7:0"] {
        let mut outer: TcpStream = host.send(&[&v2(client), &b"question"[..]].concat());
        let (mut inner, _) = accept(&server);
        let mut got = [0; 8];
        inner.read_exact(&mut got).expect("eight bytes");
        assert_eq!(&got, b"question");
        inner.write_all(b"answer").expect("the relay reads");
        inner.shutdown(std::net::Shutdown::Write).expect("connected");
        expect(&mut outer, b"answer");
        assert_eq!(end_of(&mut outer), End::Closed);
    }
    std::fs::remove_file(host.dir().join("server.sock")).expect("our own");
    assert_eq!(end_of(&mut host.send(&v2(CLIENT))), End::Reset);
}

#[test]
fn several_listeners_stand_in_a_file() {
    let Some(host) = Host::new(here!()) else { return };
    host.setup("-4 127.0.0.1:3000-3001");
    let [server, server_v6] = host.servers();
    let ranged = [host.listen("127.0.0.1:3000"), host.listen("127.0.0.1:3001")];
    let list = host.file("subnets", "127.0.0.5\n");
    let file = host.file(
        "unwrap.toml",
        &format!(
            "[unwrap]\n\
             allow-from = [\"127.0.0.0/30\", \"::1\"]\n\
             header-timeout = 2\n\
             stats = \"127.0.0.1:9090\"\n\
             [[unwrap.listener]]\n\
             listen = [\"{LISTEN}\"]\n\
             target-v4 = \"{SERVER}\"\n\
             target-v6 = \"[::1]:25578\"\n\
             [[unwrap.listener]]\n\
             listen = [\"127.0.0.1:2000-2001\"]\n\
             target-v4 = \"127.0.0.1:3000-3001\"\n\
             allow-from = []\n\
             allowed-subnets = \"{list}\"\n"
        ),
    );
    let proxy = host.unwrap(&format!("--config {file}"));
    proxy.wait_for(&format!("configuration: {file}"));
    serves(&host, &server, CLIENT);
    let _outer = host.send(&v2("[2001:db8::7]:40000"));
    server_v6.accept();
    for (number, server) in ranged.iter().enumerate() {
        let mut outer = host.dial_from("127.0.0.5:0", &format!("127.0.0.1:{}", 2000 + number));
        outer.write_all(&v2(CLIENT)).expect("ropewalk reads");
        assert_eq!(server.accept().1, addr(CLIENT));
        // Each listener has its own friends.
        if let Ok(mut stranger) = host.try_dial_from("127.0.0.1:0", &format!("127.0.0.1:{}", 2000 + number)) {
            end_of(&mut stranger);
        }
    }
    assert_eq!(host.metric("ropewalk_refused_total{service=\"unwrap\",reason=\"peer_not_allowed\"}"), 2);
}

#[test]
fn by_mark_the_answers_come_back_too() {
    let Some(host) = Host::bare(here!()) else { return };
    host.setup("--mark 0x7b");
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("--mark 123");
    for number in 0..3 {
        serves(&host, &server, &format!("192.0.2.7:{}", 40_000 + number));
        let client = format!("[2001:db8::7]:{}", 40_000 + number);
        let mut outer = host.send(&v1(&client));
        let (mut inner, peer) = server_v6.accept();
        assert_eq!(peer, addr(&client));
        carries(&mut inner, &mut outer, b"welcome");
    }
    // A client that connects directly is served as ever.
    let mut outer = host.dial(SERVER);
    let (mut inner, peer) = server.accept();
    assert!(peer.ip().is_loopback());
    carries(&mut inner, &mut outer, b"welcome");
}

#[test]
fn a_line_of_both_families_passes_only_where_that_is_asked_for() {
    let Some(host) = Host::new(here!()) else { return };
    let [_server, server_v6] = host.servers();
    let line = b"PROXY TCP6 2001:db8::7 198.51.100.2 40000 443\r\n";
    let proxy = host.usual("");
    assert_eq!(end_of(&mut host.send(line)), End::Reset);
    drop(proxy);
    let _proxy = host.unwrap(&format!("{USUAL} --mixed-families"));
    let mut outer = host.send(line);
    let (mut inner, peer) = server_v6.accept();
    assert_eq!(peer, addr("[2001:db8::7]:40000"));
    carries(&mut inner, &mut outer, b"welcome");
}
