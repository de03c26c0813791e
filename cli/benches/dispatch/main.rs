//! `ropewalk dispatch` beside its rivals and beside no proxy at all.
//!
//! ```text
//!   client thread ──> proxy process ──> server thread        and, in the same round,
//!   client thread ────────────────────> server thread
//! ```
//!
//! Client and server are one thread each, in this process. For each workload and each round every rival takes its
//! turn, in an order that rotates; what counts is the median of the ratios to the direct way of the same round, and
//! the proxy's own processor time, which both carry over to other machines as absolute rates do not. A round whose
//! direct figure is off the median by more than a quarter is told apart. Before all figures comes the half-close
//! check. Rates are payload, counted where it is received.
//!
//! The kernel's congestion control matters much on loopback (bbr halves bulk) and holds for the rivals' sockets as
//! well as for ours: the head line names it. `--sysctl` sets reno for the run. So does, with nothing to put back,
//! a network namespace: `unshare -n sh -c 'ip link set lo up; cargo bench ... -- --sysctl'`.

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod connections;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod pattern;
#[cfg(target_os = "linux")]
mod proc;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rivals;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
mod route;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod stats;
#[cfg(target_os = "linux")]
mod workloads;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use arguments::{USAGE, Wanted};
    let ended = match arguments::parse(std::env::args().skip(1)) {
        Ok(Wanted::Run(arguments)) => rounds::run(arguments),
        Ok(Wanted::Help) => {
            println!("{USAGE}");
            Ok(())
        }
        Ok(Wanted::Nothing) => {
            println!("nothing measured: only `cargo bench` does (it passes --bench)");
            Ok(())
        }
        Err(e) => Err(format!("{e}\n{USAGE}")),
    };
    match ended {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("nothing measured: processor time and memory of the rivals come from Linux's /proc");
}
