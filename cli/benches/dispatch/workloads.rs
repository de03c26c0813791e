//! The workloads by name: what each runs, and which figures it yields.

use std::thread;
use std::time::Duration;

use crate::check;
use crate::connections;
use crate::idle;
use crate::link::Kind;
use crate::load::{self, Measured};
use crate::rivals::Running;
use crate::server::Server;
use crate::stats::quantile;

/// Half-close checks for each rival.
pub(crate) const CHECKS: usize = 8;

/// How long after a failure to look whether the proxy has ended.
const DYING: Duration = Duration::from_millis(200);

/// One of the benchmark's workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Check,
    Up1,
    Up50,
    Down50,
    Flood50,
    PingPong1,
    PingPong50,
    Connections,
    Idle,
}

/// A named number; the first figure of a workload is the one it is judged by.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
}

/// The figures of one measurement, with a remark where one is due.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    pub(crate) remark: Option<String>,
}

impl Outcome {
    fn of(figures: &[(&'static str, f64)]) -> Self {
        let figures = figures.iter().map(|(name, value)| Figure { name, value: *value }).collect();
        Self { figures, remark: None }
    }
}

impl Workload {
    /// In the order they run; the check comes first.
    pub(crate) const ALL: [Self; 9] = [
        Self::Check,
        Self::Up1,
        Self::Up50,
        Self::Down50,
        Self::Flood50,
        Self::PingPong1,
        Self::PingPong50,
        Self::Connections,
        Self::Idle,
    ];

    /// As on the command line and in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Up1 => "up1",
            Self::Up50 => "up50",
            Self::Down50 => "down50",
            Self::Flood50 => "flood50",
            Self::PingPong1 => "pp1",
            Self::PingPong50 => "pp50",
            Self::Connections => "conn",
            Self::Idle => "idle",
        }
    }

    /// The table's title.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Check => "half-close, 8 times: 8 MiB and the end, then 1 MiB back, compared byte for byte",
            Self::Up1 => "bulk to the server, 1 connection",
            Self::Up50 => "bulk to the server, 50 connections",
            Self::Down50 => "bulk to the client, 50 connections",
            Self::Flood50 => {
                "PING\\r\\n to an echo server as fast as it goes, 50 connections (s/GB: both ways)"
            }
            Self::PingPong1 => "round trips of 64 bytes, 1 connection",
            Self::PingPong50 => "round trips of 64 bytes, 50 connections, one in flight on each",
            Self::Connections => "connections, 64 at a time: handshake, one byte and back, close",
            Self::Idle => "memory: fresh, then 3000 connections idle after 64 KiB echoed on each",
        }
    }

    /// Whether more of the first figure is better (and the way without a proxy has one to compare with).
    pub(crate) fn is_rate(self) -> bool {
        !matches!(self, Self::Check | Self::Idle)
    }

    /// Measures once; `round` varies the check's bytes.
    pub(crate) fn measure(
        self,
        running: &mut Running,
        server: &Server,
        window: Duration,
        round: usize,
    ) -> Result<Outcome, String> {
        let load =
            |kind, connections| load::run(kind, connections, window, &running.route, server, running.pid());
        let measured = match self {
            Self::Check => Ok(half_close(running, server, round)),
            Self::Up1 => load(Kind::Up, 1).map(|measured| bulk(&measured)),
            Self::Up50 => load(Kind::Up, 50).map(|measured| bulk(&measured)),
            Self::Down50 => load(Kind::Down, 50).map(|measured| bulk(&measured)),
            Self::Flood50 => load(Kind::Flood, 50).map(|measured| flood(&measured)),
            Self::PingPong1 => load(Kind::RoundTrip, 1).map(|measured| round_trips(&measured)),
            Self::PingPong50 => load(Kind::RoundTrip, 50).map(|measured| round_trips(&measured)),
            Self::Connections => {
                connections::run(window, &running.route, running.pid()).map(|m| connection_rate(&m))
            }
            Self::Idle => {
                idle::measure(&running.route, running.pid()).map(|measured| memory(measured.as_ref()))
            }
        };
        if measured.is_err() {
            // Connections break a little before a dying proxy is dead.
            thread::sleep(DYING);
        }
        match (measured, running.obituary()) {
            (measured, None) => measured,
            (Ok(_), Some(obituary)) => Err(obituary),
            (Err(e), Some(obituary)) => Err(format!("{e}; {obituary}")),
        }
    }
}

fn half_close(running: &Running, server: &Server, round: usize) -> Outcome {
    let mut lost = Vec::new();
    for turn in 0..CHECKS {
        let seed = (round * CHECKS + turn + 1) as u64;
        if let Err(e) = check::half_close(&running.route, turn, seed) {
            lost.push(format!("seed {seed}: {e}"));
        }
    }
    let mut outcome = Outcome::of(&[("lost", lost.len() as f64)]);
    let seen = server.take_last_peer().map_or("nothing".into(), |peer| peer.to_string());
    outcome.remark = Some(match lost.first() {
        None => format!("none lost; the server saw {seen}"),
        Some(first) => format!("half-close lost {} of {CHECKS} ({first}); the server saw {seen}", lost.len()),
    });
    outcome
}

/// A cost for each unit, and only where there is a process that had it.
fn per(cpu: f64, units: f64) -> f64 {
    if units > 0.0 { cpu / units } else { 0.0 }
}

fn bulk(measured: &Measured) -> Outcome {
    let bytes = (measured.up + measured.down) as f64;
    Outcome::of(&[("Gbit/s", bytes * 8e-9 / measured.seconds), ("cpu s/GB", per(measured.cpu, bytes * 1e-9))])
}

fn flood(measured: &Measured) -> Outcome {
    let (up, down) = (measured.up as f64, measured.down as f64);
    Outcome::of(&[
        ("up Gbit/s", up * 8e-9 / measured.seconds),
        ("down Gbit/s", down * 8e-9 / measured.seconds),
        // The processor time is that of both directions together.
        ("cpu s/GB", per(measured.cpu, (up + down) * 1e-9)),
    ])
}

fn round_trips(measured: &Measured) -> Outcome {
    let trips = measured.trips.len() as f64;
    let micros = |part| quantile(&measured.trips, part).map_or(0.0, |nanos| f64::from(nanos) * 1e-3);
    Outcome::of(&[
        ("trips/s", trips / measured.seconds),
        ("p50 us", micros(0.5)),
        ("p99 us", micros(0.99)),
        ("cpu us each", per(measured.cpu * 1e6, trips)),
    ])
}

fn connection_rate(measured: &connections::Measured) -> Outcome {
    let done = measured.done as f64;
    let mut outcome =
        Outcome::of(&[("conn/s", done / measured.seconds), ("cpu us each", per(measured.cpu * 1e6, done))]);
    if measured.failed > 0 {
        outcome.remark = Some(format!("{} connections failed", measured.failed));
    }
    outcome
}

fn memory(measured: Option<&idle::Measured>) -> Outcome {
    measured.map_or_else(Outcome::default, |measured| {
        Outcome::of(&[
            ("fresh MiB", measured.fresh_kib / 1024.0),
            ("KiB/conn", measured.kib_each),
            ("fd/conn", measured.descriptors_each),
        ])
    })
}
