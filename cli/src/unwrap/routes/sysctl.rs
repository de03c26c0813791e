//! Sysctls of this network namespace, and the file that remembers what they were.

use super::plan::{SYSCTLS, Sysctl};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The value it has now.
pub(crate) fn read(sysctl: Sysctl) -> Result<String, String> {
    let path = path(sysctl);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}; does this kernel have it?", path.display()))?;
    Ok(text.trim_end().to_owned())
}

pub(crate) fn write(sysctl: Sysctl, value: &str) -> Result<(), String> {
    let path = path(sysctl);
    fs::write(&path, value).map_err(|error| format!("cannot set {}={value}: {error}", sysctl.0))
}

fn path(sysctl: Sysctl) -> PathBuf {
    Path::new("/proc/sys").join(sysctl.0.replace('.', "/"))
}

/// What sysctls were before we set them: lines `name=old`.
///
/// The directory is opened once and never by a symbolic link, nor is a file in it: whoever may
/// write there could lead root to a file of their choice.
pub(crate) struct State {
    dir: PathBuf,
    name: String,
    path: PathBuf,
    pub(crate) old: Vec<(Sysctl, String)>,
}

impl State {
    /// The one of this network namespace, in `dir`; none is an empty one.
    pub(crate) fn load(dir: &Path) -> Result<Self, String> {
        let own = "/proc/self/ns/net";
        let number = fs::metadata(own).map_err(|error| format!("cannot look at {own}: {error}"))?.ino();
        let name = format!("unwrap-sysctls-{number}");
        let path = dir.join(&name);
        let text = match open_dir(dir).and_then(|dir| read_at(&dir, &name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let old = text.lines().map(line).collect::<Result<_, _>>();
        let old = old.map_err(|got| {
            format!("{}: expected lines such as {}=0, got '{got}'", path.display(), SYSCTLS[0].0)
        })?;
        Ok(State { dir: dir.to_owned(), name, path, old })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it whole or not at all; an empty one is no file.
    pub(crate) fn save(&self) -> Result<(), String> {
        let saved = if self.old.is_empty() { self.remove() } else { self.write() };
        saved.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }

    fn remove(&self) -> io::Result<()> {
        let dir = match open_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            dir => dir?,
        };
        // What a killed run has left of its writing goes too.
        remove_at(&dir, &self.draft())?;
        remove_at(&dir, &self.name)
    }

    fn write(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let dir = open_dir(&self.dir)?;
        let draft = self.draft();
        remove_at(&dir, &draft)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = fs::File::from(openat(&dir, &draft, flags, Mode::from_raw_mode(0o644))?);
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        Ok(renameat(&dir, &draft, &dir, &self.name)?)
    }

    fn draft(&self) -> String {
        format!("{}.new", self.name)
    }

    fn text(&self) -> String {
        self.old.iter().map(|(sysctl, old)| format!("{}={old}\n", sysctl.0)).collect()
    }

    /// The commands that do what [`save`](Self::save) does.
    pub(crate) fn commands(&self) -> Vec<String> {
        let path = quoted(&self.path);
        if self.old.is_empty() {
            return vec![format!("rm -f {path}")];
        }
        let dir = quoted(&self.dir);
        let lines: Vec<String> = self.old.iter().map(|(sysctl, old)| format!("{}={old}", sysctl.0)).collect();
        vec![format!("mkdir -p {dir}"), format!("printf '%s\\n' {} > {path}", lines.join(" "))]
    }
}

/// The directory itself, not one that a link leads to; nobody but its owner, root or ourselves, may
/// write in it.
fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, dir, flags, Mode::empty())?;
    let found = fstat(&opened)?;
    let owned = found.st_uid == 0 || found.st_uid == rustix::process::geteuid().as_raw();
    if !owned || found.st_mode & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "expected a directory in which only root writes, got mode {:o} of user {}",
            found.st_mode & 0o7777,
            found.st_uid
        )));
    }
    Ok(opened)
}

fn read_at(dir: &OwnedFd, name: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut text = String::new();
    fs::File::from(openat(dir, name, flags, Mode::empty())?).read_to_string(&mut text)?;
    Ok(text)
}

fn remove_at(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A line of the file. Only what setup changes is taken from it, and only the values these can
/// have: a forged file cannot make a teardown write something else.
fn line(text: &str) -> Result<(Sysctl, String), String> {
    let (name, old) = text.split_once('=').ok_or(text)?;
    let sysctl = SYSCTLS.into_iter().find(|sysctl| sysctl.0 == name).ok_or(text)?;
    match old.parse::<u8>() {
        Ok(_) => Ok((sysctl, old.to_owned())),
        Err(_) => Err(text.to_owned()),
    }
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_setup_writes_are_read() {
        assert_eq!(line("net.ipv4.fwmark_reflect=0"), Ok((Sysctl("net.ipv4.fwmark_reflect"), "0".into())));
        for bad in ["net.ipv4.ip_forward=1", "net.ipv4.fwmark_reflect", "net.ipv4.fwmark_reflect=x", ""] {
            assert_eq!(line(bad), Err(bad.to_owned()));
        }
    }

    #[test]
    fn a_state_that_is_saved_is_loaded_again_and_an_empty_one_leaves_nothing() {
        let dir = std::env::temp_dir().join(format!("ropewalk-state-{}", std::process::id()));
        let mut state = State::load(&dir).expect("none yet");
        assert!(state.old.is_empty());
        state.old.push((SYSCTLS[1], "0".into()));
        state.save().expect("a directory of our own");
        let again = State::load(&dir).expect("just written");
        assert_eq!(again.old, [(SYSCTLS[1], "0".to_owned())]);
        state.old.clear();
        state.save().expect("a directory of our own");
        assert_eq!(fs::read_dir(&dir).expect("made above").count(), 0);
        fs::remove_dir(&dir).expect("empty");
    }

    #[test]
    fn no_link_is_followed_and_no_foreign_directory_is_used() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let top = std::env::temp_dir().join(format!("ropewalk-links-{}", std::process::id()));
        let (dir, link, victim) = (top.join("dir"), top.join("link"), top.join("victim"));
        fs::create_dir_all(&dir).expect("our own");
        fs::write(&victim, "kept").expect("our own");
        symlink(&dir, &link).expect("our own");
        assert!(State::load(&link).is_err(), "the directory is a link");
        let mut state = State::load(&dir).expect("none yet");
        state.old.push((SYSCTLS[1], "0".into()));
        // Neither the draft nor the file leads elsewhere.
        symlink(&victim, dir.join(state.draft())).expect("our own");
        state.save().expect("the link is replaced");
        fs::remove_file(state.path()).expect("just written");
        symlink(&victim, state.path()).expect("our own");
        assert!(State::load(&dir).is_err(), "the file is a link");
        state.save().expect("the link is replaced");
        assert_eq!(fs::read_to_string(&victim).expect("our own"), "kept");
        assert!(fs::symlink_metadata(state.path()).expect("just written").is_file());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("our own");
        let told = State::load(&dir).err().unwrap_or_default();
        assert!(told.contains("only root writes, got mode 777"), "{told}");
        fs::remove_dir_all(&top).expect("our own");
    }

    #[test]
    fn a_path_is_safe_in_a_shell() {
        assert_eq!(quoted(Path::new("/run/ropewalk")), "/run/ropewalk");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
