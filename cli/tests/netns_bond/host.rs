//! What a bond changes on its hosts, what goes through then, and what is left of it.
//!
//! ```text
//!   client ══ two links ══ server 203.0.113.1 ── far 203.0.113.80, web server
//! ```

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, Proxy, ROPEWALK, run};
use crate::common::servers::Server;
use crate::common::{Scratch, has, here, wait_until};
use crate::world::World;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(30);
/// Behind the server, in no network of its own.
const WEB: &str = "192.88.99.80:8000";

pub(crate) struct Hosts {
    pub(crate) world: World,
    far: Ns,
}

impl Hosts {
    pub(crate) fn new(test: &str) -> Option<Hosts> {
        if !has(test, "nft") {
            return None;
        }
        let world = World::new(test)?;
        let far = Ns::new().expect("as the first");
        world.server.ip(&format!(
            "link add w0 type veth peer name w1 netns {}\naddr add 203.0.113.1/24 dev w0\n\
             link set w0 addrgenmode none\nlink set w0 up\nroute add default via 203.0.113.80",
            far.name()
        ));
        far.ip("addr add 203.0.113.80/24 dev w1\nlink set w1 up\naddr add 192.88.99.80/32 dev lo");
        // Link-local addresses come when they like, and the dumps must not tell of it.
        for (ns, links) in [(&world.client, ["c1", "c2"]), (&world.server, ["s1", "s2"])] {
            for link in links {
                ns.ip(&format!("addr flush dev {link} scope link"));
                ns.set(&format!("ipv6/conf/{link}/disable_ipv6"), "1");
                ns.set(&format!("ipv6/conf/{link}/disable_ipv6"), "0");
                ns.ip(&format!("link set {link} addrgenmode none\naddr flush dev {link} scope link"));
            }
        }
        world.client.set("ipv4/conf/c2/rp_filter", "1");
        world
            .client
            .ip("addr add 2001:db8:1::2/64 dev c1 nodad\n-6 route add default via 2001:db8:1::1 dev c1");
        world.server.ip("addr add 2001:db8:1::1/64 dev s1 nodad");
        Some(Hosts { world, far })
    }

    pub(crate) fn begin(&self, kind: &str, args: &[&str]) -> Proxy {
        let state = self.world.state(kind);
        let args = [&[kind], args, &["--state-dir", &state]].concat();
        let ns = if kind == "serve" { &self.world.server } else { &self.world.client };
        ns.run(|| Launch::bond(&args).begin())
    }

    pub(crate) fn serve(&self) -> Proxy {
        let server = self.begin("serve", &[]);
        server.wait_for("serving on");
        server
    }

    pub(crate) fn connect(&self, args: &[&str]) -> Proxy {
        let client = self.begin("connect", &[&["--via", "c1", "--via", "c2"], args].concat());
        self.wait_until_carried(&client);
        client
    }

    /// Waits until both links carry and all of the host goes into the bond.
    #[track_caller]
    pub(crate) fn wait_until_carried(&self, client: &Proxy) {
        for link in ["c1", "c2"] {
            client.wait_for(&format!("{link} carries"));
        }
        self.world.wait_for_address("10.77.0.2");
        let table = || {
            let args = [
                "-n",
                self.world.client.name(),
                "route",
                "show",
                "table",
                "29304",
                "default",
                "dev",
                "ropewalk0",
            ];
            Command::new("ip").args(args).output().is_ok_and(|output| output.stdout.len() > 2)
        };
        wait_until("the routes lead into the bond", LONG, table);
    }

    pub(crate) fn restore(&self, kind: &str) -> String {
        let state = self.world.state(kind);
        let ns = if kind == "serve" { &self.world.server } else { &self.world.client };
        let outcome = ns.run(|| run(&["bond", "restore", "--state-dir", &state]));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    }

    /// Whether the web server beyond the server answers, and to whom.
    pub(crate) fn who_fetches(&self) -> Option<String> {
        self.who_fetches_within("20")
    }

    /// The same, with less patience, in seconds: where no answer is expected.
    pub(crate) fn who_fetches_within(&self, seconds: &str) -> Option<String> {
        let url = format!("http://{WEB}/");
        let output =
            self.world.client.run(|| Command::new("curl").args(["-sS", "-m", seconds, &url]).output());
        let output = output.expect("curl is there");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A web server that says who came.
    pub(crate) fn web(&self) -> Server {
        let listener = self.far.run(|| TcpListener::bind(WEB).expect("its own address"));
        Server::of(listener, |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let who = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{who}", who.len());
        })
    }
}

