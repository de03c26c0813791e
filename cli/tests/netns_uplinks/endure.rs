//! Thousands of connections for minutes, a part of them busy, while links flap.
//!
//! `ROPEWALK_ENDURE` says how many seconds: then it is 9,000 connections of which 200 move 24 MiB
//! both ways at a time. Without it, a short form. `.ci/long` says 300, in a release build.
//!
//! ```text
//!   crowd (client) ─▶ proxy ─▶ up1, up2 ─▶ echoes (far): what is sent must come back, byte for byte
//!                                 ▲
//!                            pulled by turns: switched off, or taken away
//! ```

use crate::common::process::{descriptors, resident};
use crate::common::proxy::Proxy;
use crate::common::{LONG, here, skip};
use crate::crowd::{Crowd, Echoes, PATIENCE, Plan};
use crate::hung;
use crate::world::World;
use std::time::{Duration, Instant};

/// Memory that the allocator may keep of what was there once.
const SLACK: u64 = 24 << 20;
/// How long a link is away.
const AWAY: Duration = Duration::from_secs(3);

fn plan() -> (Plan, Duration) {
    match std::env::var("ROPEWALK_ENDURE") {
        Ok(text) => {
            let seconds = text.parse().expect("ROPEWALK_ENDURE: a number of seconds");
            (Plan { connections: 9_000, active: 200, bytes: 24 << 20 }, Duration::from_secs(seconds))
        }
        Err(_) => (Plan { connections: 300, active: 20, bytes: 1 << 20 }, Duration::from_secs(12)),
    }
}

/// Pulls a link and puts it back until the time is over: how often, and how many pages sockets had
/// when most waited in them.
fn flap(world: &World, until: Instant, pause: Duration) -> (usize, u64) {
    let (mut pulls, mut pages) = (0, 0);
    while Instant::now() + pause + AWAY < until {
        std::thread::sleep(pause);
        let link = 1 + pulls % 2;
        match pulls % 4 {
            // All through it must end.
            1 => {
                world.unplug(link);
                std::thread::sleep(AWAY);
                pages = pages.max(hung::pages());
                world.plug(link);
            }
            // What is through it waits, or ends.
            _ => {
                world.client.ip(&format!("link set up{link} down\n"));
                std::thread::sleep(AWAY);
                pages = pages.max(hung::pages());
                world.replug(link);
            }
        }
        pulls += 1;
    }
    (pulls, pages)
}

/// Pipes that the one worker keeps for the next splices, two descriptors each.
const KEPT: usize = 2 * 4;

/// What the process has open for itself: fewer than any crowd has tunnels.
const OWN: usize = 64;

/// Waits until no more than so many descriptors are open: how many are, and the memory.
#[track_caller]
fn settled(proxy: &Proxy, most: usize) -> (usize, u64) {
    let deadline = Instant::now() + LONG;
    while descriptors(proxy.id()) > most {
        let open = descriptors(proxy.id());
        assert!(Instant::now() < deadline, "expected at most {most} descriptors, {open} are open");
        std::thread::sleep(Duration::from_millis(50));
    }
    (descriptors(proxy.id()), resident(proxy.id()))
}

#[test]
fn thousands_of_connections_outlive_flapping_links_and_leave_nothing_behind() {
    let (plan, long) = plan();
    // The proxy has two for each. (So many the far side has too, whose tunnels of a link that was
    // taken away are open for a while.)
    let needs = 2 * plan.connections + 1_000;
    if crate::crowd::raise_descriptors() < needs as u64 {
        return skip(here!(), &format!("{needs} descriptors (ulimit -Hn)"));
    }
    let Some(world) = World::new(here!(), 2) else { return };
    // Not what this host happens to have. After three seconds without its link bbr was seen to go
    // on at 5 to 50 kbit/s for more than a minute, and behind it all that is full waits. Buffers
    // grow no further than as Linux comes.
    for ns in [&world.client, world.far(1)] {
        ns.set("ipv4/tcp_congestion_control", "reno");
        ns.set("ipv4/tcp_rmem", "4096 131072 6291456");
    }
    let _echoes = Echoes::new(world.far(1));
    let room = (plan.connections + 100).to_string();
    let limits = ["--max-connections", "--max-client-connections", "--max-handshakes"];
    let most = limits.iter().flat_map(|limit| [*limit, room.as_str()]).chain([
        "--max-associations",
        "0",
        "--user-timeout",
        PATIENCE,
    ]);
    let proxy = world.dispatch(&["up1", "up2"].into_iter().chain(most).collect::<Vec<_>>());
    // All of it once in peace: what memory that takes is no leak.
    let peace = world.client.run(|| Crowd::new(proxy.address, world.far(1), plan).rest(LONG * 3));
    assert_eq!((peace.ended, peace.answered), (0, plan.connections), "{peace:?}");
    let (own, before) = settled(&proxy, OWN);
    let began = Instant::now();

    let until = began + long;
    let (told, (pulls, pages)) = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            world.client.run(|| {
                let mut crowd = Crowd::new(proxy.address, world.far(1), plan);
                crowd.work(until);
                crowd.rest(LONG * 3)
            })
        });
        let pause =
            if plan.connections > 1_000 { Duration::from_secs(7) } else { Duration::from_millis(500) };
        let pulls = flap(&world, until, pause);
        (crowd.join().expect("the crowd lives"), pulls)
    });
    eprintln!("{} s, {pulls} pulls, at most {pages} pages in sockets: {told:?}", long.as_secs());
    if told.hung > 0 {
        eprintln!("{}", world.client.run(hung::counters));
    }
    let (_, after) = settled(&proxy, own + KEPT);
    eprintln!("memory {} then {} KiB", before >> 10, after >> 10);
    assert!(pulls >= 3 && told.moved > plan.active, "it was busy: {pulls} pulls, {told:?}");
    assert_eq!(told.wrong, 0, "each byte came back as it was sent");
    assert_eq!(told.hung, 0, "none is silent: each went on or ended");
    assert!(told.answered + told.ended_at_rest >= plan.connections, "{told:?}");
    assert!(after <= before + SLACK, "memory was left: {} KiB before, {} after", before >> 10, after >> 10);
}
