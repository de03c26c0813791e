//! Nothing passes the kill switch: what leaves the uplinks is captured at their other end, while
//! programs send all they can, and the bond starts, dies and starts again.

use super::super::plan::{ClientPlan, Dns, MARK};
use super::super::{ClientHost, client_with, restore_with};
use super::lab::{Lab, clients};
use super::ns::Ns;
use crate::host::fixtures::ip;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{BindToDevice, Mark};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where no probe may come from an uplink.
const ABROAD: [&str; 2] = ["198.51.100.7:9999", "[2001:db8:ffff::7]:9999"];
/// Names, of the LAN's own server and of others.
const NAMES: [&str; 5] =
    ["192.168.7.1:53", "198.51.100.7:53", "[2001:db8:7::1]:53", "[2001:db8:ffff::7]:53", "198.51.100.7:853"];
/// What the kill switch lets out.
const LAN: &str = "192.168.7.1:8888";
/// The bond's server.
const SERVER: &str = "192.0.2.1:4500";
/// So many rounds of probes are enough to see a leak.
const ROUNDS: usize = 40;

/// The other end of both uplinks: their routers, and the server.
struct Far {
    ns: Ns,
    captures: Vec<(Child, PathBuf)>,
    over: std::sync::Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
}

impl Far {
    fn new(lab: &Lab) -> Self {
        let ns = Ns::new().expect("a second namespace");
        lab.ns.ip(&format!("link set far0 netns {0}\nlink set far1 netns {0}", ns.name()));
        ns.ip("link set far0 up\nlink set far1 up\naddr add 192.168.7.1/24 dev far0\n\
               addr add 2001:db8:7::1/64 dev far0 nodad\naddr add 203.0.113.1/24 dev far1\n\
               addr add 192.0.2.1/32 dev lo");
        let over = std::sync::Arc::new(AtomicBool::new(false));
        let socket = ns.run(|| UdpSocket::bind(SERVER).expect("its own address"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
        let end = std::sync::Arc::clone(&over);
        let echo = std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while !end.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
        });
        Far { ns, captures: Vec::new(), over, echo: Some(echo) }
    }

    /// Captures from now on what comes from the client.
    fn capture(&mut self, lab: &Lab, name: &str) {
        for device in ["far0", "far1"] {
            let path = lab.dir().join(format!("{name}-{device}"));
            let (out, err) = (std::fs::File::create(&path).expect("ours"), path.with_extension("err"));
            let said = std::fs::File::create(&err).expect("ours");
            let child = self.ns.run(|| {
                let mut tcpdump = Command::new("tcpdump");
                tcpdump.args(["-i", device, "-n", "-l", "--immediate-mode", "-Q", "in", "ip or ip6"]);
                tcpdump.stdin(Stdio::null()).stdout(out).stderr(said).spawn().expect("looked for before")
            });
            let began = Instant::now();
            while !std::fs::read_to_string(&err).is_ok_and(|said| said.contains("listening on")) {
                assert!(began.elapsed() < Duration::from_secs(20), "tcpdump does not begin");
                std::thread::sleep(Duration::from_millis(5));
            }
            self.captures.push((child, path));
        }
    }

    /// The lines of the captures.
    fn captured(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (mut child, path) in self.captures.drain(..) {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            child.wait().expect("our own child");
            lines.extend(std::fs::read_to_string(&path).expect("ours").lines().map(str::to_owned));
        }
        lines
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.captured();
        self.over.store(true, Ordering::Relaxed);
        let _ = self.echo.take().map(JoinHandle::join);
    }
}

/// A socket of a program in the lab; `device`: bound to it; `mark`: one of the bond's own.
fn socket(v6: bool, device: Option<&str>, mark: Option<u32>) -> UdpSocket {
    let socket = UdpSocket::bind(if v6 { "[::]:0" } else { "0.0.0.0:0" }).expect("a socket");
    if let Some(device) = device {
        setsockopt(&socket, BindToDevice, &device.into()).expect("root");
    }
    if let Some(mark) = mark {
        setsockopt(&socket, Mark, &mark).expect("root");
    }
    socket
}

