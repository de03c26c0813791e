//! The switches of `ropewalk sim`.

use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ropewalk sim                                    two links of 50 Mbit/s, bonded
  ropewalk sim s5 --mode redundant --plot s5.svg  a link dies: another strategy, as a picture
  ropewalk sim mine.toml --compare                your own links: each alone, and bonded by every strategy
  ropewalk sim s2 --set link.b.rate='10 Mbit/s' --set duration='60 s'";

/// Simulate links and the bond over them in virtual time, and tell what they would give
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[cfg(feature = "record")]
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// A scenario that ships (see --list), or a file that ends in .toml
    #[arg(value_name = "NAME|FILE", default_value = "s1")]
    scenario: String,

    /// List the scenarios that ship
    #[arg(long)]
    pub(super) list: bool,

    /// What all randomness is drawn from [default: the scenario's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// The report as one JSON object
    #[arg(long)]
    pub(super) json: bool,

    /// Draw throughput, delays, queues and events over time into this SVG file
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,

    /// Write a line for each packet that enters or leaves a link into this file
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,

    /// The TCP of the hosts inside: a model of the kernel's, or smoltcp's sockets
    #[arg(long, value_enum, default_value_t)]
    pub(super) tcp: Tcp,

    /// Change a key of the scenario, such as duration, link.NAME.rate or bond.max-skew; may be
    /// given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// How the bond spreads packets: aggregate, weighted, lowest-latency, active-backup, redundant,
    /// adaptive or flow [default: the scenario's]
    #[arg(long, value_name = "STRATEGY")]
    mode: Option<String>,

    /// Run each link alone and the bond by every strategy, and print one table
    #[arg(long, conflicts_with_all = ["json", "plot", "trace", "mode"])]
    pub(super) compare: bool,
}

/// What is no scenario.
#[cfg(feature = "record")]
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    Replay(super::replay::ReplayArgs),
}

/// The TCP of the hosts.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Tcp {
    #[default]
    Model,
    Smoltcp,
}

/// Where the scenario is.
pub(super) enum Plan<'a> {
    Builtin(&'a str),
    File(&'a Path),
}

impl Args {
    pub(super) fn plan(&self) -> Plan<'_> {
        let path = Path::new(&self.scenario);
        match path.extension().is_some_and(|end| end == "toml") || path.components().count() > 1 {
            true => Plan::File(path),
            false => Plan::Builtin(&self.scenario),
        }
    }

    /// Keys that the command line sets in place of the file's.
    pub(super) fn changes(&self) -> Vec<String> {
        let mut changes = self.set.clone();
        changes.extend(self.seed.map(|seed| format!("seed={seed}")));
        changes.extend(self.mode.as_ref().map(|mode| format!("bond.mode=\"{mode}\"")));
        changes
    }

    /// Whether the run is another than the file describes.
    pub(super) fn is_changed(&self) -> bool {
        !self.set.is_empty() || self.seed.is_some() || self.mode.is_some() || self.tcp != Tcp::default()
    }
}
