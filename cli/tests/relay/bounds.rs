//! What a relay may cost: memory, descriptors, processor time.

use crate::common::process::{descriptors, resident, used_during};
use crate::common::proxy::{Launch, Proxy};
use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use crate::common::{LONG, assert_pattern, pattern, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// What an idle process may use of a second; the clock ticks every 10 ms.
const IDLE: Duration = Duration::from_millis(20);

const MIB: u64 = 1 << 20;

#[test]
fn a_slow_reader_holds_its_source_back_and_loses_nothing() {
    const TOTAL: u64 = 256 * MIB;
    /// In this multiple the pattern begins again, for speed.
    const PIECE: usize = 1 << 20;
    let pushed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&pushed);
    let server = Server::on_loopback(move |mut stream| {
        let piece = pattern(0, PIECE);
        for chunk in piece.chunks(PIECE / 16).cycle().take((TOTAL / MIB) as usize * 16) {
            stream.write_all(chunk).expect("the client reads in the end");
            counter.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        }
    });
    let proxy = Proxy::start(&[]);
    let before = resident(proxy.id());
    let mut client = socks::connect(proxy.address, server.address).expect("a tunnel");
    // All buffers on the way are full when nothing has moved for half a second.
    let mut last = (0, Instant::now());
    wait_until("the source stands still", LONG, || {
        let now = pushed.load(Ordering::SeqCst);
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > 0 && last.1.elapsed() > Duration::from_millis(500)
    });
    // The kernel's own buffers on loopback take up to tcp_wmem + tcp_rmem on each of two
    // connections.
    let stands_at = pushed.load(Ordering::SeqCst);
    assert!(stands_at < TOTAL / 2, "the source was not held back: {} MiB are gone", stands_at / MIB);
    let grown = resident(proxy.id()).saturating_sub(before);
    assert!(grown < 8 * MIB, "one tunnel that stands still made {} KiB of memory", grown / 1024);
    let used = used_during(proxy.id(), SECOND);
    assert!(used <= IDLE, "a tunnel that stands still used {used:?} of a second");

    let mut piece = vec![0; PIECE];
    for _ in 0..TOTAL / MIB {
        client.read_exact(&mut piece).expect("all of it comes");
        assert_pattern(0, &piece);
    }
    assert_eq!(client.read(&mut piece).expect("the end"), 0);
    let grown = resident(proxy.id()).saturating_sub(before);
    assert!(grown < 8 * MIB, "256 MiB through one tunnel made {} KiB of memory", grown / 1024);
}

#[test]
fn two_hundred_idle_connections_cost_no_processor_time() {
    let server = Server::echo();
    let proxy = Proxy::start(&[]);
    let mut tunnels: Vec<TcpStream> =
        (0..200).map(|_| socks::connect(proxy.address, server.address).expect("a tunnel")).collect();
    for tunnel in &mut tunnels {
        round_trip(tunnel);
    }
    let used = used_during(proxy.id(), SECOND);
    assert!(used <= IDLE, "200 idle tunnels used {used:?} of a second");
    tunnels.iter_mut().for_each(round_trip);
}

#[test]
fn a_tunnel_gives_its_descriptors_back() {
    let server = Server::echo();
    let proxy = Proxy::start(&[]);
    let before = settled(&proxy, &server);
    let mut tunnels: Vec<TcpStream> =
        (0..50).map(|_| socks::connect(proxy.address, server.address).expect("a tunnel")).collect();
    tunnels.iter_mut().for_each(round_trip);
    assert_eq!(descriptors(proxy.id()), before + 100, "two for each tunnel");
    drop(tunnels);
    wait_until("as many as before", LONG, || descriptors(proxy.id()) == before);
}

/// The descriptors of a proxy that has served one tunnel and opens nothing any more.
fn settled(proxy: &Proxy, server: &Server) -> usize {
    round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    let mut last = 0;
    wait_until("descriptors stand still", LONG, || {
        std::thread::sleep(Duration::from_millis(100));
        let now = descriptors(proxy.id());
        std::mem::replace(&mut last, now) == now
    });
    last
}

/// Opens 100 clients that all ask for a tunnel, looks at the proxy meanwhile, closes them, asks
/// once more.
fn overwhelm(proxy: &mut Proxy) {
    let server = Server::echo();
    let clients: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut client = socks::dial(proxy.address);
            client.write_all(&socks::hello(server.address)).expect("the kernel takes it");
            client
        })
        .collect();
    wait_until("the server sees some", LONG, || server.accepted() >= 10);
    let used = used_during(proxy.id(), SECOND);
    assert!(used <= Duration::from_millis(100), "without descriptors it used {used:?} of a second");
    assert!(proxy.is_running(), "it outlives the lack of descriptors");
    drop(clients);
    // All of them have to come and go first.
    let began = Instant::now();
    round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel, as before"));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?} to serve again", began.elapsed());
}

#[test]
fn with_few_descriptors_it_takes_few_connections_and_the_others_have_their_turn() {
    let mut proxy = Launch::with_descriptors(&[], 64).start();
    overwhelm(&mut proxy);
    assert_eq!(proxy.count_lines("cannot accept"), 0, "it stays below the limit of its own accord");
    proxy.wait_for("connections are open in this worker: new ones wait (--max-connections)");
}

#[test]
fn running_out_of_descriptors_neither_kills_nor_spins_it() {
    // More connections than it thinks possible: now the system is what stops it.
    let mut proxy = Launch::with_descriptors(&["--max-connections", "10000"], 64).start();
    proxy.wait_for("--max-connections 10000 needs more descriptors than the system allows");
    overwhelm(&mut proxy);
    proxy.wait_for("ulimit -n");
    let log = proxy.stop();
    let summary = log.last().expect("the summary");
    assert!(!summary.contains("descriptors 0,"), "the limit is counted: {summary}");
}
