use super::super::sysctl::Sysctl;
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ropewalk-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Dir(dir)
    }

    fn open(&self) -> StateDir {
        StateDir::open(&self.0, true).expect("a temporary folder").expect("just made")
    }

    fn file(&self) -> PathBuf {
        fs::read_dir(&self.0).expect("ours").next().expect("a journal").expect("ours").path()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn server(port: u16) -> Record {
    Record::Server(([192, 0, 2, 1], port).into())
}

#[test]
fn what_was_appended_is_there_again_after_a_death() {
    let dir = Dir::new("death");
    let mut journal = dir.open().journal(Role::Client).expect("a journal");
    for record in [server(1), Record::Routes, server(1)] {
        journal.append(&record).expect("a disk");
    }
    drop(journal);
    let journal = dir.open().existing(Role::Client).expect("readable").expect("a journal");
    assert_eq!(journal.records(), [server(1), Record::Routes], "none stands there twice");
    assert_eq!(fs::metadata(dir.file()).expect("ours").permissions().mode() & 0o777, 0o600);
    journal.forget().expect("ours");
    assert!(dir.open().existing(Role::Client).expect("readable").is_none());
}

#[test]
fn the_oldest_value_of_a_sysctl_is_what_it_was() {
    let dir = Dir::new("oldest");
    let name = Sysctl::of("ipv4", "eth0", "rp_filter");
    let record = |old: &str| Record::Sysctl { name: name.clone(), old: old.into(), new: "2".into() };
    let mut journal = dir.open().journal(Role::Client).expect("a journal");
    journal.append(&record("1")).expect("a disk");
    journal.append(&record("2")).expect("a disk");
    assert_eq!(journal.records(), [record("1")]);
}

#[test]
fn a_line_that_was_cut_off_anywhere_is_not_there() {
    let dir = Dir::new("torn");
    let mut journal = dir.open().journal(Role::Client).expect("a journal");
    journal.append(&server(1)).expect("a disk");
    let sound = fs::metadata(dir.file()).expect("ours").len();
    journal.append(&server(65535)).expect("a disk");
    drop(journal);
    let whole = fs::read(dir.file()).expect("ours");
    for end in 0..whole.len() {
        fs::write(dir.file(), &whole[..end]).expect("ours");
        let mut journal = dir.open().journal(Role::Client).expect("a journal");
        let expected = if end as u64 >= sound { vec![server(1)] } else { Vec::new() };
        assert_eq!(journal.records(), expected, "cut after {end} bytes");
        // The next line begins on a line of its own.
        journal.append(&Record::Routes).expect("a disk");
        drop(journal);
        let journal = dir.open().journal(Role::Client).expect("a journal");
        assert_eq!(journal.records().last(), Some(&Record::Routes), "cut after {end} bytes");
    }
}

#[test]
fn who_runs_keeps_others_out() {
    let dir = Dir::new("lock");
    let journal = dir.open().journal(Role::Client).expect("a journal");
    assert!(dir.open().journal(Role::Client).is_err_and(|error| error.contains("client runs")));
    assert!(dir.open().existing(Role::Client).is_err_and(|error| error.contains("stop it")));
    assert!(dir.open().left().expect("readable").is_empty());
    dir.open().journal(Role::Server).expect("a server is another thing").forget().expect("ours");
    drop(journal);
    assert!(dir.open().existing(Role::Client).is_ok_and(|found| found.is_some()));
}

#[test]
fn another_boots_journal_is_left_over_and_another_namespaces_too() {
    let dir = Dir::new("boot");
    drop(dir.open().journal(Role::Client).expect("a journal"));
    fs::write(dir.file(), "ropewalk-bond 1 another-boot\nroutes\n").expect("ours");
    fs::write(dir.0.join("host-server-1"), "").expect("ours");
    fs::write(dir.0.join("host-words"), "none of ours").expect("ours");
    let left = dir.open().left().expect("readable");
    let mut boots: Vec<bool> = left.iter().map(|journal| journal.of_other_boot).collect();
    boots.sort_unstable();
    assert_eq!(boots, [false, true]);
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let dir = Dir::new("link");
    drop(dir.open().journal(Role::Client).expect("a journal"));
    let (file, foreign) = (dir.file(), dir.0.join("foreign"));
    fs::rename(&file, &foreign).expect("ours");
    let before = fs::read(&foreign).expect("ours");
    std::os::unix::fs::symlink(&foreign, &file).expect("ours");
    let refused = dir.open().journal(Role::Client);
    assert!(refused.is_err_and(|error| error.contains("symbolic link")));
    assert_eq!(fs::read(&foreign).expect("ours"), before);
}

#[test]
fn a_directory_that_others_write_to_is_refused() {
    let dir = Dir::new("open");
    drop(dir.open());
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).expect("ours");
    let refused = StateDir::open(&dir.0, true).map(|_| ());
    assert!(refused.is_err_and(|error| error.contains("nobody else can write to") && error.contains("777")));
}

#[test]
fn what_is_no_journal_is_refused_with_its_line() {
    let dir = Dir::new("strange");
    drop(dir.open().journal(Role::Client).expect("a journal"));
    let head = fs::read_to_string(dir.file()).expect("ours");
    for (text, word) in
        [("#!/bin/sh\n".to_owned(), "#!/bin/sh"), (format!("{head}filter docker\n"), "filter docker")]
    {
        fs::write(dir.file(), text).expect("ours");
        let refused = dir.open().journal(Role::Client).map(|_| ());
        assert!(refused.is_err_and(|error| error.contains(word)), "{word}");
    }
}
