//! A worker under test with everything around it.

use super::audit::{Auditor, Findings, Found};
use super::faulty::{self, Faulty, Kind};
use super::process::{descriptors, sockets};
use super::{Events, Kit, Running};
use ropewalk_core::dispatch::{Config, Counters, Dispatch};
use ropewalk_core::event::Event;
use ropewalk_core::machine::{DatagramMachine, Input, Machine, Output, Splice, StreamId, StreamMachine};
use ropewalk_core::record::{Recorder, replay};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The machine a runtime is given. It is like any other; a runtime must not care.
pub struct Subject(Faulty<Auditor<Recorder<Dispatch>>>);

impl Machine for Subject {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.0.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.0.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

/// The cases of streams have none.
impl DatagramMachine for Subject {}

impl StreamMachine for Subject {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.0.poll_dirty()
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        self.0.read_buf(stream)
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.0.write_buf(stream)
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        self.0.splice(from)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        self.0.refuse_splice(from);
    }
}

/// What a case may change before the start.
#[derive(Debug, Default)]
pub struct Plan {
    /// The machine's. Its listeners are filled in.
    pub config: Config,
    /// The pool's.
    pub pool: PoolConfig,
}

/// A worker that runs, and what is heard of it.
pub struct Rig {
    /// Where it listens.
    pub address: SocketAddr,
    running: Running,
    config: Config,
    findings: Findings,
    events: Arc<Mutex<Vec<Event>>>,
    /// Sockets of this process when it had just started.
    base: usize,
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

/// A worker that was drained or stopped has ended by then.
const END: Duration = Duration::from_secs(5);

impl Rig {
    /// A worker with nothing changed.
    pub fn start(kit: &Kit) -> Self {
        Rig::with(kit, |_| {})
    }

    /// A worker.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with(kit: &Kit, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::default();
        change(&mut plan);
        let listener = (kit.listen)((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        plan.config.listeners = vec![address];
        let kind = faulty::wanted();
        let kept = (kind == Kind::KeepListener).then(|| listener.try_clone().expect("descriptors are left"));
        let findings = Findings::default();
        let machine = Dispatch::new(plan.config.clone()).expect("a valid configuration");
        let machine = Auditor::new(Recorder::new(machine), findings.clone());
        let machine = Subject(Faulty::new(machine, kind));
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let heard = Arc::clone(&events);
        let watch: Events = Arc::new(move |_, event| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        });
        let pool = Pool::new(plan.pool).expect("a valid pool");
        let running = (kit.start)(machine, vec![listener], pool, watch).expect("it starts");
        Rig { address, running, config: plan.config, findings, events, base: sockets(), _listener: kept }
    }

    /// What was said so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the auditor has seen so far.
    pub fn found(&self) -> Found {
        self.findings.look()
    }

    /// Waits for an event.
    ///
    /// # Panics
    /// When it has not come within 5 s.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) {
        let come = eventually(END, || self.events().iter().any(&wanted));
        assert!(come, "no event says: {what}; but {:?}", self.events());
    }

    /// Waits until this process has as many sockets as at the start, and `more`.
    ///
    /// # Panics
    /// When it has not within 5 s.
    pub fn wait_for_sockets(&self, more: usize) {
        let gone = eventually(END, || sockets() <= self.base + more);
        assert!(gone, "{} sockets at the start, and now {:?}", self.base, descriptors());
    }

    /// Takes no new connections; ends when the open ones have ended.
    pub fn drain(&self) {
        (self.running.drain)();
    }

    /// Whether the worker has ended.
    pub fn has_ended(&self) -> bool {
        self.running.thread.is_finished()
    }

    /// Drains, and checks everything that holds for every run.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn finish(self) -> Ending {
        self.drain();
        let findings = self.findings.clone();
        let (auditor, events) = self.join("drained");
        assert!(auditor.finished(), "it has ended before the machine said Finished");
        let ending = conclude(auditor, findings, events);
        let Ending { counters, .. } = &ending;
        assert_eq!(counters.open, 0, "connections are open after the end");
        ending
    }

    /// Stops, and checks what holds for a run that was cut off.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn stop(self) -> Ending {
        (self.running.stop)();
        let findings = self.findings.clone();
        let (auditor, events) = self.join("stopped");
        conclude(auditor, findings, events)
    }

    fn join(self, how: &str) -> (Audited, Vec<Event>) {
        let ended = eventually(END, || self.running.thread.is_finished());
        assert!(ended, "a worker that was {how} has not ended; {:#?}", self.findings.look().tail());
        let joined = self.running.thread.join().expect("the worker has not panicked");
        let Subject(faulty) = joined.expect("the worker has not failed");
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (Audited { auditor: faulty.into_inner(), config: self.config }, events)
    }
}

struct Audited {
    auditor: Auditor<Recorder<Dispatch>>,
    config: Config,
}

impl Audited {
    fn finished(&self) -> bool {
        self.auditor.finished()
    }
}

/// What holds for every run.
fn conclude(audited: Audited, findings: Findings, events: Vec<Event>) -> Ending {
    let Audited { auditor, config } = audited;
    let finished = auditor.finished();
    let mut recorder = auditor.into_inner();
    let recording = recorder.take();
    let found = findings.look();
    if std::env::var(faulty::AUDIT).is_err() || std::env::var(faulty::AUDIT).is_ok_and(|on| on != "0") {
        assert!(found.broken.is_empty(), "audit: the driver has broken rules: {:#?}", found.broken);
    }
    let machine = recorder.machine();
    assert!(!finished || machine.buffers_taken() == 0, "{} buffers are lost", machine.buffers_taken());
    let counters = machine.counters();
    let fresh = Dispatch::new(config).expect("a valid configuration");
    if let Err(divergence) = replay(&recording, fresh) {
        // What a stopped machine had still to say was not recorded.
        let cut = !finished && matches!(divergence, ropewalk_core::record::Divergence::Extra { .. });
        assert!(cut, "replay: {divergence}");
    }
    Ending { counters, found, events }
}

impl Found {
    /// The last lines.
    pub fn tail(&self) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(20)..]
    }
}

/// Whether something holds within this time.
pub fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let began = std::time::Instant::now();
    loop {
        if holds() {
            return true;
        }
        if began.elapsed() > within {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
