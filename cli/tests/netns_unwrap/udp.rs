//! UDP: each datagram reaches the server as its client's, and the answers reach the balancer.

use crate::common::{LONG, here, pattern, wait_until};
use crate::datagram::{
    UDP, balancer, bind, expect, expect_nothing, receive, round_trip, simple, socket, v2, wrong,
};
use crate::host::{CLIENT, Host, LISTEN, LISTEN_V6, SERVER, SERVER_V6, WANTED, addr, beyond, serves};
use ropewalk_core::unwrap::emit;
use std::io::ErrorKind;

const CLIENT_V6: &str = "[2001:db8::7]:40000";

#[test]
fn the_server_sees_each_client_and_its_answers_come_back() {
    let Some(host) = Host::new(here!()) else { return };
    let (server, server_v6) = (bind(&host, SERVER), bind(&host, SERVER_V6));
    let _proxy = host.unwrap(UDP);
    for listen in [LISTEN, LISTEN_V6] {
        let balancer = balancer(&host, listen);
        for round in 0..3 {
            let payload = format!("question {round}");
            round_trip(&balancer, &server, CLIENT, payload.as_bytes());
            round_trip(&balancer, &server_v6, CLIENT_V6, payload.as_bytes());
            round_trip(&balancer, &server, "192.0.2.7:53", payload.as_bytes());
        }
    }
}

#[test]
fn clients_behind_one_socket_of_the_balancer_are_told_apart() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = host.unwrap(UDP);
    let balancer = balancer(&host, LISTEN);
    let clients: Vec<String> = (0..50).map(|n| format!("192.0.2.{}:{}", 7 + n % 5, 40_000 + n)).collect();
    for round in 0..3 {
        for client in &clients {
            balancer.send(&v2(client, format!("{round} {client}").as_bytes())).expect("sent");
        }
        for _ in &clients {
            let (payload, from) = receive(&server);
            assert_eq!(String::from_utf8_lossy(&payload), format!("{round} {from}"));
            server.send_to(&payload, from).expect("there is a route");
        }
        let mut answers: Vec<_> =
            clients.iter().map(|_| String::from_utf8(receive(&balancer).0).expect("text")).collect();
        let mut wanted: Vec<_> = clients.iter().map(|client| format!("{round} {client}")).collect();
        answers.sort();
        wanted.sort();
        assert_eq!(answers, wanted);
    }
}

#[test]
fn answers_go_to_where_the_balancer_was_last() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = host.unwrap(UDP);
    let (first, second) = (balancer(&host, LISTEN), balancer(&host, LISTEN_V6));
    for (now, before) in [(&first, &second), (&second, &first), (&first, &second)] {
        round_trip(now, &server, CLIENT, b"here I am");
        server.send_to(b"unasked", addr(CLIENT)).expect("there is a route");
        expect(now, b"unasked");
        expect_nothing(before);
    }
}

#[test]
fn the_answers_to_a_simple_header_carry_it() {
    let Some(host) = Host::new(here!()) else { return };
    let (server, server_v6) = (bind(&host, SERVER), bind(&host, SERVER_V6));
    let _proxy = host.unwrap(UDP);
    let balancer = balancer(&host, LISTEN);
    for (client, server) in [(CLIENT, &server), (CLIENT_V6, &server_v6)] {
        for _ in 0..2 {
            balancer.send(&simple(client, b"question")).expect("sent");
            assert_eq!(expect(server, b"question"), addr(client));
            server.send_to(b"answer", addr(client)).expect("there is a route");
            expect(&balancer, &simple(client, b"answer"));
            server.send_to(b"", addr(client)).expect("there is a route");
            expect(&balancer, &simple(client, b""));
        }
    }
    // The balancer changes its mind.
    round_trip(&balancer, &server, CLIENT, b"by version 2");
}

