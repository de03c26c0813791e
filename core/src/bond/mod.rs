//! `bond`: one connection over many links, packet by packet.
//!
//! [`Client`] and [`Server`] are the machines. Each has a TUN device on one side and datagram
//! sockets on the other; an association between them has a path for each of the client's uplinks.
//!
//! ```text
//!   TUN ─▶ ingress ─▶ schedule ─▶ path ┐               ┌ path ─▶ order ─▶ TUN
//!                                path ─┼── network ────┼ path
//!                                path ─┘ sealed        └ path   opened
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `client`, `server` | the machines |
//! | `peer` | an association: joins all that follows |
//! | `inner` | the packets inside: flows, sums, superpackets |
//! | `ingress` | the queue in front of the paths |
//! | `path` | what is measured of one path, and what it may carry |
//! | `schedule` | which path takes the next packet |
//! | `order` | packets in the order of their flow |
//! | `parts` | what can be taken out to see what it earns |
//! | `wire` | packets on the network |
//! | `handshake`, `session`, [`crypto`] | who the other side is; keys and replays; seals |
//! | `config`, `status`, `rate` | what can be set; what it is doing; a rate without rounding |
//! | `laws`, `recording` | what the fuzzer calls; two ends that speak, for another implementation |

mod client;
mod config;
pub mod crypto;
pub(crate) mod handshake;
mod ingress;
mod inner;
#[cfg(feature = "laws")]
#[doc(hidden)]
pub mod laws;
mod order;
mod parts;
pub(crate) mod path;
mod peer;
pub(crate) mod rate;
#[cfg(all(feature = "laws", feature = "std"))]
mod recording;
mod schedule;
mod server;
pub(crate) mod session;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use client::Client;
pub use config::{ClientConfig, Common, ConfigError, DEFAULT_MTU, KnownClient, ServerConfig, Uplink};
pub use parts::Parts;
pub use peer::{Drops, Tuning};
pub use schedule::Strategy;
pub use server::{Invitation, Server};
pub use status::{PathState, PathStatus, Status};
