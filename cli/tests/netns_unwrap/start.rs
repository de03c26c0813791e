//! What it refuses to start with, and what it says then.

use crate::common::proxy::ROPEWALK;
use crate::common::{Scratch, here};
use crate::host::{Host, LISTEN, SERVER};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// It ends by itself, with this code and all of these words.
#[track_caller]
fn refuses(host: &Host, switches: &str, code: i32, words: &[&str]) {
    let outcome = host.attempt(switches);
    assert_eq!(outcome.code, Some(code), "unwrap {switches}: {}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "unwrap {switches}: expected {word:?} in {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("listening on"), "{}", outcome.stderr);
}

const BASE: &str = "-l 127.0.0.1:25577 -4 127.0.0.1:25578";

#[test]
fn without_a_list_of_those_who_are_believed_it_does_not_start() {
    let Some(host) = Host::bare(here!()) else { return };
    let hints = ["--allowed-subnets FILE", "--allow-from", "--allow-any"];
    refuses(&host, BASE, 1, &hints);
    refuses(&host, &format!("{BASE} -p udp"), 1, &hints);
    let missing = host.dir().join("no-such-file");
    let missing = missing.display();
    refuses(&host, &format!("{BASE} --allowed-subnets {missing}"), 1, &["no-such-file", "No such file"]);
    // A second list is no excuse for the first.
    refuses(&host, &format!("{BASE} --allow-from 10.0.0.0/8 -a {missing}"), 1, &["No such file"]);
    let dir = host.dir().display();
    refuses(&host, &format!("{BASE} -a {dir}"), 1, &["--allowed-subnets", "directory"]);
    for content in ["", "\n\n", "# nobody yet\n  # nobody\n"] {
        let empty = host.file("empty", content);
        refuses(&host, &format!("{BASE} -a {empty}"), 1, &["expected at least one network, got none"]);
    }
    for (line, wrong) in [
        (3, "10.0.0.0/8\n\n10.0.0.0/33\n"),
        (1, "10.0.0.1/8\n"),
        (2, "10.0.0.0/8\nexample.org\n"),
        (1, "10.0.0.0/8, 10.1.0.0/16\n"),
        (2, "::1\n10.0.0/8\n"),
    ] {
        let list = host.file("wrong", wrong);
        refuses(&host, &format!("{BASE} -a {list}"), 1, &[&list, &format!("line {line}, ")]);
    }
    let binary = host.dir().join("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0]).expect("our own directory");
    refuses(&host, &format!("{BASE} -a {}", binary.display()), 1, &["--allowed-subnets"]);
    refuses(
        &host,
        &format!("{BASE} -a /dev/zero"),
        1,
        &["--allowed-subnets /dev/zero: expected a file of at most"],
    );
    let list = host.file("list", "10.0.0.0/8\n");
    refuses(&host, &format!("{BASE} -a {list} --allow-any"), 2, &["cannot be used with"]);
}

#[test]
fn a_start_that_is_refused_leaves_no_recording_behind() {
    let Some(host) = Host::bare(here!()) else { return };
    let path = host.dir().join("it.rec");
    let switches = format!("{BASE} --allow-any --user no-such-user --record {}", path.display());
    refuses(&host, &switches, 1, &["--user no-such-user: expected a user of this host"]);
    assert!(!path.exists());
}

#[test]
fn without_a_server_or_with_one_that_cannot_be_it_does_not_start() {
    let Some(host) = Host::bare(here!()) else { return };
    let listen = format!("-l {LISTEN} --allow-any");
    refuses(&host, &listen, 1, &["expected a server", "-4", "-6", "--to header"]);
    refuses(&host, "-4 127.0.0.1:1 --allow-any", 1, &["--listen"]);
    refuses(&host, &format!("{listen} --to header"), 1, &["--allow-target"]);
    let to_stats = format!("{listen} --to header --allow-target 127.0.0.0/8:* --stats 9090");
    refuses(&host, &to_stats, 1, &["--allow-target", "--stats 127.0.0.1:9090"]);
    refuses(&host, "-l 0.0.0.0:6001 -4 127.0.0.1:6001 --allow-any", 1, &["127.0.0.1:6001", "itself"]);
    refuses(&host, &format!("{listen} -4 {SERVER} --allow-target 10.0.0.0/8:1"), 1, &["--to header"]);
    refuses(&host, &format!("{listen} -4 unix:/x -p udp"), 1, &["is for TCP"]);
    refuses(&host, &format!("{listen} -4 0.0.0.0:1"), 2, &["127.0.0.1"]);
    refuses(&host, &format!("{listen} -4 [::1]:1"), 2, &["expected IPV4:PORT"]);
    refuses(&host, &format!("{listen} -6 [::ffff:127.0.0.1]:1"), 2, &["-4 127.0.0.1:1"]);
    let ranges = "-l 127.0.0.1:2000-2003 -4 127.0.0.1:3000-3004 --allow-any";
    refuses(&host, ranges, 1, &["has 5 ports", "has 4", "expected as many, or one"]);
    refuses(&host, "-l 127.0.0.1:2003-2000 -4 127.0.0.1:1 --allow-any", 2, &["rising order"]);
}

#[test]
fn switches_that_do_not_go_together_are_told() {
    let Some(host) = Host::bare(here!()) else { return };
    let all = format!("{BASE} --allow-any");
    refuses(&host, &format!("{all} -p udp --mark 5"), 1, &["--mark is for TCP"]);
    refuses(&host, &format!("{all} -p tcp -p udp --mark 5"), 1, &["--mark is for TCP"]);
    refuses(&host, &format!("{all} -l {LISTEN}"), 1, &["given twice"]);
    refuses(&host, &format!("{all} -l {LISTEN} -p udp"), 1, &["given twice"]);
    refuses(&host, &format!("{all} --stats 10.0.0.1:9090"), 2, &["loopback"]);
    refuses(&host, &format!("{all} --user no-such-user"), 1, &["--user no-such-user"]);
    refuses(&host, &format!("{all} --header-timeout 0"), 2, &["above 0"]);
    refuses(&host, &format!("{all} --max-flows 0"), 2, &["--max-flows"]);
}

#[test]
fn an_address_that_somebody_else_has_is_told() {
    let Some(host) = Host::bare(here!()) else { return };
    let _other = host.listen(LISTEN);
    let _datagrams = crate::datagram::bind(&host, LISTEN);
    refuses(&host, &format!("{BASE} --allow-any"), 1, &[LISTEN]);
    refuses(&host, &format!("{BASE} --allow-any -p udp"), 1, &[LISTEN]);
    refuses(&host, "-l 10.1.1.1:1 -4 127.0.0.1:1 --allow-any", 1, &["10.1.1.1:1"]);
}

#[test]
fn tables_of_a_file_that_do_not_go_together_are_told() {
    let Some(host) = Host::bare(here!()) else { return };
    let table = |port: u16, more: &str| {
        format!("[[unwrap.listener]]\nlisten = [\"127.0.0.1:{port}\"]\ntarget-v4 = \"{SERVER}\"\n{more}\n")
    };
    let attempt = |content: &str, words: &[&str]| {
        let file = host.file("unwrap.toml", content);
        refuses(&host, &format!("--config {file}"), 1, words);
    };
    let any = "allow-any = true";
    attempt(&[table(1000, any), table(1000, any)].concat(), &["127.0.0.1:1000", "twice"]);
    attempt(&[table(1000, any), table(1001, "")].concat(), &["--allow-any"]);
    let workers = format!("{any}\nworkers = 2");
    attempt(&[table(1000, &workers), table(1001, any)].concat(), &["[unwrap]", "whole process"]);
}

#[test]
fn without_the_privilege_it_says_what_to_do() {
    let Some(host) = Host::bare(here!()) else { return };
    let copy = Scratch::new();
    let path = copy.path().join("ropewalk");
    // By another process: see `Launch`.
    let copied = Command::new("cp").arg(ROPEWALK).arg(&path).status().expect("cp is everywhere");
    assert!(copied.success(), "expected a copy of {ROPEWALK}, got {copied}");
    let mut command = Command::new(path);
    command.arg("unwrap").args(BASE.split(' ')).arg("--allow-any").uid(65534).gid(65534);
    let output = host.ns.run(|| command.output().expect("just copied"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in [
        "CAP_NET_RAW",
        "Operation not permitted",
        "run as root",
        "setcap cap_net_raw,cap_net_bind_service+ep",
    ] {
        assert!(said.contains(word), "expected {word:?} in {said}");
    }
}
