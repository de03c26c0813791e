//! What the clients of a server reach through it, and who reaches them. Its TUN device is one end
//! of a cable here, and the clients are at the other.

use super::super::plan::ServerPlan;
use super::super::server_with;
use super::lab::{Lab, servers};
use super::ns::Ns;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PORT: u16 = 7777;
/// Beyond the server's networks.
const ABROAD: [&str; 2] = ["198.51.100.7", "2001:db8:ffff::7"];
/// In the server's networks: its LAN, its provider's network, where clouds keep their metadata.
const NEAR: [&str; 4] = ["192.168.7.1", "203.0.113.1", "169.254.169.254", "2001:db8:7::1"];
/// The server itself, by addresses that are not inside.
const ITSELF: [&str; 2] = ["203.0.113.2", "192.168.7.2"];

/// Whoever sends a datagram to one of these addresses gets it back.
struct Echo {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    fn new(ns: &Ns, addresses: &[&str]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let serve = |address: &&str| {
            let at = SocketAddr::new(address.parse().expect("an address"), PORT);
            let socket = ns.run(|| UdpSocket::bind(at).expect("its own address"));
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while !over.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                        let _ = socket.send_to(&bytes[..length], from);
                    }
                }
            })
        };
        let threads = addresses.iter().map(serve).collect();
        Echo { over, threads }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct World {
    lab: Lab,
    client: Ns,
    far: Ns,
    _echos: [Echo; 3],
}

impl World {
    fn new(test: &str) -> Option<Self> {
        let lab = Lab::new(test)?;
        lab.write_resolv_conf();
        let (client, far) = (Ns::new().expect("as the first"), Ns::new().expect("as the first"));
        lab.ns.ip(&format!(
            "link add rw0 type veth peer name in0\nlink set in0 netns {}\nlink set rw0 up\n\
             addr add 10.77.0.1/24 dev rw0\naddr add fd77::1/64 dev rw0 nodad\n\
             link set far0 netns {1}\nlink set far1 netns {1}\nroute add 169.254.169.254 via 192.168.7.1",
            client.name(),
            far.name()
        ));
        client.ip("link set in0 up\naddr add 10.77.0.2/24 dev in0\naddr add fd77::2/64 dev in0 nodad\n\
                   route add default via 10.77.0.1\n-6 route add default via fd77::1");
        far.ip("link set far0 up\nlink set far1 up\naddr add 192.168.7.1/24 dev far0\n\
                addr add 203.0.113.1/24 dev far1\naddr add 2001:db8:7::1/64 dev far0 nodad\n\
                addr add 198.51.100.7/32 dev lo\naddr add 169.254.169.254/32 dev lo\n\
                addr add 2001:db8:ffff::7/128 dev lo nodad\n\
                route add 10.77.0.0/24 via 192.168.7.2 src 198.51.100.7\n\
                -6 route add fd77::/64 via 2001:db8:7::2 src 2001:db8:ffff::7");
        let echos = [
            Echo::new(&far, &[&ABROAD[..], &NEAR[..]].concat()),
            Echo::new(&lab.ns, &[&ITSELF[..], &["10.77.0.1"]].concat()),
            Echo::new(&client, &["10.77.0.2", "fd77::2"]),
        ];
        Some(World { lab, client, far, _echos: echos })
    }

    fn apply(
        &self,
        plan: &ServerPlan,
    ) -> super::super::ServerHost<super::stopping::Stopping<super::super::world::System>> {
        self.lab
            .ns
            .run(|| server_with(self.lab.world(None), plan, &self.lab.state()).expect("a sound plan").0)
    }

    /// Which of these answer.
    fn reached<'a>(&self, from: &Ns, targets: &[&'a str]) -> Vec<&'a str> {
        let answers = |target: &&str| {
            let to: IpAddr = target.parse().expect("an address");
            from.run(|| {
                let socket =
                    UdpSocket::bind(if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).expect("a socket");
                socket.set_read_timeout(Some(Duration::from_millis(150))).expect("a time");
                // Neighbours are looked for first.
                (0..4).any(|_| {
                    let sent = socket.send_to(b"hello", SocketAddr::new(to, PORT)).is_ok();
                    sent && socket.recv_from(&mut [0; 64]).is_ok_and(|(_, who)| who.ip() == to)
                })
            })
        };
        targets.iter().filter(|target| answers(target)).copied().collect()
    }
}

#[test]
fn clients_leave_with_the_servers_address_and_reach_neither_its_networks_nor_itself() {
    let Some(world) = World::new("gateway") else { return };
    let all = [&ABROAD[..], &NEAR[..], &ITSELF[..]].concat();
    let from = |targets: &[&'static str]| world.reached(&world.client, targets);
    // Of a host that forwards nothing only itself is reached.
    assert_eq!(from(&all), ITSELF, "before");
    let server = world.apply(&servers()[0]);
    assert_eq!(from(&all), ABROAD);
    assert_eq!(from(&["10.77.0.1"]), ["10.77.0.1"], "the server's inner address is open");
    let inner = ["10.77.0.2", "fd77::2"];
    assert!(world.reached(&world.far, &inner).is_empty(), "nobody outside begins to speak to a client");
    world.lab.ns.run(|| server.undo()).expect("all goes back");
    assert_eq!(from(&all), ITSELF, "after");
}

#[test]
fn what_is_allowed_is_reached() {
    let Some(world) = World::new("gateway_open") else { return };
    let all = [&ABROAD[..], &NEAR[..], &ITSELF[..]].concat();
    let server = world.apply(&servers()[1]);
    assert_eq!(world.reached(&world.client, &all), all);
    // The sender's address is checked all the same.
    world.client.ip("addr add 10.99.0.1/32 dev in0\nroute replace default via 10.77.0.1 src 10.99.0.1");
    world.lab.ns.ip("route add 10.99.0.1/32 dev rw0");
    assert!(world.reached(&world.client, &ABROAD[..1]).is_empty(), "a foreign sender");
    world.lab.ns.run(|| server.undo()).expect("all goes back");
}
