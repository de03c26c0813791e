//! What a benchmark compares, and by which workloads.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::common::figures::Outcome;
use crate::common::process::Process;
use crate::common::route::Route;
use crate::common::server::Server;

/// How long after a failure to look whether the proxy has ended.
const DYING: Duration = Duration::from_millis(200);

/// One way to the server.
pub(crate) trait Rival: Copy + Eq + 'static {
    /// In the order of the tables.
    const ALL: &'static [Self];
    /// The way without a proxy.
    const DIRECT: Self;

    /// As on the command line and in the tables.
    fn name(self) -> &'static str;

    /// Its binary: `None` for [`Self::DIRECT`], which has none; the error names what is missing.
    fn binary(self) -> Result<Option<PathBuf>, String>;
}

/// One of a benchmark's workloads.
pub(crate) trait Workload: Copy + Eq + 'static {
    /// What is measured by it.
    type Rival: Rival;

    /// The name of the benchmark.
    const BENCH: &'static str;
    /// Whether the benchmark runs in a network namespace of its own, where it may set what it
    /// likes.
    const OWN_NAMESPACE: bool;
    /// In the order they run; a check comes first.
    const ALL: &'static [Self];

    /// As on the command line and in the tables.
    fn name(self) -> &'static str;

    /// The table's title.
    fn title(self) -> &'static str;

    /// Whether more of the first figure is better (and the way without a proxy has one to compare
    /// with).
    fn is_rate(self) -> bool;

    /// Whether it says the same in each round.
    fn is_check(self) -> bool;

    /// Whether it says anything of `rival`.
    fn suits(self, rival: Self::Rival) -> bool;

    /// Starts `rival` and measures once.
    fn measure(self, rival: Self::Rival, ground: &Ground<'_>) -> Result<Outcome, String>;
}

/// What each measurement stands on.
pub(crate) struct Ground<'a> {
    pub(crate) server: &'a Server,
    /// How long to measure.
    pub(crate) window: Duration,
    /// Where the rivals' files go.
    pub(crate) folder: &'a Path,
    /// Varies what differs from round to round.
    pub(crate) round: usize,
}

/// A started rival, or the direct way; ended when dropped.
pub(crate) struct Running {
    pub(crate) process: Option<Process>,
    /// The way through it.
    pub(crate) route: Route,
}

impl Running {
    /// The process to measure.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What was measured, or why nothing can have been: the rival is no longer alive.
    pub(crate) fn judge(mut self, measured: Result<Outcome, String>) -> Result<Outcome, String> {
        if measured.is_err() {
            // Connections break a little before a dying proxy is dead.
            thread::sleep(DYING);
        }
        match (measured, self.process.as_mut().and_then(Process::obituary)) {
            (measured, None) => measured,
            (Ok(_), Some(obituary)) => Err(obituary),
            (Err(e), Some(obituary)) => Err(format!("{e}; {obituary}")),
        }
    }
}
