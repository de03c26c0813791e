//! A network namespace with the commands in it, and all that they could change.

use crate::common::ns::Ns;
use crate::common::proxy::{Outcome, ROPEWALK, run};
use crate::common::{Scratch, skip};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// "nobody", by number.
const NOBODY: u32 = 65534;
/// The sysctls of mark mode, below /proc/sys/net.
pub(crate) const SYSCTLS: [&str; 3] =
    ["ipv4/tcp_fwmark_accept", "ipv4/fwmark_reflect", "ipv6/fwmark_reflect"];

pub(crate) struct Host {
    pub(crate) ns: Ns,
    state: Scratch,
}

impl Host {
    /// `None`: skipped, and said so.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let ns = Ns::new().inspect_err(|needs| skip(test, needs)).ok()?;
        Some(Host { ns, state: Scratch::new() })
    }

    /// Where the old values of sysctls are kept.
    pub(crate) fn state_dir(&self) -> &str {
        self.state.path().to_str().expect("an ASCII name")
    }

    /// The file with the old values of sysctls, if there is one.
    pub(crate) fn remembered(&self) -> Option<String> {
        let entry = std::fs::read_dir(self.state.path()).expect("our own").next()?.expect("our own");
        Some(std::fs::read_to_string(entry.path()).expect("text"))
    }

    fn line<'a>(&'a self, command: &'a str, switches: &'a str) -> Vec<&'a str> {
        let mut line = vec!["unwrap", command];
        line.extend(switches.split_ascii_whitespace());
        line.extend(["--state-dir", self.state_dir()]);
        line
    }

    /// Runs `ropewalk unwrap setup` or `teardown`, whatever comes of it.
    pub(crate) fn attempt(&self, command: &str, switches: &str) -> Outcome {
        let line = self.line(command, switches);
        self.ns.run(|| run(&line))
    }

    /// The same, which must succeed; what it prints.
    #[track_caller]
    pub(crate) fn unwrap(&self, command: &str, switches: &str) -> String {
        let outcome = self.attempt(command, switches);
        assert_eq!(outcome.code, Some(0), "unwrap {command} {switches}: {}", outcome.stderr);
        outcome.stdout
    }

    /// The same, which must fail; what it complains of.
    #[track_caller]
    pub(crate) fn refuses(&self, command: &str, switches: &str) -> String {
        let outcome = self.attempt(command, switches);
        assert_eq!(outcome.code, Some(1), "expected unwrap {command} {switches} to fail: {}", outcome.stdout);
        outcome.stderr
    }

    /// Starts the same, and gives the process.
    pub(crate) fn start(&self, command: &str, switches: &str) -> Child {
        let mut process = Command::new(ROPEWALK);
        process.args(self.line(command, switches));
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.ns.run(|| process.spawn().expect("the binary was built for this test"))
    }

    /// Runs `ropewalk doctor unwrap`; gives its exit code and lines.
    pub(crate) fn doctor(&self, switches: &str) -> (bool, Vec<String>) {
        let mut line = vec!["doctor", "unwrap"];
        line.extend(switches.split_ascii_whitespace());
        let outcome = self.ns.run(|| run(&line));
        (outcome.code == Some(0), outcome.stdout.lines().map(str::to_owned).collect())
    }

    /// Runs `ropewalk` as a user without any privilege, out of a copy that this user can read.
    pub(crate) fn as_nobody(&self, line: &str) -> (Option<i32>, String) {
        let copy = Scratch::new();
        let path = copy.path().join("ropewalk");
        // By another process: see `Launch::as_user`.
        let copied = Command::new("cp").arg(ROPEWALK).arg(&path).status().expect("cp is everywhere");
        assert!(copied.success(), "expected a copy of {ROPEWALK}, got {copied}");
        let mut command = Command::new(path);
        command.args(line.split_ascii_whitespace()).uid(NOBODY).gid(NOBODY);
        let output = self.ns.run(|| command.output().expect("just copied"));
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("ropewalk writes text"))
    }

    /// Runs lines in a shell, which ends at the first that fails.
    #[track_caller]
    pub(crate) fn shell(&self, lines: &str) {
        let output = self.ns.run(|| Command::new("sh").args(["-e", "-c", lines]).output());
        let output = output.expect("sh is everywhere");
        assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// All that setup and teardown could change: rules, routes and sysctls.
    pub(crate) fn dump(&self) -> String {
        let mut all = String::new();
        for line in ["rule", "-6 rule", "route show table all", "-6 route show table all"] {
            let output = self.ns.run(|| Command::new("ip").args(line.split(' ')).output());
            let output = output.expect("ip was there for the namespace");
            assert!(output.status.success(), "ip {line}");
            all.push_str(&format!("# ip {line}\n{}", String::from_utf8_lossy(&output.stdout)));
        }
        for key in SYSCTLS {
            all.push_str(&format!("{key} = {}\n", self.sysctl(key)));
        }
        all
    }

    pub(crate) fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/net/{key}");
        self.ns.run(|| std::fs::read_to_string(&path).expect("every kernel has it")).trim_end().to_owned()
    }
}
