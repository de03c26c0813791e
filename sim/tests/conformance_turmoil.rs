//! The cases of the conformance kit that make sense in virtual time, on the stream world, under the
//! same names.
//!
//! What needs a kernel stays with the real runtimes: splice, descriptors, devices, processor time.
//! In the place of processor time stand the driver's turns.

mod util;

use ropewalk_core::machine::Fault;
use ropewalk_sim::stream::World;
use ropewalk_sim::stream::world::{Builder, Summary};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;
use util::{connect, connect_with, echo, exchange, pattern, request, visit};

const MIB: usize = 1 << 20;
const PAUSE: Duration = Duration::from_secs(6);

fn world() -> Builder {
    World::builder().uplink("wlan0", 1)
}

/// Runs, drains, and checks what holds for every run.
fn finish(mut world: World) -> Summary {
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(5)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0));
    assert!(summary.turns < 50_000, "a busy loop took {} turns", summary.turns);
    summary
}

/// A name here is a name of the kit.
#[cfg(unix)]
#[test]
fn the_names_are_those_of_the_kit() {
    let source = include_str!("conformance_turmoil.rs");
    let own = ["the_names_are_those_of_the_kit"];
    let tests = source.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
    let mut count = 0;
    for name in tests.filter(|name| !own.contains(name)) {
        assert!(ropewalk_conformance::cases::find(name).is_some(), "{name} is no case of the kit");
        count += 1;
    }
    assert!(count > 8, "{count} tests were found");
}

#[test]
fn a_slow_reader_stops_its_source() {
    let mut world = world().room(8).build();
    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    let to = world.target(move |mut wire| {
        let count = Rc::clone(&count);
        async move {
            for chunk in pattern(2 * MIB, 1).chunks(16 * 1024) {
                wire.write_all(chunk).await?;
                count.set(count.get() + chunk.len());
            }
            Ok(())
        }
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        client.sleep(Duration::from_secs(5)).await;
        let before = sent.get();
        client.sleep(Duration::from_secs(5)).await;
        assert_eq!(before, sent.get(), "the source stands still");
        assert!(before < MIB, "{before} bytes wait in between");
        assert!(answer.wire.read_to_end().await? == pattern(2 * MIB, 1));
        Ok(())
    });
    finish(world);
}

#[test]
fn many_at_once_are_not_mixed_up() {
    let mut world = world().room(256).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut visitors = Vec::new();
        for number in 0..50u8 {
            let other = client.clone();
            visitors.push(client.spawn(async move {
                let bytes = pattern(20_000 + usize::from(number) * 31, number.wrapping_mul(5));
                let mut answer = connect(&other, to).await?;
                let came = exchange(&mut answer.wire, &bytes).await?;
                assert!(came == bytes, "connection {number}: {} of {} bytes", came.len(), bytes.len());
                std::io::Result::Ok(())
            }));
        }
        for visitor in visitors {
            visitor.await??;
        }
        Ok(())
    });
    assert_eq!(finish(world).counters.accepted, 50);
}

#[test]
fn payload_in_the_segment_of_the_request_is_not_lost() {
    let mut world = world().build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut answer = connect_with(&client, to, b"early bird").await?;
        answer.wire.write_all(b", late bird").await?;
        answer.wire.shutdown().await;
        assert_eq!(answer.wire.read_to_end().await?, b"early bird, late bird");
        Ok(())
    });
    finish(world);
}

#[test]
fn a_half_close_from_the_client_waits_for_its_answer() {
    for len in [0, 100, 2 * MIB] {
        let mut world = world().build();
        let to = world.target(move |mut wire| async move {
            assert!(wire.read_to_end().await? == pattern(len, 2), "all came, in order");
            tokio::time::sleep(PAUSE).await;
            wire.write_all(b"answer").await
        });
        world.client(move |client| async move {
            let mut answer = connect(&client, to).await?;
            answer.wire.write_all(&pattern(len, 2)).await?;
            answer.wire.shutdown().await;
            assert_eq!(answer.wire.read_to_end().await?, b"answer");
            Ok(())
        });
        finish(world);
    }
}

#[test]
fn a_half_close_from_the_target_lets_the_client_finish() {
    for len in [0, 100, 2 * MIB] {
        let mut world = world().build();
        let came = Rc::new(RefCell::new(Vec::new()));
        let take = Rc::clone(&came);
        let to = world.target(move |mut wire| {
            let take = Rc::clone(&take);
            async move {
                wire.write_all(&pattern(len, 3)).await?;
                wire.shutdown().await;
                *take.borrow_mut() = wire.read_to_end().await?;
                Ok(())
            }
        });
        world.client(move |client| async move {
            let mut answer = connect(&client, to).await?;
            assert!(answer.wire.read_to_end().await? == pattern(len, 3));
            client.sleep(PAUSE).await;
            answer.wire.write_all(b"last words").await?;
            answer.wire.shutdown().await;
            client.sleep(Duration::from_secs(1)).await;
            Ok(())
        });
        finish(world);
        assert_eq!(came.borrow().as_slice(), b"last words");
    }
}

