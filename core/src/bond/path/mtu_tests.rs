use super::*;
use alloc::vec::Vec;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// Probes until the search is over; what was tried, and what may be sent then.
fn search(mtu: &mut Mtu, mut now: Instant, passes: u16) -> (Vec<u16>, u16) {
    let mut tried = Vec::new();
    while let Some(size) = mtu.poll_probe(now) {
        tried.push(size);
        mtu.handle_sent(now, u32::from(size), Duration::from_millis(30));
        if size <= passes {
            mtu.handle_acked(now, u32::from(size));
        } else {
            now = mtu.probe.expect("it is on its way").1;
            mtu.handle_timeout(now);
        }
    }
    (tried, mtu.size())
}

#[test]
fn the_largest_is_asked_first_and_then_the_middle() {
    assert_eq!(search(&mut Mtu::new(1500), at(0), 1500), ([1500].to_vec(), 1500));
    let (tried, size) = search(&mut Mtu::new(1500), at(0), 1450);
    assert_eq!(tried, [1500, 1500, 1440, 1472, 1472, 1472, 1452, 1452, 1452]);
    assert_eq!(size, 1440);
    assert_eq!(search(&mut Mtu::new(1500), at(0), 1280).1, 1280);
    assert_eq!(search(&mut Mtu::new(1300), at(0), 9000), (Vec::new(), 1280));
}

#[test]
fn a_search_begins_again_after_ten_minutes() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1450);
    let again = mtu.poll_timeout().expect("to raise it");
    assert!(again >= at(600_000) && mtu.poll_probe(at(1)).is_none());
    mtu.handle_timeout(again);
    assert_eq!(search(&mut mtu, again, 1500).1, 1500);
}

#[test]
fn a_black_hole_is_seen_by_what_still_arrives() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1500);
    for _ in 0..20 {
        assert!(!mtu.handle_lost(at(10), at(1), 1500), "nothing arrives: the path is dead, not narrow");
    }
    mtu.handle_carried(at(20), 100);
    assert!(!mtu.handle_lost(at(20), at(19), 1500), "it was dead until a moment ago");
    assert!(!mtu.handle_lost(at(30), at(21), 1500));
    assert!(mtu.handle_lost(at(30), at(22), 1500));
    assert_eq!(mtu.size(), 1280);
    assert_eq!(search(&mut mtu, at(30), 1420).1, 1420);
}

#[test]
fn a_path_that_dies_again_and_again_is_not_narrow() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1500);
    for second in 1..100 {
        let now = at(second * 1000);
        mtu.handle_carried(now, 100);
        mtu.handle_silence(false);
        // Its probe is answered; then all that was sent before counts as lost.
        mtu.handle_carried(now + Duration::from_millis(500), 100);
        let sent = now + Duration::from_millis(1);
        assert!(!(0..20).any(|_| mtu.handle_lost(now + Duration::from_millis(500), sent, 1500)));
    }
}

/// Silences in which five large packets are lost; how many until the path counts as narrow.
fn silences(mtu: &mut Mtu, probes: u32, between: impl Fn(&mut Mtu, Instant)) -> Option<u64> {
    (1..20).find(|second| {
        let now = at(second * 1000);
        (0..probes).for_each(|probe| mtu.handle_silence(probe == 0));
        mtu.handle_carried(now, 100);
        let noticed = (0..5).any(|_| mtu.handle_lost(now, at(second * 1000 - 50), 1500));
        between(mtu, now);
        noticed
    })
}

#[test]
fn large_packets_that_fall_silent_alone_again_and_again_are_swallowed() {
    let mut found = Mtu::new(1500);
    search(&mut found, at(0), 1500);
    let run = |probes, between: fn(&mut Mtu, Instant)| silences(&mut found.clone(), probes, between);
    assert_eq!(run(1, |_, _| ()), Some(3), "at the third");
    assert_eq!(run(2, |_, _| ()), None, "the first probe was lost too: the path was dead");
    assert_eq!(run(1, |mtu, now| mtu.handle_carried(now, 1500)), None, "large ones come through");
    assert_eq!(run(1, |mtu, _| mtu.handle_silence(false)), None, "small ones are missing too");
}

