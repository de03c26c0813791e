//! `[[link]]`: a way between the two sides, each direction its own.

use super::section::Section;
use super::units::{self, Share};
use super::{ScenarioError, Tunnel};
use std::time::Duration;

/// A direction, seen from the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

impl Direction {
    /// Both.
    pub const BOTH: [Direction; 2] = [Direction::Down, Direction::Up];

    /// `down` or `up`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Down => "down",
            Direction::Up => "up",
        }
    }
}

/// Bursts of loss (Gilbert-Elliott): in the bad state every packet is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    /// The chance, at each packet, that a burst begins.
    pub start: Share,
    /// The chance, at each packet, that it ends.
    pub end: Share,
}

/// The queue in front of a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Its length in bytes; what does not fit is dropped.
    pub limit: u64,
    /// Whether CoDel (RFC 8289) keeps it short.
    pub codel: bool,
}

/// What one direction is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bits of IP packets per second.
    pub rate: u64,
    /// One way.
    pub delay: Duration,
    /// Each packet's delay is up to this much shorter or longer.
    pub jitter: Duration,
    /// Whether jitter may put packets out of order.
    pub reorder: bool,
    /// Each packet by itself is lost with this chance.
    pub loss: Share,
    /// Losses in bursts, in addition.
    pub burst: Option<Burst>,
    /// What waits.
    pub queue: Queue,
    /// A radio that sends what has gathered every so often; zero: at once.
    pub grants: Duration,
}

/// A link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkSpec {
    /// Its name, and that of the client's device.
    pub name: String,
    /// From the server to the client.
    pub down: Shape,
    /// From the client to the server.
    pub up: Shape,
    /// The largest IP packet that gets through; longer ones vanish.
    pub mtu: u16,
    /// Its share where the strategy goes by weights.
    pub weight: u32,
    /// Whether it is there at the start.
    pub present: bool,
}

impl LinkSpec {
    /// One of its directions.
    pub fn shape(&self, direction: Direction) -> &Shape {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }
}

const QUEUE: &str = "a queue such as \"1.5 bdp\", \"30 ms\" or \"187500 B\"";
/// No queue is shorter than this many full packets: a slow link's bandwidth-delay product may be
/// less than one.
const SHORTEST: u64 = 10 * 1500;

/// All of it may be in memory: 100 Gbit/s for 80 ms.
const LONGEST: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
enum Limit {
    /// Thousandths of the bandwidth-delay product.
    Bdp(u64),
    Time(Duration),
    Bytes(u64),
}

fn limit(text: &str) -> Option<Limit> {
    if let Some(number) = text.trim().strip_suffix("bdp") {
        return units::thousandths(number.trim_end()).map(Limit::Bdp);
    }
    units::time(text).map(Limit::Time).or_else(|| units::bytes(text).map(Limit::Bytes))
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_nanos() / 8 / 1_000_000_000).min(u128::from(u64::MAX)) as u64
}

/// The keys that a direction may have of its own, with what has been said for both.
#[derive(Clone, Copy)]
struct Keys {
    rate: Option<u64>,
    delay: Option<Duration>,
    jitter: Duration,
    reorder: bool,
    loss: Share,
    burst: Option<Burst>,
    queue: Limit,
    codel: bool,
    grants: Duration,
}

const UNSAID: Keys = Keys {
    rate: None,
    delay: None,
    jitter: Duration::ZERO,
    reorder: false,
    loss: Share(0),
    burst: None,
    queue: Limit::Bdp(1_500),
    codel: false,
    grants: Duration::ZERO,
};

fn keys(section: &mut Section<'_, '_>, base: Keys) -> Result<Keys, ScenarioError> {
    let aqm = section.word("aqm", &[("none", false), ("codel", true)])?;
    let expected = QUEUE;
    Ok(Keys {
        rate: section.rate("rate")?.or(base.rate),
        delay: delay(section)?.or(base.delay),
        jitter: section.time("jitter")?.unwrap_or(base.jitter),
        reorder: section.boolean("reorder")?.unwrap_or(base.reorder),
        loss: section.share("loss")?.unwrap_or(base.loss),
        burst: burst(section)?.or(base.burst),
        queue: section
            .optional("queue", expected, |value| value.as_str().and_then(limit))?
            .unwrap_or(base.queue),
        codel: aqm.unwrap_or(base.codel),
        grants: section.time("grants")?.unwrap_or(base.grants),
    })
}

