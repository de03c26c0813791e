//! What both ends may still do once they run, and that it is enough to put all back.

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, Proxy};
use crate::common::{LONG, Scratch, has, here, wait_until};
use crate::world::World;
use std::collections::BTreeSet;
use std::process::Command;

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// Looks at every thread: its capabilities, and that it cannot get any back.
#[track_caller]
fn expect_threads(end: &Proxy, capabilities: u64) {
    let path = format!("/proc/{}/task", end.id());
    let count = || std::fs::read_dir(&path).expect("it runs").count();
    wait_until("worker, control, log and others run", LONG, || count() > 3);
    let tasks = std::fs::read_dir(&path).expect("it runs");
    let mut seen = 0;
    for task in tasks {
        // A thread that has ended just now can do nothing any more.
        let Ok(text) = std::fs::read_to_string(task.expect("it runs").path().join("status")) else {
            continue;
        };
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            u64::from_str_radix(line.unwrap_or_else(|| panic!("expected {key} in {text}")).trim(), 16)
        };
        for (set, expected) in
            [("CapPrm", capabilities), ("CapEff", capabilities), ("CapInh", 0), ("CapAmb", 0)]
        {
            assert_eq!(field(set), Ok(expected), "{set}: {text}");
        }
        assert_eq!(field("NoNewPrivs"), Ok(1), "{text}");
        seen += 1;
    }
    assert!(seen > 2, "worker, control, log and others, got {seen}");
}

#[test]
fn both_ends_keep_what_they_need_to_the_end_and_nothing_else() {
    let Some(world) = World::new(here!()) else { return };
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.connect(&[&join, "--via", "c1", "--via", "c2"]);
    expect_threads(&server, NET_ADMIN);
    expect_threads(&client, NET_ADMIN | NET_RAW);
    // Sockets are opened anew without what was given up.
    world.client.ip("link set c2 down\n");
    client.wait_for("c2 is down");
    world.client.ip("link set c2 up\n");
    world.route(2);
    client.wait_for("c2 carries again");
    drop((client, server));

    let low = world.begin("serve", &["--listen", "0.0.0.0:450"]);
    low.wait_for("serving on");
    expect_threads(&low, NET_ADMIN | NET_BIND_SERVICE);
}

/// The system calls of one of systemd's sets, or one by its name.
fn expand(set: &str) -> BTreeSet<String> {
    if !set.starts_with('@') {
        return BTreeSet::from([set.to_owned()]);
    }
    let output = Command::new("systemd-analyze").args(["syscall-filter", set]).output();
    let text = String::from_utf8(output.expect("looked for before").stdout).expect("names of system calls");
    let lines = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(expand).collect()
}

/// What a unit lets a service call (systemd.exec(5), SystemCallFilter).
fn allowed(unit: &str) -> BTreeSet<String> {
    let path = format!("{}/packaging/systemd/{unit}.service", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a unit of ours");
    let mut all = expand("@default");
    for line in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (takes, words) = line.strip_prefix('~').map_or((false, line), |words| (true, words));
        for call in words.split_ascii_whitespace().flat_map(expand) {
            if takes {
                all.remove(&call);
            } else {
                all.insert(call);
            }
        }
    }
    all
}

#[test]
fn the_units_of_systemd_let_a_bond_call_what_it_calls() {
    let Some(world) = World::new(here!()) else { return };
    if !has(here!(), "strace") || !has(here!(), "systemd-analyze") {
        return;
    }
    let scratch = Scratch::new();
    let files = ["serve", "connect"].map(|role| scratch.file(role, b""));
    let traced = |ns: &Ns, file: &str, args: &[&str]| {
        let by = ["strace", "-D", "-f", "-qq", "-o", file];
        ns.run(|| Launch::bond(args).behind(&by).begin())
    };
    let states = ["serve", "connect"].map(|role| world.state(role));
    let mut server = traced(&world.server, &files[0], &["serve", "--state-dir", &states[0]]);
    server.wait_for("serving on");
    let join = world.invite("laptop", &[]);
    let args = ["connect", &join, "--kill-switch", "--state-dir", &states[1]];
    let mut client = traced(&world.client, &files[1], &args);
    client.wait_for("c1 carries");
    for end in [&mut client, &mut server] {
        end.terminate();
        end.wait_for_end();
    }
    for (file, role) in files.iter().zip(["serve", "connect"]) {
        let text = std::fs::read_to_string(file).expect("strace has written it");
        // 12345 openat(AT_FDCWD, ...
        let call = |line: &str| Some(line.split_once(' ')?.1.trim_start().split_once('(')?.0.to_owned());
        let called: BTreeSet<String> = text.lines().filter_map(call).collect();
        let called =
            called.into_iter().filter(|call| call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        let called: BTreeSet<String> = called.collect();
        assert!(called.contains("capset") && called.contains("epoll_wait"), "{role}: {called:?}");
        let unit = format!("ropewalk-bond-{role}");
        let allowed = allowed(&unit);
        let denied: Vec<&String> = called.difference(&allowed).collect();
        assert_eq!(denied, [""; 0], "{unit} would be killed");
    }
}
