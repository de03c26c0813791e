//! Uplinks that go away and come back, under a running proxy.

use crate::common::{LONG, Scratch, here, patient, process, wait_until};
use crate::world::{SERVER, World, in_peace, ip};
use std::io::{Read, Write};
use std::time::Duration;

/// "Within seconds".
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_device_that_vanishes_is_left_and_used_again_when_it_comes_back() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (proxy, order) = in_peace(|| {
        let proxy = world.dispatch(&["up1", "up2"]);
        let order = world.ask_in_peace(&proxy, 4)?;
        Some((proxy, order))
    });
    assert_eq!(order, [1, 2, 1, 2]);
    world.unplug(2);
    world.ask_and_never_wait(&proxy, SERVER, 10, ip(1));
    proxy.wait_for("the interface of up2 has vanished");
    world.plug(2);
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is there").source == ip(2));
    proxy.wait_for("the interface of up2 is there");
    // Whole rounds, whosever turn it is.
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 5, "{order:?}");
}

#[test]
fn an_uplink_by_address_is_used_again_when_device_and_address_come_back() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["10.77.1.2", "10.77.2.2"]);
    world.unplug(2);
    for _ in 0..10 {
        assert_eq!(world.ask(&proxy, SERVER).expect("up1 is there").source, ip(1));
    }
    world.plug(2);
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is there").source == ip(2));
}

#[test]
fn a_device_that_is_not_there_at_the_start_is_used_once_it_comes() {
    let Some(world) = World::new(here!(), 1) else { return };
    let proxy = world.dispatch(&["up1", "up2"]);
    proxy.wait_for("there is no interface up2 now; it is used once it comes");
    assert_eq!(world.ask_times(&proxy, 4), [1; 4]);
    world.plug(2);
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is there").source == ip(2));
}

#[test]
fn auto_takes_a_device_that_comes_later_and_keeps_it_when_it_goes() {
    let Some(world) = World::new(here!(), 1) else { return };
    let (_scratch, file) = crate::records::place();
    let proxy = world.dispatch(&["--record", &file]);
    assert_eq!(world.ask_times(&proxy, 4), [1; 4]);
    // Its address comes before its route, as by DHCP.
    world.plug(2);
    proxy.wait_for("auto takes up2 too");
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 5, "{order:?}");
    world.unplug(2);
    assert_eq!(world.ask_times(&proxy, 4), [1; 4]);
    world.plug(2);
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is there").source == ip(2));
    assert_eq!(proxy.count_lines("auto takes up2 too"), 1);
    proxy.stop();
    let replayed = crate::common::proxy::run(&["sim", "replay", &file]);
    assert_eq!((replayed.code, replayed.stderr.as_str()), (Some(0), ""), "{}", replayed.stdout);
    for told in ["up2 is an uplink from now on", "relays to 203.0.113.1:80 by up2"] {
        assert!(replayed.stdout.contains(told), "{}", replayed.stdout);
    }
}

#[test]
fn where_there_was_no_uplink_at_the_start_auto_takes_those_that_come() {
    let Some(world) = World::new(here!(), 0) else { return };
    let proxy = world.dispatch(&["--policy", "round-robin"]);
    proxy.wait_for("no interface with a default route of its own was found");
    [1, 2].iter().for_each(|n| world.plug(*n));
    [1, 2].iter().for_each(|n| drop(proxy.wait_for(&format!("auto takes up{n} too"))));
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 5, "{order:?}");
}

#[test]
fn a_device_that_is_switched_off_and_on_again_is_left_and_used_again() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2"]);
    world.client.ip("link set up2 down\n");
    world.ask_and_never_wait(&proxy, SERVER, 10, ip(1));
    world.client.ip("link set up2 up\nroute add default via 10.77.2.1 dev up2 metric 102\n");
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is up").source == ip(2));
}

