//! What is sent again, and what is not: lost, on a dead link, or on one that another has too.

use super::*;

#[test]
fn what_is_lost_is_repaired_before_it_is_missed() {
    for lose in [100, 20] {
        let mut world = World::new(&[(50, 10)]);
        world.up[0].lose = lose;
        world.upload(Duration::from_secs(1));
        // While the rate is looked for a queue stands that a repair has to wait behind.
        let (before, holes) = (world.last.len(), world.server.order());
        let kbit = world.upload(Duration::from_secs(4));
        let order = world.server.order();
        assert!(kbit > 46_000 - 60_000 / lose, "{kbit} kbit/s");
        assert!(world.last[before..].windows(2).all(|pair| pair[0] < pair[1]), "out of order");
        let holes = order.passed + order.expired - holes.passed - holes.expired;
        // Of 5% lost one in a thousand is lost three times over, or its repair comes too late.
        assert!(holes * 1000 <= (world.last.len() - before) as u64, "{holes} holes reached the inside");
    }
}

/// The system says that a device is gone: all that is under way on it is lost at once, and waits
/// for no budget.
#[test]
fn what_is_under_way_on_a_link_that_is_pulled_goes_by_the_other_and_is_no_repair() {
    let mut world = World::new(&[(100, 20), (100, 20)]);
    world.upload(Duration::from_secs(2));
    let under_way = world.client.slots[1].as_ref().map_or(0, |slot| slot.path.in_flight()) / 1464;
    assert!(under_way > 200, "{under_way} packets");
    for link in [&mut world.up[1], &mut world.down[1]] {
        link.up = false;
        link.packets.clear();
    }
    let ((repaired, moved), before) = (world.client.repairs(), world.last.len());
    world.client.handle_link(world.now, slot_id(1), false);
    world.server.handle_link(world.now, slot_id(1), false);
    world.upload(Duration::from_secs(1));
    let after = world.client.repairs();
    assert_eq!(after.0, repaired, "repairs of a link that loses nothing");
    // Some of it has come, and has not been acknowledged yet.
    let moved = after.1 - moved;
    assert!((under_way * 7 / 8..=under_way).contains(&moved), "{moved} of {under_way}");
    let order = world.server.order();
    assert_eq!(order.passed + order.expired, 0, "holes reached the inside");
    assert!(world.last[before..].windows(2).all(|pair| pair[0] < pair[1]), "out of order");
}

#[test]
fn what_a_fallen_link_would_deliver_late_goes_by_the_other() {
    let mut world = World::new(&[(50, 10), (50, 10)]);
    world.upload(Duration::from_secs(2));
    world.up[1].rate = 5 * 125_000;
    let before = world.last.len();
    // What is in its queue would take 300 ms, and all would wait for it.
    let kbit = world.upload(Duration::from_millis(250));
    assert!(kbit > 30_000, "{kbit} kbit/s after the fall");
    assert!(world.last[before..].windows(2).all(|pair| pair[0] < pair[1]), "out of order");
}

/// A packet a millisecond by two links of 50 Mbit/s: each has room for a copy of all of them.
fn copied(world: &mut World, numbers: core::ops::Range<u32>) {
    world.client.set_strategy(Strategy::Redundant { copies: 2 });
    for number in numbers {
        world.client.ingest(world.now, &mut udp(number, 1400), 1400, Offload::None, &mut world.out.1);
        let end = world.now + Duration::from_millis(1);
        while world.step(end) {}
    }
}

#[test]
fn what_a_dead_link_held_and_another_brings_anyway_is_not_sent_again() {
    for dead in [0, 1] {
        let mut world = World::new(&[(50, 10), (50, 10)]);
        copied(&mut world, 0..1000);
        (world.up[dead].up, world.down[dead].up) = (false, false);
        world.up[dead].packets.clear();
        copied(&mut world, 1000..2000);
        assert_eq!(world.client.slots[dead].as_ref().map(|slot| slot.path.state()), Some(path::State::Down));
        assert_eq!(world.client.repairs(), (0, 0), "link {dead}");
        assert!(world.last.iter().copied().eq(0..world.last.len() as u32), "link {dead}: {:?}", world.last);
        assert!(world.last.len() > 1980, "link {dead}: {} came", world.last.len());
    }
}

#[test]
fn what_both_links_lost_is_sent_again() {
    let mut world = World::new(&[(50, 10), (50, 10)]);
    copied(&mut world, 0..1000);
    (world.up[0].lose, world.up[1].lose) = (13, 11);
    copied(&mut world, 1000..3000);
    let (repaired, _) = world.client.repairs();
    // One in 143 is lost by both, and a repair by one of them now and then.
    assert!((14..60).contains(&repaired), "{repaired} repairs");
    assert!(world.last.iter().copied().eq(0..world.last.len() as u32), "{:?}", world.last);
    assert!(world.last.len() > 2900, "{} came", world.last.len());
}

/// What the first held another has too, which is the second, or the third.
#[test]
fn what_two_links_held_that_are_pulled_goes_by_the_third() {
    for pulled in [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]] {
        let mut world = World::new(&[(50, 30), (50, 30), (50, 30)]);
        copied(&mut world, 0..1000);
        for index in pulled {
            for link in [&mut world.up[index], &mut world.down[index]] {
                link.up = false;
                link.packets.clear();
            }
            world.client.handle_link(world.now, slot_id(index), false);
            world.server.handle_link(world.now, slot_id(index), false);
        }
        copied(&mut world, 1000..2000);
        let end = world.now + Duration::from_secs(1);
        while world.step(end) {}
        assert_eq!((world.last.len(), world.client.memory().1), (2000, 0), "{pulled:?}");
        assert!(world.last.iter().copied().eq(0..2000), "{pulled:?}: {:?}", world.last);
    }
}
