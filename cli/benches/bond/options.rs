//! The command line.

use ropewalk_sim::scenario::{Overrides, Scenario, catalog, read};

use crate::ways::Way;

/// Shown with `--help`.
pub(crate) const USAGE: &str = "\
cargo bench -p ropewalk --bench bond -- [options]
  --only LIST        raw (speed without a limit), scenarios that ship, or files; raw,s1,s2,s3,s4,s5,s6
  --ways LIST        of simulator,bond,link,mptcp,wireguard-go,openvpn,glorytun,mlvpn: what is compared
  --congestion NAME  of cubic,bbr,reno: the congestion control of the kernel's TCP; cubic
  --rounds N         runs of each way, each with another seed; 1 (of raw 5, in turns)
  --set KEY=VALUE    changes the scenarios, as for ropewalk sim; several times";

/// What is to be run.
pub(crate) struct Options {
    /// Whether the speed without a limit is asked for.
    pub(crate) raw: bool,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) ways: Vec<Way>,
    pub(crate) congestion: &'static str,
    /// None says as many as usual.
    pub(crate) rounds: Option<u64>,
}

/// What the command line asks for.
pub(crate) enum Wanted {
    Run(Options),
    Help,
    /// `cargo test --all-targets` runs benchmarks without `--bench`: that is no time to measure.
    Nothing,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Wanted, String> {
        let (mut bench, mut congestion, mut rounds) = (false, "cubic", None);
        let (mut names, mut ways, mut sets) =
            ("raw,s1,s2,s3,s4,s5,s6".to_owned(), Way::ALL.to_vec(), Vec::new());
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => bench = true,
                "--only" => names = value()?,
                "--ways" => {
                    let list = value()?;
                    let way = |name: &str| Way::ALL.iter().copied().find(|way| way.name() == name);
                    let way = |name| way(name).ok_or_else(|| format!("--ways does not know {name:?}"));
                    ways = list.split(',').map(way).collect::<Result<_, _>>()?;
                }
                "--congestion" => {
                    let name = value()?;
                    let known = ["cubic", "bbr", "reno"].into_iter().find(|known| *known == name);
                    congestion = known.ok_or_else(|| format!("--congestion does not know {name:?}"))?;
                }
                "--rounds" => {
                    let value = value()?;
                    let number = value.parse().ok().filter(|number| *number > 0);
                    let wanted = || format!("--rounds needs a number above 0, got {value:?}");
                    rounds = Some(number.ok_or_else(wanted)?);
                }
                "--set" => sets.push(value()?),
                "-h" | "--help" => return Ok(Wanted::Help),
                // Such as the options of the standard test harness.
                _ if !bench => {}
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        if !bench {
            return Ok(Wanted::Nothing);
        }
        let overrides = Overrides::new(sets.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        let (raw, names): (Vec<&str>, Vec<&str>) = names.split(',').partition(|name| *name == "raw");
        let scenarios = names.iter().map(|name| find(name, &overrides)).collect::<Result<_, _>>()?;
        Ok(Wanted::Run(Options { raw: !raw.is_empty(), scenarios, ways, congestion, rounds }))
    }
}

fn find(name: &str, overrides: &Overrides) -> Result<Scenario, String> {
    if let Some(builtin) = catalog::find(name) {
        return builtin.read(overrides).map_err(|error| error.to_string());
    }
    let text = std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
    let stem = std::path::Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    read(name, stem, &text, overrides).map_err(|error| error.to_string())
}
