//! Links and modes that change while it runs.

use crate::common::{LONG, assert_pattern, here, wait_until};
use crate::world::{FILE, World, member};
use std::process::Command;

#[test]
fn status_tells_of_each_link_and_set_changes_them() {
    let Some(world) = World::new(here!()) else { return };
    let none = world.tell("connect", &["status"]);
    assert!(none.code == Some(1) && none.stderr.contains("does not run"), "{}", none.stderr);
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.connect(&[&join, "--via", "c1", "--via", "c2"]);
    let web = world.web();
    assert_pattern(0, &world.fetch(web.address));

    let table = world.ask("connect", &["status"]);
    assert!(table.contains("connected to 198.51.100.1:4500, ropewalk0 10.77.0.2, mode aggregate"), "{table}");
    let json = world.ask("connect", &["status", "--json"]);
    for link in ["c1", "c2"] {
        let link = format!("\"link\":\"{link}\"");
        assert_eq!(member(&json, &link, "state"), "live", "{json}");
        assert!(member(&json, &link, "received_bytes").parse::<u64>().expect("a number") > 100_000, "{json}");
    }
    let json = world.ask("serve", &["status", "--json"]);
    assert_eq!(member(&json, "\"clients\"", "name"), "laptop");
    assert!(world.ask("serve", &["status"]).contains("laptop 10.77.0.2"));

    // Two to one: of equal links that gives half as much again as one of them. Three to one gives a
    // third more, and weights that were left once are only kept again for a quarter more. On a busy
    // machine links are measured to differ by what lies between.
    world.ask("connect", &["set", "--mode", "weighted", "--via", "c1@2"]);
    let json = world.ask("connect", &["status", "--json"]);
    assert_eq!(member(&json, "{", "mode"), "weighted");
    assert_eq!(member(&json, "\"link\":\"c1\"", "weight"), "2");
    // The server sends by these weights too, once it has heard of them.
    wait_until("two thirds come by the heavy link", LONG * 3, || {
        let before = ["c1", "c2"].map(|device| world.received(device));
        world.fetch(web.address);
        let [heavy, light] =
            [("c1", before[0]), ("c2", before[1])].map(|(device, before)| world.received(device) - before);
        2 * heavy > 3 * light && light > FILE as u64 / 10
    });

    world.ask("connect", &["set", "--drop", "c2"]);
    client.wait_for("links now: c1@2");
    server.wait_for("path 1 is down");
    let before = world.received("c2");
    assert_pattern(0, &world.fetch(web.address));
    assert!(world.received("c2") - before < 10_000, "nothing comes by a link that was dropped");
    let last = world.tell("connect", &["set", "--drop", "c1"]);
    assert!(last.code == Some(1) && last.stderr.contains("last link"), "{}", last.stderr);
    let unknown = world.tell("connect", &["set", "--drop", "c9"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("'c9'"), "{}", unknown.stderr);
    assert_eq!(world.tell("connect", &["set"]).code, Some(2), "nothing to change");
    world.ask("connect", &["set", "--via", "c2", "--mode", "aggregate"]);
    client.wait_for("c2 carries again");
}

#[test]
fn links_are_followed_as_they_come_and_go_and_change_their_address() {
    let Some(world) = World::new(here!()) else { return };
    world.client.ip("link del c2\n");
    let _server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.begin("connect", &[&join]);
    client.wait_for("c1 carries");
    world.plug(2);
    client.wait_for("links now: c1@1, c2@1");
    client.wait_for("c2 carries");

    world.client.ip("addr del 10.9.1.2/24 dev c1\naddr add 10.9.1.3/24 dev c1\n");
    world.route(1);
    let state = |world: &World| world.ask("serve", &["status", "--json"]);
    wait_until("the server sees the new address", LONG, || state(&world).contains("\"remote\":\"10.9.1.3:"));

    world.client.ip("link del c1\n");
    client.wait_for("c1 is down");
    let web = world.web();
    assert_pattern(0, &world.fetch(web.address));
    world.plug(1);
    client.wait_for("c1 carries again");
}

/// Sets `SO_NO_CHECK` on the UDP sockets of a process: the system then refuses to cut groups of
/// datagrams there (EINVAL), as it does where a device cannot. pidfd_getfd(2) lends them to us.
const TAKE_GSO: &str = r#"
import ctypes, os, socket, sys
pid, count = int(sys.argv[1]), 0
held = os.pidfd_open(pid)
libc = ctypes.CDLL(None, use_errno=True)
for fd in os.listdir(f"/proc/{pid}/fd"):
    if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
        own = libc.syscall(438, held, int(fd), 0)
        assert own >= 0, os.strerror(ctypes.get_errno())
        lent = socket.socket(fileno=own)
        if lent.family in (socket.AF_INET, socket.AF_INET6) and lent.type == socket.SOCK_DGRAM:
            lent.setsockopt(socket.SOL_SOCKET, 11, 1)
            count += 1
print(count)
"#;

#[test]
fn that_the_system_took_gso_away_from_a_socket_shows_in_status() {
    let Some(world) = World::new(here!()) else { return };
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let _client = world.connect(&[&join, "--via", "c1", "--via", "c2"]);
    let web = world.web();
    assert_pattern(0, &world.fetch(web.address));
    let count = || {
        let json = world.ask("serve", &["status", "--json"]);
        member(&json, "{", "sockets_without_gso").parse::<u64>().expect("a number")
    };
    if count() > 0 {
        return crate::common::skip(here!(), "the kernel's UDP_SEGMENT");
    }
    assert!(!world.ask("serve", &["status"]).contains("UDP GSO"), "nothing is wrong yet");

    let taken = Command::new("python3").args(["-c", TAKE_GSO, &server.id().to_string()]).output();
    let taken = taken.expect("python3 is there");
    let said = String::from_utf8_lossy(&taken.stderr);
    assert_eq!(String::from_utf8_lossy(&taken.stdout).trim(), "1", "the server's one socket: {said}");
    assert_pattern(0, &world.fetch(web.address));
    assert_eq!(count(), 1);
    let table = world.ask("serve", &["status"]);
    assert!(table.contains("sockets without segmentation offload (UDP GSO): 1;"), "{table}");
}
