//! What may happen in the world, and how often it does.
//!
//! A client is selected by a number modulo the count of clients, so that any part of a sequence is
//! a sequence too: proptest may leave out any item.

use proptest::prelude::*;
use std::fmt;

/// The targets, by their number in [`super::reference::PLACES`].
pub(crate) type Place = usize;

/// In which words a client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Socks5,
    /// 4, and 4a where it names a host.
    Socks4,
    Connect,
}

/// Destination a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    Address(Place),
    Name(Place),
    /// A name with an address of each family.
    Both,
    /// A name that does not exist.
    Nobody,
}

/// How a target is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Listening,
    Refusing,
    Silent,
    /// Takes a connection and resets it soon after.
    Resetting,
}

/// How a client comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Coming {
    pub(crate) protocol: Protocol,
    pub(crate) destination: Destination,
    /// Bytes sent right behind the request.
    pub(crate) early: usize,
    /// Bytes of one segment.
    pub(crate) segment: usize,
    pub(crate) window: usize,
    /// It reads nothing until [`Transition::ReadsAgain`].
    pub(crate) stopped: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Transition {
    Comes(Coming),
    /// One that says only this much of a hundred parts of its request.
    ComesPartly(Coming, u8),
    /// As many clients as the weights sum up to, all at once, in fair words.
    Crowd(Place),
    Sends(usize, usize),
    HalfCloses(usize),
    Resets(usize),
    StopsReading(usize),
    ReadsAgain(usize),
    TargetBecomes(Place, Mode),
    /// It swallows all that is new.
    UplinkDies(usize),
    /// Its interface has gone.
    UplinkVanishes(usize),
    /// It has no address of IPv4 or of IPv6 any more.
    UplinkLosesFamily(usize, bool),
    UplinkComesBack(usize),
    TimePasses(u64),
    Drain,
}

/// How the world is from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) weights: Vec<u32>,
    pub(crate) fuel: usize,
    pub(crate) buffer_size: usize,
    pub(crate) buffer_limit: usize,
    pub(crate) splice: Option<usize>,
    pub(crate) moody: bool,
    pub(crate) exact_more: bool,
    pub(crate) rumours: bool,
}

pub(crate) fn setting() -> impl Strategy<Value = Setting> {
    (
        any::<u64>(),
        prop::collection::vec(1u32..5, 1..4),
        prop::sample::select(vec![1usize, 3, 64, 1000]),
        prop::sample::select(vec![1024usize, 1025, 4096, 65_536]),
        prop::sample::select(vec![2usize, 8, 512]),
        prop::option::of(1usize..60_000),
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(seed, weights, fuel, buffer_size, buffer_limit, splice, [moody, exact_more, rumours])| {
                Setting { seed, weights, fuel, buffer_size, buffer_limit, splice, moody, exact_more, rumours }
            },
        )
}

fn place() -> impl Strategy<Value = Place> {
    0..super::reference::PLACES.len()
}

fn coming() -> impl Strategy<Value = Coming> {
    let protocol = prop_oneof![
        4 => Just(Protocol::Socks5),
        1 => Just(Protocol::Socks4),
        2 => Just(Protocol::Connect)
    ];
    let destination = prop_oneof![
        6 => place().prop_map(Destination::Address),
        3 => place().prop_map(Destination::Name),
        1 => Just(Destination::Both),
        1 => Just(Destination::Nobody),
    ];
    let early = prop_oneof![2 => Just(0usize), 3 => 1usize..3000, 1 => 3000usize..40_000];
    let segment = prop::sample::select(vec![7usize, 1448, usize::MAX]);
    let window = prop::sample::select(vec![2000usize, 20_000, 200_000]);
    let stopped = prop::bool::weighted(0.1);
    (protocol, destination, early, segment, window, stopped).prop_map(
        |(protocol, destination, early, segment, window, stopped)| {
            // SOCKS4 has no words for an IPv6 address; it may have a name for it.
            let destination = match (protocol, destination) {
                (Protocol::Socks4, Destination::Address(place)) if super::reference::is_v6(place) => {
                    Destination::Name(place)
                }
                (_, destination) => destination,
            };
            // Seven bytes at a time take long for many.
            let early = if segment < 100 { early % 3000 } else { early };
            Coming { protocol, destination, early, segment, window, stopped }
        },
    )
}

fn one() -> impl Strategy<Value = Transition> {
    use Transition::*;
    let who = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    let uplink = 0usize..3;
    let mode = prop_oneof![
        3 => Just(Mode::Listening),
        2 => Just(Mode::Refusing),
        1 => Just(Mode::Silent),
        1 => Just(Mode::Resetting)
    ];
    let time = prop_oneof![
        2 => 0u64..30,
        3 => 30u64..900,
        4 => 3000u64..8000,
        1 => 20_000u64..80_000
    ];
    prop_oneof![
        10 => coming().prop_map(Comes),
        2 => (coming(), 1u8..100).prop_map(|(coming, part)| ComesPartly(coming, part)),
        2 => place().prop_map(Crowd),
        4 => (who.clone(), prop_oneof![4 => 1usize..5000, 1 => 5000usize..100_000])
            .prop_map(|(who, len)| Sends(who, len)),
        3 => who.clone().prop_map(HalfCloses),
        2 => who.clone().prop_map(Resets),
        1 => who.clone().prop_map(StopsReading),
        1 => who.prop_map(ReadsAgain),
        3 => (place(), mode).prop_map(|(place, mode)| TargetBecomes(place, mode)),
        2 => uplink.clone().prop_map(UplinkDies),
        2 => uplink.clone().prop_map(UplinkVanishes),
        1 => (uplink.clone(), any::<bool>()).prop_map(|(uplink, v6)| UplinkLosesFamily(uplink, v6)),
        4 => uplink.prop_map(UplinkComesBack),
        14 => time.prop_map(TimePasses),
    ]
}

/// What happens, in order; it is printed with one transition to a line.
#[derive(Clone)]
pub(crate) struct Sequence(pub(crate) Vec<Transition>);

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|transition| write!(f, "\n    {transition:?},"))
    }
}

/// A sequence, with a drain somewhere in some of them.
pub(crate) fn sequence() -> impl Strategy<Value = Sequence> {
    let drain = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (prop::collection::vec(one(), 1..40), drain).prop_map(|(mut all, drain)| {
        if let Some(at) = drain {
            all.insert(at.index(all.len()), Transition::Drain);
        }
        Sequence(all)
    })
}
