//! When a client sends again, and what it sends.

use super::*;

#[test]
fn the_same_first_message_gets_the_same_answer() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let response = world.server.handle(at(0), address(1), &init).expect("a RESPONSE");
    for n in 2..50 {
        assert_eq!(
            world.server.handle(at(100), address(n), &init),
            Some(response.clone()),
            "by whatever path"
        );
    }
    assert_eq!(world.server.responder.counters().accepted, 1);
    assert_eq!(world.server.responder.counters().repeated, 48);
    world.client.handle(at(100), &response).expect("it is read");
    world.exchange(at(100));
    assert_eq!(world.server.handle(at(100), address(1), &init), None, "it is confirmed");
}

/// When a client sends on its first path, if no server answers.
fn rounds(seed: u8, until: Instant) -> Vec<Instant> {
    let mut client = Client::new(
        &SecretKey::generate(&mut rng(5)),
        SecretKey::generate(&mut rng(6)).public(),
        &PresharedKey::NONE,
        seed,
    );
    let (mut times, mut now) = (Vec::new(), at(0));
    client.initiator.start(now);
    while now < until {
        if client.init(now).is_some() {
            times.push(now);
        }
        assert!(client.init(now).is_none(), "once a round");
        now = client.initiator.poll_timeout().expect("it never gives up");
    }
    times
}

#[test]
fn retries_have_jitter_and_back_off() {
    // GotaTun 0.5.0: all clients of a server that came back were back at the same time.
    let all: Vec<Vec<Instant>> = (0..20).map(|seed| rounds(seed, at(120_000))).collect();
    for times in &all {
        assert!((12..25).contains(&times.len()), "{}", times.len());
        for (n, pair) in times.windows(2).enumerate() {
            let length = FIRST_ROUND.saturating_mul(1 << n.min(16)).min(LONGEST_ROUND);
            let waited = pair[1] - pair[0];
            assert!(waited >= length && waited <= length + length / 3, "round {n}: {waited:?}");
        }
        assert!(times[3] <= at(5_000), "four times within five seconds");
    }
    for n in 1..10 {
        let distinct: BTreeSet<Instant> = all.iter().map(|times| times[n]).collect();
        assert_eq!(distinct.len(), 20, "round {n}");
    }
    assert_eq!(rounds(4, at(60_000)), rounds(4, at(60_000)), "the same seed, the same times");
}

#[test]
fn a_round_goes_out_on_every_path_at_once() {
    let mut world = World::new();
    let initiator = &mut world.client.initiator;
    assert!(!initiator.is_due(path(0)));
    initiator.start(at(0));
    for id in 0..16 {
        assert!(initiator.is_due(path(id)));
        assert!(initiator.poll_transmit(at(0), path(id)).is_some());
        assert!(initiator.poll_transmit(at(0), path(id)).is_none());
    }
    initiator.hurry(at(10));
    assert!(initiator.is_due(path(4)), "a path came up");
    initiator.stop();
    assert!(!initiator.is_due(path(4)));
}

#[test]
fn a_first_message_is_made_anew_after_a_while() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let (mut now, mut inits) = (at(0), Vec::new());
    while now < at(100_000) {
        let init = world.client.init(now).expect("due");
        inits.push((now, init));
        now = world.client.initiator.poll_timeout().expect("a round");
    }
    let mut born = inits[0].0;
    let mut fresh = 1;
    for pair in inits.windows(2) {
        if pair[0].1 != pair[1].1 {
            assert!(pair[1].0 - born >= INIT_LIFE);
            born = pair[1].0;
            fresh += 1;
        }
    }
    assert!((3..=5).contains(&fresh), "{fresh}");
    // The last one is good.
    let (at_last, init) = inits.pop().expect("many");
    let response = world.server.handle(at_last, address(1), &init).expect("a RESPONSE");
    world.client.handle(at_last, &response).expect("it is read");
    world.exchange(at_last);
}

#[test]
fn keys_that_are_not_confirmed_are_given_up() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("due");
    let response = world.server.handle(at(0), address(1), &init).expect("a RESPONSE");
    world.client.handle(at(0), &response).expect("it is read");
    let retry = world.client.initiator.poll_timeout().expect("it waits for a packet");
    assert!(retry >= at(0) + CONFIRM_WITHIN && retry <= at(0) + CONFIRM_WITHIN + Duration::from_secs(1));
    assert!(world.client.init(retry).is_some_and(|other| other != init));
}
