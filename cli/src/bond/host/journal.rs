//! The records on disk: appended and synced one by one, each before its change.
//!
//! ```text
//!  STATE-DIR/host-client-4026531840           role, and number of the network namespace
//!    ropewalk-bond 1 BOOT-ID                  rules, filters and sysctls end with a boot, files do not
//!    server 192.0.2.1:4500
//!    filter ropewalk_bond_client
//!    ...
//! ```
//!
//! Invariants
//! - Whoever has the lock on the file is the one that changes things. The system takes it from the
//!   dead.
//! - A line without its end was not synced, so its change was not made: it counts as not there.
//! - The file is of mode 0600 in a directory that nobody else can write to, and no symbolic link.

use super::step::Record;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// No run writes as much.
const MAX: u64 = 1 << 20;
/// How a file begins; the number is that of the format.
const HEAD: &str = "ropewalk-bond 1";

/// So often is a lock asked for, each 10 ms.
const PATIENCE: u32 = 20;

/// Which end of a bond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Client,
    Server,
}

impl Role {
    pub(super) const ALL: [Role; 2] = [Role::Client, Role::Server];

    fn word(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A directory that nobody else can write to.
pub(super) struct StateDir {
    dir: OwnedFd,
    path: PathBuf,
    boot: String,
    /// The number of this network namespace.
    namespace: u64,
}

impl StateDir {
    /// Opens it; `make`: also where there is none yet.
    pub(super) fn open(path: &Path, make: bool) -> Result<Option<Self>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("cannot open {}: {error}", path.display());
        if make {
            use std::os::unix::fs::DirBuilderExt;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let dir = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|error| wrong(&error))?,
        };
        let about = rustix::fs::fstat(&dir).map_err(|error| wrong(&error))?;
        let (owner, mode) = (about.st_uid, about.st_mode & 0o7777);
        let own = rustix::process::geteuid().as_raw();
        if (owner != 0 && owner != own) || mode & 0o022 != 0 {
            return Err(format!(
                "{}: expected a directory of ours that nobody else can write to, got one of user {owner} \
                 with mode {mode:o}",
                path.display()
            ));
        }
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
        };
        let boot = read("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned();
        // Of this thread: tests are in several namespaces at once.
        let own = "/proc/thread-self/ns/net";
        let namespace =
            std::fs::metadata(own).map_err(|error| format!("cannot look at {own}: {error}"))?.ino();
        Ok(Some(StateDir { dir, path: path.to_owned(), boot, namespace }))
    }

    /// The journal of this namespace and role, locked; a new one where there is none. What another
    /// boot has left is not in it: see [`left`](Self::left).
    pub(super) fn journal(&self, role: Role) -> Result<Journal, String> {
        let name = format!("host-{}-{}", role.word(), self.namespace);
        match self.lock(&name, true)? {
            Lock::Had(journal) => Ok(journal),
            Lock::Missing | Lock::Taken => Err(format!(
                "a bond's {} runs in this network namespace with the same --state-dir, {}",
                role.word(),
                self.path.display()
            )),
        }
    }

    /// The same, if there is one; `Err` where it is in use.
    pub(super) fn existing(&self, role: Role) -> Result<Option<Journal>, String> {
        let name = format!("host-{}-{}", role.word(), self.namespace);
        match self.lock(&name, false)? {
            Lock::Had(journal) => Ok(Some(journal)),
            Lock::Missing => Ok(None),
            Lock::Taken => Err(format!(
                "a bond's {} is running here: stop it, and it puts back what it has changed",
                role.word()
            )),
        }
    }

    /// The records of this namespace and role; `None`: it runs.
    pub(super) fn look(&self, role: Role) -> Result<Option<Vec<Record>>, String> {
        let name = format!("host-{}-{}", role.word(), self.namespace);
        Ok(match self.lock(&name, false)? {
            Lock::Had(journal) => Some(journal.records),
            Lock::Missing => Some(Vec::new()),
            Lock::Taken => None,
        })
    }

