//! Sans-IO state machines that make one way out of many.
//!
//! Everything ropewalk decides is decided here, and nothing here touches a socket, a clock, a
//! thread or a source of entropy: bytes and time are given, commands and bytes come back. A runtime
//! is thin around it, a simulator is another runtime.
//!
//! | module | is |
//! | --- | --- |
//! | [`machine`] | the contract between machines and drivers, and the events a person may want to see |
//! | [`drive`] | one bounded turn of a driver; the trait a runtime implements |
#![cfg_attr(feature = "dispatch", doc = "| [`dispatch`] | the proxy: handshake, opening, relay |")]
//! | [`uplink`] | the pool: weights, health, accounting |
#![cfg_attr(feature = "bond", doc = "| [`bond`] | one connection over many links, at packet level |")]
#![cfg_attr(feature = "unwrap", doc = "| [`unwrap`] | clients' addresses, given back to their server |")]
//! | [`record`] | a run written down, and run again |
//! | [`time`], [`timers`] | instants and deadlines |
//! | [`name`] | hosts and destinations as clients send them |
//! | [`json`], `errno` | JSON, piece by piece; the system's errors in our words (feature `std`) |
//! | [`docs`] | the manual |
//! | `service` | what `dispatch` and `unwrap` share: accepting, limits, the relay, UDP flows |
//! | `wire` | byte formats: SOCKS, HTTP, the PROXY protocol |
//! | `buffer`, `slab`, `scope` | pooled buffers; ids with generations; which addresses lead to this host |
//!
//! Byte formats live in `wire`, which only this crate can see: a driver that could import a codec
//! would soon hold protocol decisions.
//!
//! ```compile_fail
//! use ropewalk_core::wire::socks5;
//! ```
//!
//! With the feature `std` (on by default) there is also the mapping from the operating system's
//! errors to [`machine::Fault`], with `unwrap` (on by default, needs `std`) the PROXY protocol;
//! without them the crate builds for bare metal.

// A build of some machines needs only some of what they share. The whole build shows what is
// unused.
#![cfg_attr(not(feature = "default"), allow(dead_code, reason = "a part of the machines"))]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(feature = "bond")]
pub mod bond;
mod buffer;
#[cfg(feature = "dispatch")]
pub mod dispatch;
pub mod docs;
pub mod drive;
#[cfg(feature = "std")]
pub mod errno;
pub mod json;
pub mod machine;
pub mod name;
pub mod record;
mod scope;
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
mod service;
mod slab;
pub mod time;
pub mod timers;
#[cfg(feature = "unwrap")]
pub mod unwrap;
pub mod uplink;
mod wire;
