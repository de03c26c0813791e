//! How often this process hit a fixed limit of its sockets. Counted for the process: a figure, no
//! decision.

use std::sync::atomic::{AtomicU64, Ordering};

/// One limit's count.
pub(crate) struct Hits(AtomicU64);

impl Hits {
    pub(crate) const fn new() -> Self {
        Hits(AtomicU64::new(0))
    }

    /// Counts one more; gives the count.
    pub(crate) fn hit(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) static NAMES: Hits = Hits::new();
#[cfg(target_os = "linux")]
pub(crate) static PIPES: Hits = Hits::new();

pub(crate) static UNGROUPED: Hits = Hits::new();

/// How many datagram sockets of this process have sent without segmentation offload (UDP GSO) since
/// it began: the system has none, or gave it up because a device would not cut. Each datagram then
/// costs a call of its own.
pub fn sockets_without_gso() -> u64 {
    UNGROUPED.count()
}

/// What [`limit_hits`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LimitHits {
    /// Names that were refused because 1,024 waited already in their worker.
    pub names: u64,
    /// Splices that became copies because 64 pipes were in use in their worker, or the system gave
    /// none.
    pub pipes: u64,
}

/// How often a fixed limit of the sockets was hit since the process began, by all workers.
pub fn limit_hits() -> LimitHits {
    LimitHits {
        names: NAMES.count(),
        #[cfg(target_os = "linux")]
        pipes: PIPES.count(),
        #[cfg(not(target_os = "linux"))]
        pipes: 0,
    }
}
