//! A world: its hosts, its links, its seed; and the hand that holds a link or pulls a plug while it
//! runs.
//!
//! ```no_run
//! use ropewalk_sim::stream::World;
//! let mut world = World::builder().seed(7).uplink("wlan0", 3).uplink("usb0", 2).build();
//! let web = world.target(|mut wire| async move { wire.write_all(b"hello").await });
//! world.client(move |client| async move {
//!     let wire = client.dial().await?;
//!     client.net.hold("wlan0");
//!     // speak SOCKS5 to `wire`, ask for `web` ...
//!     Ok(())
//! });
//! world.run().unwrap();
//! # let _ = web;
//! ```
//!
//! | addresses | are |
//! | --- | --- |
//! | 192.0.2.1 | the proxy, port 1080 |
//! | 192.0.2.10 and on | clients |
//! | 198.51.100.1 and on | uplinks, in their order |
//! | 203.0.113.1 and on | targets, port 80 |

use super::driver::Worker;
use super::names::{Answer, Entry, Table};
use super::net::{Net, PROXY, Shared, Uplink};
use super::trace::{Trace, Traced};
use super::uplink;
use super::wire::Wire;
use ropewalk_core::dispatch::{Config, Counters, Dispatch};
use ropewalk_core::machine::Device;
use ropewalk_core::record::{Divergence, Recorder, replay};
use ropewalk_core::time::Duration;
use ropewalk_core::uplink::{Policy, Pool, PoolConfig, UplinkConfig};
use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;
use turmoil::net::TcpListener;

/// Where targets listen.
const TARGET_PORT: u16 = 80;

/// Between a client and the proxy.
const LAN: Duration = Duration::from_millis(1);

/// A user of the proxy.
#[derive(Clone, Debug)]
pub struct ProxyClient {
    /// The hand on the world.
    pub net: Net,
}

impl ProxyClient {
    /// A fresh connection to the proxy.
    ///
    /// # Errors
    /// What turmoil says.
    pub async fn dial(&self) -> std::io::Result<Wire> {
        Wire::connect(PROXY, &self.net).await
    }

    /// Virtual time since the start of the world.
    pub fn now(&self) -> Duration {
        turmoil::elapsed()
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Runs a task in the background on this client's host.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> tokio::task::JoinHandle<T> {
        tokio::task::spawn_local(future)
    }
}

struct UplinkPlan {
    label: String,
    weight: u32,
    latency: Option<Duration>,
}

/// What a world shall be.
pub struct Builder {
    seed: u64,
    latency: RangeInclusive<Duration>,
    limit: Duration,
    tick: Duration,
    room: usize,
    uplinks: Vec<UplinkPlan>,
    policy: Policy,
    names: Table,
    config: Config,
}

impl Builder {
    /// Decides every latency. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// One way behind the uplinks, drawn anew for each segment (most are near the lower end).
    /// Default 10 ms.
    #[must_use]
    pub fn latency(mut self, range: RangeInclusive<Duration>) -> Self {
        self.latency = range;
        self
    }

    /// The run fails when it is not over by then. Default 300 s of virtual time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How far time goes in one step; a run costs its steps, whether or not anything happens.
    /// Default 1 ms.
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Segments on their way and unread, of one direction of one connection; and connections
    /// waiting for one listener, where one more is a panic in turmoil. Default 64.
    #[must_use]
    pub fn room(mut self, segments: usize) -> Self {
        self.room = segments;
        self
    }

    /// One more uplink; the label is its device's name too.
    #[must_use]
    pub fn uplink(mut self, label: &str, weight: u32) -> Self {
        self.uplinks.push(UplinkPlan { label: label.into(), weight, latency: None });
        self
    }

    /// One more uplink, with a latency of its own instead of the world's.
    #[must_use]
    pub fn far_uplink(mut self, label: &str, weight: u32, latency: Duration) -> Self {
        self.uplinks.push(UplinkPlan { label: label.into(), weight, latency: Some(latency) });
        self
    }

    /// How uplinks are chosen. Default: by weight, in turn.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// One more name.
    #[must_use]
    pub fn name(mut self, name: &str, answer: Answer, delay: Duration) -> Self {
        self.names.insert(name, Entry { answer, delay, stubborn: false });
        self
    }

    /// One more name, whose answer comes even when it is no longer wanted.
    #[must_use]
    pub fn stubborn_name(mut self, name: &str, answer: Answer, delay: Duration) -> Self {
        self.names.insert(name, Entry { answer, delay, stubborn: true });
        self
    }

    /// Changes the inputs of the machine.
    #[must_use]
    pub fn tune(mut self, f: impl FnOnce(&mut Config)) -> Self {
        f(&mut self.config);
        self
    }

