//! `ropewalk sim`: what the links would give, in virtual time. The simulator is `ropewalk-sim`;
//! here are its switches (`args`), and the recordings of live processes: `replay` runs one again,
//! `timeline` says and draws what it decided.

mod args;
#[cfg(feature = "record")]
mod replay;
#[cfg(feature = "record")]
mod timeline;

pub(crate) use args::Args;

use crate::process::files;
use crate::process::output::print;
use args::{Plan, Tcp};
use ropewalk_sim::packet::{Inside, Options, run as run_scenario};
use ropewalk_sim::report::compare;
use ropewalk_sim::scenario::{Overrides, Scenario, catalog, read};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The largest scenario, in bytes.
const LARGEST: u64 = 1 << 20;

/// Runs a scenario, lists them, or replays a recording.
///
/// # Errors
/// What is wrong with the scenario, what cannot be written, or which expectation was missed.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    all.iter().try_for_each(|args| match args.list {
        #[cfg(feature = "record")]
        _ if args.command.is_some() => {
            args.command.iter().try_for_each(|args::Command::Replay(replay)| replay::run(replay))
        }
        true => print(&list()),
        false => simulate(args),
    })
}

fn simulate(args: &Args) -> Result<(), String> {
    let scenario = scenario(args)?;
    let inside = match args.tcp {
        Tcp::Model => Inside::Model,
        Tcp::Smoltcp => Inside::Smoltcp,
    };
    if args.compare {
        let comparison = compare(&scenario, inside).map_err(|error| error.to_string())?;
        return print(&comparison.to_string());
    }
    let trace = match &args.trace {
        None => None,
        Some(path) => Some(Box::new(BufWriter::new(create(path, "--trace")?)) as Box<dyn Write>),
    };
    let mut options = Options::default();
    (options.inside, options.trace) = (inside, trace);
    let report = run_scenario(&scenario, options).map_err(|error| error.to_string())?;
    if let Some(path) = &args.plot {
        let picture = report.to_svg()?;
        let written = create(path, "--plot")?.write_all(picture.as_bytes());
        written.map_err(|error| format!("--plot {}: {error}", path.display()))?;
    }
    match args.json {
        true => print(&format!("{}\n", report.to_json()))?,
        false => print(&report.to_string())?,
    }
    // Expectations are of the scenario as it is written.
    let missed = report.verdicts.iter().filter(|verdict| !verdict.met && verdict.missed.is_none()).count();
    match missed {
        0 => Ok(()),
        _ if args.is_changed() => Ok(()),
        1 => Err("an expectation was missed".into()),
        _ => Err(format!("{missed} expectations were missed")),
    }
}

fn create(path: &Path, switch: &str) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{switch} {}: {error}", path.display()))
}

/// Reads the named scenario, with the keys that the command line sets.
fn scenario(args: &Args) -> Result<Scenario, String> {
    let changes = args.changes();
    let overrides = Overrides::new(changes.iter().map(String::as_str)).map_err(|error| error.to_string())?;
    let scenario = match args.plan() {
        Plan::Builtin(name) => match catalog::find(name) {
            Some(builtin) => builtin.read(&overrides),
            None => {
                return Err(format!(
                    "expected the name of a scenario (ropewalk sim --list) or a file that ends in .toml, \
                     got '{name}'"
                ));
            }
        },
        Plan::File(path) => {
            let content = content(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let name = path.file_stem().map_or("scenario".into(), |stem| stem.to_string_lossy());
            read(&path.display().to_string(), &name, &content, &overrides)
        }
    };
    scenario.map_err(|error| error.to_string())
}

/// The text of a scenario's file.
fn content(path: &Path) -> Result<String, String> {
    files::bounded(path, b"", LARGEST).and_then(files::as_text).map_err(|error| error.to_string())
}

/// A line for each scenario that ships.
fn list() -> String {
    let titles = catalog::BUILTIN.iter().map(|builtin| {
        let scenario = builtin.read(&Overrides::default());
        (builtin.name, scenario.map_or_else(|error| error.to_string(), |scenario| scenario.title))
    });
    titles.map(|(name, title)| format!("{name:<10} {title}\n")).collect()
}
