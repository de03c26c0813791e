//! A bond for a long time: links that flap under iperf3, and one that has nothing to do.
//!
//! `ROPEWALK_ENDURE` says how many seconds; without it 20. `.ci/long` says 600, in a release build.

use crate::capture::{Capture, Frame};
use crate::common::process::{descriptors, resident};
use crate::common::proxy::Proxy;
use crate::common::{LONG, assert_pattern, has, here, wait_until};
use crate::world::{World, member};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What an idle path may send, in bits a second, with its headers of IP and UDP.
const IDLE: u64 = 40;
/// What a process without much to do may have in memory. Code that is not optimised is larger.
const SMALL: u64 = if cfg!(debug_assertions) { 16 << 20 } else { 8 << 20 };
/// What both ends may have under load: buffers, queues, and what waits for its order.
const LARGE: u64 = 96 << 20;
/// An outage longer than all that are made here. After it, something must have come through.
const HANG: Duration = Duration::from_secs(15);

fn long() -> Duration {
    let text = std::env::var("ROPEWALK_ENDURE").unwrap_or_else(|_| "20".into());
    Duration::from_secs(text.parse().expect("ROPEWALK_ENDURE: a number of seconds"))
}

/// A program of iperf3, ended with the test.
struct Iperf(Child);

impl Iperf {
    fn serve(world: &World, port: &str) -> Self {
        let args = ["-s", "-B", "10.77.0.1", "-p", port];
        Iperf(world.server.run(|| quiet("iperf3", &args).spawn().expect("looked for before")))
    }

