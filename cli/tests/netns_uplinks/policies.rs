//! `--policy`: each chooses as the manual says, and a reload changes it.

use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use crate::common::{LONG, Scratch, here, process, wait_until};
use crate::world::{PATIENCE, World, in_peace, uplink_of};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const PORT: u16 = 7;

fn host(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([203, 0, 113, n]), PORT)
}

/// Gives back what it gets, at 203.0.113.1 to 203.0.113.16 on the far side of uplink 1.
fn echo(world: &World) -> Server {
    let more: String = (2..=16).map(|n| format!("addr add 203.0.113.{n}/32 dev lo\n")).collect();
    world.far(1).ip(&more);
    let listener = world.far(1).run(|| TcpListener::bind(("0.0.0.0", PORT))).expect("a free port");
    Server::of(listener, |mut stream| {
        if let Ok(mut writer) = stream.try_clone() {
            let _ = std::io::copy(&mut stream, &mut writer);
        }
    })
}

/// The same, or nothing where it took so long to open that another uplink was tried beside.
#[track_caller]
fn open_in_peace(world: &World, proxy: SocketAddr, to: SocketAddr) -> Option<(TcpStream, usize)> {
    let began = Instant::now();
    Some(open(world, proxy, to)).filter(|_| began.elapsed() < PATIENCE)
}

/// A tunnel, and the number of the uplink that carries it.
#[track_caller]
fn open(world: &World, proxy: SocketAddr, to: SocketAddr) -> (TcpStream, usize) {
    world.client.run(|| {
        let mut stream = socks::dial(proxy);
        stream.write_all(&socks::hello(to)).expect("the proxy reads");
        let bound = socks::read_answers(&mut stream).expect("a reply").expect("an uplink that works");
        (stream, uplink_of(bound.ip()))
    })
}

/// By which uplink each of 16 hosts is reached.
fn homes(world: &World, proxy: SocketAddr) -> Vec<usize> {
    let home = |n| Some(open_in_peace(world, proxy, host(n))?.1);
    in_peace(|| (1..=16).map(home).collect())
}

#[test]
fn least_connections_fills_the_uplink_where_connections_have_ended() {
    let Some(world) = World::new(here!(), 2) else { return };
    let _echo = echo(&world);
    let (shared, next) = in_peace(|| {
        let proxy = world.dispatch(&["up1", "up2", "--policy", "least-connections", "-v"]);
        proxy.wait_for("policy: least-connections");
        let open = |count: usize| -> Option<Vec<_>> {
            (0..count).map(|_| open_in_peace(&world, proxy.address, host(1))).collect()
        };
        let (kept, ended): (Vec<_>, Vec<_>) = open(6)?.into_iter().partition(|(_, n)| *n == 1);
        let shared = (kept.len(), ended.len());
        drop(ended);
        wait_until("those of up2 have ended", LONG, || proxy.count_lines(" closed after ") == shared.1);
        let next: Vec<usize> = open(3)?.into_iter().map(|(_, n)| n).collect();
        Some((shared, next))
    });
    assert_eq!(shared, (3, 3), "as nothing speaks against it");
    assert_eq!(next, [2; 3], "in turn would have been both");
}

#[test]
fn sticky_keeps_each_host_and_moves_only_those_of_an_uplink_that_is_pulled() {
    let Some(world) = World::new(here!(), 2) else { return };
    let _echo = echo(&world);
    let proxy = world.dispatch(&["up1", "up2", "--policy", "sticky"]);
    let before = homes(&world, proxy.address);
    for n in [1, 2] {
        assert!(before.iter().filter(|home| **home == n).count() >= 3, "both have hosts: {before:?}");
    }
    assert_eq!(homes(&world, proxy.address), before);
    world.unplug(2);
    proxy.wait_for("the interface of up2 has vanished");
    assert_eq!(homes(&world, proxy.address), [1; 16]);
    world.plug(2);
    proxy.wait_for("the interface of up2 is there");
    wait_until("its hosts are back", LONG, || homes(&world, proxy.address) == before);
}

/// A SOCKS5 proxy on the far side of uplink 1 that says yes after `delay`, and no more.
fn late_proxy(world: &World, delay: Duration) -> Server {
    world.far(1).run(|| {
        let listener = TcpListener::bind("10.77.1.1:1080").expect("a free port");
        Server::of(listener, move |mut stream| {
            let mut buf = [0; 64];
            let _ = stream.read_exact(&mut buf[..3]);
            let _ = stream.write_all(&[5, 0]);
            let _ = stream.read(&mut buf);
            std::thread::sleep(delay);
            let _ = stream.write_all(&[5, 0, 0, 1, 10, 77, 1, 2, 0, 9]);
        })
    })
}

