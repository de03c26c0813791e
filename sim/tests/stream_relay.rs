//! Bytes, ends and resets through the relay.

mod util;

use ropewalk_sim::stream::World;
use ropewalk_sim::stream::world::Builder;
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;
use util::{connect, connect_with, echo, pattern, request, visit};

const MIB: usize = 1 << 20;
const PAUSE: Duration = Duration::from_secs(6);

fn two_uplinks() -> Builder {
    World::builder().uplink("wlan0", 1).uplink("usb0", 1)
}

#[test]
fn a_half_close_from_the_client_goes_through_with_a_pause_before_the_answer() {
    let mut world = two_uplinks().build();
    // 8 MiB, FIN, a pause over 5 s, then 1 MiB back.
    let to = world.target(|mut wire| async move {
        let all = wire.read_to_end().await?;
        assert!(all == pattern(8 * MIB, 3), "all came, in order");
        tokio::time::sleep(PAUSE).await;
        wire.write_all(&pattern(MIB, 4)).await
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        answer.wire.write_all(&pattern(8 * MIB, 3)).await?;
        answer.wire.shutdown().await;
        let began = client.now();
        assert!(answer.wire.read_to_end().await? == pattern(MIB, 4));
        assert!(client.now() - began >= PAUSE);
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
}

#[test]
fn a_half_close_from_the_target_goes_through_with_a_pause_before_the_answer() {
    let mut world = two_uplinks().build();
    let to = world.target(|mut wire| async move {
        wire.write_all(&pattern(MIB, 5)).await?;
        wire.shutdown().await;
        let all = wire.read_to_end().await?;
        assert!(all == pattern(MIB, 6), "what the client says after our end still comes");
        Ok(())
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        assert!(answer.wire.read_to_end().await? == pattern(MIB, 5));
        client.sleep(PAUSE).await;
        answer.wire.write_all(&pattern(MIB, 6)).await?;
        answer.wire.shutdown().await;
        client.sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let closed = world.trace().lines().iter().any(|line| {
        line.contains("Closed {")
            && line.contains("sent: 1048576, received: 1048576")
            && line.contains("fault: None")
    });
    assert!(closed, "both ways were carried to their end");
}

#[test]
fn a_targets_reset_reaches_the_client_as_a_reset_after_the_bytes_before_it() {
    let mut world = two_uplinks().build();
    let to = world.target(|mut wire| async move {
        wire.write_all(b"last words").await?;
        wire.reset();
        Ok(())
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        let mut words = [0; 10];
        answer.wire.read_exact(&mut words).await?;
        assert_eq!(&words, b"last words");
        let error = answer.wire.read(&mut words).await.expect_err("a reset is no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_clients_reset_reaches_the_target_as_a_reset() {
    let mut world = two_uplinks().build();
    let seen = Rc::new(Cell::new(None));
    let see = Rc::clone(&seen);
    let to = world.target(move |mut wire| {
        let see = Rc::clone(&see);
        async move {
            see.set(wire.read_to_end().await.err().map(|error| error.kind()));
            Ok(())
        }
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        answer.wire.write_all(b"never mind").await?;
        client.sleep(Duration::from_millis(100)).await;
        answer.wire.reset();
        client.sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(seen.get(), Some(ErrorKind::ConnectionReset));
    assert_eq!(world.trace().count("fault: Some(Reset)"), 1);
    assert_eq!(world.trace().count("how: Reset"), 2, "both sides");
}

#[test]
fn a_slow_reader_gets_back_pressure_and_loses_nothing() {
    let mut world = two_uplinks().room(8).build();
    let given = Rc::new(Cell::new(0));
    let give = Rc::clone(&given);
    let to = world.target(move |mut wire| {
        let give = Rc::clone(&give);
        async move {
            for chunk in pattern(4 * MIB, 7).chunks(16 * 1024) {
                wire.write_all(chunk).await?;
                give.set(give.get() + chunk.len());
            }
            Ok(())
        }
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        client.sleep(Duration::from_secs(10)).await;
        let under_way = given.get();
        assert!(under_way < MIB, "the sender waits, and it has sent {under_way} bytes");
        let mut all = Vec::new();
        let mut buf = vec![0; 64 * 1024];
        loop {
            let len = answer.wire.read(&mut buf).await?;
            if len == 0 {
                break;
            }
            all.extend_from_slice(&buf[..len]);
            client.sleep(Duration::from_millis(20)).await;
        }
        assert!(all == pattern(4 * MIB, 7));
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
    assert!(summary.turns < 10_000, "a busy loop took {} turns", summary.turns);
}

#[test]
fn clients_that_read_nothing_do_not_starve_the_others() {
    let mut world = two_uplinks().room(8).tune(|config| config.buffer_limit = 4).build();
    let source = world.target(|mut wire| async move { wire.write_all(&pattern(16 * MIB, 8)).await });
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut lazy = Vec::new();
        for _ in 0..4 {
            lazy.push(connect(&client, source).await?);
        }
        client.sleep(Duration::from_secs(5)).await;
        let other = client.clone();
        let visit = client.spawn(async move { visit(&other, to).await });
        client.sleep(Duration::from_secs(5)).await;
        assert!(visit.is_finished(), "four clients that do not read have stopped the proxy for all");
        visit.await??;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_client_that_ends_its_half_with_its_request_gets_its_answer() {
    let mut world = two_uplinks().build();
    let to = world.target(|mut wire| async move {
        assert_eq!(wire.read_to_end().await?, b"question");
        tokio::time::sleep(PAUSE).await;
        wire.write_all(b"answer").await
    });
    world.client(move |client| async move {
        let mut answer = connect_with(&client, to, b"question").await?;
        answer.wire.shutdown().await;
        assert_eq!(answer.wire.read_to_end().await?, b"answer");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn an_idle_tunnel_costs_no_turns_and_survives_an_hour() {
    let mut world = two_uplinks().limit(Duration::from_secs(4000)).tick(Duration::from_millis(50)).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        client.sleep(Duration::from_secs(3600)).await;
        answer.wire.write_all(b"awake").await?;
        answer.wire.shutdown().await;
        assert_eq!(answer.wire.read_to_end().await?, b"awake");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(summary.turns < 100, "an hour took {} turns", summary.turns);
}

#[test]
fn a_tunnel_that_is_idle_for_too_long_is_closed_where_a_limit_is_set() {
    let mut world = two_uplinks().tune(|config| config.idle_timeout = Some(Duration::from_secs(30))).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        client.sleep(Duration::from_secs(20)).await;
        answer.wire.write_all(b"x").await?;
        let mut x = [0];
        answer.wire.read_exact(&mut x).await?;
        let began = client.now();
        assert!(answer.wire.read(&mut x).await.is_err(), "it ends with a reset");
        let idle = client.now() - began;
        assert!(idle >= Duration::from_secs(29) && idle < Duration::from_secs(31), "after {idle:?}");
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_client_that_resets_while_its_target_is_sought_stops_the_search() {
    // A client that only ends its half may be waiting for an answer; one that resets is not.
    let mut world = two_uplinks().build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.hold("wlan0");
        client.net.hold("usb0");
        let mut wire = client.dial().await?;
        wire.write_all(&[5, 1, 0]).await?;
        wire.write_all(&request(&to.into())).await?;
        client.sleep(Duration::from_millis(100)).await;
        wire.reset();
        client.sleep(Duration::from_secs(5)).await;
        client.net.drain();
        client.sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(world.summary().is_some(), "something is still open 6 s after the client's reset");
}
