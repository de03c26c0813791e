//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::common::contest::{Rival, Workload};

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Arguments<W: Workload> {
    pub(crate) window: Duration,
    pub(crate) rounds: usize,
    pub(crate) workloads: Vec<W>,
    pub(crate) rivals: Vec<W::Rival>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) sysctl: bool,
}

/// What the command line asks for.
pub(crate) enum Wanted<W: Workload> {
    Run(Arguments<W>),
    Help,
    /// `cargo test --all-targets` runs benchmarks without `--bench`: that is no time to measure.
    Nothing,
}

/// Shown with `--help`.
pub(crate) fn usage<W: Workload>() -> String {
    let workloads: Vec<_> = W::ALL.iter().map(|workload| workload.name()).collect();
    let rivals: Vec<_> = W::Rival::ALL.iter().map(|rival| rival.name()).collect();
    let mut usage = format!(
        "\
cargo bench -p ropewalk --bench {} -- [options]
  --quick          0.5 s a figure and 3 rounds, instead of 2 s and 5
  --rounds N       rounds for each workload
  --only LIST      of {}
  --rivals LIST    of {}
  --json FILE      also writes every figure of every round to FILE",
        W::BENCH,
        workloads.join(","),
        rivals.join(","),
    );
    if !W::OWN_NAMESPACE {
        usage.push_str(
            "\n  --sysctl         sets the system's congestion control to reno for the run (root); put back \
             at the end",
        );
    }
    usage
}

/// Reads the arguments after the program's name.
pub(crate) fn parse<W: Workload>(arguments: impl IntoIterator<Item = String>) -> Result<Wanted<W>, String> {
    let mut bench = false;
    let mut quick = false;
    let mut rounds = None;
    let mut parsed = Arguments {
        window: Duration::from_secs(2),
        rounds: 5,
        workloads: W::ALL.to_vec(),
        rivals: W::Rival::ALL.to_vec(),
        json: None,
        sysctl: W::OWN_NAMESPACE,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => bench = true,
            "--quick" => quick = true,
            "--sysctl" if !W::OWN_NAMESPACE => parsed.sysctl = true,
            "--rounds" => {
                let value = value()?;
                let number = value.parse().ok().filter(|number| *number > 0);
                rounds =
                    Some(number.ok_or_else(|| format!("--rounds needs a number above 0, got {value:?}"))?);
            }
            "--only" => parsed.workloads = list("--only", &value()?, W::ALL, |workload| workload.name())?,
            "--rivals" => parsed.rivals = list("--rivals", &value()?, W::Rival::ALL, |rival| rival.name())?,
            "--json" => parsed.json = Some(value()?.into()),
            "-h" | "--help" => return Ok(Wanted::Help),
            // Such as the options of the standard test harness.
            _ if !bench => {}
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    if !bench {
        return Ok(Wanted::Nothing);
    }
    if quick {
        parsed.window = Duration::from_millis(500);
        parsed.rounds = 3;
    }
    parsed.rounds = rounds.unwrap_or(parsed.rounds);
    Ok(Wanted::Run(parsed))
}

/// The members of `all` that `names` lists, in the order of `all`.
fn list<T: Copy>(
    option: &str,
    names: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let wanted: Vec<_> = names.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| all.iter().all(|each| name(*each) != **wanted)) {
        let known: Vec<_> = all.iter().map(|each| name(*each)).collect();
        return Err(format!("{option} knows {}, not {unknown:?}", known.join(",")));
    }
    Ok(all.iter().copied().filter(|each| wanted.contains(&name(*each))).collect())
}
