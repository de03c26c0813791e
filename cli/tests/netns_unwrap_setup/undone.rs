//! Setup and teardown leave no trace, also when they are killed.

use crate::common::here;
use crate::host::{Host, SYSCTLS};
use std::time::Duration;

const LINES: [&str; 5] = [
    "-4 127.0.0.1:25578 -6 [::1]:25578",
    "-4 127.0.0.1:80-90 -4 127.0.0.2:80 -p tcp --table 100 --priority 5",
    "-4 127.0.0.1:53 -6 [::1]:53 -p udp -p tcp",
    "-4 127.0.0.1:53 -p udp --udp-bound-server",
    "--mark 0x7b",
];

/// A host on which others have been before.
fn lived_in(test: &str) -> Option<Host> {
    let host = Host::new(test)?;
    host.ns.ip("rule add priority 100 fwmark 9 lookup 100\n\
         rule add priority 292 from 127.0.0.1 iif lo ipproto tcp sport 25578 lookup 29303\n\
         -6 rule add priority 32000 from 2001:db8::/32 lookup 200 protocol 4\n\
         route add local 10.0.0.0/8 dev lo table 200\n\
         route add local default dev lo table 201\n\
         -6 route add local default dev lo table 201 proto 4\n");
    Some(host)
}

#[test]
fn a_teardown_leaves_everything_as_it_was_before_the_setup() {
    let Some(host) = lived_in(here!()) else { return };
    let before = host.dump();
    for line in LINES {
        host.unwrap("setup", line);
        assert_ne!(host.dump(), before, "{line}");
        host.unwrap("teardown", "");
        assert_eq!(host.dump(), before, "{line}");
        assert_eq!(host.remembered(), None, "{line}");
    }
}

#[test]
fn a_second_setup_or_teardown_changes_nothing() {
    let Some(host) = lived_in(here!()) else { return };
    let before = host.dump();
    for line in LINES {
        host.unwrap("setup", line);
        let (once, remembered) = (host.dump(), host.remembered());
        assert_eq!(host.unwrap("setup", line), "", "{line}");
        assert_eq!((host.dump(), host.remembered()), (once, remembered), "{line}");
        host.unwrap("teardown", "");
        assert_eq!(host.unwrap("teardown", ""), "");
        assert_eq!(host.dump(), before, "{line}");
    }
}

#[test]
fn targets_can_be_added_and_go_together() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    host.unwrap("setup", "-4 127.0.0.1:1");
    let added = host.unwrap("setup", "-4 127.0.0.1:1 -4 127.0.0.1:2 -6 [::1]:1");
    assert_eq!(added.lines().count(), 3, "{added}");
    host.unwrap("setup", "--mark 5");
    host.unwrap("teardown", "");
    assert_eq!(host.dump(), before);
}

#[test]
fn a_wider_rule_takes_the_place_of_a_narrower_one() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    let line = "-4 127.0.0.1:53 -6 [::1]:53 -p udp";
    host.unwrap("setup", line);
    let wide = host.dump();
    host.unwrap("teardown", "");
    host.unwrap("setup", &format!("{line} --udp-bound-server"));
    let steps = host.unwrap("setup", &format!("{line} --dry-run"));
    host.unwrap("setup", line);
    assert_eq!(host.dump(), wide);
    host.unwrap("teardown", "");
    host.unwrap("setup", &format!("{line} --udp-bound-server"));
    host.shell(&steps);
    assert_eq!(host.dump(), wide, "{steps}");
    // The other way round both are there, and both go.
    host.unwrap("setup", &format!("{line} --udp-bound-server"));
    let steps = host.unwrap("teardown", "--dry-run");
    host.unwrap("teardown", "");
    assert_eq!(host.dump(), before);
    host.unwrap("setup", line);
    host.unwrap("setup", &format!("{line} --udp-bound-server"));
    host.shell(&steps);
    assert_eq!(host.dump(), before, "{steps}");
}

#[test]
fn rules_of_somebody_else_that_are_narrower_or_wider_stay() {
    let Some(host) = Host::new(here!()) else { return };
    host.ns.ip("rule add priority 293 from 127.0.0.1 iif lo ipproto udp sport 53 lookup 29303 protocol 4\n\
         rule add priority 293 iif lo ipproto tcp sport 53 lookup 29303\n\
         -6 rule add priority 293 from ::1 iif lo ipproto udp sport 53 lookup 29303 protocol 4\n");
    let before = host.dump();
    host.unwrap("setup", "-4 127.0.0.1:53 -6 [::1]:53 -p udp -p tcp");
    assert_ne!(host.dump(), before);
    host.unwrap("teardown", "");
    assert_eq!(host.dump(), before);
}

