//! The run: which rival measures when, and what is printed on the way.

use std::fs;
use std::path::Path;

use crate::arguments::Arguments;
use crate::host::{self, Folder, Reno};
use crate::process;
use crate::report::{self, Entry};
use crate::rivals::Rival;
use crate::server::Server;
use crate::workloads::{Outcome, Workload};

/// Runs everything and prints the tables.
pub(crate) fn run(arguments: Arguments) -> Result<(), String> {
    host::raise_descriptor_limit().map_err(|e| format!("raising the limit of descriptors: {e}"))?;
    process::adopt_orphans().map_err(|e| format!("adopting the rivals' orphans: {e}"))?;
    let reno = if arguments.sysctl {
        Some(Reno::set().map_err(|e| format!("--sysctl: setting reno needs root: {e}"))?)
    } else {
        None
    };
    let head = format!(
        "ropewalk dispatch and rivals: {}, congestion control {}{}, {} descriptors, {:.1} s a figure",
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
    let mut entries = Vec::new();
    for workload in &arguments.workloads {
        // Whether bytes arrive does not change from round to round.
        let rounds = if *workload == Workload::Check { 1 } else { arguments.rounds };
        for round in 0..rounds {
            for turn in 0..rivals.len() {
                let rival = rivals[(round + turn) % rivals.len()];
                if *workload == Workload::Idle && rival == Rival::Direct {
                    continue;
                }
                let outcome = measure(*workload, rival, round, &arguments, &server, folder.path());
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

/// The rival lives for this one measurement.
fn measure(
    workload: Workload,
    rival: Rival,
    round: usize,
    arguments: &Arguments,
    server: &Server,
    folder: &Path,
) -> Result<Outcome, String> {
    let mut running = rival.start(server.targets(), folder)?;
    workload.measure(&mut running, server, arguments.window, round)
}

/// One line on standard error, so that a long run is seen to live.
fn tell(workload: Workload, rival: Rival, round: usize, rounds: usize, outcome: &Result<Outcome, String>) {
    let told = match outcome {
        Ok(outcome) => outcome
            .figures
            .iter()
            .map(|f| format!("{} {:.4}", f.name, f.value))
            .collect::<Vec<_>>()
            .join(", "),
        Err(e) => format!("failed: {e}"),
    };
    eprintln!("{} {}/{rounds} {}: {told}", workload.name(), round + 1, rival.name());
}
