//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::rivals::Rival;
use crate::workloads::Workload;

/// Shown with `--help`.
pub(crate) const USAGE: &str = "\
cargo bench -p ropewalk --bench dispatch -- [options]
  --quick          0.5 s a figure and 3 rounds, instead of 2 s and 5
  --rounds N       rounds for each workload
  --only LIST      of check,up1,up50,down50,flood50,pp1,pp50,conn,idle
  --rivals LIST    of direct,ropewalk,microsocks,dante,haproxy
  --json FILE      also writes every figure of every round to FILE
  --sysctl         sets the system's congestion control to reno for the run (root); put back at the end";

/// What is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) window: Duration,
    pub(crate) rounds: usize,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rivals: Vec<Rival>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) sysctl: bool,
}

/// What the command line asks for.
pub(crate) enum Wanted {
    Run(Arguments),
    Help,
    /// `cargo test --all-targets` runs benchmarks without `--bench`: that is no time to measure.
    Nothing,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Wanted, String> {
    let mut bench = false;
    let mut quick = false;
    let mut rounds = None;
    let mut parsed = Arguments {
        window: Duration::from_secs(2),
        rounds: 5,
        workloads: Workload::ALL.to_vec(),
        rivals: Rival::ALL.to_vec(),
        json: None,
        sysctl: false,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => bench = true,
            "--quick" => quick = true,
            "--sysctl" => parsed.sysctl = true,
            "--rounds" => {
                let value = value()?;
                let number = value.parse().ok().filter(|number| *number > 0);
                rounds =
                    Some(number.ok_or_else(|| format!("--rounds needs a number above 0, got {value:?}"))?);
            }
            "--only" => {
                parsed.workloads = list("--only", &value()?, &Workload::ALL, |workload| workload.name())?
            }
            "--rivals" => parsed.rivals = list("--rivals", &value()?, &Rival::ALL, |rival| rival.name())?,
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
