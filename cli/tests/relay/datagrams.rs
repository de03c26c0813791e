//! UDP ASSOCIATE of the built binary, with a client that writes every byte itself.

use crate::common::process::descriptors;
use crate::common::proxy::Proxy;
use crate::common::udp::{self, Association, wrapped};
use crate::common::{LONG, Scratch, pattern, socks, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn datagrams_of_every_size_go_there_and_back_whole() {
    let (proxy, server) = (Proxy::start(&[]), udp::echo());
    let one = Association::new(proxy.address);
    assert_eq!(one.relay.ip(), proxy.address.ip(), "where the client has reached us");
    for len in [0, 1, 512, 1472, 1473, 9000, 60_000] {
        let data = pattern(len as u64, len);
        one.send(server, &data);
        let (from, back) = one.receive();
        assert_eq!((from, back == data), (server, true), "{len} bytes");
    }
}

#[test]
fn many_in_a_burst_come_back_in_their_order() {
    let (proxy, server) = (Proxy::start(&[]), udp::echo());
    let one = Association::new(proxy.address);
    for round in 0..20u8 {
        let burst: Vec<[u8; 2]> = (0..64).map(|n| [round, n]).collect();
        burst.iter().for_each(|data| one.send(server, data));
        for data in burst {
            assert_eq!(one.receive(), (server, data.to_vec()));
        }
    }
}

#[test]
fn one_association_speaks_with_many_and_each_answer_names_its_sender() {
    let proxy = Proxy::start(&[]);
    let one = Association::new(proxy.address);
    let servers: Vec<SocketAddr> = (0..50).map(|_| udp::echo()).collect();
    for server in &servers {
        one.send(*server, server.port().to_string().as_bytes());
    }
    let mut heard: Vec<SocketAddr> = (0..50)
        .map(|_| {
            let (from, data) = one.receive();
            assert_eq!(data, from.port().to_string().into_bytes());
            from
        })
        .collect();
    heard.sort();
    let mut wanted = servers.clone();
    wanted.sort();
    assert_eq!(heard, wanted);
}

#[test]
fn a_server_may_answer_from_another_port() {
    let proxy = Proxy::start(&[]);
    let one = Association::new(proxy.address);
    let (door, other) = ["127.0.0.1:0"; 2].map(|at| UdpSocket::bind(at).expect("a free port")).into();
    one.send(door.local_addr().expect("bound"), b"hello");
    let mut buf = [0; 16];
    let (_, from) = door.recv_from(&mut buf).expect("it came");
    other.send_to(b"from elsewhere", from).expect("sent");
    assert_eq!(one.receive(), (other.local_addr().expect("bound"), b"from elsewhere".to_vec()));
}

#[test]
fn names_are_looked_up() {
    let (proxy, server) = (Proxy::start(&[]), udp::echo());
    let one = Association::new(proxy.address);
    for name in ["localhost", "127.0.0.1"] {
        one.send_to_name(name, server.port(), b"by name");
        assert_eq!(one.receive(), (server, b"by name".to_vec()), "{name}");
    }
}

#[test]
fn fragments_and_strangers_are_dropped_and_counted() {
    let (proxy, server) = (Proxy::start(&["-v"]), udp::echo());
    let one = Association::new(proxy.address);
    one.send(server, b"locks the port");
    one.receive();
    let mut part = wrapped(server, b"part");
    part[2] = 1;
    one.send_raw(&part);
    proxy.wait_for("expected a whole datagram (FRAG 0), got FRAG 1");
    let other = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    other.send_to(&wrapped(server, b"not mine"), one.relay).expect("sent");
    proxy.wait_for("its sender is not the association's client, or not by its port");
    assert!(one.is_silent());
    drop(one);
    proxy.wait_for("UDP association ended");
    let log = proxy.stop();
    let summary = log.iter().find(|line| line.contains("1 UDP associations"));
    assert!(summary.is_some_and(|line| line.contains("1 datagrams up, 1 down, 2 dropped")), "{log:?}");
}

#[test]
fn it_ends_with_its_connection_and_gives_all_sockets_back() {
    let (proxy, server) = (Proxy::start(&[]), udp::echo());
    let all: Vec<Association> = (0..20).map(|_| Association::new(proxy.address)).collect();
    for one in &all {
        one.send(server, b"x");
        one.receive();
    }
    // No count before them is taken: at its start the program holds others for a moment.
    let held = descriptors(proxy.id());
    assert!(held >= 60, "a connection and two sockets each, and {held} descriptors in all");
    drop(all);
    // What watches the host's interfaces may have opened a handful meanwhile; a leak would be 20.
    wait_until("its descriptors are given back", LONG, || descriptors(proxy.id()) <= held - 60 + 10);
}

#[test]
fn without_the_password_there_is_no_association_and_bind_is_no_command() {
    let scratch = Scratch::new();
    let users = scratch.file("users", b"alice:secret\n");
    let closed = Proxy::start(&["--auth-file", &users]);
    let mut stream = socks::dial(closed.address);
    stream.write_all(&udp::request([0; 4], 0)).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer and the end");
    assert_eq!(answer, [5, 0xff]);
    let mut stream = socks::dial(closed.address);
    let login = [&[5, 1, 2, 1, 5][..], b"alice", &[6], b"secret", &udp::request([0; 4], 0)[3..]].concat();
    stream.write_all(&login).expect("it reads");
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [5, 2, 1, 0, 5, 0, 0, 1]);

    let open = Proxy::start(&["--max-associations", "0"]);
    for command in [2, 3] {
        let mut stream = socks::dial(open.address);
        let mut words = udp::request([0; 4], 0);
        words[4] = command;
        stream.write_all(&words).expect("it reads");
        let refused = socks::read_answers(&mut stream).expect("a reply");
        assert_eq!(refused.map_err(|refused| refused.0), Err(7), "command {command}");
    }
}

