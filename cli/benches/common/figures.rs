//! The figures of a measurement, by name.

use crate::common::check;
use crate::common::route::Route;
use crate::common::server::Server;
use crate::common::stats::quantile;
use crate::common::{connections, idle, load};

/// Half-close checks for each rival.
pub(crate) const CHECKS: usize = 8;

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
    /// Without a remark.
    pub(crate) fn of(figures: &[(&'static str, f64)]) -> Self {
        let figures = figures.iter().map(|(name, value)| Figure { name, value: *value }).collect();
        Self { figures, remark: None }
    }
}

/// The half-close checks; where a header names the client, the server must have seen that client.
pub(crate) fn half_close(route: &Route, server: &Server, round: usize) -> Outcome {
    let mut lost = Vec::new();
    let mut seen = None;
    for turn in 0..CHECKS {
        let seed = (round * CHECKS + turn + 1) as u64;
        if let Err(e) = check::half_close(route, turn, seed) {
            lost.push(format!("seed {seed}: {e}"));
        }
        seen = server.take_last_peer();
        if let Some(named) = route.client(turn)
            && seen.is_none_or(|seen| seen.ip() != *named.ip())
        {
            lost.push(format!("the header named {named}, the server saw {seen:?}"));
        }
    }
    let mut outcome = Outcome::of(&[("lost", lost.len() as f64)]);
    let seen = seen.map_or("nothing".into(), |peer| peer.to_string());
    outcome.remark = Some(match (lost.first(), route.client(CHECKS - 1)) {
        (None, None) => format!("none lost; the server saw {seen}"),
        (None, Some(named)) => format!("none lost; the header named {named}, the server saw {seen}"),
        (Some(first), _) => {
            format!("half-close lost {} of {CHECKS} ({first}); the server saw {seen}", lost.len())
        }
    });
    outcome
}

/// A cost for each unit, only where there is a process to measure.
pub(crate) fn per(cpu: f64, units: f64) -> f64 {
    if units > 0.0 { cpu / units } else { 0.0 }
}

pub(crate) fn bulk(measured: &load::Measured) -> Outcome {
    let bytes = (measured.up + measured.down) as f64;
    Outcome::of(&[("Gbit/s", bytes * 8e-9 / measured.seconds), ("cpu s/GB", per(measured.cpu, bytes * 1e-9))])
}

pub(crate) fn flood(measured: &load::Measured) -> Outcome {
    let (up, down) = (measured.up as f64, measured.down as f64);
    Outcome::of(&[
        ("up Gbit/s", up * 8e-9 / measured.seconds),
        ("down Gbit/s", down * 8e-9 / measured.seconds),
        // The processor time is that of both directions together.
        ("cpu s/GB", per(measured.cpu, (up + down) * 1e-9)),
    ])
}

pub(crate) fn round_trips(measured: &load::Measured) -> Outcome {
    let trips = measured.trips.len() as f64;
    let micros = |part| quantile(&measured.trips, part).map_or(0.0, |nanos| f64::from(nanos) * 1e-3);
    Outcome::of(&[
        ("trips/s", trips / measured.seconds),
        ("p50 us", micros(0.5)),
        ("p99 us", micros(0.99)),
        ("cpu us each", per(measured.cpu * 1e6, trips)),
    ])
}

pub(crate) fn connection_rate(measured: &connections::Measured) -> Outcome {
    let done = measured.done as f64;
    let mut outcome =
        Outcome::of(&[("conn/s", done / measured.seconds), ("cpu us each", per(measured.cpu * 1e6, done))]);
    if measured.failed > 0 {
        outcome.remark = Some(format!("{} connections failed", measured.failed));
    }
    outcome
}

/// `wanted` is how many idle connections there were to be.
pub(crate) fn memory(measured: Option<&idle::Measured>, wanted: usize) -> Outcome {
    measured.map_or_else(Outcome::default, |measured| {
        let mut outcome = Outcome::of(&[
            ("fresh MiB", measured.fresh_kib / 1024.0),
            ("KiB/conn", measured.kib_each),
            ("fd/conn", measured.descriptors_each),
        ]);
        if measured.count < wanted {
            outcome.remark = Some(format!("descriptors allow {} connections only", measured.count));
        }
        outcome
    })
}
