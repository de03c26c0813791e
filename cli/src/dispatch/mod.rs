//! `ropewalk dispatch`: a proxy whose connections leave by several uplinks.
//!
//! | module | is |
//! | --- | --- |
//! | `args` | the switches |
//! | `probe` | one of them |
//! | `reload` | its files read again while it runs |
//! | `service` | from switches to running workers |
//! | `associations` | events of UDP associations as counters and log lines |
//! | `watch` | its events as counters and log lines |
//! | `stats` | its counters as figures |

mod args;
mod associations;
mod probe;
mod reload;
mod service;
mod stats;
mod watch;

pub(crate) use args::Args;

/// Runs the service.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    all.iter().try_for_each(service::run)
}
