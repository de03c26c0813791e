//! The strategies by name.

use crate::time::Duration;
use core::fmt;

/// How the bond spreads packets over its paths. It can be changed while the bond runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// All paths together, each packet where it arrives first. The default.
    #[default]
    Aggregate,
    /// All paths, bytes by weight.
    Weighted,
    /// The one path of the lowest latency under load.
    LowestLatency,
    /// The path of the highest weight; the next one while its latency is above `switch_above`.
    ActiveBackup {
        /// The one-way delay, above the smallest of all paths, from which on the active path is
        /// left.
        switch_above: Duration,
    },
    /// Each packet on several paths at once.
    Redundant {
        /// On how many, itself included; at least 1.
        copies: u8,
    },
    /// As aggregate, and what is small and urgent goes twice.
    Adaptive,
    /// Each flow stays on one path.
    Flow,
}

impl Strategy {
    /// The default of [`Strategy::ActiveBackup`]: above what a full radio queue costs, below what a
    /// call bears.
    pub const SWITCH_ABOVE: Duration = Duration::from_millis(150);

    /// The strategy called `name`, with its defaults.
    ///
    /// ```
    /// use ropewalk_core::bond::Strategy;
    /// assert_eq!(Strategy::named("redundant"), Some(Strategy::Redundant { copies: 2 }));
    /// assert_eq!(Strategy::named("fastest"), None);
    /// ```
    pub fn named(name: &str) -> Option<Strategy> {
        Some(match name {
            "aggregate" => Strategy::Aggregate,
            "weighted" => Strategy::Weighted,
            "lowest-latency" => Strategy::LowestLatency,
            "active-backup" => Strategy::ActiveBackup { switch_above: Strategy::SWITCH_ABOVE },
            "redundant" => Strategy::Redundant { copies: 2 },
            "adaptive" => Strategy::Adaptive,
            "flow" => Strategy::Flow,
            _ => return None,
        })
    }

    /// All names, in the order of the manual.
    pub const NAMES: [&'static str; 7] =
        ["aggregate", "weighted", "lowest-latency", "active-backup", "redundant", "adaptive", "flow"];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Aggregate => "aggregate",
            Strategy::Weighted => "weighted",
            Strategy::LowestLatency => "lowest-latency",
            Strategy::ActiveBackup { .. } => "active-backup",
            Strategy::Redundant { .. } => "redundant",
            Strategy::Adaptive => "adaptive",
            Strategy::Flow => "flow",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_names_itself() {
        for name in Strategy::NAMES {
            assert_eq!(Strategy::named(name).map(Strategy::name), Some(name));
        }
    }
}
