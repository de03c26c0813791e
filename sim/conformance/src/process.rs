//! A process for each case: its watchdog, its clock, its descriptors.
//!
//! The test starts its own program again for just itself, with [`CASE`] set; that process runs the
//! case and says so when it has passed. A process that says nothing has not passed, whatever its
//! exit code: a filter that matches no test exits with 0 too.

use super::cases::{self, Case};
use super::{AnyRuntime, faulty};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Set in the process that runs a case: its name.
pub const CASE: &str = "ROPEWALK_CASE";
/// What a passed case says last.
const DONE: &str = "ropewalk: the case has passed";
/// A case must have ended by then.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A case with a broken driver: its own deadlines are shorter too.
const FAULT_DEADLINE: Duration = Duration::from_secs(20);

/// What became of a case.
#[derive(Debug)]
pub struct Verdict {
    /// It ran to its end and nothing was wrong.
    pub passed: bool,
    /// It was killed at its deadline.
    pub killed: bool,
    /// What it wrote.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// What found the failure, in a word.
    pub fn finder(&self) -> &'static str {
        match () {
            () if self.passed => "nothing",
            () if self.killed => "watchdog",
            () if self.output.contains("audit: ") => "auditor",
            () if self.output.contains("replay: ") => "replay",
            () => "behaviour",
        }
    }

    /// It lacked something, and has shown nothing.
    pub fn was_skipped(&self) -> bool {
        self.output.contains(SKIP)
    }

    /// Passes on what it lacked: past the test harness, which keeps what a passed test says.
    fn say_skips(&self) {
        for line in self.output.lines().filter(|line| line.starts_with(SKIP)) {
            // In one write: other tests write too. A closed standard error is the caller's wish.
            let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// How a line begins that says what a case lacks.
const SKIP: &str = "SKIP ";

/// Says what the running case lacks.
pub fn skip(needs: &str) {
    println!("{SKIP}{}: needs {needs}", std::env::var(CASE).unwrap_or_default());
}

/// Runs a case in a process of its own, and panics when it does not pass.
///
/// # Panics
/// When the case fails or has not ended at its deadline.
pub fn run(runtime: AnyRuntime, name: &str, module: &str, test: &str) {
    if child(runtime) {
        return;
    }
    let verdict = spawn(name, &path(module, test), &[], DEADLINE);
    print!("{}", verdict.output);
    verdict.say_skips();
    assert!(
        verdict.passed,
        "{name} on {}: {} after {:?}",
        runtime.name(),
        if verdict.killed { "killed at the deadline" } else { "failed" },
        verdict.took
    );
}

/// Runs a fault against the cases that shall catch it, and panics when one does not.
///
/// # Panics
/// When a case passes in spite of the fault.
pub fn run_fault(runtime: AnyRuntime, fault: &faulty::Spec, module: &str) {
    if child(runtime) {
        return;
    }
    for name in fault.caught_by {
        for audit in ["1", "0"] {
            let env = [(faulty::FAULT, fault.name), (faulty::AUDIT, audit)];
            let verdict = spawn(name, &path(module, fault.name), &env, FAULT_DEADLINE);
            println!(
                "| {} | {name} | {} | {} | {:.1} s |",
                fault.name,
                if audit == "1" { "with" } else { "without" },
                verdict.finder(),
                verdict.took.as_secs_f32()
            );
            if std::env::var_os("ROPEWALK_SHOW").is_some() {
                println!("{}", verdict.output);
            }
            verdict.say_skips();
            let silent = fault.only_audited && audit == "0" || verdict.was_skipped();
            assert!(silent || !verdict.passed, "{name} has not noticed: {}\n{}", fault.name, verdict.output);
        }
    }
}

/// In the process of a case: runs it. True when this is such a process.
fn child(runtime: AnyRuntime) -> bool {
    let Ok(name) = std::env::var(CASE) else { return false };
    let case: &Case = cases::find(&name).unwrap_or_else(|| panic!("no case is called {name}"));
    // The parent process may be gone.
    let _ = thread::Builder::new().spawn(|| {
        thread::sleep(DEADLINE + Duration::from_secs(5));
        std::process::abort();
    });
    (case.run)(&runtime);
    println!("{DONE}");
    true
}

/// What the test harness calls the test: without the name of the crate.
fn path(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, inner)) => format!("{inner}::{test}"),
        None => test.into(),
    }
}

fn spawn(case: &str, test: &str, env: &[(&str, &str)], deadline: Duration) -> Verdict {
    let began = Instant::now();
    let program = std::env::current_exe().expect("a test knows its own program");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(CASE, case).envs(env.iter().copied());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program can start itself");
    let readers = [drink(child.stdout.take()), drink(child.stderr.take())];
    let (ended, killed) = wait(&mut child, deadline);
    let output: String = readers.into_iter().map(|reader| reader.join().unwrap_or_default()).collect();
    let passed = ended && output.contains(DONE);
    Verdict { passed, killed, output, took: began.elapsed() }
}

/// Waits for the end: whether it ended well, and whether it had to be killed.
fn wait(child: &mut Child, deadline: Duration) -> (bool, bool) {
    let began = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return (status.success(), false);
        }
        if began.elapsed() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return (false, true);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn drink(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut all);
        }
        String::from_utf8_lossy(&all).into_owned()
    })
}

/// Processor time this process uses while `during` passes and the kit does nothing.
pub fn processor_time(during: Duration) -> Duration {
    let before = processor_now();
    thread::sleep(during);
    processor_now().saturating_sub(before)
}

fn processor_now() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// The open descriptors of this process by number, each with what it is; on Linux only.
pub fn descriptors() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let number = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        // Skip the descriptor of the directory listing itself.
        let what = fs::read_link(entry.path()).ok()?;
        Some((number, what.to_string_lossy().into_owned()))
    };
    entries.filter_map(number).filter(|(_, what)| !what.starts_with("/proc/")).collect()
}

/// How many sockets this process holds; on Linux only, elsewhere always 0.
pub fn sockets() -> usize {
    descriptors().iter().filter(|(_, what)| what.starts_with("socket:")).count()
}

/// Leaves room for `room` more descriptors, or takes the limit away again (`None`).
///
/// # Panics
/// When the system does not let us.
pub fn limit_descriptors(room: Option<usize>) {
    let limit = getrlimit(Resource::Nofile);
    let current = room.map_or(limit.maximum, |room| {
        let taken: Vec<u32> = descriptors().into_iter().map(|(number, _)| number).collect();
        let mut free = (0..).filter(|number| !taken.contains(number));
        free.nth(room).map(u64::from)
    });
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })
        .expect("a lower limit is allowed");
}
