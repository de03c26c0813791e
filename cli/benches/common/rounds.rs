//! The run: which rival measures when, and what is printed on the way.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use crate::common::arguments::{self, Arguments, Wanted};
use crate::common::contest::{Ground, Rival, Workload};
use crate::common::figures::Outcome;
use crate::common::host::{self, Folder, Reno};
use crate::common::process;
use crate::common::report::{self, Entry};
use crate::common::server::Server;

/// The whole program. `enter` comes before all else and says whether there is a run; `prepare`
/// comes once the server and the folder are there, and what it gives is kept for the run.
pub(crate) fn main<W: Workload, P>(
    enter: impl FnOnce() -> Result<bool, String>,
    prepare: impl FnOnce(&Server, &Path) -> Result<P, String>,
) -> ExitCode {
    let ended = match arguments::parse::<W>(std::env::args().skip(1)) {
        Ok(Wanted::Run(arguments)) => match enter() {
            Ok(true) => run(&arguments, prepare),
            Ok(false) => Ok(()),
            Err(e) => Err(e),
        },
        Ok(Wanted::Help) => {
            println!("{}", arguments::usage::<W>());
            Ok(())
        }
        Ok(Wanted::Nothing) => {
            println!("nothing measured: only `cargo bench` does (it passes --bench)");
            Ok(())
        }
        Err(e) => Err(format!("{e}\n{}", arguments::usage::<W>())),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and prints the tables.
fn run<W: Workload, P>(
    arguments: &Arguments<W>,
    prepare: impl FnOnce(&Server, &Path) -> Result<P, String>,
) -> Result<(), String> {
    host::raise_descriptor_limit().map_err(|e| format!("raising the limit of descriptors: {e}"))?;
    process::adopt_orphans().map_err(|e| format!("adopting the rivals' orphans: {e}"))?;
    let reno = if arguments.sysctl {
        Some(Reno::set().map_err(|e| format!("--sysctl: setting reno needs root: {e}"))?)
    } else {
        None
    };
    let head = format!(
        "ropewalk {} and rivals: {}, congestion control {}{}, {} descriptors, {:.1} s a figure",
        W::BENCH,
        host::describe(),
        host::congestion_control(),
        if reno.is_some() { " (set for this run)" } else { " (the system's)" },
        host::descriptor_limit(),
        arguments.window.as_secs_f64(),
    );
    println!("{head}");
    let mut rivals = arguments.rivals.clone();
    rivals.retain(|rival| match rival.binary() {
        Ok(_) => true,
        Err(missing) => {
            println!("{missing}");
            false
        }
    });
    if rivals.is_empty() {
        return Err("no rival is left to measure".into());
    }
    let folder = Folder::create().map_err(|e| format!("making a temporary folder: {e}"))?;
    let server = Server::start().map_err(|e| format!("starting the server: {e}"))?;
    let _prepared = prepare(&server, folder.path())?;
    let mut entries = Vec::new();
    for workload in &arguments.workloads {
        // Whether bytes arrive does not change from round to round.
        let rounds = if workload.is_check() { 1 } else { arguments.rounds };
        for round in 0..rounds {
            for turn in 0..rivals.len() {
                let rival = rivals[(round + turn) % rivals.len()];
                if !workload.suits(rival) {
                    continue;
                }
                let ground =
                    Ground { server: &server, window: arguments.window, folder: folder.path(), round };
                let outcome = workload.measure(rival, &ground);
                server.wait_until_empty()?;
                tell(*workload, rival, round, rounds, &outcome);
                entries.push(Entry { workload: *workload, round, rival, outcome });
            }
        }
    }
    print!("{}", report::tables(&entries));
    if let Some(path) = &arguments.json {
        fs::write(path, report::json(&head, &entries)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// One line on standard error, so that a long run is seen to live.
fn tell<W: Workload>(
    workload: W,
    rival: W::Rival,
    round: usize,
    rounds: usize,
    outcome: &Result<Outcome, String>,
) {
    let printed = match outcome {
        Ok(outcome) => outcome
            .figures
            .iter()
            .map(|f| format!("{} {:.4}", f.name, f.value))
            .collect::<Vec<_>>()
            .join(", "),
        Err(e) => format!("failed: {e}"),
    };
    eprintln!("{} {}/{rounds} {}: {printed}", workload.name(), round + 1, rival.name());
}