#[test]
fn a_setup_that_was_cut_off_anywhere_can_be_finished_or_torn_down() {
    let Some(host) = lived_in(here!()) else { return };
    let before = host.dump();
    for line in LINES {
        let steps = host.unwrap("setup", &format!("{line} --dry-run"));
        let steps: Vec<&str> = steps.lines().collect();
        host.unwrap("setup", line);
        let whole = host.dump();
        host.unwrap("teardown", "");
        for done in 0..=steps.len() {
            host.shell(&steps[..done].join("\n"));
            host.unwrap("teardown", "");
            assert_eq!(host.dump(), before, "torn down after {done} of {steps:#?}");
            host.shell(&steps[..done].join("\n"));
            host.unwrap("setup", line);
            assert_eq!(host.dump(), whole, "finished after {done} of {steps:#?}");
            host.unwrap("teardown", "");
            assert_eq!(host.dump(), before, "torn down after {done} of {steps:#?} and a setup");
            assert_eq!(host.remembered(), None);
        }
    }
}

#[test]
fn a_teardown_that_was_cut_off_anywhere_can_be_finished() {
    let Some(host) = lived_in(here!()) else { return };
    let before = host.dump();
    for line in LINES {
        host.unwrap("setup", line);
        let steps = host.unwrap("teardown", "--dry-run");
        let steps: Vec<&str> = steps.lines().collect();
        for done in 0..=steps.len() {
            host.unwrap("setup", line);
            host.shell(&steps[..done].join("\n"));
            host.unwrap("teardown", "");
            assert_eq!(host.dump(), before, "after {done} of {steps:#?}");
        }
    }
}

#[test]
fn a_setup_that_is_killed_leaves_nothing_that_a_teardown_does_not_find() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    for round in 0..40 {
        let command = if round % 4 == 3 { "teardown" } else { "setup" };
        let mut child = host.start(command, if command == "setup" { "--mark 5" } else { "" });
        std::thread::sleep(Duration::from_micros(100 * (round / 2)));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        if round % 3 == 0 {
            host.unwrap("setup", "--mark 5");
        }
        if round % 5 == 0 {
            host.unwrap("teardown", "");
            assert_eq!(host.dump(), before, "round {round}");
        }
    }
    host.unwrap("teardown", "");
    assert_eq!((host.dump(), host.remembered()), (before, None));
}

#[test]
fn a_sysctl_that_was_set_before_stays_set() {
    let Some(host) = Host::new(here!()) else { return };
    host.ns.set(SYSCTLS[1], "1");
    let before = host.dump();
    host.unwrap("setup", "--mark 5");
    assert_eq!(SYSCTLS.map(|key| host.sysctl(key)), ["1", "1", "1"]);
    host.unwrap("teardown", "");
    assert_eq!(host.dump(), before);
}

#[test]
fn a_sysctl_that_somebody_changed_since_is_theirs() {
    let Some(host) = Host::new(here!()) else { return };
    host.unwrap("setup", "--mark 5");
    host.ns.set(SYSCTLS[1], "2");
    let outcome = host.attempt("teardown", "");
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("net.ipv4.fwmark_reflect stays 2"), "{}", outcome.stderr);
    assert_eq!(SYSCTLS.map(|key| host.sysctl(key)), ["0", "2", "0"]);
}

#[test]
fn what_another_namespace_remembered_is_not_used() {
    let Some(host) = Host::new(here!()) else { return };
    // A namespace that was set up is gone, and this one has got its number.
    host.unwrap("setup", "--mark 5");
    host.ns.ip("rule flush priority 293\n-6 rule flush priority 293\nroute flush table 29303\n\
                -6 route flush table 29303\n");
    let before = host.dump();
    assert!(host.remembered().is_some());
    let outcome = host.attempt("teardown", "");
    assert!(outcome.code == Some(0) && outcome.stderr.contains("that of another"), "{}", outcome.stderr);
    assert_eq!(host.dump(), before);
    host.unwrap("setup", "-4 127.0.0.1:1");
    assert_eq!(host.remembered(), None);
    host.unwrap("teardown", "");
    assert_eq!(host.dump(), before);
}

#[test]
fn a_teardown_without_the_state_says_that_the_sysctls_stay() {
    let Some(host) = Host::new(here!()) else { return };
    host.unwrap("setup", "--mark 5");
    std::fs::remove_dir_all(host.state_dir()).expect("our own");
    let outcome = host.attempt("teardown", "");
    assert!(outcome.stderr.contains("remembers no sysctl: they stay as they are"), "{}", outcome.stderr);
    assert_eq!(SYSCTLS.map(|key| host.sysctl(key)), ["1", "1", "1"]);
}

#[test]
fn a_teardown_of_one_table_leaves_the_others() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    host.unwrap("setup", "-4 127.0.0.1:1 -p udp");
    let first = host.dump();
    host.ns.ip("addr add 127.9.9.9/8 dev lo");
    host.unwrap("setup", "-4 127.9.9.9:2 -p udp --table 77");
    host.unwrap("teardown", "--table 77");
    host.ns.ip("addr del 127.9.9.9/8 dev lo");
    assert_eq!(host.dump(), first);
    host.unwrap("setup", "--mark 5 --table 78");
    host.unwrap("teardown", "--table 29303");
    assert_eq!(SYSCTLS.map(|key| host.sysctl(key)), ["1", "1", "1"]);
    host.unwrap("teardown", "--table 78");
    assert_eq!(host.dump(), before);
}
