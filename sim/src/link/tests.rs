//! Whole links: numbers that can be drawn, and properties over random ones.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// A packet with a number and a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Numbered(u32, u16);

impl Payload for Numbered {
    fn size(&self) -> usize {
        usize::from(self.1)
    }
}

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// Polls until nothing comes any more, and says when each arrived.
fn drain<T: Payload>(link: &mut Link<T>) -> Vec<(Instant, T)> {
    let mut seen = Vec::new();
    while let Some(next) = link.next() {
        while let Some(payload) = link.poll(next) {
            seen.push((next, payload));
        }
    }
    seen
}

#[test]
fn packets_come_out_at_the_rate_after_the_delay() {
    let mut link = Link::new(LinkConfig::new(Rate::mbit(12), 10 * MS, 100_000), 1);
    (0..5).for_each(|n| link.push(at(0), Numbered(n, 1500)));
    let times: Vec<_> = drain(&mut link).iter().map(|(at, _)| (*at - Instant::ZERO).as_millis()).collect();
    assert_eq!(times, [11, 12, 13, 14, 15]);
}

#[test]
fn a_full_queue_drops_what_comes_last() {
    let mut link = Link::new(LinkConfig::new(Rate::mbit(12), 10 * MS, 4_500), 1);
    (0..5).for_each(|n| link.push(at(0), Numbered(n, 1500)));
    assert_eq!((link.queued(), link.queue_delay()), (4_500, 3 * MS));
    // One is serialised: there is room for one again.
    link.push(at(1), Numbered(5, 1500));
    link.push(at(1), Numbered(6, 1));
    let seen: Vec<_> = drain(&mut link).iter().map(|(_, n)| n.0).collect();
    assert_eq!(seen, [0, 1, 2, 5]);
    assert_eq!(link.counters().tail, Count { packets: 3, bytes: 3_001 });
}

#[test]
fn a_link_that_goes_down_drops_the_queue_and_delivers_what_is_on_the_way() {
    let changes = vec![(3 * MS, LinkChange::Down), (6 * MS, LinkChange::Up)];
    let config =
        LinkConfig { schedule: Schedule::new(changes), ..LinkConfig::new(Rate::mbit(12), 10 * MS, 100_000) };
    let mut link = Link::new(config, 1);
    (0..9).for_each(|n| link.push(at(u64::from(n)), Numbered(n, 3000)));
    // Two milliseconds a packet: the second would have ended at 4 ms.
    let seen: Vec<_> =
        drain(&mut link).iter().map(|(at, n)| (n.0, (*at - Instant::ZERO).as_millis())).collect();
    assert_eq!(seen, [(0, 12), (6, 18), (7, 20), (8, 22)]);
    assert_eq!(link.counters().down.packets, 5);
}

#[test]
fn a_rate_that_falls_slows_what_waits() {
    let changes = vec![(2 * MS, LinkChange::Rate(Rate::mbit(1)))];
    let config =
        LinkConfig { schedule: Schedule::new(changes), ..LinkConfig::new(Rate::mbit(12), 10 * MS, 100_000) };
    let mut link = Link::new(config, 1);
    (0..4).for_each(|n| link.push(at(0), Numbered(n, 1500)));
    let times: Vec<_> = drain(&mut link).iter().map(|(at, _)| (*at - Instant::ZERO).as_millis()).collect();
    assert_eq!(times, [11, 12, 24, 36]);
}

#[test]
fn a_rate_of_zero_holds_the_queue_until_it_rises() {
    let changes =
        vec![(Duration::ZERO, LinkChange::Rate(Rate::bits(0))), (50 * MS, LinkChange::Rate(Rate::mbit(12)))];
    let config = LinkConfig { schedule: Schedule::new(changes), ..LinkConfig::default() };
    let mut link = Link::new(config, 1);
    link.push(at(0), Numbered(0, 1500));
    assert_eq!(link.queue_delay(), Duration::MAX);
    let seen = drain(&mut link);
    assert_eq!(seen, [(at(51), Numbered(0, 1500))]);
}

