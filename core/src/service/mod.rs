//! What every service that relays connections shares: listeners, ids, deadlines, buffers, the relay
//! itself.
//!
//! ```text
//!  driver ──▶ Service<C>: which input is for which ───▶ C: Connection, one for each client
//!                │  accepts, limits, pauses, drain        │
//!                └────────── Cx: config + Common ◀────────┘  streams, queries, outputs, buffers, timers
//! ```
//!
//! - [`Service`] owns the connections; a service is a `Service` of its own kind of [`Connection`].
//! - [`Cx`] is what a connection is lent while it takes something in.
//! - [`Relay`] moves bytes both ways until both have ended.
//! - [`Sockets`] queues datagrams for each socket, [`FlowTable`] knows which UDP sessions there
//!   are.
//!
//! | file | is |
//! | --- | --- |
//! | `app` | [`Service`]: accepts, limits, drain; gives each input to its connection |
//! | `connection` | [`Connection`]: what a service asks of its own |
//! | `relay` | bytes both ways, half-close, resets, splicing |
//! | `cx` | what a connection is lent |
//! | `limits`, `counters` | what a service may use; what it counts |
//! | `clients` | how many connections each client has |
//! | `lookups` | names under way, a share for each client |
//! | `mail` | names that the machine itself looks up |
//! | `sockets`, `outbox` | datagram sockets; what waits on each |
//! | `rates` | how fast uplinks may carry |
//! | `flows` | UDP sessions, and which is the longest idle |

mod app;
mod clients;
mod connection;
mod counters;
mod cx;
mod flows;
mod limits;
mod lookups;
mod mail;
mod outbox;
mod rates;
mod relay;
mod sockets;

pub(crate) use app::Service;
pub(crate) use connection::{Accepted, Connection};
pub use counters::Counters;
pub(crate) use cx::Cx;
pub(crate) use flows::{FlowId, FlowTable, Tally};
pub use limits::ConfigError;
pub(crate) use limits::Limits;
#[cfg(feature = "names")]
pub(crate) use mail::Mail;
pub(crate) use outbox::Address;
pub(crate) use relay::{Relay, RelayState, Side};
#[cfg(feature = "unwrap")]
pub(crate) use sockets::Sockets;
