//! Strategies beside the best link alone.

use ropewalk_sim::packet::{Options, run};
use ropewalk_sim::report::Report;
use ropewalk_sim::scenario::{FlowSpec, Kind, MODES, Scenario, Which};
use std::time::Duration;

/// What is before that is TCP's start and the paths'.
pub(crate) const START: Duration = Duration::from_secs(3);

/// TCP flows beside the steady link that carries most of what they send.
pub(crate) struct Best {
    /// The flows, by place.
    pub(crate) flows: Vec<usize>,
    /// The link, by place.
    pub(crate) link: usize,
    /// From when: three seconds after the flows began.
    pub(crate) from: Duration,
    /// What the link could carry of the flows through the bond, in bits per second.
    pub(crate) ceiling: u64,
}

impl Best {
    /// The flows' names.
    pub(crate) fn names(&self, scenario: &Scenario) -> String {
        let names: Vec<&str> = self.flows.iter().map(|flow| scenario.flows[*flow].name.as_str()).collect();
        names.join(" and ")
    }
}

/// The TCP flows, where their best link is steady: nothing happens to it.
///
/// Where flows go both ways, the best link is the one that carries the most of all of them together
/// alone, and a strategy is held against that sum. Each way by itself is no measure: one link is
/// the best down, another up, and the faster the download, the more of the uplink its
/// acknowledgements take (f5: 3.7 of 10 Mbit/s).
pub(crate) fn best_link(scenario: &Scenario) -> Option<Best> {
    let flows = || scenario.flows.iter().enumerate().filter(|(_, flow)| is_tcp(flow));
    let (_, first) = flows().next()?;
    let from = flows().map(|(_, flow)| flow.start).min().expect("there is one") + START;
    if scenario.links.len() < 2 || from >= scenario.duration {
        return None;
    }
    let best = Best { flows: flows().map(|(place, _)| place).collect(), link: 0, from, ceiling: 0 };
    let both = flows().any(|(_, flow)| flow.direction != first.direction);
    let of = |link: usize| match both {
        true => carried_alone(scenario, link, &best),
        false => scenario.ceiling(first.direction, &[link], from, scenario.duration),
    };
    let touched = |which: Which| flows().any(|(_, flow)| which.covers(flow.direction));
    let touched = |link| scenario.events.iter().any(|event| event.link == link && touched(event.which));
    // Of links that tie, the one that nothing happens to is the best.
    let alone = (0..scenario.links.len()).map(|link| (of(link), !touched(link), link));
    let (ceiling, steady, link) = alone.max().expect("there are two");
    steady.then_some(Best { ceiling, link, ..best })
}

fn is_tcp(flow: &FlowSpec) -> bool {
    matches!(flow.kind, Kind::Tcp { .. })
}

/// What the flows deliver through a bond over one link, in bits per second: its header costs the
/// acknowledgements more than the data, 64 bytes on 52.
fn carried_alone(scenario: &Scenario, link: usize, best: &Best) -> u64 {
    let mut alone = scenario.clone();
    alone.links = vec![scenario.links[link].clone()];
    alone.events.retain(|event| event.link == link);
    alone.events.iter_mut().for_each(|event| event.link = 0);
    carried(&alone, MODES[0], best)
}

/// What the flows deliver together.
fn delivered(scenario: &Scenario, report: &Report, best: &Best) -> u64 {
    best.flows.iter().map(|place| report.goodput(*place, best.from, scenario.duration)).sum()
}

/// What the flows deliver by a strategy from `from` on, in bits per second.
pub(crate) fn carried(scenario: &Scenario, mode: &str, best: &Best) -> u64 {
    let mut scenario = scenario.clone();
    scenario.bond.mode = Some(mode.to_owned());
    scenario.expects.clear();
    let report = run(&scenario, Options::default()).expect("this build has the bond");
    delivered(&scenario, &report, best)
}