#[test]
fn random_loss_is_no_black_hole() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1500);
    for step in 0..1000 {
        mtu.handle_carried(at(step), if step % 2 == 0 { 1500 } else { 100 });
        assert!(!mtu.handle_lost(at(step + 2), at(step + 1), 1500));
    }
}

#[test]
fn what_the_system_refuses_is_believed() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1500);
    assert!(mtu.handle_too_large(at(5)));
    assert_eq!(mtu.size(), 1492);
    assert!(!mtu.handle_too_large(at(6)), "one burst of packets is one refusal");
    (1..20).for_each(|step| assert!(mtu.handle_too_large(at(step * 100)) || mtu.size() == 1280));
    assert_eq!(mtu.size(), 1280, "the smallest stays whatever is said");
}

#[test]
fn a_new_path_is_trusted_until_something_speaks_against_it() {
    let mut mtu = Mtu::new(1500);
    assert_eq!((mtu.trusted(), mtu.counted(), mtu.size()), (1500, 1500, 1280));
    mtu.handle_sent(at(0), 1500, Duration::from_millis(30));
    assert!(!mtu.handle_timeout(at(1000)), "one probe may be lost");
    assert_eq!(mtu.trusted(), 1500);
    mtu.handle_sent(at(1000), 1500, Duration::from_millis(30));
    assert!(mtu.handle_timeout(at(2000)));
    assert_eq!((mtu.trusted(), mtu.counted()), (1280, 1500), "it is searched; the tunnel waits");
    assert_eq!(mtu.poll_timeout(), Some(at(3000)));
    assert!(mtu.handle_timeout(at(3000)), "long enough");
    assert_eq!(mtu.counted(), 1280);
}

#[test]
fn a_new_path_that_swallows_large_packets_is_searched_in_three_round_trips() {
    let mut mtu = Mtu::new(1500);
    mtu.handle_carried(at(50), 100);
    assert!((0..8).any(|_| mtu.handle_lost(at(100), at(60), 1464)));
    assert_eq!((mtu.trusted(), mtu.counted()), (1280, 1500));
    for size in [1440, 1472, 1492] {
        assert_eq!(mtu.poll_probe(at(100)), Some(size));
        mtu.handle_sent(at(100), u32::from(size), Duration::from_millis(30));
        assert!(mtu.handle_acked(at(120), u32::from(size)));
    }
    assert_eq!(mtu.trusted(), 1492);
}

#[test]
fn a_probe_without_an_answer_ends_the_tunnels_wait() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1500);
    mtu.handle_carried(at(50), 100);
    assert!((0..8).any(|_| mtu.handle_lost(at(100), at(60), 1500)));
    mtu.handle_sent(at(100), 1440, Duration::from_millis(30));
    assert_eq!((mtu.trusted(), mtu.counted()), (1280, 1500));
    assert_eq!(mtu.poll_timeout(), Some(at(1100)), "the path may be silent");
    mtu.handle_carried(at(150), 100);
    assert_eq!(mtu.poll_timeout(), Some(at(160)));
    assert!(mtu.handle_timeout(at(160)));
    assert_eq!(mtu.counted(), 1280);
    // The late answer counts all the same.
    assert!(mtu.handle_acked(at(170), 1440));
    assert_eq!((mtu.trusted(), mtu.counted()), (1440, 1440));
}

#[test]
fn a_link_that_was_away_is_searched_at_once() {
    let mut mtu = Mtu::new(1500);
    search(&mut mtu, at(0), 1500);
    mtu.search_again();
    assert_eq!((mtu.trusted(), mtu.size()), (1500, 1280), "it is asked anew");
    search(&mut mtu, at(10), 1400);
    mtu.search_again();
    assert_eq!((mtu.trusted(), mtu.counted()), (1400, 1400), "until then as before");
    assert_eq!(search(&mut mtu, at(10), 1500).1, 1500);
}
