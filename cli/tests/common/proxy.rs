//! A running `ropewalk`, `dispatch` or `unwrap`: started, listened to, ended.

use super::{LONG, Scratch};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const ROPEWALK: &str = env!("CARGO_BIN_EXE_ropewalk");

/// What the proxy has written to standard error so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<String>,
    ended: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Proxy {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    /// Where it listens; with several `--listen`, the first.
    pub(crate) address: SocketAddr,
    /// A copy of the binary for a user who cannot read the build directory.
    _copy: Option<Scratch>,
}

/// How to start one.
pub(crate) struct Launch {
    command: Command,
    service: &'static str,
    args: Vec<String>,
    copy: Option<Scratch>,
    /// Where `dispatch` has no `--listen`: on its own port, not on a free one.
    exact: bool,
}

impl Launch {
    pub(crate) fn new(args: &[&str]) -> Self {
        let command = Command::new(ROPEWALK);
        Launch { command, service: "dispatch", args: texts(args), copy: None, exact: false }
    }

    /// `ropewalk dispatch` with these arguments and no other.
    pub(crate) fn exactly(args: &[&str]) -> Self {
        Launch { exact: true, ..Launch::new(args) }
    }

    /// With this variable in its environment.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.command.env(variable, value);
        self
    }

    /// `ropewalk unwrap` with all its arguments.
    pub(crate) fn unwrap(args: &[&str]) -> Self {
        Launch { service: "unwrap", ..Launch::new(args) }
    }

    /// `ropewalk bond` with all its arguments; to be begun, not started.
    pub(crate) fn bond(args: &[&str]) -> Self {
        Launch { service: "bond", ..Launch::new(args) }
    }

    /// Behind the words of `by`, which run it: `unshare` and its switches.
    pub(crate) fn behind(mut self, by: &[&str]) -> Self {
        let mut words = by.iter();
        self.command = Command::new(words.next().expect("at least a program"));
        self.command.args(words).arg(ROPEWALK);
        self
    }

    /// The same out of a copy of the binary that every user can run, with these file capabilities,
    /// behind the words of `by` (`setpriv` and its switches).
    pub(crate) fn unwrap_by(by: &[&str], capabilities: Option<&str>, args: &[&str]) -> Self {
        let (copy, path) = copied();
        if let Some(capabilities) = capabilities {
            let set = Command::new("setcap").arg(capabilities).arg(&path).status();
            assert!(set.is_ok_and(|status| status.success()), "setcap {capabilities}");
        }
        let mut words = by.iter();
        let mut command = Command::new(words.next().expect("at least a program"));
        command.args(words).arg(path);
        Launch { command, copy: Some(copy), ..Launch::unwrap(args) }
    }

    /// As user and group `id`, without any privilege; out of a copy of the binary.
    #[cfg(unix)]
    pub(crate) fn as_user(args: &[&str], id: u32) -> Self {
        use std::os::unix::process::CommandExt;
        let (copy, path) = copied();
        let mut command = Command::new(path);
        // The standard library drops the supplementary groups too when root becomes another user.
        command.uid(id).gid(id);
        Launch { command, copy: Some(copy), ..Launch::new(args) }
    }

    /// With this many descriptors, hard limit and soft.
    pub(crate) fn with_descriptors(args: &[&str], limit: u32) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(ROPEWALK);
        Launch { command, ..Launch::new(args) }
    }

    /// Starts it and waits until it listens: `dispatch` on a free port of 127.0.0.1 unless the
    /// arguments or a file say where.
    pub(crate) fn start(self) -> Proxy {
        let mut proxy = self.begin();
        let line = proxy.wait_for("listening on ");
        let (_, rest) = line.split_once("listening on ").expect("waited for it");
        // Ports in a row are told as FIRST-LAST.
        let address = rest.split(['-', ' ']).next().and_then(|text| text.parse().ok());
        proxy.address = address.unwrap_or_else(|| panic!("expected an address in the line, got {line:?}"));
        proxy
    }

    /// Starts it, and waits for nothing: its address is not known.
    pub(crate) fn begin(mut self) -> Proxy {
        self.command.arg(self.service).args(&self.args);
        let told = self.args.iter().any(|arg| arg == "--listen" || arg == "--config");
        if self.service == "dispatch" && !self.exact && !told {
            self.command.args(["--listen", "127.0.0.1:0"]);
        }
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary was built for this test");
        let log = Arc::new(Log::default());
        let reader = {
            let (stderr, log) = (child.stderr.take().expect("piped above"), Arc::clone(&log));
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().all.push(line);
                    log.news.notify_all();
                }
                log.lock().ended = true;
                log.news.notify_all();
            })
        };
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Proxy { child, log, reader: Some(reader), address: unknown, _copy: self.copy }
    }
}

