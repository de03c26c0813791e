//! Strangers, and people who keep what passes and send it again.

use crate::capture::{Capture, Frame};
use crate::common::ns::Ns;
use crate::common::{LONG, assert_pattern, here, wait_until};
use crate::light;
use crate::world::{SERVER, World};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

/// Datagrams that programs of this host have received (RFC 4113, udpInDatagrams).
fn received(ns: &Ns) -> u64 {
    let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).expect("every kernel has it");
    let line = text.lines().filter(|line| line.starts_with("Udp: ")).nth(1).expect("names, then figures");
    line.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

/// Both links as they are: no limit, and each datagram a frame of its own.
fn plain_links(world: &World) {
    for (ns, letter) in [(&world.client, 'c'), (&world.server, 's')] {
        for link in 1..=2 {
            let del = format!("-n {} qdisc del dev {letter}{link} root", ns.name());
            assert!(Command::new("tc").args(del.split(' ')).status().is_ok_and(|status| status.success()));
            ns.ip(&format!("link set {letter}{link} gso_max_segs 1"));
        }
    }
}

fn ping(world: &World) -> bool {
    let ping = world.client.run(|| Command::new("ping").args(["-c", "1", "-W", "1", "10.77.0.1"]).output());
    ping.expect("ping is there").status.success()
}

/// The bond's own frames that arrived at the end of a link.
fn of_the_bond(frames: Vec<Frame>, is: impl Fn(&SocketAddr) -> bool) -> Vec<Frame> {
    frames.into_iter().filter(|frame| frame.udp().is_some_and(|udp| is(&udp.to))).collect()
}

/// What both ends say of who is where: all but figures that grow.
fn places(world: &World) -> Vec<String> {
    let all =
        [world.ask("connect", &["status", "--json"]), world.ask("serve", &["status", "--json"])].concat();
    let keys = [
        "\"remote\":",
        "\"state\":",
        "\"established\":",
        "\"addresses\":",
        "\"name\":",
        "\"malformed\":",
        "\"foreign\":",
    ];
    let mut places: Vec<String> = Vec::new();
    for key in keys {
        places.extend(all.split(key).skip(1).map(|rest| {
            let value = rest.split(['}', '{']).next().expect("split gives one");
            format!("{key}{}", value.split(",\"").next().expect("split gives one"))
        }));
    }
    assert!(places.len() > 10, "expected both ends with two paths, got {places:?}");
    places
}

/// What both ends got in a session, by link: at the server, then at the client.
struct Session([Vec<Frame>; 4]);

impl Session {
    /// Sends all of it again, on the links that it came by, and waits until sockets have it: of the
    /// server, and of a client that has the same ports.
    fn replay(&self, world: &World, same_ports: bool) {
        let [server, client] = [received(&world.server), received(&world.client)];
        let ends =
            [(&world.client, "c1"), (&world.client, "c2"), (&world.server, "s1"), (&world.server, "s2")];
        for (frames, (ns, device)) in self.0.iter().zip(ends) {
            crate::capture::inject(ns, device, frames);
        }
        let [up, down] =
            [&self.0[..2], &self.0[2..]].map(|two| two.iter().map(Vec::len).sum::<usize>() as u64);
        wait_until("both ends have got all of it", LONG, || {
            received(&world.server) >= server + up
                && (!same_ports || received(&world.client) >= client + down)
        });
    }
}

