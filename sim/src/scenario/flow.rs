//! `[[flow]]`: what the hosts send each other.

use super::section::Section;
use super::{Direction, ScenarioError};
use std::time::Duration;

/// How the sender of a TCP flow behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// As the kernel's TCP.
    Kernel,
    /// As QUIC: lost after three later packets, nothing is undone.
    Quic,
}

/// What a flow is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A transfer as fast as TCP can.
    Tcp {
        /// The sender.
        profile: Profile,
        /// A number of bytes; `None`: until it is stopped.
        bytes: Option<u64>,
    },
    /// Datagrams at a constant rate.
    Udp {
        /// Bits of IP packets per second.
        rate: u64,
        /// Bytes of each IP packet.
        size: u16,
    },
    /// An echo request every so often, by the client.
    Ping {
        /// How often.
        interval: Duration,
        /// Bytes of each IP packet.
        size: u16,
    },
}

/// A flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowSpec {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Which way the data goes.
    pub direction: Direction,
    /// When it begins.
    pub start: Duration,
    /// When it ends; the end of the run where nothing is said.
    pub stop: Option<Duration>,
}

impl FlowSpec {
    /// What a scenario without flows gets: a TCP download and a ping.
    pub(super) fn defaults() -> Vec<FlowSpec> {
        let flow = |name: &str, kind| FlowSpec {
            name: name.to_owned(),
            kind,
            direction: Direction::Down,
            start: Duration::ZERO,
            stop: None,
        };
        vec![
            flow("download", Kind::Tcp { profile: Profile::Kernel, bytes: None }),
            flow("ping", Kind::Ping { interval: PING, size: PING_SIZE }),
        ]
    }
}

/// Often enough for a 99th percentile of a few seconds, and 0.1% of 5 Mbit/s.
const PING: Duration = Duration::from_millis(100);
/// More pings than packets of the flow that they measure would be the load.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const INTERVAL: &str = "a time such as \"100 ms\" (us, ms, s or min), from 1 ms to 60 min";
/// What `ping` sends: 56 bytes of data.
const PING_SIZE: u16 = 84;
/// What a game or a call sends.
const UDP_SIZE: u16 = 200;

#[derive(Clone, Copy)]
enum Word {
    Tcp,
    Udp,
    Ping,
}

/// Reads `[[flow]]` number `index`.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    index: usize,
    end: Option<Duration>,
) -> Result<FlowSpec, ScenarioError> {
    let words = [("tcp", Word::Tcp), ("udp", Word::Udp), ("ping", Word::Ping)];
    let word = section.word("kind", &words)?.unwrap_or(Word::Tcp);
    let named =
        words.iter().find(|(_, other)| std::mem::discriminant(other) == std::mem::discriminant(&word));
    let name = section.text("name")?;
    let name = name.unwrap_or_else(|| format!("{}{}", named.map_or("flow", |(name, _)| name), index + 1));
    section.set_path(format!("flow.{name}"));
    let directions = [("down", Direction::Down), ("up", Direction::Up)];
    let direction = section.word("direction", &directions)?;
    let kind = match word {
        Word::Tcp => Kind::Tcp {
            profile: section
                .word("profile", &[("kernel", Profile::Kernel), ("quic", Profile::Quic)])?
                .unwrap_or(Profile::Kernel),
            bytes: section.optional("bytes", super::units::BYTES, |value| {
                value.as_str().and_then(super::units::bytes)
            })?,
        },
        Word::Udp => {
            let (rate, size) = (section.rate("rate")?, size(section)?.unwrap_or(UDP_SIZE));
            section.known(&["start", "stop"])?;
            let rate =
                rate.ok_or_else(|| section.error("rate", "expected the rate of this flow, got none"))?;
            Kind::Udp { rate, size }
        }
        Word::Ping => Kind::Ping {
            interval: section
                .optional("interval", INTERVAL, |value| {
                    value.as_str().and_then(super::units::time).filter(|time| *time >= SHORTEST_INTERVAL)
                })?
                .unwrap_or(PING),
            size: size(section)?.unwrap_or(PING_SIZE),
        },
    };
    let start = section.before("start", end)?.unwrap_or_default();
    let stop = section.time("stop")?;
    if stop.is_some_and(|stop| stop <= start) {
        return Err(section.error("stop", "expected a time after start, got one that is not"));
    }
    Ok(FlowSpec { name, kind, direction: direction.unwrap_or(Direction::Down), start, stop })
}

fn size(section: &mut Section<'_, '_>) -> Result<Option<u16>, ScenarioError> {
    Ok(section.number("size", 44..=1500)?.map(|size| size as u16))
}
