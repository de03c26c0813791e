//! `ropewalk unwrap` compared with HAProxy and with no proxy at all; `common` says how.
//!
//! ```text
//!   client ──PROXY header + bytes──> proxy ──from the client's address──> server
//!   client ──bytes─────────────────────────────────────────────────────> server     without a proxy, thus without a header
//! ```
//!
//! Answers to foreign addresses need routes, and those are the system's: so the benchmark, as root,
//! makes itself a network namespace, sets reno there and has `ropewalk unwrap setup` add the
//! routes. They serve HAProxy just as well. All of it goes with the process.
//!
//! The headers name clients of 198.18.0.0/15, each connection another. Before figures count the
//! server must have seen them.

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "no benchmark uses all of it")]
mod common;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod rivals;
#[cfg(target_os = "linux")]
mod workloads;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::rounds::main::<workloads::Workload, _>(namespace::enter, |server, folder| {
        namespace::add_routes(server.targets()[0], folder)
    })
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("nothing measured: a server gets its clients' addresses by IP_TRANSPARENT, which is Linux's");
}
