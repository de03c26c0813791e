//! The driver that ships: mio's readiness, the machine's decisions.
//!
//! A [`Worker`] is one thread's event loop around one machine. Several workers share one [`Shared`]: the uplink pool
//! and whoever watches. Everything a protocol could ask is asked of the machine; here are only sockets.
//!
//! | file | is |
//! | --- | --- |
//! | `worker` | the event loop |
//! | `io` | the [`Io`](ropewalk_core::drive::Io) of this runtime |
//! | `stream` | TCP sockets in mio's types |
//! | `datagram` | UDP sockets in mio's types |
//!
//! What needs no mio is `ropewalk-sockets`, in the folder `sockets`: the second driver builds on the same.

#![forbid(unsafe_code)]

mod datagram;
mod io;
mod stream;
mod worker;

pub use ropewalk_sockets::{Handle, Listeners, Shared, Watch, listen, listen_datagrams};
pub use worker::Worker;
