//! The file: sections of several workers, one after another.
//!
//! ```text
//!   name and version (8) │ section │ section │ ...
//!
//!   section:  kind (1) │ worker (2) │ length (4) │ so many bytes        numbers: highest byte first
//!     1 about      once, first: lines of text `key value`
//!     2 entries    of this worker; the parts in their order are one recording
//!     3 news       of the process: when (8), in nanoseconds, and a line of text
//!     4 stop       why the file ends here: 1 the process ended, 2 the limit, 3 the disk is too slow
//! ```
//!
//! A file that was cut ends with its last whole section.

use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// What a file begins with: a name and the version of its format.
pub const FILE_MAGIC: &[u8; 8] = b"RWLOG\0\0\x01";

const ABOUT: u8 = 1;
const ENTRIES: u8 = 2;
const NEWS: u8 = 3;
const STOP: u8 = 4;

/// Why a recording ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stop {
    /// The process did.
    Ended = 1,
    /// The file was as large as it may be.
    Limit = 2,
    /// The disk took too long.
    Slow = 3,
}

/// What a section holds.
#[derive(Clone, Copy, Debug)]
pub enum Section<'a> {
    /// About the process: lines `key value`.
    About(&'a str),
    /// Entries of a worker.
    Entries(u16, &'a [u8]),
    /// What happened outside the workers: when, and what.
    News(Instant, &'a str),
    /// Nothing follows.
    Stop(Stop),
}

/// A section's bytes. It holds less than 4 GiB.
pub fn section(section: Section<'_>) -> Vec<u8> {
    let (kind, worker, time, body): (u8, u16, Option<Instant>, &[u8]) = match section {
        Section::About(text) => (ABOUT, 0, None, text.as_bytes()),
        Section::Entries(worker, entries) => (ENTRIES, worker, None, entries),
        Section::News(at, text) => (NEWS, 0, Some(at), text.as_bytes()),
        Section::Stop(why) => (STOP, 0, None, &[why as u8]),
    };
    let time = time.map(|at| at.as_nanos().to_be_bytes());
    let len = body.len() + time.map_or(0, |time| time.len());
    let mut out = Vec::with_capacity(7 + len);
    out.push(kind);
    out.extend_from_slice(&worker.to_be_bytes());
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(time.into_iter().flatten());
    out.extend_from_slice(body);
    out
}

/// Why bytes are no such file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It does not begin as one.
    NoRecording,
    /// It has another version of the format.
    Version(u8),
    /// A section is of no known kind, or holds what it cannot hold.
    Damaged {
        /// Where it begins.
        at: usize,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NoRecording => f.write_str("expected a recording of ropewalk, got another file"),
            FileError::Version(got) => {
                write!(f, "expected a recording of format version {}, got version {got}", FILE_MAGIC[7])
            }
            FileError::Damaged { at } => write!(f, "the recording is damaged at byte {at}"),
        }
    }
}

impl core::error::Error for FileError {}

/// A file, taken apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct File {
    /// About the process.
    pub about: Vec<(String, String)>,
    /// What each worker recorded.
    pub workers: BTreeMap<u16, Vec<u8>>,
    /// What happened outside the workers.
    pub news: Vec<(Instant, String)>,
    /// Why it ends; `None`: it was cut off, or is still being written.
    pub stop: Option<Stop>,
}

impl File {
    /// Takes a file apart. Of one that was cut, what is whole.
    ///
    /// # Errors
    /// [`FileError`] says what is wrong, and where.
    pub fn read(bytes: &[u8]) -> Result<File, FileError> {
        let (name, version) = FILE_MAGIC.split_at(7);
        if !bytes.starts_with(name) {
            return Err(FileError::NoRecording);
        }
        match bytes.get(7) {
            Some(got) if *got == version[0] => {}
            Some(got) => return Err(FileError::Version(*got)),
            None => return Err(FileError::NoRecording),
        }
        let mut file = File::default();
        let mut at = FILE_MAGIC.len();
        while let Some((&[kind, w1, w0, a, b, c, d], rest)) =
            bytes.get(at..).and_then(<[u8]>::split_first_chunk)
        {
            let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let Some(body) = rest.get(..len) else { break };
            file.take(kind, u16::from_be_bytes([w1, w0]), body).ok_or(FileError::Damaged { at })?;
            at += 7 + len;
        }
        Ok(file)
    }

    fn take(&mut self, kind: u8, worker: u16, body: &[u8]) -> Option<()> {
        match kind {
            ABOUT => {
                let lines = core::str::from_utf8(body).ok()?.lines();
                let pairs = lines.filter_map(|line| line.split_once(' '));
                self.about.extend(pairs.map(|(key, value)| (key.to_string(), value.to_string())));
            }
            ENTRIES => self.workers.entry(worker).or_default().extend_from_slice(body),
            NEWS => {
                let (at, text) = body.split_first_chunk::<8>()?;
                let text = core::str::from_utf8(text).ok()?;
                self.news.push((Instant::from_nanos(u64::from_be_bytes(*at)), text.to_string()));
            }
            STOP => {
                self.stop = Some(match body {
                    [1] => Stop::Ended,
                    [2] => Stop::Limit,
                    [3] => Stop::Slow,
                    _ => return None,
                });
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_is_read_back_and_one_that_was_cut_to_its_last_whole_section() {
        let sections = [
            Section::About("version 1\nuplink.0 wlan0 at home\n"),
            Section::Entries(0, b"ab"),
            Section::Entries(1, b"x"),
            Section::News(Instant::from_nanos(7), "wlan0 rests"),
            Section::Entries(0, b"c"),
            Section::Stop(Stop::Limit),
        ];
        let whole = [FILE_MAGIC.to_vec(), sections.into_iter().flat_map(section).collect()].concat();
        let file = File::read(&whole).expect("whole");
        assert_eq!(file.about[1], ("uplink.0".into(), "wlan0 at home".into()));
        assert_eq!(file.workers.values().collect::<Vec<_>>(), [&b"abc".to_vec(), &b"x".to_vec()]);
        assert_eq!(file.news, [(Instant::from_nanos(7), "wlan0 rests".to_string())]);
        assert_eq!(file.stop, Some(Stop::Limit));
        for cut in 8..whole.len() {
            assert_eq!(File::read(&whole[..cut]).expect("cut is not damaged").stop, None, "{cut}");
        }
        assert_eq!(File::read(b"RWLOG\0\0\x02"), Err(FileError::Version(2)));
        assert_eq!(File::read(b"\x7fELF"), Err(FileError::NoRecording));
        assert_eq!(File::read(b"RWLOG\0\0\x01\x09\0\0\0\0\0\0"), Err(FileError::Damaged { at: 8 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = File::read(&[FILE_MAGIC.to_vec(), bytes.clone()].concat());
            let _ = File::read(&bytes);
        }
    }
}
