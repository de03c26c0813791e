//! What /proc says of a process.

use std::time::Duration;

fn status(pid: u32, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("expected {key} in /proc/{pid}/status")).trim().to_owned()
}

/// Resident memory, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = status(pid, "VmRSS");
    let kib: u64 = text.trim_end_matches(" kB").parse().expect("a number of kB");
    kib * 1024
}

/// Its four user ids (real, effective, saved, of the file system) and its effective capabilities.
pub(crate) fn privileges(pid: u32) -> (Vec<u32>, u64) {
    let ids = status(pid, "Uid").split_ascii_whitespace().map(|id| id.parse().expect("a number")).collect();
    let capabilities = u64::from_str_radix(&status(pid, "CapEff"), 16).expect("hexadecimal");
    (ids, capabilities)
}

/// Open descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives and is ours").count()
}

/// Processor time used so far, in user space and in the kernel.
fn used(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // proc(5): the second field is in brackets and may hold anything; utime and stime are fields 14
    // and 15.
    let (_, rest) = text.rsplit_once(')').expect("a command in brackets");
    let field = |n: usize| -> u64 {
        rest.split_ascii_whitespace().nth(n - 3).and_then(|text| text.parse().ok()).expect("a number")
    };
    // In units of USER_HZ, which is 100 on every Linux that user space sees.
    Duration::from_millis((field(14) + field(15)) * 10)
}

/// Processor time used while `span` passes: the one thing that cannot be waited for but must be
/// watched.
pub(crate) fn used_during(pid: u32, span: Duration) -> Duration {
    let before = used(pid);
    std::thread::sleep(span);
    used(pid) - before
}

/// Sends SIGHUP.
pub(crate) fn hang_up(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("our own child");
}
