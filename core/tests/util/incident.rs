//! A machine that is recorded as a live process records it. When a test has ended, the
//! recording is replayed: whatever a test does, the same is decided without secrets and payload.

use ropewalk_core::dispatch::{self, ConfigError, Dispatch};
use ropewalk_core::machine::Layer;
use ropewalk_core::record::{Discreet, Incident, Sink, replay_incident};
use ropewalk_core::time::Instant;
use ropewalk_core::unwrap::{self, Unwrap};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// Entries, one after another.
#[derive(Clone, Default)]
pub(crate) struct Entries(Arc<Mutex<Vec<u8>>>);

impl Sink for Entries {
    fn put(&mut self, entry: &[u8]) -> bool {
        self.0.lock().expect("no thread panics").extend_from_slice(entry);
        true
    }
}

impl Entries {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no thread panics").clone()
    }
}

pub(crate) struct Recorded<M> {
    incident: Incident<M>,
    pub(crate) entries: Entries,
    /// What follows is what no driver may do: it is not compared.
    pub(crate) ended: bool,
}

impl Recorded<Dispatch> {
    pub(crate) fn dispatch(config: dispatch::Config) -> Result<Self, ConfigError> {
        Recorded::dispatch_with(config, false)
    }

    /// The same, with or without payload.
    pub(crate) fn dispatch_with(config: dispatch::Config, payload: bool) -> Result<Self, ConfigError> {
        let entries = Entries::default();
        let incident = Incident::of_dispatch(config, payload, Box::new(entries.clone()))?;
        Ok(Recorded { incident, entries, ended: false })
    }

    pub(crate) fn reconfigure(
        &mut self,
        now: Instant,
        config: dispatch::Config,
    ) -> Result<usize, ConfigError> {
        self.incident.reconfigure(now, config)
    }
}

impl Recorded<Unwrap> {
    pub(crate) fn unwrap(config: unwrap::Config) -> Result<Self, ConfigError> {
        let entries = Entries::default();
        let incident = Incident::of_unwrap(config, false, Box::new(entries.clone()))?;
        Ok(Recorded { incident, entries, ended: false })
    }
}

/// The machine inside.
impl<M> Deref for Recorded<M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.incident.machine()
    }
}

impl<M: Discreet> Layer for Recorded<M> {
    type Inner = Incident<M>;

    fn inner(&self) -> &Incident<M> {
        &self.incident
    }

    fn inner_mut(&mut self) -> &mut Incident<M> {
        &mut self.incident
    }
}

/// The recording replays.
impl<M> Drop for Recorded<M> {
    fn drop(&mut self) {
        if std::thread::panicking() || self.ended {
            return;
        }
        if let Err(divergence) = replay_incident(&self.entries.bytes(), &mut |_| {}) {
            panic!("the incident does not replay: {divergence}");
        }
    }
}
