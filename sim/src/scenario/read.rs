//! From text to a scenario.

use super::section::{Overrides, Section, Text};
use super::{
    BondSettings, Event, FlowSpec, HostSettings, LinkSpec, MODES, Scenario, ScenarioError, Tunnel, event,
    expect, flow, link,
};
use std::time::Duration;
use toml::de::DeTable;

/// Reads a scenario. `file` is how errors call it, `name` how reports do; `overrides` win over the
/// text.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(file: &str, name: &str, content: &str, overrides: &Overrides) -> Result<Scenario, ScenarioError> {
    let text = Text { file, content, overrides };
    let document = DeTable::parse(content).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        // `[link]` is one table, and two of them are one too many.
        let more =
            if error.message() == "duplicate key" { "; several tables are written as [[link]]" } else { "" };
        text.error(at, "", format!("{}{more}", error.message()))
    })?;
    let empty = DeTable::new();
    let mut top = Section::new(text, document.get_ref(), 0, String::new());

    let title = top.text("title")?.unwrap_or_else(|| name.to_owned());
    let duration = top.time("duration")?.unwrap_or(DURATION);
    if duration < SHORTEST {
        return Err(top.error("duration", format!("expected at least \"100 ms\", got {duration:?}")));
    }
    // What lies behind the end of a run that the command line makes shorter is left out.
    let end = if top.is_set("duration") { None } else { Some(duration) };
    let seed = top.number("seed", 0..=u64::MAX)?.unwrap_or(1);
    let tunnels = [("bond", Tunnel::Bond), ("toy", Tunnel::Toy), ("none", Tunnel::None)];
    let tunnel = top.word("tunnel", &tunnels)?.unwrap_or(Tunnel::Bond);
    let granularity = top.time("granularity")?.unwrap_or_default();
    let settings = top.table("bond")?;
    let bond = bond(settings.unwrap_or_else(|| Section::new(text, &empty, 0, "bond".into())))?;
    let settings = top.table("host")?;
    let host = host(settings.unwrap_or_else(|| Section::new(text, &empty, 0, "host".into())))?;
    let links = links(&mut top, tunnel)?;
    let flows = flows(&mut top, end)?;
    let events = events(&mut top, &links, duration, end)?;
    let mut expects = Vec::new();
    for mut section in top.tables("expect")? {
        expects.extend(expect::read(&mut section, &links, &flows, duration, end)?);
        section.finish()?;
    }
    top.finish()?;
    overrides.finish()?;
    let name = name.to_owned();
    Ok(Scenario {
        name,
        title,
        duration,
        seed,
        tunnel,
        bond,
        host,
        granularity,
        links,
        flows,
        events,
        expects,
    })
}

const DURATION: Duration = Duration::from_secs(20);
const SHORTEST: Duration = Duration::from_millis(100);
/// More paths than this do not fit a table.
const MOST_LINKS: usize = 16;
const MOST_FLOWS: usize = 256;

fn links(top: &mut Section<'_, '_>, tunnel: Tunnel) -> Result<Vec<LinkSpec>, ScenarioError> {
    let mut links: Vec<LinkSpec> = Vec::new();
    for (index, mut section) in top.tables("link")?.into_iter().enumerate() {
        let read = link::read(&mut section, index, tunnel)?;
        if links.iter().any(|other| other.name == read.name) {
            return Err(section
                .error("name", format!("expected a name that no other link has, got \"{}\"", read.name)));
        }
        section.finish()?;
        links.push(read);
    }
    if links.is_empty() {
        top.known(&["flow", "event", "expect"])?;
    }
    if links.is_empty() || links.len() > MOST_LINKS {
        let message = format!("expected 1 to {MOST_LINKS} tables [[link]], got {}", links.len());
        return Err(top.error("link", message));
    }
    Ok(links)
}

fn flows(top: &mut Section<'_, '_>, end: Option<Duration>) -> Result<Vec<FlowSpec>, ScenarioError> {
    let mut flows: Vec<FlowSpec> = Vec::new();
    for (index, mut section) in top.tables("flow")?.into_iter().enumerate() {
        let read = flow::read(&mut section, index, end)?;
        if flows.iter().any(|other| other.name == read.name) {
            return Err(section
                .error("name", format!("expected a name that no other flow has, got \"{}\"", read.name)));
        }
        section.finish()?;
        flows.push(read);
    }
    if flows.is_empty() {
        flows = FlowSpec::defaults();
    }
    if flows.len() > MOST_FLOWS {
        return Err(
            top.error("flow", format!("expected at most {MOST_FLOWS} tables [[flow]], got {}", flows.len()))
        );
    }
    Ok(flows)
}

fn events(
    top: &mut Section<'_, '_>,
    links: &[LinkSpec],
    duration: Duration,
    end: Option<Duration>,
) -> Result<Vec<Event>, ScenarioError> {
    let (mut events, mut under_way) = (Vec::new(), event::Slow::default());
    for mut section in top.tables("event")? {
        events.extend(event::read(&mut section, links, duration, end, &mut under_way)?);
        if events.len() > event::MOST {
            return Err(
                section.error("at", format!("expected at most {} changes in all, got more", event::MOST))
            );
        }
        section.finish()?;
    }
    // A stable sort: of two at one time the first in the file comes first.
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn bond(mut section: Section<'_, '_>) -> Result<BondSettings, ScenarioError> {
    let modes: Vec<(&str, &str)> = MODES.iter().map(|mode| (*mode, *mode)).collect();
    let settings = BondSettings {
        mode: section.word("mode", &modes)?.map(str::to_owned),
        max_skew: section.time("max-skew")?,
        hold: section.time("hold")?,
        without: section.texts("without")?.unwrap_or_default(),
    };
    section.finish()?;
    Ok(settings)
}

fn host(mut section: Section<'_, '_>) -> Result<HostSettings, ScenarioError> {
    let settings = HostSettings {
        offload: section.boolean("offload")?.unwrap_or_default(),
        send_buffer: section.bytes("send-buffer")?,
    };
    section.finish()?;
    Ok(settings)
}
