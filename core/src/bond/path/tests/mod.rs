//! A path against a link: what is asked of it, shown in virtual time.

mod hostile;
mod idle;
mod world;

use super::{Event, State};
use crate::bond::rate::Rate;
use crate::time::Duration;
use proptest::prelude::*;
use world::{Source, World};

fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Kilobits per second that the sender believes in.
fn believed(world: &World) -> u64 {
    world.sender.rate().bytes_per_second() * 8 / 1000
}

#[test]
fn the_rate_is_found_from_unknown_in_under_a_second() {
    for rate in [1, 2, 5, 10, 50, 100, 200, 500] {
        let mut world = World::new(rate, 20);
        world.run(900);
        assert!(world.sender.rate_found() && world.count(|event| *event == Event::Found) == 1);
        let found = believed(&world);
        assert!((rate * 970..=rate * 1020).contains(&found), "{rate} Mbit/s, found {found} kbit/s");
        assert_eq!(world.dropped, 0, "{rate} Mbit/s: the queue is bounded");
    }
}

#[test]
fn a_steady_link_is_full_and_its_queue_short() {
    for (rate, rtt) in [(50, 20), (50, 5), (10, 40), (500, 20), (500, 1), (100, 100)] {
        let mut world = World::new(rate, rtt);
        world.run(2000);
        world.run(3000);
        let (carried, median, most) = (world.carried(3000), world.stood(3000, 50), world.stood(3000, 99));
        assert!(carried >= rate * 960, "{rate} Mbit/s, {rtt} ms: {carried} kbit/s");
        assert!(median < 1_500 && most < 14_000, "{rate} Mbit/s, {rtt} ms: {median} us, at most {most}");
        assert_eq!(world.sender.counters().falls, 0);
    }
    let mut world = World::new(50, 20);
    world.run(1000);
    world.run(5000);
    assert!(world.carried(5000) >= 48_500, "{} kbit/s", world.carried(5000));
    assert!(world.stood(5000, 90) < 5_000 && world.stood(5000, 99) < 8_000, "{} us", world.stood(5000, 99));
}

#[test]
fn a_fall_is_followed_and_its_queue_drained() {
    let mut world = World::new(50, 20);
    world.run(2003);
    world.link.rate = mbit(5);
    // Two round trips and 100 ms.
    world.run(140);
    assert!((4_000..=5_500).contains(&believed(&world)), "{} kbit/s", believed(&world));
    world.run(260);
    world.run(1000);
    assert!(world.carried(1000) >= 4_750, "{} kbit/s", world.carried(1000));
    assert!(world.stood(1000, 100) < 30_000, "{} us", world.stood(1000, 100));
    assert_eq!(world.dropped, 0);
}

#[test]
fn a_receiver_that_stands_still_for_a_moment_is_no_slower_path() {
    let mut world = World::new(500, 1);
    world.run(2003);
    // All that comes meanwhile is received at 2050 ms.
    world.link.grant = Some(ms(50));
    world.run(47);
    world.link.grant = None;
    world.run(50);
    assert_eq!(world.sender.counters().falls, 0);
    assert!(believed(&world) >= 450_000, "{} kbit/s", believed(&world));
}

#[test]
fn a_rise_is_followed_within_two_seconds() {
    let mut world = World::new(5, 20);
    world.run(2000);
    world.link.rate = mbit(50);
    world.run(1500);
    world.run(500);
    assert!(believed(&world) >= 48_500 && world.carried(500) >= 47_500, "{} kbit/s", world.carried(500));
}

#[test]
fn a_radio_that_grants_every_ten_milliseconds_is_full() {
    for rate in [10, 50, 100] {
        let mut world = World::new(rate, 30);
        world.link.grant = Some(ms(10));
        world.run(1000);
        world.run(5000);
        assert!(world.carried(5000) >= rate * 950, "{rate} Mbit/s: {} kbit/s", world.carried(5000));
        assert!(world.stood(5000, 90) < 15_000, "{} us", world.stood(5000, 90));
        assert_eq!(world.count(|event| *event == Event::Suspect), 0, "a grant is no silence");
    }
}

