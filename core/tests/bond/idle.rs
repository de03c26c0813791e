//! 9: an idle link never outranks another on stale data, and no path flaps faster than its
//! hysteresis.

use super::lab::Setup;
use super::link::Nature;
use super::packet::{Flow, Kind, Way};
use super::server::calm;
use super::sut::Sut;
use super::transition::Transition;
use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::bond::Strategy as Spread;
use ropewalk_core::machine::event::{BondNews, Event};
use ropewalk_core::time::{Duration, Instant};

const DELAY: u64 = 20;

fn send(sut: &mut Sut, way: Way, count: u8) {
    let flow = Flow { client: 0, way, kind: Kind::WireGuard, id: 5 };
    sut.apply(&Transition::Send { flow, count, size: 1000, joined: false });
}

fn two_links(seed: u64, strategy: Spread) -> Setup {
    let mut setup = calm(seed, 2);
    setup.tuning.strategy = strategy;
    for nature in setup.clients[0].iter_mut().flatten() {
        nature.delay = Duration::from_millis(DELAY);
    }
    setup
}

/// The paths of the client that fell or came back since the last time it was asked.
fn news(sut: &mut Sut, path: u8) -> Vec<bool> {
    let news = std::mem::take(&mut sut.lab.clients[0].io.events);
    let of = |event| match event {
        Event::Bond { news: BondNews::PathDown { path: of, .. }, .. } if of == path => Some(false),
        Event::Bond { news: BondNews::PathLive { path: of, .. }, .. } if of == path => Some(true),
        _ => None,
    };
    news.into_iter().filter_map(of).collect()
}

/// So many answers in a row bring a path back that died so often, each within a minute of the one
/// before.
fn answers(deaths: u32) -> u32 {
    (3u32 << (deaths - 1).min(3)).min(24)
}

proptest! {
    #![proptest_config(super::cases(12))]

    /// Both links were measured under load; then what there is goes by one, and what the other was
    /// is forgotten. Whatever that one becomes: its pings are no evidence.
    #[test]
    fn an_idle_link_never_outranks_on_stale_data(
        seed: u64,
        up: bool,
        lowest: bool,
        becomes in vec((1u64..60, 0u64..15), 1..4),
    ) {
        let strategy = if lowest { Spread::LowestLatency } else { Spread::Aggregate };
        let mut sut = Sut::new(&two_links(seed, strategy));
        let way = if up { Way::Up } else { Way::Down };
        for _ in 0..300 {
            send(&mut sut, way, 60);
            sut.apply(&Transition::Wait(10));
        }
        let few = |sut: &mut Sut, seconds: u64| {
            for _ in 0..seconds * 40 {
                send(sut, way, 1);
                sut.apply(&Transition::Wait(25));
            }
        };
        few(&mut sut, 2);
        let before = sut.lab.data[way as usize].clone();
        few(&mut sut, 11);
        let carried = |sut: &Sut, path: u8| sut.lab.data[way as usize][&path] - before[&path];
        let [first, second] = [carried(&sut, 0), carried(&sut, 1)];
        prop_assume!(first == 0 || second == 0);
        let idle = u8::from(second == 0);
        for (delay, jitter) in becomes {
            let nature = sut.lab.links[0][usize::from(idle)][0].nature;
            let nature = Nature {
                delay: Duration::from_millis(delay),
                jitter: Duration::from_millis(jitter),
                ..nature
            };
            sut.apply(&Transition::Link { link: idle, way: None, nature });
            few(&mut sut, 30);
            let went = carried(&sut, idle);
            prop_assert_eq!(went, 0, "bytes went by the link that was idle: {:#?}", sut.client());
        }
    }

    /// A link that comes and goes, as fast as one likes.
    #[test]
    fn a_path_flaps_no_faster_than_its_hysteresis(
        seed: u64, changes in vec((20u64..3000, 20u64..3000), 5..25)
    ) {
        let mut sut = Sut::new(&two_links(seed, Spread::Redundant { copies: 2 }));
        news(&mut sut, 1);
        let (mut deaths, mut died): (u32, Option<Instant>) = (0, None);
        let (mut down, mut returns) = (None, 0);
        for (silent, well) in changes {
            for (quiet, time) in [(true, silent), (false, well)] {
                sut.apply(&Transition::Silent { link: 1, way: None, silent: quiet });
                for _ in 0..time / 10 {
                    send(&mut sut, Way::Up, 1);
                    let end = sut.lab.now + Duration::from_millis(10);
                    while sut.lab.step(end) {
                        let now = sut.lab.now;
                        for live in news(&mut sut, 1) {
                            if !live {
                                let recent = died.is_some_and(|died| now - died < Duration::from_secs(60));
                                deaths = if recent { deaths + 1 } else { 1 };
                                (died, down) = (Some(now), Some(now));
                            } else if let Some(since) = down.take() {
                                returns += 1;
                                let least = Duration::from_millis(2 * DELAY) * answers(deaths);
                                prop_assert!(
                                    now - since >= least,
                                    "death {}: back after {:?}, {:?} at least", deaths, now - since, least
                                );
                            }
                        }
                    }
                    sut.collect();
                }
            }
        }
        prop_assert!(deaths == 0 || returns > 0 || down.is_some());
    }
}
