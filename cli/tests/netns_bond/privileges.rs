//! What both ends may still do once they run, and that it is enough to put all back.

use crate::common::proxy::Proxy;
use crate::common::{LONG, here, wait_until};
use crate::world::World;

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
