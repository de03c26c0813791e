//! `ropewalk list`: what this host has to leave by.

mod print;

use crate::host::{links, obstacles};

/// Show this host's interfaces, and which of them `dispatch` would use
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Prints the list.
///
/// # Errors
/// A sentence about what cannot be read or written.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    let links = links::snapshot().map_err(|error| format!("cannot read this host's interfaces: {error}"))?;
    let json = all.iter().any(|args| args.json);
    match print::print(&links, &obstacles::system, json, &mut std::io::stdout().lock()) {
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("cannot write the list: {error}")),
    }
}