/// One way, as `delay` or as half of `rtt`.
pub(super) fn delay(section: &mut Section<'_, '_>) -> Result<Option<Duration>, ScenarioError> {
    let delay = section.time("delay")?;
    let rtt = section.time("rtt")?;
    if delay.is_some() && rtt.is_some() {
        return Err(section.error("rtt", "expected either rtt or delay (one way), got both"));
    }
    Ok(delay.or(rtt.map(|rtt| rtt / 2)))
}

/// `burst = { start = "0.1%", end = "10%" }`
pub(super) fn burst(section: &mut Section<'_, '_>) -> Result<Option<Burst>, ScenarioError> {
    let Some(mut table) = section.table("burst")? else { return Ok(None) };
    let start = table.share("start")?;
    let end = table.share("end")?;
    let (Some(start), Some(end)) = (start, end) else {
        return Err(section
            .error("burst", "expected both start and end, such as { start = \"0.1%\", end = \"10%\" }"));
    };
    table.finish()?;
    Ok(Some(Burst { start, end }))
}

fn shape(keys: Keys, rtt: Duration, section: &Section<'_, '_>) -> Result<Shape, ScenarioError> {
    let missing = |key, expected| section.error(key, format!("expected {expected}, got none"));
    let rate = keys.rate.ok_or_else(|| missing("rate", units::RATE))?;
    let delay = keys.delay.ok_or_else(|| missing("rtt", units::TIME))?;
    let limit = match keys.queue {
        Limit::Bdp(thousandths) => {
            let bytes = u128::from(bytes_in(rate, rtt)) * u128::from(thousandths) / 1000;
            u64::try_from(bytes).unwrap_or(u64::MAX).max(SHORTEST)
        }
        Limit::Time(time) => bytes_in(rate, time).max(SHORTEST),
        Limit::Bytes(bytes) => bytes,
    };
    if limit > LONGEST {
        let message = format!("expected at most {} MB, got {} MB", LONGEST / 1_000_000, limit / 1_000_000);
        return Err(section.error("queue", message));
    }
    let Keys { jitter, reorder, loss, burst, codel, grants, .. } = keys;
    Ok(Shape { rate, delay, jitter, reorder, loss, burst, queue: Queue { limit, codel }, grants })
}

/// Reads `[[link]]` number `index`.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    index: usize,
    tunnel: Tunnel,
) -> Result<LinkSpec, ScenarioError> {
    let expected = "a name of 1 to 15 bytes without spaces, slashes and dots";
    let fits = |name: &str| {
        (1..=15).contains(&name.len())
            && !name.bytes().any(|b| b.is_ascii_whitespace() || b"/.\0".contains(&b))
    };
    let name = section
        .optional("name", expected, |value| value.as_str().filter(|name| fits(name)).map(str::to_owned))?;
    let name = name.unwrap_or_else(|| format!("link{}", index + 1));
    section.set_path(format!("link.{name}"));
    let both = keys(section, UNSAID)?;
    let mut one = [both; 2];
    for (direction, keys_of) in Direction::BOTH.into_iter().zip(&mut one) {
        if let Some(mut table) = section.table(direction.as_str())? {
            *keys_of = keys(&mut table, both)?;
            table.finish()?;
        }
    }
    // RFC 8200 section 5: what a bond carries has 1,280 bytes at least.
    let least = if tunnel == Tunnel::Bond { 1280 + super::ceiling::HEADER } else { 576 };
    let rtt = one[0].delay.unwrap_or_default() + one[1].delay.unwrap_or_default();
    let mtu = section.number("mtu", least..=65_535)?.map_or(1500, |mtu| mtu as u16);
    let weight = section.number("weight", 1..=65_535)?.map_or(1, |weight| weight as u32);
    let present = section.boolean("present")?.unwrap_or(true);
    section.known(&[])?;
    let (down, up) = (shape(one[0], rtt, section)?, shape(one[1], rtt, section)?);
    Ok(LinkSpec { name, down, up, mtu, weight, present })
}
