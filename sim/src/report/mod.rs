//! What a run gave: figures, whether they are what was expected, and how a person or a program
//! reads them.
//!
//! | file | is |
//! | --- | --- |
//! | `table`, `json`, `picture` | for a person, for a program, as SVG |
//! | `lanes` | what uplinks did over time, as SVG: of a recording that was replayed |
//! | `check` | what was expected, and whether it came |
//! | `compare` | one scenario, run in every way (`--compare`) |

mod check;
mod compare;
mod json;
mod lanes;
mod picture;
mod table;

use crate::packet::meter::{FlowMeter, LinkMeter, quantile};
use crate::scenario::{Direction, Kind, Scenario};
use std::time::Duration;

pub use check::Verdict;
pub use compare::{Comparison, Way, compare};
pub use lanes::{Bar, Doing, Lane, lanes_to_svg};

/// What a world has measured.
pub(crate) struct Measured {
    pub(crate) hash: u64,
    pub(crate) flows: Vec<FlowMeter>,
    pub(crate) links: Vec<[LinkMeter; 2]>,
    pub(crate) events: Vec<(Duration, String)>,
    /// The reported states of each machine's paths: when, which link, whether it carries data.
    pub(crate) states: [Vec<(Duration, usize, bool)>; 2],
    pub(crate) queue_drops: u64,
}

/// The figures of one flow, over its whole life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowReport {
    /// Its name.
    pub name: String,
    /// Which way its data goes.
    pub direction: Direction,
    /// Payload delivered, in bits per second; nothing for a ping.
    pub goodput: Option<u64>,
    /// The longest time without a delivery.
    pub longest_gap: Duration,
    /// Packets of its hosts that never came, both ways.
    pub lost: u64,
    /// The median of its round trips, where it measures them.
    pub ping_p50: Option<Duration>,
    /// What 99 of 100 keep.
    pub ping_p99: Option<Duration>,
}

/// The figures of one link, in the direction of the first flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkReport {
    /// Its name.
    pub name: String,
    /// Bits of IP packets per second that it could carry, at the start.
    pub rate: u64,
    /// The same that it carried.
    pub carried: u64,
    /// Packets that its queue dropped, or that were sent while it carried nothing.
    pub dropped: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// The wait in its queue that 99 of 100 packets keep.
    pub queue_p99: Option<Duration>,
}

/// What a run gave.
pub struct Report {
    /// What was run.
    pub scenario: Scenario,
    /// The hash of the trace.
    pub hash: u64,
    /// How long it took, on the clock of the wall.
    pub wall: Duration,
    /// Which way the first flow goes that is no ping.
    pub direction: Direction,
    /// What the links could carry of TCP payload that way, in bits per second.
    pub ceiling: u64,
    /// In the scenario's order.
    pub flows: Vec<FlowReport>,
    /// In the scenario's order.
    pub links: Vec<LinkReport>,
    /// Time and words.
    pub events: Vec<(Duration, String)>,
    /// Packets that found no room in front of the tunnel.
    pub queue_drops: u64,
    /// What was expected, and whether it is so.
    pub verdicts: Vec<Verdict>,
    pub(crate) measured: Vec<FlowMeter>,
    pub(crate) measured_links: Vec<[LinkMeter; 2]>,
    states: [Vec<(Duration, usize, bool)>; 2],
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, measured: Measured, wall: Duration) -> Self {
        let end = scenario.duration;
        let direction = scenario.direction();
        let flows = scenario.flows.iter().zip(&measured.flows).map(|(flow, meter)| {
            let stop = flow.stop.map_or(end, |stop| stop.min(end));
            let ping = matches!(flow.kind, Kind::Ping { .. });
            let quantile = |of| quantile(&meter.round_trips, Duration::ZERO, end, of, 100);
            FlowReport {
                name: flow.name.clone(),
                direction: flow.direction,
                goodput: (!ping).then(|| meter.delivered.rate(flow.start, stop)),
                longest_gap: meter.longest_gap(flow.start, stop),
                lost: meter.sent.saturating_sub(meter.came),
                ping_p50: quantile(50),
                ping_p99: quantile(99),
            }
        });
        let links = scenario.links.iter().zip(&measured.links).map(|(link, meters)| {
            let meter = &meters[direction as usize];
            LinkReport {
                name: link.name.clone(),
                rate: link.shape(direction).rate,
                carried: meter.carried.rate(Duration::ZERO, end),
                dropped: meter.dropped,
                lost: meter.lost,
                queue_p99: quantile(&meter.waits, Duration::ZERO, end, 99, 100),
            }
        });
        let mut report = Report {
            scenario: scenario.clone(),
            hash: measured.hash,
            wall,
            direction,
            ceiling: scenario.ceiling(direction, &[], Duration::ZERO, end),
            flows: flows.collect(),
            links: links.collect(),
            events: measured.events,
            queue_drops: measured.queue_drops,
            verdicts: Vec::new(),
            measured: measured.flows,
            measured_links: measured.links,
            states: measured.states,
        };
        report.verdicts = check::verdicts(&report);
        report
    }

    /// Payload of a flow, by its place, delivered in a window: bits per second.
    pub fn goodput(&self, flow: usize, from: Duration, to: Duration) -> u64 {
        self.measured[flow].delivered.rate(from, to)
    }

    /// Whether all is as expected, but for what is known to be missed.
    pub fn is_as_expected(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.met || verdict.missed.is_some())
    }
}
