//! The machine: limits, congestion control, and a folder for the rivals' files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// Descriptors wanted: 3,000 idle connections cost this process two each, and some proxies six.
const DESCRIPTORS: u64 = 65_536;

/// Whether this process may do anything.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// The descriptors a process may have, this one and the rivals that inherit the limit.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS)
}

/// Raises that limit as far as allowed, or to what is wanted.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit { current: Some(DESCRIPTORS), maximum: Some(hard.max(DESCRIPTORS)) };
    if hard < DESCRIPTORS && setrlimit(Resource::Nofile, wanted).is_ok() {
        return Ok(());
    }
    let current = Some(hard.min(DESCRIPTORS).max(limit.current.unwrap_or(u64::MAX)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })?)
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_else(|| "?".into())
}

/// The congestion control new sockets get, here and in the rivals.
pub(crate) fn congestion_control() -> String {
    first_line(CONGESTION_CONTROL)
}

/// Kernel, processors and load in a few words.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "kernel {}, {cores} cores, load {}",
        first_line("/proc/sys/kernel/osrelease"),
        first_line("/proc/loadavg")
    )
}

/// Sets the congestion control of the whole system to reno, and back when dropped.
pub(crate) struct Reno {
    before: String,
}

impl Reno {
    /// Needs root, or a network namespace of one's own.
    pub(crate) fn set() -> io::Result<Self> {
        let before = congestion_control();
        fs::write(CONGESTION_CONTROL, "reno")?;
        Ok(Self { before })
    }
}

impl Drop for Reno {
    fn drop(&mut self) {
        if let Err(e) = fs::write(CONGESTION_CONTROL, &self.before) {
            eprintln!("{CONGESTION_CONTROL} is still reno, it was {}: {e}", self.before);
        }
    }
}

/// A folder of this run's own, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ropewalk-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left-overs in the temporary folder do no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
