//! The scenarios that ship with the library.

use super::{Overrides, Scenario, ScenarioError, read};

/// A scenario that ships.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name: that of its file without the ending.
    pub name: &'static str,
    /// The file.
    pub content: &'static str,
}

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        /// All that ship: the scenarios of the bond's targets (s), failures that users of other
        /// tools met (f), single links.
        pub const BUILTIN: &[Builtin] =
            &[$(Builtin { name: $name, content: include_str!(concat!("../../scenarios/", $name, ".toml")) }),*];
    };
}

#[rustfmt::skip]
builtin!(
    "s1", "s2", "s3", "s3-skew", "s4", "s4-5", "s5", "s5-down", "s5-up", "s6", "s7", "s8", "s9",
    "s10", "s11", "s12", "s12-s2", "s13", "s14", "f1", "f2", "f2-up", "f3", "f4", "f5", "f6", "f7",
    "f8", "f9", "f10", "one", "one-loss1", "one-loss5", "find-1", "find-10", "find-100", "find-500",
    "fall", "rise", "grants", "straight", "toy",
);

/// The one that is called `name`, in whatever case.
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTIN.iter().find(|builtin| builtin.name.eq_ignore_ascii_case(name))
}

impl Builtin {
    /// Reads it. `overrides` win over what it says.
    ///
    /// # Errors
    /// What is wrong with an override.
    pub fn read(&self, overrides: &Overrides) -> Result<Scenario, ScenarioError> {
        read(&format!("{}.toml", self.name), self.name, self.content, overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_ships_and_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder is in the repository")
            .filter_map(|entry| entry.expect("it can be read").file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .collect();
        let shipped: BTreeSet<String> = BUILTIN.iter().map(|builtin| builtin.name.to_owned()).collect();
        assert_eq!(files, shipped);
        for builtin in BUILTIN {
            let scenario = builtin.read(&Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
            assert!(!scenario.expects.is_empty(), "{} expects nothing", builtin.name);
        }
    }
}
