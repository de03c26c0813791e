//! Strategies beside the best link alone.

use ropewalk_sim::packet::{Options, run};
use ropewalk_sim::scenario::{Kind, Scenario, Which};
use std::time::Duration;

/// What is before that is TCP's start and the paths'.
pub(crate) const START: Duration = Duration::from_secs(3);

/// A TCP flow beside the steady link that carries most of what goes its way.
pub(crate) struct Best {
    /// The flow, and the link, by place.
    pub(crate) flow: usize,
    pub(crate) link: usize,
    /// From when: three seconds after the flow began.
    pub(crate) from: Duration,
    /// What the link could carry of the flow through the bond, in bits per second.
    pub(crate) ceiling: u64,
}

/// The first TCP flow of each direction, where the best link is steady: nothing happens to it.
pub(crate) fn best_links(scenario: &Scenario) -> Vec<Best> {
    let mut all: Vec<Best> = Vec::new();
    for (place, flow) in scenario.flows.iter().enumerate() {
        let tcp = matches!(flow.kind, Kind::Tcp { .. });
        let first = scenario
            .flows
            .iter()
            .position(|other| matches!(other.kind, Kind::Tcp { .. }) && other.direction == flow.direction);
        let from = flow.start + START;
        if !tcp || first != Some(place) || from >= scenario.duration {
            continue;
        }
        let of = |link: usize| scenario.ceiling(flow.direction, &[link], from, scenario.duration);
        let steady = |link: usize| {
            let touched = |which: Which| which.covers(flow.direction);
            !scenario.events.iter().any(|event| event.link == link && touched(event.which))
        };
        let link = (0..scenario.links.len()).max_by_key(|link| of(*link)).expect("there is one");
        if scenario.links.len() > 1 && steady(link) {
            all.push(Best { flow: place, link, from, ceiling: of(link) });
        }
    }
    all
}

/// What a flow delivers by a strategy from `from` on, in bits per second. Flows of one direction
/// count together.
pub(crate) fn carried(scenario: &Scenario, mode: &str, best: &[Best]) -> Vec<u64> {
    let mut scenario = scenario.clone();
    scenario.bond.mode = Some(mode.to_owned());
    scenario.expects.clear();
    let report = run(&scenario, Options::default()).expect("this build has the bond");
    let sum = |best: &Best| {
        let same = scenario.flows.iter().enumerate().filter(|(_, flow)| {
            flow.direction == scenario.flows[best.flow].direction && matches!(flow.kind, Kind::Tcp { .. })
        });
        same.map(|(place, _)| report.goodput(place, best.from, scenario.duration)).sum()
    };
    best.iter().map(sum).collect()
}
