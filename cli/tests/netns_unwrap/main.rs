//! `ropewalk unwrap` itself: the built binary in network namespaces that each test makes for itself.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `host` | a host with a server to be found, and the balancer in front of it |
//! | `header` | tests: the header comes whole or in pieces, and the server sees its client |
//! | `hostile` | tests: what nobody should send, and who should not send at all |
//! | `nobody` | tests: headers that name no client |
//! | `endings` | tests: how all of it ends; many at once |
//! | `ports` | tests: clients whose own port cannot be had |
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod endings;
mod header;
mod host;
mod hostile;
mod nobody;
mod ports;
