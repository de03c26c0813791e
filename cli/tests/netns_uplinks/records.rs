//! A recorded incident: an uplink is black-holed under a process that records, and the recording
//! replays with equal outputs.

use crate::common::proxy::run;
use crate::common::{LONG, Scratch, here, wait_until};
use crate::world::{SERVER, World, ip};
use std::os::unix::fs::PermissionsExt;

/// A place for a recording of a process that has no privilege.
pub(crate) fn place() -> (Scratch, String) {
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).expect("our own");
    let file = scratch.path().join("incident.rec");
    (scratch, file.into_os_string().into_string().expect("temporary paths are text"))
}

#[test]
fn a_black_holed_uplink_is_recorded_and_replayed_with_equal_outputs() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (scratch, file) = place();
    let file = file.as_str();
    let proxy = world.dispatch(&["up1", "up2", "--record", file]);
    assert!(world.ask_times(&proxy, 4).contains(&2), "both carry");
    world.black_hole(2);
    wait_until("up2 rests", LONG, || {
        assert_eq!(world.ask(&proxy, SERVER).expect("up1 works").source, ip(1));
        proxy.count_lines("up2 rests") == 1
    });
    proxy.stop();
    let mode = std::fs::metadata(file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // In another place than where it happened: there is no such uplink here.
    let plot = scratch.path().join("incident.svg");
    let plot = plot.to_str().expect("temporary paths are text");
    let replayed = run(&["sim", "replay", file, "--plot", plot]);
    assert_eq!((replayed.code, replayed.stderr.as_str()), (Some(0), ""), "{}", replayed.stdout);
    let told = |text: &str| replayed.stdout.lines().filter(|line| line.contains(text)).count();
    assert!(told("relays to 203.0.113.1:80 by up2") >= 1, "{}", replayed.stdout);
    assert!(told("beside one that is silent") >= 1, "{}", replayed.stdout);
    assert!(told("gives up 203.0.113.1:80 by up2") >= 1, "{}", replayed.stdout);
    assert_eq!(told("uplink up2 rests for"), 1, "{}", replayed.stdout);
    assert_eq!(told("outputs equal"), 1, "{}", replayed.stdout);
    assert_eq!(told("the recording ends with the process"), 1, "{}", replayed.stdout);
    let picture = std::fs::read_to_string(plot).expect("it was drawn");
    assert!(picture.contains("up1") && picture.contains("rests for"), "{picture}");
    if let Ok(kept) = std::env::var("ROPEWALK_KEEP") {
        std::fs::copy(plot, kept).expect("a place for it");
    }
}

/// Ids of questions come from secret numbers, which are told to a recording; sockets of name
/// servers, their answers, time-outs and the cache are the machine's own.
#[cfg(feature = "names")]
#[test]
fn a_run_with_names_through_both_uplinks_is_replayed_with_equal_outputs() {
    let Some(two) = crate::names::Two::new(here!()) else { return };
    let (_scratch, file) = place();
    let proxy = two.world.dispatch(&["up1", "up2", "--resolver", "198.51.100.53", "--record", &file]);
    let fars: Vec<_> = (0..6).map(|n| two.far_of(&proxy, &format!("host{}.example", n % 4))).collect();
    assert_eq!(fars.iter().filter(|far| **far == Ok(1)).count(), 3, "{fars:?}");
    assert_eq!(two.far_of(&proxy, "missing.example"), Err(4));
    let one = two.world.client.run(|| crate::common::udp::Association::new(proxy.address));
    one.send_to_name("datagram.example", 4000, b"nobody is there");
    // Names go on by the second uplink when the first one is silent.
    two.world.far(1).ip("route add blackhole 10.77.1.2\n");
    for n in 0..3 {
        assert_eq!(two.far_of(&proxy, &format!("late{n}.example")), Ok(2));
    }
    proxy.stop();
    let replayed = run(&["sim", "replay", &file]);
    assert_eq!((replayed.code, replayed.stderr.as_str()), (Some(0), ""), "{}", replayed.stdout);
    let told = |text: &str| replayed.stdout.lines().filter(|line| line.contains(text)).count();
    assert_eq!(told("outputs equal"), 1, "{}", replayed.stdout);
    assert_eq!(told("the recording ends with the process"), 1, "{}", replayed.stdout);
    assert!(told("relays to 203.0.113.101:80 by up1") >= 3, "{}", replayed.stdout);
    assert!(told("relays to 203.0.113.102:80 by up2") >= 6, "{}", replayed.stdout);
}
