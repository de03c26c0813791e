//! The shares hold exactly and interleaved, whatever the uplinks are written as.
//!
//! A connection that the machine keeps waiting is tried by another uplink beside, so shares are
//! exact where nothing was held up: each round begins anew until that is so. That they are exact
//! whenever no attempt is silent is shown in virtual time (`sim/tests/stream_uplinks.rs`), and that
//! what is left shares by weight when one drops (`core/src/uplink/weighted.rs`).

use crate::capture::Capture;
use crate::common::proxy::Proxy;
use crate::common::{has, here};
use crate::world::{SERVER, SERVER_V6, Seen, World, in_peace, ip, uplink_of};

/// How many went through uplinks 1, 2, 3.
fn shares(order: &[usize]) -> [usize; 3] {
    [1, 2, 3].map(|n| order.iter().filter(|uplink| **uplink == n).count())
}

/// The longest run of connections through the same uplink.
fn longest_run(order: &[usize]) -> usize {
    order.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap_or(0)
}

/// 500 connections, 3 to 2: exact, interleaved, and seen on the right devices.
fn three_to_two(world: &World, uplinks: &[&str]) -> Proxy {
    let (proxy, order, captures) = in_peace(|| {
        let proxy = world.dispatch(uplinks);
        let captures = ["up1", "up2"].map(|device| Capture::of_syns(&world.client, device));
        let order = world.ask_in_peace(&proxy, 500)?;
        Some((proxy, order, captures))
    });
    assert_eq!(shares(&order), [300, 200, 0]);
    assert_eq!(longest_run(&order), 2, "interleaved: {:?}", &order[..20]);
    for five in order.chunks(5) {
        assert_eq!(shares(five), [3, 2, 0], "in any five: {five:?}");
    }
    for (n, (capture, expected)) in (1..).zip(captures.into_iter().zip([300, 200])) {
        let syns = capture.finish(expected);
        assert_eq!(syns.len(), expected, "SYNs on up{n}");
        let own = format!(" {}.", ip(n));
        let stray = syns.iter().find(|line| !line.contains(&own) || !line.contains("> 203.0.113.1.80:"));
        assert_eq!(stray, None, "only up{n}'s own address leaves by it");
    }
    proxy
}

#[test]
fn weights_three_and_two_are_300_and_200_of_500_for_a_user_without_privilege() {
    if !has(here!(), "tcpdump") {
        return;
    }
    let Some(world) = World::new(here!(), 2) else { return };
    let log = three_to_two(&world, &["up1@3", "up2@2"]).stop();
    for account in ["up1: 300 connections, 0 attempts failed", "up2: 200 connections, 0 attempts failed"] {
        assert!(log.iter().any(|line| line.contains(account)), "expected {account:?} in {log:#?}");
    }
}

#[test]
fn weights_hold_for_addresses_as_the_ancestor_wrote_them() {
    if !has(here!(), "tcpdump") {
        return;
    }
    let Some(world) = World::new(here!(), 2) else { return };
    three_to_two(&world, &["10.77.1.2@3", "10.77.2.2@2"]);
}

#[test]
fn weights_hold_in_sum_over_two_workers() {
    let Some(world) = World::new(here!(), 2) else { return };
    let order: Vec<usize> = in_peace(|| {
        let proxy = world.dispatch(&["up1@3", "up2@2", "--workers", "2"]);
        std::thread::scope(|scope| {
            let ask = || scope.spawn(|| world.ask_in_peace(&proxy, 125));
            let clients: Vec<_> = (0..4).map(|_| ask()).collect();
            let orders = clients.into_iter().map(|client| client.join().expect("all answered"));
            Some(orders.collect::<Option<Vec<_>>>()?.concat())
        })
    });
    assert_eq!(shares(&order), [300, 200, 0]);
}

#[test]
fn three_uplinks_take_five_three_and_two_of_ten() {
    let Some(world) = World::new(here!(), 3) else { return };
    let uplinks = ["up1@5", "10.77.2.2@3", "10.77.3.2%up3@2"];
    let order = in_peace(|| world.ask_in_peace(&world.dispatch(&uplinks), 100));
    for ten in order.chunks(10) {
        assert_eq!(shares(ten), [5, 3, 2], "in any ten: {ten:?}");
    }
    assert_eq!(longest_run(&order), 2, "interleaved: {:?}", &order[..20]);
}

