//! `unwrap`: the client's real address, given back to the server. What is behind a PROXY protocol
//! header is passed on from the address in it.
//!
//! ```text
//!  TCP  accepted ─▶ Header ─▶ Opening ─▶ Relay ─▶ gone          one `connection` for each client
//!  UDP  datagram ─▶ header ─▶ flow (client, target) ─▶ server   `flows`: one socket for each client
//! ```
//!
//! - [`Unwrap`] (`app`) is the application: a `service` of these connections, and the flows.
//! - `admission` decides which client a header names, where it goes, and which headers a client
//!   cannot have sent.
//! - `meter` tells what a connection moves while it goes on.
//! - `names` looks up servers that are known by name.
//! - `quarantine` drops what a balancer's port still sends when its session is over.
//! - [`emit`] writes headers, for tests and senders. `config`: what can be set.

mod admission;
mod app;
mod config;
mod connection;
pub mod emit;
mod flows;
mod meter;
mod names;
mod quarantine;

pub use crate::machine::Target;
pub use crate::service::{ConfigError, Counters};
pub use app::Unwrap;
pub use config::{Config, DatagramListener, Destinations, Listener, PortConflict, UdpHeader};
pub use flows::FlowCounters;
pub use names::Names;

/// What its connections are lent.
type Cx = crate::service::Cx<Config>;
