//! A reader of standard error that stops reading holds up no connection.

use crate::common::LONG;
use crate::common::proxy::ROPEWALK;
use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy whose standard error is a pipe that only the test reads.
struct Unread {
    child: Child,
    stderr: ChildStderr,
    address: SocketAddr,
}

impl Unread {
    fn start() -> Self {
        // Freed again at once: the line that says where it listens is never read.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let mut child = Command::new(ROPEWALK)
            .args(["dispatch", "-vv", "--listen", &address.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let stderr = child.stderr.take().expect("piped above");
        let deadline = Instant::now() + LONG;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "expected a proxy on {address}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Unread { child, stderr, address }
    }

    fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("our own child, not waited for yet");
    }

    /// Connections until their lines, some 100 bytes each, fill pipe and queue several times over.
    fn flood(&self, server: &Server) {
        for _ in 0..4000 {
            round_trip(&mut socks::connect(self.address, server.address).expect("a tunnel"));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_reader_that_stands_still_stops_no_connection_and_hears_what_was_lost() {
    let server = Server::echo();
    let mut proxy = Unread::start();
    proxy.flood(&server);
    let (mut said, mut piece) = (Vec::new(), [0; 65536]);
    while !String::from_utf8_lossy(&said).contains("log lines were lost here") {
        let got = proxy.stderr.read(&mut piece).expect("a pipe");
        assert!(got > 0, "expected a line about lost lines before the end");
        said.extend_from_slice(&piece[..got]);
    }
    let said = String::from_utf8(said).expect("ropewalk writes text");
    let lost: u64 = said
        .lines()
        .find(|line| line.contains("log lines were lost here"))
        .and_then(|line| line.split_once("warn ")?.1.split(' ').find_map(|word| word.parse().ok()))
        .expect("a number of lost lines");
    assert!(lost > 1000, "expected thousands of lost lines, got {lost}");
    // What was read last may end within a line.
    let lines = said.rsplit_once('\n').map_or("", |(lines, _)| lines).lines();
    let broken = lines.clone().find(|line| !line.starts_with('[') || line.len() <= 20);
    assert_eq!(broken, None, "every line is whole");

    round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    proxy.terminate();
    let mut rest = String::new();
    proxy.stderr.read_to_string(&mut rest).expect("text");
    let last = rest.lines().last().unwrap_or_default();
    assert!(last.contains("4001 connections relayed"), "expected the summary last, got {last:?}");
}

#[test]
fn a_reader_that_stands_still_does_not_keep_it_from_ending() {
    let server = Server::echo();
    let mut proxy = Unread::start();
    proxy.flood(&server);
    proxy.terminate();
    let deadline = Instant::now() + Duration::from_secs(10);
    while proxy.child.try_wait().expect("our own child").is_none() {
        assert!(Instant::now() < deadline, "expected the end about a second after the signal");
        std::thread::sleep(Duration::from_millis(10));
    }
}
