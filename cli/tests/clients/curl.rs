//! curl, run without its user's settings.

use crate::common::has;
use std::process::{Command, Stdio};

/// What would send a client elsewhere.
const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// A command that takes no proxy from the environment.
pub(crate) fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    PROXY_VARIABLES.iter().for_each(|variable| {
        command.env_remove(variable);
    });
    command.stdin(Stdio::null());
    command
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Curl {
    /// curl's own exit code (`man curl`, EXIT CODES).
    pub(crate) code: Option<i32>,
    /// The bodies, behind their heads where `-D -` or `-i` asked for them.
    pub(crate) out: Vec<u8>,
    pub(crate) said: String,
}

/// Whether curl is here; else the test is skipped.
pub(crate) fn is_here(test: &str) -> bool {
    has(test, "curl")
}

pub(crate) fn curl(args: &[&str]) -> Curl {
    let output = clean("curl")
        // First of all: no settings of the user's.
        .arg("-q")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(args)
        .output()
        .expect("curl was there");
    Curl {
        code: output.status.code(),
        out: output.stdout,
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Curl {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Fails unless curl was content and wrote just this.
    #[track_caller]
    pub(crate) fn gives(&self, expected: &str) {
        assert_eq!((self.code, self.text().as_str()), (Some(0), expected), "curl said: {}", self.said);
    }

    /// Fails unless curl was content and a header has this value.
    #[track_caller]
    pub(crate) fn has_header(&self, name: &str, expected: &str) {
        assert_eq!(self.headers(name).last().map(String::as_str), Some(expected), "{name} in {self:?}");
    }

    /// All values of a header, in order.
    #[track_caller]
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        assert_eq!(self.code, Some(0), "curl said: {}", self.said);
        let text = self.text();
        let value = |line: &str| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        text.lines().filter_map(value).collect()
    }
}