#[test]
fn a_device_without_a_carrier_is_passed_over_and_used_again() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2"]);
    // Its address and its route stay, as Linux has it.
    world.far(1).ip("link set far2 down\n");
    world.wait_for_link(2, "NO-CARRIER");
    world.ask_and_never_wait(&proxy, SERVER, 10, ip(1));
    world.far(1).ip("link set far2 up\n");
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is up").source == ip(2));
}

#[test]
fn where_no_device_has_a_carrier_a_connection_waits_for_it() {
    let Some(world) = World::new(here!(), 1) else { return };
    let proxy = world.dispatch(&["up1"]);
    world.far(1).ip("link set far1 down\n");
    world.wait_for_link(1, "NO-CARRIER");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| world.ask(&proxy, SERVER));
        // A cable that is put back, a WLAN that changes its access point.
        std::thread::sleep(Duration::from_millis(300));
        world.far(1).ip("link set far1 up\n");
        assert_eq!(asked.join().expect("it ends").map(|seen| seen.source), Ok(ip(1)));
    });
}

#[test]
fn an_interface_by_name_follows_its_address() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up2"]);
    assert_eq!(world.ask(&proxy, SERVER).expect("up2 carries").source, ip(2));
    world.client.ip("addr del 10.77.2.2/24 dev up2\n\
         addr add 10.77.2.9/24 dev up2\n\
         route replace default via 10.77.2.1 dev up2 metric 102\n");
    let seen = world.ask(&proxy, SERVER).expect("up2 carries with its new address");
    assert_eq!(seen.source.to_string(), "10.77.2.9");
}

#[test]
fn a_device_that_is_renamed_away_is_not_taken_for_another() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2"]);
    // What is called up2 now is another device, and without routes: nothing may leave by the old
    // one.
    world.client.ip("link set up2 down\nlink set up2 name old2\nlink set old2 up\n");
    world.client.ip("route add default via 10.77.2.1 dev old2 metric 102\n");
    for _ in 0..6 {
        assert_eq!(world.ask(&proxy, SERVER).expect("up1 is there").source, ip(1));
    }
    world.client.ip("link set old2 down\nlink set old2 name up2\nlink set up2 up\n");
    world.client.ip("route add default via 10.77.2.1 dev up2 metric 102\n");
    wait_until("up2 carries", SOON, || world.ask(&proxy, SERVER).expect("up1 is there").source == ip(2));
}

#[test]
fn open_connections_on_a_device_that_vanished_end_within_five_seconds() {
    let Some(world) = World::new(here!(), 2) else { return };
    let listener = world.far(1).run(|| std::net::TcpListener::bind("203.0.113.1:7")).expect("a free port");
    // Says nothing and holds on.
    let mut held = Vec::new();
    let silent = crate::common::servers::Server::in_turn(listener, move |stream| held.push(stream));
    let proxy = world.dispatch(&["up2"]);
    let mut tunnel = world.connect(&proxy, silent.address).expect("up2 carries");
    world.unplug(2);
    tunnel.set_read_timeout(Some(SOON)).expect("above zero");
    let end = tunnel.read(&mut [0; 1]).map_err(|error| error.kind());
    let ended = matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset));
    assert!(ended, "expected the end of a tunnel that leads nowhere, got {end:?}");
}

#[test]
fn open_connections_end_within_five_seconds_when_their_address_goes_and_the_interface_stays() {
    let Some(world) = World::new(here!(), 2) else { return };
    let listener = world.far(1).run(|| std::net::TcpListener::bind("203.0.113.1:7")).expect("a free port");
    let mut held = Vec::new();
    let silent = crate::common::servers::Server::in_turn(listener, move |stream| held.push(stream));
    let proxy = world.dispatch(&["up1", "up2"]);
    let mut tunnels: Vec<_> =
        (0..10).map(|_| world.connect(&proxy, silent.address).expect("both carry")).collect();
    // Roaming: another address, the same interface.
    world.client.ip("addr del 10.77.2.2/24 dev up2\naddr add 10.77.2.9/24 dev up2\n");
    let began = std::time::Instant::now();
    let mut ended = 0;
    for tunnel in &mut tunnels {
        let left = SOON.saturating_sub(began.elapsed()).max(Duration::from_millis(50));
        tunnel.set_read_timeout(Some(left)).expect("above zero");
        let end = tunnel.read(&mut [0; 1]).map_err(|error| error.kind());
        ended += usize::from(matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)));
    }
    assert_eq!(ended, 5, "those on up2 end, and no others");
}

