//! Probes and backups: an uplink that does not carry is left, and used again when it does.

use crate::common::servers::Server;
use crate::common::{here, wait_until};
use crate::world::{SERVER, World, ip};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PROBE: &str = "203.0.113.1:80,period=0.5,timeout=0.3";
/// So long until a change of an uplink must be seen, however slow the machine is.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn under_load_a_black_hole_fails_no_connection_and_the_uplink_is_used_again_when_mended() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2", "--probe", PROBE]);
    let (world, proxy, stop) = (&world, &proxy, AtomicBool::new(false));
    let slowest = std::thread::scope(|scope| {
        let load = || {
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let seen = world.ask(proxy, SERVER).expect("no connection fails");
                slowest = slowest.max(seen.took);
            }
            slowest
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        std::thread::sleep(Duration::from_millis(300));
        world.black_hole(2);
        proxy.wait_for("probes of the uplink through up2 failed in a row");
        world.mend(2);
        wait_until("up2 carries", SOON, || world.ask(proxy, SERVER).expect("up1 carries").source == ip(2));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("all answered")).max()
    });
    // 500 ms by the design; what is more is for a busy machine.
    assert!(slowest < Some(Duration::from_millis(1500)), "it took {slowest:?}");
}

#[test]
fn an_uplink_that_lets_all_connect_and_carries_nothing_is_left() {
    let Some(world) = World::alike(here!(), 2) else { return };
    // Behind the first uplink is the internet, behind the second a captive portal.
    let _servers = [(1, "204 No Content"), (2, "302 Found")].map(|(n, status)| {
        let listener = world.far(n).run(|| TcpListener::bind("203.0.113.1:8081")).expect("a free port");
        Server::in_turn(listener, move |mut stream| {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        })
    });
    let probe = "http://203.0.113.1:8081/generate_204,status=204,period=0.5,timeout=0.4";
    let proxy = world.dispatch(&["up1", "up2", "--probe", probe]);
    proxy.wait_for("probes of the uplink through up2 failed in a row");
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
}

#[test]
fn a_backup_carries_only_while_the_others_do_not() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2", "--backup", "up2", "--probe", PROBE]);
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
    world.black_hole(1);
    proxy.wait_for("probes of the uplink through up1 failed in a row");
    assert_eq!(world.ask_times(&proxy, 6), [2; 6]);
    world.mend(1);
    proxy.wait_for("uplink through up1 carries again");
    assert_eq!(world.ask_times(&proxy, 6), [1; 6]);
}
