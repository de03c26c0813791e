//! The driver that ships: mio's readiness, the machine's decisions.
//!
//! A [`Worker`] is one thread's event loop around one machine. Several workers share one
//! [`Shared`]: the uplink pool and the observers. Every question of a protocol goes to the
//! machine; here are only sockets.
//!
//! | file | is |
//! | --- | --- |
//! | `worker` | the event loop |
//! | `io` | the [`Io`](ropewalk_core::drive::Io) of this runtime |
//! | `stream` | TCP sockets in mio's types |
//! | `lasting` | keep-alive for connections out that have lasted |
//! | `datagram` | UDP sockets in mio's types |
//! | `tun` | TUN devices in mio's hands (Unix, feature `tun`) |
//! | `alarm` | waits shorter than mio's milliseconds (Linux) |
//!
//! What needs no mio is `ropewalk-sockets`, in the folder `sockets`: the second driver builds on
//! the same.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod alarm;
mod datagram;
mod io;
mod lasting;
mod stream;
#[cfg(all(unix, feature = "tun"))]
mod tun;
mod worker;

#[cfg(all(unix, feature = "tun"))]
pub use ropewalk_sockets::{Configure, Tun, entropy};
pub use ropewalk_sockets::{
    Handle, LimitHits, Listeners, Shared, SocketOptions, Watch, limit_hits, listen, listen_datagrams,
    sockets_without_gso,
};
pub use worker::Worker;
