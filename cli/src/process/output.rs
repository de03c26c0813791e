//! What a command prints.

use std::io::{ErrorKind, Write};

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// A sentence: what was printed is lost, on a full disk for instance.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("cannot write to standard output: {error}")),
    }
}
