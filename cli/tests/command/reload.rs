//! SIGHUP: files are read again, all or nothing.

use crate::common::proxy::{Launch, Proxy};
use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use crate::common::{LONG, Scratch, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

struct Files {
    folder: Scratch,
}

impl Files {
    fn new() -> Self {
        Files { folder: Scratch::new() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a folder of our own");
        path
    }
}

/// Sends SIGHUP and waits for the `nth` answer.
fn hang_up(proxy: &Proxy, nth: usize) -> String {
    let pid = Pid::from_raw(proxy.id() as i32).expect("a process");
    kill_process(pid, Signal::HUP).expect("our own child");
    proxy.wait_for_nth("SIGHUP: ", nth)
}

/// A tunnel of this user, or none where it is refused.
fn tunnel(proxy: SocketAddr, user: &str, password: &str, to: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(proxy).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a socket");
    stream.write_all(&[5, 1, 2]).expect("it reads");
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).expect("it answers");
    let mut login = vec![1, user.len() as u8];
    login.extend(user.bytes());
    login.push(password.len() as u8);
    login.extend(password.bytes());
    stream.write_all(&login).expect("it reads");
    stream.read_exact(&mut answer).expect("it answers");
    if answer != [1, 0] {
        return None;
    }
    let SocketAddr::V4(to) = to else { panic!("the tests' servers are IPv4") };
    let [high, low] = to.port().to_be_bytes();
    let [a, b, c, d] = to.ip().octets();
    stream.write_all(&[5, 1, 0, 1, a, b, c, d, high, low]).expect("it reads");
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).expect("it answers");
    (reply[1] == 0).then_some(stream)
}

#[test]
fn users_come_and_go_and_the_tunnels_of_all_others_live_on() {
    let (files, server) = (Files::new(), Server::echo());
    let users = files.write("users", "ann:a\nbob:b\n");
    let proxy = Proxy::start(&["--auth-file", users.to_str().expect("text")]);
    let mut ann = tunnel(proxy.address, "ann", "a", server.address).expect("she is known");
    let mut bob = tunnel(proxy.address, "bob", "b", server.address).expect("he is known");
    round_trip(&mut ann);
    files.write("users", "ann:a\ncid:c\n");
    assert!(hang_up(&proxy, 1).contains("1 uplinks, 2 users") || proxy.count_lines("2 users") == 1);
    proxy.wait_for("connections of removed users have ended: 1");
    assert!(matches!(bob.read(&mut [0; 1]), Ok(0) | Err(_)), "his tunnel has ended");
    assert!(tunnel(proxy.address, "bob", "b", server.address).is_none());
    round_trip(&mut tunnel(proxy.address, "cid", "c", server.address).expect("he is known now"));
    round_trip(&mut ann);
}

#[test]
fn a_bad_file_is_reported_with_its_place_and_the_old_one_stays() {
    let (files, server) = (Files::new(), Server::echo());
    let path = files.write("ropewalk.toml", "[dispatch]\nlisten = \"127.0.0.1:0\"\n");
    let proxy = Launch::exactly(&["--config", path.to_str().expect("text")]).start();
    // It runs, so it hears signals.
    round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    let bad = [
        ("[dispatch]\nlisten = \"127.0.0.1:0\"\nidle-timeout = \"x\"\n", "line 3: [dispatch] idle-timeout"),
        ("[dispatch\n", "line 1"),
        ("[dispatch]\nlisten = \"127.0.0.1:1\"\n", "--listen has changed, which takes a new start"),
        ("[dispatch]\nlisten = \"127.0.0.1:0\"\nworkers = 2\n", "--workers has changed"),
        ("[dispatch]\nlisten = \"127.0.0.1:0\"\nauth-file = \"/nowhere/users\"\n", "/nowhere/users"),
        ("[dispatch]\nlisten = \"127.0.0.1:0\"\nbackup = [\"nowhere0\"]\n", "nowhere0"),
    ];
    for (nth, (text, place)) in (1..).zip(bad) {
        files.write("ropewalk.toml", text);
        let line = hang_up(&proxy, nth);
        assert!(line.contains(place) && line.contains("all stays as it was"), "{place}: {line}");
        round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    }
    // And a good one is taken after all: an idle tunnel ends.
    let mut idle = socks::connect(proxy.address, server.address).expect("a tunnel");
    files.write("ropewalk.toml", "[dispatch]\nlisten = \"127.0.0.1:0\"\nidle-timeout = 0.2\n");
    assert!(hang_up(&proxy, bad.len() + 1).contains("was read again"));
    idle.set_read_timeout(Some(LONG)).expect("a socket");
    assert!(matches!(idle.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn endpoints_of_a_tunnel_come_and_go() {
    let (files, one, two) = (Files::new(), Server::echo(), Server::echo());
    let text = |servers: &[&Server]| {
        let all: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
        format!("[dispatch]\nlisten = \"127.0.0.1:0\"\ntunnel = true\nuplinks = [{}]\n", all.join(", "))
    };
    let path = files.write("ropewalk.toml", &text(&[&one]));
    let config = path.to_str().expect("text");
    let proxy = Launch::exactly(&["--config", config, "--stats", "127.0.0.1:0", "-v"]).start();
    let mut old = TcpStream::connect(proxy.address).expect("it listens");
    round_trip(&mut old);
    files.write("ropewalk.toml", &text(&[&two]));
    assert!(hang_up(&proxy, 1).contains("1 uplinks"));
    for _ in 0..3 {
        round_trip(&mut TcpStream::connect(proxy.address).expect("it listens"));
    }
    wait_until("all go to the second", LONG, || {
        proxy.count_lines(&format!("connected to {0} through {0}", two.address)) == 3
    });
    // What was open through the first lives on.
    round_trip(&mut old);
}

#[cfg(target_os = "linux")]
#[test]
fn unwraps_lists_are_read_again() {
    let (files, server) = (Files::new(), Server::echo());
    let nets = files.write("nets", "192.0.2.0/24\n");
    let target = server.address.to_string();
    let id = rustix::process::getuid().as_raw().to_string();
    let args = [
        "-l",
        "127.0.0.1:0",
        "-4",
        &target,
        "--allowed-subnets",
        nets.to_str().expect("text"),
        "--user",
        &id,
        "--on-port-conflict",
        "ephemeral",
    ];
    let proxy = Launch::unwrap(&args).begin();
    let line = proxy.wait_for_any(&["listening on ", "expected", "CAP_NET_ADMIN", "privilege"]);
    let Some((_, rest)) = line.split_once("listening on ") else {
        return crate::common::skip(crate::common::here!(), "CAP_NET_ADMIN");
    };
    let address: SocketAddr = rest.split(' ').next().and_then(|at| at.parse().ok()).expect("an address");
    let shut_out = || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket");
        // It is reset before a byte is read, or waits for a header.
        match stream.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => panic!("nobody wrote anything"),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    assert!(shut_out());
    files.write("nets", "127.0.0.0/8\nnonsense\n");
    let line = hang_up(&proxy, 1);
    assert!(line.contains("line 2, 'nonsense'") && line.contains("all stays as it was"), "{line}");
    assert!(shut_out());
    files.write("nets", "127.0.0.0/8\n");
    assert!(hang_up(&proxy, 2).contains("1 listeners, which believe 1 networks"));
    wait_until("loopback may send headers", LONG, || !shut_out());
}
