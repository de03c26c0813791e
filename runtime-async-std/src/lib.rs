//! The second driver: async-std's tasks and async-io's readiness, the machine's decisions.
//!
//! It proves that `ropewalk-mio` holds no logic: the same machines, with the same inputs, in a
//! runtime of another make. A [`Worker`] is one task around one machine, run by the thread that
//! calls [`Worker::run`]. async-io's reactor is one for the whole process; it wakes a direction of
//! a socket once each time it was armed:
//!
//! ```text
//!   reactor ──wake──▶ mailbox: which listener, which stream, which direction
//!                        │ wakes the owner once
//!                        ▼
//!                     owner: Drive::ready, Drive::turn ──would block──▶ arm that direction again
//! ```
//!
//! So the cost is that of what happens: no task looks through the sockets, and an idle one costs
//! nothing.
//!
//! | file | is |
//! | --- | --- |
//! | `worker` | the task |
//! | `io` | the [`Io`](ropewalk_core::drive::Io) of this runtime |
//! | `stream` | TCP sockets in async-io's types |
//! | `datagram` | UDP sockets in async-io's types |
//! | `tun` | TUN devices, armed as sockets are (Unix, feature `tun`) |
//! | `wake` | the mailbox |
//!
//! What knows no runtime is taken from `ropewalk-sockets`, [`Shared`] and [`Handle`] among it.

#![forbid(unsafe_code)]

mod datagram;
mod io;
mod stream;
#[cfg(all(unix, feature = "tun"))]
mod tun;
mod wake;
mod worker;

#[cfg(all(unix, feature = "tun"))]
pub use ropewalk_sockets::{Configure, Tun, entropy};
pub use ropewalk_sockets::{Handle, Listeners, Shared, Watch, listen, listen_datagrams};
pub use worker::Worker;
