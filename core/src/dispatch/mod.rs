//! `dispatch`: a SOCKS5, SOCKS4 and HTTP proxy whose connections leave by several uplinks.
//!
//! ```text
//!  accepted ─▶ Handshake ─▶ Opening ─▶ Relay ─▶ gone
//!                  │           │  ▲      ▲
//!                  │           ▼  │      │ (HTTP forwarding: Forward, which may open the next target)
//!                  └──────▶ Closing ─▶ gone
//! ```
//!
//! - [`Dispatch`] is the application: it owns the connections, gives each input to the one it concerns.
//! - `handshake` finds out what the client wants, `opening` races attempts over addresses and uplinks,
//!   `relay` moves bytes, `forward` moves HTTP messages, `closing` delivers a last reply.
//! - `guard` says where a client may not go, `auth` who may come.

mod app;
mod auth;
mod closing;
mod config;
mod connection;
mod cx;
mod forward;
mod guard;
mod handshake;
mod opening;
mod relay;
mod reply;

pub use app::{Counters, Dispatch};
pub use auth::{AuthError, Credentials};
pub use config::{Config, ConfigError};
