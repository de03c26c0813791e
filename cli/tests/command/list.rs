//! `ropewalk list`: for people and for programs.

use crate::common::proxy::run;
use crate::common::{has, here, skip};
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn the_list_has_the_loopback_and_says_why_it_is_no_uplink() {
    let outcome = run(&["list"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let mut lines = outcome.stdout.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("INTERFACE  ")), "{}", outcome.stdout);
    assert!(lines.any(|line| line.starts_with("lo") && line.contains("loopback")), "{}", outcome.stdout);
}

#[test]
fn the_list_is_json_that_another_program_reads() {
    if !has(here!(), "python3") {
        return;
    }
    let outcome = run(&["list", "--json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let program = "\
import json, sys
links = json.load(sys.stdin)
lo = [link for link in links if link['loopback']]
assert lo and lo[0]['auto'] is False and 'loopback' in lo[0]['left_out_because'], lo
for link in links:
    assert isinstance(link['index'], int) and isinstance(link['interface'], str), link
    assert link['auto'] is (link['uplink'] is not None), link
    for address in link['addresses']:
        assert isinstance(address['prefix_len'], int), address
print(len(links))
";
    let child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip(here!(), "a python3 that runs");
        return;
    };
    let mut stdin = child.stdin.take().expect("piped above");
    stdin.write_all(outcome.stdout.as_bytes()).expect("python reads");
    drop(stdin);
    let output = child.wait_with_output().expect("our own child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", outcome.stdout);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(crate::common::proxy::ROPEWALK)
        .arg("list")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("our own child");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
