//! What goes through, and by which link.

use crate::common::LONG;
use crate::common::{assert_pattern, here, wait_until};
use crate::world::{FILE, SERVER, World};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn a_file_comes_by_both_links_and_the_next_start_needs_no_join_string() {
    let Some(world) = World::new(here!()) else { return };
    let server = world.serve(&["--subnet", "10.77.0.0/24", "--subnet", "fd77::/64"]);
    let join = world.invite("laptop", &[]);
    let mut client = world.connect(&[&join, "--via", "c1", "--via", "c2", "--stats", "9300"]);
    world.wait_for_address("fd77::2");
    let web = world.web();

    let before = ["c1", "c2"].map(|device| world.received(device));
    let file = world.fetch(web.address);
    assert_eq!(file.len(), FILE);
    assert_pattern(0, &file);
    for (device, before) in ["c1", "c2"].into_iter().zip(before) {
        let carried = world.received(device) - before;
        assert!(carried > FILE as u64 / 10, "{device} carried {carried} of {FILE} bytes");
    }
    let ping =
        world.client.run(|| Command::new("ping").args(["-6", "-c", "1", "-W", "5", "fd77::1"]).output());
    assert!(ping.expect("ping is there").status.success(), "IPv6 goes through too");

    let figures =
        world.client.run(|| Command::new("curl").args(["-sS", "http://127.0.0.1:9300/metrics"]).output());
    let figures = String::from_utf8(figures.expect("curl is there").stdout).expect("text");
    for link in ["c1", "c2"] {
        assert!(figures.contains(&format!("ropewalk_path_up{{link=\"{link}\"}} 1")), "{figures}");
    }

    // SIGTERM says farewell: the server knows at once.
    client.terminate();
    assert!(client.wait_for_end().success());
    server.wait_for("laptop: ended");
    drop(client);
    let again = world.connect(&["--via", "c1", "--via", "c2"]);
    assert_pattern(0, &world.fetch(web.address));
    drop(again);
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let Some(world) = World::new(here!()) else { return };
    let public = {
        std::fs::create_dir_all(world.state("connect")).expect("our own directory");
        let out = format!("{}/connect.key", world.state("connect"));
        let outcome = crate::common::proxy::run(&["bond", "keygen", "--out", &out]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout.trim().to_owned()
    };
    let server = world.serve(&["--client", &public]);
    let line = server.wait_for("public key: ");
    let key = line.split("public key: ").nth(1).expect("waited for it").to_owned();
    let client = world.connect(&[SERVER, "--server-key", &key, "--via", "c1", "--via", "c2"]);
    let kept = format!("{}/server", world.state("connect"));
    wait_until("the server is kept", LONG, || std::path::Path::new(&kept).exists());

    let mode =
        |path: &str| std::fs::metadata(path).unwrap_or_else(|e| panic!("{path}: {e}")).permissions().mode();
    for (role, file) in [
        ("serve", "serve.key"),
        ("serve", "clients"),
        ("serve", "serve.sock"),
        ("connect", "connect.key"),
        ("connect", "connect.sock"),
        ("connect", "server"),
    ] {
        let path = format!("{}/{file}", world.state(role));
        assert_eq!(mode(&path) & 0o777, 0o600, "{path}");
    }
    assert_eq!(mode(&world.state("serve")) & 0o777, 0o700);
    let second = world.tell("serve", &["serve", "--nat", "off"]);
    assert!(second.code == Some(1) && second.stderr.contains("runs already"), "{}", second.stderr);

    drop(client);
    let key = format!("{}/connect.key", world.state("connect"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("our own file");
    let open = world.tell("connect", &["connect", "--route", "none"]);
    assert!(open.code == Some(1) && open.stderr.contains("chmod 600"), "{}", open.stderr);
}

#[test]
fn a_download_outlives_the_loss_of_a_link() {
    let Some(world) = World::new(here!()) else { return };
    let _server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.connect(&[&join]);
    let web = world.web();
    let before = world.received("c2");
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| world.fetch(web.address));
        wait_until("both links carry", LONG, || world.received("c2") - before > 500_000);
        world.client.ip("link set c2 down\n");
        assert_pattern(0, &fetch.join().expect("the file comes"));
    });
    client.wait_for("c2 is down");
    world.client.ip("link set c2 up\n");
    world.route(2);
    client.wait_for("c2 carries again");
    let before = world.received("c2");
    let at: SocketAddr = web.address;
    wait_until("the link is used again", LONG, || {
        world.fetch(at);
        world.received("c2") - before > FILE as u64 / 10
    });
}
