//! The same seed, the same run: to the byte, and to the nanosecond of virtual time.

mod util;

use ropewalk_sim::stream::World;
use std::time::Duration;
use util::{connect, echo, pattern, visit};

/// A little of everything: two uplinks, jitter, a slow name, a black hole, a reset, a refusal.
fn scenario(seed: u64) -> (u64, Vec<String>) {
    let first = "203.0.113.1".parse().expect("a literal");
    let mut world = World::builder()
        .seed(seed)
        .latency(Duration::from_millis(5)..=Duration::from_millis(60))
        .uplink("wlan0", 3)
        .uplink("usb0", 2)
        .name("slow.example", Ok(vec![first]), Duration::from_millis(700))
        .build();
    let to = world.target(echo);
    let refusing = world.refusing_target();
    world.client(move |client| async move {
        let visits: Vec<_> = (0..8)
            .map(|_| {
                let other = client.clone();
                client.spawn(async move { visit(&other, to).await })
            })
            .collect();
        visit(&client, ("slow.example", 80)).await?;
        for visit in visits {
            visit.await??;
        }
        assert_eq!(connect(&client, refusing).await?.code, 5);
        client.net.hold("wlan0");
        for _ in 0..6 {
            visit(&client, to).await?;
        }
        client.net.release("wlan0");
        let mut answer = connect(&client, to).await?;
        answer.wire.write_all(&pattern(100_000, 9)).await?;
        let mut half = vec![0; 50_000];
        answer.wire.read_exact(&mut half).await?;
        answer.wire.reset();
        client.sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    (world.trace().hash(), world.trace().lines().to_vec())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2] {
        let (first, second) = (scenario(seed), scenario(seed));
        let differs = first.1.iter().zip(&second.1).find(|(a, b)| a != b);
        assert_eq!(differs, None, "the first line that differs");
        assert_eq!(first.0, second.0, "the same lines and other bytes");
    }
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(scenario(1).0, scenario(2).0);
}

/// Holds the behaviour of machine, driver and world together. It changes whenever any of them does
/// something else, says it at another time, or prints it with other words (`Debug` of `Input` and
/// `Output`), and with another version of turmoil or rand. When a change is meant: run `cargo test
/// -p ropewalk-sim --test stream_trace`, look at what the trace says now (`TRACE=1` prints it;
/// compare with the one of the commit before), and put the hash that the failure names here.
const HASH: u64 = 0x45c5_4d7b_2003_7340;

#[test]
fn the_trace_of_seed_7_is_the_one_we_know() {
    let (hash, lines) = scenario(7);
    if std::env::var_os("TRACE").is_some() {
        lines.iter().for_each(|line| println!("{line}"));
    }
    assert_eq!(hash, HASH, "the hash is 0x{hash:016x} now, over {} lines", lines.len());
}
