//! Two uplinks in one network (two modems behind one switch, two cards on one LAN), and which of
//! two the routes lead back through.

use crate::common::proxy::run;
use crate::common::{LONG, here, wait_until};
use crate::world::{SERVER, World};
use std::process::Command;

/// The commands behind the lines that warn.
fn commands(said: &str) -> Vec<&str> {
    let warned = said.lines().filter(|line| line.starts_with("! "));
    warned.filter_map(|line| line.find("sysctl -w").map(|at| &line[at..])).collect()
}

#[test]
fn what_the_list_says_of_two_uplinks_in_one_network_makes_both_carry() {
    let Some(world) = World::one_network(here!()) else { return };
    // Debian's default is 0, that of others is strict or loose.
    for device in ["up1", "up2"] {
        world.client.set(&format!("ipv4/conf/{device}/rp_filter"), "1");
    }
    let said = world.client.run(|| run(&["list"]).stdout);
    let told = commands(&said);
    assert!(told.iter().any(|line| line.contains("arp_ignore=1")), "{said}");
    assert!(told.iter().any(|line| line.contains("rp_filter=2")), "{said}");
    for command in told {
        let words = command.split(' ');
        let status = Command::new("ip").args(["netns", "exec", world.client.name()]).args(words).output();
        assert!(status.is_ok_and(|output| output.status.success()), "{command}");
    }
    let said = world.client.run(|| run(&["list"]).stdout);
    assert!(commands(&said).is_empty(), "{said}");

    let proxy = world.dispatch(&["up1@3", "up2@2"]);
    // The gateway asks anew, as it does after its own entries have grown old.
    for round in 0..3 {
        world.far(1).ip("neigh flush dev br0\n");
        let sources: Vec<String> =
            (0..10).map(|_| world.ask(&proxy, SERVER).expect("both work").source.to_string()).collect();
        let by_up2 = sources.iter().filter(|source| *source == "10.77.1.3").count();
        assert_eq!(by_up2, 4, "round {round}: {sources:?}");
    }
    assert_eq!(proxy.count_lines(" rests"), 0);
}

#[test]
fn without_what_the_list_says_the_request_goes_by_the_one_that_works() {
    let Some(world) = World::one_network(here!()) else { return };
    let proxy = world.dispatch(&["up1", "up2"]);
    let line = proxy.wait_for("is in the same network 10.77.1.0/24");
    assert!(line.contains("arp_ignore=1"), "{line}");
    // Whichever the gateway believes to have both addresses: one carries in any case.
    wait_until("twenty requests", LONG, || (0..20).all(|_| world.ask(&proxy, SERVER).is_ok()));
}

#[test]
fn networks_that_overlap_are_told_as_one_is() {
    let Some(world) = World::one_network(here!()) else { return };
    world.client.ip("addr del 10.77.1.3/24 dev up2\n\
         addr add 10.77.1.130/25 dev up2\n\
         route add default via 10.77.1.1 dev up2 metric 102 onlink\n");
    let said = world.client.run(|| run(&["list"]).stdout);
    assert_eq!(said.matches("is in the same network 10.77.1.0/24").count(), 2, "{said}");
}

#[test]
fn what_strict_filtering_hits_is_what_the_kernel_answers_elsewhere() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.set("ipv4/conf/all/rp_filter", "1");
    let told = || {
        let said = world.client.run(|| run(&["list"]).stdout);
        said.lines()
            .filter_map(|line| line.split_once(": rp_filter=1"))
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    let said = world.client.run(|| run(&["list"]).stdout);
    assert_eq!(told(), ["! up2"], "{said}");
    // A rule for the interface, as ropewalk itself advises, opens the way there and none back.
    world.client.ip("route del default via 10.77.2.1 dev up2 metric 102\n\
         route add default via 10.77.2.1 dev up2 table 102\n\
         rule add oif up2 lookup 102\n");
    assert_eq!(told(), ["! up2"]);
    world.client.ip("rule add from 10.77.2.2 lookup 102\n");
    assert_eq!(told(), [""; 0]);
    // What a VPN does that takes all: the routes are two halves.
    world.client.ip("rule del from 10.77.2.2 lookup 102\nroute add 128.0.0.0/1 via 10.77.2.1 dev up2\n");
    assert_eq!(told(), ["! up1"]);
    // One route with a hop through each leads back through both.
    world.client.ip("route del 128.0.0.0/1 via 10.77.2.1 dev up2\n\
         route del default via 10.77.1.1 dev up1 metric 101\n\
         route add default nexthop via 10.77.1.1 dev up1 nexthop via 10.77.2.1 dev up2\n");
    assert_eq!(told(), [""; 0]);
}
