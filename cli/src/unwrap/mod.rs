//! `ropewalk unwrap`: a server gets its clients' real addresses back.
//!
//! | module | is |
//! | --- | --- |
//! | `args`, `subnets` | the switches, and the peers whose headers are trusted |
//! | `plan` | what switches and files come to: the configuration |
//! | `service` | from there to running workers |
//! | `reload` | its files read again while it runs |
//! | `watch`, `stats` | its events as counters and log lines, its counters as figures |
//! | `privileges` | what it may do, and what it gives up |
//! | `target` | where the server is: address and ports, as switches and in routing rules |
//! | `routes` | `setup` and `teardown`: the server's answers to foreign addresses come back into this host |
//! | `doctor` | `ropewalk doctor unwrap`: what is missing, and a real connection with a foreign source |

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux can lend foreign addresses"))]

mod args;
pub(crate) mod doctor;
mod plan;
mod privileges;
mod reload;
mod routes;
mod service;
mod stats;
mod subnets;
mod target;
mod watch;

pub(crate) use args::{Args, TABLES};

use args::{Command, Options};

/// Runs the service, with one of `all` for each table of listeners; or one of its commands.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    let mut options: Vec<Options> = Vec::new();
    for one in all {
        match one.command {
            Some(Command::Setup(setup)) => return routes::setup(&setup),
            Some(Command::Teardown(teardown)) => return routes::teardown(&teardown),
            None => options.push(one.options),
        }
    }
    if !cfg!(target_os = "linux") {
        return Err(
            "unwrap is for Linux: a server gets its clients' addresses by IP_TRANSPARENT, which is Linux's"
                .into(),
        );
    }
    service::run(&options)
}
