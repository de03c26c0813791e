//! The command itself: its arguments, its listeners, its signals, its list.
//!
//! | file | is about |
//! | --- | --- |
//! | `arguments` | what is refused, and in which words |
//! | `listening` | where it listens and whom it lets in |
//! | `signals` | draining and stopping |
//! | `config` | the configuration file |
//! | `list` | `ropewalk list` |
//! | `log` | a reader of standard error that stops reading |
#![cfg(unix)]

mod arguments;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod list;
mod listening;
mod log;
mod signals;
