//! A page with `console` blocks: a line that begins with `$ ` is a command, the lines below it are
//! what it prints.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Tests that write the same page take turns.
static WRITING: Mutex<()> = Mutex::new(());

pub(crate) struct Page(PathBuf);

impl Page {
    /// By its path in the repository.
    pub(crate) fn new(path: &str) -> Self {
        Page(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
    }

    fn lines(&self) -> Vec<String> {
        let text =
            std::fs::read_to_string(&self.0).unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
        text.lines().map(str::to_owned).collect()
    }

    /// The page shows this command, and below it these lines.
    #[track_caller]
    pub(crate) fn shows(&self, command: &str, printed: &[String]) {
        let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = self.lines();
        let shown = output_of(&lines, command);
        let shown = shown.unwrap_or_else(|| panic!("{} does not show `{command}`", self.0.display()));
        if same(&lines[shown.clone()], printed) {
            return;
        }
        if std::env::var_os("ROPEWALK_BLESS").is_some() {
            lines.splice(shown, printed.iter().cloned());
            std::fs::write(&self.0, lines.join("\n") + "\n").expect("the repository can be written");
            return;
        }
        panic!(
            "{} shows of `{command}`\n{}\nbut it prints\n{}\n\
             ROPEWALK_BLESS=1 cargo test -p ropewalk --test transcripts writes it anew",
            self.0.display(),
            lines[shown].join("\n"),
            printed.join("\n")
        );
    }
}

/// Which lines follow the command in a `console` block.
fn output_of(lines: &[String], command: &str) -> Option<Range<usize>> {
    let is_command = |line: &String| {
        line.strip_prefix("$ ").is_some_and(|rest| rest.trim_start_matches("sudo ") == command)
    };
    let first = lines.iter().position(is_command)? + 1;
    let more = lines[first..].iter().position(|line| line.starts_with("$ ") || line.starts_with("```"))?;
    Some(first..first + more)
}

/// Equal but for times and the kernel's release.
fn same(shown: &[String], printed: &[String]) -> bool {
    shown.len() == printed.len() && shown.iter().zip(printed).all(|(a, b)| steady(a) == steady(b))
}

/// The line with a word in place of each number that is another one in each run.
fn steady(line: &str) -> String {
    let line = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((time, text)) if time.trim_start().parse::<f64>().is_ok() => format!("[TIME] {text}"),
        _ => line.to_owned(),
    };
    let mut before = "";
    let mut words = Vec::new();
    for word in line.split(' ') {
        let is_duration =
            word.starts_with(|c: char| c.is_ascii_digit()) && word.trim_end_matches(':').ends_with('s');
        let counts_seconds = before == "in" && word.parse::<f64>().is_ok();
        words.push(match word {
            _ if before == "Linux" => "RELEASE",
            _ if is_duration || counts_seconds => "DURATION",
            _ => word,
        });
        before = word;
    }
    words.join(" ")
}

#[test]
fn only_times_and_the_release_may_differ() {
    let same = |a: &str, b: &str| same(&[a.to_owned()], &[b.to_owned()]);
    assert!(same("[     0.001] info  up", "[    10.901] info  up"));
    assert!(same("connected in 214.307µs", "connected in 1.5ms"));
    assert!(same("closed after 1.58373ms: 79 bytes", "closed after 2s: 79 bytes"));
    assert!(same("simulated in 1.00 s", "simulated in 0.75 s"));
    assert!(!same("20 s of virtual time", "10 s of virtual time"));
    assert!(same("kernel: Linux 6.1.0-18-amd64", "kernel: Linux 6.18.44"));
    assert!(!same("[     0.001] info  up", "[     0.001] warn  up"));
    assert!(!same("0 refused; no limit was hit", "0 refused; limits hit: buffers 1"));
    assert!(!same("79 bytes up", "80 bytes up"));
    assert!(!same("3 connections", "2 connections"));
}

#[test]
fn the_output_of_a_command_ends_at_the_next_command_or_the_end_of_the_block() {
    let page: Vec<String> =
        "text\n```console\n$ sudo a b\none\ntwo\n$ c\n```\n$ d\n".lines().map(str::to_owned).collect();
    assert_eq!(output_of(&page, "a b"), Some(3..5));
    assert_eq!(output_of(&page, "c"), Some(6..6));
    assert_eq!(output_of(&page, "a"), None);
}