/// All that a bond could change on a host, but resolv.conf.
pub(crate) fn dump(ns: &Ns) -> String {
    let lines = "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; nft list ruleset; \
                 cd /proc/sys/net; grep -s . ipv4/ip_forward ipv4/conf/*/* ipv6/conf/*/*";
    let output = ns.run(|| Command::new("sh").args(["-c", lines]).output()).expect("sh is everywhere");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
pub(crate) fn assert_same(now: &str, before: &str, what: &str) {
    let lines = |one: &str, other: &str, sign: &str| {
        let lines = one.lines().filter(|line| !other.lines().any(|same| same == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    assert!(now == before, "{what}:\n{}{}", lines(before, now, "-"), lines(now, before, "+"));
}

#[test]
fn everything_leaves_with_the_servers_address_and_all_is_as_before_at_the_end() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let before = [dump(&hosts.world.client), dump(&hosts.world.server)];
    let web = hosts.web();
    let mut server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let mut client = hosts.connect(&[&join]);
    assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"), "{}", web.address);
    for end in [&mut client, &mut server] {
        end.terminate();
        assert!(end.wait_for_end().success());
    }
    assert_same(&dump(&hosts.world.client), &before[0], "the client's host");
    assert_same(&dump(&hosts.world.server), &before[1], "the server's host");
}

#[test]
fn both_ends_that_are_killed_are_put_back_by_restore_and_by_the_end_of_the_next() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let before = [dump(&hosts.world.client), dump(&hosts.world.server)];
    let _web = hosts.web();
    let server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let client = hosts.connect(&[&join, "--kill-switch"]);
    assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));
    drop((client, server));
    let left = [dump(&hosts.world.client), dump(&hosts.world.server)];
    assert!(left[0] != before[0] && left[1] != before[1], "a kill leaves something");
    assert!(hosts.restore("connect").contains("the kill switch"));
    assert!(hosts.restore("serve").contains("NAT"));
    assert_same(&dump(&hosts.world.client), &before[0], "the client's host after restore");
    assert_same(&dump(&hosts.world.server), &before[1], "the server's host after restore");
    // The next run of each takes over what was left, goes on, and puts it back.
    let server = hosts.serve();
    drop((hosts.connect(&["--kill-switch"]), server));
    let mut server = hosts.serve();
    let mut client = hosts.connect(&["--kill-switch"]);
    assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));
    for end in [&mut client, &mut server] {
        end.terminate();
        assert!(end.wait_for_end().success());
    }
    assert_same(&dump(&hosts.world.client), &before[0], "the client's host after the next run");
    assert_same(&dump(&hosts.world.server), &before[1], "the server's host after the next run");
}

#[test]
fn doctor_tells_of_what_was_left_and_how_to_put_it_back() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let state = hosts.world.state("connect");
    let doctor = || {
        let args = ["doctor", "bond", "--client", "--state-dir", &state, "--via", "c1", "--via", "c2"];
        hosts.world.client.run(|| run(&args)).stdout
    };
    let client = hosts.connect(&[&join, "--kill-switch"]);
    assert!(doctor().contains("ok    client: runs"), "{}", doctor());
    drop(client);
    let said = doctor();
    let line = said.lines().find(|line| line.contains("was killed")).unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.starts_with("warn  client: ") && line.contains("the kill switch, rules and routes"),
        "{line}"
    );
    // What it says helps.
    let (_, cure) = line.split_once("put all back: ropewalk ").expect("a command");
    let cure: Vec<&str> = cure.split(' ').collect();
    assert_eq!(hosts.world.client.run(|| run(&cure)).code, Some(0));
    let said = doctor();
    assert!(!said.contains("was killed"), "{said}");
    // And each link is tried.
    for line in [
        "ok    server: 198.51.100.1:4500 (198.51.100.1:4500) knows this client",
        "by c1: a packet came back",
        "by c2: no packet came back, as its reverse path filter is strict until a client runs",
        "ok    MTU of c1: 1500",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn a_resolv_conf_that_a_container_has_mounted_is_written_and_comes_back_after_a_kill() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    if !has(here!(), "unshare") {
        return;
    }
    let _server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    drop(hosts.connect(&[&join]));
    hosts.restore("connect");
    let (scratch, state) = (Scratch::new(), hosts.world.state("connect"));
    let mine = "# mine\nnameserver 192.0.2.53\n";
    let file = scratch.file("resolv.conf", mine.as_bytes());
    // It cannot be replaced by another file there, only written.
    let begin = |command: &str| {
        let line = format!(
            "mount --bind {file} /etc/resolv.conf && exec {ROPEWALK} bond {command} --state-dir {state}"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &line]).stdout(Stdio::null()).stderr(Stdio::null());
        hosts.world.client.run(|| unshare.spawn().expect("looked for before"))
    };
    let read = || std::fs::read_to_string(&file).expect("ours");
    let mut client = begin("connect --via c1 --dns 10.77.0.1");
    wait_until("the name server is the bond's", LONG, || read().contains("\nnameserver 10.77.0.1\n"));
    client.kill().expect("our own child");
    client.wait().expect("our own child");
    assert!(read().contains("10.77.0.1"));
    assert!(begin("restore").wait().expect("our own child").success());
    assert_eq!(read(), mine);
}

#[test]
fn a_host_beyond_the_server_learns_what_fits() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _web = hosts.web();
    let _server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    hosts.world.client.ip("link set c1 mtu 1280\nlink set c2 mtu 1280");
    let _client = hosts.connect(&[&join]);
    // The answers are larger than what fits: whoever sends them cuts them once told.
    let far = WEB.split(':').next().expect("an address and a port");
    wait_until("answers of 1,328 bytes come through links of 1,280", LONG, || {
        let args = ["-c", "1", "-W", "1", "-s", "1300", far];
        let output = hosts.world.client.run(|| Command::new("ping").args(args).output());
        output.expect("ping is there").status.success()
    });
}
