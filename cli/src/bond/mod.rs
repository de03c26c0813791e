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
//! | `args`, `values` | the switches, and parsers of their values |
//! | `serve`, `connect` | from switches to a running end |
//! | `service` | what both have around their machine |
//! | `patience` | how long `connect` waits for a first answer |
//! | `clerk` | what takes its time at the client: files, changes of its host |
//! | `enrolments` | who was let in, on the server's disk |
//! | `changes` | what was changed of the host, until it is put back |
//! | `links` | the client's links, as they are now |
//! | `locate`, `lookup` | where the server is: its name, asked of the system, and by the links past the bond |
//! | `registry`, `join`, `invite`, `clients` | who may come in, how, and who no more |
//! | `privileges` | what the process gives up |
//! | `state` | the files of the state directory |
//! | `doctor` | `ropewalk doctor bond`: what is missing, and what a bond has left |
//! | `device` | the TUN device |
//! | `host` | routes, name servers, kill switch, NAT, and the way back |
//! | `watch`, `report` | events as log lines and counters; what a machine says of itself |
//! | `control` | `status` and `set` of what runs |
//! | `keygen` | a key pair, for people who keep keys elsewhere |

mod args;
mod changes;
mod clerk;
mod clients;
mod connect;
mod control;
mod device;
pub(crate) mod doctor;
mod enrolments;
mod host;
mod invite;
mod join;
mod keygen;
mod links;
mod locate;
#[cfg(feature = "names")]
mod lookup;
mod patience;
mod privileges;
mod registry;
mod report;
mod serve;
mod service;
mod state;
mod values;
mod watch;

pub(crate) use args::Args;

use crate::process::output;
use args::Command;

/// Runs the command.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    all.into_iter().try_for_each(|args| match args.command {
        Command::Keygen(keygen) => keygen::run(&keygen),
        Command::Serve(serve) => serve::run(&serve),
        Command::Invite(invite) => invite::run(&invite),
        Command::Clients(list) => clients::list(&list),
        Command::Revoke(revoke) => clients::revoke(&revoke),
        Command::Connect(connect) => connect::run(&connect),
        Command::Status(status) => control::client::status(&status),
        Command::Set(set) => control::client::set(&set),
        Command::Restore(restore) => {
            let mut done = host::restore(&restore.state_dir)?;
            if done.is_empty() {
                done.push("nothing was left to put back".into());
            }
            output::print(&format!("{}\n", done.join("\n")))
        }
    })
}
