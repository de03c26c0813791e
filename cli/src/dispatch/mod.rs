//! `ropewalk dispatch`: a proxy whose connections leave by several uplinks.
//!
//! | module | is |
//! | --- | --- |
//! | `args` | the switches |
//! | `probe`, `cap`, `rate` | three of them |
//! | `usage` | what metered uplinks have carried, in a file |
//! | `reload` | its files read again while it runs |
//! | `plan` | what switches and files come to: pool, uplinks, the configuration of each worker |
//! | `service` | from there to running workers |
//! | `doctor` | `ropewalk doctor dispatch`: what an uplink lacks, and a connection by each (Linux) |
//! | `upstream` | proxies as uplinks |
//! | `associations` | events of UDP associations as counters and log lines |
//! | `resolver`, `names` | who is asked for names through an uplink; what came of it (feature `names`) |
//! | `watch` | its events as counters and log lines |
//! | `stats` | its counters as figures |

mod args;
mod associations;
pub(crate) mod cap;
#[cfg(target_os = "linux")]
pub(crate) mod doctor;
#[cfg(feature = "names")]
mod names;
mod plan;
mod probe;
mod rate;
mod reload;
#[cfg(feature = "names")]
mod resolver;
mod service;
mod stats;
mod upstream;
pub(crate) mod usage;
mod watch;

pub(crate) use args::Args;

/// Runs the service.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    // They are needed until the process ends, by threads too.
    all.leak().iter().try_for_each(service::run)
}
