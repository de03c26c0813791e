//! Recorded flows of the kernel, and the same flow of the model over the link model.

use ropewalk_core::time::{Duration, Instant};
use ropewalk_sim::link::{Chance, Jitter, Link, LinkChange, LinkConfig, Loss, Rate, Schedule};
use ropewalk_sim::tcp::{Source, Tcp, TcpConfig};

/// A hundred milliseconds of a flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) seconds: f64,
    pub(crate) cwnd: u64,
    pub(crate) srtt_us: u64,
    pub(crate) retransmits: u64,
}

/// A flow: what its receiver got, and how it went.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) goodput: f64,
    pub(crate) retransmits: u64,
    pub(crate) rows: Vec<Row>,
}

/// A recording: the link, for how long, and the flow.
pub(crate) struct Recording {
    pub(crate) link: LinkConfig,
    pub(crate) seconds: u64,
    pub(crate) flow: Transfer,
}

/// What stands between two marks of a line.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = &text[text.find(from)? + from.len()..];
    Some(&rest[..rest.find(to).unwrap_or(rest.len())])
}

fn number(word: &str, unit: &str) -> f64 {
    let digits = word.strip_suffix(unit).unwrap_or_else(|| panic!("expected {unit}, found {word}"));
    digits.parse().unwrap_or_else(|_| panic!("expected a number, found {word}"))
}

fn chance(word: &str) -> Chance {
    Chance::ppm((number(word, "%") * 10_000.0) as u32)
}

fn link(words: &str) -> LinkConfig {
    let mut config = LinkConfig::new(Rate::bits(0), Duration::ZERO, 0);
    let words: Vec<&str> = words.split_whitespace().collect();
    for two in words.windows(2) {
        match (two[0], two[1]) {
            ("rate", word) => config.rate = Rate::bits((number(word, "mbit") * 1e6) as u64),
            ("delay", word) => config.delay = Duration::from_micros((number(word, "ms") * 1e3) as u64),
            ("queue", word) => {
                config.queue = ropewalk_sim::link::Queue::TailDrop { limit: word.parse().expect("bytes") };
            }
            ("jitter", word) => {
                config.jitter.spread = Duration::from_micros((number(word, "ms") * 1e3) as u64);
            }
            ("reorder", "on") => config.jitter = Jitter { reorder: true, ..config.jitter },
            ("loss", word) => config.loss = Loss::Independent(chance(word)),
            ("ge", word) => {
                let (enter, leave) = word.split_once(',').expect("two chances");
                config.loss = Loss::burst(chance(enter), chance(leave));
            }
            _ => {}
        }
    }
    config
}

fn schedule(words: &str) -> Schedule {
    let mut changes = Vec::new();
    for change in words.split(';').map(str::trim).filter(|&change| change != "none") {
        let words: Vec<&str> = change.split_whitespace().collect();
        let ["at", when, "1", "both", what @ ..] = words.as_slice() else { panic!("a change: {change}") };
        let what = match what {
            ["down"] => LinkChange::Down,
            ["up"] => LinkChange::Up,
            ["rate", rate] => LinkChange::Rate(Rate::bits((number(rate, "mbit") * 1e6) as u64)),
            ["delay", delay] => LinkChange::Delay(Duration::from_micros((number(delay, "ms") * 1e3) as u64)),
            _ => panic!("a change: {change}"),
        };
        changes.push((Duration::from_millis((number(when, "s") * 1e3) as u64), what));
    }
    Schedule::new(changes)
}

