//! Who comes in, who does not, and what is said of it.

use crate::common::{LONG, here, wait_until};
use crate::world::{SERVER, World};
use std::net::UdpSocket;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

const BOTH: [&str; 4] = ["--via", "c1", "--via", "c2"];

#[test]
fn an_invitation_lets_one_key_in_and_the_server_remembers_it() {
    let Some(world) = World::new(here!()) else { return };
    let mut server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.connect(&[&[join.as_str()], &BOTH[..]].concat());
    server.wait_for("laptop was let in by its invitation: 10.77.0.2");

    // Another key, the same join string.
    let second = world
        .tell("thief", &["connect", &join, "--route", "none", "--join-timeout", "2", "--tun", "rwthief"]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("used or have expired"), "{}", second.stderr);
    server.wait_for("was not let in: its invitation was used before, by another key");

    server.terminate();
    assert!(server.wait_for_end().success());
    drop(server);
    let server = world.serve(&[]);
    // The client finds the new life of its server by itself.
    server.wait_for("laptop: connected");
    let third = world
        .tell("thief", &["connect", &join, "--route", "none", "--join-timeout", "2", "--tun", "rwthief"]);
    assert_eq!(third.code, Some(1), "after a restart too");
    server.wait_for("its invitation was used before");
    drop(client);
    let clients =
        std::fs::read_to_string(format!("{}/clients", world.state("serve"))).expect("it was written");
    assert_eq!(clients.lines().filter(|line| !line.starts_with('#')).count(), 1, "{clients}");
}

#[test]
fn strangers_and_latecomers_are_refused_by_name() {
    let Some(world) = World::new(here!()) else { return };
    let early = world.tell("serve", &["invite", "laptop", "--server", SERVER]);
    assert!(early.code == Some(1) && early.stderr.contains("bond serve"), "{}", early.stderr);
    let server = world.serve(&[]);
    let line = server.wait_for("public key: ");
    let key = line.split("public key: ").nth(1).expect("waited for it").to_owned();
    let stranger = world.begin("connect", &[SERVER, "--server-key", &key]);
    server.wait_for("was not let in: its key is unknown, and it has no invitation");
    stranger.wait_for("no answer from");
    drop(stranger);

    let join = world.invite("late", &["--expires", "1s"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let late = world.tell("late", &["connect", &join, "--route", "none", "--join-timeout", "2"]);
    assert!(late.code == Some(1) && late.stderr.contains("no answer from"), "{}", late.stderr);
    server.wait_for("was not let in: its invitation has expired");

    let other = join.replace(
        &join[join.find('.').expect("a token") + 1..join.find('@').expect("a server")],
        &"0".repeat(32),
    );
    let guessed = world.tell("late", &["connect", &other, "--route", "none", "--join-timeout", "2"]);
    assert_eq!(guessed.code, Some(1));
    server.wait_for("was not let in: its key and its invitation are unknown");

    let taken = world.tell("serve", &["invite", "bad name", "--server", SERVER]);
    assert!(taken.code == Some(2) && taken.stderr.contains("'bad name'"), "{}", taken.stderr);
    world.invite("laptop", &[]);
    let twice = world.tell("serve", &["invite", "laptop", "--server", SERVER]);
    assert!(twice.code == Some(1) && twice.stderr.contains("no other client has"), "{}", twice.stderr);
}

#[test]
fn a_replayed_first_message_changes_nothing() {
    let Some(world) = World::new(here!()) else { return };
    let server = world.serve(&[]);
    // Somebody on the way who keeps what passes.
    let first: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let front = world.server.run(|| UdpSocket::bind("198.51.100.1:4600").expect("a free port"));
    let back = world.server.run(|| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    back.connect("127.0.0.1:4500").expect("it is there");
    let (kept, up, down) = (Arc::clone(&first), front.try_clone(), back.try_clone());
    let (up, down) = (up.expect("a descriptor"), down.expect("a descriptor"));
    let from = Arc::new(Mutex::new(None));
    let whom = Arc::clone(&from);
    std::thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok((len, source)) = front.recv_from(&mut buf) {
            kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| buf[..len].to_vec());
            *whom.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
            let _ = back.send(&buf[..len]);
        }
    });
    std::thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok(len) = down.recv(&mut buf) {
            let to = *from.lock().unwrap_or_else(PoisonError::into_inner);
            to.map(|to| up.send_to(&buf[..len], to));
        }
    });
    let join = world.invite("laptop", &[]).replace(":4500", ":4600");
    let client = world.begin("connect", &[&join, "--via", "c1"]);
    client.wait_for("c1 carries");
    server.wait_for("laptop: connected");

    let init = first.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("it went by");
    let thief = world.server.run(|| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    thief.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a time above 0");
    thief.send_to(&init, "127.0.0.1:4500").expect("it is there");
    server.wait_for("was not let in: its first message was seen before");
    assert!(thief.recv(&mut [0; 2048]).is_err(), "a replay is not answered");
    assert_eq!(server.count_lines("laptop: connected"), 1);
    let ping = || {
        let ping =
            world.client.run(|| Command::new("ping").args(["-c", "1", "-W", "1", "10.77.0.1"]).output());
        ping.expect("ping is there").status.success()
    };
    wait_until("the client's bond goes on", LONG, ping);
}

