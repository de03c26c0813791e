//! What a SOCKS5 client hears, by what its target and the uplinks do.

mod util;

use ropewalk_sim::stream::World;
use ropewalk_sim::stream::world::Builder;
use std::net::SocketAddr;
use std::time::Duration;
use util::{connect, connect_with, downs_and_ups, echo, mirror, pattern, visit};

fn two_uplinks() -> Builder {
    World::builder().uplink("wlan0", 1).uplink("usb0", 1)
}

#[test]
fn a_connect_carries_bytes_both_ways_from_the_uplinks_address() {
    let mut world = two_uplinks().build();
    let (echo, mirror) = (world.target(echo), world.target(mirror));
    world.client(move |client| async move {
        let mut answer = connect(&client, echo).await?;
        assert_eq!(answer.code, 0);
        assert_eq!(answer.bound.ip(), client.net.uplink("wlan0"), "BND is the uplink's address");
        let sent = pattern(300_000, 1);
        answer.wire.write_all(&sent).await?;
        answer.wire.shutdown().await;
        assert!(answer.wire.read_to_end().await? == sent, "the same bytes come back");
        let mut answer = connect(&client, mirror).await?;
        let seen = answer.wire.read_to_end().await?;
        assert_eq!(seen, client.net.uplink("usb0").to_string().as_bytes());
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.accepted, summary.counters.open, summary.buffers_taken), (2, 0, 0));
}

#[test]
fn payload_that_comes_with_the_request_is_not_lost() {
    let mut world = two_uplinks().build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut answer = connect_with(&client, to, b"early bird").await?;
        answer.wire.write_all(b", late bird").await?;
        answer.wire.shutdown().await;
        assert_eq!(answer.wire.read_to_end().await?, b"early bird, late bird");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_refusing_target_gives_05_and_no_storm_and_hurts_no_uplink() {
    let mut world = two_uplinks().build();
    let to = world.refusing_target();
    world.client(move |client| async move {
        for _ in 0..10 {
            let mut answer = connect(&client, to).await?;
            assert_eq!(answer.code, 5);
            assert!(answer.took < Duration::from_millis(100), "took {:?}", answer.took);
            assert_eq!(answer.wire.read_to_end().await?, b"", "the proxy closes after the reply");
        }
        assert_eq!(downs_and_ups(&client.net), (0, 0));
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> Connect {"), 10, "one attempt for each request");
}

#[test]
fn an_address_without_a_host_gives_04_after_a_try_through_each_uplink() {
    let mut world = two_uplinks().build();
    world.client(move |client| async move {
        let nowhere: SocketAddr = "203.0.113.250:80".parse()?;
        assert_eq!(connect(&client, nowhere).await?.code, 4);
        assert_eq!(downs_and_ups(&client.net), (0, 0));
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> Connect {"), 2);
}

#[test]
fn a_target_that_is_silent_through_all_uplinks_gives_06_at_the_connect_deadline() {
    let mut world = two_uplinks().build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.hold("wlan0");
        client.net.hold("usb0");
        let answer = connect(&client, to).await?;
        assert_eq!(answer.code, 6);
        let late = answer.took.checked_sub(Duration::from_secs(20));
        assert!(late.is_some_and(|late| late < Duration::from_millis(20)), "took {:?}", answer.took);
        assert_eq!(downs_and_ups(&client.net), (0, 0), "nothing speaks against an uplink: nobody reached it");
        client.net.release("wlan0");
        client.net.release("usb0");
        client.sleep(Duration::from_secs(1)).await;
        visit(&client, to).await?;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> Connect {"), 3, "each uplink once, and the visit");
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
}

#[test]
fn a_client_from_elsewhere_gets_02_for_the_proxys_own_addresses() {
    let mut world = two_uplinks().build();
    world.client(move |client| async move {
        for to in ["192.0.2.1:1080", "192.0.2.1:22", "198.51.100.1:7", "127.0.0.1:22", "10.0.0.1:80"] {
            let to: SocketAddr = to.parse()?;
            assert_eq!(connect(&client, to).await?.code, 2, "{to}");
        }
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> Connect {"), 0);
}