#[test]
fn least_latency_takes_the_near_uplink() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (_echo, late) = (echo(&world), late_proxy(&world, Duration::from_millis(200)));
    let proxy = world.dispatch(&["socks5://10.77.1.1:1080%up1", "up2", "--policy", "least-latency"]);
    // Each is measured once, whichever comes first.
    (0..4).for_each(|_| drop(open(&world, proxy.address, host(1))));
    let (near, far, began) = in_peace(|| {
        let (before, began) = (late.accepted(), Instant::now());
        let mut near = 0;
        for _ in 0..20 {
            let asked = Instant::now();
            let is_near = open(&world, proxy.address, host(1)).1 == 2;
            near += usize::from(is_near);
            // By the near one that is no wait: the far one was tried beside.
            if is_near && asked.elapsed() >= PATIENCE {
                return None;
            }
        }
        Some((near, late.accepted() - before, began))
    });
    // One that was not measured for ten seconds gets one connection.
    let measured = 1 + began.elapsed().as_secs() as usize / 10;
    assert!(far <= measured, "{far} of 20 went where it takes 200 ms, {near} by the near one");
}

/// The value of a figure of `/stats` in a line of JSON.
fn share(world: &World, stats: &str, uplink: &str) -> f64 {
    let page = world.client.run(|| {
        let mut stream = TcpStream::connect(stats).expect("it serves figures");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {stats}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("text");
        page
    });
    let sample = format!("uplink_share{{uplink=\"{uplink}\"}} ");
    let value = page.lines().find_map(|line| line.split_once(&sample)?.1.trim().parse().ok());
    value.unwrap_or_else(|| panic!("expected {sample:?} in {page}"))
}

#[test]
fn adaptive_learns_which_uplink_gives_more() {
    let Some(world) = World::new(here!(), 2) else { return };
    // What comes to uplink 1 comes at 1 Mbit/s.
    let narrow = ["netns", "exec", world.far(1).name(), "tc", "qdisc", "add", "dev", "far1", "root", "tbf"];
    let narrow = std::process::Command::new("ip")
        .args(narrow)
        .args(["rate", "1mbit", "burst", "16kb", "latency", "400ms"])
        .output();
    if !narrow.is_ok_and(|output| output.status.success()) {
        return crate::common::skip(here!(), "the kernel's sch_tbf");
    }
    let listener = world.far(1).run(|| TcpListener::bind("203.0.113.1:8080")).expect("a free port");
    let files = Server::of(listener, |mut stream| drop(stream.write_all(&[7; 200_000])));
    let args = ["up1", "up2", "--policy", "adaptive", "--stats", "127.0.0.1:0"];
    let proxy = world.dispatch(&args);
    let line = proxy.wait_for("stats at http://");
    let stats = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("waited for it");
    let (stop, files) = (std::sync::atomic::AtomicBool::new(false), files.address);
    std::thread::scope(|scope| {
        let load = || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (mut stream, _) = open(&world, proxy.address, files);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        };
        (0..3).for_each(|_| drop(scope.spawn(load)));
        let began = Instant::now();
        let learned = || share(&world, stats, "up2") > 3.0 * share(&world, stats, "up1");
        while !learned() && began.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let shares = ["up1", "up2"].map(|uplink| share(&world, stats, uplink));
    assert!(shares[1] > 3.0 * shares[0], "{shares:?}");
}

#[test]
fn a_reload_changes_the_policy_and_what_is_open_lives_on() {
    let Some(world) = World::new(here!(), 2) else { return };
    let _echo = echo(&world);
    let files = Scratch::new();
    let write = |policy: &str| {
        let uplinks = "uplinks = [\"up1\", \"up2\"]";
        let text = format!("[dispatch]\nlisten = \"127.0.0.1:0\"\n{uplinks}\npolicy = \"{policy}\"\n");
        files.file("ropewalk.toml", text.as_bytes())
    };
    let config = write("round-robin");
    let proxy = world.dispatch(&["--config", &config]);
    let (mut old, _) = open(&world, proxy.address, host(1));
    let one = || Some(open_in_peace(&world, proxy.address, host(1))?.1);
    let of_one_host = || -> Vec<usize> { in_peace(|| (0..8).map(|_| one()).collect()) };
    let order = of_one_host();
    assert_eq!(order.iter().filter(|n| **n == 1).count(), 4, "in turn: {order:?}");
    for (nth, policy) in [(1, "sticky"), (2, "round-robin")] {
        write(policy);
        process::hang_up(proxy.id());
        proxy.wait_for_nth("SIGHUP: the configuration was read again", nth);
        let order = of_one_host();
        let alike = order.iter().all(|n| *n == order[0]);
        assert_eq!(alike, policy == "sticky", "{policy}: {order:?}");
        round_trip(&mut old);
    }
    // One that is none is told, and nothing changes.
    write("fastest");
    process::hang_up(proxy.id());
    let line = proxy.wait_for_nth("SIGHUP: ", 3);
    assert!(line.contains("policy") && line.contains("all stays as it was"), "{line}");
    let order = of_one_host();
    assert_eq!(order.iter().filter(|n| **n == 1).count(), 4, "in turn: {order:?}");
}