/// A copy of the binary that every user can run.
fn copied() -> (Scratch, std::path::PathBuf) {
    let copy = Scratch::new();
    let path = copy.path().join("ropewalk");
    // By another process: a descriptor open for writing, inherited by a child of another test that
    // forks just now, would make the copy "text file busy".
    let copied = Command::new("cp").arg(ROPEWALK).arg(&path).status().expect("cp is everywhere");
    assert!(copied.success(), "expected a copy of {ROPEWALK}, got {copied}");
    (copy, path)
}

fn texts(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

impl Proxy {
    pub(crate) fn start(args: &[&str]) -> Self {
        Launch::new(args).start()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `127.0.0.1:PORT`, for the arguments of others.
    pub(crate) fn at(&self) -> String {
        self.address.to_string()
    }

    /// The first line that contains `text`, now or later.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(text, 1)
    }

    /// The `nth` line that contains `text`, now or later.
    #[track_caller]
    pub(crate) fn wait_for_nth(&self, text: &str, nth: usize) -> String {
        let deadline = Instant::now() + LONG;
        let mut lines = self.log.lock();
        loop {
            if let Some(line) = lines.all.iter().filter(|line| line.contains(text)).nth(nth - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                panic!("expected line {nth} with {text:?}, got:\n{}", lines.all.join("\n"));
            }
            lines = self.log.news.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first line that contains one of `texts`, now or later.
    #[track_caller]
    pub(crate) fn wait_for_any(&self, texts: &[&str]) -> String {
        let deadline = Instant::now() + LONG;
        loop {
            let found = |line: &&String| texts.iter().any(|text| line.contains(text));
            if let Some(line) = self.log.lock().all.iter().find(found) {
                return line.clone();
            }
            assert!(Instant::now() < deadline, "expected a line with one of {texts:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many lines so far contain `text`.
    pub(crate) fn count_lines(&self, text: &str) -> usize {
        self.log.lock().all.iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Asks it to drain (SIGTERM).
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("our own child, not waited for yet");
    }

    /// Kills it (SIGKILL), if it lives, and does not wait for its end.
    #[cfg(unix)]
    pub(crate) fn kill(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "expected it to end within {LONG:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has ended, and gives all it said.
    #[track_caller]
    pub(crate) fn all(mut self) -> Vec<String> {
        let status = self.wait_for_end();
        self.finish_log();
        let lines = self.log.lock().all.clone();
        assert!(status.success(), "expected an orderly end, got {status}:\n{}", lines.join("\n"));
        lines
    }

    /// SIGTERM twice, then all it said; the last line is the summary of the run.
    #[cfg(unix)]
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.terminate();
        self.wait_for("draining");
        if self.is_running() {
            self.terminate();
        }
        self.all()
    }

    /// The reader ends with the process.
    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.finish_log();
        let lines = self.log.lock();
        if std::thread::panicking() {
            eprintln!("--- ropewalk said ---\n{}", lines.all.join("\n"));
            return;
        }
        let wrong = lines.all.iter().find(|line| line.contains("] error ") || line.contains("panicked"));
        assert!(wrong.is_none(), "expected no error in the log, got {wrong:?}");
    }
}

/// What a run of `ropewalk` that ends by itself came to.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `ropewalk` to its end.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Outcome {
    let mut command = Command::new(ROPEWALK);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary was built for this test");
    let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    // Read while it runs: a full pipe would keep it from ending.
    let readers = [
        std::thread::spawn(move || read_all(&mut stdout)),
        std::thread::spawn(move || read_all(&mut stderr)),
    ];
    // One that was to refuse, and serves, does not end by itself.
    let deadline = Instant::now() + LONG;
    let status = loop {
        match child.try_wait().expect("our own child") {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let [stdout, stderr] = readers.map(|reader| reader.join().expect("it only reads"));
    let Some(status) = status else {
        panic!(
            "expected ropewalk {args:?} to end within {LONG:?}, it said: {}",
            String::from_utf8_lossy(&stderr)
        );
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("ropewalk writes text");
    Outcome { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn read_all(from: &mut impl std::io::Read) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = from.read_to_end(&mut all);
    all
}
