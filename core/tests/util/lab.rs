//! Machine, drive and world together, and the loop that steps them in virtual time.

use super::person::{Act, End, Person, Reading};
use super::place::{Ev, Link, SpliceMode, Target};
use super::sock::{Sock, Stage};
use super::watched::{Subject, Watched};
use super::world::World;
use super::{Answer, addr};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::drive::Drive;
use ropewalk_core::machine::event::Refusal;
use ropewalk_core::machine::{Device, Input, ListenerId, Machine};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::{HealthConfig, Policy, Pool, PoolConfig, Prefix, UplinkConfig};
use std::net::SocketAddr;

/// What a lab is made of.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) uplinks: Vec<UplinkConfig>,
    pub(crate) unbound: Vec<Prefix>,
    pub(crate) health: HealthConfig,
    pub(crate) policy: Policy,
    pub(crate) seed: u64,
    pub(crate) fuel: usize,
    pub(crate) splice: SpliceMode,
    /// A read reports that the next would block only when that is sure.
    pub(crate) exact_more: bool,
    /// Readiness that is not so, for any index, at each step.
    pub(crate) rumours: bool,
    /// What relays carry is recorded, too.
    pub(crate) payload: bool,
}

/// The device of uplink `index`.
pub(crate) fn device(index: usize) -> Device {
    Device::new(&format!("up{index}")).expect("a short name")
}

impl Setup {
    /// One listener, and this many uplinks that carry both families.
    pub(crate) fn new(uplinks: usize) -> Self {
        let uplink = |i| UplinkConfig { device: Some(device(i)), ..UplinkConfig::new(format!("up{i}")) };
        Setup {
            config: Config { listeners: vec![addr("127.0.0.1:1080")], ..Config::default() },
            uplinks: (0..uplinks).map(uplink).collect(),
            unbound: Vec::new(),
            health: HealthConfig::default(),
            policy: Policy::default(),
            seed: 1,
            fuel: 64,
            splice: SpliceMode::Never,
            exact_more: true,
            rumours: false,
            payload: false,
        }
    }

    pub(crate) fn with(mut self, f: impl FnOnce(&mut Config)) -> Self {
        f(&mut self.config);
        self
    }

    pub(crate) fn build(self) -> Lab {
        #[cfg(feature = "unwrap")]
        let machine = super::incident::Recorded::dispatch_with(self.config.clone(), self.payload)
            .expect("a valid configuration");
        #[cfg(not(feature = "unwrap"))]
        let machine = Dispatch::new(self.config.clone()).expect("a valid configuration");
        let listeners = self.config.listeners.clone();
        self.around(listeners, Box::new(machine))
    }

    /// A lab around any machine; what is set up for dispatch is not looked at.
    pub(super) fn around(self, listeners: Vec<SocketAddr>, machine: Box<dyn Subject>) -> Lab {
        let links = self.uplinks.iter().filter_map(|uplink| uplink.device).collect();
        let pool = PoolConfig {
            uplinks: self.uplinks,
            unbound: self.unbound,
            health: self.health,
            policy: self.policy,
        };
        let pool = Pool::new(pool).expect("a valid pool");
        let mut world = World::new(self.seed, pool, listeners, links);
        world.splice = self.splice;
        world.exact_more = self.exact_more;
        let machine = Watched::new(machine);
        Lab {
            machine,
            drive: Drive::new(),
            world,
            fuel: self.fuel,
            rumours: self.rumours,
            finished: false,
            steps: 0,
            clients: 0,
        }
    }
}

/// The number of a client's or target's connection.
pub(crate) type Who = usize;

pub(crate) struct Lab {
    pub(crate) machine: Watched,
    drive: Drive,
    pub(crate) world: World,
    fuel: usize,
    rumours: bool,
    pub(crate) finished: bool,
    pub(crate) steps: usize,
    clients: u16,
}

impl Lab {
    // ---- the persons ----

    pub(crate) fn target(&mut self, at: &str, target: Target) {
        self.world.targets.insert(addr(at), target);
    }

    /// A target that listens and does this for each connection.
    pub(crate) fn serve(&mut self, at: &str, script: impl IntoIterator<Item = Act>) {
        self.target(at, Target::new(Person::new(script)));
    }

    pub(crate) fn name(&mut self, name: &str, answers: impl IntoIterator<Item = Answer>) {
        self.world.names.insert(name.to_owned(), answers.into_iter().collect());
    }

