//! One scenario, run in every way: each link alone without a tunnel, and the bond by each of its
//! strategies. What a person needs to know before buying a second link.

use super::table::{grid, rate, words};
use super::{Report, check::ms};
use crate::packet::{Inside, Options, RunError, run};
use crate::scenario::{MODES, Scenario, Tunnel};
use std::fmt;

/// One way to run it.
pub struct Way {
    /// `dsl alone`, or the strategy.
    pub name: String,
    /// What came of it.
    pub report: Report,
}

/// All ways to run one scenario.
pub struct Comparison {
    /// Its name and title.
    pub title: String,
    /// The links by themselves first, then the strategies.
    pub ways: Vec<Way>,
    /// How many of the ways are links by themselves.
    pub links: usize,
}

/// The scenario with one link only, as the hosts would use it without a bond.
fn alone(scenario: &Scenario, index: usize) -> Scenario {
    let mut alone = scenario.clone();
    alone.tunnel = Tunnel::None;
    alone.links = vec![scenario.links[index].clone()];
    alone.events.retain(|event| event.link == index);
    alone.events.iter_mut().for_each(|event| event.link = 0);
    // What is expected is expected of the bond.
    alone.expects.clear();
    alone
}

/// Runs a scenario in every way.
///
/// # Errors
/// Of the first way that cannot be run.
pub fn compare(scenario: &Scenario, inside: Inside) -> Result<Comparison, RunError> {
    let once = |name: String, scenario: &Scenario| {
        let report = run(scenario, Options { inside, ..Options::default() })?;
        Ok(Way { name, report })
    };
    let mut ways = Vec::new();
    for (index, link) in scenario.links.iter().enumerate() {
        ways.push(once(format!("{} alone", link.name), &alone(scenario, index))?);
    }
    let links = ways.len();
    for mode in MODES {
        let mut other = scenario.clone();
        other.tunnel = Tunnel::Bond;
        other.bond.mode = Some((*mode).to_owned());
        other.expects.clear();
        ways.push(once((*mode).to_owned(), &other)?);
    }
    Ok(Comparison { title: format!("{}: {}", scenario.name, scenario.title), ways, links })
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let Some(first) = self.ways.first() else { return Ok(()) };
        let mut head = words(&["way"]);
        // A column for each flow that delivers, then the worst of all flows.
        for flow in first.report.flows.iter().filter(|flow| flow.goodput.is_some()) {
            head.push(format!("{} Mbit/s", flow.name));
        }
        head.extend(words(&["longest gap", "lost", "ping p50", "ping p99"]));
        let mut rows = vec![head];
        for way in &self.ways {
            let flows = &way.report.flows;
            let mut row = vec![way.name.clone()];
            row.extend(flows.iter().filter_map(|flow| flow.goodput).map(rate));
            row.push(flows.iter().map(|flow| flow.longest_gap).max().map(ms).unwrap_or_default());
            row.push(flows.iter().map(|flow| flow.lost).sum::<u64>().to_string());
            row.push(flows.iter().filter_map(|flow| flow.ping_p50).max().map(ms).unwrap_or_default());
            row.push(flows.iter().filter_map(|flow| flow.ping_p99).max().map(ms).unwrap_or_default());
            rows.push(row);
        }
        grid(f, &rows)?;
        let goodput = |way: &Way| way.report.flows.iter().filter_map(|flow| flow.goodput).sum::<u64>();
        let best = |ways: &[Way]| {
            // Of equals the first: the default is before the others.
            ways.iter().rev().max_by_key(|way| goodput(way)).map(|way| (way.name.clone(), goodput(way)))
        };
        let (alone, bonded) = self.ways.split_at(self.links);
        if let (Some((link, least)), Some((mode, most))) = (best(alone), best(bonded)) {
            let times = most as f64 / least.max(1) as f64;
            writeln!(
                f,
                "\nbest link alone: {link}, {} Mbit/s; best strategy: {mode}, {} Mbit/s, {times:.2} times that",
                rate(least),
                rate(most)
            )?;
        }
        writeln!(
            f,
            "gaps, losses and pings are the worst of all flows; each way was run with seed {}",
            first.report.scenario.seed
        )
    }
}
