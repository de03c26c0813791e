//! Files, read whole and within bounds: whoever names a device without an end, or a pipe that
//! nobody writes to, is told.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

/// The most bytes of a file that people write: half a million users, or as many networks.
const MOST: u64 = 16 * 1024 * 1024;
/// What is no file of the disk ends within this time, in seconds: a program may ask for a
/// passphrase before it writes.
const PATIENCE: u64 = 30;

/// The bytes of a file, or of a pipe (`<(...)` of a shell).
///
/// # Errors
/// What the system says, or what was expected: at most [`MOST`] bytes, an end within [`PATIENCE`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    bounded(path, b"", MOST)
}

/// The same as text.
///
/// # Errors
/// As [`read`] and [`as_text`].
pub(crate) fn text(path: &Path) -> Result<String> {
    read(path).and_then(as_text)
}

/// What was read as text.
///
/// # Errors
/// Where it ceases to be UTF-8.
pub(crate) fn as_text(bytes: Vec<u8>) -> Result<String> {
    let wrong = |error: std::string::FromUtf8Error| {
        Error::other(format!("expected text in UTF-8: {}", error.utf8_error()))
    };
    String::from_utf8(bytes).map_err(wrong)
}

/// At most `most` bytes of a file that begins with `magic`. Of one that begins otherwise no more
/// than this beginning.
///
/// # Errors
/// As [`read`].
pub(crate) fn bounded(path: &Path, magic: &'static [u8], most: u64) -> Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        return whole(path, magic, most);
    }
    let path = path.to_owned();
    within(Duration::from_secs(PATIENCE), move || whole(&path, magic, most))
}

/// What `read` gives in time. A read of a pipe cannot be called off: its thread is left behind.
fn within(patience: Duration, read: impl FnOnce() -> Result<Vec<u8>> + Send + 'static) -> Result<Vec<u8>> {
    let (done, result) = channel();
    std::thread::Builder::new().name("file".into()).spawn(move || drop(done.send(read())))?;
    let late = format!("expected a file, or a pipe that ends within {patience:?}, got none of them");
    result.recv_timeout(patience).unwrap_or_else(|_| Err(Error::other(late)))
}

fn whole(path: &Path, magic: &[u8], most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    (&file).take(magic.len() as u64).read_to_end(&mut bytes)?;
    if bytes == magic {
        (&file).take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    match bytes.len() as u64 > most {
        true => Err(Error::other(format!("expected a file of at most {most} bytes, got more"))),
        false => Ok(bytes),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_an_end_is_told_with_what_was_expected() {
        let told = read(Path::new("/dev/zero")).expect_err("it never ends").to_string();
        assert_eq!(told, "expected a file of at most 16777216 bytes, got more");
        // Of what is no recording no more is read than its beginning.
        assert_eq!(bounded(Path::new("/dev/zero"), b"magic", MOST).expect("read"), [0; 5]);
        assert!(read(Path::new("/dev/null")).expect("it is empty").is_empty());
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_given_up_and_one_that_ends_is_read() {
        let (quiet, _writer) = std::io::pipe().expect("a pipe");
        let read_pipe = |mut pipe: std::io::PipeReader| {
            move || {
                let mut bytes = Vec::new();
                pipe.read_to_end(&mut bytes).map(|_| bytes)
            }
        };
        let told = within(Duration::from_millis(20), read_pipe(quiet)).expect_err("nobody writes");
        assert!(told.to_string().contains("a pipe that ends within 20ms"), "{told}");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        std::io::Write::write_all(&mut writer, b"[dispatch]\n").expect("there is room");
        drop(writer);
        assert_eq!(within(Duration::from_secs(30), read_pipe(reader)).expect("it ends"), b"[dispatch]\n");
    }

    #[test]
    fn text_that_is_none_is_told_with_its_place() {
        let path = std::env::temp_dir().join(format!("ropewalk-text-{}", std::process::id()));
        std::fs::write(&path, b"ab\xff").expect("writable");
        let told = text(&path).expect_err("no text").to_string();
        assert!(told.starts_with("expected text in UTF-8: ") && told.contains("index 2"), "{told}");
        std::fs::remove_file(&path).expect("it is there");
    }
}
