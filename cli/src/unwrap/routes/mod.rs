//! `ropewalk unwrap setup` and `teardown`: answers to foreign addresses come back into this host.
//!
//! The server sees a client's own address and answers to it. By the ordinary routes that answer
//! would leave by the default gateway. A rule catches what the server sends, and its table delivers
//! everything to this host:
//!
//! ```text
//!   args ──▶ plan: rules, route, sysctls ──▶ setup ──▶ kernel (rtnetlink), sysctl (/proc/sys, the state file)
//!            prints itself as ip commands    teardown ─┘
//!
//!   293: from 127.0.0.1 iif lo ipproto tcp sport 25578 lookup 29303     one for each target
//!   293: from 172.20.0.2 iif br0 ipproto tcp sport 8000 lookup 29303    of a server in a container
//!   table 29303: local default dev lo src 127.0.0.1                     one for each family
//! ```
//!
//! The answers of a server in a container or namespace come in by an interface of this host, if
//! this host is the server's default gateway (`place` finds which). Whether it is, no rule tells:
//! setup connects as a foreign client, and takes its rules back where no answer comes.
//!
//! Invariants
//! - Whatever setup adds carries [`plan::TAG`]; teardown removes only what carries it. What is
//!   there already and is not ours is never touched.
//! - At each instant in which a sysctl is not as it was, the state file holds its old value, and
//!   something with our tag is in this network namespace. So a setup that was killed can be run
//!   again, or torn down. A state file in a namespace without our tag is that of another namespace:
//!   the kernel gives a namespace's number (the name of the file) to the next one.

pub(crate) mod args;
#[cfg(target_os = "linux")]
pub(super) mod kernel;
#[cfg(target_os = "linux")]
pub(super) mod place;
#[cfg(target_os = "linux")]
pub(super) mod plan;
#[cfg(target_os = "linux")]
mod setup;
#[cfg(target_os = "linux")]
pub(super) mod sysctl;
#[cfg(target_os = "linux")]
mod teardown;

/// `ropewalk unwrap setup`.
pub(crate) fn setup(args: &args::Setup) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return setup::run(args);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = args;
        Err(only_linux("setup"))
    }
}

/// `ropewalk unwrap teardown`.
pub(crate) fn teardown(args: &args::Teardown) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return teardown::run(args);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = args;
        Err(only_linux("teardown"))
    }
}

#[cfg(not(target_os = "linux"))]
fn only_linux(command: &str) -> String {
    format!(
        "unwrap {command} is for Linux: a server gets its clients' addresses by IP_TRANSPARENT, which is \
         Linux's"
    )
}

/// Prints the commands, if standard output is still open.
#[cfg(target_os = "linux")]
fn say(commands: &str) {
    use std::io::Write;
    // The work is done, whether or not its report is read (`| head`).
    let _ = std::io::stdout().write_all(commands.as_bytes());
}
