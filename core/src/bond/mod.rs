//! `bond`: one connection over many links, packet by packet.
//!
//! [`Client`] and [`Server`] are the machines. Each has a TUN device on one side and datagram sockets on the other; an
//! association between them has a path for each of the client's uplinks.
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
//! | `wire` | packets on the network |
//! | `handshake`, `session`, [`crypto`] | who the other side is; keys; seals |

mod client;
mod config;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub mod crypto;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod handshake;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod ingress;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod inner;
#[cfg(feature = "laws")]
#[doc(hidden)]
pub mod laws;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod order;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod path;
#[allow(dead_code, reason = "the endpoints that call it are written next")]
mod peer;
#[allow(dead_code, reason = "the association that calls it is written next")]
pub(crate) mod rate;
#[cfg(all(feature = "laws", feature = "std"))]
mod recording;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod schedule;
mod server;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod session;
mod status;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod wire;

pub use client::Client;
pub use config::{ClientConfig, Common, ConfigError, DEFAULT_MTU, KnownClient, ServerConfig, Uplink};
pub use peer::{Drops, Tuning};
pub use schedule::Strategy;
pub use server::{Invitation, Server};
pub use status::{PathState, PathStatus, Status};
