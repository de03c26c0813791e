//! Nothing passes the kill switch, whatever happens to either end.
//!
//! Senders number their rounds, so that what is captured tells when it was sent: no clock is
//! compared.

use crate::capture::{Capture, Frame};
use crate::common::ns::Ns;
use crate::common::{here, wait_until};
use crate::host::{Hosts, LONG};
use crate::world::SERVER;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const WORD: &[u8] = b"probe ";

/// Programs that send by the routes and bound to links, IPv4, IPv6 and names, until they are
/// dropped.
struct Senders {
    begun: Arc<AtomicUsize>,
    /// Rounds that were sent whole.
    done: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// More rounds than any test has.
const OVER: usize = usize::MAX / 2;

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
        let (begun, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (first, last) = (Arc::clone(&begun), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            loop {
                let round = first.fetch_add(1, Ordering::SeqCst) + 1;
                if round > OVER {
                    break;
                }
                let payload = [WORD, round.to_string().as_bytes()].concat();
                for (socket, to) in &sockets {
                    let _ = socket.send_to(&payload, to);
                }
                last.store(round, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Senders { begun, done, thread: Some(thread) }
    }

    /// The last round that has begun.
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// The last round that was sent whole.
    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits for some rounds more.
    fn enough(&self) {
        let first = self.begun();
        wait_until("probes are sent", LONG, || self.done() > first + 40);
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.begun.store(OVER, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// What left by both uplinks.
#[derive(Default)]
struct Seen {
    /// Rounds of which a probe was seen.
    rounds: Vec<usize>,
    bond: usize,
    /// What is neither a probe nor the bond's nor needed by a link.
    others: Vec<String>,
}

/// Captures at the far end of both uplinks.
struct Captures<'a>(&'a Hosts, Vec<Capture>);

impl<'a> Captures<'a> {
    fn new(hosts: &'a Hosts) -> Self {
        Captures(hosts, ["s1", "s2"].iter().map(|device| Capture::new(&hosts.world.server, device)).collect())
    }

    fn end(self) -> Seen {
        let mut seen = Seen::default();
        let server: SocketAddr = SERVER.parse().expect("an address");
        for (capture, device) in self.1.into_iter().zip(["c1", "c2"]) {
            for frame in capture.end(&self.0.world.client, device) {
                let udp = frame.udp();
                if let Some(number) = udp.as_ref().and_then(|udp| udp.payload.strip_prefix(WORD)) {
                    let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
                    seen.rounds.push(number.expect("as it was sent"));
                } else if udp.is_some_and(|udp| udp.to == server) {
                    seen.bond += 1;
                } else if let Some(packet) = frame.ip().filter(|_| !is_of_the_link(&frame)) {
                    seen.others.push(format!("{device}: {packet:02x?}"));
                }
            }
        }
        seen
    }
}

/// Neighbour discovery and what hosts tell a router of groups (ICMPv6 types 133 to 136 and 143),
/// behind a hop-by-hop header where it has one.
fn is_of_the_link(frame: &Frame) -> bool {
    let Some(packet) = frame.ip().filter(|packet| packet.len() > 48 && packet[0] >> 4 == 6) else {
        return false;
    };
    let at = if packet[6] == 0 { 48 } else { 40 };
    let icmp = if packet[6] == 0 { packet[40] == 58 } else { packet[6] == 58 };
    icmp && matches!(packet[at], 133..=136 | 143)
}

/// Whether the filter of the kill switch stands.
fn stands(hosts: &Hosts) -> bool {
    let args = ["list", "table", "inet", "ropewalk_bond_client"];
    let nft = hosts.world.client.run(|| Command::new("nft").args(args).output());
    nft.expect("looked for before").status.success()
}

/// Rules and routes that only a bond makes.
fn rules_and_routes(hosts: &Hosts) -> String {
    // 2930 to 2934 are its rules, and 29304 its table.
    let lines = "(ip rule; ip -6 rule) | grep '^293'; ip route show table all | grep 29304; \
                 ip -6 route show table all | grep 29304";
    let output = hosts.world.client.run(|| Command::new("sh").args(["-c", lines]).output());
    String::from_utf8_lossy(&output.expect("sh is everywhere").stdout).into_owned()
}

#[test]
fn nothing_passes_the_kill_switch_through_start_kills_of_both_ends_restarts_and_stop() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _web = hosts.web();
    let server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let senders = Senders::new(&hosts.world.client);
    let captures = Captures::new(&hosts);
    senders.enough();
    let goes_through = || assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));

    // The start: from the moment on that the filter stands.
    let client = hosts.begin("connect", &[&join, "--via", "c1", "--via", "c2", "--kill-switch"]);
    wait_until("the filter stands", LONG, || stands(&hosts));
    let open_until = senders.begun();
    wait_until("rules and routes are seen", LONG, || rules_and_routes(&hosts).contains("29304"));
    senders.enough();
    hosts.wait_until_carried(&client);
    goes_through();
    // The client is killed, and the next takes over.
    drop(client);
    senders.enough();
    assert_eq!(hosts.who_fetches_within("1"), None, "nothing goes through a dead bond");
    let client = hosts.connect(&["--kill-switch"]);
    senders.enough();
    goes_through();
    // The server is killed, and comes back.
    drop(server);
    senders.enough();
    assert_eq!(hosts.who_fetches_within("1"), None, "nothing goes through without a server");
    let server = hosts.serve();
    wait_until("the client finds it again", LONG, || hosts.who_fetches_within("2").is_some());
    goes_through();
    // Both are killed. The client comes back first, and finds no server.
    drop((client, server));
    senders.enough();
    let mut client = hosts.begin("connect", &["--via", "c1", "--via", "c2", "--kill-switch"]);
    client.wait_for("link c2");
    senders.enough();
    let _server = hosts.serve();
    hosts.wait_until_carried(&client);
    goes_through();
    // The end: the filter goes last.
    client.terminate();
    let mut held_until = senders.done();
    wait_until("the filter is gone", LONG, || {
        let done = senders.done();
        let stands = stands(&hosts);
        held_until = if stands { done } else { held_until };
        !stands
    });
    assert_eq!(rules_and_routes(&hosts), "", "the filter goes after all else");
    assert!(client.wait_for_end().success());
    let ended = senders.begun();
    senders.enough();

    let seen = captures.end();
    assert!(held_until > open_until + 200, "all of it was watched");
    let leaked = |round: &&usize| **round > open_until && **round <= held_until;
    let leaked: Vec<&usize> = seen.rounds.iter().filter(leaked).collect();
    assert!(leaked.is_empty(), "rounds {leaked:?} of {open_until} to {held_until} leaked");
    assert!(seen.others.is_empty(), "leaked: {}", seen.others.join("\n"));
    assert!(seen.bond > 0, "the capture works");
    assert!(seen.rounds.iter().any(|round| *round <= open_until), "before the bond all goes out");
    assert!(seen.rounds.iter().any(|round| *round > ended), "a clean end lifts it");
}