#[test]
fn a_whole_session_that_is_sent_again_changes_nothing() {
    let Some(world) = World::new(here!()) else { return };
    plain_links(&world);
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let captures = ["s1", "s2"]
        .map(|device| Capture::new(&world.server, device))
        .into_iter()
        .chain(["c1", "c2"].map(|device| Capture::new(&world.client, device)));
    let captures: Vec<Capture> = captures.collect();
    let client = world.connect(&[&join, "--via", "c1", "--via", "c2"]);
    let web = world.web();
    assert_pattern(0, &world.fetch(web.address));
    wait_until("a ping comes back", LONG, || ping(&world));
    let at: SocketAddr = SERVER.parse().expect("an address");
    let mut frames = captures.into_iter().enumerate().map(|(n, capture)| {
        // Of what came to the client, what came to sockets: the answers of no other program.
        of_the_bond(
            capture.stop(),
            |to| if n < 2 { *to == at } else { to.ip().to_string().starts_with("10.9.") },
        )
    });
    let session = Session(std::array::from_fn(|_| frames.next().expect("four of them")));
    for (frames, end) in session.0.iter().zip(["s1", "s2", "c1", "c2"]) {
        assert!(frames.len() > 10, "{end} got {} datagrams", frames.len());
    }

    // To the ends that live.
    let before = places(&world);
    let inside =
        [(&world.client, "ropewalk0"), (&world.server, "ropewalk0")].map(|(ns, tun)| Capture::new(ns, tun));
    session.replay(&world, true);
    assert_eq!(places(&world), before);
    for capture in inside {
        let came = capture.stop();
        assert!(came.iter().all(|frame| frame.ip().is_none()), "{} packets came out of the bond", came.len());
    }
    assert!(ping(&world), "the bond goes on");
    assert_eq!((client.count_lines("is down"), server.count_lines("is down")), (0, 0));
    assert_eq!(server.count_lines("laptop: connected"), 1);

    // From other places, as a client that has moved: the server answers where it answered before.
    let thief = world.client.run(|| UdpSocket::bind("10.9.1.2:0").expect("a free port"));
    for frame in session.0[..2].iter().flatten() {
        thief.send_to(frame.udp().expect("looked for before").payload, at).expect("it is there");
    }
    thief.set_read_timeout(Some(Duration::from_millis(300))).expect("above zero");
    assert!(thief.recv(&mut [0; 2048]).is_err(), "a thief is not answered");
    assert_eq!(places(&world), before);

    // To the ends of the next session of the same client.
    drop(client);
    let client = world.connect(&["--via", "c1", "--via", "c2"]);
    wait_until("it goes through", LONG, || ping(&world));
    let before = places(&world);
    session.replay(&world, false);
    assert_eq!(places(&world), before);
    assert!(ping(&world), "the next session goes on");

    // To a server that has started anew and knows of no session: none begins.
    drop((client, server));
    let _server = world.serve(&[]);
    let before = received(&world.server);
    for (frames, device) in session.0.iter().zip(["c1", "c2"]) {
        crate::capture::inject(&world.client, device, frames);
    }
    let sent = (session.0[0].len() + session.0[1].len()) as u64;
    wait_until("it has got all of it", LONG, || received(&world.server) >= before + sent);
    let status = world.ask("serve", &["status", "--json"]);
    assert!(status.contains("\"clients\":[]"), "{status}");
}

#[test]
fn a_stranger_gets_no_answer_whatever_it_sends() {
    let Some(world) = World::new(here!()) else { return };
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let at: SocketAddr = SERVER.parse().expect("an address");
    // The first message of somebody who is let in.
    let capture = Capture::new(&world.server, "s1");
    let client = world.begin("connect", &[&join, "--via", "c1"]);
    client.wait_for("c1 carries");
    let frames = of_the_bond(capture.stop(), |to| *to == at);
    let first = frames[0].udp().expect("looked for before").payload.to_vec();

    // Changed in each of its bytes, cut and lengthened everywhere, and what is none at all.
    // But for its last 16 bytes: they are for a cookie, and empty. Who changes them has a message
    // with the server's own mac, and after some a cookie comes, which is shorter.
    let changed = (0..first.len() - 16).map(|n| {
        let mut one = first.clone();
        one[n] ^= 1 << (n % 8);
        one
    });
    let cut = (0..first.len()).map(|len| first[..len].to_vec());
    let longer = (1..40).map(|more| [&first[..], &vec![0; more]].concat());
    let kinds = (0..=255).filter(|kind| *kind != first[0]).map(|kind| [&[kind][..], &first[1..]].concat());
    let noise = (0..1400).step_by(7).map(|len| crate::common::pattern(len as u64, len));
    let all: Vec<Vec<u8>> = changed.chain(cut).chain(longer).chain(kinds).chain(noise).collect();
    let stranger = world.client.run(|| UdpSocket::bind("10.9.2.2:0").expect("a free port"));
    let before = received(&world.server);
    for (n, one) in all.iter().enumerate() {
        stranger.send_to(one, at).expect("it is there");
        if n % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait_until("the server has got all of it", LONG, || received(&world.server) >= before + all.len() as u64);
    stranger.set_read_timeout(Some(Duration::from_millis(300))).expect("above zero");
    assert!(stranger.recv(&mut [0; 2048]).is_err(), "a stranger is answered");
    wait_until("the client's bond goes on", LONG, || ping(&world));

    // One that knows the server's key and all of the protocol.
    let line = server.wait_for("public key: ");
    let key = line.split("public key: ").nth(1).expect("waited for it").parse().expect("a key");
    let capture = Capture::new(&world.client, "c2");
    let mut unknown = [light::Light::new(at, key, light::key(), &["c2"])];
    world.client.run(|| {
        light::run_until("it has asked more than once", LONG, &mut unknown, |_| {
            server.count_lines("was not let in: its key is unknown") > 0
        });
    });
    let came = of_the_bond(capture.stop(), |_| true);
    assert!(came.is_empty(), "a stranger got {} datagrams", came.len());
}