    pub(crate) fn link(&mut self, index: usize, link: Link) {
        self.world.links[index].1 = link;
    }

    pub(crate) fn link_at(&mut self, after: Duration, index: usize, link: Link) {
        self.world.after(after, Ev::SetLink(index, link));
    }

    /// A client on this host that comes now.
    pub(crate) fn client(&mut self, script: impl IntoIterator<Item = Act>) -> Who {
        self.person(Person::new(script))
    }

    pub(crate) fn person(&mut self, person: Person) -> Who {
        self.visitor(Duration::ZERO, 0, "127.0.0.1", person)
    }

    /// A client from `ip` that comes to listener `listener` after a while.
    pub(crate) fn visitor(&mut self, after: Duration, listener: u16, ip: &str, person: Person) -> Who {
        self.clients += 1;
        let peer = SocketAddr::new(ip.parse().expect("the test wrote an address"), 20_000 + self.clients);
        let sock = self.world.socks.len();
        let local = self.world.listeners[usize::from(listener)];
        self.world.socks.push(Sock::new(person, peer, local));
        self.world.after(after, Ev::Arrives(ListenerId(listener), sock));
        sock
    }

    pub(crate) fn drain_at(&mut self, after: Duration) {
        self.world.after(after, Ev::Drain);
    }

