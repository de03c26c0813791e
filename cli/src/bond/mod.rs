//! `ropewalk bond`: all traffic of a host over all its links, packet by packet.
//!
//! ```text
//!   serve, connect ──▶ state   keys, clients, the server that is known
//!         │       ───▶ device  the TUN: addresses, MTU
//!         │       ───▶ host    routes, DNS, NAT, filters, and their way back
//!         ▼
//!      machine (core) in a worker ──▶ watch, stats
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `args` | the switches |
//! | `values` | parsers of their values |
//! | `keygen` | a key pair, for people who keep keys elsewhere |
//! | `state` | the files of the state directory |
//! | `doctor` | `ropewalk doctor bond`: what is missing, and what a bond has left |
//! | `host` | routes, name servers, kill switch, NAT, and the way back |

#![allow(dead_code, reason = "serve and connect come next")]

mod args;
pub(crate) mod doctor;
mod host;
mod keygen;
mod state;
mod values;

pub(crate) use args::Args;

use args::Command;

/// Runs the command.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    all.into_iter().try_for_each(|args| match args.command {
        Command::Keygen(keygen) => keygen::run(&keygen),
        Command::Serve(_) | Command::Connect(_) => Err("this part of bond is not built yet".into()),
    })
}