    /// Makes the world. Nothing has happened in it yet.
    ///
    /// # Panics
    /// When the plan is no plan (two uplinks with one label, a weight of 0), or [`SEED`] is set and
    /// no number.
    pub fn build(mut self) -> World {
        if let Ok(text) = std::env::var(SEED) {
            self.seed = text.parse().unwrap_or_else(|_| panic!("{SEED}: expected a number, got '{text}'"));
        }
        let mut sim = turmoil::Builder::new()
            .rng_seed(self.seed)
            .simulation_duration(self.limit)
            .min_message_latency(*self.latency.start())
            .max_message_latency(*self.latency.end())
            .tick_duration(self.tick)
            .tcp_capacity(self.room)
            .build();
        let mut shared = Shared::default();
        let mut pool = PoolConfig { policy: self.policy, ..PoolConfig::default() };
        for (number, plan) in (1..).zip(&self.uplinks) {
            assert!(
                shared.uplinks.iter().all(|uplink| uplink.label != plan.label),
                "two uplinks are called {}",
                plan.label
            );
            let device = Device::new(&plan.label).expect("a label that is a device's name");
            let ip = Ipv4Addr::new(198, 51, 100, number);
            shared.uplinks.push(Uplink {
                label: plan.label.clone(),
                device,
                ip: ip.into(),
                latency: plan.latency,
                plugged: true,
            });
            pool.uplinks.push(UplinkConfig {
                weight: plan.weight,
                device: Some(device),
                source_v4: Some(ip),
                ..UplinkConfig::new(&*plan.label)
            });
        }
        let hops: Vec<IpAddr> = shared.uplinks.iter().map(|uplink| uplink.ip).collect();
        shared.hosts.extend(hops.iter().copied().chain([PROXY.ip()]));
        let net = Net::new(shared, Pool::new(pool).expect("a valid pool"));

        let mut config = self.config;
        config.listeners = vec![PROXY];
        config.local_addresses = hops.iter().copied().chain([PROXY.ip()]).collect();
        let trace = Trace::new();
        let summary = Rc::new(RefCell::new(None));
        let proxy = Proxy { config, names: self.names, net: net.clone(), trace: trace.clone(), summary };
        let summary = Rc::clone(&proxy.summary);
        sim.host(PROXY.ip(), move || proxy.clone().run());
        for hop in hops {
            let net = net.clone();
            sim.host(hop, move || {
                let net = net.clone();
                async move { Ok(uplink::serve(net).await?) }
            });
            sim.set_link_latency(PROXY.ip(), hop, Duration::ZERO);
        }
        World { sim, net, trace, summary, seed: self.seed, clients: 0 }
    }
}

/// What the proxy's machine had to say at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The machine's counters.
    pub counters: Counters,
    /// Relay buffers that hold bytes: 0 when nothing leaks.
    pub buffers_taken: usize,
    /// Turns of the driver: many more than things that happened would be a busy loop.
    pub turns: u64,
}

#[derive(Clone)]
struct Proxy {
    config: Config,
    names: Table,
    net: Net,
    trace: Trace,
    summary: Rc<RefCell<Option<Summary>>>,
}

impl Proxy {
    async fn run(self) -> turmoil::Result {
        let fresh = Dispatch::new(self.config.clone())?;
        let machine = Traced::new(Recorder::new(Dispatch::new(self.config)?), self.trace);
        let worker = Worker::new(machine, &[PROXY.port()], self.names, &self.net).await?;
        let ended = worker.run().await;
        let mut recorder = ended.machine.into_inner();
        // A fresh machine with the same inputs must give the same outputs. Outputs that a stopped
        // machine still had are not in the recording.
        match replay(&recorder.take(), fresh) {
            Ok(_) | Err(Divergence::Extra { .. }) => {}
            Err(divergence) => return Err(divergence.into()),
        }
        let machine = recorder.into_inner();
        let (counters, buffers_taken) = (machine.counters(), machine.buffers_taken());
        *self.summary.borrow_mut() = Some(Summary { counters, buffers_taken, turns: ended.turns });
        Ok(())
    }
}

/// Why a run failed, with what is needed to run it again.
#[derive(Debug)]
pub struct Failure {
    seed: u64,
    error: String,
    tail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}\nagain: {}\nthe trace's end:", self.seed, self.error, again(self.seed))?;
        self.tail.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Failure {}

/// Set it to run every world of a test with this seed instead of its own.
pub const SEED: &str = "ROPEWALK_SEED";

/// The command that runs this test again with this seed. A test's thread has the test's name, and
/// its program is called `stream_relay-0123456789abcdef`.
fn again(seed: u64) -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let binary = name.rsplit_once('-').map_or(name, |(name, _)| name);
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
    format!("{SEED}={seed} cargo test -p ropewalk-sim --test {binary} {test}")
}

