//! Clients from beyond the host: served where that is allowed, and given no door into it.

use crate::common::here;
use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::socks::{self, Refused};
use crate::world::{SERVER, SERVER_V6, World};
use std::net::{SocketAddr, TcpListener};

/// How a client on the far side fares that asks for `target`.
fn guest(world: &World, proxy: &Proxy, target: &str) -> Result<(), Refused> {
    let target: SocketAddr = target.parse().expect("an address and a port");
    let door = SocketAddr::from(([10, 77, 1, 2], proxy.address.port()));
    world.far(1).run(|| socks::connect(door, target).map(drop))
}

/// A server on the proxy's own host, at its loopback.
fn inner(world: &World) -> Server {
    let listener = world.client.run(|| TcpListener::bind("127.0.0.1:7000")).expect("a free port");
    Server::in_turn(listener, drop)
}

#[test]
fn a_client_from_elsewhere_reaches_the_internet_but_not_the_host_nor_its_networks() {
    let Some(world) = World::new(here!(), 2) else { return };
    let _inner = inner(&world);
    let proxy = world.dispatch(&["up1", "up2", "--listen", "0.0.0.0:8080", "--allow-open-proxy"]);
    assert_eq!(guest(&world, &proxy, &SERVER.to_string()), Ok(()));
    assert_eq!(guest(&world, &proxy, &SERVER_V6.to_string()), Ok(()));
    for target in [
        "127.0.0.1:7000",
        "[::ffff:127.0.0.1]:7000",
        "0.0.0.0:7000",
        "10.77.1.2:7000",
        "10.77.2.1:80",
        "[fd77:2::1]:80",
        "169.254.169.254:80",
        "127.0.0.1:8080",
    ] {
        assert_eq!(guest(&world, &proxy, target), Err(Refused(2)), "{target}");
    }
}

#[test]
fn a_client_from_elsewhere_reaches_private_networks_where_that_is_allowed_but_never_the_proxy() {
    let Some(world) = World::new(here!(), 2) else { return };
    let _inner = inner(&world);
    let flags = ["up1", "up2", "--listen", "0.0.0.0:8080", "--allow-open-proxy", "--allow-private"];
    let proxy = world.dispatch(&flags);
    assert_eq!(guest(&world, &proxy, "127.0.0.1:7000"), Ok(()));
    assert_eq!(guest(&world, &proxy, "10.77.2.1:81"), Err(Refused(5)), "reached, and nobody listens there");
    for target in ["127.0.0.1:8080", "10.77.1.2:8080", "10.77.2.2:8080"] {
        assert_eq!(guest(&world, &proxy, target), Err(Refused(2)), "{target}");
    }
}

#[test]
fn an_address_the_host_got_after_the_start_is_no_door_either() {
    let Some(world) = World::new(here!(), 1) else { return };
    let proxy = world.dispatch(&["up1", "--listen", "0.0.0.0:8080", "--allow-open-proxy"]);
    // A public address, as a mobile link gets one: the host's own services listen there too.
    world.client.ip("addr add 198.51.100.9/32 dev up1\n");
    let listener = world.client.run(|| TcpListener::bind("198.51.100.9:7000")).expect("a free port");
    let _inner = Server::in_turn(listener, drop);
    assert_eq!(guest(&world, &proxy, "198.51.100.9:7000"), Err(Refused(2)));
    assert_eq!(guest(&world, &proxy, "198.51.100.9:8080"), Err(Refused(2)), "the proxy itself");
}