#[test]
fn large_and_empty_datagrams_come_through_whole() {
    let Some(host) = Host::new(here!()) else { return };
    let (server, server_v6) = (bind(&host, SERVER), bind(&host, SERVER_V6));
    let _proxy = host.unwrap(UDP);
    for (listen, client, server) in [(LISTEN, CLIENT, &server), (LISTEN_V6, CLIENT_V6, &server_v6)] {
        let balancer = balancer(&host, listen);
        for len in [0, 1, 1472, 1473, 9000, 60_000, 65_000, 0] {
            let (up, down) = (pattern(0, len), pattern(7, len));
            balancer.send(&v2(client, &up)).expect("sent");
            assert_eq!(expect(server, &up), addr(client), "{len} bytes");
            server.send_to(&down, addr(client)).expect("there is a route");
            expect(&balancer, &down);
        }
    }
}

#[test]
fn large_datagrams_come_in_pieces_from_another_host_and_go_back_so() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let (server, server_v6) = (bind(&host, SERVER), bind(&host, SERVER_V6));
    let _proxy = host.unwrap(
        "-p udp -l 0.0.0.0:25577 -l [::]:25577 -4 127.0.0.1:25578 -6 [::1]:25578 --allow-from 10.9.0.0/24 \
         --allow-from fd09::/64",
    );
    for (at, to) in [("10.9.0.2:0", "10.9.0.1:25577"), ("[fd09::2]:0", "[fd09::1]:25577")] {
        let balancer = far.run(|| socket(at));
        // Only what comes from there is taken for an answer.
        balancer.connect(addr(to)).expect("there is a route");
        for (client, server) in [(CLIENT, &server), (CLIENT_V6, &server_v6)] {
            for len in [100, 1500, 9000, 60_000] {
                let (up, down) = (pattern(0, len), pattern(7, len));
                balancer.send(&v2(client, &up)).expect("sent");
                assert_eq!(expect(server, &up), addr(client), "{len} bytes by {to}");
                server.send_to(&down, addr(client)).expect("there is a route");
                expect(&balancer, &down);
            }
        }
    }
}

#[test]
fn the_answer_comes_from_the_address_that_was_asked() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    host.ns.ip("addr add 10.9.0.200/24 dev near\n-6 addr add fd09::200/64 dev near nodad\n");
    let server = bind(&host, SERVER);
    let _proxy =
        host.unwrap("-p udp -l 0.0.0.0:25577 -l [::]:25577 -4 127.0.0.1:25578 --allow-any --close-after 600");
    for to in ["10.9.0.1:25577", "10.9.0.200:25577", "[fd09::1]:25577", "[fd09::200]:25577"] {
        let balancer = far.run(|| socket(if to.starts_with('[') { "[fd09::2]:0" } else { "10.9.0.2:0" }));
        balancer.connect(addr(to)).expect("there is a route");
        round_trip(&balancer, &server, CLIENT, to.as_bytes());
    }
}

#[test]
fn a_server_on_all_addresses_is_found() {
    let Some(host) = Host::new(here!()) else { return };
    let (server, server_v6) = (bind(&host, "0.0.0.0:25578"), bind(&host, "[::]:25578"));
    let _proxy = host.unwrap(UDP);
    let balancer = balancer(&host, LISTEN);
    round_trip(&balancer, &server, CLIENT, b"question");
    round_trip(&balancer, &server_v6, CLIENT_V6, b"question");
}

#[test]
fn a_server_that_comes_late_is_found_by_the_next_datagram() {
    let Some(host) = Host::new(here!()) else { return };
    let mut proxy = host.unwrap(&format!("{UDP} --stats 9090"));
    let balancer = balancer(&host, LISTEN);
    for _ in 0..3 {
        for _ in 0..5 {
            balancer.send(&v2(CLIENT, b"anybody?")).expect("sent");
        }
        // What found no server is not sent to the one that starts later.
        let sent = || host.metric("ropewalk_unwrap_flows_total");
        wait_until("the flow is there", LONG, || sent() == 1);
        let server = bind(&host, SERVER);
        let mut took = 0;
        wait_until("the server hears of the client", LONG, || {
            balancer.send(&v2(CLIENT, b"hello")).expect("sent");
            server.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("above zero");
            match server.recv_from(&mut [0; 64]) {
                Ok((_, from)) => {
                    assert_eq!(from, addr(CLIENT));
                    took += 1;
                    true
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                    false
                }
            }
        });
        server.send_to(b"welcome", addr(CLIENT)).expect("there is a route");
        expect(&balancer, b"welcome");
        assert!(proxy.is_running());
    }
}

