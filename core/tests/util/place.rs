//! Where a connection may go and what may happen there: targets, uplinks, names, and the events of
//! the world.

use super::person::Person;
use ropewalk_core::machine::{Close, Device, Fault, ListenerId, QueryId, StreamId, Via};
use ropewalk_core::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// What a target does with a connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behave {
    Listen,
    Refuse,
    Silent,
    /// Fails after a while.
    Fail(Fault, Duration),
    /// Fails in the call.
    FailNow(Fault),
}

/// How an uplink is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Up,
    /// Swallows all.
    BlackHole,
    /// Each connect fails in the call.
    Broken(Fault),
    /// IPv6 fails in the call, IPv4 works.
    OnlyV4,
}

/// A server to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) behave: Behave,
    /// Through these devices it behaves otherwise.
    pub(crate) through: BTreeMap<Device, Behave>,
    /// The persons that serve the first connections; then `rest` serves.
    pub(crate) first: VecDeque<Person>,
    pub(crate) rest: Person,
    /// Until the connect is answered.
    pub(crate) answers: Duration,
}

impl Target {
    pub(crate) fn new(person: Person) -> Self {
        Target {
            behave: Behave::Listen,
            through: BTreeMap::new(),
            first: VecDeque::new(),
            rest: person,
            answers: Duration::from_millis(20),
        }
    }

    pub(crate) fn that(behave: Behave) -> Self {
        Target { behave, ..Target::new(Person::new([])) }
    }
}

/// What a resolver says, after a while.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) after: Duration,
    pub(crate) result: Result<Vec<IpAddr>, Fault>,
}

impl Answer {
    pub(crate) fn ips(after: Duration, ips: &[&str]) -> Self {
        let ips = ips.iter().map(|ip| ip.parse().expect("the test wrote an address")).collect();
        Answer { after, result: Ok(ips) }
    }
}

/// What the kernel can do for relays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SpliceMode {
    Never,
    /// Pipes of this many bytes.
    Pipe(usize),
    /// The same, but each call moves a random part and is now and then unavailable.
    Moody(usize),
}

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Ev {
    Arrives(ListenerId, usize),
    Bytes(usize, Vec<u8>),
    Fin(usize),
    Rst(usize),
    Wake(usize),
    Notice(usize),
    Sip(usize),
    ConnectDone(usize, Option<Fault>),
    #[cfg(feature = "names")]
    Datagram(ropewalk_core::machine::SocketId, Result<Vec<u8>, Fault>),
    Answer(QueryId, Result<Vec<IpAddr>, Fault>),
    SetLink(usize, Link),
    SetFdLimit(usize),
    Drain,
}

/// A connect that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) at: Instant,
    pub(crate) to: SocketAddr,
    pub(crate) via: Via,
    pub(crate) stream: StreamId,
    /// When it was given up or its connection closed by the proxy.
    pub(crate) closed: Option<(Instant, Close)>,
}
