//! Which uplink carries a connection, and what happens when one dies.

mod util;

use ropewalk_core::machine::UplinkId;
use ropewalk_core::machine::event::{DownReason, Event};
use ropewalk_sim::stream::World;
use std::time::Duration;
use util::{connect, downs_and_ups, echo, visit};

const STAGGER: Duration = Duration::from_millis(250);
const AT_ONCE: Duration = Duration::from_millis(100);

#[test]
fn weights_of_3_and_2_are_exact_over_50_connections() {
    let mut world = World::builder().uplink("wlan0", 3).uplink("usb0", 2).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut first = Vec::new();
        for _ in 0..50 {
            let (bound, _) = visit(&client, to).await?;
            first.push(bound.ip() == client.net.uplink("wlan0"));
        }
        let a = |wlan: &[bool]| wlan.iter().filter(|yes| **yes).count();
        assert_eq!(a(&first), 30);
        for five in first.chunks(5) {
            assert_eq!(a(five), 3, "of any 5 in a row 3 take the first: {five:?}");
        }
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let accounts = world.net().accounts();
    assert_eq!((accounts[0].connected, accounts[1].connected), (30, 20));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
}

#[test]
fn weights_of_5_3_and_2_are_exact_in_any_ten_of_100() {
    let mut world = World::builder().uplink("wlan0", 5).uplink("usb0", 3).uplink("usb1", 2).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut all = Vec::new();
        for _ in 0..100 {
            all.push(visit(&client, to).await?.0.ip());
        }
        for ten in all.windows(10) {
            let by = ["wlan0", "usb0", "usb1"].map(|label| {
                let own = client.net.uplink(label);
                ten.iter().filter(|ip| **ip == own).count()
            });
            assert_eq!(by, [5, 3, 2], "{ten:?}");
        }
        let longest = all.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert_eq!(longest, Some(2), "interleaved: {all:?}");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn weights_hold_when_50_come_at_once() {
    let mut world = World::builder().uplink("wlan0", 3).uplink("usb0", 2).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let visits: Vec<_> = (0..50)
            .map(|_| {
                let other = client.clone();
                client.spawn(async move { visit(&other, to).await })
            })
            .collect();
        for visit in visits {
            visit.await??;
        }
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let accounts = world.net().accounts();
    assert_eq!((accounts[0].connected, accounts[1].connected), (30, 20));
}

#[test]
fn a_black_hole_is_left_within_the_stagger_and_rests_after_three_and_comes_back() {
    let mut world = World::builder().uplink("wlan0", 1).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let (wlan0, usb0) = (client.net.uplink("wlan0"), client.net.uplink("usb0"));
        let mut used = Vec::new();
        for _ in 0..4 {
            used.push(visit(&client, to).await?.0.ip());
        }
        assert_eq!(used, [wlan0, usb0, wlan0, usb0], "both are in use before");

        client.net.hold("wlan0");
        let (bound, took) = visit(&client, to).await?;
        assert_eq!(bound.ip(), usb0);
        assert!(took >= STAGGER && took < STAGGER + Duration::from_millis(500), "took {took:?}");
        let mut visits = 0;
        while downs_and_ups(&client.net).0 == 0 {
            let (bound, took) = visit(&client, to).await?;
            assert_eq!(bound.ip(), usb0);
            assert!(took < Duration::from_millis(1500), "took {took:?}");
            visits += 1;
            assert!(visits < 10, "three attempts in vain are enough");
        }
        let down = client.net.events().into_iter().find_map(|(_, event)| match event {
            Event::UplinkDown { uplink, why, .. } => Some((uplink, why)),
            _ => None,
        });
        assert_eq!(down, Some((UplinkId(0), DownReason::Silent { attempts: 3 })));

        for _ in 0..10 {
            let (bound, took) = visit(&client, to).await?;
            assert_eq!(bound.ip(), usb0);
            assert!(took < AT_ONCE, "the resting uplink costs nothing, and this took {took:?}");
        }

        client.net.release("wlan0");
        client.sleep(Duration::from_secs(6)).await;
        let mut used = Vec::new();
        for _ in 0..10 {
            let (bound, took) = visit(&client, to).await?;
            assert!(took < AT_ONCE, "took {took:?}");
            used.push(bound.ip());
        }
        assert_eq!(used.iter().filter(|ip| **ip == wlan0).count(), 5, "it has its share again");
        assert_eq!(downs_and_ups(&client.net), (1, 1));
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
}

#[test]
fn every_connection_meets_a_black_hole_for_at_most_500_ms_beyond_the_stagger() {
    // What is promised: "Uplink black-holed: the same request succeeds through another one within
    // 500 ms of the stagger": each request, not the first one only.
    let mut world = World::builder().uplink("wlan0", 1).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.hold("wlan0");
        let mut slow = Vec::new();
        for _ in 0..8 {
            let (_, took) = visit(&client, to).await?;
            if took >= STAGGER + Duration::from_millis(500) {
                slow.push(took);
            }
        }
        assert_eq!(slow, [], "these took too long");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn streams_that_were_open_through_a_held_uplink_go_on_after_its_release() {
    let mut world = World::builder().uplink("wlan0", 1).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        client.net.hold("wlan0");
        answer.wire.write_all(b"into the dark").await?;
        client.sleep(Duration::from_secs(30)).await;
        client.net.release("wlan0");
        answer.wire.shutdown().await;
        assert_eq!(answer.wire.read_to_end().await?, b"into the dark");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_partitioned_uplink_is_passed_over_at_once() {
    let mut world = World::builder().uplink("wlan0", 1).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.partition("wlan0");
        for _ in 0..10 {
            let (bound, took) = visit(&client, to).await?;
            assert_eq!(bound.ip(), client.net.uplink("usb0"));
            assert!(took < AT_ONCE, "took {took:?}");
        }
        let (downs, _) = downs_and_ups(&client.net);
        assert_eq!(downs, 1, "it rests after three attempts in vain");
        client.net.repair("wlan0");
        client.sleep(Duration::from_secs(6)).await;
        let before = client.net.accounts()[0].connected;
        for _ in 0..10 {
            visit(&client, to).await?;
        }
        assert_eq!(client.net.accounts()[0].connected - before, 5, "it has its share again");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_vanished_device_is_passed_over_at_once_and_used_again_when_it_is_back() {
    let mut world = World::builder().uplink("wlan0", 1).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.unplug("wlan0");
        for _ in 0..6 {
            let (bound, took) = visit(&client, to).await?;
            assert_eq!(bound.ip(), client.net.uplink("usb0"));
            assert!(took < AT_ONCE, "took {took:?}");
        }
        client.net.plug("wlan0");
        client.sleep(Duration::from_secs(2)).await;
        for _ in 0..6 {
            visit(&client, to).await?;
        }
        assert_eq!(client.net.accounts()[0].connected, 3);
        assert_eq!(downs_and_ups(&client.net), (1, 1));
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn with_every_device_gone_the_client_hears_03_at_once() {
    let mut world = World::builder().uplink("wlan0", 1).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.unplug("wlan0");
        client.net.unplug("usb0");
        let answer = connect(&client, to).await?;
        assert_eq!(answer.code, 3);
        assert!(answer.took < AT_ONCE, "took {:?}", answer.took);
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn an_uplink_that_is_slow_but_works_is_waited_for_and_not_left() {
    let far = Duration::from_millis(300);
    let mut world = World::builder().far_uplink("satellite", 1, far).uplink("usb0", 1).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        for _ in 0..20 {
            visit(&client, to).await?;
        }
        assert_eq!(downs_and_ups(&client.net), (0, 0));
        let carried = client.net.accounts()[0].connected;
        assert!(carried >= 9, "all but the first of its turns, and it carried {carried}");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}
