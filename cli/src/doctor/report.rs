//! A line for each check: how it went, what was looked at, what was found, what to do.

use std::fmt::Display;
use std::io::Write;

pub(crate) struct Report<W = std::io::Stdout> {
    out: W,
    lines: usize,
    failed: usize,
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W) -> Self {
        Report { out, lines: 0, failed: 0 }
    }

    pub(crate) fn ok(&mut self, what: impl Display, found: impl Display) {
        self.line("ok", what, found);
    }

    /// It may work all the same.
    pub(crate) fn warn(&mut self, what: impl Display, found: impl Display) {
        self.line("warn", what, found);
    }

    /// It cannot work.
    pub(crate) fn fail(&mut self, what: impl Display, found: impl Display) {
        self.failed += 1;
        self.line("FAIL", what, found);
    }

    fn line(&mut self, level: &str, what: impl Display, found: impl Display) {
        self.lines += 1;
        // The exit code counts, even if the reader has closed the pipe.
        let _ = writeln!(self.out, "{level:<5} {what}: {found}");
    }

    pub(crate) fn verdict(self) -> Result<(), String> {
        match self.failed {
            0 => Ok(()),
            failed => Err(format!("{failed} of {} checks failed", self.lines)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn only_a_failure_is_an_error() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.ok("a", "there");
        report.warn("b", "perhaps; look");
        assert_eq!(report.verdict(), Ok(()));
        let mut report = Report::new(&mut out);
        report.fail("c", "missing");
        assert_eq!(report.verdict(), Err("1 of 1 checks failed".to_owned()));
        assert_eq!(out, b"ok    a: there\nwarn  b: perhaps; look\nFAIL  c: missing\n");
    }
}