#[test]
fn random_loss_is_no_reason_to_slow_down() {
    for loss in [1, 5] {
        let mut world = World::new(50, 20);
        world.link.loss = loss;
        world.run(1000);
        world.run(5000);
        assert!(world.carried(5000) >= 48_500, "{loss}%: {} kbit/s", world.carried(5000));
        assert!(world.stood(5000, 50) < 5_000, "{loss}%: {} us", world.stood(5000, 50));
        let counters = world.sender.counters();
        let share = counters.lost_packets * 1000 / counters.acked_packets;
        assert!((loss * 9..=loss * 12).contains(&share), "{loss}%: {share} of 1000 called lost");
        assert_eq!((counters.late_packets, counters.falls), (0, 0));
    }
}

#[test]
fn a_short_queue_that_overflows_is_not_taken_for_random_loss() {
    for queue in [2, 5, 10] {
        let mut world = World::new(50, 20);
        world.link.queue = ms(queue);
        world.run(1000);
        let before = world.dropped;
        world.run(5000);
        assert!(world.carried(5000) >= 47_000, "{queue} ms: {} kbit/s", world.carried(5000));
        let share = (world.dropped - before) * 1000 / 22_000;
        assert!(share < 40, "{queue} ms: {share} of 1000 dropped");
    }
}

#[test]
fn a_source_that_sends_less_is_not_taken_for_a_slow_path() {
    let mut world = World::new(50, 20);
    world.run(1000);
    for share in [70, 30] {
        world.source = Source::Rate(mbit(50).scaled(share, 100));
        world.run(3000);
        assert!(believed(&world) >= 48_500, "at {share}%: {} kbit/s", believed(&world));
        assert!(world.stood(1000, 100) < 3_000);
    }
    world.source = Source::Greedy;
    world.run(300);
    assert!(world.carried(300) >= 47_500, "{} kbit/s", world.carried(300));
}

#[test]
fn after_a_pause_the_path_is_full_again_at_once_and_after_a_long_one_carefully() {
    // (pause, the first window, what it carries at least)
    for (pause, window, least) in [(500, 100, 47_500), (3000, 100, 47_500), (15_000, 250, 40_000)] {
        let mut world = World::new(50, 20);
        world.run(2000);
        world.source = Source::Silent;
        world.run(pause);
        world.source = Source::Greedy;
        world.run(window);
        assert!(world.carried(window) >= least, "{pause} ms: {} kbit/s", world.carried(window));
        assert_eq!(world.dropped, 0);
    }
}

#[test]
fn a_link_that_slowed_down_during_a_pause_is_not_flooded() {
    let mut world = World::new(50, 20);
    world.run(2000);
    world.source = Source::Silent;
    world.run(5000);
    world.link.rate = mbit(5);
    world.source = Source::Greedy;
    world.run(150);
    assert!(believed(&world) <= 6_000, "{} kbit/s", believed(&world));
    world.run(350);
    world.run(500);
    assert!(world.stood(500, 100) < 30_000 && world.carried(500) >= 4_700, "{} us", world.stood(500, 100));
}

#[test]
fn long_paths_are_filled_too() {
    for rate in [10, 100] {
        let mut world = World::new(rate, 300);
        world.run(4000);
        world.run(5000);
        assert!(world.carried(5000) >= rate * 960, "{rate} Mbit/s: {} kbit/s", world.carried(5000));
        assert!(world.stood(5000, 90) < 10_000, "{rate} Mbit/s: {} us", world.stood(5000, 90));
    }
}

#[test]
fn jitter_is_no_queue_and_reordering_is_no_loss() {
    for reorders in [false, true] {
        let mut world = World::new(40, 30);
        (world.link.jitter, world.link.reorders) = (ms(16), reorders);
        world.run(6000);
        world.run(4000);
        assert!(world.carried(4000) >= 38_000, "reorders {reorders}: {} kbit/s", world.carried(4000));
        let counters = world.sender.counters();
        assert!(counters.lost_packets * 100 < counters.acked_packets, "{counters:?}");
        assert_eq!(counters.lost_packets, counters.late_packets);
    }
}

