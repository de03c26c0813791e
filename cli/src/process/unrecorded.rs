//! What stands for `record` in a build without it: no switch, and machines as they are.

use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;

/// No switches.
#[derive(clap::Args, Debug, PartialEq, Eq)]
pub(crate) struct RecordArgs {}

/// A machine.
pub(crate) type Recorded<M> = M;

/// No file.
pub(crate) struct Opened;

/// No recording.
#[derive(Clone)]
pub(crate) struct Recording;

impl Recording {
    pub(crate) fn open(_: &RecordArgs) -> Result<Opened, String> {
        Ok(Opened)
    }

    pub(crate) fn start(_: &RecordArgs, _: Opened, _: &str, _: &[String], _: u16) -> Result<Self, String> {
        Ok(Recording)
    }

    #[cfg(feature = "dispatch")]
    pub(crate) fn dispatch(
        &self,
        _: usize,
        config: ropewalk_core::dispatch::Config,
    ) -> Result<ropewalk_core::dispatch::Dispatch, ropewalk_core::dispatch::ConfigError> {
        ropewalk_core::dispatch::Dispatch::new(config)
    }

    #[cfg(feature = "unwrap")]
    pub(crate) fn unwrap(
        &self,
        _: usize,
        config: ropewalk_core::unwrap::Config,
    ) -> Result<ropewalk_core::unwrap::Unwrap, ropewalk_core::unwrap::ConfigError> {
        ropewalk_core::unwrap::Unwrap::new(config)
    }

    pub(crate) fn news(&self, _: Instant, _: &Event) {}

    pub(crate) fn name(&self, _: Instant, _: ropewalk_core::machine::UplinkId, _: &str) {}

    pub(crate) fn figures(&self) -> Option<(u64, bool)> {
        None
    }

    pub(crate) fn finish(&self) {}
}
