//! Many connections from few ports: IP_BIND_ADDRESS_NO_PORT.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::{LONG, here, socks};
use crate::world::{World, ip};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

/// Targets: this many ports at this many addresses.
const PORTS: u16 = 50;
const ADDRESSES: u8 = 20;
const ALL: usize = PORTS as usize * ADDRESSES as usize;

/// A connection to each target, all open at the same time. Gives what the far side sees: whence
/// each came.
fn open_all(world: &World, proxy: &Proxy) -> Vec<SocketAddr> {
    // One listener for each port, for all addresses.
    let far = world.far(1);
    far.ip("route add local 198.51.100.0/24 dev lo\n");
    let (tell, told) = mpsc::channel();
    let _servers: Vec<Server> = (0..PORTS)
        .map(|n| {
            let listener = far.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 1000 + n)));
            let tell = tell.clone();
            Server::in_turn(listener.expect("a port of its own"), move |mut stream| {
                let _ = stream.write_all(b"!");
                let _ = stream.peer_addr().map(|peer| tell.send((peer, stream)));
            })
        })
        .collect();
    let tunnels: Vec<TcpStream> = world.client.run(|| {
        let targets = (0..PORTS).flat_map(|n| (1..=ADDRESSES).map(move |host| (host, 1000 + n)));
        targets
            .map(|(host, port)| {
                // The ports of the clients are as few: they come to the proxy under many addresses.
                let door = SocketAddr::new(IpAddr::from([127, 0, 0, host]), proxy.address.port());
                let target = SocketAddr::from(([198, 51, 100, host], port));
                let tunnel = socks::connect(door, target);
                tunnel.unwrap_or_else(|refused| panic!("{target}: {refused:?}"))
            })
            .collect()
    });
    for mut tunnel in &tunnels {
        let mut byte = [0];
        tunnel.read_exact(&mut byte).expect("the far side greets");
        assert_eq!(byte, [b'!']);
    }
    let seen: Vec<(SocketAddr, TcpStream)> =
        (0..ALL).map(|_| told.recv_timeout(LONG).expect("as many as there are tunnels")).collect();
    assert_eq!(tunnels.len(), ALL, "all open at once");
    seen.iter().map(|(peer, _)| *peer).collect()
}

fn from_few_ports(test: &str, uplink: &str) {
    let Some(world) = World::new(test, 1) else { return };
    world.client.set("ipv4/ip_local_port_range", "40000 40099");
    let proxy = world.dispatch(&[uplink, "--listen", "0.0.0.0:8080", "--allow-open-proxy"]);
    let sources = open_all(&world, &proxy);
    assert!(sources.iter().all(|source| source.ip() == ip(1)), "from one address");
    assert!(sources.iter().all(|source| (40000..=40099).contains(&source.port())), "from 100 ports");
}

#[test]
fn a_thousand_connections_from_one_bound_address_share_a_hundred_ports() {
    from_few_ports(here!(), "10.77.1.2");
}

#[test]
fn a_thousand_connections_from_one_bound_interface_share_a_hundred_ports() {
    from_few_ports(here!(), "up1");
}