/// Lines of the trace that a failure shows.
const TAIL: usize = 40;

/// A world in virtual time.
pub struct World {
    sim: turmoil::Sim<'static>,
    net: Net,
    trace: Trace,
    summary: Rc<RefCell<Option<Summary>>>,
    seed: u64,
    clients: u8,
}

impl World {
    /// A plan with nothing in it but a proxy.
    pub fn builder() -> Builder {
        Builder {
            seed: 0,
            latency: Duration::from_millis(10)..=Duration::from_millis(10),
            limit: Duration::from_secs(300),
            tick: Duration::from_millis(1),
            room: 64,
            uplinks: Vec::new(),
            policy: Policy::default(),
            names: Table::default(),
            config: Config::default(),
        }
    }

    /// One more target: each of its connections is given to `serve`, side by side.
    pub fn target<F, Fut>(&mut self, serve: F) -> SocketAddr
    where
        F: Fn(Wire) -> Fut + Clone + 'static,
        Fut: Future<Output = std::io::Result<()>> + 'static,
    {
        let net = self.net.clone();
        self.place(move || {
            let (net, serve) = (net.clone(), serve.clone());
            async move {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT)).await?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    let serving = serve(Wire::new(stream, &net)?);
                    // A connection that broke is its client's affair.
                    net.watched(async move { serving.await.unwrap_or_default() });
                }
            }
        })
    }

    /// One more target without a listener: connections are refused.
    pub fn refusing_target(&mut self) -> SocketAddr {
        self.place(std::future::pending)
    }

    fn place<F, Fut>(&mut self, software: F) -> SocketAddr
    where
        F: Fn() -> Fut + 'static,
        Fut: Future<Output = turmoil::Result> + 'static,
    {
        let number = self.net.shared().targets.len() + 1;
        let ip = IpAddr::V4(Ipv4Addr::new(203, 0, 113, u8::try_from(number).expect("at most 255 targets")));
        self.sim.host(ip, software);
        let mut shared = self.net.shared();
        shared.targets.push(ip);
        shared.hosts.insert(ip);
        for uplink in &shared.uplinks {
            if let Some(latency) = uplink.latency {
                self.sim.set_link_latency(uplink.ip, ip, latency);
            }
        }
        SocketAddr::new(ip, TARGET_PORT)
    }

    /// One more client. The run ends when all clients have ended.
    pub fn client<F, Fut>(&mut self, f: F)
    where
        F: FnOnce(ProxyClient) -> Fut,
        Fut: Future<Output = turmoil::Result> + 'static,
    {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10 + self.clients));
        self.clients += 1;
        self.sim.client(ip, f(ProxyClient { net: self.net.clone() }));
        self.net.shared().hosts.insert(ip);
        self.sim.set_link_latency(ip, PROXY.ip(), LAN);
    }

    /// The hand on this world.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What the machine heard and said.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What the proxy had to say at its end; `None` while it runs.
    pub fn summary(&self) -> Option<Summary> {
        *self.summary.borrow()
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Runs until all clients have ended.
    ///
    /// # Errors
    /// [`Failure`] when a host failed or panicked, or the time is over.
    pub fn run(&mut self) -> Result<(), Failure> {
        self.sim.run().map_err(|error| self.failure(error.to_string()))?;
        let panic = self.net.shared().panics.first().cloned();
        panic.map_or(Ok(()), |panic| Err(self.failure(panic)))
    }

    /// Drains the proxy and runs until it has ended; gives what it had to say.
    ///
    /// # Errors
    /// [`Failure`] when it has not ended after `within`.
    pub fn drain(&mut self, within: Duration) -> Result<Summary, Failure> {
        self.net.drain();
        let until = self.sim.elapsed() + within;
        while self.sim.elapsed() < until {
            self.sim.step().map_err(|error| self.failure(error.to_string()))?;
            if let Some(summary) = self.summary() {
                return Ok(summary);
            }
        }
        Err(self.failure("the proxy has not ended after it was drained".into()))
    }

    fn failure(&self, error: String) -> Failure {
        let lines = self.trace.lines();
        let tail = lines[lines.len().saturating_sub(TAIL)..].to_vec();
        Failure { seed: self.seed, error, tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_how_to_run_it_again() {
        let failure = Failure { seed: 7, error: "it hangs".into(), tail: vec!["the last line".into()] };
        let text = failure.to_string();
        assert!(text.starts_with("seed 7: it hangs\n"), "{text}");
        assert!(text.contains("again: ROPEWALK_SEED=7 cargo test -p ropewalk-sim --test "), "{text}");
        assert!(text.contains("a_failure_says_how_to_run_it_again\n"), "{text}");
    }
}
