//! Names are looked up through the uplink that carries their connection.

use crate::capture::Capture;
use crate::common::dns::{self, Asked};
use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::udp::{self, Association};
use crate::common::{has, here, socks};
use crate::world::{SERVER, World, ip};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Both far sides have a name server here, and each says something else.
const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 53)), 53);

/// Where the name server of far side `n` says that everything is: on this far side alone.
fn answer(n: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, 100 + n])
}

/// A world of two networks with the same addresses, and in each a name server and a server of its
/// own.
pub(crate) struct Two {
    pub(crate) world: World,
    asked: Vec<Asked>,
    _servers: Vec<Server>,
}

impl Two {
    pub(crate) fn new(test: &str) -> Option<Self> {
        let world = World::alike(test, 2)?;
        let (mut asked, mut servers) = (Vec::new(), Vec::new());
        for n in 1..=2u8 {
            let far = world.far(n.into());
            far.ip(&format!("addr add {}/32 dev lo\naddr add {}/32 dev lo\n", RESOLVER.ip(), answer(n)));
            let socket = far.run(|| UdpSocket::bind(RESOLVER)).expect("nobody else is there");
            asked.push(dns::serve(socket, move |name| match name.contains("missing") {
                true => Vec::new(),
                false => vec![answer(n)],
            }));
            let listener = far.run(|| TcpListener::bind((answer(n), 80))).expect("nobody else is there");
            servers.push(Server::in_turn(listener, move |mut stream| {
                let _ = stream.write_all(&[n]);
            }));
        }
        Some(Two { world, asked, _servers: servers })
    }

    /// At which far side the server was that `name` led to; the code of a refusal.
    pub(crate) fn far_of(&self, proxy: &Proxy, name: &str) -> Result<u8, u8> {
        self.world.client.run(|| {
            let mut stream = socks::dial(proxy.address);
            stream.write_all(&socks::hello_name(name, SERVER.port())).expect("the proxy reads");
            socks::read_answers(&mut stream).expect("a reply").map_err(|refused| refused.0)?;
            let mut number = [0];
            stream.read_exact(&mut number).expect("the server speaks first");
            Ok(number[0])
        })
    }
}

#[test]
fn a_name_is_asked_for_through_the_uplink_that_carries_its_connection() {
    if !has(here!(), "tcpdump") {
        return;
    }
    let Some(two) = Two::new(here!()) else { return };
    let proxy = two.world.dispatch(&["up1@3", "up2@2", "--resolver", "198.51.100.53"]);
    let captures = ["up1", "up2"].map(|device| Capture::of_questions(&two.world.client, device));
    // Had a name been asked for elsewhere, its address would be of the other network.
    let fars: Vec<u8> =
        (0..10).map(|n| two.far_of(&proxy, &format!("host{n}.example")).expect("a server")).collect();
    let on = |n| fars.iter().filter(|far| **far == n).count();
    assert_eq!((on(1), on(2)), (6, 4), "{fars:?}");
    for (n, (capture, asked)) in (1..).zip(captures.into_iter().zip(&two.asked)) {
        // Both questions for a name leave in one call, and the device may see them as one.
        let seen = capture.finish(on(n));
        assert!(seen.iter().all(|line| line.contains(&format!(" {}.", ip(1)))), "{seen:#?}");
        let asked = asked.all();
        assert_eq!(asked.len(), 2 * on(n));
        let mut ports: Vec<u16> = asked.iter().map(|(_, _, from)| from.port()).collect();
        ports.dedup();
        assert_eq!(ports.len(), on(n), "each name is asked for from a port of its own: {ports:?}");
    }
}

#[test]
fn a_name_in_a_datagram_is_asked_for_through_the_uplink_that_carries_it() {
    let Some(two) = Two::new(here!()) else { return };
    for n in 1..=2u8 {
        let socket = two.world.far(n.into()).run(|| UdpSocket::bind((answer(n), 4000)));
        udp::serve(socket.expect("a free port"), move |_, _| vec![n]);
    }
    let proxy = two.world.dispatch(&["up1@3", "up2@2", "--resolver", "198.51.100.53"]);
    let one = two.world.client.run(|| Association::new(proxy.address));
    // Had a name been asked for elsewhere, nobody would be at its address. (A server that a name
    // has led to is a destination from then on, whichever name it is.)
    for n in 0..10 {
        one.send_to_name(&format!("host{n}.example"), 4000, b"who?");
        let (from, number) = one.receive();
        assert_eq!(from.ip(), answer(number[0]), "name {n}");
    }
    let asked: Vec<usize> = two.asked.iter().map(|asked| asked.all().len()).collect();
    assert_eq!(asked, [12, 8], "both families of six names, and of four");
}

#[test]
fn names_are_found_while_one_of_two_uplinks_is_black_holed() {
    let Some(two) = Two::new(here!()) else { return };
    let proxy = two.world.dispatch(&["up1", "up2", "--resolver", "198.51.100.53"]);
    assert_eq!(two.far_of(&proxy, "missing.example"), Err(4));
    // Nothing comes back from the first network.
    two.world.far(1).ip("route add blackhole 10.77.1.2\n");
    for n in 0..6 {
        assert_eq!(two.far_of(&proxy, &format!("host{n}.example")), Ok(2), "name {n}");
    }
}