/// Programs that send to everywhere, by the routes and bound to devices, until they are told to
/// stop.
struct Senders {
    rounds: std::sync::Arc<AtomicUsize>,
    over: std::sync::Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Senders {
    fn new(lab: &Lab) -> Self {
        let (rounds, over) =
            (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Arc::new(AtomicBool::new(false)));
        let targets: Vec<SocketAddr> =
            ABROAD.iter().chain(&NAMES).chain([&LAN]).map(|text| text.parse().expect("an address")).collect();
        let mut sockets = Vec::new();
        lab.ns.run(|| {
            for target in targets {
                for device in [None, Some("eth0"), Some("eth1")] {
                    sockets.push((socket(target.is_ipv6(), device, None), target));
                }
            }
        });
        let (count, end) = (std::sync::Arc::clone(&rounds), std::sync::Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                for (socket, target) in &sockets {
                    let _ = socket.send_to(b"probe", target);
                }
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Senders { rounds, over, thread: Some(thread) }
    }

    /// Waits until they have sent enough.
    fn enough(&self) {
        let (first, began) = (self.rounds.load(Ordering::Relaxed), Instant::now());
        while self.rounds.load(Ordering::Relaxed) < first + ROUNDS {
            assert!(began.elapsed() < Duration::from_secs(20), "nothing is sent");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Whether a line tells of a packet to this port.
fn goes_to(line: &str, port: &str) -> bool {
    line.split_once(" > ")
        .is_some_and(|(_, to)| to.split(": ").next().is_some_and(|to| to.ends_with(&format!(".{port}"))))
}

fn count(lines: &[String], port: &str) -> usize {
    lines.iter().filter(|line| goes_to(line, port)).count()
}

#[track_caller]
fn assert_no_leak(lines: &[String], when: &str) {
    let leaked = lines.iter().find(|line| ["9999", "53", "853"].iter().any(|port| goes_to(line, port)));
    assert_eq!(leaked, None, "leaked {when}");
    assert!(count(lines, "8888") > 0, "the LAN is reached {when}: the capture works");
}

/// The bond's own socket on each uplink is heard, and hears.
#[track_caller]
fn assert_bond_gets_through(lab: &Lab, when: &str) {
    for device in ["eth0", "eth1"] {
        let heard = lab.ns.run(|| {
            let own = socket(false, Some(device), Some(MARK));
            own.set_read_timeout(Some(Duration::from_millis(200))).expect("a time");
            // ARP may lose the first.
            (0..10).any(|_| own.send_to(b"bond", SERVER).is_ok() && own.recv(&mut [0; 64]).is_ok())
        });
        assert!(heard, "the bond hears its server by {device} {when}");
    }
}

fn start(lab: &Lab, plan: &ClientPlan) -> ClientHost<super::stopping::Stopping<super::super::world::System>> {
    lab.ns.run(|| client_with(lab.world(None), plan.clone(), &lab.state()).expect("a sound plan").0)
}

#[test]
fn nothing_passes_the_kill_switch_from_the_start_to_the_clean_end() {
    let Some(lab) = Lab::new("leaks") else { return };
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("SKIP leaks: needs tcpdump");
        return;
    }
    lab.write_resolv_conf();
    lab.ns.set("ipv4/conf/eth1/rp_filter", "2");
    let mut far = Far::new(&lab);
    lab.tun_comes();
    for plan in [clients()[0].clone(), ClientPlan { dns: Dns::Keep, ..clients()[0].clone() }] {
        let senders = Senders::new(&lab);
        far.capture(&lab, "before");
        senders.enough();
        let lines = far.captured();
        for port in ["9999", "53", "853", "8888"] {
            assert!(count(&lines, port) > 0, "without a bond a packet to {port} is captured: {lines:?}");
        }
        assert!(
            lines.iter().any(|line| line.contains("IP6") && goes_to(line, "9999")),
            "IPv6 too: {lines:?}"
        );

        let mut client = start(&lab, &plan);
        // What was on its way when the filter came has arrived.
        std::thread::sleep(Duration::from_millis(50));
        far.capture(&lab, "started");
        senders.enough();
        assert_bond_gets_through(&lab, "before it has an address inside");
        lab.ns.run(|| client.inside(&[ip("10.77.0.2")])).expect("addresses");
        senders.enough();
        assert_bond_gets_through(&lab, "with an address inside");
        lab.ns.run(|| client.inside(&[ip("10.77.0.2"), ip("fd77::2")])).expect("addresses");
        senders.enough();
        assert_no_leak(&far.captured(), "while it ran");

        far.capture(&lab, "killed");
        drop(client);
        lab.tun_goes();
        senders.enough();
        assert_no_leak(&far.captured(), "after it was killed");

        far.capture(&lab, "again");
        lab.tun_comes();
        senders.enough();
        let mut client = start(&lab, &plan);
        senders.enough();
        assert_bond_gets_through(&lab, "in the next start");
        lab.ns.run(|| client.inside(&[ip("10.77.0.2")])).expect("addresses");
        senders.enough();
        assert_no_leak(&far.captured(), "in the next start");

        lab.ns.run(|| client.undo()).expect("all goes back");
        far.capture(&lab, "ended");
        senders.enough();
        assert!(count(&far.captured(), "9999") > 0, "a clean end lifts it");
    }
}

#[test]
fn without_a_kill_switch_everything_goes_into_the_tun_and_a_death_gives_ipv4_back() {
    let Some(lab) = Lab::new("no_kill_switch") else { return };
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("SKIP no_kill_switch: needs tcpdump");
        return;
    }
    lab.write_resolv_conf();
    let mut far = Far::new(&lab);
    lab.tun_comes();
    let plan = ClientPlan { kill_switch: false, ..clients()[0].clone() };
    let mut client = start(&lab, &plan);
    assert_bond_gets_through(&lab, "before it has an address inside");
    lab.ns.run(|| client.inside(&[ip("10.77.0.2")])).expect("addresses");
    assert_bond_gets_through(&lab, "with an address inside");
    far.capture(&lab, "inside");
    lab.ns.run(|| {
        for target in ABROAD.iter().chain(&NAMES).chain([&LAN]) {
            let target: SocketAddr = target.parse().expect("an address");
            let sent = socket(target.is_ipv6(), None, None).send_to(b"probe", target);
            let refused = sent.as_ref().is_err_and(|error| {
                error.kind() == std::io::ErrorKind::HostUnreachable
                    || error.kind() == std::io::ErrorKind::NetworkUnreachable
            });
            // There is no IPv6 inside: it is refused, and not sent by other ways.
            assert_eq!(refused, target.is_ipv6(), "{target}: {sent:?}");
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_no_leak(&far.captured(), "by the routes");
    drop(client);
    lab.tun_goes();
    far.capture(&lab, "killed");
    lab.ns.run(|| socket(false, None, None).send_to(b"probe", ABROAD[0])).expect("main has a route");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(&far.captured(), "9999"), 1);
    lab.ns.run(|| restore_with(|| Ok(lab.world(None)), &lab.state())).expect("all goes back");
}
