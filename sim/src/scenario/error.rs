//! What is wrong with a scenario, and where.

use std::fmt;

/// A scenario that cannot be read: where, what was expected and what came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScenarioError {
    /// The file, or `--set` for a value of the command line.
    pub file: String,
    /// The line, from 1; 0 where there is none.
    pub line: usize,
    /// The key, as `link.wlan.rate`; empty for a mistake of syntax.
    pub key: String,
    /// What was expected, what came.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ScenarioError {}
