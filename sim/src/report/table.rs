//! The report for a person.
//!
//! ```text
//! s1: Two links of 50 Mbit/s, 20 ms
//! bond, 20 s, seed 1
//!
//! flow      way   Mbit/s   of the ceiling   longest gap   lost   ping p50   ping p99
//! download  down    90.1            97.6%         12 ms      3
//! ping                                                    0    24 ms      31 ms
//! ```

use super::check::{mbit, ms};
use super::{FlowReport, Report};
use crate::scenario::{Direction, Kind, Scenario, Tunnel};
use std::fmt;
use std::time::Duration;

/// Rows of cells, each column as wide as its widest: the first is set left, the others right.
pub(super) fn grid(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // A column without any value is left out.
    let used =
        |column: &usize| rows.iter().skip(1).any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()));
    let columns: Vec<usize> = (0..columns).filter(used).collect();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    for row in rows {
        let mut line = String::new();
        for column in &columns {
            let (cell, width) = (row.get(*column).map_or("", String::as_str), width(*column).unwrap_or(0));
            if *column == 0 {
                line += &format!("  {cell:<width$}");
            } else {
                line += &format!("   {cell:>width$}");
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

pub(super) fn rate(bits: u64) -> String {
    format!("{:.1}", bits as f64 / 1e6)
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.1}%", part as f64 / whole.max(1) as f64 * 100.0)
}

fn tunnel(scenario: &Scenario) -> String {
    match scenario.tunnel {
        Tunnel::Bond => match &scenario.bond.mode {
            Some(mode) => format!("through the bond, {mode}"),
            None => "through the bond".to_owned(),
        },
        Tunnel::Toy => format!("through a plain tunnel over {}", scenario.links[0].name),
        Tunnel::None => format!("straight over {}, no tunnel", scenario.links[0].name),
    }
}

pub(super) fn words(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

impl Report {
    fn flows_table(&self) -> Vec<Vec<String>> {
        let mut rows = vec![words(&[
            "flow",
            "way",
            "Mbit/s",
            "of ceiling",
            "longest gap",
            "lost",
            "ping p50",
            "ping p99",
        ])];
        let shared = |flow: &FlowReport| {
            self.flows
                .iter()
                .filter(|other| other.direction == flow.direction && other.goodput.is_some())
                .count()
                > 1
        };
        for (flow, own) in self.flows.iter().zip(&self.scenario.flows) {
            let of_ceiling = match own.kind {
                Kind::Tcp { .. } => {
                    let stop = own.stop.unwrap_or(self.scenario.duration);
                    let ceiling = self.scenario.ceiling(flow.direction, &[], own.start, stop);
                    flow.goodput.map(|got| share(got, ceiling) + if shared(flow) { " *" } else { "" })
                }
                Kind::Udp { .. } | Kind::Ping { .. } => None,
            };
            rows.push(vec![
                flow.name.clone(),
                if flow.goodput.is_some() { flow.direction.as_str().to_owned() } else { String::new() },
                flow.goodput.map(rate).unwrap_or_default(),
                of_ceiling.unwrap_or_default(),
                ms(flow.longest_gap),
                flow.lost.to_string(),
                flow.ping_p50.map(ms).unwrap_or_default(),
                flow.ping_p99.map(ms).unwrap_or_default(),
            ]);
        }
        rows
    }

    fn links_table(&self) -> Vec<Vec<String>> {
        let head = ["link", "Mbit/s at the start", "carried", "used", "dropped", "lost", "queue p99"];
        let mut rows = vec![words(&head)];
        for link in &self.links {
            rows.push(vec![
                link.name.clone(),
                rate(link.rate),
                rate(link.carried),
                share(link.carried, link.rate),
                link.dropped.to_string(),
                link.lost.to_string(),
                link.queue_p99.map(ms).unwrap_or_default(),
            ]);
        }
        rows
    }
}

/// The whole report.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenario = &self.scenario;
        writeln!(f, "{}: {}", scenario.name, scenario.title)?;
        writeln!(
            f,
            "{} s of virtual time {}, seed {}",
            scenario.duration.as_secs_f64(),
            tunnel(scenario),
            scenario.seed
        )?;
        let way = match self.direction {
            Direction::Down => "download",
            Direction::Up => "upload",
        };
        writeln!(
            f,
            "ceiling: {} of TCP payload {way}, what the links could carry less headers of {} bytes around {}\n",
            mbit(self.ceiling),
            scenario.header() + 52,
            scenario.inner_mtu() - 52,
        )?;
        grid(f, &self.flows_table())?;
        writeln!(f)?;
        grid(f, &self.links_table())?;
        if !self.events.is_empty() {
            writeln!(f, "\n  events")?;
            for (at, text) in self.events.iter().take(MOST_EVENTS) {
                writeln!(f, "  {:>9}  {text}", clock(*at))?;
            }
            if let Some(more @ 1..) = self.events.len().checked_sub(MOST_EVENTS) {
                writeln!(f, "             and {more} more: --json has them all")?;
            }
        }
        if !self.verdicts.is_empty() {
            writeln!(f, "\n  expected")?;
            for verdict in &self.verdicts {
                let word = match (verdict.met, &verdict.missed) {
                    (true, _) => "met   ",
                    (false, Some(_)) => "known ",
                    (false, None) => "MISSED",
                };
                writeln!(f, "  {word}  {}\n          {}", verdict.asked, verdict.got)?;
                if let (false, Some(why)) = (verdict.met, &verdict.missed) {
                    writeln!(f, "          a known miss: {why}")?;
                }
            }
        }
        if self.queue_drops > 0 {
            writeln!(
                f,
                "\n  {} packets found no room in the queue in front of the tunnel",
                self.queue_drops
            )?;
        }
        writeln!(f, "\ntrace {:016x}, simulated in {:.2} s", self.hash, self.wall.as_secs_f64())
    }
}

const MOST_EVENTS: usize = 24;

fn clock(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}
