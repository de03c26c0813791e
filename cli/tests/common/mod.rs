//! What the tests of the built binary share: the running proxy, a small SOCKS5 client, servers,
//! waiting, skipping.
//!
//! Each test binary takes a part of it:
//!
//! | file | is |
//! | --- | --- |
//! | `proxy` | a running `ropewalk`, its log, its end |
//! | `socks` | a minimal SOCKS5 client |
//! | `udp` | a minimal client of UDP ASSOCIATE |
//! | `dns` | a name server |
//! | `servers` | servers in threads |
//! | `process` | what /proc says of a process (Linux) |
//! | `ns` | one network namespace (Linux) |
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary takes a part of it")]

#[cfg(feature = "names")]
pub(crate) mod dns;
#[cfg(target_os = "linux")]
pub(crate) mod ns;
#[cfg(target_os = "linux")]
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod socks;
pub(crate) mod udp;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// No step of these tests takes this long unless it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The name of the test this stands in.
macro_rules! here {
    () => {{
        fn f() {}
        let name = std::any::type_name_of_val(&f);
        name.strip_suffix("::f").unwrap_or(name)
    }};
}
pub(crate) use here;

/// Says that a test is skipped, past libtest's capture, so that CI can find it.
pub(crate) fn skip(test: &str, needs: &str) {
    // In one write: other tests write too. A closed standard error is the caller's wish.
    let _ = std::io::stderr().write_all(format!("SKIP {test}: needs {needs}\n").as_bytes());
}

/// Whether `program` can be run; else the test is skipped by name.
pub(crate) fn has(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        skip(test, program);
    }
    found
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes a call again that was interrupted. Where a time-out is set Linux does not do so by itself
/// (signal(7)): who stops this process and lets it go on, or looks into it, interrupts what waits.
pub(crate) fn patient<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// How much of the processors nobody wanted since it was made. A figure in time says something of
/// the program only where the machine was idle enough.
#[cfg(target_os = "linux")]
pub(crate) struct Pace(u64, u64);

#[cfg(target_os = "linux")]
impl Pace {
    pub(crate) fn new() -> Self {
        let (idle, all) = Pace::look();
        Pace(idle, all)
    }

    /// proc(5), /proc/stat: user, nice, system, idle and more, in ticks of all processors.
    fn look() -> (u64, u64) {
        let text = std::fs::read_to_string("/proc/stat").expect("it is readable everywhere");
        let ticks: Vec<u64> =
            text.split_ascii_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
        (ticks[3], ticks.iter().take(8).sum())
    }

    /// In percent.
    pub(crate) fn idle(&self) -> u64 {
        let (idle, all) = Pace::look();
        100 * (idle - self.0) / (all - self.1).max(1)
    }

    /// A third was left: who woke up did not wait.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle() >= 33
    }
}

/// Bytes in which a loss, a double and a swap show.
pub(crate) fn pattern(from: u64, len: usize) -> Vec<u8> {
    let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (from..from + len as u64).map(byte).collect()
}

/// Compares with [`pattern`] and says where it differs, instead of printing megabytes.
#[track_caller]
pub(crate) fn assert_pattern(from: u64, got: &[u8]) {
    let expected = pattern(from, got.len());
    if let Some(at) = expected.iter().zip(got).position(|(a, b)| a != b) {
        panic!("the byte at {} differs: expected {}, got {}", from + at as u64, expected[at], got[at]);
    }
}

/// A directory of our own, gone on drop. Everybody may read it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ropewalk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let all = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, all).expect("our own directory");
        }
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file here; gives its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("our own directory");
        path.into_os_string().into_string().expect("temporary paths are text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
