//! The lab: a scenario in real time, with the kernel's TCP, between network namespaces.
//!
//! ```text
//!   client                          the lab's own                        server          far
//!   program ── device ═══ packet socket ── Link ── packet socket ═══ device ── program ── flows' end
//! ```
//!
//! The same file, link model and meters as in virtual time, so that the two reports can stand side
//! by side. Whoever uses it makes the namespaces and starts what shall be measured.
//!
//! | file | is |
//! | --- | --- |
//! | `wire` | the packet sockets, and the frames that come from them |
//! | `forwarder` | the thread that carries frames as the links do |
//! | `flows`, `echo` | what the hosts send each other: TCP, UDP, ping |
//! | `run` | one measurement, from the first packet to the report |

mod echo;
mod flows;
mod forwarder;
mod run;
mod wire;

pub use flows::{Ends, Tcp};
pub use forwarder::{Forwarder, Wire};
pub use run::measure;
pub use wire::open;

use ropewalk_core::time::{Duration, Instant};

/// A place where sockets are made: a network namespace.
pub trait Host {
    /// Runs `f` on a thread inside.
    fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T;
}

/// The time of a scenario, on the clock of the wall. Before its begin it stands at zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    /// A clock that begins at `at`.
    pub(crate) fn new(at: std::time::Instant) -> Self {
        Clock(at)
    }

    /// Since its begin.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The same, as the meters take it.
    fn now(&self) -> Instant {
        Instant::ZERO + self.elapsed()
    }

    /// Sleeps until then.
    fn sleep_until(&self, at: Duration) {
        let at = self.0 + at;
        std::thread::sleep(at.saturating_duration_since(std::time::Instant::now()));
    }
}
