//! A scenario is data: links, flows, events, and what is expected of them, in one TOML file.
//!
//! ```toml
//! title = "My two links"
//! duration = "20 s"
//! [[link]]
//! name = "dsl"
//! rate = "50 Mbit/s"
//! rtt = "20 ms"
//! [[link]]
//! name = "lte"
//! rate = "20 Mbit/s"
//! rtt = "80 ms"
//! ```
//!
//! Everything else has a default: the bond as the tunnel, one TCP download and a ping inside it,
//! queues of 1.5 bandwidth-delay products, no loss. `sim/scenarios` holds those that ship
//! ([`catalog`]). The keys are in `cli/docs/sim.md`.
//!
//! | file | is |
//! | --- | --- |
//! | `read`, `section`, `units` | from text to [`Scenario`]: strict, and an error names file, line, key, what was expected and what came |
//! | `link`, `flow`, `event`, `expect` | what the tables of the file become |
//! | `ceiling` | what the links could carry of TCP payload |
//! | `catalog` | the scenarios that ship |

pub mod catalog;
mod ceiling;
mod error;
mod event;
mod expect;
mod flow;
mod link;
mod read;
mod section;
#[cfg(test)]
mod tests;
mod units;

pub use error::ScenarioError;
pub use event::{Change, Event, State, Which};
pub use expect::{Bound, Check, Expect, Goodput, Subject};
pub use flow::{FlowSpec, Kind, Profile};
pub use link::{Burst, Direction, LinkSpec, Queue, Shape};
pub use read::read;
pub use section::Overrides;
pub use units::Share;

use std::time::Duration;

/// What stands between the hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnel {
    /// The bond over all links.
    Bond,
    /// A plain tunnel over the first link: the contract's test driver, with the header of the bond
    /// and none of its wits.
    Toy,
    /// Nothing: the hosts' packets go over the first link as they are.
    None,
}

/// The strategies of the bond, its default first.
pub const MODES: &[&str] =
    &["aggregate", "weighted", "lowest-latency", "active-backup", "redundant", "adaptive", "flow"];

/// How the bond is set up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BondSettings {
    /// The strategy; the bond's default where none is named.
    pub mode: Option<String>,
    /// The longest extra delay a path may have and still carry the ordered flows.
    pub max_skew: Option<Duration>,
    /// The longest that a packet waits for those before it; the bond's where none is named.
    pub hold: Option<Duration>,
    /// Parts that are switched off, to see what each earns: `--set bond.without=repair`.
    pub without: Vec<String>,
}

/// What the two hosts of the tunnel's ends have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostSettings {
    /// Superpackets: the TUN devices join the segments of a burst and take joined ones (TSO, GSO),
    /// and the sockets join datagrams (GRO). Of the bond alone: a plain tunnel takes none.
    pub offload: bool,
    /// Bytes that may wait at the first queue before a socket refuses to send more, until half of
    /// them have gone (`SO_SNDBUF`). None: everything is taken.
    pub send_buffer: Option<u64>,
}

/// One run: what there is, what happens, what is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// One line for a person.
    pub title: String,
    /// How long, in virtual time.
    pub duration: Duration,
    /// What all randomness is drawn from.
    pub seed: u64,
    /// What stands between the hosts.
    pub tunnel: Tunnel,
    /// How the bond is set up.
    pub bond: BondSettings,
    /// What the hosts have.
    pub host: HostSettings,
    /// Timers of the machines fire at multiples of this, as a host that rounds its waits does;
    /// zero: exactly.
    pub granularity: Duration,
    /// At least one.
    pub links: Vec<LinkSpec>,
    /// At least one.
    pub flows: Vec<FlowSpec>,
    /// In order of time.
    pub events: Vec<Event>,
    /// What the figures must be.
    pub expects: Vec<Expect>,
}

impl Scenario {
    /// Which way the first flow goes that is no ping.
    pub fn direction(&self) -> Direction {
        let flow = self.flows.iter().find(|flow| !matches!(flow.kind, Kind::Ping { .. }));
        flow.map_or(Direction::Down, |flow| flow.direction)
    }
}
