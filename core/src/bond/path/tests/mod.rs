//! A path against a link: what is asked of it, shown in virtual time.

mod world;

use super::Event;
use world::World;

#[test]
fn the_rate_is_found_from_unknown_in_under_a_second() {
    for mbit in [1, 2, 5, 10, 50, 100, 200, 500] {
        let mut world = World::new(mbit, 20);
        world.run(900);
        let rate = world.sender.rate().bytes_per_second() * 8 / 1000;
        assert!(world.sender.rate_found() && world.count(|event| *event == Event::Found) == 1);
        assert!((mbit * 970..=mbit * 1020).contains(&rate), "{mbit} Mbit/s, found {rate} kbit/s");
        assert_eq!(world.dropped, 0, "{mbit} Mbit/s: the queue is bounded");
    }
}

#[test]
fn a_steady_link_is_full_and_its_queue_short() {
    let mut world = World::new(50, 20);
    world.run(1000);
    world.run(5000);
    assert!(world.carried(5000) >= 48_500, "{} kbit/s", world.carried(5000));
    assert!(world.stood(5000, 50) < 1_000 && world.stood(5000, 99) < 8_000, "{} us", world.stood(5000, 99));
}
