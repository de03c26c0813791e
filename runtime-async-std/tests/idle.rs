//! What idle connections cost. Alone in its binary: the reactor's thread serves the whole process.
#![cfg(target_os = "linux")]

mod common;

use common::{LONG, Proxy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const IDLE: usize = 2_000;
/// Client, proxy twice, target.
const DESCRIPTORS: u64 = 4 * IDLE as u64 + 200;

/// Whether the limit allows this many descriptors.
fn room() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    most >= DESCRIPTORS
        && setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: limit.maximum }).is_ok()
}

/// Ticks of the processor (USER_HZ, 1/100 s) by each thread but the tests' own: proc(5), fields 14
/// and 15.
fn ticks() -> Vec<(String, u64)> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").expect("Linux has it").flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let (head, fields) = stat.rsplit_once(')').expect("the name in brackets");
        let (_, name) = head.split_once('(').expect("the name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |number: usize| fields[number - 3].parse::<u64>().expect("a number");
        if name == "worker" || name.starts_with("async") {
            threads.push((name.to_owned(), ticks(14) + ticks(15)));
        }
    }
    threads
}

fn sum(threads: &[(String, u64)]) -> u64 {
    threads.iter().map(|(_, ticks)| ticks).sum()
}

#[test]
fn two_thousand_idle_connections_cost_no_processor_time() {
    if !room() {
        let _ = writeln!(std::io::stderr(), "SKIP idle: needs {DESCRIPTORS} descriptors");
        return;
    }
    let listener = TcpListener::bind(common::LOOPBACK).expect("a free port of loopback");
    let target = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || {
        (0..IDLE).map(|_| listener.accept().expect("a connection").0).collect::<Vec<TcpStream>>()
    });
    let proxy = Proxy::start();
    let tunnels: Vec<_> = (0..IDLE).map(|_| proxy.connect(target).expect("the target listens")).collect();
    let _peers = server.join().expect("all came");
    // The first second in which nothing is done: what was begun before may still be on its way.
    let (began, mut before) = (Instant::now(), ticks());
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let after = ticks();
        assert!(after.iter().any(|(name, _)| name == "worker"), "the worker runs: {after:?}");
        if sum(&after) - sum(&before) <= 1 {
            break;
        }
        assert!(began.elapsed() < LONG, "never at rest: {before:?}, then {after:?}");
        before = after;
    }
    assert_eq!(tunnels.len(), IDLE);
    assert_eq!(proxy.stop().machine.counters().open, IDLE);
}
