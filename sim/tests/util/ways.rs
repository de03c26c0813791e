//! Strategies beside the best link alone.

use ropewalk_sim::packet::{Options, run};
use ropewalk_sim::report::Report;
use ropewalk_sim::scenario::{Kind, Scenario, Tunnel, Which};
use std::time::Duration;

/// What is before that is TCP's start and the paths'.
pub(crate) const START: Duration = Duration::from_secs(3);

/// Headers inside: IPv4 20, TCP 20, timestamps 12.
const HEADERS: u64 = 52;

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
///
/// Where flows go both ways, the best link is the one that carries the most of all of them alone,
/// and each flow is held against what it has there, with the acknowledgements of the others in its
/// way: no one link is better both ways.
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
        let link = (0..scenario.links.len()).max_by_key(|link| of(*link)).expect("there is one");
        all.push(Best { flow: place, link, from, ceiling: of(link) });
    }
    if all.len() > 1 && scenario.links.len() > 1 {
        let ways = (0..scenario.links.len()).map(|link| (link, carried_alone(scenario, link, &all)));
        let best = ways.max_by_key(|(_, carried)| carried.iter().sum::<u64>());
        let (link, carried) = best.expect("there is one");
        for (best, ceiling) in all.iter_mut().zip(carried) {
            (best.link, best.ceiling) = (link, ceiling);
        }
    }
    let steady = |best: &Best| {
        let touched = |which: Which| which.covers(scenario.flows[best.flow].direction);
        !scenario.events.iter().any(|event| event.link == best.link && touched(event.which))
    };
    all.retain(|best| scenario.links.len() > 1 && steady(best));
    all
}

/// What each flow delivers over one link without a bond, in bits per second, less what the bond's
/// header would have taken.
fn carried_alone(scenario: &Scenario, link: usize, flows: &[Best]) -> Vec<u64> {
    let mut alone = scenario.clone();
    alone.tunnel = Tunnel::None;
    alone.links = vec![scenario.links[link].clone()];
    alone.events.retain(|event| event.link == link);
    alone.events.iter_mut().for_each(|event| event.link = 0);
    alone.expects.clear();
    let (inside, outside) = (u64::from(scenario.inner_mtu()), u64::from(alone.inner_mtu()));
    let report = run(&alone, Options::default()).expect("hosts need no bond");
    let of = |best: &Best| delivered(scenario, &report, best);
    flows.iter().map(|best| of(best) * (inside - HEADERS) / (outside - HEADERS)).collect()
}

/// What all flows of a flow's direction deliver together.
fn delivered(scenario: &Scenario, report: &Report, best: &Best) -> u64 {
    let same = scenario.flows.iter().enumerate().filter(|(_, flow)| {
        flow.direction == scenario.flows[best.flow].direction && matches!(flow.kind, Kind::Tcp { .. })
    });
    same.map(|(place, _)| report.goodput(place, best.from, scenario.duration)).sum()
}

/// What a flow delivers by a strategy from `from` on, in bits per second. Flows of one direction
/// count together.
pub(crate) fn carried(scenario: &Scenario, mode: &str, best: &[Best]) -> Vec<u64> {
    let mut scenario = scenario.clone();
    scenario.bond.mode = Some(mode.to_owned());
    scenario.expects.clear();
    let report = run(&scenario, Options::default()).expect("this build has the bond");
    best.iter().map(|best| delivered(&scenario, &report, best)).collect()
}
