//! The relay of the built binary, over loopback: what goes in comes out, ends as it ended, and
//! costs no more than it may.
//!
//! | file | is about |
//! | --- | --- |
//! | `endings` | half-closes and resets |
//! | `handshake` | bytes that come one at a time, all at once, or too slowly |
//! | `bounds` | memory, descriptors, processor time |
//! | `bytes` | tests: what a client says before it is connected, to the byte |
//! | `limits` | the limits that flags set: connections, idle time, buffers |
//! | `memory` | what the system keeps in socket buffers |
//! | `datagrams` | UDP ASSOCIATE |
//! | `tunnel` | `--tunnel`: no handshake, several endpoints |
#![cfg(unix)]

#[cfg(target_os = "linux")]
mod bounds;
mod bytes;
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod datagrams;
mod endings;
mod handshake;
mod limits;
#[cfg(target_os = "linux")]
mod memory;
mod tunnel;
