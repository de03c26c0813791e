//! A dispatch machine that is recorded as a live process records it. When a test has ended, the
//! recording is replayed: whatever a test does, the same is decided without secrets and payload.

use ropewalk_core::dispatch::{Config, ConfigError, Dispatch};
use ropewalk_core::machine::Layer;
use ropewalk_core::record::{Incident, Sink, replay_incident};
use ropewalk_core::time::Instant;
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

pub(crate) struct Recorded {
    incident: Incident<Dispatch>,
    pub(crate) entries: Entries,
}

impl Recorded {
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        let entries = Entries::default();
        let incident = Incident::of_dispatch(config, false, Box::new(entries.clone()))?;
        Ok(Recorded { incident, entries })
    }

    pub(crate) fn dispatch(&self) -> &Dispatch {
        self.incident.machine()
    }

    pub(crate) fn reconfigure(&mut self, now: Instant, config: Config) -> Result<usize, ConfigError> {
        self.incident.reconfigure(now, config)
    }
}

impl Layer for Recorded {
    type Inner = Incident<Dispatch>;

    fn inner(&self) -> &Incident<Dispatch> {
        &self.incident
    }

    fn inner_mut(&mut self) -> &mut Incident<Dispatch> {
        &mut self.incident
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Err(divergence) = replay_incident(&self.entries.bytes(), &mut |_| {}) {
            panic!("the incident does not replay: {divergence}");
        }
    }
}