    fn send(world: &World, port: &str, seconds: &str, more: &[&str]) -> Self {
        let args = [&["-c", "10.77.0.1", "-p", port, "-t", seconds, "-i", "0", "-f", "m"], more].concat();
        let mut command = quiet("iperf3", &args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Iperf(world.client.run(|| command.spawn().expect("looked for before")))
    }

    /// Waits for its end: the lines of its sums.
    #[track_caller]
    fn sums(mut self) -> String {
        let mut text = String::new();
        for from in [
            self.0.stdout.take().map(|from| Box::new(from) as Box<dyn std::io::Read>),
            self.0.stderr.take().map(|from| Box::new(from) as Box<dyn std::io::Read>),
        ] {
            let _ = from.expect("piped").read_to_string(&mut text);
        }
        let status = self.0.wait().expect("our own child");
        assert!(status.success(), "iperf3: {text}");
        let sums = text.lines().filter(|line| line.ends_with("sender") || line.ends_with("receiver"));
        sums.map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn quiet(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What is done to a link, and undone.
#[derive(Clone, Copy, Debug)]
enum Pull {
    SwitchOff,
    Unplug,
    Remove,
    Address,
}

impl Pull {
    fn pull(self, world: &World, link: usize) {
        match self {
            Pull::SwitchOff => world.client.ip(&format!("link set c{link} down")),
            Pull::Unplug => world.server.ip(&format!("link set s{link} down")),
            Pull::Remove => world.client.ip(&format!("link del c{link}")),
            Pull::Address => world.client.ip(&format!("addr flush dev c{link}")),
        }
    }

    fn back(self, world: &World, link: usize) {
        match self {
            Pull::SwitchOff => {
                world.client.ip(&format!("link set c{link} up"));
                world.route(link);
            }
            Pull::Unplug => world.server.ip(&format!("link set s{link} up")),
            Pull::Remove => world.plug(link),
            Pull::Address => {
                world.client.ip(&format!("addr add 10.9.{link}.2/24 dev c{link}"));
                world.route(link);
            }
        }
    }
}

/// Marsaglia's xorshift: the same pulls in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The most memory that an end had, in each half of the run, and its descriptors.
struct Size {
    halves: [u64; 2],
    descriptors: usize,
}

impl Size {
    fn new(end: &Proxy) -> Self {
        Size { halves: [0; 2], descriptors: descriptors(end.id()) }
    }

    fn look(&mut self, end: &Proxy, second: bool) {
        let half = &mut self.halves[usize::from(second)];
        *half = (*half).max(resident(end.id()));
    }

    #[track_caller]
    fn judge(&self, name: &str, end: &Proxy) {
        let (before, now) = (self.descriptors, descriptors(end.id()));
        let [first, second] = self.halves;
        eprintln!("{name}: at most {first} bytes resident, then {second}; {before} descriptors, then {now}");
        assert!(second < LARGE, "{name} has {second} bytes");
        // It has settled in the first half.
        assert!(second <= first + first / 4 + (4 << 20), "{name} grows: {first}, then {second} bytes");
        assert!(now <= before + 4, "{name} keeps descriptors: {before}, then {now}");
    }
}

#[test]
fn links_flap_under_iperf3_and_nothing_hangs_or_grows() {
    let Some(world) = World::new(here!()) else { return };
    if !has(here!(), "iperf3") {
        return;
    }
    let long = long();
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    // Without `--via`: links are taken as they come.
    let client = world.connect(&[&join]);
    let web = world.web();
    let (mut small, mut large) = (Size::new(&client), Size::new(&server));
    let ports = ["5201", "5202", "5203"];
    let servers = ports.map(|port| Iperf::serve(&world, port));
    wait_until("all of them listen", LONG, || {
        let listening = world.server.run(|| Command::new("ss").args(["-ltn"]).output());
        let listening = String::from_utf8(listening.expect("ss is of iproute2").stdout).expect("text");
        ports.iter().all(|port| listening.contains(&format!("10.77.0.1:{port} ")))
    });
    let seconds = long.as_secs().to_string();
    let flows = [
        ("TCP both ways", Iperf::send(&world, ports[0], &seconds, &["--bidir", "-P", "2"])),
        ("UDP up", Iperf::send(&world, ports[1], &seconds, &["-u", "-b", "3M", "-l", "1200"])),
        ("UDP down", Iperf::send(&world, ports[2], &seconds, &["-u", "-b", "3M", "-l", "1200", "-R"])),
    ];

    let came = || {
        let args =
            ["netns", "exec", world.client.name(), "cat", "/sys/class/net/ropewalk0/statistics/rx_bytes"];
        let output = Command::new("ip").args(args).output().expect("ip was there for the namespaces");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a number")
    };
    let (began, mut dice) = (Instant::now(), Dice(0x9e37_79b9_7f4a_7c15));
    let (mut last, mut pulls) = ((came(), Instant::now()), 0);
    let mut pause = |least: u64, span: u64, dice: &mut Dice| {
        let until = Instant::now() + Duration::from_millis(least + dice.below(span));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
            let second = began.elapsed() > long / 2;
            small.look(&client, second);
            large.look(&server, second);
            let now = came();
            if now > last.0 + 20_000 {
                last = (now, Instant::now());
            }
            assert!(last.1.elapsed() < HANG, "nothing came through for {HANG:?}");
        }
    };
    while began.elapsed() + Duration::from_secs(5) < long {
        let pull = [Pull::SwitchOff, Pull::Unplug, Pull::Remove, Pull::Address][dice.below(4) as usize];
        let link = 1 + dice.below(2) as usize;
        pull.pull(&world, link);
        pause(100, 1500, &mut dice);
        // Now and then there is none.
        let none = dice.below(4) == 0;
        if none {
            Pull::Unplug.pull(&world, 3 - link);
            pause(50, 700, &mut dice);
            Pull::Unplug.back(&world, 3 - link);
        }
        pull.back(&world, link);
        pulls += 1 + usize::from(none);
        pause(100, 2500, &mut dice);
    }
    eprintln!("{pulls} links were pulled in {long:?}");
    for (name, flow) in flows {
        eprintln!("{name}:\n{}", flow.sums());
    }
    drop(servers);
    // Both links are there at the end, and carry.
    wait_until("both links carry", LONG, || {
        let status = world.ask("connect", &["status", "--json"]);
        ["c1", "c2"].iter().all(|link| member(&status, &format!("\"link\":\"{link}\""), "state") == "live")
    });
    assert_pattern(0, &world.fetch(web.address));
    small.judge("the client", &client);
    large.judge("the server", &server);
}

/// Whether it is a sealed packet: what keeps a path alive. Keys are made anew every two minutes, by
/// one of the paths, whatever else is sent.
fn is_sealed(frame: &Frame) -> bool {
    // core/docs/bond.md: the type stands in bits 5 to 1 of the first byte; 4 is TRANSPORT.
    frame.udp().is_some_and(|udp| udp.payload.first().is_some_and(|first| first >> 1 & 0x1f == 4))
}

/// Bits a second of IP in these frames. The largest does not count: a window of any length may
/// begin just before it.
fn rate(frames: &[Frame], span: Duration) -> u64 {
    let sealed = frames.iter().filter(|frame| is_sealed(frame)).filter_map(Frame::ip);
    let sizes: Vec<u64> = sealed.map(|ip| ip.len() as u64).collect();
    let all: u64 = sizes.iter().sum();
    8 * (all - sizes.iter().max().copied().unwrap_or(0)) / span.as_secs()
}

#[test]
fn an_idle_bond_sends_next_to_nothing_and_is_small() {
    let Some(world) = World::new(here!()) else { return };
    let server = world.serve(&[]);
    let join = world.invite("laptop", &[]);
    let client = world.connect(&[&join, "--via", "c1", "--via", "c2"]);
    // What the kernel says of itself on a new device is no idleness of the bond's.
    let ends = [(&world.client, "c1"), (&world.client, "c2"), (&world.server, "s1"), (&world.server, "s2")];
    let settled = || {
        let captures = ends.map(|(ns, device)| Capture::new(ns, device));
        std::thread::sleep(Duration::from_secs(3));
        captures
            .map(Capture::stop)
            .iter()
            .all(|frames| frames.iter().filter(|frame| frame.udp().is_some()).count() <= 1)
    };
    wait_until("what a start has to say is said", Duration::from_secs(120), settled);
    let captures = ends.map(|(ns, device)| Capture::new(ns, device));
    let long = long();
    std::thread::sleep(long);
    for (capture, (_, device)) in captures.into_iter().zip(ends) {
        let frames = capture.stop();
        let rate = rate(&frames, long);
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        for frame in frames.iter().filter(|frame| frame.udp().is_some()) {
            *sizes.entry(frame.ip().map_or(0, <[u8]>::len)).or_default() += 1;
        }
        eprintln!("{device} got {rate} bit/s in {long:?}; bytes of a packet, and how many: {sizes:?}");
        // Twice a minute.
        let alive = long < Duration::from_secs(60) || frames.iter().any(is_sealed);
        assert!(alive, "{device} got nothing that keeps it alive");
        assert!(rate < IDLE, "{device} got {rate} bit/s, expected less than {IDLE}");
    }
    for (name, end) in [("the client", &client), ("the server", &server)] {
        let size = resident(end.id());
        eprintln!("{name}: {size} bytes resident");
        assert!(size < SMALL, "{name} has {size} bytes, expected less than {SMALL}");
    }
    let ping = world.client.run(|| Command::new("ping").args(["-c", "1", "-W", "5", "10.77.0.1"]).output());
    assert!(ping.expect("ping is there").status.success(), "it has not fallen asleep");
}
