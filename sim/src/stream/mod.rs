//! The stream world: a proxy of several uplinks, its clients and its targets, on turmoil's network
//! and clock.
//!
//! ```text
//!                       ┌───────────── one host to its user ──────────────┐
//!  client ─── Wire ───▶ │ proxy: machine, Drive, tokio driver             │
//!  (192.0.2.10 ...)     │ (192.0.2.1)    │                                │
//!                       │                ├─▶ uplink wlan0 (198.51.100.1) ─┼─▶ target (203.0.113.1 ...)
//!                       │                └─▶ uplink usb0  (198.51.100.2) ─┼─▶ target
//!                       └─────────────────────────────────────────────────┘
//! ```
//!
//! A turmoil host has one address, so each uplink is a host of its own: the hop behind a device,
//! with the device's address. The driver reaches it for an attempt that shall leave through that
//! device.
//!
//! | module | is |
//! | --- | --- |
//! | [`world`] | the builder, the clients and targets, the run |
//! | [`net`] | the hand on a running world: hold, release, partition, unplug |
//! | [`driver`] | the tokio runtime: [`Io`](ropewalk_core::drive::Io) over turmoil's sockets, and the loop |
//! | [`uplink`] | the hop that gives a connection its uplink's address |
//! | [`wire`] | a turmoil stream that can also be reset |
//! | `ready` | the list by which wakers notify the driver |
//! | [`names`] | a table of names: answers, delays, failures |
//! | [`trace`] | what went into a machine and what came out, with a hash |
//!
//! Everything is decided by the seed and the code: no wall clock, no thread, no hash map's order.

pub mod driver;
pub mod names;
pub mod net;
pub mod trace;
pub mod uplink;
pub mod wire;
pub mod world;

mod ready;

pub use net::Net;
pub use world::{ProxyClient, World};
