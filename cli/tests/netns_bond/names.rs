//! The server's name: it may not be there at boot, and it may move.

use crate::common::proxy::{Launch, Proxy};
use crate::common::{LONG, Scratch, dns, has, here, wait_until};
use crate::world::World;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Begins a client whose host has these two files, with this join string.
fn connect(world: &World, join: &str, (hosts, resolver): (&str, &str), more: &[&str]) -> Proxy {
    let line =
        format!("mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf && exec \"$@\"");
    let state = world.state("connect");
    let args = [&["connect", join, "--via", "c1", "--via", "c2", "--state-dir", &state], more].concat();
    world.client.run(|| Launch::bond(&args).behind(&["unshare", "-m", "sh", "-c", &line, "sh"]).begin())
}

/// Whether the server answers inside.
fn answers(world: &World) -> bool {
    let args = ["-c", "1", "-W", "1", "10.77.0.1"];
    let output = world.client.run(|| Command::new("ping").args(args).output());
    output.expect("ping is there").status.success()
}

#[test]
fn a_name_that_comes_late_and_moves_is_followed() {
    let Some(world) = World::new(here!()) else { return };
    if !has(here!(), "unshare") {
        return;
    }
    let server = world.serve(&[]);
    let join = world.ask("serve", &["invite", "laptop", "--server", "vpn.test:4500"]);
    let scratch = Scratch::new();
    let hosts = scratch.file("hosts", b"");
    let resolver = scratch.file("resolv.conf", b"nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    let client = connect(&world, &join, (&hosts, &resolver), &["--route", "none"]);
    // As at boot.
    client.wait_for("vpn.test:4500 cannot be looked up");
    std::fs::write(&hosts, "198.51.100.1 vpn.test\n").expect("ours");
    client.wait_for("c1 carries");
    server.wait_for("laptop: connected");

    world.server.ip("addr add 198.51.100.9/32 dev lo\naddr del 198.51.100.1/32 dev lo\n");
    std::fs::write(&hosts, "198.51.100.9 vpn.test\n").expect("ours");
    assert!(!answers(&world), "nobody is there any more");
    wait_until("the client has found its server", LONG, || answers(&world));
    client.wait_for("vpn.test:4500: silent at 198.51.100.1:4500, trying 198.51.100.9:4500");
    assert!(world.ask("connect", &["status", "--json"]).contains("\"remote\":\"198.51.100.9:4500\""));
}

#[test]
fn a_name_that_moves_is_followed_where_names_go_into_the_bond_and_behind_its_kill_switch() {
    let Some(world) = World::new(here!()) else { return };
    if !has(here!(), "unshare") || !has(here!(), "nft") {
        return;
    }
    world.server.ip("addr add 198.51.100.53/32 dev lo\n");
    let place: Arc<Mutex<IpAddr>> = Arc::new(Mutex::new([198, 51, 100, 1].into()));
    let socket = world.server.run(|| UdpSocket::bind("198.51.100.53:53").expect("its own namespace"));
    let told = Arc::clone(&place);
    let asked = dns::serve(socket, move |_| vec![*told.lock().unwrap_or_else(PoisonError::into_inner)]);
    let server = world.serve(&[]);
    let join = world.ask("serve", &["invite", "laptop", "--server", "vpn.test:4500"]);
    let scratch = Scratch::new();
    let hosts = scratch.file("hosts", b"");
    let resolver = scratch.file("resolv.conf", b"nameserver 198.51.100.53\n");
    let client = connect(&world, &join, (&hosts, &resolver), &["--kill-switch"]);
    client.wait_for("c1 carries");
    server.wait_for("laptop: connected");
    wait_until("it carries", LONG, || answers(&world));

    *place.lock().unwrap_or_else(PoisonError::into_inner) = [198, 51, 100, 9].into();
    world.server.ip("addr add 198.51.100.9/32 dev lo\naddr del 198.51.100.1/32 dev lo\n");
    wait_until("the client has found its server", LONG, || answers(&world));
    client.wait_for("vpn.test:4500: silent at 198.51.100.1:4500, trying 198.51.100.9:4500");
    // Whatever else this host asks for goes into the bond or not at all.
    assert!(asked.all().iter().all(|(name, ..)| name == "vpn.test"), "{:?}", asked.all());
}
