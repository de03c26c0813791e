//! The bond's client and server, whole, with the shipped driver, among bytes of strangers: while
//! they come together and afterwards.
//!
//! ```text
//! cargo +nightly fuzz run bond_endpoint                            # in core/ RUSTC_BOOTSTRAP=1
//! cargo fuzz run bond_endpoint --sanitizer none  # where there is only a stable Rust
//! ```
//!
//! An input is a script: how many operations come before the two are joined, then three bytes and
//! some data for each. Whatever it says, nothing panics, nobody draws more than three times his
//! bytes (of IP, as the bond counts them), and at the end the two still understand each other.

#![no_main]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/bond/io.rs"]
mod io;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/bond/lab.rs"]
mod lab;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/bond/link.rs"]
mod link;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/bond/packet.rs"]
mod packet;

use lab::{HEADERS, Lab, Setup};
use libfuzzer_sys::fuzz_target;
use link::{Datagram, Nature};
use packet::{Came, Flow, Kind, Way, read};
use ropewalk_core::bond::Tuning;
use ropewalk_core::time::Duration;
use std::net::SocketAddr;

fuzz_target!(|script: &[u8]| {
    let nature = Nature {
        rate: 1_000_000,
        delay: Duration::from_millis(3),
        jitter: Duration::ZERO,
        loss: 0,
        twice: 0,
        up: true,
    };
    let clients = vec![vec![[nature; 2]; 2]];
    let mut lab =
        Lab::new(Setup { seed: 1, clients, offload: [true, false], tuning: Tuning::default() });
    let Some((before, mut script)) = script.split_first() else { return };
    let mut asked = 0;
    for _ in 0..before % 8 {
        step(&mut lab, &mut script, &mut asked);
        lab.run(Duration::from_millis(2));
    }
    let up = |lab: &Lab| lab.clients[0].io.configured.is_some();
    assert!(lab.run_until(Duration::from_secs(60), up), "the two did not come together");
    while !script.is_empty() {
        step(&mut lab, &mut script, &mut asked);
    }
    let drawn: usize = lab.answered.values().sum();
    assert!(drawn <= 3 * asked, "{asked} bytes drew {drawn}");
    lab.run(Duration::from_secs(30));
    lab.clients[0].io.tun_out.clear();
    lab.server.io.tun_out.clear();
    let flow = |way| Flow { client: 0, way, kind: Kind::WireGuard, id: 99 };
    let (up, offload) = flow(Way::Up).packet(7, 1, 100, 0, true);
    lab.clients[0].ingest(lab.now, up, offload);
    let (down, offload) = flow(Way::Down).packet(7, 1, 100, 0, false);
    lab.server.ingest(lab.now, down, offload);
    lab.run(Duration::from_secs(2));
    for out in [&lab.clients[0].io.tun_out, &lab.server.io.tun_out] {
        let numbers = out.iter().flat_map(|(packet, offload)| match read(packet, *offload) {
            Came::Packets(_, numbers) => numbers,
            Came::Header(..) | Came::TooBig(_) => Vec::new(),
        });
        let numbers: Vec<u32> = numbers.collect();
        assert_eq!(numbers, [7], "they do not understand each other any more");
    }
});

/// One operation.
fn step(lab: &mut Lab, script: &mut &[u8], asked: &mut usize) {
    let Some(([op, a, b], rest)) = script.split_first_chunk::<3>() else {
        *script = &[];
        return;
    };
    *script = rest;
    let server: SocketAddr = io::SERVER.parse().expect("literal");
    let to_server = op & 8 == 0;
    let heard = lab.heard.iter().filter(|datagram| (datagram.to == server) == to_server);
    let heard: Vec<&Datagram> = heard.collect();
    let mut datagram = match heard.get(usize::from(*a) % heard.len().max(1)) {
        Some(datagram) => (*datagram).clone(),
        None => return,
    };
    let at = usize::from(*b) * 6 % datagram.data.len().max(1);
    match op % 8 {
        0 => {
            let (bytes, rest) = script.split_at(script.len().min(usize::from(*b)));
            (datagram.data, *script) = (bytes.to_vec(), rest);
        }
        1 => datagram.data[at] ^= op >> 4 | 1,
        2 => datagram.data.truncate(at),
        3 => datagram.data.resize(usize::from(*b) * 8, *a),
        4 => {}
        5 => return lab.run(Duration::from_millis((*a).into())),
        6 => {
            let flow = Flow { client: 0, way: Way::Up, kind: Kind::Tcp, id: a % 4 };
            let (packet, offload) = flow.packet(u32::from(*a), 1 + u32::from(b % 40), 1200, 0, true);
            return lab.clients[0].ingest(lab.now, packet, offload);
        }
        _ => {
            let flow = Flow { client: 0, way: Way::Down, kind: Kind::Udp, id: a % 4 };
            let (packet, offload) = flow.packet(u32::from(*a), 1, 8 + usize::from(*b) * 5, 0, false);
            return lab.server.ingest(lab.now, packet, offload);
        }
    }
    if !to_server {
        return lab.reach_client(0, datagram);
    }
    if op & 16 == 0 {
        datagram.from = SocketAddr::new([192, 0, 2, 200].into(), 1000 + u16::from(op >> 5));
        *asked += datagram.data.len() + HEADERS;
    }
    lab.reach_server(datagram);
}
