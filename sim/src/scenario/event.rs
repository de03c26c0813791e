//! `[[event]]`: what happens to a link, and when.

use super::section::Section;
use super::units::Share;
use super::{Burst, Direction, ScenarioError, link};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which directions of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Down and up.
    Both,
    /// One of them.
    One(Direction),
}

impl Which {
    /// Whether `direction` is one of them.
    pub fn covers(self, direction: Direction) -> bool {
        match self {
            Which::Both => true,
            Which::One(one) => one == direction,
        }
    }
}

/// Whether a link works, and which hosts notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Everything sent vanishes, and no host notices.
    Silent,
    /// It works again; no host is notified.
    Up,
    /// The device has vanished, and the client's system says so.
    Gone,
    /// The device is there again, and the client's system says so.
    Back,
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Whether it works.
    State(State),
    /// Bits of IP packets per second.
    Rate(u64),
    /// One way.
    Delay(Duration),
    /// Up to this much more.
    Jitter(Duration),
    /// Independent loss.
    Loss(Share),
    /// Loss in bursts.
    Burst(Burst),
    /// The NAT in front of the client forgets its mappings: the next packet has a new port.
    Rebind,
}

/// Something that happens to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Duration,
    /// Which link, by its place.
    pub link: usize,
    /// Which of its directions.
    pub which: Which,
    /// What.
    pub change: Change,
    /// Part of a slow change, or one of many a second: not listed as an event of its own.
    pub step: bool,
}

/// A slow change is made in steps of this.
const STEP: Duration = Duration::from_millis(100);

/// The most of all changes of a run: they are all made before it begins.
pub(super) const MOST: usize = 100_000;

/// What happens more often than this is weather, not news.
const OFTEN: Duration = Duration::from_secs(1);

/// Slow changes under way, by link, direction, kind and beginning: each until when. Two of a kind
/// at a time would be steps of one between steps of the other.
#[derive(Debug, Default)]
pub(super) struct Slow(BTreeMap<(usize, Direction, bool, Duration), Duration>);

impl Slow {
    /// False: there is another one meanwhile.
    fn begin(&mut self, event: &Event, over: Duration) -> bool {
        let Event { at, link, which, change, .. } = *event;
        let end = at + over;
        Direction::BOTH.into_iter().filter(|direction| which.covers(*direction)).all(|direction| {
            let of = |at| (link, direction, matches!(change, Change::Rate(_)), at);
            let before = self.0.range(of(Duration::ZERO)..of(end)).next_back();
            let free = before.is_none_or(|(_, until)| *until <= at);
            self.0.insert(of(at), end);
            free
        })
    }
}

/// Reads one `[[event]]`; a slow or a repeated one becomes many.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    links: &[link::LinkSpec],
    duration: Duration,
    end: Option<Duration>,
    under_way: &mut Slow,
) -> Result<Vec<Event>, ScenarioError> {
    let at = section.before("at", end)?;
    let names: Vec<(&str, usize)> =
        links.iter().enumerate().map(|(index, link)| (link.name.as_str(), index)).collect();
    let named = section.word("link", &names)?;
    let directions =
        [("both", Which::Both), ("down", Which::One(Direction::Down)), ("up", Which::One(Direction::Up))];
    let which = section.word("direction", &directions)?.unwrap_or(Which::Both);
    let every = section.time("every")?;
    let until = section.time("until")?;
    if until.is_some() && every.is_none() {
        return Err(section.error("until", "expected every beside it: it ends what happens again and again"));
    }
    let until = until.unwrap_or(duration).min(duration);
    let over = section.time("over")?.unwrap_or_default();

    let mut changes = Vec::new();
    let states = [("silent", State::Silent), ("up", State::Up), ("gone", State::Gone), ("back", State::Back)];
    changes.extend(section.word("state", &states)?.map(Change::State));
    changes.extend(section.rate("rate")?.map(Change::Rate));
    changes.extend(link::delay(section)?.map(Change::Delay));
    changes.extend(section.time("jitter")?.map(Change::Jitter));
    changes.extend(section.share("loss")?.map(Change::Loss));
    changes.extend(link::burst(section)?.map(Change::Burst));
    if section.boolean("rebind")? == Some(true) {
        changes.push(Change::Rebind);
    }
    section.known(&["from"])?;
    let at =
        at.ok_or_else(|| section.error("at", "expected when it happens, such as \"8 s\", got nothing"))?;
    let link = named.ok_or_else(|| section.error("link", "expected the name of a link, got none"))?;
    if changes.is_empty() {
        let message =
            "expected at least one of state, rate, rtt, delay, jitter, loss, burst, rebind, got none";
        return Err(section.error("at", message));
    }
    if over.is_zero() && section.has("from") {
        return Err(section.error("from", "expected over beside it: how long the change takes"));
    }
    let from = if over.is_zero() { None } else { Some(slow(section, &changes)?) };
    if every.is_some_and(|every| every.is_zero() || every < over) {
        return Err(section
            .error("every", "expected a time that is neither zero nor shorter than over, got one that is"));
    }

    let mut events = Vec::new();
    let mut begin = at;
    while begin < until || begin == at {
        if events.len() > MOST {
            let message =
                format!("expected a time that makes at most {MOST} changes, got one that makes more");
            return Err(section.error("every", message));
        }
        for change in &changes {
            let event = |at, change, step| Event { at, link, which, change, step };
            match from {
                None => events.push(event(begin, *change, every.is_some_and(|every| every < OFTEN))),
                Some(from) => {
                    if !under_way.begin(&event(begin, *change, false), over) {
                        let message = "expected one slow change of a kind at a time, got one that begins \
                                       before another has ended";
                        return Err(section.error("over", message));
                    }
                    let steps = (over.as_nanos() / STEP.as_nanos()).max(1) as u32;
                    for n in 1..=steps {
                        events.push(event(begin + STEP * n, between(from, *change, n, steps), n < steps));
                    }
                }
            }
        }
        match every {
            Some(every) => begin += every,
            None => break,
        }
    }
    events.retain(|event| event.at < duration);
    Ok(events)
}

