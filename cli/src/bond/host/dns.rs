//! resolv.conf: what was there, what we write, and how it is written and put back.

use super::step::{escaped, unescaped};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// No sane file is larger; a journal takes no more.
const MAX: u64 = 64 << 10;

/// What stands at the path of resolv.conf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ResolvConf {
    /// Nothing.
    Missing,
    /// A symbolic link, and where it leads. Who keeps the file there goes on keeping it.
    Link(Vec<u8>),
    /// A file.
    File { mode: u32, owner: u32, group: u32, content: Vec<u8> },
}

impl ResolvConf {
    /// What is at `path`.
    pub(super) fn look(path: &Path) -> Result<Self, String> {
        let wrong = |error: io::Error| format!("cannot read {}: {error}", path.display());
        let about = match fs::symlink_metadata(path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ResolvConf::Missing),
            Err(error) => return Err(wrong(error)),
        };
        if about.is_symlink() {
            let target = fs::read_link(path).map_err(wrong)?;
            return Ok(ResolvConf::Link(target.into_os_string().into_vec()));
        }
        if !about.is_file() || about.len() > MAX {
            return Err(format!(
                "{}: expected a file of at most {MAX} bytes or a symbolic link to one; use --dns keep",
                path.display()
            ));
        }
        let content = fs::read(path).map_err(wrong)?;
        Ok(ResolvConf::File { mode: about.mode() & 0o7777, owner: about.uid(), group: about.gid(), content })
    }

    /// Puts it at `path`, in one step where the system allows that.
    pub(super) fn put(&self, path: &Path) -> Result<(), String> {
        let done = match self {
            ResolvConf::Missing => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            ResolvConf::Link(target) => fresh(path)
                .and_then(|draft| symlink(OsStr::from_bytes(target), &draft).map(|()| draft))
                .and_then(|draft| fs::rename(draft, path)),
            ResolvConf::File { mode, owner, group, content } => {
                let draft = fresh(path).and_then(|draft| {
                    let mut file =
                        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
                    file.write_all(content)?;
                    let about = file.metadata()?;
                    // A service's sandbox may have no chown(2), and rarely needs it.
                    if (about.uid(), about.gid()) != (*owner, *group) {
                        chown(&draft, Some(*owner), Some(*group))?;
                    }
                    file.set_permissions(fs::Permissions::from_mode(*mode))?;
                    file.sync_all().map(|()| draft)
                });
                draft.and_then(|draft| match fs::rename(&draft, path) {
                    // A container has it mounted: it can be written, not replaced.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
                        ) =>
                    {
                        let _ = fs::remove_file(&draft);
                        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path)?;
                        file.write_all(content).and_then(|()| file.sync_all())
                    }
                    other => other,
                })
            }
        };
        done.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// As words of a journal's line.
    pub(super) fn words(&self) -> String {
        match self {
            ResolvConf::Missing => "missing".into(),
            ResolvConf::Link(target) => format!("link {}", escaped(target)),
            ResolvConf::File { mode, owner, group, content } => {
                format!("file {mode:o} {owner} {group} {}", escaped(content))
            }
        }
    }

    /// What [`words`](Self::words) said.
    pub(super) fn read_words(words: &[&str]) -> Option<Self> {
        match *words {
            ["missing"] => Some(ResolvConf::Missing),
            ["link", target] => unescaped(target).filter(|target| !target.is_empty()).map(ResolvConf::Link),
            ["file", mode, owner, group, content] => Some(ResolvConf::File {
                mode: u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?,
                owner: owner.parse().ok()?,
                group: group.parse().ok()?,
                content: unescaped(content)?,
            }),
            _ => None,
        }
    }

    /// Whether it is a file with these bytes, or with some of them: a writer may have been killed.
    pub(super) fn is_written(&self, ours: &[u8]) -> bool {
        matches!(self, ResolvConf::File { content, .. } if ours.starts_with(content))
    }
}

/// A name beside `path` that nothing has. What a killed run left there goes.
fn fresh(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(".ropewalk");
    let draft = path.with_file_name(name);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(draft),
    }
}

