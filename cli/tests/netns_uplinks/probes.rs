//! Probes and backups: an uplink that does not carry is left, and used again when it does.

use crate::common::servers::Server;
use crate::common::{LONG, here, wait_until};
use crate::world::{SERVER, World, ip};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Until an attempt gets company, and how long another uplink may then take.
const STAGGER: Duration = Duration::from_millis(250);
const SPARE: Duration = Duration::from_millis(500);
const PROBE: &str = "203.0.113.1:80,period=0.5,timeout=0.3";
/// So long until a change of an uplink must be seen, however slow the machine is.
const SOON: Duration = Duration::from_secs(10);

/// How long each connection took to open by the proxy's own clock, longest first: from the line
/// that tells the request to the one that tells the connection. A client that waits for its turn on
/// a busy machine is no part of it.
fn openings(log: &[String]) -> Vec<Duration> {
    let mut asked = BTreeMap::new();
    let mut all = Vec::new();
    for line in log {
        let Some((stamp, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else {
            continue;
        };
        let Some((conn, what)) =
            rest.trim_start().strip_prefix("debug ").and_then(|rest| rest.split_once(": "))
        else {
            continue;
        };
        let Ok(at) = stamp.trim().parse().map(Duration::from_secs_f64) else { continue };
        if what.contains(" asks for ") {
            asked.insert(conn, at);
        } else if what.starts_with("connected to ") {
            all.extend(asked.remove(conn).map(|from| at.saturating_sub(from)));
        }
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    all
}

#[test]
fn under_load_a_black_hole_fails_no_connection_and_the_uplink_is_used_again_when_mended() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2", "--probe", PROBE, "-v"]);
    let stop = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let load = || {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                world.ask(&proxy, SERVER).expect("no connection fails");
                asked += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            asked
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        std::thread::sleep(Duration::from_millis(300));
        world.black_hole(2);
        proxy.wait_for("probes of the uplink through up2 failed in a row");
        world.mend(2);
        wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 carries").source == ip(2));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("all answered")).sum::<usize>()
    });
    let log = proxy.stop();
    let took = openings(&log);
    assert!(took.len() >= asked, "each was told: {} of {asked}", took.len());
    let met: Vec<Duration> = took.into_iter().filter(|took| *took >= STAGGER).collect();
    assert!(!met.is_empty(), "some have met the black hole");
    // 500 ms beyond the stagger. In virtual time that holds for each connection
    // (`stream_uplinks`); here a busy machine may hold up one or the other.
    assert!(met[met.len() / 2] < STAGGER + SPARE, "beyond the stagger: {met:?}");
    assert!(met[0] < SOON, "{met:?}");
}

#[test]
fn an_uplink_is_back_in_use_within_two_probe_periods_of_its_return() {
    let Some(world) = World::new(here!(), 2) else { return };
    let probe = "203.0.113.1:80,period=2,timeout=0.5,fall=1";
    let proxy = world.dispatch(&["up1", "up2", "--probe", probe]);
    for nth in 1..=2 {
        world.black_hole(2);
        proxy.wait_for_nth("probes of the uplink through up2 failed in a row", nth);
        assert_eq!(world.ask_times(&proxy, 4), [1; 4]);
        world.mend(2);
        let back = Instant::now();
        wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 carries").source == ip(2));
        // One period is enough; the other is for a busy machine.
        assert!(back.elapsed() < Duration::from_secs(4), "it took {:?}", back.elapsed());
    }
}

#[test]
fn an_uplink_that_lets_all_connect_and_carries_nothing_is_left() {
    let Some(world) = World::alike(here!(), 2) else { return };
    // Behind the first uplink is the internet, behind the second a captive portal.
    let _servers = [(1, "204 No Content"), (2, "302 Found")].map(|(n, status)| {
        let listener = world.far(n).run(|| TcpListener::bind("203.0.113.1:8081")).expect("a free port");
        Server::in_turn(listener, move |mut stream| {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        })
    });
    let probe = "http://203.0.113.1:8081/generate_204,status=204,period=0.5,timeout=0.4";
    let proxy = world.dispatch(&["up1", "up2", "--probe", probe]);
    proxy.wait_for("probes of the uplink through up2 failed in a row");
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
}

/// The far side of an uplink, at 203.0.113.1 to 203.0.113.4: it takes connections, and gives back
/// what it gets while `carries`.
fn hosts(world: &World, n: usize, carries: &Arc<AtomicBool>) -> Server {
    let more: String = (2..=4).map(|host| format!("addr add 203.0.113.{host}/32 dev lo\n")).collect();
    world.far(n).ip(&more);
    let listener = world.far(n).run(|| TcpListener::bind("0.0.0.0:7")).expect("a free port");
    let carries = Arc::clone(carries);
    Server::of(listener, move |mut stream| {
        let mut buf = [0; 64];
        while let Ok(len @ 1..) = stream.read(&mut buf) {
            if carries.load(Ordering::Relaxed) && stream.write_all(&buf[..len]).is_err() {
                return;
            }
        }
    })
}

#[test]
fn without_a_probe_an_uplink_that_answers_connects_and_carries_nothing_is_found_and_used_again() {
    let Some(world) = World::alike(here!(), 2) else { return };
    let (well, mute) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let _servers = [hosts(&world, 1, &well), hosts(&world, 2, &mute)];
    let proxy = world.dispatch(&["up1", "up2"]);
    let open = |host: u8| {
        let to = SocketAddr::from(([203, 0, 113, host], 7));
        let mut tunnel = world.connect(&proxy, to).expect("all connect");
        tunnel.write_all(b"ping").expect("the tunnel stands");
        tunnel
    };
    // By turns, so that each uplink has each host.
    let open_all = || -> Vec<_> { (1..=4).flat_map(|host| [open(host), open(host)]).collect() };
    let mut tunnels = open_all();
    let began = Instant::now();
    let line = loop {
        if proxy.count_lines("through up2 rests") > 0 {
            break proxy.wait_for("through up2 rests");
        }
        assert!(began.elapsed() < LONG, "it is found");
        std::thread::sleep(Duration::from_millis(500));
        tunnels.extend([open(1), open(1)]);
    };
    assert!(line.contains("it lets connections open and carries nothing"), "{line}");
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
    assert_eq!(proxy.count_lines("through up1 rests"), 0);
    // The data plan is paid: one connection at a time tries it, and a byte is the proof.
    mute.store(true, Ordering::Relaxed);
    let began = Instant::now();
    while proxy.count_lines("uplink through up2 carries again") == 0 {
        assert!(began.elapsed() < LONG, "it is used again");
        tunnels.push(open(1));
        std::thread::sleep(Duration::from_millis(500));
    }
    let order = world.ask_times(&proxy, 6);
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 3, "{order:?}");
}

#[test]
fn a_backup_carries_only_while_the_others_do_not() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2", "--backup", "up2", "--probe", PROBE]);
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
    world.black_hole(1);
    proxy.wait_for("probes of the uplink through up1 failed in a row");
    assert_eq!(world.ask_times(&proxy, 6), [2; 6]);
    world.mend(1);
    proxy.wait_for("uplink through up1 carries again");
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
}
