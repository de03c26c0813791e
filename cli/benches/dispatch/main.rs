//! `ropewalk dispatch` compared with its rivals and with no proxy at all; `common` says how.
//!
//! The kernel's congestion control matters much on loopback (bbr halves bulk) and holds for the
//! rivals' sockets as well as for ours: the head line names it. `--sysctl` sets reno for the run.
//! So does, with nothing to put back, a network namespace: `unshare -n sh -c 'ip link set lo up;
//! cargo bench ... -- --sysctl'`.

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "no benchmark uses all of it")]
mod common;
#[cfg(target_os = "linux")]
mod rivals;
#[cfg(target_os = "linux")]
mod workloads;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::rounds::main::<workloads::Workload, _>(|| Ok(true), |_, _| Ok(()))
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("nothing measured: processor time and memory of the rivals come from Linux's /proc");
}