#[test]
fn a_targets_reset_reaches_the_client_as_a_reset() {
    let mut world = world().build();
    let to = world.target(|mut wire| async move {
        wire.read_exact(&mut [0; 2]).await?;
        wire.reset();
        Ok(())
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        answer.wire.write_all(b"go").await?;
        let error = answer.wire.read(&mut [0]).await.expect_err("a reset is no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
    finish(world);
}

#[test]
fn a_clients_reset_reaches_the_target_as_a_reset() {
    let mut world = world().build();
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
    finish(world);
    assert_eq!(seen.get(), Some(ErrorKind::ConnectionReset));
}

#[test]
fn the_last_bytes_before_a_reset_are_delivered() {
    let mut world = world().build();
    let to = world.target(|mut wire| async move {
        wire.write_all(&pattern(40_000, 4)).await?;
        wire.reset();
        Ok(())
    });
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        let mut came = vec![0; 40_000];
        answer.wire.read_exact(&mut came).await?;
        assert!(came == pattern(40_000, 4));
        let error = answer.wire.read(&mut [0]).await.expect_err("a reset is no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
    finish(world);
}

#[test]
fn a_refused_target_gives_05() {
    let mut world = world().build();
    let to = world.refusing_target();
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        assert_eq!(answer.code, 5);
        assert_eq!(answer.wire.read_to_end().await?, b"");
        Ok(())
    });
    finish(world);
}

#[test]
fn a_silent_target_gives_06_at_the_connect_deadline() {
    let mut world = world().tune(|config| config.connect_timeout = Duration::from_millis(500)).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.hold("wlan0");
        let answer = connect(&client, to).await?;
        assert_eq!(answer.code, 6);
        let late = answer.took.checked_sub(Duration::from_millis(500));
        assert!(late.is_some_and(|late| late < Duration::from_millis(20)), "took {:?}", answer.took);
        Ok(())
    });
    finish(world);
}

#[test]
fn a_client_that_leaves_while_its_target_is_silent_is_forgotten() {
    let mut world = world().build();
    let to = world.target(echo);
    world.client(move |client| async move {
        client.net.hold("wlan0");
        let mut wire = client.dial().await?;
        wire.write_all(&[5, 1, 0]).await?;
        wire.write_all(&request(&to.into())).await?;
        client.sleep(Duration::from_millis(100)).await;
        wire.reset();
        client.sleep(Duration::from_secs(1)).await;
        client.net.release("wlan0");
        client.sleep(Duration::from_secs(1)).await;
        visit(&client, to).await?;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("< Connected {"), 1, "the visit and nobody else");
    finish(world);
}

#[test]
fn a_name_that_does_not_exist_gives_04() {
    let mut world =
        world().name("broken.example", Err(Fault::NameUnavailable), Duration::from_secs(1)).build();
    world.client(move |client| async move {
        for name in ["missing.example", "broken.example"] {
            let mut answer = connect(&client, (name, 80)).await?;
            assert_eq!(answer.code, 4, "{name}");
            assert_eq!(answer.wire.read_to_end().await?, b"");
        }
        Ok(())
    });
    finish(world);
}

#[test]
fn clients_that_leave_while_their_names_are_looked_up_harm_nobody() {
    let mut world = world()
        .name("slow.example", Err(Fault::NameNotFound), Duration::from_secs(3))
        .stubborn_name("late.example", Err(Fault::NameNotFound), Duration::from_secs(3))
        .build();
    let to = world.target(echo);
    world.client(move |client| async move {
        for name in ["slow.example", "late.example", "slow.example", "late.example"] {
            let mut wire = client.dial().await?;
            wire.write_all(&[5, 1, 0]).await?;
            wire.write_all(&request(&(name, 80).into())).await?;
            client.sleep(Duration::from_millis(100)).await;
            wire.reset();
            client.sleep(Duration::from_millis(100)).await;
            visit(&client, to).await?;
        }
        client.sleep(Duration::from_secs(5)).await;
        visit(&client, to).await?;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(world.trace().count("> CancelResolve {"), 4);
    finish(world);
}

#[test]
fn a_drained_worker_finishes_what_is_open_and_refuses_the_rest() {
    let mut world = world().build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut answer = connect(&client, to).await?;
        client.net.drain();
        client.sleep(Duration::from_secs(1)).await;
        assert!(client.dial().await.is_err(), "nobody listens any more");
        answer.wire.write_all(b"still here").await?;
        answer.wire.shutdown().await;
        assert_eq!(answer.wire.read_to_end().await?, b"still here");
        client.sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(world.summary().is_some(), "the proxy has ended");
}

#[test]
fn at_the_connection_limit_the_next_waits_until_one_ends() {
    let mut world = world().tune(|config| config.max_connections = 3).build();
    let to = world.target(echo);
    world.client(move |client| async move {
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(connect(&client, to).await?.wire);
        }
        let other = client.clone();
        let next = client.spawn(async move { visit(&other, to).await });
        client.sleep(Duration::from_secs(2)).await;
        assert!(!next.is_finished(), "it waits");
        drop(open.pop());
        client.sleep(Duration::from_secs(2)).await;
        assert!(next.is_finished(), "it is served now");
        next.await??;
        Ok(())
    });
    assert_eq!(finish(world).counters.accepted, 4);
}
