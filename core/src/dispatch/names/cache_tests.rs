use super::*;
use crate::machine::Fault;
use core::net::IpAddr;
use proptest::prelude::*;

fn key(n: u16) -> Key {
    Key { uplink: UplinkId(n % 3), name: alloc::format!("n{n}.example").into() }
}

fn known(n: u16) -> Known {
    if n.is_multiple_of(5) {
        Err(Fault::NameNotFound)
    } else {
        Ok([IpAddr::from([192, 0, 2, n as u8])].into())
    }
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

#[test]
fn an_answer_holds_until_its_time_is_over_and_not_longer_than_a_day() {
    let mut cache = Cache::default();
    cache.keep(at(0), key(1), known(1), 60, 9);
    cache.keep(at(0), key(2), known(2), u32::MAX, 9);
    cache.keep(at(0), key(5), known(5), u32::MAX, 9);
    cache.keep(at(0), key(3), known(3), 0, 9);
    assert_eq!(cache.look_up(at(59), &key(1)), Some(&known(1)));
    assert_eq!(cache.look_up(at(60), &key(1)), None);
    assert_eq!(cache.look_up(at(86_399), &key(2)), Some(&known(2)));
    assert_eq!(cache.look_up(at(86_400), &key(2)), None);
    assert_eq!(cache.look_up(at(299), &key(5)), Some(&known(5)), "that there is none");
    assert_eq!(cache.look_up(at(300), &key(5)), None);
    assert_eq!(cache.look_up(at(0), &key(3)), None, "it said that it shall not be kept");
}

#[test]
fn what_would_expire_first_makes_room_and_each_uplink_is_forgotten_alone() {
    let mut cache = Cache::default();
    assert!(!cache.keep(at(0), key(1), known(1), 10, 2));
    assert!(!cache.keep(at(0), key(2), known(2), 20, 2));
    assert!(cache.keep(at(0), key(3), known(3), 30, 2), "it could have stayed");
    assert_eq!((cache.look_up(at(0), &key(1)), cache.len()), (None, 2));
    assert!(!cache.keep(at(25), key(4), known(4), 30, 2), "what has expired is no loss");
    cache.forget(key(3).uplink);
    assert_eq!((cache.look_up(at(25), &key(3)), cache.len()), (None, 1));
    assert!(cache.look_up(at(25), &key(4)).is_some());
}

proptest! {
    #[test]
    fn nothing_outlives_its_time_and_never_is_there_more_than_the_limit(
        limit in 0usize..6,
        steps in proptest::collection::vec((0u16..12, 0u32..100, 0u64..30, any::<bool>()), 0..80),
    ) {
        let mut cache = Cache::default();
        let mut kept: BTreeMap<u16, (Instant, Known)> = BTreeMap::new();
        let mut now = 0;
        for (n, ttl, wait, forgets) in steps {
            now += wait;
            if forgets && ttl < 10 {
                cache.forget(UplinkId(n % 3));
                kept.retain(|other, _| other % 3 != n % 3);
            } else {
                cache.keep(at(now), key(n), known(n), ttl, limit);
                if ttl > 0 && limit > 0 {
                    kept.insert(n, (at(now + u64::from(ttl)), known(n)));
                }
            }
            prop_assert!(cache.len() <= limit);
            for n in 0..12 {
                if let Some(found) = cache.look_up(at(now), &key(n)) {
                    let (expires, told) = &kept[&n];
                    prop_assert!(found == told && *expires > at(now));
                }
            }
        }
    }
}
