//! What may happen to a bond: how it is set up, and what is done to it.

use super::lab::Setup;
use super::link::Nature;
use super::packet::{Flow, Kind, LEAST, Way};
use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::bond::{Strategy as Spread, Tuning};
use ropewalk_core::time::Duration;

/// What a hostile network makes of something that was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forgery {
    /// A bit is turned over.
    Flip(u16),
    /// It is cut off.
    Cut(u16),
    /// It comes again.
    Replay,
    /// Bytes of chance.
    Noise(u16),
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    /// The system sends packets into a TUN: `count` of `size` bytes, under one header or each by
    /// itself.
    Send { flow: Flow, count: u8, size: u16, joined: bool },
    /// Time passes.
    Wait(u16),
    /// A direction of a link (both, if none is named) is like this from now on.
    Link { link: u8, way: Option<Way>, nature: Nature },
    /// A direction carries nothing, or again what it did.
    Silent { link: u8, way: Option<Way>, silent: bool },
    /// The socket of an uplink takes nothing (of the server, if none is named), or again what it
    /// did.
    Block { link: Option<u8>, blocked: bool },
    /// The system says that an uplink is gone.
    Gone(u8),
    /// Or back.
    Back(u8),
    /// The NAT forgets.
    Rebind(u8),
    /// Something is forged out of what was heard, and sent from where the original came from or
    /// from elsewhere.
    Forge { which: u8, to_server: bool, stranger: bool, how: Forgery },
    /// A side begins anew.
    Restart(Way),
    /// A side's system takes nothing out of its TUN, or again.
    StopReading { at: Way, stop: bool },
}

pub(crate) fn nature() -> impl Strategy<Value = Nature> {
    let rates = prop_oneof![Just(100_000u64), Just(600_000), Just(2_500_000), Just(12_500_000)];
    let delays = prop_oneof![4 => 0u64..40, 1 => 100u64..300];
    let jitters = prop_oneof![3 => Just(0u64), 2 => 1u64..30];
    let losses = prop_oneof![3 => Just(0u8), 2 => 1u8..6, 1 => 20u8..60];
    let twices = prop_oneof![3 => Just(0u8), 1 => 1u8..20];
    (rates, delays, jitters, losses, twices).prop_map(|(rate, delay, jitter, loss, twice)| Nature {
        rate,
        delay: Duration::from_millis(delay),
        jitter: Duration::from_millis(jitter),
        loss,
        twice,
        up: true,
    })
}

/// A link without faults.
fn clean() -> impl Strategy<Value = Nature> {
    nature().prop_map(|nature| Nature { jitter: Duration::ZERO, loss: 0, twice: 0, ..nature })
}

fn tuning() -> impl Strategy<Value = Tuning> {
    let memory = prop_oneof![1 => 30_000usize..400_000, 2 => Just(8usize << 20)];
    let queue = prop_oneof![1 => 20_000usize..200_000, 2 => Just(4usize << 20)];
    let names = proptest::sample::select(&Spread::NAMES[..]);
    let any = names.prop_map(|name| Spread::named(name).expect("its name"));
    let mode = prop_oneof![3 => Just(Spread::Aggregate), 2 => any];
    (memory, queue, mode).prop_map(|(memory, queue, strategy)| Tuning {
        memory,
        queue,
        strategy,
        ..Tuning::default()
    })
}

/// How a bond with one client is set up that has one link without faults.
pub(crate) fn straight() -> impl Strategy<Value = Setup> {
    (any::<u64>(), clean(), any::<[bool; 2]>()).prop_map(|(seed, nature, offload)| Setup {
        seed,
        clients: vec![vec![[nature; 2]]],
        offload,
        tuning: Tuning::default(),
    })
}

/// How a bond with one client is set up, with one to three links of any kind.
pub(crate) fn rough() -> impl Strategy<Value = Setup> {
    (any::<u64>(), vec([nature(), nature()], 1..4), any::<[bool; 2]>(), tuning())
        .prop_map(|(seed, links, offload, tuning)| Setup { seed, clients: vec![links], offload, tuning })
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Up), Just(Way::Down)]
}

fn flow() -> impl Strategy<Value = Flow> {
    let kind = prop_oneof![Just(Kind::Tcp), Just(Kind::WireGuard), Just(Kind::Udp)];
    (way(), kind, 0u8..3).prop_map(|(way, kind, id)| Flow { client: 0, way, kind, id })
}

/// Packets that are sent.
pub(crate) fn send() -> impl Strategy<Value = Transition> {
    (flow(), 1u8..44, LEAST as u16..1380, any::<bool>())
        .prop_map(|(flow, count, size, joined)| Transition::Send { flow, count, size, joined })
}

/// Time that passes.
pub(crate) fn wait() -> impl Strategy<Value = Transition> {
    prop_oneof![4 => 0u16..30, 2 => 30u16..500, 1 => 500u16..4000].prop_map(Transition::Wait)
}

fn forge() -> impl Strategy<Value = Transition> {
    let how = prop_oneof![
        any::<u16>().prop_map(Forgery::Flip),
        any::<u16>().prop_map(Forgery::Cut),
        Just(Forgery::Replay),
        (0u16..1500).prop_map(Forgery::Noise),
    ];
    (any::<u8>(), any::<bool>(), any::<bool>(), how)
        .prop_map(|(which, to_server, stranger, how)| Transition::Forge { which, to_server, stranger, how })
}

/// Anything that may happen.
pub(crate) fn transition() -> impl Strategy<Value = Transition> {
    let link = || 0u8..4;
    let some_way = || proptest::option::of(way());
    prop_oneof![
        10 => send(),
        10 => wait(),
        2 => (link(), some_way(), nature())
            .prop_map(|(link, way, nature)| Transition::Link { link, way, nature }),
        3 => (link(), some_way(), any::<bool>())
            .prop_map(|(link, way, silent)| Transition::Silent { link, way, silent }),
        2 => (proptest::option::weighted(0.8, link()), any::<bool>())
            .prop_map(|(link, blocked)| Transition::Block { link, blocked }),
        1 => link().prop_map(Transition::Gone),
        1 => link().prop_map(Transition::Back),
        1 => link().prop_map(Transition::Rebind),
        5 => forge(),
        1 => way().prop_map(Transition::Restart),
        1 => (way(), any::<bool>()).prop_map(|(at, stop)| Transition::StopReading { at, stop }),
    ]
}