#[test]
fn codel_holds_a_standing_queue_at_its_target_and_marks_who_speaks_ecn() {
    for ecn in [0, 2] {
        let queue = Queue::CoDel { limit: 1_000_000, target: 5 * MS, interval: 100 * MS };
        let config = LinkConfig { rate: Rate::mbit(12), queue, ..LinkConfig::default() };
        let mut link: Link<Vec<u8>> = Link::new(config, 1);
        // 1.1 packets a millisecond into a link of one.
        for tick in 0..20_000u64 {
            let now = Instant::ZERO + MS * u32::try_from(tick).expect("small") * 10 / 11;
            let mut packet = vec![0; 1500];
            (packet[0], packet[1]) = (0x45, ecn);
            link.push(now, packet);
            while link.poll(now).is_some() {}
        }
        let counters = link.counters();
        if ecn == 0 {
            assert!(counters.codel.packets > 100 && counters.marked.packets == 0, "{counters:?}");
            assert!(link.queue_delay() < 300 * MS, "{:?}", link.queue_delay());
        } else {
            assert!(counters.codel.packets == 0 && counters.marked.packets > 100, "{counters:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_fates_and_another_seed_others() {
    let fates = |seed| {
        let jitter = Jitter { spread: 5 * MS, reorder: true };
        let loss = Loss::Independent(Chance::percent(3));
        let config = LinkConfig { jitter, loss, ..LinkConfig::new(Rate::mbit(50), 10 * MS, 1_000_000) };
        let mut link = Link::new(config, seed);
        (0..500).for_each(|n| link.push(at(0), Numbered(n, 1500)));
        drain(&mut link)
    };
    assert_eq!(fates(1), fates(1));
    assert_ne!(fates(1), fates(2));
}

fn any_loss() -> impl Strategy<Value = Loss> {
    let chance = || (0u32..=1_000_000).prop_map(Chance::ppm);
    let burst = (chance(), chance(), chance(), chance());
    prop_oneof![
        Just(Loss::None),
        chance().prop_map(Loss::Independent),
        burst.prop_map(|(enter, leave, good, bad)| Loss::GilbertElliott { enter, leave, good, bad }),
    ]
}

fn any_queue() -> impl Strategy<Value = Queue> {
    let codel = (0u64..100_000, 0u64..50, 1u64..200);
    prop_oneof![
        (0u64..100_000).prop_map(|limit| Queue::TailDrop { limit }),
        codel.prop_map(|(limit, target, interval)| Queue::CoDel {
            limit,
            target: Duration::from_millis(target),
            interval: Duration::from_millis(interval),
        }),
    ]
}

fn any_change() -> impl Strategy<Value = LinkChange> {
    let ms = |to: u64| (0..to).prop_map(Duration::from_millis);
    prop_oneof![
        (1u64..100_000_000).prop_map(|bits| LinkChange::Rate(Rate::bits(bits))),
        ms(100).prop_map(LinkChange::Delay),
        (ms(50), any::<bool>()).prop_map(|(spread, reorder)| LinkChange::Jitter(Jitter { spread, reorder })),
        any_loss().prop_map(LinkChange::Loss),
        any_queue().prop_map(LinkChange::Queue),
        proptest::option::of(ms(30)).prop_map(LinkChange::Grant),
        Just(LinkChange::Down),
        Just(LinkChange::Up),
    ]
}

/// What is done to a link: a pause, then packets of a size or a change.
#[derive(Clone, Debug)]
enum Step {
    Push(u16),
    Change(LinkChange),
}

fn any_steps() -> impl Strategy<Value = Vec<(u32, Step)>> {
    let step = prop_oneof![8 => (1u16..9000).prop_map(Step::Push), 1 => any_change().prop_map(Step::Change)];
    proptest::collection::vec((0u32..3_000_000, step), 1..200)
}

proptest! {
    #[test]
    fn every_packet_is_delivered_dropped_or_lost_once(
        first in proptest::collection::vec((0u64..300, any_change()), 0..20), steps in any_steps(), seed: u64,
    ) {
        let changes = first.into_iter().map(|(ms, change)| (Duration::from_millis(ms), change)).collect();
        let config = LinkConfig { schedule: Schedule::new(changes), ..LinkConfig::default() };
        let mut link = Link::new(config, seed);
        let (mut now, mut pushed, mut seen) = (Instant::ZERO, 0, Vec::new());
        for (pause, step) in steps {
            now += Duration::from_nanos(u64::from(pause));
            match step {
                Step::Push(size) => {
                    link.push(now, Numbered(pushed, size));
                    pushed += 1;
                }
                Step::Change(change) => link.change(now, change),
            }
            while let Some(next) = link.next().filter(|&next| next <= now) {
                seen.extend(std::iter::from_fn(|| link.poll(next)));
            }
            let c = link.counters();
            let gone = c.dropped() + c.lost.packets + c.delivered.packets;
            prop_assert!(gone + link.on_the_way() as u64 <= c.pushed.packets);
        }
        seen.extend(drain(&mut link).into_iter().map(|(_, packet)| packet));
        let c = link.counters();
        prop_assert_eq!(c.pushed.packets, c.dropped() + c.lost.packets + c.delivered.packets);
        let dropped = c.tail.bytes + c.codel.bytes + c.down.bytes;
        prop_assert_eq!(c.pushed.bytes, dropped + c.lost.bytes + c.delivered.bytes);
        prop_assert_eq!(c.delivered.packets, seen.len() as u64);
        prop_assert_eq!(link.queued(), 0);
        seen.sort_unstable();
        prop_assert!(seen.windows(2).all(|two| two[0].0 < two[1].0), "one came twice");
    }

    #[test]
    fn what_is_not_reordered_arrives_in_order(
        spread in 0u64..30, grant in proptest::option::of(0u64..30), loss in any_loss(), queue in any_queue(),
        steps in any_steps(), seed: u64,
    ) {
        let jitter = Jitter { spread: Duration::from_millis(spread), reorder: false };
        let grant = grant.map(Duration::from_millis);
        let config = LinkConfig { jitter, grant, loss, queue, ..LinkConfig::new(Rate::mbit(20), 10 * MS, 0) };
        let mut link = Link::new(config, seed);
        let (mut now, mut pushed) = (Instant::ZERO, 0);
        for (pause, step) in steps {
            now += Duration::from_nanos(u64::from(pause));
            match step {
                Step::Push(size) => link.push(now, Numbered(pushed, size)),
                Step::Change(LinkChange::Delay(delay)) => link.change(now, LinkChange::Delay(delay)),
                Step::Change(_) => {}
            }
            pushed += 1;
        }
        let seen = drain(&mut link);
        prop_assert!(seen.windows(2).all(|two| two[0].0 <= two[1].0 && two[0].1.0 < two[1].1.0));
    }

    #[test]
    fn the_rate_is_never_exceeded_and_never_missed_while_something_waits(
        bits in 1_000u64..1_000_000_000, sizes in proptest::collection::vec(1u16..9000, 2..200),
    ) {
        let config = LinkConfig { rate: Rate::bits(bits), ..LinkConfig::default() };
        let mut link = Link::new(config, 0);
        for (n, &size) in sizes.iter().enumerate() {
            link.push(Instant::ZERO, Numbered(n as u32, size));
        }
        let mut sent = 0u128;
        for (at, Numbered(_, size)) in drain(&mut link) {
            sent += u128::from(size) * 8 * 1_000_000_000;
            // Up to the nanosecond: not before the last bit, and not a nanosecond after it.
            let could = u128::from(at.as_nanos()) * u128::from(bits);
            prop_assert!(sent <= could && could - sent < u128::from(bits), "{sent} of {could}");
        }
    }
}
