//! A server on 127.0.0.1:8000 and the balancer 10.0.0.5 in front of it, as README and the manual
//! describe them.

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, run};
use crate::common::{LONG, Scratch, here, skip};
use crate::page::Page;
use ropewalk_core::unwrap::emit::{self, Transport};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const CLIENT: &str = "203.0.113.7:40000";
const SETUP: &str = "ropewalk unwrap setup -4 127.0.0.1:8000";
const SERVE: &str = "ropewalk unwrap -l 0.0.0.0:80 -4 127.0.0.1:8000 --allow-from 10.0.0.0/8 -v";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("expected an address and a port, got {text:?}"))
}

struct Host(Ns, Scratch);

impl Host {
    fn new(test: &str) -> Option<Self> {
        let ns = Ns::new().inspect_err(|needs| skip(test, needs)).ok()?;
        ns.ip("addr add 10.0.0.5/32 dev lo\n");
        Some(Host(ns, Scratch::new()))
    }

    /// Runs a command of a page; `more` keeps it away from files of the real host.
    fn run(&self, line: &str, more: &[&str]) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').skip(1).chain(more.iter().copied()).collect();
        let outcome = self.0.run(|| run(&words));
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
        outcome.stdout.lines().map(str::to_owned).collect()
    }

    fn state(&self) -> [&str; 2] {
        ["--state-dir", self.1.path().to_str().expect("an ASCII name")]
    }

    fn server(&self) -> TcpListener {
        self.0.run(|| TcpListener::bind("127.0.0.1:8000")).expect("nobody else is there")
    }

    /// A connection of the balancer.
    fn dial(&self) -> TcpStream {
        self.0.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
            socket.bind(&addr("10.0.0.5:54016").into()).expect("an address of the namespace");
            socket.connect_timeout(&addr("10.0.0.5:80").into(), LONG).expect("ropewalk listens");
            socket.set_read_timeout(Some(LONG)).expect("a time above zero");
            socket.into()
        })
    }
}

#[test]
fn the_readme_shows_unwrap_and_the_server_sees_its_client() {
    let Some(host) = Host::new(here!()) else { return };
    let readme = Page::new("README.md");
    readme.shows(SETUP, &host.run(SETUP, &host.state()));
    let server = host.server();
    let words: Vec<&str> = SERVE.split(' ').skip(2).collect();
    let proxy = host.0.run(|| Launch::unwrap(&words).start());

    let mut outer = host.dial();
    let header = emit::v2(addr(CLIENT), addr("198.51.100.2:80"), Transport::Stream, &[], true);
    outer.write_all(&[&header[..], b"GET / HTTP/1.0\r\n\r\n"].concat()).expect("ropewalk reads");
    let (mut inner, peer) = server.accept().expect("the client");
    assert_eq!(peer, addr(CLIENT));
    inner.read_exact(&mut [0; 18]).expect("the request");
    inner.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n").expect("ropewalk reads");
    drop(inner);
    let mut answer = String::new();
    outer.read_to_string(&mut answer).expect("the answer and its end");
    assert!(answer.ends_with("hello\n"), "{answer}");
    drop(outer);
    proxy.wait_for("closed after");

    let mut printed = proxy.stop();
    let draining = printed.iter().position(|line| line.contains("draining")).expect("stopped");
    printed.truncate(draining);
    readme.shows(SERVE, &printed);
}

#[test]
fn the_manual_shows_setup_doctor_and_teardown() {
    let Some(host) = Host::new(here!()) else { return };
    let manual = Page::new("cli/docs/unwrap.md");
    manual.shows(SETUP, &host.run(SETUP, &host.state()));
    let _server = host.server();
    let doctor = "ropewalk doctor unwrap -4 127.0.0.1:8000";
    manual.shows(doctor, &host.run(doctor, &[]));
    let teardown = "ropewalk unwrap teardown";
    manual.shows(teardown, &host.run(teardown, &host.state()));
}
