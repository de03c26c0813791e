//! UDP associations over two uplinks: shares, and what happens when one goes.

use crate::capture::Capture;
use crate::common::proxy::Proxy;
use crate::common::udp::{self, Association};
use crate::common::{has, here, wait_until};
use crate::world::{SERVER, World, ip, uplink_of};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Ports of the server's that answer with the address they see.
const PORTS: u16 = 25;

/// Starts them on the far side.
fn servers(world: &World, first: u16) -> Vec<SocketAddr> {
    let server = |port| {
        let at = SocketAddr::new(SERVER.ip(), port);
        let socket = world.far(1).run(|| UdpSocket::bind(at)).expect("a free port");
        udp::serve(socket, |from, _| from.to_string().into_bytes())
    };
    (first..first + PORTS).map(server).collect()
}

fn associate(world: &World, proxy: &Proxy) -> Association {
    world.client.run(|| Association::new(proxy.address))
}

/// As whom the server at `to` sees us.
#[track_caller]
fn seen(one: &Association, to: SocketAddr) -> SocketAddr {
    one.send(to, b"who?");
    loop {
        let (from, text) = one.receive();
        // What came late of an earlier question is passed over.
        if from == to {
            return String::from_utf8_lossy(&text).parse().expect("an address");
        }
    }
}

fn ways(one: &Association, servers: &[SocketAddr]) -> Vec<usize> {
    servers.iter().map(|to| uplink_of(seen(one, *to).ip())).collect()
}

#[test]
fn destinations_are_spread_three_to_two_keep_their_uplink_and_leave_by_its_device() {
    if !has(here!(), "tcpdump") {
        return;
    }
    let Some(world) = World::new(here!(), 2) else { return };
    let servers = servers(&world, 4000);
    let proxy = world.dispatch(&["up1@3", "up2@2"]);
    let captures = ["up1", "up2"].map(|device| Capture::of_datagrams(&world.client, device));
    let one = associate(&world, &proxy);
    let first = ways(&one, &servers);
    let on = |n| first.iter().filter(|way| **way == n).count();
    assert_eq!((on(1), on(2)), (15, 10));
    for _ in 0..3 {
        assert_eq!(ways(&one, &servers), first, "each keeps to its uplink");
    }
    // All behind one uplink see one port of ours (RFC 4787, REQ-1).
    let ports = |n| -> Vec<u16> {
        let own = servers.iter().zip(&first).filter(|(_, way)| **way == n);
        let mut ports: Vec<u16> = own.map(|(to, _)| seen(&one, *to).port()).collect();
        ports.dedup();
        ports
    };
    assert_eq!((ports(1).len(), ports(2).len()), (1, 1));
    for (n, capture) in (1..).zip(captures) {
        let sent = 5 * on(n);
        let lines = capture.finish(sent);
        assert_eq!(lines.len(), sent, "datagrams on up{n}");
        let own = format!(" {}.", ip(n));
        assert_eq!(lines.iter().find(|line| !line.contains(&own)), None, "only its own address leaves by it");
    }
}

#[test]
fn destinations_of_an_uplink_that_is_pulled_move_and_all_are_spread_again_later() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (old, new) = (servers(&world, 4000), servers(&world, 5000));
    let proxy = world.dispatch(&["up1", "up2", "-v"]);
    let one = associate(&world, &proxy);
    let before = ways(&one, &old);
    assert!(before.contains(&2));
    world.unplug(2);
    proxy.wait_for("destinations must leave otherwise than through up2");
    assert_eq!(ways(&one, &old), [1; PORTS as usize]);
    world.plug(2);
    proxy.wait_for("the interface of up2 is there");
    let after = ways(&one, &new);
    assert!((12..=13).contains(&after.iter().filter(|way| **way == 2).count()), "{after:?}");
    assert_eq!(ways(&one, &old), [1; PORTS as usize], "what has moved stays where it is");
}

#[test]
fn an_uplink_by_address_whose_address_goes_is_left() {
    let Some(world) = World::new(here!(), 2) else { return };
    let servers = servers(&world, 4000);
    let proxy = world.dispatch(&["10.77.1.2", "10.77.2.2"]);
    let one = associate(&world, &proxy);
    assert!(ways(&one, &servers).contains(&2));
    world.client.ip("addr del 10.77.2.2/24 dev up2\n");
    wait_until("the others are moved", Duration::from_secs(5), || {
        one.socket.set_read_timeout(Some(Duration::from_millis(300))).expect("above zero");
        servers.iter().for_each(|to| one.send(*to, b"who?"));
        let answers: Vec<IpAddr> = std::iter::from_fn(|| one.try_receive())
            .filter_map(|(_, text)| String::from_utf8_lossy(&text).parse::<SocketAddr>().ok())
            .map(|seen| seen.ip())
            .collect();
        answers.len() == servers.len() && answers.iter().all(|from| *from == ip(1))
    });
}

#[test]
fn a_guest_gets_an_address_that_it_can_reach_and_no_door_into_the_host() {
    let Some(world) = World::new(here!(), 2) else { return };
    let servers = servers(&world, 4000);
    let inside = world.client.run(|| UdpSocket::bind("127.0.0.1:7000")).expect("a free port");
    inside.set_read_timeout(Some(Duration::from_millis(300))).expect("above zero");
    let proxy = world.dispatch(&["up1", "up2", "--listen", "0.0.0.0:8080", "--allow-open-proxy", "-v"]);
    let door = SocketAddr::from(([10, 77, 2, 2], proxy.address.port()));
    let guest = world.far(1).run(|| Association::new(door));
    assert_eq!(guest.relay.ip(), door.ip(), "BND is where the guest has reached us");
    assert!(seen(&guest, servers[0]).ip().is_ipv4());
    for to in ["127.0.0.1:7000", "10.77.1.2:7000", "0.0.0.0:7000"] {
        guest.send(to.parse().expect("literal"), b"knock");
        proxy.wait_for(&format!("destination {to} is not open to this client"));
    }
    guest.send_to_name("localhost", 7000, b"knock");
    assert!(inside.recv_from(&mut [0; 8]).is_err(), "nothing came in");
}
