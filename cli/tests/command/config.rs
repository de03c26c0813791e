//! `--config`: a file says what the command line does not.

use crate::common::Scratch;
use crate::common::proxy::{Proxy, run};
use crate::common::servers::Server;
use crate::common::socks;

#[test]
fn a_file_says_where_to_listen_and_how_much_to_say() {
    let server = Server::echo();
    let scratch = Scratch::new();
    let file = scratch.file(
        "ropewalk.toml",
        b"[dispatch]\nlisten = ['127.0.0.1:0', '[::1]:0']\nverbose = 1\nmax-connections = 2\n",
    );
    let proxy = Proxy::start(&["--config", &file]);
    proxy.wait_for(&format!("configuration: {file}"));
    proxy.wait_for("listening on [::1]:");
    socks::round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    proxy.wait_for("debug");
    let _both = [(); 2].map(|()| socks::connect(proxy.address, server.address).expect("a tunnel"));
    proxy.wait_for("2 connections are open in this worker");
}

/// `--config <(...)` of a shell.
#[test]
fn the_file_may_be_a_pipe() {
    let scratch = Scratch::new();
    let pipe = scratch.path().join("pipe").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo {pipe}");
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::write(pipe, "[dispatch]\nlisten = ['[::1]:0']\n"))
    };
    let proxy = Proxy::start(&["--config", &pipe]);
    assert!(proxy.address.is_ipv6());
    writer.join().expect("it only writes").expect("it is read");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let scratch = Scratch::new();
    let file = scratch.file("ropewalk.toml", b"[dispatch]\nlisten = ['[::1]:0', '[::1]:0']\nverbose = 1\n");
    let proxy = Proxy::start(&["--config", &file, "--listen", "127.0.0.1:0"]);
    assert!(proxy.address.is_ipv4());
}

#[track_caller]
fn refused(content: &str, more: &[&str], words: &[&str]) {
    let scratch = Scratch::new();
    let file = scratch.file("ropewalk.toml", content.as_bytes());
    let mut args = vec!["dispatch", "--config", &file];
    args.extend(more);
    let outcome = run(&args);
    assert!(outcome.code.is_some_and(|code| code == 1 || code == 2), "{content:?}: {:?}", outcome.code);
    for word in words.iter().copied().chain([file.as_str()]) {
        assert!(outcome.stderr.contains(word), "{content:?}: expected {word:?} in:\n{}", outcome.stderr);
    }
}

#[test]
fn a_wrong_value_is_told_with_file_line_key_and_what_was_expected() {
    let words = ["line 2: [dispatch] listen: ", "expected ADDRESS:PORT", "got 'localhost:1'"];
    refused("[dispatch]\nlisten = ['127.0.0.1:0', 'localhost:1']\n", &[], &words);
    let words = ["line 3: [dispatch] workers: ", "0 is not in 1..=256"];
    refused("[dispatch]\n\nworkers = 0\n", &[], &words);
    refused("[dispatch]\nlissten = 1\n", &[], &["line 2: [dispatch]: expected one of", "got 'lissten'"]);
    refused("[dispach]\n", &[], &["line 1: expected a section such as [dispatch]", "got [dispach]"]);
    refused("listen = 1\n[dispatch]", &[], &["line 1: expected a section such as [dispatch]"]);
}

#[test]
fn what_does_not_go_together_is_told_with_what_the_file_sets() {
    let words = ["cannot be used with", "note: [dispatch] of ", " sets auth-file"];
    refused("[dispatch]\nauth-file = 'x'\n", &["--tunnel", "127.0.0.1:1"], &words);
    let words =
        ["--listen 0.0.0.0:0 serves clients beyond this host", "note: [dispatch] of ", " sets listen"];
    refused("[dispatch]\nlisten = '0.0.0.0:0'\n", &[], &words);
    refused("[dispatch]\nuplinks = ['wlan0@0']\n", &[], &["from 1 to 65535", " sets uplinks"]);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let outcome = run(&["dispatch", "--config", "/nonexistent/ropewalk.toml"]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.starts_with("ropewalk: --config /nonexistent/ropewalk.toml: "),
        "{}",
        outcome.stderr
    );
}
