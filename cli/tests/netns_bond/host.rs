//! What a bond changes on its hosts, what goes through then, and what is left of it.
//!
//! ```text
//!   client ══ two links ══ server 203.0.113.1 ── far 203.0.113.80, web server
//! ```

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, Proxy, ROPEWALK, run};
use crate::common::servers::Server;
use crate::common::{Scratch, has, here, wait_until};
use crate::world::{SERVER, World};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
/// Behind the server, in no network of its own.
const WEB: &str = "192.88.99.80:8000";

struct Hosts {
    world: World,
    far: Ns,
}

impl Hosts {
    fn new(test: &str) -> Option<Hosts> {
        if !has(test, "nft") || !has(test, "tcpdump") {
            return None;
        }
        let world = World::new(test)?;
        let far = Ns::new().expect("as the first");
        world.server.ip(&format!(
            "link add w0 type veth peer name w1 netns {}\naddr add 203.0.113.1/24 dev w0\nlink set w0 addrgenmode none\n\
             link set w0 up\nroute add default via 203.0.113.80",
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

    fn begin(&self, kind: &str, args: &[&str]) -> Proxy {
        let state = self.world.state(kind);
        let args = [&[kind], args, &["--state-dir", &state]].concat();
        let ns = if kind == "serve" { &self.world.server } else { &self.world.client };
        ns.run(|| Launch::bond(&args).begin())
    }

    fn serve(&self) -> Proxy {
        let server = self.begin("serve", &[]);
        server.wait_for("serving on");
        server
    }

    fn connect(&self, args: &[&str]) -> Proxy {
        let client = self.begin("connect", &[&["--via", "c1", "--via", "c2"], args].concat());
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
        client
    }

    fn restore(&self, kind: &str) -> String {
        let state = self.world.state(kind);
        let ns = if kind == "serve" { &self.world.server } else { &self.world.client };
        let outcome = ns.run(|| run(&["bond", "restore", "--state-dir", &state]));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    }

    /// Whether the web server beyond the server answers, and to whom.
    fn who_fetches(&self) -> Option<String> {
        let url = format!("http://{WEB}/");
        let output = self.world.client.run(|| Command::new("curl").args(["-sS", "-m", "20", &url]).output());
        let output = output.expect("curl is there");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A web server that says who came.
    fn web(&self) -> Server {
        let listener = self.far.run(|| TcpListener::bind(WEB).expect("its own address"));
        Server::of(listener, |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let who = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{who}", who.len());
        })
    }
}

/// All that a bond could change on a host, but resolv.conf.
fn dump(ns: &Ns) -> String {
    let lines = "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; nft list ruleset; \
                 cd /proc/sys/net; grep -s . ipv4/ip_forward ipv4/conf/*/* ipv6/conf/*/*";
    let output = ns.run(|| Command::new("sh").args(["-c", lines]).output()).expect("sh is everywhere");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_same(now: &str, before: &str, what: &str) {
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

/// Programs that send by the routes and bound to links, IPv4, IPv6 and names, until they are
/// dropped.
struct Senders {
    rounds: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Senders {
    fn new(ns: &Ns) -> Self {
        let mut sockets = Vec::new();
        for to in [
            "192.88.99.80:9999",
            "192.88.99.80:53",
            "10.9.1.1:53",
            "[2001:db8:ffff::7]:9999",
            "[2001:db8:1::1]:53",
        ] {
            let to: SocketAddr = to.parse().expect("an address");
            for device in [None, Some("c1"), Some("c2")] {
                let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                let socket = ns.run(|| UdpSocket::bind(any).expect("a socket"));
                if let Some(device) = device {
                    setsockopt(&socket, BindToDevice, &device.into()).expect("root");
                }
                sockets.push((socket, to));
            }
        }
        let (rounds, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&rounds), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                for (socket, to) in &sockets {
                    let _ = socket.send_to(b"probe", to);
                }
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Senders { rounds, over, thread: Some(thread) }
    }

    fn enough(&self) {
        let first = self.rounds.load(Ordering::Relaxed);
        wait_until("probes are sent", LONG, || self.rounds.load(Ordering::Relaxed) > first + 40);
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Captures at the far end of both links.
struct Captures {
    running: Vec<(Child, String)>,
    _scratch: Scratch,
}

impl Captures {
    fn new(ns: &Ns) -> Self {
        let scratch = Scratch::new();
        let mut all = Vec::new();
        for device in ["s1", "s2"] {
            let (out, err) = (scratch.file(device, b""), scratch.file(&format!("{device}-err"), b""));
            let open = |path: &str| std::fs::File::create(path).expect("ours");
            let (stdout, stderr) = (open(&out), open(&err));
            let child = ns.run(|| {
                let mut tcpdump = Command::new("tcpdump");
                tcpdump.args(["-i", device, "-n", "-l", "--immediate-mode", "-Q", "in", "ip or ip6"]);
                tcpdump.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("looked for before")
            });
            let begun = || std::fs::read_to_string(&err).is_ok_and(|said| said.contains("listening on"));
            wait_until("tcpdump listens", LONG, begun);
            all.push((child, out));
        }
        Captures { running: all, _scratch: scratch }
    }

    /// Ends them: how many packets went to this port, from the client.
    fn end(mut self) -> impl Fn(&str) -> usize {
        let mut lines = Vec::new();
        for (child, path) in &mut self.running {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            child.wait().expect("our own child");
            lines.extend(std::fs::read_to_string(&path).expect("ours").lines().map(str::to_owned));
        }
        move |port: &str| {
            let to = format!(".{port}: ");
            let goes = |line: &&String| line.split_once(" > ").is_some_and(|(_, rest)| rest.contains(&to));
            lines.iter().filter(goes).count()
        }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        for (child, _) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn nothing_passes_the_kill_switch_of_the_binary_through_kill_and_restart() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _web = hosts.web();
    let _server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let senders = Senders::new(&hosts.world.client);
    let captures = Captures::new(&hosts.world.server);
    senders.enough();
    let seen = captures.end();
    assert!(seen("9999") > 0 && seen("53") > 0, "without a bond the probes are seen");

    let client = hosts.connect(&[&join, "--kill-switch"]);
    let captures = Captures::new(&hosts.world.server);
    senders.enough();
    assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));
    drop(client);
    senders.enough();
    assert_eq!(hosts.who_fetches(), None, "nothing goes through a dead bond");
    let began = Instant::now();
    let mut client = hosts.connect(&["--kill-switch"]);
    assert!(began.elapsed() < LONG);
    senders.enough();
    assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));
    let seen = captures.end();
    assert_eq!((seen("9999"), seen("53")), (0, 0), "leaked");
    assert!(seen(SERVER.rsplit(':').next().expect("a port")) > 0, "the capture works");

    client.terminate();
    assert!(client.wait_for_end().success());
    let captures = Captures::new(&hosts.world.server);
    senders.enough();
    assert!(captures.end()("9999") > 0, "a clean end lifts it");
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
