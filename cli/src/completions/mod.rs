//! `ropewalk completions SHELL`: what a shell needs to complete the command line.

use clap::CommandFactory;
use std::io::Write;

const HELP: &str = "\
Examples:
  ropewalk completions bash > /usr/share/bash-completion/completions/ropewalk
  ropewalk completions zsh > /usr/share/zsh/vendor-completions/_ropewalk
  ropewalk completions fish > /usr/share/fish/vendor_completions.d/ropewalk.fish";

/// Print the completions for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Whose completions to print
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints them.
///
/// # Errors
/// A sentence about what cannot be written.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    for args in all {
        let mut script = Vec::new();
        clap_complete::generate(args.shell, &mut crate::Cli::command(), "ropewalk", &mut script);
        match std::io::stdout().lock().write_all(&script) {
            // The reader has seen enough (`| head`).
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(|error| format!("cannot write the completions: {error}"))?,
        }
    }
    Ok(())
}
