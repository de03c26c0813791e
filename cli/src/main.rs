//! The `ropewalk` command: arguments in, a running proxy out. It decides nothing; that is the core's affair.

#![forbid(unsafe_code)]

mod args;
mod dispatch;
mod host;
mod limits;
mod logging;
#[cfg(test)]
mod manual;
mod monitor;
mod runtime;
mod watch;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.command {
        Command::List { json } => list(json),
        Command::Dispatch(options) => dispatch::run(&options),
    };
    match result {
        Ok(()) => {
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::last_words(&format!("ropewalk: {error}"));
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
