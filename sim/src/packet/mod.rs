//! The packet world: hosts, a tunnel of two machines, links between them; one queue of alarms, one
//! clock, one seed.
//!
//! ```text
//!   client host                                                   server host
//!      │ TUN                                                         TUN │
//!   client machine ──┬── link 1 up ──▶ ...                   server machine
//!    (its Drive,     ├── link 1 down ◀── ...                  (its Drive,
//!     a SimIo)       └── link 2 ...                            a SimIo)
//! ```
//!
//! The machines are driven by the same `Drive` as on a real host, through an `Io` whose sockets
//! lead into [`Link`](crate::link::Link)s. Without a tunnel the hosts' packets go over the first
//! link as they are.
//!
//! | file | is |
//! | --- | --- |
//! | `world` | the run: which alarm is due, which host has something to send |
//! | `agenda` | what happens next |
//! | `node`, `io` | a machine with its driver; its sockets, its TUN device, NAT |
//! | `offload` | superpackets: what the TUN device joins and cuts |
//! | `host` | the ends of the flows: TCP, UDP, ping |
//! | `bond` | the bond's machines, as a scenario sets them, and their news in words |
//! | `toy` | a plain tunnel, the contract's test driver |
//! | `shape` | a scenario's directions of a link, as the link model takes them |
//! | `frame`, `trace` | what a link carries, and the record of it with its hash |
//! | `meter` | what is measured |
//!
//! Invariants: time is the next alarm's, never another; nothing but the scenario and its seed
//! decides anything (no clock, no unordered map), so the same seed gives the same trace; every
//! packet is counted where it was lost.

mod agenda;
mod bond;
mod frame;
mod host;
mod io;
pub(crate) mod meter;
mod node;
mod offload;
pub(crate) mod shape;
mod toy;
mod trace;
mod world;

#[cfg(test)]
mod tests;

use crate::report::Report;
use crate::scenario::Scenario;
use std::io::Write;

/// The two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// Which TCP the hosts have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Inside {
    /// A model of the kernel's.
    #[default]
    Model,
    /// smoltcp's sockets.
    Smoltcp,
}

/// How to run a scenario.
#[derive(Default)]
pub struct Options {
    /// Which TCP the hosts have.
    pub inside: Inside,
    /// Gets a line for each packet that enters or leaves a link.
    pub trace: Option<Box<dyn Write>>,
}

/// Why a run gave no report.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The trace could not be written.
    Trace(std::io::Error),
    /// The scenario asks for something that this build does not have.
    Unsupported(String),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::Trace(error) => write!(f, "cannot write the trace: {error}"),
            RunError::Unsupported(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs a scenario from its beginning to its end.
///
/// # Errors
/// As [`RunError`] says.
///
/// ```
/// use ropewalk_sim::packet::{Options, run};
/// use ropewalk_sim::scenario::{Overrides, catalog};
/// let straight = catalog::find("straight").expect("it ships");
/// let scenario = straight.read(&Overrides::new(["duration=1 s"])?)?;
/// let report = run(&scenario, Options::default())?;
/// assert!(report.flows[0].goodput > Some(20_000_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run(scenario: &Scenario, options: Options) -> Result<Report, RunError> {
    let begun = std::time::Instant::now();
    let mut world = world::World::new(scenario, options)?;
    world.run();
    let measured = world.finish().map_err(RunError::Trace)?;
    Ok(Report::new(scenario, measured, begun.elapsed()))
}
