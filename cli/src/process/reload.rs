//! What a service cannot change while it runs.

use super::args::Common;

/// An error where the switch has another value now.
pub(crate) fn changed(switch: &str, has: bool) -> Result<(), String> {
    match has {
        true => Err(format!("{switch} has changed, which takes a new start")),
        false => Ok(()),
    }
}

/// The same for the switches that all services have.
pub(crate) fn fixed_common(before: &Common, now: &Common) -> Result<(), String> {
    changed("--workers", before.workers != now.workers)?;
    changed("--runtime", before.runtime() != now.runtime())?;
    changed("--socket-buffer", before.socket_buffer != now.socket_buffer)?;
    changed("--stats", before.stats != now.stats)
}
