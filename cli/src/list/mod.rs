//! `ropewalk list`: what this host has to leave by. `print` makes the table of it.

mod print;

use crate::host::{links, obstacles};
#[cfg(feature = "dispatch")]
use std::path::PathBuf;

/// Show this host's interfaces, and which of them `dispatch` would use
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,

    /// The account of metered uplinks that `dispatch --usage-file` keeps [default: `usage` in
    /// $STATE_DIRECTORY]
    #[cfg(feature = "dispatch")]
    #[arg(long, value_name = "FILE")]
    usage_file: Option<PathBuf>,
}

/// Prints the list.
///
/// # Errors
/// A sentence about what cannot be read or written.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    let links = links::snapshot().map_err(|error| format!("cannot read this host's interfaces: {error}"))?;
    let json = all.iter().any(|args| args.json);
    let accounts = accounts(&all)?;
    match print::print(&links, &accounts, obstacles::NOW, json, &mut std::io::stdout().lock()) {
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("cannot write the list: {error}")),
    }
}

/// What metered uplinks have carried: name, bytes, cap, and a sentence.
struct Account {
    label: String,
    bytes: u64,
    cap: Option<u64>,
    since: String,
    said: String,
}

#[cfg(feature = "dispatch")]
fn accounts(all: &[Args]) -> Result<Vec<Account>, String> {
    use crate::dispatch::usage;
    let asked = all.iter().find_map(|args| args.usage_file.as_deref());
    let path = match asked {
        Some(path) => path.to_owned(),
        // Nobody asked, and there may be none.
        None => match usage::place(None).ok().filter(|path| path.exists()) {
            Some(path) => path,
            None => return Ok(Vec::new()),
        },
    };
    let account = |used: usage::Used| Account {
        said: used.to_string(),
        since: used.since.to_string(),
        label: used.label,
        bytes: used.bytes,
        cap: used.cap,
    };
    Ok(usage::told(&path)?.into_iter().map(account).collect())
}

#[cfg(not(feature = "dispatch"))]
fn accounts(_: &[Args]) -> Result<Vec<Account>, String> {
    Ok(Vec::new())
}