    /// The journals that another boot or another namespace has left, and nobody uses.
    pub(super) fn left(&self) -> Result<Vec<Journal>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", self.path.display());
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir).map_err(|error| wrong(&error))? {
            let entry = entry.map_err(|error| wrong(&error))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let own = |role: &Role| {
                name.strip_prefix("host-")
                    .and_then(|rest| rest.strip_prefix(role.word()))
                    .and_then(|rest| rest.strip_prefix('-'))
            };
            let Some(namespace) =
                Role::ALL.iter().find_map(own).and_then(|number| number.parse::<u64>().ok())
            else {
                continue;
            };
            if let Lock::Had(journal) = self.lock(name, false)?
                && (namespace != self.namespace || journal.of_other_boot)
            {
                found.push(journal);
            }
        }
        Ok(found)
    }

    fn lock(&self, name: &str, make: bool) -> Result<Lock, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.join(name).display());
        let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if make {
            flags |= OFlags::CREATE;
        }
        loop {
            let file = match rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::NOENT) if !make => return Ok(Lock::Missing),
                Err(Errno::LOOP) => return Err(wrong(&"expected a file, got a symbolic link")),
                other => other.map_err(|error| wrong(&error))?,
            };
            if !try_lock(&file).map_err(|error| wrong(&error))? {
                return Ok(Lock::Taken);
            }
            // Who had it before may have removed it while we waited.
            let (ours, there) =
                (rustix::fs::fstat(&file), rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW));
            let ours = ours.map_err(|error| wrong(&error))?;
            if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)) {
                return self.read(name, file.into()).map(Lock::Had);
            }
        }
    }

    fn read(&self, name: &str, mut file: File) -> Result<Journal, String> {
        let path = self.path.join(name);
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let about = file.metadata().map_err(|error| wrong(&error))?;
        if !about.is_file() || about.len() > MAX {
            return Err(wrong(&"expected a journal of a bond, got something else"));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| wrong(&error))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines();
        let boot = match lines.next() {
            None => self.boot.clone(),
            Some(head) => match head.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix(' ')) {
                Some(boot) => boot.to_owned(),
                None => {
                    return Err(wrong(&format_args!("expected a first line '{HEAD} BOOT', got '{head}'")));
                }
            },
        };
        let records = lines.map(|line| Record::read(line).ok_or(line)).collect::<Result<Vec<_>, _>>();
        let records = records
            .map_err(|line| wrong(&format_args!("expected records of a bond, got the line '{line}'")))?;
        let dir = self.dir.try_clone().map_err(|error| wrong(&error))?;
        let of_other_boot = boot != self.boot;
        let mut journal =
            Journal { dir, path, name: name.to_owned(), file, length: whole as u64, records, of_other_boot };
        journal.file.set_len(journal.length).map_err(|error| journal.wrong(&error))?;
        if whole == 0 {
            journal.write(&format!("{HEAD} {}\n", self.boot))?;
            rustix::fs::fsync(&journal.dir).map_err(|error| journal.wrong(&error))?;
        }
        Ok(journal)
    }
}

/// Whether we have the lock now. A process that was killed while it started another one keeps it
/// until that one runs: a short while.
fn try_lock(file: &OwnedFd) -> Result<bool, Errno> {
    for _ in 0..PATIENCE {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other.map(|()| true),
        }
    }
    Ok(false)
}

enum Lock {
    Had(Journal),
    Missing,
    Taken,
}

/// A journal, and the lock on it.
pub(super) struct Journal {
    dir: OwnedFd,
    path: PathBuf,
    name: String,
    file: File,
    length: u64,
    records: Vec<Record>,
    /// It was written before a restart of the host: the routes and rules that it tells of are gone.
    pub(super) of_other_boot: bool,
}

impl Journal {
    /// What was changed, the first change first.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Puts it on disk, if nothing there undoes as much.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), String> {
        if self.records.iter().any(|older| record.is_covered_by(older)) {
            return Ok(());
        }
        self.write(&format!("{}\n", record.line()))?;
        self.records.push(record.clone());
        Ok(())
    }

    /// All is undone.
    pub(super) fn forget(self) -> Result<(), String> {
        let gone = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
        gone.and_then(|()| rustix::fs::fsync(&self.dir)).map_err(|error| self.wrong(&error))
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line must not be the beginning of the next.
            let _ = self.file.set_len(self.length);
            return Err(self.wrong(&error));
        }
        self.length += text.len() as u64;
        Ok(())
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> String {
        format!("{}: {error}", self.path.display())
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