#[test]
fn a_reload_changes_uplinks_and_weights_and_what_was_open_through_one_that_is_gone_lives_on() {
    let Some(world) = World::new(here!(), 2) else { return };
    let files = Scratch::new();
    let write = |uplinks: &str| {
        let text = format!("[dispatch]\nlisten = \"127.0.0.1:0\"\nuplinks = [{uplinks}]\n");
        files.file("ropewalk.toml", text.as_bytes())
    };
    let config = write("\"up1\"");
    let proxy = world.dispatch(&["--config", &config]);
    let reload = |nth: usize, uplinks: &str| {
        write(uplinks);
        let pid = rustix::process::Pid::from_raw(proxy.id() as i32).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("our own child");
        proxy.wait_for_nth("SIGHUP: the configuration was read again", nth);
    };
    let listener = world.far(1).run(|| std::net::TcpListener::bind("203.0.113.1:7")).expect("a free port");
    let mut held = Vec::new();
    let silent = crate::common::servers::Server::in_turn(listener, move |stream| held.push(stream));
    let mut old = world.connect(&proxy, silent.address).expect("up1 is there");
    old.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    reload(1, "\"up2@2\", \"up1\"");
    // Whole rounds of the shares: one that is repeated may begin in the middle of one.
    let order = in_peace(|| world.ask_in_peace(&proxy, 6));
    assert_eq!([1, 2].map(|n| order.iter().filter(|of| **of == n).count()), [2, 4], "{order:?}");
    reload(2, "\"up2\"");
    assert_eq!(world.ask_times(&proxy, 4), [2; 4]);
    let quiet = patient(|| old.read(&mut [0; 1]));
    assert!(matches!(&quiet, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{quiet:?}");
    // It is still watched for what is open through it.
    world.unplug(1);
    proxy.wait_for("the interface of up1 has vanished");
    old.set_read_timeout(Some(LONG)).expect("a socket");
    let end = patient(|| old.read(&mut [0; 1]));
    assert!(!matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{end:?}");
}

#[test]
fn an_address_that_comes_while_files_are_read_again_is_used() {
    let Some(world) = World::new(here!(), 1) else { return };
    world.plug(2);
    world.client.ip("addr del 10.77.2.2/24 dev up2\n");
    let files = Scratch::new();
    let users = files.file("users", b"u:p\n");
    let proxy = world.dispatch(&["up2", "--auth-file", &users]);
    // From now on the users come through a pipe: reading takes as long as the writer likes.
    std::fs::remove_file(&users).expect("it is there");
    let made = std::process::Command::new("mkfifo").args(["-m", "644", &users]).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    process::hang_up(proxy.id());
    // Opened once somebody reads: the interfaces have been looked at.
    let mut pipe = std::fs::File::options().write(true).open(&users).expect("it is there");
    world.client.ip("addr add 10.77.2.2/24 dev up2\nroute add default via 10.77.2.1 dev up2 metric 102\n");
    // The thread that watches has seen it before the reload ends, or this test shows nothing.
    std::thread::sleep(Duration::from_millis(300));
    pipe.write_all(b"u:p\n").expect("somebody reads");
    drop(pipe);
    proxy.wait_for("SIGHUP: the configuration was read again");
    let ask = || {
        let mut stream = world.client.run(|| crate::common::socks::dial(proxy.address));
        let request = format!("CONNECT {SERVER} HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the proxy reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    wait_until("up2 carries", SOON, || ask().is_ok_and(|answer| answer.ends_with("10.77.2.2 1\n")));
}
