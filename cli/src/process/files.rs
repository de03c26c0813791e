//! Files, read whole and within bounds: whoever names a device without an end, or a pipe that
//! nobody writes to, is told.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// The most bytes of a file that people write: half a million users, or as many networks.
const MOST: u64 = 16 * 1024 * 1024;
/// What is no file of the disk ends within this time: a program may ask for a passphrase before it
/// writes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a pipe has more.
const LOOK: Duration = Duration::from_millis(10);

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
    let mut bytes = Vec::new();
    let file = open(path)?;
    let until = Instant::now() + PATIENCE;
    fill(&file, &mut bytes, magic.len() as u64, until)?;
    if bytes == magic {
        fill(&file, &mut bytes, most.saturating_add(1), until)?;
    }
    match bytes.len() as u64 > most {
        true => Err(Error::other(format!("expected a file of at most {most} bytes, got more"))),
        false => Ok(bytes),
    }
}

/// Neither the opening nor a read of a pipe waits for its writer.
fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    options.read(true).open(path)
}

fn is_pipe(file: &File) -> Result<bool> {
    #[cfg(unix)]
    return file.metadata().map(|about| std::os::unix::fs::FileTypeExt::is_fifo(&about.file_type()));
    #[cfg(not(unix))]
    file.metadata().map(|_| false)
}

/// Reads until the end, or until there are so many bytes. A pipe without a writer looks as if it
/// had ended: it has once something was in it.
fn fill(mut file: &File, bytes: &mut Vec<u8>, most: u64, until: Instant) -> Result<()> {
    let is_pipe = is_pipe(file)?;
    let mut piece = [0; 4096];
    while (bytes.len() as u64) < most {
        let len = piece.len().min(usize::try_from(most).unwrap_or(usize::MAX) - bytes.len());
        match file.read(&mut piece[..len]) {
            Ok(0) if !is_pipe || !bytes.is_empty() => break,
            Ok(0) => {}
            Ok(len) => {
                bytes.extend_from_slice(&piece[..len]);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= until {
            let what = format!("expected a file, or a pipe that ends within {PATIENCE:?}, got none of them");
            return Err(Error::other(what));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
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
        let path = std::env::temp_dir().join(format!("ropewalk-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
        let (pipe, mut bytes) = (open(&path).expect("it is there"), Vec::new());
        let soon = || Instant::now() + Duration::from_millis(30);
        let told = fill(&pipe, &mut bytes, MOST, soon()).expect_err("nobody writes").to_string();
        assert!(told.contains("a pipe that ends within 30s"), "{told}");
        // It is open: a writer does not wait.
        let mut writer = File::options().write(true).open(&path).expect("a reader is there");
        std::io::Write::write_all(&mut writer, b"[dispatch]\n").expect("there is room");
        fill(&pipe, &mut bytes, MOST, soon()).expect_err("it may write more");
        drop(writer);
        fill(&pipe, &mut bytes, MOST, soon()).expect("it has ended");
        assert_eq!(bytes, b"[dispatch]\n");
        std::fs::remove_file(&path).expect("it is there");
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
