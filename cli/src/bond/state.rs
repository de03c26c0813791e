//! The files of the state directory.

use ropewalk_core::bond::crypto::{Rng, SecretKey};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Bytes that nobody else knows.
pub(super) fn entropy() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    match ropewalk_mio::entropy(&mut bytes) {
        true => Ok(bytes),
        false => Err("the system gives no random bytes".into()),
    }
}

/// A key that nobody has yet.
pub(super) fn new_key() -> Result<SecretKey, String> {
    entropy().map(|seed| SecretKey::generate(&mut Rng::new(seed)))
}

/// Writes a secret to a new file that its owner alone can read.
pub(super) fn create_secret(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => format!("{}: expected a new file, got one that is there", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Reads a secret from a file that nobody but its owner may read; `None` where there is none.
pub(super) fn read_secret(path: &Path) -> Result<Option<String>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(format!(
            "{0}: expected a file that its owner alone can read, got mode {mode:o}: chmod 600 {0}",
            path.display()
        ));
    }
    Ok(Some(text.trim().to_owned()))
}

/// The key in this file, made where there is none. Whether it was made.
pub(super) fn key(path: &Path) -> Result<(SecretKey, bool), String> {
    if let Some(text) = read_secret(path)? {
        let key = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok((key, false));
    }
    let key = new_key()?;
    create_secret(path, &key.to_text())?;
    Ok((key, true))
}