#[test]
fn when_an_uplink_drops_the_others_share_by_their_weights() {
    let Some(world) = World::new(here!(), 3) else { return };
    let mut is_there = true;
    let (before, without, after) = in_peace(|| {
        if !std::mem::replace(&mut is_there, true) {
            world.plug(2);
        }
        let proxy = world.dispatch(&["up1@5", "up2@3", "up3@2"]);
        let before = world.ask_in_peace(&proxy, 10)?;
        world.unplug(2);
        is_there = false;
        proxy.wait_for("the interface of up2 has vanished");
        let without = world.ask_in_peace(&proxy, 70)?;
        world.plug(2);
        is_there = true;
        proxy.wait_for("the interface of up2 is there");
        // It comes back where it was in the order, and then all is as before.
        world.ask_in_peace(&proxy, 10)?;
        Some((before, without, world.ask_in_peace(&proxy, 50)?))
    });
    assert_eq!(shares(&before), [5, 3, 2]);
    for seven in without.chunks(7) {
        assert_eq!(shares(seven), [5, 0, 2], "in any seven: {seven:?}");
    }
    assert!(longest_run(&without) <= 3, "interleaved: {:?}", &without[..14]);
    for ten in after.chunks(10) {
        assert_eq!(shares(ten), [5, 3, 2], "in any ten: {ten:?}");
    }
}

#[test]
fn weights_hold_in_ipv6() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (proxy, order) = in_peace(|| {
        let proxy = world.dispatch(&["up1@3", "fd77:2::2@2"]);
        let one = || world.ask(&proxy, SERVER_V6).expect("both carry IPv6");
        let order: Option<Vec<usize>> =
            (0..25).map(|_| Some(one()).filter(Seen::is_calm).map(|seen| uplink_of(seen.source))).collect();
        Some((proxy, order?))
    });
    // The second was written as an IPv6 address and is for IPv6 alone.
    assert_eq!(shares(&order), [15, 10, 0]);
    assert_eq!(shares(&world.ask_times(&proxy, 10)), [10, 0, 0]);
}

#[test]
fn auto_finds_both_uplinks_and_says_why_it_leaves_out_the_rest() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.ip("link add br0 type bridge\naddr add 10.99.0.1/24 dev br0\nlink set br0 up\n");
    let (proxy, order) = in_peace(|| {
        let proxy = world.dispatch(&[]);
        let order = world.ask_in_peace(&proxy, 20)?;
        Some((proxy, order))
    });
    assert_eq!(shares(&order), [10, 10, 0]);
    for line in [
        "uplink 1: up1, weight 1",
        "uplink 2: up2, weight 1",
        "auto leaves out lo: loopback",
        "auto leaves out br0: a bridge",
    ] {
        proxy.wait_for(line);
    }
}

#[test]
fn two_uplinks_with_the_same_address_are_told_apart_by_their_interfaces() {
    let Some(world) = World::alike(here!(), 2) else { return };
    for uplinks in [["up1@3", "up2@2"], ["10.77.1.2%up1@3", "10.77.1.2%up2@2"]] {
        let order = in_peace(|| world.ask_in_peace(&world.dispatch(&uplinks), 50));
        assert_eq!(shares(&order), [30, 20, 0], "{uplinks:?}");
    }
    let seen = world.ask(&world.dispatch(&["up2"]), SERVER).expect("up2 carries");
    assert_eq!((seen.source, seen.far), (ip(1), 2));
}

#[test]
fn a_network_on_link_on_one_uplink_is_reached_through_that_one_only() {
    let Some(world) = World::new(here!(), 2) else { return };
    let listener = world.far(2).run(|| std::net::TcpListener::bind("10.77.2.1:80"));
    let listener = listener.expect("the far side has this address");
    let server = crate::common::servers::Server::in_turn(listener, drop);
    let proxy = world.dispatch(&["up1@9", "up2"]);
    for _ in 0..5 {
        world.connect(&proxy, server.address).expect("on-link on up2");
    }
    let log = proxy.stop();
    let account = "up2: 5 connections, 0 attempts failed";
    assert!(log.iter().any(|line| line.contains(account)), "expected {account:?} in {log:#?}");
}
