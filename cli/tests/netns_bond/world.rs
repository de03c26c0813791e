//! Two hosts.
//!
//! ```text
//!   client                      server
//!   c1 10.9.1.2 ─ 40 Mbit/s ─ 10.9.1.1 s1 ┐
//!   c2 10.9.2.2 ─ 40 Mbit/s ─ 10.9.2.1 s2 ┴ lo 198.51.100.1
//!   ropewalk0 10.77.0.2, fd77::2            ropewalk0 10.77.0.1, fd77::1
//! ```

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, Outcome, Proxy, run};
use crate::common::servers::Server;
use crate::common::{LONG, Scratch, has, pattern, skip, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

/// Where the server is, outside.
pub(crate) const SERVER: &str = "198.51.100.1:4500";
/// Where the web server is, inside.
const WEB: &str = "10.77.0.1:8000";
/// Bytes of its file.
pub(crate) const FILE: usize = 6_000_000;

pub(crate) struct World {
    pub(crate) client: Ns,
    pub(crate) server: Ns,
    state: Scratch,
}

impl World {
    /// Both hosts and two links. `None`: skipped, and said so.
    pub(crate) fn new(test: &str) -> Option<World> {
        if !std::path::Path::new("/dev/net/tun").exists() {
            skip(test, "/dev/net/tun");
            return None;
        }
        if !has(test, "tc") || !has(test, "curl") {
            return None;
        }
        let hosts = Ns::new().and_then(|client| Ok((client, Ns::new()?)));
        let (client, server) = hosts.inspect_err(|needs| skip(test, needs)).ok()?;
        server.ip("addr add 198.51.100.1/32 dev lo\n");
        let world = World { client, server, state: Scratch::new() };
        (1..=2).for_each(|link| world.plug(link));
        Some(world)
    }

    /// Connects a link.
    pub(crate) fn plug(&self, link: usize) {
        self.client.ip(&format!(
            "link add c{link} type veth peer name s{link} netns {}\n\
             addr add 10.9.{link}.2/24 dev c{link}\n\
             link set c{link} up\n",
            self.server.name()
        ));
        self.server.ip(&format!("addr add 10.9.{link}.1/24 dev s{link}\nlink set s{link} up\n"));
        for (ns, device) in [(&self.client, "c"), (&self.server, "s")] {
            let line = format!("qdisc add dev {device}{link} root tbf rate 40mbit burst 20kb limit 150kb");
            let status = Command::new("tc").args(["-n", ns.name()]).args(line.split(' ')).status();
            assert!(status.is_ok_and(|status| status.success()), "tc {line}");
        }
        self.route(link);
    }

    /// Gives a link its default route, as a lease does.
    pub(crate) fn route(&self, link: usize) {
        self.client.ip(&format!("route add default via 10.9.{link}.1 dev c{link} metric 10{link}\n"));
    }

    /// A folder of one role, its state directory.
    pub(crate) fn state(&self, role: &str) -> String {
        self.state.path().join(role).into_os_string().into_string().expect("temporary paths are text")
    }

    /// Whether the client was let in before.
    pub(crate) fn knows_its_server(&self) -> bool {
        std::path::Path::new(&self.state("connect")).join("server").exists()
    }

    /// Runs `ropewalk bond` with these arguments to its end, on the host of this role.
    pub(crate) fn tell(&self, role: &str, args: &[&str]) -> Outcome {
        let state = self.state(role);
        let args = [&["bond"], args, &["--state-dir", &state]].concat();
        self.host(role).run(|| run(&args))
    }

    /// As [`World::tell`], for what must succeed: what it printed.
    #[track_caller]
    pub(crate) fn ask(&self, role: &str, args: &[&str]) -> String {
        let outcome = self.tell(role, args);
        assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.stderr);
        outcome.stdout.trim().to_owned()
    }

    fn host(&self, role: &str) -> &Ns {
        if role == "serve" { &self.server } else { &self.client }
    }

    /// Begins one end that changes nothing of its host but the TUN.
    pub(crate) fn begin(&self, role: &str, args: &[&str]) -> Proxy {
        let state = self.state(role);
        let kind = if role == "serve" { "serve" } else { "connect" };
        let alone: &[&str] = if kind == "serve" { &["--nat", "off"] } else { &["--route", "none"] };
        let args = [&[kind], args, alone, &["--state-dir", &state]].concat();
        self.host(role).run(|| Launch::bond(&args).begin())
    }

    /// The server, serving.
    pub(crate) fn serve(&self, args: &[&str]) -> Proxy {
        let server = self.begin("serve", args);
        server.wait_for("serving on");
        server
    }

    /// A join string of the server.
    pub(crate) fn invite(&self, name: &str, more: &[&str]) -> String {
        self.ask("serve", &[&["invite", name, "--server", SERVER], more].concat())
    }

    /// The client, let in, with both links.
    pub(crate) fn connect(&self, args: &[&str]) -> Proxy {
        let client = self.begin("connect", args);
        for link in ["c1", "c2"] {
            client.wait_for(&format!("{link} carries"));
        }
        self.wait_for_address("10.77.0.2");
        client
    }

    /// Waits until the client's host has this address.
    pub(crate) fn wait_for_address(&self, address: &str) {
        wait_until(&format!("the client has {address}"), LONG, || {
            let args = ["-n", self.client.name(), "addr", "show", "to", address];
            Command::new("ip").args(args).output().is_ok_and(|output| output.stdout.len() > 2)
        });
    }

    /// A web server inside, whose every page is the same file.
    pub(crate) fn web(&self) -> Server {
        let listener = self.server.run(|| TcpListener::bind(WEB).expect("the server's TUN has this address"));
        Server::of(listener, answer)
    }

    /// A web server inside, whose every page goes on for ever.
    pub(crate) fn endless(&self) -> Server {
        let listener = self.server.run(|| TcpListener::bind(WEB).expect("the server's TUN has this address"));
        Server::of(listener, crate::download::answer)
    }

    /// The file, through the bond, by curl.
    #[track_caller]
    pub(crate) fn fetch(&self, from: SocketAddr) -> Vec<u8> {
        let url = format!("http://{from}/file");
        let output = self.client.run(|| Command::new("curl").args(["-sS", "-m", "60", &url]).output());
        let output = output.expect("curl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Bytes that came in by a device of the client.
    pub(crate) fn received(&self, device: &str) -> u64 {
        let path = format!("/sys/class/net/{device}/statistics/rx_bytes");
        let args = ["netns", "exec", self.client.name(), "cat", &path];
        let output = Command::new("ip").args(args).output().expect("ip was there for the namespaces");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
    }
}

fn answer(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head);
    let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {FILE}\r\n\r\n");
    // Whoever leaves early is no fault of the server.
    let _ = stream.write_all(&pattern(0, FILE));
}

/// What stands behind `"key":` in a line of JSON, for the first time after `after`.
#[track_caller]
pub(crate) fn member<'a>(json: &'a str, after: &str, key: &str) -> &'a str {
    let (_, rest) = json.split_once(after).unwrap_or_else(|| panic!("expected {after} in {json}"));
    let mark = format!("\"{key}\":");
    let (_, rest) =
        rest.split_once(&mark).unwrap_or_else(|| panic!("expected {key} after {after} in {json}"));
    rest.split([',', '}']).next().expect("split gives one at least").trim_matches('"')
}
