//! The server's name: it may not be there at boot, and it may move.

use crate::common::proxy::Launch;
use crate::common::{LONG, Scratch, has, here, wait_until};
use crate::world::World;
use std::process::Command;

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
    let line =
        format!("mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf && exec \"$@\"");
    let state = world.state("connect");
    let args = ["connect", &join, "--via", "c1", "--via", "c2", "--route", "none", "--state-dir", &state];
    let client =
        world.client.run(|| Launch::bond(&args).behind(&["unshare", "-m", "sh", "-c", &line, "sh"]).begin());
    // As at boot.
    client.wait_for("vpn.test:4500 cannot be looked up");
    std::fs::write(&hosts, "198.51.100.1 vpn.test\n").expect("ours");
    client.wait_for("c1 carries");
    server.wait_for("laptop: connected");

    world.server.ip("addr add 198.51.100.9/32 dev lo\naddr del 198.51.100.1/32 dev lo\n");
    std::fs::write(&hosts, "198.51.100.9 vpn.test\n").expect("ours");
    let answers = || {
        let args = ["-c", "1", "-W", "1", "10.77.0.1"];
        let output = world.client.run(|| Command::new("ping").args(args).output());
        output.expect("ping is there").status.success()
    };
    assert!(!answers(), "nobody is there any more");
    wait_until("the client has found its server", LONG, answers);
    client.wait_for("vpn.test:4500: silent at 198.51.100.1:4500, trying 198.51.100.9:4500");
    assert!(world.ask("connect", &["status", "--json"]).contains("\"remote\":\"198.51.100.9:4500\""));
}
