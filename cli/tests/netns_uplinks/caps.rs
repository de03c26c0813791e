//! `--cap` and `--usage-file`: a metered uplink carries what it may, whatever restarts in between.

use crate::common::proxy::{Proxy, run};
use crate::common::servers::Server;
use crate::common::socks::Refused;
use crate::common::{Scratch, here};
use crate::world::{SERVER, World};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

const FILE: usize = 300_000;

/// Hands out a file, on the far side of uplink 1.
fn files(world: &World) -> Server {
    let listener = world.far(1).run(|| TcpListener::bind("203.0.113.1:8080")).expect("a free port");
    Server::of(listener, |mut stream| drop(stream.write_all(&[7; FILE])))
}

#[track_caller]
fn download(world: &World, proxy: &Proxy, from: SocketAddr) {
    let mut stream = world.connect(proxy, from).expect("an uplink below its cap");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("to its end");
    assert_eq!(all.len(), FILE);
}

/// A folder where the proxy, a user without privilege, may write.
fn state() -> (Scratch, String) {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(scratch.path(), all).expect("our own folder");
    let usage = scratch.path().join("usage").display().to_string();
    (scratch, usage)
}

/// What the file says of up1: bytes; the day its period began and its cap.
#[track_caller]
fn told(usage: &str) -> (u64, String) {
    let text = std::fs::read_to_string(usage).expect("it was written");
    let line = text.lines().find_map(|line| line.strip_prefix("up1 ")).expect("up1 has an account");
    let (bytes, day) = line.split_once(' ').expect("two words");
    (bytes.parse().expect("a number"), day.to_owned())
}

#[test]
fn an_uplink_at_its_cap_is_left_also_after_a_restart_until_its_period_ends() {
    let Some(world) = World::new(here!(), 2) else { return };
    let ((_scratch, usage), files) = (state(), files(&world));
    let args = ["up1", "up2", "--cap", "up1=400kB,reset-day=1", "--usage-file", &usage];
    let proxy = world.dispatch(&args);
    // Up1 and up2 by turns: the second file by up1 takes it past its cap.
    (0..4).for_each(|_| download(&world, &proxy, files.address));
    let line = proxy.wait_for("has carried its 400000 bytes (--cap)");
    assert!(line.contains("through up1"), "{line}");
    assert_eq!(world.ask_times(&proxy, 6), [2; 6]);
    proxy.stop();
    let (bytes, day) = told(&usage);
    // Replies and requests of the client are no bytes of the uplink.
    assert!((600_000..700_000).contains(&bytes), "{bytes}");
    assert!(day.ends_with("-01 400000"), "{day}");
    // And to people: the uplink by its name, as the interface is.
    let listed = world.client.run(|| run(&["list", "--usage-file", &usage])).stdout;
    let line = format!("up1 has carried {bytes} of 400000 bytes since ");
    assert!(listed.contains(&line), "{listed}");
    let json = world.client.run(|| run(&["list", "--usage-file", &usage, "--json"])).stdout;
    assert!(json.contains(&format!("\"account\":{{\"used\":{bytes},\"cap\":400000,")), "{json}");

    let proxy = world.dispatch(&args);
    assert_eq!(world.ask_times(&proxy, 6), [2; 6], "a restart forgets nothing");
    proxy.stop();
    // The month is over.
    std::fs::write(&usage, format!("up1 {bytes} 2020-01-01\n")).expect("our own folder");
    let proxy = world.dispatch(&args);
    let order = world.ask_times(&proxy, 6);
    assert_eq!(order.iter().filter(|n| **n == 1).count(), 3, "{order:?}");
    proxy.stop();
    assert!(told(&usage).0 < 1000, "a new account: {:?}", told(&usage));
}

#[test]
fn where_all_have_carried_what_they_may_connections_are_refused() {
    let Some(world) = World::new(here!(), 2) else { return };
    let ((_scratch, usage), files) = (state(), files(&world));
    let args = ["up1", "up2", "--cap", "up1=100kB", "--cap", "up2=100kB", "--usage-file", &usage];
    let proxy = world.dispatch(&args);
    (0..2).for_each(|_| download(&world, &proxy, files.address));
    proxy.wait_for_nth("has carried its 100000 bytes (--cap)", 2);
    assert_eq!(world.ask(&proxy, SERVER).map(drop), Err(Refused(3)));
}

#[test]
fn an_account_that_cannot_be_read_is_not_taken_for_nothing() {
    let scratch = Scratch::new();
    let usage = scratch.file("usage", b"lo nonsense\n");
    let args = ["dispatch", "lo", "-l", "127.0.0.1:0", "--cap", "lo=1GB", "--usage-file", &usage];
    let outcome = run(&args);
    assert!(outcome.code != Some(0), "it does not serve");
    let wanted = "line 1: expected UPLINK BYTES YEAR-MONTH-DAY";
    assert!(outcome.stderr.contains(wanted) && outcome.stderr.contains(&usage), "{}", outcome.stderr);
}
