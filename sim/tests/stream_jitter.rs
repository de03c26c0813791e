//! Whatever the latencies and the outages: all bytes arrive, or the client gets an error.

mod util;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ropewalk_sim::stream::{Net, ProxyClient, World};
use std::net::SocketAddr;
use std::time::Duration;
use util::{connect, echo, exchange, pattern};

const UPLINKS: [&str; 2] = ["wlan0", "usb0"];

/// An outage: which uplink, from when, for how long (milliseconds).
#[derive(Clone, Copy, Debug)]
struct Outage {
    uplink: usize,
    at: u64,
    lasts: u64,
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    latency: (u64, u64),
    weights: (u32, u32),
    connections: Vec<(u64, usize)>,
    outages: Vec<Outage>,
    bounds: Bounds,
}

/// What is scarce.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Segments in flight.
    room: usize,
    buffer_size: usize,
    max_connections: usize,
    splice_after: u8,
}

fn plan() -> impl Strategy<Value = Plan> {
    let outage = (0..UPLINKS.len(), 0u64..4000, prop_oneof![1u64..2000, 1u64..40_000]);
    let outage = outage.prop_map(|(uplink, at, lasts)| Outage { uplink, at, lasts });
    (
        any::<u64>(),
        (0u64..80, 0u64..300),
        (1u32..5, 1u32..5),
        prop::collection::vec((0u64..3000, prop_oneof![0usize..2000, 0usize..600_000]), 1..12),
        prop::collection::vec(outage, 0..4),
        (12usize..64, prop_oneof![Just(1024), 1024usize..140_000], 1usize..14, 0u8..3),
    )
        .prop_map(|(seed, (low, more), weights, connections, outages, bounds)| Plan {
            seed,
            latency: (low, low + more),
            weights,
            connections,
            outages,
            bounds: Bounds {
                room: bounds.0,
                buffer_size: bounds.1,
                max_connections: bounds.2,
                splice_after: bounds.3,
            },
        })
}

async fn outage(net: Net, outage: Outage) {
    let uplink = UPLINKS[outage.uplink];
    tokio::time::sleep(Duration::from_millis(outage.at)).await;
    net.hold(uplink);
    tokio::time::sleep(Duration::from_millis(outage.lasts)).await;
    net.release(uplink);
}

/// All bytes there and back, or a reply that says no. Silence and a cut answer are neither.
async fn transfer(
    client: ProxyClient,
    to: SocketAddr,
    salt: u8,
    after: u64,
    len: usize,
) -> Result<(), String> {
    client.sleep(Duration::from_millis(after)).await;
    let mut answer = connect(&client, to).await.map_err(|error| format!("no reply: {error}"))?;
    match answer.code {
        0 => {}
        3..=6 => return Ok(()),
        other => return Err(format!("reply {other}")),
    }
    let sent = pattern(len, salt);
    let came = exchange(&mut answer.wire, &sent).await.map_err(|error| format!("transfer: {error}"))?;
    if came == sent { Ok(()) } else { Err(format!("sent {} bytes, {} came back", sent.len(), came.len())) }
}

fn run(plan: &Plan) -> u64 {
    let (low, high) = plan.latency;
    let bounds = plan.bounds;
    let mut world = World::builder()
        .seed(plan.seed)
        .room(bounds.room)
        .tune(|config| {
            config.buffer_size = bounds.buffer_size;
            config.max_connections = bounds.max_connections;
            config.splice_after = bounds.splice_after;
        })
        .latency(Duration::from_millis(low)..=Duration::from_millis(high))
        .uplink(UPLINKS[0], plan.weights.0)
        .uplink(UPLINKS[1], plan.weights.1)
        .limit(Duration::from_secs(600))
        .build();
    let to = world.target(echo);
    let plan = plan.clone();
    let connections = plan.connections.len();
    world.client(move |client| async move {
        for one in plan.outages {
            client.spawn(outage(client.net.clone(), one));
        }
        let transfers: Vec<_> = (0u8..)
            .zip(plan.connections)
            .map(|(salt, (after, len))| client.spawn(transfer(client.clone(), to, salt, after, len)))
            .collect();
        for transfer in transfers {
            transfer.await??;
        }
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    let summary = world.drain(Duration::from_secs(30)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((summary.counters.open, summary.buffers_taken), (0, 0), "nothing is left behind");
    assert_eq!(summary.counters.accepted, connections as u64);
    assert!(world.net().accounts().iter().all(|account| account.open == 0), "every opening was told its end");
    assert!(summary.turns < 20_000, "a busy loop took {} turns", summary.turns);
    world.trace().hash()
}

/// `cases` of them, or as many as `PROPTEST_CASES` says.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig {
        cases,
        // A case is seconds of a world; finding a smaller one may take a while, not for ever.
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn all_bytes_arrive_or_the_client_is_told(plan in plan()) {
        run(&plan);
    }
}

proptest! {
    #![proptest_config(config(8))]

    #[test]
    fn any_plan_runs_the_same_way_twice(plan in plan()) {
        prop_assert_eq!(run(&plan), run(&plan));
    }
}
