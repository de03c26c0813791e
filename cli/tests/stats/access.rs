//! Who may read the figures, and that a reader cannot hold the endpoint up.

use crate::Watched;
use crate::common::LONG;
use crate::common::proxy::{Proxy, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn an_address_beyond_this_host_is_refused_at_the_start() {
    for address in ["0.0.0.0:9090", "[::]:9090", "192.0.2.1:9090"] {
        let outcome = run(&["dispatch", "--listen", "127.0.0.1:0", "--stats", address]);
        assert_eq!(outcome.code, Some(2), "{address}");
        for word in ["--stats", "expected an address of loopback", &format!("got '{address}'")] {
            assert!(outcome.stderr.contains(word), "expected {word:?} in:\n{}", outcome.stderr);
        }
    }
}

#[test]
fn a_port_in_use_is_told_with_the_switch() {
    let first = Proxy::start(&[]);
    let outcome = run(&["dispatch", "--listen", "127.0.0.1:0", "--stats", &first.at()]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("choose another with --stats"), "{}", outcome.stderr);
}

#[test]
fn without_the_switch_nothing_is_told() {
    let proxy = Proxy::start(&[]);
    let mut stream = crate::common::socks::dial(proxy.address);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and its end");
    assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("ropewalk_"), "{answer}");
    assert_eq!(proxy.count_lines("stats at"), 0);
}

#[test]
fn only_the_three_pages_are_served_to_who_comes_by_a_loopback_name() {
    let watched = Watched::start(&[]);
    let status = |line: &str, host: &str| watched.ask(&format!("{line} HTTP/1.1\r\n{host}\r\n")).0;
    for host in ["Host: localhost\r\n", "host: 127.0.0.1:1\r\n", "Host: [::1]\r\n"] {
        assert_eq!(status("GET /metrics", host), 200, "{host}");
    }
    for host in ["Host: evil.example\r\n", "Host: evil.example:9090\r\n", "Host:\r\n", ""] {
        assert_eq!(status("GET /metrics", host), 403, "{host}");
    }
    let local = "Host: localhost\r\n";
    assert_eq!(status("GET /", local), 200);
    assert_eq!(status("GET /x", local), 404);
    assert_eq!(status("GET /stats/x", local), 404);
    assert_eq!(status("POST /stats", local), 405);
    let (status, head, _) = watched.ask("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status == 405 && head.contains("\r\nAllow: GET\r\n"), "{head}");
    assert_eq!(watched.ask("nonsense\r\n\r\n").0, 400);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let watched = Watched::start(&[]);
    let long = format!("GET /stats HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(watched.ask(&long).0, 431);
}

/// A reader that sends a byte now and then has no more time than others.
#[test]
fn a_slow_request_ends_after_two_seconds() {
    let watched = Watched::start(&[]);
    let began = Instant::now();
    let mut stream = watched.dial();
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("above zero");
    let mut answer = Vec::new();
    let mut piece = [0; 256];
    let mut bytes = b"GET /stats HTTP/1.1\r\nHost: localhost\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    loop {
        assert!(began.elapsed() < Duration::from_secs(8), "expected an end after 2 s");
        // After the end it is not read.
        let _ = stream.write_all(&[*bytes.next().expect("endless")]);
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    assert!(began.elapsed() > Duration::from_millis(1900), "after {:?}", began.elapsed());
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn clients_that_stand_still_hold_up_nobody_for_long() {
    let watched = Watched::start(&[]);
    let quick = |most: Duration| {
        let began = Instant::now();
        watched.page("/stats");
        assert!(began.elapsed() < most, "it took {:?}", began.elapsed());
    };
    // Some that send nothing, some that read nothing.
    let mut still: Vec<TcpStream> = (0..6).map(|_| watched.dial()).collect();
    for stream in &mut still[..3] {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the kernel takes it");
    }
    quick(Duration::from_millis(1500));
    // More than are answered at once: their time ends too.
    still.extend((0..10).map(|_| watched.dial()));
    quick(LONG);
    quick(LONG);
    drop(still);
    quick(Duration::from_secs(5));
}
