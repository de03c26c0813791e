//! What leaves by an uplink has an address of that uplink as its source.

use crate::capture::Capture;
use crate::common::{has, here};
use crate::world::{SERVER, SERVER_V6, World, ip, ip_v6};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// `up2` has a route to `target` but no address of that family: Linux lends it the address of
/// `up1`. Packets with a source that is not theirs must not leave by it, and no client should wait
/// for them. `marker` is seen on `up2` last.
fn lends_none(world: &World, target: SocketAddr, lent: IpAddr, marker: &str) {
    let proxy = world.dispatch(&["up1", "up2"]);
    let capture = Capture::of_syns(&world.client, "up2");
    world.ask_and_never_wait(&proxy, target, 6, lent);
    let marked = world.client.run(|| TcpStream::connect(marker));
    assert!(marked.is_err(), "nobody listens at {marker}");
    let syns = capture.finish(1);
    let stray = syns.iter().find(|line| line.contains(&format!(" {lent}.")));
    assert_eq!(stray, None, "only up2's own addresses leave by up2");
}

#[test]
fn an_uplink_with_an_ipv6_route_but_no_ipv6_address_is_passed_over() {
    if !has(here!(), "tcpdump") {
        return;
    }
    let Some(world) = World::new(here!(), 2) else { return };
    // As on a link whose router has answered, but whose DHCPv6 server has not.
    world.client.ip("addr del fd77:2::2/64 dev up2\naddr add fe80::2/64 dev up2 nodad\n");
    world.client.ip("-6 route replace fd77:2::/64 dev up2\n");
    world.client.ip("-6 route replace default via fd77:2::1 dev up2 metric 102\n");
    lends_none(&world, SERVER_V6, ip_v6(1), "10.77.2.1:81");
}

#[test]
fn an_uplink_with_an_ipv4_route_but_no_ipv4_address_is_passed_over() {
    if !has(here!(), "tcpdump") {
        return;
    }
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.ip("addr del 10.77.2.2/24 dev up2\n");
    world.client.ip("route add default via 10.77.2.1 dev up2 onlink metric 102\n");
    lends_none(&world, SERVER, ip(1), "[fd77:2::1]:81");
}

#[test]
fn an_uplink_by_address_keeps_to_it_among_several_of_its_interface() {
    let Some(world) = World::new(here!(), 1) else { return };
    world.client.ip("addr add 10.77.1.7/24 dev up1\naddr add fd77:1::7/64 dev up1 nodad\n");
    let proxy = world.dispatch(&["10.77.1.7", "fd77:1::7"]);
    for (target, source) in [(SERVER, "10.77.1.7"), (SERVER_V6, "fd77:1::7")] {
        for _ in 0..5 {
            let seen = world.ask(&proxy, target).expect("up1 works");
            assert_eq!(seen.source.to_string(), source);
        }
    }
}

#[test]
fn the_reply_tells_the_true_local_address() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up2"]);
    for (target, source) in [(SERVER, ip(2)), (SERVER_V6, ip_v6(2))] {
        let bound = world.bound(&proxy, target);
        assert_eq!(bound.ip(), source);
        assert_ne!(bound.port(), 0);
    }
}
