//! What must be true, worked out from what was done to the world and from nothing the machine said.
//!
//! It keeps a history of conditions (how each target and uplink was, and since when) and of what
//! each client asked for. The conditions between a question and its answer decide which answers
//! are allowed; where they never changed, which one must come, and by when.

use super::transition::{Coming, Destination, Mode, Place, Protocol};
use super::util::lab::Who;
use super::util::{ms, pattern, say, secs};
use ropewalk_core::time::{Duration, Instant};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Where the targets are.
pub(crate) const PLACES: [&str; 5] =
    ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80", "192.0.2.4:80", "[2001:db8::5]:80"];
/// This one speaks first and ends its half; the others are an echo.
pub(crate) const SPEAKER: Place = 3;
/// The addresses of the name that has two.
pub(crate) const BOTH: [Place; 2] = [4, 0];

pub(crate) const HANDSHAKE: Duration = secs(10);
pub(crate) const CONNECT: Duration = secs(20);
/// On top of what a deadline says: latencies, names, a linger.
pub(crate) const SLACK: Duration = secs(3);
/// After this long without an action everything under way has arrived.
pub(crate) const QUIET: Duration = secs(3);
/// The longest an attempt may be silent before it gets company.
const STAGGER: Duration = secs(1);

pub(crate) fn is_v6(place: Place) -> bool {
    PLACES[place].starts_with('[')
}

pub(crate) fn speech() -> Vec<u8> {
    pattern(30_000, 99)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Well,
    Dead,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Uplink {
    pub(crate) link: Link,
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Uplink {
    pub(crate) const WELL: Uplink = Uplink { link: Link::Well, v4: true, v6: true };

    pub(crate) fn carries(self, v6: bool) -> bool {
        if v6 { self.v6 } else { self.v4 }
    }
}

/// How everything is at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Conditions {
    pub(crate) modes: [Mode; PLACES.len()],
    pub(crate) uplinks: Vec<Uplink>,
}

/// Why a client may be refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum No {
    Name,
    Refused,
    TimedOut,
    Network,
}

impl No {
    /// RFC 1928 section 6.
    pub(crate) fn socks5(self) -> u8 {
        match self {
            No::Name => 4,
            No::Refused => 5,
            No::TimedOut => 6,
            No::Network => 3,
        }
    }

    pub(crate) fn http(self) -> u16 {
        match self {
            No::TimedOut => 504,
            No::Name | No::Refused | No::Network => 502,
        }
    }
}

/// The answers that a request may get.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) grants: BTreeSet<(Place, usize)>,
    pub(crate) noes: BTreeSet<No>,
    /// The conditions never changed: the answer must be a grant if one is possible, within `by`.
    pub(crate) steady: bool,
    pub(crate) by: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) who: Who,
    pub(crate) number: u8,
    pub(crate) protocol: Protocol,
    pub(crate) destination: Destination,
    pub(crate) came: Instant,
    /// Where in the history it came.
    pub(crate) since: usize,
    /// It came after the drain, when no client is let in.
    pub(crate) too_late: bool,
    /// All of what it says before its payload, and how much of that it was given to say.
    pub(crate) words: Vec<u8>,
    pub(crate) said: usize,
    /// What it was given to send, which may be more than it could.
    pub(crate) payload: Vec<u8>,
    pub(crate) fin: bool,
    pub(crate) reset: bool,
    pub(crate) reads: bool,
    /// It has read at all times.
    pub(crate) read_always: bool,
    /// When anything was last done to it.
    pub(crate) touched: Instant,
}

impl Client {
    pub(crate) fn asked(&self) -> bool {
        self.said == self.words.len()
    }

    /// `len` more bytes to send: they begin with its number, and each shows its position.
    pub(crate) fn more(&mut self, len: usize) -> Vec<u8> {
        let at = self.payload.len();
        let bytes = pattern(at + len, self.number).split_off(at);
        self.payload.extend(&bytes);
        bytes
    }
}

pub(crate) struct Reference {
    pub(crate) weights: Vec<u32>,
    pub(crate) now: Instant,
    pub(crate) clients: Vec<Client>,
    pub(crate) draining: bool,
    history: Vec<(Instant, Conditions)>,
    /// When which uplink vanished.
    pub(crate) vanished: Vec<(Instant, usize)>,
}

impl Reference {
    pub(crate) fn new(weights: &[u32]) -> Self {
        let uplinks = vec![Uplink::WELL; weights.len()];
        let conditions = Conditions { modes: [Mode::Listening; PLACES.len()], uplinks };
        Reference {
            weights: weights.to_vec(),
            now: Instant::ZERO,
            clients: Vec::new(),
            draining: false,
            history: vec![(Instant::ZERO, conditions)],
            vanished: Vec::new(),
        }
    }

    pub(crate) fn conditions(&self) -> &Conditions {
        &self.history.last().expect("the history begins at the start").1
    }

