//! The files of the state directory.

use ropewalk_core::bond::crypto::{Rng, SecretKey};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
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

/// The directory, made where there is none, for its owner alone.
pub(super) fn open(dir: &Path) -> Result<(), String> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(|error| format!("--state-dir {}: {error}", dir.display()))
}

/// Opens a file of ours, made where there is none.
pub(super) fn open_private(path: &Path) -> Result<File, String> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    open.map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file anew, whole or not at all.
pub(super) fn replace_private(path: &Path, text: &str) -> Result<(), String> {
    let new = path.with_extension("new");
    let failed = |error: std::io::Error| format!("{}: {error}", new.display());
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(|error| format!("{}: {error}", path.display()))
}
