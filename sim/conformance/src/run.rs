//! A machine under test in a worker under test, and what holds for every run.

use super::audit::{Auditor, Findings, Found};
use super::faulty::{self, Faulty};
use super::process::{descriptors, sockets};
use super::{AnyRuntime, Events, Listeners, Running};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Application, Layer};
use ropewalk_core::record::{Divergence, Recorder, replay};
use ropewalk_core::uplink::Pool;
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The machine a runtime is given. It is like any other; a runtime must not care.
pub struct Subject(Box<dyn Tested>);

/// A machine that can be taken out of its [`Subject`] again.
pub trait Tested: Application + Send {
    /// The machine, of any type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<M: Application + Send + 'static> Tested for M {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

type Watched<M> = Faulty<Auditor<Recorder<M>>>;

impl Layer for Subject {
    type Inner = dyn Tested;

    fn inner(&self) -> &(dyn Tested + 'static) {
        &*self.0
    }

    fn inner_mut(&mut self) -> &mut (dyn Tested + 'static) {
        &mut *self.0
    }
}

/// A worker that runs, and what is heard of it.
pub struct Run {
    running: Running,
    findings: Findings,
    events: Arc<Mutex<Vec<Event>>>,
    /// Sockets of this process when it had just started.
    base: usize,
}

/// How a run ended.
#[derive(Debug)]
pub struct End<M> {
    /// The machine.
    pub machine: M,
    /// It said that it has finished.
    pub finished: bool,
    /// What the auditor has seen.
    pub found: Found,
    /// What was said.
    pub events: Vec<Event>,
}

/// A worker that was drained or stopped has ended by then.
const END: Duration = Duration::from_secs(5);

impl Run {
    /// A worker around `machine`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<M>(runtime: &AnyRuntime, machine: M, listeners: Listeners, pool: Pool) -> Self
    where
        M: Application + Send + 'static,
    {
        let findings = Findings::default();
        let machine = Auditor::new(Recorder::new(machine), findings.clone());
        let machine = Subject(Box::new(Faulty::new(machine, faulty::wanted())));
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let heard = Arc::clone(&events);
        let watch: Events = Arc::new(move |_, event| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        });
        let running = (runtime.start)(machine, listeners, pool, watch).expect("it starts");
        Run { running, findings, events, base: sockets() }
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

    /// Takes no new work; ends when what is open has ended.
    pub fn drain(&self) {
        (self.running.drain)();
    }

    /// Whether the worker can tell what the system keeps for its streams.
    pub fn can_measure(&self) -> bool {
        self.running.measure.is_some()
    }

    /// Has the worker look what the system keeps for its streams; it may be `limit` bytes.
    pub fn measure(&self, limit: u64) {
        if let Some(measure) = &self.running.measure {
            measure(limit);
        }
    }

    /// Whether the worker has ended.
    pub fn has_ended(&self) -> bool {
        self.running.thread.is_finished()
    }

    /// Drains, and checks everything that holds for every run; `fresh` is a machine like the one
    /// that ran.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn finish<M: Application + 'static>(self, fresh: M) -> End<M> {
        self.drain();
        let end = self.join("drained", Some(fresh));
        assert!(end.finished, "it has ended before the machine said Finished");
        end
    }

    /// Stops, and checks what holds for a run that was cut off.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn stop<M: Application + 'static>(self, fresh: M) -> End<M> {
        (self.running.stop)();
        self.join("stopped", Some(fresh))
    }

    /// As [`Run::finish`], for a machine whose keys come from random bytes: no recording holds
    /// them, so none replays.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn finish_unreplayed<M: Application + 'static>(self) -> End<M> {
        self.drain();
        let end = self.join("drained", None);
        assert!(end.finished, "it has ended before the machine said Finished");
        end
    }

    fn join<M: Application + 'static>(self, how: &str, fresh: Option<M>) -> End<M> {
        let ended = eventually(END, || self.running.thread.is_finished());
        assert!(ended, "a worker that was {how} has not ended; {:#?}", self.findings.look().tail());
        let joined = self.running.thread.join().expect("the worker has not panicked");
        let Subject(tested) = joined.expect("the worker has not failed");
        let watched = tested.into_any().downcast::<Watched<M>>();
        let auditor = watched.expect("the machine that was started").into_inner();
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let finished = auditor.finished();
        let unanswered = auditor.unanswered();
        let mut recorder = auditor.into_inner();
        let recording = recorder.take();
        let found = self.findings.look();
        if std::env::var(faulty::AUDIT).as_deref() != Ok("0") {
            assert!(found.broken.is_empty(), "audit: the driver has broken rules: {:#?}", found.broken);
            assert!(!finished || unanswered.is_empty(), "audit: D9, no answer to Open of {unanswered:?}");
        }
        if let Some(Err(divergence)) = fresh.map(|fresh| replay(&recording, fresh)) {
            // What a stopped machine had still to say was not recorded.
            let cut = !finished && matches!(divergence, Divergence::Extra { .. });
            assert!(cut, "replay: {divergence}");
        }
        End { machine: recorder.into_inner(), finished, found, events }
    }
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