    /// Passes an input to the machine now.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.drive.input(&mut self.machine, &mut self.world, input);
    }

    /// Has the driver look at what the system keeps for all streams, of so much that may be.
    pub(crate) fn measure(&mut self, limit: u64) {
        self.drive.measure(&mut self.machine, &mut self.world, limit);
    }

    // ---- what was seen ----

    pub(crate) fn got(&self, who: Who) -> &[u8] {
        &self.world.socks[who].got.bytes
    }

    pub(crate) fn end(&self, who: Who) -> End {
        self.world.socks[who].got.end
    }

    pub(crate) fn sock(&self, who: Who) -> &Sock {
        &self.world.socks[who]
    }

    /// The `n`th connection that a target served.
    #[track_caller]
    pub(crate) fn served(&self, n: usize) -> Who {
        self.world.served.get(n).unwrap_or_else(|| panic!("no target connection number {n}")).1
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        super::heard::refusals(self.world.events.iter().map(|(_, event)| event))
    }

    /// Bytes that were accounted to the uplinks in all: to targets and from them.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let accounts = self.world.pool.accounts(self.world.now);
        accounts.fold((0, 0), |(up, down), (_, a, _)| (up + a.sent, down + a.received))
    }

    pub(crate) fn now(&self) -> Instant {
        self.world.now
    }

    // ---- time ----

    /// Goes on until nothing is left to happen, checks that nothing has leaked.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.run();
        self.check_end();
    }

    /// Goes on until nothing is left to happen; fails when that takes more than a day.
    pub(crate) fn run(&mut self) {
        let limit = self.world.now + Duration::from_secs(86_400);
        while self.step(limit) {}
        assert!(self.world.now < limit, "the world does not come to rest");
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.world.now + time;
        while self.step(until) {}
        self.world.now = until;
    }

    #[track_caller]
    pub(crate) fn check_end(&self) {
        let counters = self.machine.counters();
        let stuck: Vec<_> = self.world.socks.iter().filter(|s| s.stream.is_some()).map(|s| s.peer).collect();
        assert_eq!(counters.open, 0, "connections are left, with {stuck:?}");
        assert_eq!(self.machine.buffers_taken(), 0, "buffers are left");
        assert_eq!(self.world.open_sockets(), 0, "sockets are left: {stuck:?}");
        assert_eq!(self.machine.live_streams(), 0, "streams are left");
        #[cfg(feature = "names")]
        assert!(self.world.askers.is_empty(), "sockets are left: {:?}", self.world.askers);
        assert!(self.world.queries.is_empty(), "queries are left: {:?}", self.world.queries);
        for (label, account, _) in self.world.pool.accounts(self.world.now) {
            assert_eq!(account.open, 0, "the pool thinks that {label} carries connections");
        }
    }

    /// One event or one timeout, and all that follows from it at this moment.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        self.steps += 1;
        assert!(self.steps < 3_000_000, "too many steps");
        self.settle();
        let event = self.world.queue.first_key_value().map(|((at, _), _)| *at);
        let timeout = self.machine.poll_timeout();
        let Some(at) = event.into_iter().chain(timeout).min().filter(|at| *at <= limit) else {
            return false;
        };
        self.world.now = self.world.now.max(at);
        if event.is_some_and(|event| event <= at)
            && let Some((_, ev)) = self.world.queue.pop_first()
        {
            self.happen(ev);
        }
        self.settle();
        true
    }

    fn settle(&mut self) {
        if self.rumours {
            for _ in 0..2 {
                let index = self.world.rng.below(12) as u32;
                self.drive.ready(index, true, true);
            }
            self.drive.listener_ready(ListenerId(0));
        }
        for (index, readable, writable) in std::mem::take(&mut self.world.hints) {
            self.drive.ready(index, readable, writable);
        }
        for listener in std::mem::take(&mut self.world.listener_hints) {
            self.drive.listener_ready(listener);
        }
        #[cfg(feature = "names")]
        for index in std::mem::take(&mut self.world.socket_hints) {
            self.drive.socket_ready(index, true, true);
        }
        self.world.in_vain = 0;
        let mut turns = 0;
        loop {
            let turn = self.drive.turn(&mut self.machine, &mut self.world, self.fuel);
            turns += 1;
            assert!(turns < 20_000, "the drive spins: {turns} turns for one event");
            self.finished |= turn.finished;
            if !turn.more {
                let now = self.world.now;
                assert!(turn.timeout.is_none_or(|at| at > now), "a due timeout was left at {now:?}");
                break;
            }
        }
        let fair = 40 + 8 * self.world.open_sockets();
        let vain = self.world.in_vain;
        assert!(vain <= fair, "the drive spins: {vain} operations in vain for one event");
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::Arrives(listener, sock) => self.world.arrives(listener, sock),
            Ev::Bytes(sock, bytes) => {
                let entry = &mut self.world.socks[sock];
                entry.in_flight -= bytes.len();
                if entry.stage == Stage::Closed {
                    self.answer_with_reset(sock);
                } else if !entry.in_rst {
                    entry.inbox.extend(bytes);
                    self.world.hint(sock, true, false);
                }
            }
            Ev::Fin(sock) => {
                self.world.socks[sock].in_fin = true;
                self.world.hint(sock, true, false);
            }
            Ev::Rst(sock) => {
                self.world.socks[sock].in_rst = true;
                self.world.hint(sock, true, true);
            }
            #[cfg(feature = "names")]
            Ev::Datagram(socket, what) => self.world.datagram(socket, what),
            Ev::Wake(sock) => self.wake(sock),
            Ev::Notice(sock) => {
                self.world.socks[sock].noticed = false;
                self.notice(sock);
            }
            Ev::Sip(sock) => {
                self.world.socks[sock].sipping = false;
                if let Reading::Slow(len, _) = self.world.socks[sock].person.reading {
                    self.receive(sock, len);
                }
                self.notice(sock);
            }
            Ev::ConnectDone(sock, fault) => {
                let entry = &mut self.world.socks[sock];
                if entry.stage != Stage::Pending || entry.stream.is_none() {
                    return;
                }
                match fault {
                    Some(fault) => entry.stage = Stage::Failed(fault),
                    None => {
                        entry.stage = Stage::Open;
                        let peer = entry.peer;
                        self.world.served.push((peer, sock));
                        self.world.after(Duration::ZERO, Ev::Wake(sock));
                    }
                }
                self.world.hint(sock, fault.is_some(), true);
            }
            Ev::Answer(query, result) => {
                // An answer to a query that was cancelled comes all the same: the id must miss.
                self.world.queries.remove(&query);
                let answer = match &result {
                    Ok(ips) => Ok(ips.as_slice()),
                    Err(fault) => Err(*fault),
                };
                self.drive.resolved(&mut self.machine, &mut self.world, query, answer);
            }
            Ev::SetLink(index, link) => self.world.links[index].1 = link,
            Ev::SetFdLimit(limit) => self.world.fd_limit = limit,
            Ev::Drain => self.drive.input(&mut self.machine, &mut self.world, Input::Drain),
        }
    }

    /// Bytes came to a socket that the proxy has closed.
    fn answer_with_reset(&mut self, sock: Who) {
        if !self.world.socks[sock].out_rst {
            self.world.socks[sock].lose_all();
            self.world.notice(sock);
        }
    }
}