#[test]
fn what_has_no_header_is_dropped_and_counted() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let proxy = host.unwrap(&format!("{UDP} --stats 9090"));
    let balancer = balancer(&host, LISTEN);
    let all = wrong();
    for datagram in &all {
        balancer.send(datagram).expect("sent");
    }
    round_trip(&balancer, &server, CLIENT, b"still here");
    let count = |reason: &str| {
        host.metric(&format!("ropewalk_unwrap_datagrams_dropped_total{{reason=\"{reason}\"}}"))
    };
    assert_eq!(count("malformed") + count("cut_short"), all.len() as u64);
    assert!(count("cut_short") > 10);
    proxy.wait_for("is dropped: ");
}

#[test]
fn a_bogus_client_and_a_stranger_are_dropped_and_counted() {
    let Some(host) = Host::new(here!()) else { return };
    let server = bind(&host, SERVER);
    let _proxy = host.unwrap(&format!("-p udp -l {LISTEN} -4 {SERVER} --allow-from 127.0.0.1 --stats 9090"));
    let balancer = balancer(&host, LISTEN);
    let stranger = bind(&host, "127.0.0.2:0");
    for client in ["127.0.0.1:40000", "0.0.0.0:40000", "255.255.255.255:40000", "169.254.1.1:40000"] {
        balancer.send(&v2(client, b"bogus")).expect("sent");
        balancer.send(&simple(client, b"bogus")).expect("sent");
    }
    stranger.send_to(&v2(CLIENT, b"strange"), addr(LISTEN)).expect("sent");
    balancer.send(&v2("192.0.2.7:0", b"no port")).expect("sent");
    balancer.send(&v2(CLIENT_V6, b"no server")).expect("sent");
    round_trip(&balancer, &server, CLIENT, b"true");
    let count = |reason: &str| {
        host.metric(&format!("ropewalk_unwrap_datagrams_dropped_total{{reason=\"{reason}\"}}"))
    };
    let all = ["bogus_source", "peer_not_allowed", "no_port", "no_target"].map(count);
    assert_eq!(all, [8, 1, 1, 1]);
}

#[test]
fn a_health_check_reaches_the_server_as_the_balancer() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let server = bind(&host, SERVER);
    let _proxy = host.unwrap("-p udp -l 0.0.0.0:25577 -4 127.0.0.1:25578 --allow-any");
    let check = [&emit::v2_local(&[])[..], b"check"].concat();
    let remote = far.run(|| socket("10.9.0.2:0"));
    remote.connect(addr("10.9.0.1:25577")).expect("there is a route");
    remote.send(&check).expect("sent");
    let from = expect(&server, b"check");
    assert_eq!(from, remote.local_addr().expect("bound"));
    server.send_to(b"well", from).expect("there is a route");
    expect(&remote, b"well");
    let own = balancer(&host, LISTEN);
    own.send(&check).expect("sent");
    let from = expect(&server, b"check");
    assert!(from.ip().is_loopback(), "{from}");
    server.send_to(b"well", from).expect("it is here");
    expect(&own, b"well");
}

#[test]
fn the_header_leads_where_it_says() {
    let Some(host) = Host::bare(here!()) else { return };
    host.ns.ip("addr add 198.51.100.2/32 dev lo\n");
    host.setup("-p udp -4 198.51.100.2:443");
    let server = bind(&host, WANTED);
    let _proxy = host
        .unwrap(&format!("-p udp -l {LISTEN} --to header --allow-target 198.51.100.0/24:443 --allow-any"));
    round_trip(&balancer(&host, LISTEN), &server, CLIENT, b"question");
}

#[test]
fn tcp_and_udp_are_served_side_by_side() {
    let Some(host) = Host::new(here!()) else { return };
    let (server, datagrams) = (host.listen(SERVER), bind(&host, SERVER));
    let _proxy = host.unwrap(&format!("-p tcp -p udp -l {LISTEN} -4 {SERVER} --allow-any --workers 2"));
    let balancer = balancer(&host, LISTEN);
    for port in 40_000..40_010 {
        let client = format!("192.0.2.7:{port}");
        serves(&host, &server, &client);
        round_trip(&balancer, &datagrams, &client, b"question");
    }
}
