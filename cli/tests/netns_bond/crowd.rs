//! Many clients of one server, and what each of them reaches.

use crate::common::here;
use crate::common::process::{descriptors, resident};
use crate::common::proxy::Proxy;
use crate::host::Hosts;
use crate::light::{self, Light, run_until};
use crate::world::{SERVER, World};
use ropewalk_core::bond::crypto::SecretKey;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// For many handshakes on a busy machine.
const LONG: Duration = Duration::from_secs(120);
const MANY: usize = 200;
/// Where the server is inside.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The sum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An echo request (RFC 792).
fn ping(from: Ipv4Addr, to: Ipv4Addr, number: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x72, 0x77];
    icmp.extend(number.to_be_bytes());
    icmp.extend([0x5a; 24]);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let mut packet = vec![0x45, 0];
    packet.extend((20 + icmp.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 1, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(icmp);
    packet
}

/// The sender of an echo reply with this number, or the one of a request.
fn sender(packet: &[u8]) -> Option<(u8, Ipv4Addr, u16)> {
    let (kind, from) = (*packet.get(20)?, packet.get(12..16)?);
    let number = u16::from_be_bytes([*packet.get(26)?, *packet.get(27)?]);
    (packet[9] == 1).then(|| (kind, Ipv4Addr::new(from[0], from[1], from[2], from[3]), number))
}

/// Keys, and a server that knows them.
fn serve_keys(count: usize, more: &[&str], start: impl FnOnce(&[&str]) -> Proxy) -> (Proxy, Vec<Light>) {
    let keys: Vec<SecretKey> = (0..count).map(|_| light::key()).collect();
    let texts: Vec<String> = keys.iter().map(|key| format!("--client={}", key.public())).collect();
    let args: Vec<&str> = texts.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let server = start(&args);
    let line = server.wait_for("public key: ");
    server.wait_for("serving on");
    let public = line.split("public key: ").nth(1).expect("waited for it").parse().expect("a key");
    let at = SERVER.parse().expect("an address");
    let clients = keys.into_iter().map(|key| Light::new(at, public, key, &["c1", "c2"])).collect();
    (server, clients)
}

#[test]
fn a_server_holds_with_two_hundred_clients() {
    let Some(world) = World::new(here!()) else { return };
    let (server, mut clients) = serve_keys(MANY, &[], |args| world.serve(args));
    let alone = resident(server.id());
    world.client.run(|| {
        run_until("all are let in", LONG, &mut clients, |all| all.iter().all(|one| one.inner().is_some()));
        let inner: BTreeSet<Ipv4Addr> = clients.iter().filter_map(Light::inner).collect();
        assert_eq!(inner.len(), MANY, "an address each");
        // Each speaks with the server, all at once.
        for number in 1..=20 {
            for client in &mut clients {
                let own = client.inner().expect("it was let in");
                client.send(ping(own, INSIDE, number));
            }
            let mut answered = vec![false; MANY];
            run_until("each has its answer", LONG, &mut clients, |all| {
                for (client, answered) in all.iter_mut().zip(&mut answered) {
                    let own = client.inner().expect("it was let in");
                    for packet in client.take() {
                        assert_eq!(packet[16..20], own.octets(), "a client gets its own packets alone");
                        *answered |= sender(&packet) == Some((0, INSIDE, number));
                    }
                }
                answered.iter().all(|answered| *answered)
            });
        }
    });
    let status = world.ask("serve", &["status", "--json"]);
    assert_eq!(status.matches("\"name\":").count(), MANY, "{status}");
    let (now, open) = (resident(server.id()), descriptors(server.id()));
    eprintln!("{MANY} clients: {now} bytes resident, {alone} before, {open} descriptors");
    assert!(now < alone + MANY as u64 * 256 * 1024, "a client costs little: {alone} then {now}");
    assert!(open < 40, "all come in by one socket, {open} descriptors are open");
}

/// Which of these the first client gets an answer from; with those in `open` a round ends.
fn reached(clients: &mut [Light], targets: &[Ipv4Addr], open: &[Ipv4Addr]) -> BTreeSet<Ipv4Addr> {
    let mut reached = BTreeSet::new();
    for number in 1..=3 {
        let own = clients[0].inner().expect("it was let in");
        // What is open comes last: its answers come behind those of all else.
        for target in targets.iter().filter(|one| !open.contains(one)).chain(open) {
            clients[0].send(ping(own, *target, number));
        }
        let mut now = BTreeSet::new();
        run_until("what is open answers", LONG, clients, |all| {
            for packet in all[0].take() {
                now.extend(sender(&packet).filter(|(kind, ..)| *kind == 0).map(|(_, from, _)| from));
            }
            // The other client is a host that answers.
            for packet in all[1].take() {
                let Some((8, from, number)) = sender(&packet) else { continue };
                let own = all[1].inner().expect("it was let in");
                let mut reply = ping(own, from, number);
                reply[20] = 0;
                // RFC 1071: what the sum was over has 0x0800 less.
                let sum = u16::from_be_bytes([reply[22], reply[23]]).wrapping_add(0x0800);
                let sum = if sum < 0x0800 { sum + 1 } else { sum };
                reply[22..24].copy_from_slice(&sum.to_be_bytes());
                all[1].send(reply);
            }
            open.iter().all(|one| now.contains(one))
        });
        reached.extend(now);
    }
    reached
}

#[test]
fn clients_reach_neither_each_other_nor_the_servers_networks_unless_allowed() {
    let ip = |text: &str| -> Ipv4Addr { text.parse().expect("an address") };
    // The web server beyond, the server's inner address.
    let free = [ip("192.88.99.80"), INSIDE];
    // Its network outside, itself in there, by its links and by the address of the bond.
    let private = ["203.0.113.80", "203.0.113.1", "10.9.1.1", "10.9.2.1", "198.51.100.1"].map(ip);
    let Some(hosts) = Hosts::new(here!()) else { return };
    for (switches, opens_private, opens_clients) in [
        (&[][..], false, false),
        (&["--allow-private"][..], true, false),
        (&["--allow-client-to-client"][..], false, true),
        (&["--allow-private", "--allow-client-to-client"][..], true, true),
    ] {
        let (mut server, mut clients) = serve_keys(2, switches, |args| hosts.begin("serve", args));
        hosts.world.client.run(|| {
            run_until("both are let in", LONG, &mut clients, |all| {
                all.iter().all(|one| one.inner().is_some())
            });
            let other = clients[1].inner().expect("it was let in");
            let targets: Vec<Ipv4Addr> = free.iter().chain(&private).copied().chain([other]).collect();
            let mut open: Vec<Ipv4Addr> = free.to_vec();
            open.extend(private.iter().filter(|_| opens_private));
            open.extend(Some(other).filter(|_| opens_clients));
            let reached = reached(&mut clients, &targets, &open);
            assert_eq!(reached, open.iter().copied().collect(), "{switches:?}");
            // Nobody speaks as another.
            let own = clients[0].inner().expect("it was let in");
            clients[0].send(ping(other, INSIDE, 77));
            clients[0].send(ping(own, INSIDE, 78));
            let mut seen = BTreeSet::new();
            run_until("its own goes through", LONG, &mut clients, |all| {
                for client in all.iter_mut() {
                    seen.extend(client.take().iter().filter_map(|packet| sender(packet)).map(|(.., n)| n));
                }
                seen.contains(&78)
            });
            assert!(!seen.contains(&77), "a packet from another's address was answered");
        });
        server.terminate();
        assert!(server.wait_for_end().success());
        drop(server);
        // The next round has clients of its own.
        std::fs::remove_dir_all(hosts.world.state("serve")).expect("ours");
    }
}
