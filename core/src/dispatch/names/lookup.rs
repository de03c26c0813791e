//! One name, asked for through one uplink: what is known of it, and what is still open.

use super::Known;
use super::message::{Answer, Kind};
use crate::machine::{Fault, QueryId, SocketId, StreamId, Via};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// RFC 8305 section 3: how long one family's addresses wait for the other's.
const SETTLE: Duration = Duration::from_millis(50);
/// How long "no address" is believed of a family for which no server has answered.
const HALF_TTL: u32 = 30;

/// What one family came to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Found {
    Addresses(Vec<IpAddr>, u32),
    Nothing(Option<u32>),
}

/// One server that was asked for both families, from one socket.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) to: SocketAddr,
    /// By which address it is reached.
    pub(super) at: SocketAddr,
    pub(super) via: Via,
    pub(super) socket: Option<SocketId>,
    /// What was asked with which id; `None`: it is answered, or will not be.
    pub(super) asked: [Option<u16>; 2],
    /// Questions that are asked again over TCP.
    pub(super) streams: [Option<Stream>; 2],
}

/// A question over TCP: each message goes behind its length (RFC 1035 section 4.2.2).
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) unsent: Vec<u8>,
    pub(super) seen: Vec<u8>,
}

impl Exchange {
    /// Where this stream stands.
    pub(super) fn kind_of(&self, stream: StreamId) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| self.streams[*kind as usize].as_ref().is_some_and(|its| its.id == stream))
    }
}

/// One name and one uplink.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) waiters: Vec<QueryId>,
    /// The service itself wants to know.
    pub(super) own: bool,
    pub(super) began: Instant,
    /// The deadline of all that wait for it.
    pub(super) until: Instant,
    pub(super) tries: usize,
    pub(super) next_try: Option<Instant>,
    pub(super) exchanges: Vec<Exchange>,
    /// A server was named and the pool has not said yet how it is reached.
    pub(super) asking: bool,
    found: [Option<Found>; 2],
    /// A server has said that there is no such name.
    denied: bool,
    settle: Option<Instant>,
    /// Other servers were set since it began: what it comes to is not kept.
    pub(super) outdated: bool,
    /// What its deadline is set to.
    pub(super) armed: Option<Instant>,
}

impl Lookup {
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Lookup {
            waiters: Vec::new(),
            own: false,
            began: now,
            until: now + patience,
            tries: 0,
            next_try: None,
            exchanges: Vec::new(),
            asking: false,
            found: [None, None],
            denied: false,
            settle: None,
            outdated: false,
            armed: None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        [self.next_try, self.settle].into_iter().flatten().fold(self.until, Instant::min)
    }

    /// The families for which no server has answered.
    pub(super) fn open(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| self.found[*kind as usize].is_none())
    }

    /// Takes in what a server says of a family.
    pub(super) fn learn(&mut self, now: Instant, kind: Kind, answer: Answer) {
        match answer {
            Answer::Found { addresses, ttl } => {
                self.found[kind as usize] = Some(Found::Addresses(addresses, ttl));
                self.settle = self.settle.or(Some(now + SETTLE));
            }
            // RFC 4074 section 4.2: some say that there is no such name where it has no address of
            // this family. So each family is waited for. And an address that one server knows
            // counts, whatever another says.
            Answer::Nothing { ttl, anything } => {
                self.denied |= anything;
                self.found[kind as usize].get_or_insert(Found::Nothing(ttl));
            }
            Answer::Stray | Answer::Truncated | Answer::Failed => {}
        }
    }

    /// All that is to be known is known, or what is known is enough.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.open().next().is_none() || self.settle.is_some_and(|at| at <= now)
    }

    /// Whether an answer may still come for a family that is open.
    pub(super) fn is_awaited(&self) -> bool {
        self.asking
            || self
                .exchanges
                .iter()
                .any(|exchange| self.open().any(|kind| exchange.asked[kind as usize].is_some()))
    }

    /// What came of it, and for how many seconds that holds; `late`: where nothing did.
    pub(super) fn result(&self, late: Fault) -> (Known, u32) {
        let mut addresses = Vec::new();
        let (mut ttl, mut nothing) = (u32::MAX, 0);
        for found in &self.found {
            match found {
                Some(Found::Addresses(some, its)) => {
                    addresses.extend(some);
                    ttl = ttl.min(*its);
                }
                Some(Found::Nothing(its)) => {
                    nothing += 1;
                    // RFC 2308 section 5: without an SOA it is not kept. (Addresses are.)
                    ttl = ttl.min(its.unwrap_or(HALF_TTL));
                }
                None => ttl = ttl.min(HALF_TTL),
            }
        }
        let unknown = self.found.iter().any(|found| matches!(found, Some(Found::Nothing(None)) | None));
        match addresses.is_empty() {
            false => (Ok(addresses), ttl),
            true if nothing == self.found.len() || self.denied => {
                (Err(Fault::NameNotFound), if unknown { 0 } else { ttl })
            }
            true => (Err(late), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn lookup() -> Lookup {
        Lookup::new(at(0), Duration::from_secs(5))
    }

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn found() -> Answer {
        Answer::Found { addresses: [ip(1)].into(), ttl: 60 }
    }

    fn nothing(anything: bool) -> Answer {
        Answer::Nothing { ttl: Some(60), anything }
    }

    #[test]
    fn no_such_name_said_of_one_family_does_not_end_the_other() {
        for first in Kind::ALL {
            let mut lookup = lookup();
            lookup.learn(at(10), first, nothing(true));
            assert!(!lookup.is_complete(at(500)), "the other family is open");
            let other = lookup.open().next().expect("it is open");
            lookup.learn(at(510), other, found());
            assert!(lookup.is_complete(at(510)));
            assert_eq!(lookup.result(Fault::TimedOut), (Ok([ip(1)].into()), 60));
        }
    }

    #[test]
    fn no_such_name_is_believed_for_a_while_if_both_families_say_so_and_else_for_this_time_only() {
        let mut lookup = lookup();
        lookup.learn(at(10), Kind::V6, nothing(true));
        assert_eq!(lookup.result(Fault::TimedOut), (Err(Fault::NameNotFound), 0), "nobody spoke of IPv4");
        lookup.learn(at(20), Kind::V4, nothing(true));
        assert!(lookup.is_complete(at(20)));
        assert_eq!(lookup.result(Fault::TimedOut), (Err(Fault::NameNotFound), 60));
    }

    #[test]
    fn addresses_stay_though_another_server_knows_none() {
        for anything in [true, false] {
            let mut lookup = lookup();
            lookup.learn(at(10), Kind::V4, found());
            lookup.learn(at(30), Kind::V4, nothing(anything));
            assert!(lookup.is_complete(at(60)), "the other family is not waited for");
            assert_eq!(lookup.result(Fault::TimedOut), (Ok([ip(1)].into()), HALF_TTL));
        }
        let mut late = lookup();
        late.learn(at(10), Kind::V4, nothing(false));
        late.learn(at(30), Kind::V4, found());
        assert!(late.result(Fault::TimedOut).0.is_ok(), "nor the other way round");
    }
}