/// What we write.
pub(super) fn text(servers: &[IpAddr]) -> Vec<u8> {
    let mut text = String::from(
        "# By ropewalk bond. What was here comes back when it ends, or by: ropewalk bond restore\n",
    );
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    text.into_bytes()
}

/// The name servers that a resolv.conf tells (resolv.conf(5)).
pub(super) fn servers(content: &[u8]) -> Vec<IpAddr> {
    let text = String::from_utf8_lossy(content);
    let word = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        // A scope may follow: fe80::1%eth0.
        (words.next() == Some("nameserver")).then(|| words.next()?.split('%').next()?.parse().ok())?
    };
    text.lines().filter_map(word).collect()
}

/// Whether names asked for by this file go to systemd-resolved's stub, which asks the name servers
/// of links (systemd-resolved(8)).
pub(super) fn leads_to_resolved(content: &[u8]) -> bool {
    let stubs = [[127, 0, 0, 53], [127, 0, 0, 54]];
    let stub = |server: &IpAddr| matches!(server, IpAddr::V4(ip) if stubs.contains(&ip.octets()));
    let servers = servers(content);
    !servers.is_empty() && servers.iter().all(stub)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("ropewalk-dns-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).expect("a temporary folder");
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_there_comes_back_whatever_it_was() {
        let dir = Dir::new("back");
        let path = dir.0.join("resolv.conf");
        let file = ResolvConf::File {
            mode: 0o640,
            owner: own().0,
            group: own().1,
            content: b"nameserver ::1\n".into(),
        };
        for old in [ResolvConf::Missing, ResolvConf::Link(b"../run/x".into()), file] {
            old.put(&path).expect("a folder of ours");
            assert_eq!(ResolvConf::look(&path), Ok(old.clone()));
            let ours = ResolvConf::File { mode: 0o644, owner: own().0, group: own().1, content: text(&[]) };
            ours.put(&path).expect("a folder of ours");
            assert_eq!(ResolvConf::look(&path), Ok(ours));
            old.put(&path).expect("a folder of ours");
            assert_eq!(ResolvConf::look(&path), Ok(old));
        }
        assert_eq!(fs::read_dir(&dir.0).expect("ours").count(), 1, "no draft is left");
    }

    fn own() -> (u32, u32) {
        let about = fs::metadata("/proc/self").expect("Linux");
        (about.uid(), about.gid())
    }

    #[test]
    fn a_link_is_replaced_and_never_written_through() {
        let dir = Dir::new("link");
        let (path, kept) = (dir.0.join("resolv.conf"), dir.0.join("kept"));
        fs::write(&kept, "foreign").expect("a folder of ours");
        symlink(&kept, &path).expect("a folder of ours");
        let ours = ResolvConf::File { mode: 0o644, owner: own().0, group: own().1, content: text(&[]) };
        ours.put(&path).expect("a folder of ours");
        assert_eq!(fs::read(&kept).expect("ours"), b"foreign");
    }

    #[test]
    fn a_file_that_was_half_written_is_ours_and_a_longer_one_is_not() {
        let file =
            |content: &[u8]| ResolvConf::File { mode: 0o644, owner: 0, group: 0, content: content.into() };
        for (content, written) in
            [(&b"abc"[..], true), (b"ab", true), (b"", true), (b"abcd", false), (b"b", false)]
        {
            assert_eq!(file(content).is_written(b"abc"), written);
        }
        assert!(!ResolvConf::Missing.is_written(b"abc"));
    }

    #[test]
    fn the_stub_of_resolved_is_told_from_other_servers() {
        assert!(leads_to_resolved(b"# x\nnameserver 127.0.0.53\noptions edns0\n"));
        assert!(!leads_to_resolved(b"nameserver 127.0.0.53\nnameserver 192.0.2.1\n"));
        assert!(!leads_to_resolved(b"nameserver 127.0.0.1\n"));
        assert!(!leads_to_resolved(b""));
        let two = servers(b"nameserver fe80::1%eth0\n#nameserver 1.1.1.1\n nameserver\t10.0.0.1 x\n");
        assert_eq!(two, ["fe80::1", "10.0.0.1"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
    }
}
