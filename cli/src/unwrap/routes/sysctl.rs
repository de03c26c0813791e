//! Sysctls of this network namespace, and the file that remembers what they were.

use super::plan::{SYSCTLS, Sysctl};
use std::fs;
use std::io::{self, Write};
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
pub(crate) struct State {
    path: PathBuf,
    pub(crate) old: Vec<(Sysctl, String)>,
}

impl State {
    /// The one of this network namespace, in `dir`; none is an empty one.
    pub(crate) fn load(dir: &Path) -> Result<Self, String> {
        let own = "/proc/self/ns/net";
        let number = fs::metadata(own).map_err(|error| format!("cannot look at {own}: {error}"))?.ino();
        let path = dir.join(format!("unwrap-sysctls-{number}"));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let old = text.lines().map(line).collect::<Result<_, _>>();
        let old = old.map_err(|got| {
            format!("{}: expected lines such as {}=0, got '{got}'", path.display(), SYSCTLS[0].0)
        })?;
        Ok(State { path, old })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it whole or not at all; an empty one is no file.
    pub(crate) fn save(&self) -> Result<(), String> {
        let about = |error: io::Error| format!("cannot write {}: {error}", self.path.display());
        if self.old.is_empty() {
            // What a killed run has left of its writing goes too.
            let _ = fs::remove_file(self.draft());
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about(error)),
                _ => Ok(()),
            };
        }
        let dir = self.path.parent().expect("a name in a directory");
        fs::create_dir_all(dir).map_err(about)?;
        let draft = self.draft();
        let written = fs::File::create(&draft).and_then(|mut file| {
            file.write_all(self.text().as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&draft, &self.path)).map_err(about)
    }

    fn draft(&self) -> PathBuf {
        self.path.with_extension("new")
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
        let dir = quoted(self.path.parent().expect("a name in a directory"));
        let lines: Vec<String> = self.old.iter().map(|(sysctl, old)| format!("{}={old}", sysctl.0)).collect();
        vec![format!("mkdir -p {dir}"), format!("printf '%s\\n' {} > {path}", lines.join(" "))]
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
    fn a_path_is_safe_in_a_shell() {
        assert_eq!(quoted(Path::new("/run/ropewalk")), "/run/ropewalk");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