#[test]
fn associations_and_destinations_beyond_their_limits_are_told() {
    let (server, another) = (udp::echo(), udp::echo());
    let proxy = Proxy::start(&["--max-associations", "1", "--max-destinations", "1"]);
    let one = Association::new(proxy.address);
    let mut stream = socks::dial(proxy.address);
    stream.write_all(&udp::request([0; 4], 0)).expect("it reads");
    let refused = socks::read_answers(&mut stream).expect("a reply");
    assert_eq!(refused.map_err(|refused| refused.0), Err(1));
    proxy.wait_for("another was refused (--max-associations)");
    for to in [server, another] {
        one.send(to, b"x");
        assert_eq!(one.receive().0, to);
    }
    proxy.wait_for("the longest idle ones go (--max-destinations)");
}

#[test]
fn a_silent_association_lives_and_a_drain_waits_for_one_in_use() {
    let (proxy, server) = (Proxy::start(&["--close-after", "0.2"]), udp::echo());
    let mut one = Association::new(proxy.address);
    one.send(server, b"x");
    one.receive();
    std::thread::sleep(Duration::from_millis(600));
    one.send(server, b"y");
    assert_eq!(one.receive().1, b"y", "its destination was forgotten, it was not");
    proxy.terminate();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        one.send(server, b"z");
        assert_eq!(one.receive().1, b"z");
    }
    // Silent from now on: taken for ended after 3 s.
    let end = one.stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

#[test]
fn ipv6_clients_and_servers_are_served() {
    let Ok(socket) = UdpSocket::bind("[::1]:0") else {
        return crate::common::skip(crate::common::here!(), "IPv6");
    };
    let server = udp::serve(socket, |_, data| data.to_vec());
    let proxy = Proxy::start(&["--listen", "[::1]:0"]);
    let one = Association::new(proxy.address);
    assert!(one.relay.is_ipv6());
    one.send(server, b"six");
    assert_eq!(one.receive(), (server, b"six".to_vec()));
    let four = udp::echo();
    one.send(four, b"four");
    assert_eq!(one.receive(), (four, b"four".to_vec()));
}
