//! The driver that ships: mio's readiness, the machine's decisions.
//!
//! A [`Worker`] is one thread's event loop around one machine. Several workers share one [`Shared`]: the uplink pool
//! and whoever watches. Everything a protocol could ask is asked of the machine; here are only sockets.
//!
//! | file | is |
//! | --- | --- |
//! | `shared` | what workers share, and what each is asked from outside |
//! | [`sockets`] | what every driver does with sockets, without a runtime |
//! | `worker` | the event loop |
//! | `io` | the [`Io`](ropewalk_core::drive::Io) of this runtime |
//! | `stream` | TCP sockets in mio's types |
//! | `datagram` | UDP sockets in mio's types |
//!
//! The last four are the feature `mio`, on by default. Without it this crate is what another runtime builds on, as
//! `ropewalk-async-std` does.

#![cfg_attr(not(feature = "mio"), allow(rustdoc::broken_intra_doc_links, reason = "there is no Worker"))]
#![forbid(unsafe_code)]

#[cfg(feature = "mio")]
mod datagram;
#[cfg(feature = "mio")]
mod io;
mod shared;
pub mod sockets;
#[cfg(feature = "mio")]
mod stream;
#[cfg(feature = "mio")]
mod worker;

pub use shared::{Handle, Inbox, Shared, Wake, Watch};
pub use sockets::{Listeners, listen, listen_datagrams};
#[cfg(feature = "mio")]
pub use worker::Worker;
