//! `--dry-run` says what would be done, in commands that do it.

use crate::common::{has, here};
use crate::host::Host;

const LINES: [&str; 3] = [
    "-4 127.0.0.1:25578 -6 [::1]:25578-25580",
    "-4 127.0.0.1:53 -6 [::1]:53 -p udp -p tcp --table 7 --priority 9",
    "--mark 123",
];

#[test]
fn a_dry_run_changes_nothing() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    for line in LINES {
        assert_ne!(host.unwrap("setup", &format!("{line} --dry-run")), "");
        assert_eq!((host.dump(), host.remembered()), (before.clone(), None), "{line}");
    }
    host.unwrap("setup", LINES[2]);
    let (before, remembered) = (host.dump(), host.remembered());
    assert_ne!(host.unwrap("teardown", "--dry-run"), "");
    assert_eq!((host.dump(), host.remembered()), (before, remembered));
}

#[test]
fn the_commands_of_a_dry_run_do_what_the_command_does() {
    if !has(here!(), "sysctl") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    for line in LINES {
        let commands = host.unwrap("setup", &format!("{line} --dry-run"));
        assert_eq!(host.unwrap("setup", line), commands, "it says the same when it does it");
        let after = (host.dump(), host.remembered());
        let undoing = host.unwrap("teardown", "--dry-run");
        assert_eq!(host.unwrap("teardown", ""), undoing, "it says the same when it does it");
        host.shell(&commands);
        assert_eq!((host.dump(), host.remembered()), after, "{commands}");
        assert_eq!(host.unwrap("setup", line), "", "its own commands leave nothing to do");
        host.shell(&undoing);
        assert_eq!((host.dump(), host.remembered()), (before.clone(), None), "{undoing}");
    }
}

#[test]
fn a_dry_run_needs_no_privilege() {
    let Some(host) = Host::new(here!()) else { return };
    let (code, said) = host.as_nobody("unwrap setup -4 127.0.0.1:1 --dry-run");
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
}
