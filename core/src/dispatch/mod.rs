//! `dispatch`: a SOCKS5, SOCKS4 and HTTP proxy whose connections leave by several uplinks.
//!
//! ```text
//!  accepted ─▶ Handshake ─▶ Opening ─▶ Relay ─▶ gone
//!                  │           │  ▲      ▲
//!      Association ◀┤           ▼  │      │ (HTTP forwarding: Forward, which may open the next target)
//!                  └──────▶ Closing ─▶ gone
//! ```
//!
//! - [`Dispatch`] (`app`) is the application: a `service` of these connections, and of the probes'
//!   (`served`). `connection` holds the states, `config` what can be set.
//! - `handshake` finds out what the client wants, `opening` races attempts over addresses and
//!   uplinks, the service's `relay` moves bytes, `forward` moves HTTP messages, `closing` delivers
//!   a last reply.
//! - `association` is what becomes of a connection that asks for UDP: it carries datagrams until
//!   the connection ends.
//! - `probe` asks uplinks whether they carry, by connections that no client has asked for.
//! - `names` looks names up through the uplink that will carry their connection (feature `names`).
//! - `upstream` is the handshake with another proxy, where an uplink is one.
//! - `meter` tells what a connection moves while it is open, and whether it is answered.
//! - `guard` says where a client may not go, `auth` whether a client may connect, `reply` which
//!   code reports a fault.

mod app;
mod association;
mod auth;
mod closing;
mod config;
mod connection;
mod forward;
mod guard;
mod handshake;
mod meter;
#[cfg(feature = "names")]
mod names;
mod opening;
mod probe;
mod reply;
mod served;
mod upstream;

pub use crate::service::{ConfigError, Counters};
pub use app::Dispatch;
pub use auth::{AuthError, Credentials};
pub use config::{Config, Rate};
#[cfg(feature = "laws")]
#[doc(hidden)]
pub use names::assert_answer_laws;
#[cfg(feature = "names")]
pub use names::{NamesConfig, message};
pub use probe::{HttpProbe, ProbeConfig};
pub use upstream::{Upstream, UpstreamProtocol};

/// What its connections are lent.
type Cx = crate::service::Cx<Config>;
