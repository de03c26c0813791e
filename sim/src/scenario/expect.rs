//! `[[expect]]`: what the figures of a run must be, in a window of time.

use super::section::Section;
use super::units::{self, Share};
use super::{Direction, FlowSpec, LinkSpec, ScenarioError};
use std::time::Duration;

/// An amount of TCP payload per time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goodput {
    /// A share of the ceiling of the window.
    Ceiling(Share),
    /// Bits per second.
    Rate(u64),
}

/// A round-trip time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Counted from the smallest that the links allow when nothing else is sent.
    pub idle: bool,
    /// The time, or how much over that.
    pub time: Duration,
}

/// The owner of the figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// All flows it applies to.
    All,
    /// One flow, by its place.
    Flow(usize),
    /// One direction of a link, by its place.
    Link(usize, Direction),
}

/// One figure, and what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The payload delivered: at least.
    Goodput(Goodput),
    /// The second of the window in which the least was delivered: at least.
    WorstSecond(Goodput),
    /// The same, as a share of the window's mean: at least.
    Steady(Share),
    /// The longest time without a delivery: at most.
    LongestGap(Duration),
    /// What was sent and never came, as a share: at most.
    Lost(Share),
    /// The median round trip: at most.
    PingP50(Bound),
    /// The round trip that 99 of 100 keep: at most.
    PingP99(Bound),
    /// The wait in a link's queue that 99 of 100 packets keep: at most.
    QueueP99(Duration),
    /// What a link carried, in bits of IP packets per second: at least.
    Carried(u64),
    /// The same: at most.
    CarriedAtMost(u64),
    /// How often the bond changed its mind about a link: at most.
    Changes(u64),
}

/// An expectation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expect {
    /// From when.
    pub from: Duration,
    /// Until when.
    pub to: Duration,
    /// The owner of the figure.
    pub subject: Subject,
    /// The links whose ceiling counts, by place; empty: all.
    pub of: Vec<usize>,
    /// What it must be.
    pub check: Check,
    /// Why it is not met today, where that is known.
    pub missed: Option<String>,
}

const GOODPUT: &str = "a share of the ceiling such as \"97%\", or a rate such as \"60 Mbit/s\"";
const BOUND: &str = "a time such as \"35 ms\", or one over the idle round trip such as \"idle + 15 ms\"";

fn goodput(text: &str) -> Option<Goodput> {
    units::share(text).map(Goodput::Ceiling).or_else(|| units::rate(text).map(Goodput::Rate))
}

fn bound(text: &str) -> Option<Bound> {
    match text.trim().strip_prefix("idle") {
        None => units::time(text).map(|time| Bound { idle: false, time }),
        Some(rest) => {
            let time = units::time(rest.trim_start().strip_prefix('+')?)?;
            Some(Bound { idle: true, time })
        }
    }
}

/// Reads one `[[expect]]`; each of its figures becomes one.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    links: &[LinkSpec],
    flows: &[FlowSpec],
    duration: Duration,
    end: Option<Duration>,
) -> Result<Vec<Expect>, ScenarioError> {
    let from = section.before("from", end)?.unwrap_or_default();
    let to = section.time("to")?;
    if to.is_some_and(|to| from >= to) {
        return Err(section.error("to", "expected a time after from, got one that is not"));
    }
    let to = to.map_or(duration, |to| to.min(duration));
    let link_names: Vec<(&str, usize)> =
        links.iter().enumerate().map(|(index, link)| (link.name.as_str(), index)).collect();
    let flow_names: Vec<(&str, usize)> =
        flows.iter().enumerate().map(|(index, flow)| (flow.name.as_str(), index)).collect();
    let flow = section.word("flow", &flow_names)?;
    let link = section.word("link", &link_names)?;
    let direction = section.word("direction", &[("down", Direction::Down), ("up", Direction::Up)])?;
    let direction = direction.unwrap_or(Direction::Down);
    let subject = match (flow, link) {
        (None, None) => Subject::All,
        (Some(flow), None) => Subject::Flow(flow),
        (None, Some(link)) => Subject::Link(link, direction),
        (Some(_), Some(_)) => {
            return Err(section.error("link", "expected a flow or a link, got both"));
        }
    };
    let mut of = Vec::new();
    for name in section.texts("of")?.unwrap_or_default() {
        let Some((_, index)) = link_names.iter().find(|(other, _)| *other == name) else {
            return Err(section.error("of", format!("expected names of links, got \"{name}\"")));
        };
        of.push(*index);
    }
    let missed = section.text("missed")?;

    let mut checks = Vec::new();
    let read = |value: &toml::de::DeValue<'_>| value.as_str().and_then(goodput);
    checks.extend(section.optional("goodput", GOODPUT, read)?.map(Check::Goodput));
    checks.extend(section.optional("worst-second", GOODPUT, read)?.map(Check::WorstSecond));
    checks.extend(section.share("steady")?.map(Check::Steady));
    checks.extend(section.time("longest-gap")?.map(Check::LongestGap));
    checks.extend(section.share("lost")?.map(Check::Lost));
    let read = |value: &toml::de::DeValue<'_>| value.as_str().and_then(bound);
    checks.extend(section.optional("ping-p50", BOUND, read)?.map(Check::PingP50));
    checks.extend(section.optional("ping-p99", BOUND, read)?.map(Check::PingP99));
    let of_flows = checks.len();
    checks.extend(section.time("queue-p99")?.map(Check::QueueP99));
    let zero = |value: &toml::de::DeValue<'_>| {
        let text = value.as_str()?;
        units::rate(text).or((text == "0 bit/s").then_some(0))
    };
    checks.extend(section.optional("carried", units::RATE, zero)?.map(Check::Carried));
    checks.extend(section.optional("carried-at-most", units::RATE, zero)?.map(Check::CarriedAtMost));
    checks.extend(section.number("changes", 0..=u64::MAX)?.map(Check::Changes));
    let wrong = match subject {
        Subject::All | Subject::Flow(_) => checks.len() > of_flows && !matches!(subject, Subject::All),
        Subject::Link(..) => of_flows > 0,
    };
    if checks.is_empty() || wrong {
        let message = "expected at least one of goodput, worst-second, steady, longest-gap, lost, ping-p50, \
                       ping-p99 (of flows), or of queue-p99, carried, carried-at-most, changes (of a link)";
        return Err(section
            .error("flow", format!("{message}, got {}", if wrong { "one of the others" } else { "none" })));
    }
    // A run that was made shorter has no such window.
    if from >= to {
        return Ok(Vec::new());
    }
    let one = |check| Expect { from, to, subject, of: of.clone(), check, missed: missed.clone() };
    Ok(checks.into_iter().map(one).collect())
}