#[test]
fn a_client_that_is_shut_out_is_out_at_once_and_after_a_restart() {
    let Some(world) = World::new(here!()) else { return };
    let mut server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.connect(&[&[join.as_str()], &BOTH[..]].concat());
    let taken_back = world.invite("phone", &[]);
    let listed = world.ask("serve", &["clients"]);
    assert!(
        listed.contains("laptop  10.77.0.2  rwp1.") && listed.contains("phone   10.77.0.3  invited"),
        "{listed}"
    );

    assert_eq!(world.ask("serve", &["revoke", "laptop"]), "laptop is shut out");
    client.wait_for("ended, or silent for too long");
    // Its join string is a used one.
    server.wait_for("was not let in: its invitation was used before");
    let ping = world.client.run(|| Command::new("ping").args(["-c", "1", "-W", "1", "10.77.0.1"]).output());
    assert!(!ping.expect("ping is there").status.success(), "nothing goes through");
    assert_eq!(world.ask("serve", &["revoke", "phone"]), "phone is shut out");
    let late = world
        .tell("late", &["connect", &taken_back, "--route", "none", "--join-timeout", "2", "--tun", "rwlate"]);
    assert_eq!(late.code, Some(1), "an invitation that was taken back is none");
    let again = world.tell("serve", &["revoke", "laptop"]);
    assert!(again.code == Some(1) && again.stderr.contains("'laptop'"), "{}", again.stderr);

    server.terminate();
    assert!(server.wait_for_end().success());
    drop(server);
    let server = world.serve(&[]);
    // Its join string is a used one.
    server.wait_for("was not let in: its invitation was used before");
    assert_eq!(server.count_lines("connected"), 0);
}

#[test]
fn what_cannot_be_written_of_an_enrolment_is_kept_and_written_later() {
    let Some(world) = World::new(here!()) else { return };
    let mut server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    // Where the new file would be is a directory: as good as a full disk.
    let ways = ["serve", "connect"].map(|role| world.state(role));
    std::fs::create_dir_all(&ways[1]).expect("our own directory");
    set_mode(&ways[1]);
    let [clients, known] = [format!("{}/clients.new", ways[0]), format!("{}/server.new", ways[1])];
    [&clients, &known].iter().for_each(|way| std::fs::create_dir(way).expect("our own directory"));
    let client = world.connect(&[&[join.as_str()], &BOTH[..]].concat());
    server.wait_for("a client was let in, and this cannot be written down: ");
    client.wait_for("the server cannot be written down: ");
    let unwritten = |world: &World| {
        crate::world::member(&world.ask("serve", &["status", "--json"]), "{", "unwritten_clients").to_owned()
    };
    assert_eq!(unwritten(&world), "1");
    assert!(world.ask("serve", &["status"]).contains("not written down (is the disk full?): 1"));
    [&clients, &known].iter().for_each(|way| std::fs::remove_dir(way).expect("our own directory"));
    server.wait_for("all clients that were let in are written down now");
    client.wait_for("the server is written down now");
    assert_eq!(unwritten(&world), "0");
    server.terminate();
    assert!(server.wait_for_end().success());
    let server = world.serve(&[]);
    server.wait_for("laptop: connected");
}

fn set_mode(dir: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).expect("our own directory");
}
