//! A lab around unwrap's machine, which is recorded.

use super::incident::Recorded;
use super::lab::{Lab, Setup};
use super::watched::Subject;
use ropewalk_core::dispatch::Counters;
use ropewalk_core::record::{Recorder, Replayed, replay};
use ropewalk_core::unwrap::{Config, Unwrap};

impl Subject for Recorder<Recorded<Unwrap>> {
    fn counters(&self) -> Counters {
        self.machine().counters()
    }
    fn buffers_taken(&self) -> usize {
        self.machine().buffers_taken()
    }
    fn recording(&mut self) -> Option<Vec<u8>> {
        Some(self.take())
    }
}

impl Setup {
    /// The lab of an unwrap machine.
    pub(crate) fn unwrap(self, config: Config) -> Lab {
        let listeners = config.listeners.iter().map(|listener| listener.address).collect();
        let machine = Recorded::unwrap(config).expect("a valid configuration");
        self.around(listeners, Box::new(Recorder::new(machine)))
    }
}

impl Lab {
    /// The recording replays into a machine of `config`, which must give the same outputs.
    #[track_caller]
    pub(crate) fn replays(&mut self, config: Config) -> Replayed {
        let recording = self.machine.inner.recording().expect("unwrap's machine is recorded");
        let replayed = replay(&recording, Unwrap::new(config).expect("it was valid before"));
        replayed.unwrap_or_else(|divergence| panic!("the recording does not replay: {divergence}"))
    }
}
