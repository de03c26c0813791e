//! Names that are slow, missing, failing, or answered when no connection waits any more.

mod util;

use ropewalk_core::machine::Fault;
use ropewalk_sim::stream::World;
use std::net::IpAddr;
use std::time::Duration;
use util::{connect, downs_and_ups, echo, visit};

/// The first target of a world.
const FIRST: &str = "203.0.113.1";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal")
}

#[test]
fn a_slow_look_up_succeeds_late_and_holds_nobody_up() {
    let mut world = World::builder()
        .uplink("wlan0", 1)
        .name("slow.example", Ok(vec![ip(FIRST)]), Duration::from_secs(8))
        .name("fast.example", Ok(vec![ip(FIRST)]), Duration::from_millis(5))
        .build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let other = client.clone();
        let slow = client.spawn(async move { visit(&other, ("slow.example", 80)).await });
        for _ in 0..5 {
            let (_, took) = visit(&client, ("fast.example", 80)).await?;
            assert!(took < Duration::from_millis(100), "took {took:?}");
            visit(&client, to).await?;
        }
        let (_, took) = slow.await??;
        let late = took.checked_sub(Duration::from_secs(8));
        assert!(late.is_some_and(|late| late < Duration::from_millis(100)), "took {took:?}");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn names_that_fail_give_04() {
    let mut world = World::builder()
        .uplink("wlan0", 1)
        .name("broken.example", Err(Fault::NameUnavailable), Duration::from_secs(1))
        .name("empty.example", Ok(vec![]), Duration::from_millis(1))
        .build();
    world.client(move |client| async move {
        for name in ["missing.example", "broken.example", "empty.example"] {
            let mut answer = connect(&client, (name, 80)).await?;
            assert_eq!(answer.code, 4, "{name}");
            assert_eq!(answer.wire.read_to_end().await?, b"");
        }
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> Connect {"), 0);
}

/// A look-up that takes longer than its deadline of 8 s is cancelled; its answer may come all the
/// same.
fn a_cancelled_look_up(stubborn: bool) {
    let (name, answer, delay) = ("late.example", Ok(vec![ip(FIRST)]), Duration::from_secs(12));
    let builder = World::builder().uplink("wlan0", 1).uplink("usb0", 1);
    let builder = match stubborn {
        true => builder.stubborn_name(name, answer, delay),
        false => builder.name(name, answer, delay),
    };
    let mut world = builder.build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let answer = connect(&client, (name, 80)).await?;
        assert_eq!(answer.code, 4);
        let late = answer.took.checked_sub(Duration::from_secs(8));
        assert!(late.is_some_and(|late| late < Duration::from_millis(20)), "took {:?}", answer.took);
        drop(answer);
        // The query's id is used again while the late answer is on its way.
        let other = client.clone();
        let second = client.spawn(async move { connect(&other, (name, 80)).await });
        client.sleep(Duration::from_secs(10)).await;
        visit(&client, to).await?;
        let answer = second.await??;
        assert_eq!(answer.code, 4, "the answer to the first query is none to the second");
        assert_eq!(downs_and_ups(&client.net), (0, 0));
        client.sleep(Duration::from_secs(30)).await;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> CancelResolve"), 2);
    assert_eq!(world.trace().count("< Resolved"), if stubborn { 2 } else { 0 });
    assert_eq!(world.trace().count("> Connect {"), 1, "the visit only");
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
}

#[test]
fn a_cancelled_look_up_hurts_nobody() {
    a_cancelled_look_up(false);
}

#[test]
fn an_answer_that_comes_after_its_query_was_cancelled_hurts_nobody() {
    a_cancelled_look_up(true);
}

#[test]
fn the_next_address_of_a_name_is_tried_when_the_first_is_refused_or_has_no_host() {
    let nowhere = ip("203.0.113.250");
    let mut world = World::builder()
        .uplink("wlan0", 1)
        .uplink("usb0", 1)
        .name("refused.example", Ok(vec![ip("203.0.113.2"), ip(FIRST)]), Duration::ZERO)
        .name("nowhere.example", Ok(vec![nowhere, ip(FIRST)]), Duration::ZERO)
        .build();
    world.target(echo);
    world.refusing_target();
    world.client(move |client| async move {
        for name in ["refused.example", "nowhere.example"] {
            let (_, took) = visit(&client, (name, 80)).await?;
            assert!(took < Duration::from_millis(150), "{name} took {took:?}");
        }
        assert_eq!(downs_and_ups(&client.net), (0, 0));
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_name_that_means_the_proxys_own_network_gives_02() {
    let mut world = World::builder()
        .uplink("wlan0", 1)
        .name("rebind.example", Ok(vec![ip("192.168.1.1")]), Duration::ZERO)
        .build();
    world.client(move |client| async move {
        assert_eq!(connect(&client, ("rebind.example", 80)).await?.code, 2);
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}