impl Recording {
    /// Reads a file as its README describes it.
    pub(crate) fn parse(text: &str) -> Recording {
        let (first, table) = text.split_once('\n').expect("a first line");
        let mut config = link(between(first, "link: 1 both ", ";").expect("a link"));
        config.schedule = schedule(&schedule_words(first));
        let goodput = between(first, "receiver ", " Mbit/s").expect("a goodput").parse().expect("a number");
        let seconds = between(first, "Mbit/s over ", " s").expect("a time").parse().expect("a number");
        let retransmits = between(first, "retransmits ", ";").expect("a count").parse().expect("a number");
        let row = |line: &str| {
            let mut cells = line.split(',').map(|cell| cell.parse::<f64>().expect("a number"));
            let mut cell = || cells.next().expect("five cells");
            let (seconds, _) = (cell(), cell());
            Row { seconds, cwnd: cell() as u64, srtt_us: cell() as u64, retransmits: cell() as u64 }
        };
        let rows = table.lines().skip(1).map(row).collect();
        Recording { link: config, seconds, flow: Transfer { goodput, retransmits, rows } }
    }

    /// The same flow of the model. The connection begins at zero.
    pub(crate) fn model(&self, seed: u64, paced: bool) -> Transfer {
        run(&self.link, self.seconds, seed, |config| TcpConfig { paced, ..config })
    }

    /// Every recording, by name.
    pub(crate) fn all() -> Vec<(String, Recording)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kernel-tcp");
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let files = files.map(|file| file.expect("a file of the folder").path());
        let mut all: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
            .map(|path| {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                (name, Recording::parse(&std::fs::read_to_string(&path).expect("text")))
            })
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

/// Changes are separated by semicolons, as the parts of the line are: they end where the goodput
/// begins.
fn schedule_words(first: &str) -> String {
    between(first, "schedule: ", "; goodput").expect("a schedule").to_owned()
}

/// One flow over one link, client to server.
pub(crate) fn run(
    link: &LinkConfig,
    seconds: u64,
    seed: u64,
    with: impl Fn(TcpConfig) -> TcpConfig,
) -> Transfer {
    let (a, b) = ("10.0.0.1:4000".parse().expect("an address"), "10.0.0.2:80".parse().expect("an address"));
    let mut client = Tcp::client(with(TcpConfig::new(a, b)).sends(Source::ENDLESS));
    let mut server = Tcp::server(with(TcpConfig::new(b, a)));
    let mut there: Link<Vec<u8>> = Link::new(link.clone(), seed);
    let mut back: Link<Vec<u8>> = Link::new(link.clone(), seed ^ 0x5555);
    let (mut rows, mut retransmits) = (Vec::new(), 0);
    let end = Instant::ZERO + Duration::from_secs(seconds);
    let step = Duration::from_millis(100);
    let mut next_row = Instant::ZERO + step;
    loop {
        let due = [there.next(), back.next(), client.poll_timeout(), server.poll_timeout()];
        let now = due.into_iter().flatten().min().map_or(end, |at| at.min(end));
        while next_row <= now {
            let stats = client.stats();
            rows.push(Row {
                seconds: (next_row - Instant::ZERO).as_secs_f64(),
                cwnd: stats.cwnd,
                srtt_us: stats.srtt.as_micros() as u64,
                retransmits: stats.retransmits - retransmits,
            });
            retransmits = stats.retransmits;
            next_row += step;
        }
        if now >= end {
            break;
        }
        while let Some(packet) = there.poll(now) {
            server.handle_packet(now, &packet);
            while let Some(packet) = server.poll_packet(now) {
                back.push(now, packet);
            }
        }
        while let Some(packet) = back.poll(now) {
            client.handle_packet(now, &packet);
            while let Some(packet) = client.poll_packet(now) {
                there.push(now, packet);
            }
        }
        for (tcp, link) in [(&mut client, &mut there), (&mut server, &mut back)] {
            if tcp.poll_timeout().is_some_and(|at| at <= now) {
                tcp.handle_timeout(now);
            }
            while let Some(packet) = tcp.poll_packet(now) {
                link.push(now, packet);
            }
        }
    }
    let goodput = server.stats().received as f64 * 8.0 / seconds as f64 / 1e6;
    Transfer { goodput, retransmits: client.stats().retransmits, rows }
}
