//! An error of the command line says what was expected, what came, and where.

use crate::common::Scratch;
use crate::common::proxy::run;

/// Runs `dispatch` with `args`; it must fail, say all of `words`, and not panic.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let mut all = vec!["dispatch"];
    all.extend(args);
    let outcome = run(&all);
    assert!(outcome.code.is_some_and(|code| code != 0 && code != 101), "{args:?}: {:?}", outcome.code);
    for word in words {
        assert!(outcome.stderr.contains(word), "{args:?}: expected {word:?} in:\n{}", outcome.stderr);
    }
    assert_eq!(outcome.stdout, "", "{args:?}: errors go to standard error");
    assert!(!outcome.stderr.contains("listening on"), "{args:?}: it said so too early:\n{}", outcome.stderr);
}

#[test]
fn a_bad_weight_is_told_with_its_range() {
    refused(&["wlan0@0"], &["expected", "from 1 to 65535", "wlan0@0", "got \"0\""]);
    refused(&["wlan0@many"], &["expected", "from 1 to 65535", "got \"many\""]);
}

#[test]
fn an_address_that_this_host_does_not_have_is_told() {
    refused(&["203.0.113.77"], &["expected an address of this host", "got 203.0.113.77"]);
    refused(&["203.0.113.256"], &["expected an IPv4 or IPv6 address", "203.0.113.256"]);
    refused(&["127.0.0.1:7777"], &["expected an address of this host without a port", "--tunnel"]);
}

#[test]
fn the_same_uplink_twice_is_told_with_both_places() {
    refused(&["lo@2", "lo@3"], &["expected each uplink once", "position 1", "position 2", "lo@5"]);
}

#[test]
fn a_place_to_listen_that_is_none_is_told() {
    refused(&["--listen", "localhost:1"], &["expected ADDRESS:PORT", "got 'localhost:1'", "--listen"]);
    refused(&["--listen", "127.0.0.1:65536"], &["expected ADDRESS:PORT", "got '127.0.0.1:65536'"]);
}

#[test]
fn a_time_that_is_none_is_told() {
    for bad in ["0", "-1", "soon", "nan", "inf"] {
        let flag = format!("--handshake-timeout={bad}");
        refused(&[&flag], &["expected a number of seconds above 0", &format!("got '{bad}'")]);
    }
}

#[test]
fn numbers_out_of_range_are_told_with_the_range() {
    refused(&["--workers", "0"], &["--workers", "0 is not in 1..=256"]);
    refused(&["--max-connections", "0"], &["--max-connections", "0 is not in 1.."]);
    refused(&["--max-buffers", "0"], &["--max-buffers", "0 is not in 1.."]);
}

#[test]
fn a_tunnel_without_endpoints_or_with_a_wrong_one_is_told() {
    refused(&["--tunnel"], &["--tunnel expects at least one endpoint", "got none"]);
    refused(&["--tunnel", "127.0.0.1"], &["expected ADDRESS:PORT or NAME:PORT", "got '127.0.0.1'"]);
    refused(&["--tunnel", "127.0.0.1:1@0"], &["expected a weight from 1 to 65535", "got '0'"]);
}

#[test]
fn an_auth_file_that_cannot_be_used_is_named_with_the_line() {
    refused(&["--auth-file", "/nonexistent/users"], &["--auth-file /nonexistent/users"]);
    let scratch = Scratch::new();
    let path = scratch.file("users", b"alice:secret\nbob\n");
    refused(&["--auth-file", &path], &["--auth-file", &path, "line 2", "expected"]);
    let path = scratch.file("nobody", b"");
    refused(&["--auth-file", &path], &["--auth-file", &path, "expected"]);
}

#[test]
fn what_does_not_fit_together_is_told_before_it_listens() {
    let scratch = Scratch::new();
    let capped = ["lo", "--listen", "0", "--cap", "lo=1GB"];
    let with = |more: &[&'static str], file: &str| -> Vec<String> {
        capped.iter().chain(more).map(|word| (*word).to_owned()).chain([file.to_owned()]).collect()
    };
    let refused_with = |more: &[&'static str], file: &str, words: &[&str]| {
        let args = with(more, file);
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    refused(&capped, &["--cap: expected --usage-file FILE too"]);
    let wrong = scratch.file("wrong", b"lo many 2026-11-01\n");
    refused_with(&["--usage-file"], &wrong, &["--usage-file", &wrong, "line 1: expected UPLINK BYTES"]);
    let there = scratch.file("there", b"");
    let usage = scratch.path().join("usage").display().to_string();
    let args = with(&["--record"], &there);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--usage-file", &usage]);
    refused(&args, &["--record", &there, "expected a file that is not there yet, or --record-replace"]);
    let endpoints: Vec<String> = (1..=65).map(|port| format!("127.0.0.1:{port}")).collect();
    let mut args = vec!["--tunnel", "--listen", "0"];
    args.extend(endpoints.iter().map(String::as_str));
    refused(&args, &["expected at most 64 uplinks, got 65"]);
}

#[test]
fn a_file_without_an_end_is_told_with_what_was_expected() {
    let capped = ["lo", "--listen", "0", "--cap", "lo=1GB", "--usage-file", "/dev/zero"];
    refused(&capped, &["--usage-file /dev/zero: expected a file, got something else"]);
    for switch in ["--config", "--auth-file"] {
        let named = format!("{switch} /dev/zero: ");
        refused(&["--listen", "0", switch, "/dev/zero"], &[&named, "at most 16777216 bytes, got more"]);
    }
}

#[test]
fn an_unknown_flag_is_told_with_the_one_that_was_meant() {
    refused(&["--lissten", "1"], &["--lissten", "--listen"]);
}

#[test]
fn verbose_and_quiet_exclude_each_other() {
    refused(&["-v", "-q"], &["cannot be used with"]);
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["dispatch", "--help"], &["--version"]] {
        let outcome = run(args);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(outcome.stdout.contains("ropewalk"), "{args:?}: {}", outcome.stdout);
    }
}
