//! `ropewalk top`: what it shows, and that the terminal is as it was when it has ended.

use crate::Watched;
use crate::common::proxy::{ROPEWALK, run};
use crate::common::{has, here};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

#[test]
fn without_a_terminal_it_is_told_once() {
    let watched = Watched::start(&["lo@3"]);
    let outcome = run(&["top", &watched.stats.to_string(), "--interval", "0.1"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].starts_with("ropewalk ") && lines[0].contains("runs for"), "{}", outcome.stdout);
    assert!(lines[3].starts_with("lo   well") && lines[3].contains("weight 3"), "{}", outcome.stdout);
}

#[test]
fn where_nobody_answers_it_says_what_would() {
    let closed = crate::common::servers::ClosedPort::new();
    let outcome = run(&["top", &closed.1.to_string()]);
    assert_eq!(outcome.code, Some(1));
    let expected = format!("expected a service that was started with --stats {}", closed.1);
    assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
}

#[test]
fn a_terminal_is_given_back_as_it_was() {
    // script(1) has a terminal for it.
    if !has(here!(), "script") {
        return;
    }
    let watched = Watched::start(&["lo"]);
    // It is made larger while it shows.
    let shell = format!(
        "stty rows 24 cols 80; (sleep 1; stty rows 30 cols 120 </dev/tty) & {ROPEWALK} top {} --interval \
         0.2; stty -a",
        watched.stats
    );
    for end in [&b"q"[..], b"\x03"] {
        let mut child = Command::new("script")
            .args(["-qec", &shell, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is there");
        let (mut keys, mut screen) =
            (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        let shows = |all: &[u8], line: u8| {
            let last = format!("\x1b[{line};1H");
            let text = String::from_utf8_lossy(all).into_owned();
            text.split(&last)
                .skip(1)
                .any(|rest| rest.chars().take(40).collect::<String>().contains("q quits"))
        };
        while !(shows(&all, 24) && shows(&all, 30)) {
            let len = screen.read(&mut piece).expect("it writes");
            assert!(len > 0, "it ended: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&piece[..len]);
        }
        keys.write_all(end).expect("it reads");
        screen.read_to_end(&mut all).expect("it ends");
        assert!(child.wait().is_ok_and(|status| status.success()));
        let text = String::from_utf8_lossy(&all);
        let (shown, after) = text.split_once("\x1b[?1049l").expect("the other screen is left");
        assert!(shown.contains("\x1b[?1049h") && shown.contains("lo"), "{text}");
        assert!(after.contains("isig icanon") && after.contains(" echo "), "{after}");
    }
}