/// What a slow change begins with: `from`, of the same kind as the change itself.
fn slow(section: &mut Section<'_, '_>, changes: &[Change]) -> Result<Change, ScenarioError> {
    let from = match changes {
        [Change::Rate(_)] => section.optional("from", super::units::RATE, |value| {
            value.as_str().and_then(super::units::rate).map(Change::Rate)
        })?,
        [Change::Delay(_)] if section.has("rtt") => section.time("from")?.map(|rtt| Change::Delay(rtt / 2)),
        [Change::Delay(_)] => section.time("from")?.map(Change::Delay),
        _ => {
            return Err(
                section.error("over", "expected exactly one of rate, rtt, delay beside over, got others")
            );
        }
    };
    from.ok_or_else(|| {
        section.error("over", "expected from, the value that the change begins with, got none")
    })
}

fn between(from: Change, to: Change, n: u32, steps: u32) -> Change {
    let mix = |from: u64, to: u64| {
        let (from, to, n, steps) = (i128::from(from), i128::from(to), i128::from(n), i128::from(steps));
        (from + (to - from) * n / steps) as u64
    };
    match (from, to) {
        (Change::Rate(from), Change::Rate(to)) => Change::Rate(mix(from, to).max(1)),
        (Change::Delay(from), Change::Delay(to)) => {
            Change::Delay(Duration::from_nanos(mix(from.as_nanos() as u64, to.as_nanos() as u64)))
        }
        (_, to) => to,
    }
}

impl Event {
    /// One line for a person; `link` is the link's name.
    pub(crate) fn to_string_of(self, link: &str) -> String {
        let which = match self.which {
            Which::Both => String::new(),
            Which::One(direction) => format!(" {}", direction.as_str()),
        };
        let what = match self.change {
            Change::State(State::Silent) => "falls silent".to_owned(),
            Change::State(State::Up) => "works again".to_owned(),
            Change::State(State::Gone) => "vanishes".to_owned(),
            Change::State(State::Back) => "is back".to_owned(),
            Change::Rate(rate) => format!("now has {} Mbit/s", rate as f64 / 1e6),
            Change::Delay(delay) => format!("now has a delay of {} ms", delay.as_secs_f64() * 1e3),
            Change::Jitter(jitter) => format!("now has a jitter of {} ms", jitter.as_secs_f64() * 1e3),
            Change::Loss(loss) => format!("now loses {loss}"),
            Change::Burst(burst) => {
                format!("now loses in bursts, {} to begin and {} to end", burst.start, burst.end)
            }
            Change::Rebind => "has a NAT that has forgotten its mappings".to_owned(),
        };
        format!("{link}{which} {what}")
    }
}
