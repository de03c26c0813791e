//! The bond of the built binary in network namespaces that each test makes for itself: a client
//! with two links, a server, and what a person sees of both.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `world` | the two hosts and their links |
//! | `carry` | tests: what goes through, and by which link |
//! | `enrol` | tests: who comes in, who does not, and what is said of it |
//! | `change` | tests: links and modes that change while it runs |
//! | `privileges` | tests: what both ends may still do once they run |
//! | `host` | tests: what is changed on both hosts, what goes through then, and what is left |
#![cfg(target_os = "linux")]

mod carry;
mod change;
#[path = "../common/mod.rs"]
mod common;
mod enrol;
mod host;
mod privileges;
mod world;
