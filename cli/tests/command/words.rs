//! Switches of other programs, and the answers to them.

use crate::common::Scratch;
use crate::common::proxy::{Launch, Proxy, run};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

#[test]
fn old_command_lines_get_one_line_with_todays_switch() {
    for (line, words) in [
        ("-lport 1080", "--listen"),
        ("dispatch -lhost 127.0.0.1 -lport 1080", "--listen"),
        ("dispatch -tunnel 127.0.0.1:1", "--tunnel"),
        ("dispatch -quiet", "--quiet"),
        ("-list", "`ropewalk list`"),
        ("unwrap -l 0.0.0.0:1 -4 127.0.0.1:2 -allowed-subnets f", "--allowed-subnets"),
        ("unwrap -l 0.0.0.0:1 -4 127.0.0.1:2 -listeners 4", "--workers"),
        ("unwrap -mark 1 -l 0.0.0.0:1", "--mark"),
        ("unwrap -close-after 5 -l 0.0.0.0:1", "--close-after"),
    ] {
        let outcome = run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{line}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{line}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(words), "{line}: {}", outcome.stderr);
    }
}

#[test]
fn everywhere_is_both_families() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("SKIP command::words::everywhere_is_both_families: needs IPv6");
        return;
    }
    let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port").local_addr().expect("bound");
    let listen = format!("[::]:{}", free.port());
    let proxy = Proxy::start(&["--listen", &listen, "--allow-open-proxy"]);
    proxy.wait_for("listening on 0.0.0.0:");
    for ip in ["127.0.0.1", "::1"] {
        let to = SocketAddr::new(ip.parse().expect("literal"), free.port());
        let mut stream = TcpStream::connect(to).expect("it listens there");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        stream.write_all(&[5, 1, 0]).expect("it reads");
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(answer, [5, 0]);
    }
}

#[test]
fn files_may_begin_with_a_mark_and_end_their_lines_as_on_windows() {
    let scratch = Scratch::new();
    let users = scratch.file("users", b"\xef\xbb\xbfann:secret\r\n");
    let config = format!("\u{feff}[dispatch]\r\nlisten = [\"127.0.0.1:0\"]\r\nauth-file = {users:?}\r\n");
    let config = scratch.file("config", config.as_bytes());
    let proxy = Launch::exactly(&["--config", &config]).start();
    let mut stream = TcpStream::connect(proxy.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    stream.write_all(b"\x05\x01\x02\x01\x03ann\x06secret").expect("it reads");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(answer, [5, 2, 1, 0]);
}

#[test]
fn passwords_that_others_can_read_or_guess_are_told() {
    let scratch = Scratch::new();
    let users = scratch.file("users", b"ann:secret\n");
    let mode = std::process::Command::new("chmod").args(["644", &users]).status();
    assert!(mode.is_ok_and(|status| status.success()));
    let proxy = Proxy::start(&["--auth-file", &users]);
    proxy.wait_for("chmod 600");
    let mut stream = TcpStream::connect(proxy.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let began = std::time::Instant::now();
    stream.write_all(b"\x05\x01\x02\x01\x03ann\x05wrong").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an end");
    assert_eq!(answer, [5, 2, 1, 1]);
    assert!(began.elapsed() >= Duration::from_millis(900), "guesses are slow");
    proxy.wait_for("wrong user or password from 127.0.0.1");
}

#[test]
fn a_login_that_nobody_asked_for_is_taken_and_told_once() {
    let proxy = Proxy::start(&[]);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        stream.write_all(b"\x05\x01\x02\x01\x01a\x01b").expect("it reads");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(answer, [5, 2, 1, 0]);
    }
    proxy.wait_for("offers a login");
    assert_eq!(proxy.count_lines("offers a login"), 1);
}

#[test]
fn a_hangup_ends_no_service() {
    let mut proxy = Proxy::start(&[]);
    let kill = std::process::Command::new("kill").args(["-HUP", &proxy.id().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    proxy.wait_for("SIGHUP");
    assert!(proxy.is_running());
}

/// A pipe whose reader has gone, as behind `| head`.
#[cfg(all(target_os = "linux", feature = "bond"))]
fn broken_pipe() -> std::process::Stdio {
    let (reader, writer) = std::io::pipe().expect("there are descriptors");
    drop(reader);
    writer.into()
}

#[cfg(all(target_os = "linux", feature = "bond"))]
#[test]
fn what_cannot_be_printed_is_told_in_words_and_a_reader_that_has_gone_is_no_fault() {
    use std::process::Command;
    let keygen = || {
        let mut command = Command::new(crate::common::proxy::ROPEWALK);
        command.args(["bond", "keygen"]);
        command
    };
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = keygen().stdout(full).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("ropewalk: cannot write to standard output: "), "{told}");
    let output = keygen().stdout(broken_pipe()).output().expect("it runs");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    // Nobody hears what is wrong, but the exit code tells.
    let status = keygen().args(["--out", "/dev/null"]).stderr(broken_pipe()).status().expect("it runs");
    assert_eq!(status.code(), Some(1));
}
