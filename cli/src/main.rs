//! The `ropewalk` command: arguments in, a running service out. It takes no decision about a
//! protocol; the core does.
//!
//! A command is a folder: `Args`, and `run` of all that were given (several where its section of
//! the configuration file has an array of tables). Below, a line for each.

#![forbid(unsafe_code)]
// A build with fewer commands needs less of `host` and `process`. The whole build shows what is
// unused.
#![cfg_attr(not(feature = "default"), allow(dead_code, unused_imports, reason = "a part of the commands"))]

mod ancestors;
#[cfg(all(feature = "bond", target_os = "linux"))]
mod bond;
#[cfg(feature = "completions")]
mod completions;
#[cfg(feature = "dispatch")]
mod dispatch;
#[cfg(all(test, feature = "default"))]
mod docs_test;
#[cfg(any(feature = "unwrap", all(any(feature = "bond", feature = "dispatch"), target_os = "linux")))]
mod doctor;
mod host;
mod list;
mod process;
#[cfg(feature = "sim")]
mod sim;
#[cfg(all(feature = "top", unix))]
mod top;
#[cfg(feature = "unwrap")]
mod unwrap;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use process::{config, logging};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread::JoinHandle;

/// One way out of many: spread connections over several internet links.
#[derive(Parser, Debug)]
#[command(name = "ropewalk", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

macro_rules! commands {
    ($($(#[$attribute:meta])* $variant:ident in $folder:ident $(with $tables:path)?,)+) => {
        /// Each command, and the array of tables that its section of the configuration file may
        /// have.
        const TABLES: &[(&str, &[&str])] = &[$($(#[$attribute])* (stringify!($folder), &[$($tables)?]),)+];

        #[derive(Debug)]
        enum Command {
            $($(#[$attribute])* $variant(Box<$folder::Args>),)+
        }

        impl Subcommand for Command {
            fn augment_subcommands(above: clap::Command) -> clap::Command {
                $($(#[$attribute])* let above = above.subcommand(switches::<$folder::Args>(stringify!($folder)));)+
                above
            }

            fn augment_subcommands_for_update(above: clap::Command) -> clap::Command {
                Self::augment_subcommands(above)
            }

            fn has_subcommand(name: &str) -> bool {
                TABLES.iter().any(|(command, _)| *command == name)
            }
        }

        impl FromArgMatches for Command {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Self::from_arg_matches_mut(&mut matches.clone())
            }

            fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
                let called = matches.remove_subcommand();
                let (name, mut own) = called.ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))?;
                match name.as_str() {
                    $($(#[$attribute])* stringify!($folder) => {
                        $folder::Args::from_arg_matches_mut(&mut own).map(|args| Command::$variant(Box::new(args)))
                    })+
                    _ => Err(clap::Error::new(ErrorKind::InvalidSubcommand)),
                }
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        /// Runs a command with all its arguments: `all` are of one command.
        fn run(all: Vec<Command>) -> Result<(), String> {
            match all.first() {
                $($(#[$attribute])* Some(Command::$variant(_)) => {
                    let own = all.into_iter().filter_map(|command| match command {
                        Command::$variant(args) => Some(*args),
                        #[allow(unreachable_patterns, reason = "a build may have one command only")]
                        _ => None,
                    });
                    $folder::run(own.collect())
                })+
                None => Ok(()),
            }
        }
    };
}

commands! {
    List in list,
    #[cfg(feature = "dispatch")] Dispatch in dispatch,
    #[cfg(feature = "unwrap")] Unwrap in unwrap with unwrap::TABLES,
    #[cfg(all(feature = "bond", target_os = "linux"))] Bond in bond,
    #[cfg(any(feature = "unwrap", all(any(feature = "bond", feature = "dispatch"), target_os = "linux")))]
    Doctor in doctor,
    #[cfg(feature = "completions")] Completions in completions,
    #[cfg(feature = "sim")] Sim in sim,
    #[cfg(all(feature = "top", unix))] Top in top,
}

/// The command that is called, where it is clear that nobody asks for the switches of another.
static CALLED: OnceLock<&str> = OnceLock::new();

/// A command with its switches. Those of all commands would take some hundred KiB, of which a
/// service would keep the most.
fn switches<A: Args>(name: &'static str) -> clap::Command {
    let command = clap::Command::new(name);
    if CALLED.get().is_none_or(|called| *called == name) { A::augment_args(command) } else { command }
}

/// Finds the command that is called. A configuration file has sections of all commands, and
/// completions are theirs too.
fn find_called() {
    let called = std::env::args_os().nth(1).filter(|called| called != "completions" && !config::is_named());
    let is_called = |name: &str| called.as_ref().is_some_and(|called| called == name);
    if let Some((name, _)) = TABLES.iter().find(|(name, _)| is_called(name)) {
        CALLED.get_or_init(|| name);
    }
}

/// Takes the arguments apart in a thread of its own: the stack that this needs goes with it.
fn arguments() -> config::Parsed<Cli> {
    find_called();
    let parse = || config::parse::<Cli>(TABLES);
    match std::thread::Builder::new().name("arguments".into()).spawn(parse).map(JoinHandle::join) {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        // The system gives no thread.
        Err(_) => parse(),
    }
}

/// What command line and configuration file say now, for a service that runs.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
fn reread() -> Result<Vec<Command>, String> {
    Ok(config::reread::<Cli>(TABLES)?.into_iter().map(|cli| cli.command).collect())
}

fn main() -> ExitCode {
    if let Some(answer) = ancestors::answer(std::env::args_os()) {
        eprintln!("ropewalk: {answer}");
        return ExitCode::from(2);
    }
    let parsed = arguments();
    match run(parsed.commands.into_iter().map(|cli| cli.command).collect()) {
        Ok(()) => {
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            // The value may come from the configuration file, not from the command line: say so.
            let note = parsed.origin.map_or(String::new(), |origin| format!("\nnote: {origin}"));
            logging::last_words(&format!("ropewalk: {error}{note}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }
}