    /// Changes the conditions now.
    pub(crate) fn turn(&mut self, change: impl FnOnce(&mut Conditions)) {
        let mut conditions = self.conditions().clone();
        change(&mut conditions);
        if conditions != *self.conditions() {
            self.history.push((self.now, conditions));
        }
    }

    /// The index of the newest entry of the history.
    pub(crate) fn since(&self) -> usize {
        self.history.len() - 1
    }

    /// The conditions from entry `from` of the history until `to`.
    fn conditions_between(&self, from: usize, to: Instant) -> impl Iterator<Item = &Conditions> {
        self.history[from..].iter().take_while(move |(at, _)| *at <= to).map(|(_, conditions)| conditions)
    }

    /// The conditions that may have held at `at`: before and after a change of that moment.
    pub(crate) fn conditions_at(&self, at: Instant) -> impl Iterator<Item = &Conditions> {
        self.conditions_between(self.history.iter().rposition(|(began, _)| *began < at).unwrap_or(0), at)
    }

    /// All conditions until `to`.
    pub(crate) fn conditions_until(&self, to: Instant) -> impl Iterator<Item = &Conditions> {
        self.conditions_between(0, to)
    }

    pub(crate) fn places(destination: Destination) -> Vec<Place> {
        match destination {
            Destination::Address(place) | Destination::Name(place) => vec![place],
            Destination::Both => BOTH.to_vec(),
            Destination::Nobody => Vec::new(),
        }
    }

    /// What may be said to `client`, if it is said by `to`.
    pub(crate) fn allowed(&self, client: &Client, to: Instant) -> Allowed {
        let mut allowed = Allowed { by: CONNECT + SLACK, ..Allowed::default() };
        let places = Self::places(client.destination);
        if places.is_empty() {
            allowed.noes.insert(No::Name);
            (allowed.steady, allowed.by) = (true, ms(500));
            return allowed;
        }
        let mut changes = 0;
        for conditions in self.conditions_between(client.since, to) {
            changes += 1;
            for place in &places {
                let carriers = || {
                    let all = conditions.uplinks.iter().enumerate();
                    all.filter(|(_, uplink)| uplink.carries(is_v6(*place)))
                };
                for (index, uplink) in carriers() {
                    match (uplink.link, conditions.modes[*place]) {
                        (Link::Well, Mode::Listening | Mode::Resetting) => {
                            allowed.grants.insert((*place, index));
                        }
                        (Link::Well, Mode::Refusing) => drop(allowed.noes.insert(No::Refused)),
                        (Link::Well, Mode::Silent) | (Link::Dead, _) => {
                            allowed.noes.insert(No::TimedOut);
                        }
                        (Link::Gone, _) => drop(allowed.noes.insert(No::Network)),
                    }
                }
                if carriers().next().is_none() {
                    allowed.noes.insert(No::Network);
                }
            }
        }
        allowed.steady = changes == 1;
        if allowed.steady {
            let attempts = (places.len() * self.weights.len()) as u32;
            if !allowed.grants.is_empty() {
                allowed.by = STAGGER * attempts + ms(500);
                allowed.noes.clear();
            } else if !allowed.noes.contains(&No::TimedOut) {
                allowed.by = ms(500) * places.len() as u32;
                // What the destination said goes before what this host lacks.
                if allowed.noes.contains(&No::Refused) {
                    allowed.noes = BTreeSet::from([No::Refused]);
                }
            }
        }
        allowed
    }

    /// Whether `uplink` vanished at a time from `from` on.
    pub(crate) fn vanished_since(&self, from: Instant, uplink: usize) -> bool {
        self.vanished.iter().any(|(at, gone)| *gone == uplink && *at >= from)
    }
}

fn name(destination: Destination) -> String {
    match destination {
        Destination::Address(place) | Destination::Name(place) => format!("p{place}.example"),
        Destination::Both => "both.example".to_owned(),
        Destination::Nobody => "nobody.example".to_owned(),
    }
}

/// What a client says to ask for that.
pub(crate) fn words(coming: &Coming) -> Vec<u8> {
    let address = |place: Place| PLACES[place].parse::<SocketAddr>().expect("an address");
    match (coming.protocol, coming.destination) {
        (Protocol::Socks5, Destination::Address(place)) => say::socks5(address(place)),
        (Protocol::Socks5, destination) => say::socks5_to_name(&name(destination), 80),
        (Protocol::Socks4, Destination::Address(place)) => match address(place) {
            SocketAddr::V4(v4) => say::socks4(1, v4.ip().octets(), 80, b"me"),
            SocketAddr::V6(_) => unreachable!("the strategy makes a name of it"),
        },
        (Protocol::Socks4, destination) => say::socks4a(name(destination).as_bytes(), 80, b"me"),
        (Protocol::Connect, Destination::Address(place)) => say::http_connect(PLACES[place]),
        (Protocol::Connect, destination) => say::http_connect(&format!("{}:80", name(destination))),
    }
}
