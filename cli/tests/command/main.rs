//! The command itself: its arguments, its listeners, its signals, its list.
//!
//! | file | is about |
//! | --- | --- |
//! | `arguments` | what is refused, and in which words |
//! | `listening` | where it listens and which clients it lets in |
//! | `reload` | files that are read again |
//! | `signals` | draining and stopping |
//! | `notify` | what a service manager receives |
//! | `config` | the configuration file |
//! | `list` | `ropewalk list` |
//! | `completions` | `ropewalk completions` |
//! | `sim` | `ropewalk sim` |
//! | `log` | a reader of standard error that stops reading |
#![cfg(unix)]

mod arguments;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "completions")]
mod completions;
mod config;
mod list;
mod listening;
mod log;
#[cfg(target_os = "linux")]
mod notify;
mod reload;
mod signals;
#[cfg(feature = "sim")]
mod sim;
mod words;
