//! How fast a tunnel is where nothing limits it: one TCP connection over veth pairs.
//!
//! A figure is what the receiver got in `SECONDS`, and the processor time of both ends of the
//! tunnel meanwhile; the connection's own sender and receiver are threads of this program, and do
//! not count. Rounds are in turns, and the table has their medians.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_congestion;

use crate::hosts::{FAR, Pair};
use crate::median::median;
use crate::ns::Ns;
use crate::tunnel::Tunnel;
use crate::ways::{Settings, Way, bond};

/// How often everything is measured, if nothing else is asked for.
pub(crate) const ROUNDS: u64 = 5;
/// How long a connection flows before it is measured, and while it is.
const START: Duration = Duration::from_millis(500);
const SECONDS: Duration = Duration::from_millis(2500);
/// How long the way may take to open.
const CONNECT: Duration = Duration::from_secs(5);
const PORT: u16 = 6000;
/// Bytes that TCP is given at once.
const CHUNK: usize = 1 << 17;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    Up,
    Down,
    /// Up, by two pairs.
    Two,
    /// Up, and no device cuts what it is given or makes sums.
    Plain,
}

impl Case {
    const ALL: [Case; 4] = [Case::Up, Case::Down, Case::Two, Case::Plain];

    fn name(self) -> &'static str {
        match self {
            Case::Up => "up",
            Case::Down => "down",
            Case::Two => "up, two links",
            Case::Plain => "up, without offload",
        }
    }
}

/// What one run gave.
struct Figure {
    gbit: f64,
    /// Processor seconds of both ends for a gigabyte; none without a tunnel.
    cost: Option<f64>,
}

/// What came of each way in each case.
pub(crate) struct Table {
    rounds: u64,
    rows: Vec<(Way, [Vec<Figure>; 4])>,
    faults: Vec<String>,
}

/// Measures those of the ways that go over plain links in real time.
pub(crate) fn measure(ways: &[Way], congestion: &str, rounds: u64) -> Table {
    let able = |way: &&Way| matches!(way, Way::Link | Way::Bond | Way::WireguardGo | Way::Openvpn);
    let ways = ways.iter().filter(able).filter(|way| way.missing().is_none());
    let rows = ways.map(|way| (*way, Default::default())).collect();
    let mut table = Table { rounds, rows, faults: Vec::new() };
    for _ in 0..rounds {
        for case in Case::ALL {
            for (way, figures) in &mut table.rows {
                if case == Case::Two && *way != Way::Bond {
                    continue;
                }
                match run(*way, case, congestion) {
                    Ok(figure) => figures[case as usize].push(figure),
                    Err(error) => table.faults.push(format!("{}, {}: {error}", way.name(), case.name())),
                }
            }
        }
    }
    table
}

fn run(way: Way, case: Case, congestion: &str) -> Result<Figure, String> {
    let links = if case == Case::Two { 2 } else { 1 };
    let hosts = Pair::straight(links)?;
    let tunnel = match way {
        Way::Bond => Some(bond(&hosts, &Settings::straight(links))?),
        _ => way.rival(&hosts)?,
    };
    if case == Case::Plain {
        let veth = ["c1".to_owned(), "s1".to_owned()];
        let [near, far] = tunnel.as_ref().map_or(&veth, |tunnel| &tunnel.devices);
        without_offload(&hosts.client, near)?;
        without_offload(&hosts.server, far)?;
    }
    flow(&hosts, case == Case::Down, congestion, tunnel.as_ref())
        .map_err(|error| format!("the flow: {error}"))
}

/// Takes segmentation and sums away from a device.
fn without_offload(ns: &Ns, device: &str) -> Result<(), String> {
    let ethtool = |args: &[&str]| {
        let output = ns.run(|| Command::new("ethtool").args(args).output());
        output.map_err(|error| format!("ethtool: {error}"))
    };
    // A device that has none to begin with refuses.
    ethtool(&["-K", device, "tso", "off", "gso", "off", "tx", "off"])?;
    let said = ethtool(&["-k", device])?;
    let said = String::from_utf8_lossy(&said.stdout);
    let off = |feature: &str| said.contains(&format!("{feature}: off"));
    if off("tcp-segmentation-offload") && off("generic-segmentation-offload") && off("tx-checksumming") {
        return Ok(());
    }
    Err(format!("expected that {device} has no offload left, ethtool -k says:\n{said}"))
}

/// One connection from the client to the far address, measured at its receiver.
fn flow(hosts: &Pair, down: bool, congestion: &str, tunnel: Option<&Tunnel>) -> std::io::Result<Figure> {
    let listener = hosts.server.run(|| TcpListener::bind((FAR, PORT)))?;
    let near = hosts.client.run(|| TcpStream::connect_timeout(&(FAR, PORT).into(), CONNECT))?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        set_tcp_congestion(end, congestion)?;
    }
    let (sender, receiver) = if down { (far, near) } else { (near, far) };
    let (came, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (came, over, sender, receiver) = (&came, &over, &sender, &receiver);
        scope.spawn(move || {
            let chunk = vec![0; CHUNK];
            while !over.load(Ordering::Relaxed) && (&mut &*sender).write_all(&chunk).is_ok() {}
        });
        scope.spawn(move || {
            let mut chunk = vec![0; CHUNK];
            while let Ok(read @ 1..) = (&mut &*receiver).read(&mut chunk) {
                came.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        let look = || {
            let cost = tunnel.map(|tunnel| tunnel.client.seconds() + tunnel.server.seconds());
            (Instant::now(), came.load(Ordering::Relaxed), cost)
        };
        thread::sleep(START);
        let before = look();
        thread::sleep(SECONDS);
        let after = look();
        over.store(true, Ordering::Relaxed);
        // Both threads end, whatever they wait for.
        let _ = sender.shutdown(std::net::Shutdown::Both);
        let _ = receiver.shutdown(std::net::Shutdown::Both);
        let bytes = (after.1 - before.1) as f64;
        let cost = after.2.zip(before.2).map(|(after, before)| (after - before) / (bytes / 1e9));
        Ok(Figure { gbit: bytes * 8.0 / 1e9 / (after.0 - before.0).as_secs_f64(), cost })
    })
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "raw: one TCP connection over veth, medians of {} rounds; Gbit/s, and processor s/GB of both ends",
            self.rounds
        )?;
        writeln!(f, "Asked of the bond: 7 at 1.5; without offload 3.8 at 3.3.\n")?;
        writeln!(f, "| | {} |", Case::ALL.map(Case::name).join(" | "))?;
        writeln!(f, "| --- |{}", " --- |".repeat(Case::ALL.len()))?;
        for (way, figures) in &self.rows {
            let cells = figures.each_ref().map(|runs| {
                let gbit: Vec<f64> = runs.iter().map(|run| run.gbit).collect();
                let cost: Vec<f64> = runs.iter().filter_map(|run| run.cost).collect();
                let cost = median(&cost).map_or(String::new(), |cost| format!(" at {cost:.2}"));
                median(&gbit).map_or("-".to_owned(), |gbit| format!("{gbit:.1}{cost}"))
            });
            writeln!(f, "| {} | {} |", way.name(), cells.join(" | "))?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "failed: {fault}"))
    }
}
