//! The files of the state directory.

use crate::process::files;
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

/// Writes a secret to a new file that its owner alone can read: whole, or there is no such file.
pub(super) fn create_secret(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => format!("{}: expected a new file, got one that is there", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    // Another process may do the same. In a container each start may have the same number.
    let draft = path.with_added_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&draft);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    let written = file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all());
    // A link never replaces what is there.
    let named = written.and_then(|()| std::fs::hard_link(&draft, path));
    let _ = std::fs::remove_file(&draft);
    named.and_then(|()| keep_name(path)).map_err(failed)
}

/// Waits until the name of a file is on the disk, as its bytes are.
fn keep_name(path: &Path) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Reads a secret from a file that nobody but its owner may read; `None` where there is none.
pub(super) fn read_secret(path: &Path) -> Result<Option<String>, String> {
    let text = match files::text(path) {
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
    let failed = |error: std::io::Error| format!("--state-dir {}: {error}", dir.display());
    builder.create(dir).map_err(failed)?;
    // Who can write there can put keys of his own in it.
    let mode = std::fs::metadata(dir).map_err(failed)?.permissions().mode() & 0o7777;
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(format!(
            "--state-dir {0}: expected a directory that nobody else can write to, got mode {mode:o}: \
             chmod 700 {0}",
            dir.display()
        )),
    }
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
    let done = std::fs::rename(&new, path).and_then(|()| keep_name(path));
    done.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_whole_or_not_at_all_and_is_never_replaced() {
        let dir = std::env::temp_dir().join(format!("ropewalk-state-{}", std::process::id()));
        open(&dir).expect("a directory for temporary files");
        let path = dir.join("server.key");
        // A start that was interrupted has left its draft.
        let draft = dir.join(format!("server.key.{}.new", std::process::id()));
        std::fs::write(&draft, "").expect("our own directory");
        let (made, new) = key(&path).expect("a new key");
        let (again, old) = key(&path).expect("the same key");
        assert!(new && !old && made.public() == again.public());
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!((mode & 0o777, draft.exists()), (0o600, false));
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o770)).expect("our own directory");
        assert!(open(&dir).is_err_and(|error| error.contains("got mode 770: chmod 700 ")));
        let before = std::fs::read(&path).expect("it is there");
        assert!(create_secret(&path, "other").is_err_and(|error| error.contains("expected a new file")));
        assert_eq!(std::fs::read(&path).expect("it is there"), before);
        std::fs::remove_dir_all(&dir).expect("our own directory");
    }

    #[test]
    fn a_key_that_cannot_be_written_leaves_no_file() {
        // Nothing can be written: where the draft would be is a directory.
        let dir = std::env::temp_dir().join(format!("ropewalk-state-full-{}", std::process::id()));
        let path = dir.join("server.key");
        let draft = dir.join(format!("server.key.{}.new", std::process::id()));
        std::fs::create_dir_all(draft.join("in the way")).expect("a directory for temporary files");
        assert!(create_secret(&path, "secret").is_err());
        assert!(!path.exists());
        std::fs::remove_dir_all(&dir).expect("our own directory");
    }
}
