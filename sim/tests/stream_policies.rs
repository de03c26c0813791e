//! Which policy for what: each beside weighted round robin, in a case that it is made for and in
//! one that it is not. `cli/docs/dispatch.md` has the table; `-- --nocapture` prints it.
//!
//! A link's rate is kept by the targets: they see by which uplink a client comes, and hand out what
//! that link carries, a piece for each connection in turn.

mod util;

use ropewalk_core::uplink::Policy;
use ropewalk_sim::stream::wire::Wire;
use ropewalk_sim::stream::{ProxyClient, World};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Result;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;
use util::connect;

const PIECE: usize = 8 * 1024;

/// What the links behind the uplinks carry, in bytes a second, by turns of so many seconds.
#[derive(Clone)]
struct Links {
    rates: Rc<Vec<BTreeMap<IpAddr, u64>>>,
    turn: Duration,
    free: Rc<RefCell<BTreeMap<IpAddr, Duration>>>,
}

impl Links {
    fn new(turns: &[[u64; 2]], turn: u64) -> Self {
        let uplink = |index: usize| IpAddr::from([198, 51, 100, index as u8 + 1]);
        let rates =
            turns.iter().map(|turn| turn.iter().enumerate().map(|(i, rate)| (uplink(i), *rate)).collect());
        Links { rates: Rc::new(rates.collect()), turn: Duration::from_secs(turn), free: Rc::default() }
    }

    /// Waits until the link has carried one piece more.
    async fn carry(&self, link: IpAddr, len: usize) {
        let now = turmoil::elapsed();
        let turn = (now.as_nanos() / self.turn.as_nanos()) as usize % self.rates.len();
        let rate = self.rates[turn][&link];
        let until = {
            let mut free = self.free.borrow_mut();
            let free = free.entry(link).or_default();
            *free = (*free).max(now) + Duration::from_nanos(len as u64 * 1_000_000_000 / rate);
            *free
        };
        tokio::time::sleep(until.saturating_sub(now)).await;
    }

    /// Reads how much is asked for, and gives it at the link's rate. 0: nothing, until the client
    /// leaves.
    async fn serve(self, mut wire: Wire) -> Result<()> {
        let mut asked = [0; 4];
        wire.read_exact(&mut asked).await?;
        let mut left = u32::from_be_bytes(asked) as usize;
        if left == 0 {
            wire.write_all(b"hello").await?;
            return wire.read(&mut asked).await.map(drop);
        }
        while left > 0 {
            let len = left.min(PIECE);
            self.carry(wire.peer().ip(), len).await;
            wire.write_all(&vec![7; len]).await?;
            left -= len;
        }
        Ok(())
    }
}

/// One download: how long it took, and by which uplink.
async fn download(client: &ProxyClient, to: SocketAddr, len: usize) -> Result<(Duration, IpAddr)> {
    let began = client.now();
    let answer = connect(client, to).await?;
    assert_eq!(answer.code, 0);
    let mut wire = answer.wire;
    wire.write_all(&u32::try_from(len).expect("small").to_be_bytes()).await?;
    assert_eq!(wire.read_to_end().await?.len(), len);
    Ok((client.now() - began, answer.bound.ip()))
}

fn world(policy: Policy, latencies: [u64; 2]) -> World {
    let [a, b] = latencies.map(Duration::from_millis);
    let builder = World::builder().policy(policy).seed(1).limit(Duration::from_secs(900));
    builder.far_uplink("wlan0", 1, a).far_uplink("usb0", 1, b).build()
}

