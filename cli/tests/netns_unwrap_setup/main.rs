//! `ropewalk unwrap setup`, `teardown` and `doctor unwrap`: the built binary in network namespaces
//! that each test makes for itself.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `host` | a network namespace with the commands in it, and all that they could change |
//! | `lent` | a client's address lent to a socket, and servers that answer |
//! | `answers` | tests: with the routes the answers come back, without they do not |
//! | `undone` | tests: setup and teardown leave no trace, also when killed |
//! | `shell` | tests: `--dry-run` says what would be done |
//! | `refused` | tests: what is not ours is not touched |
//! | `doctor` | tests: `doctor unwrap` |
#![cfg(target_os = "linux")]

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod doctor;
mod host;
mod lent;
mod refused;
mod shell;
mod undone;
