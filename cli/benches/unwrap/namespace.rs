//! A network of the benchmark's own.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::common::{binaries, host};

/// Moves this process, while it has one thread, and with it all it starts, into a new network
/// namespace. False without the right to.
pub(crate) fn enter() -> Result<bool, String> {
    if !host::is_root() {
        println!(
            "SKIP: only root can lend foreign addresses and add routes, in a network namespace made for it"
        );
        return Ok(false);
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("making a network namespace: {e}"))?;
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    Ok(true)
}

/// The server's answers to foreign addresses come back, over TCP and UDP.
pub(crate) fn add_routes(target: SocketAddrV4, folder: &Path) -> Result<(), String> {
    let mut setup = Command::new(binaries::ropewalk()?);
    setup.args(["unwrap", "setup", "--protocol", "tcp", "--protocol", "udp"]);
    // The namespace ends with this process, and the old values of its sysctls with it.
    run(setup.arg("--target-v4").arg(target.to_string()).arg("--state-dir").arg(folder))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
