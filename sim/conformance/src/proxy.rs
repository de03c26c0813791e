//! A proxy under test: the dispatch machine in a [`Run`].

use super::audit::Found;
use super::faulty::{self, Kind};
use super::run::{End, Run};
use super::{AnyRuntime, Listeners};
use ropewalk_core::dispatch::{Config, Counters, Dispatch};
use ropewalk_core::machine::event::Event;
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::time::Duration;

pub use super::run::eventually;

/// What a case may change before the start.
#[derive(Debug, Default)]
pub struct Plan {
    /// The machine's. Its listeners are filled in.
    pub config: Config,
    /// The pool's.
    pub pool: PoolConfig,
}

/// A proxy that runs, and what is heard of it.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    run: Run,
    config: Config,
    /// For a fault at the level of sockets.
    _listener: Option<TcpListener>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ending {
    /// The machine's counters.
    pub counters: Counters,
    /// What the auditor has seen.
    pub found: Found,
    /// What was said.
    pub events: Vec<Event>,
}

impl Proxy {
    /// A worker with nothing changed.
    pub fn start(runtime: &AnyRuntime) -> Self {
        Proxy::with(runtime, |_| {})
    }

    /// A worker.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with(runtime: &AnyRuntime, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::default();
        change(&mut plan);
        let listener = (runtime.listen)((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        plan.config.listeners = vec![address];
        // Longer than the watchdog: an answer that never comes is the driver's fault, and shall be
        // seen.
        plan.config.lookup_timeout = Duration::from_secs(60);
        let keep = faulty::wanted() == Kind::KeepListener;
        let kept = keep.then(|| listener.try_clone().expect("descriptors are left"));
        let machine = Dispatch::new(plan.config.clone()).expect("a valid configuration");
        let listeners = Listeners { streams: vec![listener], ..Listeners::default() };
        let pool = Pool::new(plan.pool).expect("a valid pool");
        let run = Run::start(runtime, machine, listeners, pool);
        Proxy { address, run, config: plan.config, _listener: kept }
    }

    /// Drains, and checks everything that holds for every run.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn finish(self) -> Ending {
        let fresh = self.fresh();
        let ending = conclude(self.run.finish(fresh));
        assert_eq!(ending.counters.open, 0, "connections are open after the end");
        ending
    }

    /// Stops, and checks what holds for a run that was cut off.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn stop(self) -> Ending {
        let fresh = self.fresh();
        conclude(self.run.stop(fresh))
    }

    fn fresh(&self) -> Dispatch {
        Dispatch::new(self.config.clone()).expect("a valid configuration")
    }
}

impl Deref for Proxy {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

fn conclude(end: End<Dispatch>) -> Ending {
    let End { machine, finished, found, events } = end;
    assert!(!finished || machine.buffers_taken() == 0, "{} buffers are lost", machine.buffers_taken());
    Ending { counters: machine.counters(), found, events }
}
