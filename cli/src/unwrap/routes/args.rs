//! The switches of `setup` and `teardown`, and of servers in `doctor`.

use crate::unwrap::target::{self, Protocol, Wanted};
use std::path::PathBuf;

/// The default routing table of ropewalk. Any number would do; iproute2 names none
/// above 255.
pub(crate) const TABLE: u32 = 29303;

/// Where our rules stand among all: after `local` (0), before those of VRFs (1000), VPN programs
/// (from 5000 on) and `main` (32766).
pub(crate) const PRIORITY: u32 = 293;

/// Where the old values of sysctls are kept.
pub(crate) const STATE_DIR: &str = "/run/ropewalk";

/// The servers whose answers are led back.
#[derive(clap::Args, Debug)]
pub(crate) struct Targets {
    /// The server's IPv4 address (or name) and port or ports, ADDRESS:PORT or ADDRESS:FIRST-LAST;
    /// may be given several times
    #[arg(short = '4', long = "target-v4", value_name = "ADDRESS:PORT", value_parser = target::wanted_v4)]
    pub(crate) v4: Vec<Wanted>,

    #[arg(
        help = "The server's IPv6 address (or name) and port or ports, [ADDRESS]:PORT or \
                [ADDRESS]:FIRST-LAST; may be given several times",
        short = '6', long = "target-v6", value_name = "[ADDRESS]:PORT",
        value_parser = target::wanted_v6
    )]
    pub(crate) v6: Vec<Wanted>,

    /// What the server speaks; may be given twice
    #[arg(short, long, value_enum, value_name = "PROTOCOL", default_value = "tcp")]
    pub(crate) protocol: Vec<Protocol>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Setup {
    #[command(flatten)]
    pub(crate) targets: Targets,

    /// Route by this mark instead of by address and port; unwrap must be given the same (TCP only)
    #[arg(long, value_name = "N", value_parser = mark)]
    pub(crate) mark: Option<u32>,

    /// The routing table to use, which must be empty or ours
    #[arg(long, value_name = "N", default_value_t = TABLE, value_parser = table)]
    pub(crate) table: u32,

    /// The priority of the rules; the lower is asked first
    #[arg(
        long, value_name = "N", default_value_t = PRIORITY,
        value_parser = clap::value_parser!(u32).range(1..=32765)
    )]
    pub(crate) priority: u32,

    /// The UDP server is bound to the target's very address, not to all: the rule can be narrower
    #[arg(long)]
    pub(crate) udp_bound_server: bool,

    /// Print the commands that would do the same, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Where the old values of sysctls are kept until the teardown
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Teardown {
    /// Only what belongs to this routing table [default: all that setup has added]
    #[arg(long, value_name = "N", value_parser = table)]
    pub(crate) table: Option<u32>,

    /// Print the commands that would do the same, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Where setup has kept the old values of sysctls
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// A mark, as `ip rule` takes it.
pub(crate) fn mark(text: &str) -> Result<u32, String> {
    let read = match text.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    // Each packet without a mark has 0.
    read.ok().filter(|mark| *mark > 0).ok_or_else(|| {
        format!("expected a mark from 1 to 4294967295, decimal or with 0x in front, got '{text}'")
    })
}

fn table(text: &str) -> Result<u32, String> {
    // linux/rtnetlink.h: unspec, compat, default, main, local.
    match text.parse() {
        Ok(0 | 252..=255) => {
            Err(format!("expected a table of its own for unwrap, got {text}, which is the system's"))
        }
        Ok(table) => Ok(table),
        Err(_) => Err(format!("expected the number of a routing table, got '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_decimal_or_hexadecimal_and_not_nothing() {
        assert_eq!(mark("123"), Ok(123));
        assert_eq!(mark("0xff"), Ok(255));
        for bad in ["0", "0x0", "-1", "x", "4294967296"] {
            assert!(mark(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn the_tables_of_the_system_are_not_ours_to_fill() {
        assert_eq!(table("100"), Ok(100));
        for bad in ["0", "254", "255", "main", ""] {
            assert!(table(bad).is_err(), "{bad}");
        }
    }
}
