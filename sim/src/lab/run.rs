//! One measurement, from the first packet to the report.

use super::{Clock, Ends, Forwarder};
use crate::report::{Measured, Report};
use crate::scenario::{Change, Check, Scenario, State};
use ropewalk_core::time::{Duration, Instant};

/// Between the call and the scenario's time zero.
const LEAD: Duration = Duration::from_millis(100);
/// How long after the end what is on the way may still come.
const DRAIN: Duration = Duration::from_millis(1000);

/// Runs the flows of a scenario over what is set up, for as long as it says. `device` is told of
/// each link, by its place, that vanishes (false) or is back (true).
///
/// What a tunnel thought of its paths cannot be seen here, so nothing is expected of that.
///
/// # Errors
/// The links' thread failed: its words.
pub fn measure(
    scenario: &Scenario,
    forwarder: Forwarder,
    ends: Ends,
    mut device: impl FnMut(usize, bool),
) -> Result<Report, String> {
    let mut scenario = scenario.clone();
    scenario.expects.retain(|expect| !matches!(expect.check, Check::Changes(_)));
    let begin = std::time::Instant::now() + LEAD;
    let clock = Clock::new(begin);
    let end = scenario.duration;
    let running = ends.begin(clock, end);
    clock.sleep_until(Duration::ZERO);
    forwarder.begin(clock);
    let mut events = Vec::new();
    for event in &scenario.events {
        clock.sleep_until(event.at);
        match event.change {
            Change::State(State::Gone) => device(event.link, false),
            Change::State(State::Back) => device(event.link, true),
            _ => {}
        }
        if !event.step {
            events.push((event.at, event.to_string_of(&scenario.links[event.link].name)));
        }
    }
    clock.sleep_until(end + DRAIN);
    let mut flows = running.end();
    let links = forwarder.end()?;
    for (meter, flow) in flows.iter_mut().zip(&scenario.flows) {
        meter.finish(Instant::ZERO + flow.stop.map_or(end, |stop| stop.min(end)));
    }
    let measured = Measured { hash: 0, flows, links, events, states: Default::default(), queue_drops: 0 };
    Ok(Report::new(&scenario, measured, begin.elapsed()))
}