#[test]
fn a_longer_way_is_no_fall_for_long() {
    let mut world = World::new(50, 30);
    world.run(2000);
    world.link.delay = ms(40);
    world.run(1000);
    assert!(world.carried(1000) >= 38_000, "{} kbit/s", world.carried(1000));
    world.run(1000);
    assert!(world.carried(1000) >= 47_000, "{} kbit/s", world.carried(1000));
    assert_eq!(world.count(|event| *event == Event::Down), 0);
}

#[test]
fn a_dead_path_is_suspect_then_down_and_back_within_a_second() {
    let mut world = World::new(50, 20);
    world.run(2000);
    let (died, outstanding) = (world.now, world.sender.outstanding().count());
    assert!(outstanding > 50);
    world.link.dead = true;
    world.run(3000);
    let when = |world: &World, which: Event| {
        world
            .events
            .iter()
            .find(|(at, event)| *at > died && *event == which)
            .map(|(at, _)| (*at - died).as_millis())
    };
    let suspect = when(&world, Event::Suspect).expect("silence is seen");
    assert!(suspect <= 45, "suspect after {suspect} ms");
    let down = when(&world, Event::Down).expect("silence is death");
    assert!(
        down <= 1000 && world.sender.state() == State::Down && world.sender.in_flight() < 2000,
        "only probes go"
    );
    let probes = world.count(|event| *event == Event::Probe);
    assert!((8..=20).contains(&probes), "{probes} probes in 3 s");
    world.link.dead = false;
    world.run(1000);
    let live = when(&world, Event::Live).expect("it is back");
    assert!(live <= 3500, "back after {live} ms");
    assert!(world.carried(500) >= 45_000, "{} kbit/s", world.carried(500));
}

#[test]
fn a_driver_with_a_coarse_timer_loses_nothing() {
    for timer in [100, 1000, 2000] {
        let mut world = World::new(50, 20);
        world.timer = Duration::from_micros(timer);
        world.run(1000);
        world.run(2000);
        assert!(world.carried(2000) >= 48_000, "{timer} us: {} kbit/s", world.carried(2000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// The world asserts on the way: in flight under its cap, no time goes back, no wake for
    /// nothing without end.
    #[test]
    fn any_link_may_change_into_any_other(
        links in prop::collection::vec(
            (1u64..80, 1u64..100, 0u64..20, any::<bool>(), 0u64..30, 0u64..3, any::<bool>()),
            1..5,
        ),
        source in 0u64..60,
    ) {
        let mut world = World::new(links[0].0, links[0].1);
        world.source = if source > 40 { Source::Greedy } else { Source::Rate(mbit(source + 1)) };
        for (rate, rtt, jitter, reorders, loss, grant, dead) in links {
            world.link.rate = mbit(rate);
            (world.link.delay, world.link.jitter, world.link.reorders) = (ms(rtt) / 2, ms(jitter), reorders);
            (world.link.loss, world.link.dead) = (loss, dead);
            world.link.grant = (grant > 0).then(|| ms(grant * 5));
            world.run(700);
        }
        // Whatever was before: on a link that stays good the path comes back and carries something.
        let (rate, jitter) = (mbit(20), ms(0));
        world.link = world::Link { rate, loss: 0, dead: false, grant: None, jitter, ..world.link };
        world.source = Source::Greedy;
        world.run(9000);
        world.run(3000);
        prop_assert!(world.sender.state() == State::Live);
        prop_assert!(world.carried(3000) >= 15_000, "{} kbit/s", world.carried(3000));
    }
}

#[test]
fn a_path_whose_rate_fell_to_nothing_comes_back() {
    // A slow link that died and came back as a fast one: what was measured last were probes, 270
    // bytes a second.
    let mut world = World::new(1, 1);
    world.source = Source::Rate(mbit(1));
    world.link.dead = true;
    world.run(700);
    world.link =
        world::Link { rate: mbit(3), delay: ms(39), jitter: ms(15), loss: 7, dead: false, ..world.link };
    world.run(700);
    world.link =
        world::Link { rate: mbit(1), delay: ms(6), jitter: ms(0), loss: 0, dead: true, ..world.link };
    world.run(700);
    world.link = world::Link { rate: mbit(20), dead: false, ..world.link };
    world.source = Source::Greedy;
    world.run(2000);
    world.run(2000);
    assert!(world.carried(2000) >= 19_000, "{} kbit/s", world.carried(2000));
}
