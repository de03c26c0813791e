//! `ropewalk doctor dispatch`: what keeps an uplink from working, and that what it says mends it.

use crate::common::here;
use crate::common::proxy::ROPEWALK;
use crate::common::servers::Server;
use crate::world::{SERVER, World, in_peace};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

/// Whether all is well, and all it said.
fn doctor(world: &World, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", world.client.name(), ROPEWALK, "doctor", "dispatch"]).args(args);
    let output = command.output().expect("ip was there for the namespace");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

/// Runs what stands behind this word in the line of `what`.
fn mend(world: &World, said: &str, what: &str, behind: &str) {
    let line = said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in {said}"));
    let command = line.split_once(behind).expect("a command").1.trim();
    let words = command.split(' ');
    let status = Command::new("ip").args(["netns", "exec", world.client.name()]).args(words).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

#[test]
fn all_is_well_where_all_is_well_and_each_uplink_connects() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (well, said) = doctor(&world, &["up1", "up2", "--probe", "203.0.113.1:80"]);
    // The machine's own name servers are its own affair.
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failed.iter().all(|line| line.contains("name servers")), "{said}");
    assert_eq!(well, failed.is_empty());
    for line in
        ["203.0.113.1:80 by up1: 203.0.113.1:80 connects", "203.0.113.1:80 by up2: 203.0.113.1:80 connects"]
    {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn a_missing_route_and_a_strict_filter_are_named_with_what_mends_them() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.set("ipv4/conf/up2/rp_filter", "1");
    let (well, said) = doctor(&world, &["up1", "up2"]);
    assert!(!well && said.contains("FAIL  kernel settings: up2: rp_filter=1"), "{said}");
    mend(&world, &said, "rp_filter", "to mend it: ");
    assert!(!doctor(&world, &["up1", "up2"]).1.contains("rp_filter"));

    world.client.ip("route del default dev up2\n-6 route del default dev up2\n");
    let (well, said) = doctor(&world, &["up1", "up2"]);
    assert!(!well && said.contains("FAIL  uplink up2: "), "{said}");
    assert!(said.contains("ip route add default"), "{said}");
    assert!(said.contains("ok    uplink up1: "), "{said}");
}

#[test]
fn with_what_it_says_of_a_strict_filter_the_second_uplink_carries() {
    let Some(world) = World::new(here!(), 2) else { return };
    for key in ["all", "up1", "up2"] {
        world.client.set(&format!("ipv4/conf/{key}/rp_filter"), "1");
    }
    let proxy = world.dispatch(&["up2", "--connect-timeout", "1"]);
    assert!(world.ask(&proxy, SERVER).is_err(), "what comes back by up2 is dropped");
    let (well, said) = doctor(&world, &["up1", "up2"]);
    assert!(!well && said.contains("FAIL  kernel settings: up2: rp_filter=1"), "{said}");
    mend(&world, &said, "up2: rp_filter=1", "to mend it: ");
    let proxy = world.dispatch(&["up1", "up2"]);
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 5, "{order:?}");
}

#[test]
fn two_interfaces_in_one_network_are_named_and_mended() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.ip("addr add 10.77.1.9/24 dev up2\n");
    let (well, said) = doctor(&world, &["up1", "up2"]);
    assert!(!well && said.contains("in the same network 10.77.1.0/24"), "{said}");
    mend(&world, &said, "same network", "to mend it: ");
    assert!(!doctor(&world, &["up1", "up2"]).1.contains("same network"));
}

#[test]
fn a_captive_portal_and_a_black_hole_are_found_by_the_probe() {
    let Some(world) = World::alike(here!(), 2) else { return };
    let _servers = [(1, "204 No Content", ""), (2, "302 Found", "Location: http://login.example/\r\n")].map(
        |(n, status, more)| {
            let listener = world.far(n).run(|| TcpListener::bind("203.0.113.1:8081")).expect("a free port");
            Server::in_turn(listener, move |mut stream| {
                let _ = stream.read(&mut [0; 512]);
                let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n");
                let _ = stream.write_all(head.as_bytes());
            })
        },
    );
    let probe = "http://203.0.113.1:8081/generate_204,status=204,timeout=1";
    let (well, said) = doctor(&world, &["up1", "up2", "--probe", probe]);
    assert!(!well && said.contains("ok    203.0.113.1:8081 by up1: answers 204"), "{said}");
    assert!(said.contains("FAIL  203.0.113.1:8081 by up2: expected status 204, got 302"), "{said}");
    assert!(said.contains("log in at http://login.example/"), "{said}");
    world.black_hole(1);
    let (_, said) = doctor(&world, &["up1", "--probe", "203.0.113.1:80,timeout=0.5"]);
    assert!(said.contains("FAIL  203.0.113.1:80 by up1: 203.0.113.1:80 is silent"), "{said}");
}