/// Runs the client's story to its end, and gives what it is judged by: less is better.
fn judge<F>(mut world: World, story: impl FnOnce(ProxyClient) -> F + 'static) -> f64
where
    F: Future<Output = Result<f64>> + 'static,
{
    let verdict = Rc::new(Cell::new(f64::NAN));
    let told = Rc::clone(&verdict);
    world.client(move |client| async move {
        told.set(story(client).await?);
        Ok(())
    });
    world.run().unwrap_or_else(|failure| panic!("{failure}"));
    verdict.get()
}

/// Waits for all of these downloads.
async fn all<T>(tasks: Vec<JoinHandle<Result<T>>>) -> Result<()> {
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Films of 384 KiB and pages of 8 KiB by turns, one every 300 ms, over two links of 400 kB/s: how
/// long until all are there. (By round robin one link has all films.)
fn pages_and_films(policy: Policy) -> f64 {
    let mut world = world(policy, [20, 20]);
    let links = Links::new(&[[400_000, 400_000]], 1);
    let to = world.target(move |wire| links.clone().serve(wire));
    judge(world, move |client| async move {
        let mut tasks = Vec::new();
        for n in 0..80 {
            let len = if n % 2 == 0 { 384 * 1024 } else { 8 * 1024 };
            let other = client.clone();
            let task = client.spawn(async move { download(&other, to, len).await });
            tasks.push(task);
            client.sleep(Duration::from_millis(300)).await;
        }
        all(tasks).await?;
        Ok(client.now().as_secs_f64())
    })
}

/// Ten idle chats by one uplink, since the other was away; then ten downloads of 512 KiB at once:
/// how long all of them take.
fn idle_chats(policy: Policy) -> f64 {
    let mut world = world(policy, [20, 20]);
    let links = Links::new(&[[1_000_000, 1_000_000]], 1);
    let to = world.target(move |wire| links.clone().serve(wire));
    judge(world, move |client| async move {
        let mut chats = Vec::new();
        client.net.unplug("usb0");
        for _ in 0..10 {
            let mut chat = connect(&client, to).await?.wire;
            chat.write_all(&[0; 4]).await?;
            chats.push(chat);
        }
        client.net.plug("usb0");
        client.sleep(Duration::from_secs(3)).await;
        let began = client.now();
        let tasks = (0..10)
            .map(|_| {
                let other = client.clone();
                client.spawn(async move { download(&other, to, 512 * 1024).await })
            })
            .collect();
        all(tasks).await?;
        Ok((client.now() - began).as_secs_f64())
    })
}

/// Requests of `len` bytes, one after the other, over links of these latencies and rates: the mean
/// time of one.
fn requests(policy: Policy, latencies: [u64; 2], rates: [u64; 2], len: usize) -> f64 {
    let mut world = world(policy, latencies);
    let links = Links::new(&[rates], 1);
    let to = world.target(move |wire| links.clone().serve(wire));
    judge(world, move |client| async move {
        let mut sum = Duration::ZERO;
        for _ in 0..100 {
            sum += download(&client, to, len).await?.0;
            client.sleep(Duration::from_millis(100)).await;
        }
        Ok(sum.as_secs_f64() / 100.0)
    })
}

/// Twelve at a time, `count` downloads of 256 KiB in all, over links whose rates are by turns
/// these: how long all of them take.
fn downloads(policy: Policy, turns: &[[u64; 2]], turn: u64, count: usize) -> f64 {
    let mut world = world(policy, [20, 20]);
    let links = Links::new(turns, turn);
    let to = world.target(move |wire| links.clone().serve(wire));
    judge(world, move |client| async move {
        let left = Rc::new(Cell::new(count));
        let tasks = (0..12)
            .map(|_| {
                let (other, left) = (client.clone(), Rc::clone(&left));
                client.spawn(async move {
                    while left.get() > 0 {
                        left.set(left.get() - 1);
                        download(&other, to, 256 * 1024).await?;
                    }
                    Ok::<_, std::io::Error>(())
                })
            })
            .collect();
        all(tasks).await?;
        Ok(client.now().as_secs_f64())
    })
}

/// Ten visits to each of eight hosts: how many addresses a host sees, on average (a bank that sees
/// two ends the session).
fn addresses_seen(policy: Policy) -> f64 {
    let mut world = world(policy, [20, 20]);
    let links = Links::new(&[[1_000_000, 1_000_000]], 1);
    let hosts: Vec<SocketAddr> = (0..8)
        .map(|_| {
            let links = links.clone();
            world.target(move |wire| links.clone().serve(wire))
        })
        .collect();
    judge(world, move |client| async move {
        let mut seen = BTreeSet::new();
        for round in 0..10 {
            for (index, to) in hosts.iter().enumerate() {
                // Pages load two or three things.
                for _ in 0..1 + (round + index) % 3 {
                    seen.insert((*to, download(&client, *to, 1000).await?.1));
                }
            }
        }
        Ok(seen.len() as f64 / hosts.len() as f64)
    })
}

/// Prints a line of the table and gives how many times better than round robin the policy is.
fn beside(policy: Policy, what: &str, case: impl Fn(Policy) -> f64) -> f64 {
    let (plain, other) = (case(Policy::RoundRobin), case(policy));
    println!("| {policy} | {what} | {plain:.3} | {other:.3} | {:.2} |", plain / other);
    plain / other
}

#[test]
fn the_fewest_connections_win_where_lengths_differ_and_lose_where_the_idle_gather() {
    let policy = Policy::LeastConnections;
    assert!(beside(policy, "films and pages by turns", pages_and_films) > 1.3);
    assert!(beside(policy, "ten idle chats on one uplink", idle_chats) < 0.8);
}

#[test]
fn the_least_latency_wins_where_requests_are_small_and_loses_where_the_near_link_is_slow() {
    let policy = Policy::LeastLatency;
    let small = |policy| requests(policy, [10, 150], [1_000_000, 1_000_000], 1000);
    assert!(beside(policy, "small requests, 10 and 150 ms away", small) > 1.8);
    let large = |policy| requests(policy, [10, 40], [200_000, 2_000_000], 512 * 1024);
    assert!(beside(policy, "downloads, the near link is slow", large) < 0.8);
}

#[test]
fn learned_weights_win_where_links_differ_and_lose_where_they_change_before_it_is_learned() {
    let policy = Policy::Adaptive;
    let unequal = |policy| downloads(policy, &[[1_600_000, 200_000]], 1, 150);
    assert!(beside(policy, "downloads, links of 8 to 1", unequal) > 1.5);
    let turns = |policy| downloads(policy, &[[1_600_000, 200_000], [200_000, 1_600_000]], 8, 150);
    let ratio = beside(policy, "the same, links change places every 8 s", turns);
    assert!((0.5..1.2).contains(&ratio), "{ratio}");
}

#[test]
fn one_host_one_address_wins_for_sessions_and_loses_where_one_host_has_all() {
    let policy = Policy::Sticky;
    assert!(beside(policy, "addresses that a host sees", addresses_seen) >= 1.9);
    let one = |policy| downloads(policy, &[[1_000_000, 1_000_000]], 1, 60);
    assert!(beside(policy, "downloads from one host", one) < 0.6);
}
