//! The `ropewalk` command: arguments in, a running proxy out. It decides nothing; that is the core's affair.

#![forbid(unsafe_code)]

mod args;
mod config;
mod dispatch;
mod host;
mod json;
mod limits;
mod listen;
mod logging;
#[cfg(test)]
mod manual;
mod monitor;
mod runtime;
mod serve;
mod stats;
mod unwrap;
mod watch;

use args::{Args, Command, Doctor};
use std::process::ExitCode;

fn main() -> ExitCode {
    let parsed = config::parse::<Args>(&[("unwrap", unwrap::args::TABLES)]);
    let mut commands = parsed.commands.into_iter().map(|args| args.command);
    let result = match commands.next().expect("there is one at least") {
        Command::List { json } => list(json),
        Command::Dispatch(options) => dispatch::run(&options),
        Command::Unwrap(first) => {
            let more = commands.filter_map(|command| match command {
                Command::Unwrap(options) => Some(*options),
                Command::List { .. } | Command::Dispatch(_) | Command::Doctor { .. } => None,
            });
            unwrap::run(std::iter::once(*first).chain(more).collect())
        }
        Command::Doctor { command: Doctor::Unwrap(options) } => unwrap::doctor::run(&options),
    };
    match result {
        Ok(()) => {
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Whoever is told that a switch is wrong may never have written it.
            let note = parsed.origin.map_or(String::new(), |origin| format!("\nnote: {origin}"));
            logging::last_words(&format!("ropewalk: {error}{note}"));
            ExitCode::FAILURE
        }
    }
}

fn list(json: bool) -> Result<(), String> {
    let links =
        host::links::snapshot().map_err(|error| format!("cannot read this host's interfaces: {error}"))?;
    match host::list::print(&links, json, &mut std::io::stdout().lock()) {
        // Whoever reads has seen enough (`| head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("cannot write the list: {error}")),
    }
}
