//! An uplink that has IPv6 alone, in a network that translates IPv4 destinations (NAT64), and tells
//! so by its name server (RFC 7050).

use crate::common::dns::{self, Asked};
use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::udp::{self, Association};
use crate::common::{here, socks};
use crate::world::{World, ip_v6};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

const RESOLVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x53);
/// Nobody has this address: only its translation is there.
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// What the network makes of an address.
fn translated(v4: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = v4.octets().map(u16::from);
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, a << 8 | b, c << 8 | d)
}

struct Network {
    world: World,
    asked: Asked,
    _server: Server,
}

impl Network {
    fn new(test: &str) -> Option<Self> {
        let world = World::new(test, 1)?;
        world.client.ip("addr del 10.77.1.2/24 dev up1\n");
        let far = world.far(1);
        far.ip(&format!(
            "addr add {RESOLVER}/128 dev lo nodad\naddr add {}/128 dev lo nodad\n",
            translated(FAR)
        ));
        let socket = far.run(|| UdpSocket::bind((RESOLVER, 53))).expect("nobody else is there");
        let asked = dns::serve(socket, |name| match name {
            "ipv4only.arpa" => {
                let known = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
                let all = known.iter().flat_map(|v4| [IpAddr::V4(*v4), translated(*v4).into()]);
                all.collect()
            }
            // It has IPv4 addresses alone, and this server synthesises nothing else.
            "four.example" => vec![FAR.into()],
            _ => Vec::new(),
        });
        let listener = far.run(|| TcpListener::bind((translated(FAR), 80))).expect("nobody else is there");
        let server = Server::in_turn(listener, |mut stream| {
            let peer = stream.peer_addr().map_or(String::new(), |peer| peer.ip().to_string());
            let _ = stream.write_all(peer.as_bytes());
        });
        Some(Network { world, asked, _server: server })
    }

    fn resolver(&self) -> String {
        format!("up1={RESOLVER}")
    }

    /// As whom the server sees who sends these words to the proxy.
    fn seen(&self, proxy: &Proxy, words: &[u8]) -> Result<IpAddr, u8> {
        self.world.client.run(|| {
            let mut stream = socks::dial(proxy.address);
            stream.write_all(words).expect("the proxy reads");
            socks::read_answers(&mut stream).expect("a reply").map_err(|refused| refused.0)?;
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("the server says who it is");
            Ok(text.parse().expect("an address"))
        })
    }
}

#[test]
fn ipv4_destinations_and_names_go_through_a_network_that_translates() {
    let Some(network) = Network::new(here!()) else { return };
    let proxy = network.world.dispatch(&["up1", "--resolver", &network.resolver()]);
    proxy.wait_for("IPv4 destinations go through up1 too, which has no IPv4");
    proxy.wait_for("2001:db8:64::/96");
    let to = SocketAddr::new(FAR.into(), 80);
    assert_eq!(network.seen(&proxy, &socks::hello(to)), Ok(ip_v6(1)));
    assert_eq!(network.seen(&proxy, &socks::hello_name("four.example", 80)), Ok(ip_v6(1)));
    let asked = network.asked.all();
    let of = |wanted: &str| asked.iter().filter(|(name, ..)| name == wanted).count();
    assert_eq!((of("ipv4only.arpa"), of("four.example")), (2, 2), "both families, once: {asked:?}");
    assert_eq!(proxy.count_lines("IPv4 destinations go"), 1, "it is said once");
}

#[test]
fn datagrams_go_there_and_back_under_the_addresses_that_the_client_knows() {
    let Some(network) = Network::new(here!()) else { return };
    let socket = network.world.far(1).run(|| UdpSocket::bind((translated(FAR), 4000)));
    udp::serve(socket.expect("a free port"), |from, _| from.ip().to_string().into_bytes());
    let proxy = network.world.dispatch(&["up1", "--resolver", &network.resolver()]);
    proxy.wait_for("IPv4 destinations go through up1 too");
    let one = network.world.client.run(|| Association::new(proxy.address));
    let to = SocketAddr::new(FAR.into(), 4000);
    one.send(to, b"who?");
    assert_eq!(one.receive(), (to, ip_v6(1).to_string().into_bytes()));
    one.send_to_name("four.example", 4000, b"who?");
    assert_eq!(one.receive(), (to, ip_v6(1).to_string().into_bytes()));
}

#[test]
fn an_uplink_that_gets_ipv4_uses_it_and_translates_again_when_it_goes() {
    let Some(network) = Network::new(here!()) else { return };
    let proxy = network.world.dispatch(&["up1", "--resolver", &network.resolver()]);
    proxy.wait_for("IPv4 destinations go through up1 too");
    let to = SocketAddr::new(FAR.into(), 80);
    assert!(network.seen(&proxy, &socks::hello(to)).is_ok());
    network.world.client.ip("addr add 10.77.1.2/24 dev up1\n\
         route add default via 10.77.1.1 dev up1 metric 101\n");
    let native = network.world.far(1);
    native.ip(&format!("addr add {FAR}/32 dev lo\n"));
    let listener = native.run(|| TcpListener::bind((FAR, 80))).expect("nobody else is there");
    let _server = Server::in_turn(listener, |mut stream| {
        let _ = stream.write_all(b"192.0.2.1");
    });
    let by_ipv4 = Ok(IpAddr::from([192, 0, 2, 1]));
    crate::common::wait_until("IPv4 is used", crate::common::LONG, || {
        network.seen(&proxy, &socks::hello(to)) == by_ipv4
    });
    network.world.client.ip("addr del 10.77.1.2/24 dev up1\n");
    crate::common::wait_until("it translates again", crate::common::LONG, || {
        network.seen(&proxy, &socks::hello(to)) == Ok(ip_v6(1))
    });
}

#[test]
fn the_list_and_doctor_tell_of_an_uplink_without_ipv4() {
    let Some(network) = Network::new(here!()) else { return };
    let said = |args: &[&str]| network.world.client.run(|| crate::common::proxy::run(args).stdout);
    let listed = said(&["list"]);
    // (The device of the test is a veth, which `auto` leaves out.)
    assert!(listed.contains("fd77:1::2/64"), "{listed}");
    let found = said(&["doctor", "dispatch", "up1"]);
    assert!(found.contains("IPv4 by up1") && found.contains("--resolver up1=ADDRESS"), "{found}");
}
