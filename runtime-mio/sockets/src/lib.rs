//! Sockets without a runtime: what every driver does in the same way, and what the workers of a
//! process share.
//!
//! Nothing here waits for readiness. A runtime holds its sockets in types of its own and lends
//! them; a call that would block returns [`TryError::WouldBlock`](ropewalk_core::drive::TryError),
//! and when to try again is the runtime's affair.
//!
//! | file | is |
//! | --- | --- |
//! | `shared` | what workers share, and what each is asked from outside |
//! | `socket` | TCP sockets: listen, accept, read or write, end |
//! | `datagram` | UDP sockets: open, receive in batches, send in groups |
//! | `table` | the UDP sockets of a worker |
//! | `hits` | how often a fixed limit was hit |
//! | `listeners` | where a worker's clients come in |
//! | `bind` | sockets bound to a device and a source address |
//! | `route` | whether a device has a route (Linux) |
//! | `resolve` | names, looked up off the loop |
//! | `memory` | what the system keeps for a socket (Linux) |
//! | `entropy` | random bytes (feature `entropy`) |
//! | `tun` | TUN devices with offload (Unix, feature `tun`) |
//! | `windows` | sockets held to an interface (Windows); the one file with unsafe code |
//! | `splice` | bytes moved in the kernel, through pooled pipes (Linux) |

#![cfg_attr(not(windows), forbid(unsafe_code))]

mod bind;
mod datagram;
#[cfg(feature = "entropy")]
mod entropy;
mod hits;
mod listeners;
#[cfg(target_os = "linux")]
mod memory;
mod resolve;
#[cfg(target_os = "linux")]
mod route;
mod shared;
mod socket;
#[cfg(target_os = "linux")]
mod splice;
mod table;
#[cfg(all(unix, feature = "tun"))]
mod tun;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use bind::connect_local;
pub use bind::{Binder, SocketOptions};
pub use datagram::{Buffers, Datagrams, listen_datagrams};
#[cfg(feature = "entropy")]
pub use entropy::entropy;
pub use hits::{LimitHits, limit_hits, sockets_without_gso};
pub use listeners::Listeners;
#[cfg(target_os = "linux")]
pub use memory::memory;
pub use resolve::{Answer, Resolver};
pub use shared::{Handle, Inbox, Shared, Wake, Watch};
pub use socket::{
    Tried, accept, before_close, finish_connect, keep_alive, listen, own_address, shutdown, transfer,
};
#[cfg(target_os = "linux")]
pub use splice::Pipes;
pub use table::{DatagramSocket, DatagramTable};
#[cfg(all(unix, feature = "tun"))]
pub use tun::{Configure, Tun};

/// A socket of any make, lent.
#[cfg(unix)]
pub use std::os::fd::AsFd as AsSocket;
#[cfg(windows)]
pub use std::os::windows::io::AsSocket;
