//! What README and manuals show of a run is what the built binary prints.
//!
//! Each test runs the commands of a `console` block in a network namespace that looks like the
//! machine that the page describes, and compares line by line. Times and the kernel's release may
//! differ. `ROPEWALK_BLESS=1 cargo test -p ropewalk --test transcripts` writes the lines anew.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `page` | a page, its blocks, and the comparison |
//! | `dispatch` | tests: a machine with two links |
//! | `sim` | tests: a run in virtual time |
//! | `unwrap` | tests: a server behind a balancer |
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod dispatch;
mod page;
#[cfg(feature = "sim")]
mod sim;
mod unwrap;
