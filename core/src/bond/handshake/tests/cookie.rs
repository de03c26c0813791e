//! Cookies: which client gets one, where it is valid, what it does not do.

use super::*;

/// Floods from one source until the server asks for a cookie, and returns what it said.
fn challenge(world: &mut World, now: Instant, from: core::net::SocketAddr, init: &[u8]) -> Vec<u8> {
    for n in 0..20 {
        let mut flooder =
            Client::new(&SecretKey::generate(&mut rng(100 + n)), world.server_key.public(), &world.psk, n);
        flooder.initiator.start(now);
        world.server.handle(now, from, &flooder.init(now).expect("due"));
    }
    world.server.handle(now, from, init).expect("a COOKIE")
}

#[test]
fn a_cookie_lets_a_client_through_and_covers_its_source_port() {
    // GotaTun 0.6.0: the cookie was of the address alone.
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let cookie = challenge(&mut world, at(0), address(1), &init);
    assert_eq!(cookie.len(), COOKIE_LEN);
    assert!(world.client.handle(at(0), &cookie).is_some());
    let with_cookie = world.client.init(at(0)).expect("at once, not in the next round");
    assert_eq!(with_cookie[..INIT_LEN - 16], init[..INIT_LEN - 16], "the same message but for mac2");

    let mut other_port = address(1);
    other_port.set_port(40_001);
    let answer = world.server.handle(at(0), other_port, &with_cookie).expect("another COOKIE");
    assert_eq!(answer.len(), COOKIE_LEN, "another port of the same address is another client");
    let response = world.server.handle(at(0), address(1), &with_cookie).expect("a RESPONSE");
    assert_eq!(response.len(), RESPONSE_LEN);
    world.client.handle(at(0), &response).expect("it is read");
    world.exchange(at(0));
}

#[test]
fn one_flooder_does_not_put_others_into_cookie_mode() {
    // GotaTun 0.4.1: handshake limits were of all sources together.
    let mut world = World::new();
    let mut flooder =
        Client::new(&SecretKey::generate(&mut rng(100)), world.server_key.public(), &world.psk, 9);
    for n in 0..1000 {
        flooder.initiator.stop();
        flooder.initiator.start(at(n));
        let init = flooder.init(at(n)).expect("due");
        world.server.handle(at(n), address(9), &init);
    }
    let counters = world.server.responder.counters();
    assert!(counters.challenged > 980, "{counters:?}");
    world.handshake(at(1000));
}

#[test]
fn cookies_of_a_former_secret_are_good_for_a_while() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let cookie = challenge(&mut world, at(119_000), address(1), &init);
    world.client.handle(at(119_000), &cookie).expect("a cookie");
    let with_cookie = world.client.init(at(119_000)).expect("due");
    let (early, late, too_late) = (at(119_500), at(230_000), at(480_000));
    for (now, expected) in [(early, RESPONSE_LEN), (late, RESPONSE_LEN), (too_late, COOKIE_LEN)] {
        world.server.responder.forget(CLIENT);
        challenge(&mut world, now, address(1), &init);
        assert_eq!(
            world.server.handle(now, address(1), &with_cookie).map(|answer| answer.len()),
            Some(expected)
        );
    }
    // The client stops before that.
    assert_eq!(world.client.init(at(235_000)).expect("due")[INIT_LEN - 16..], [0; 16]);
}

#[test]
fn there_is_no_roaming_on_cookie_replies() {
    // GotaTun 0.8.0: a COOKIE moved the peer's address. Here it does not even leave its path, and
    // one that answers nothing we sent is no cookie.
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let cookie = challenge(&mut world, at(0), address(1), &init);
    assert!(world.client.initiator.handle_cookie(at(0), path(3), &cookie));
    assert!(world.client.initiator.poll_transmit(at(0), path(3)).expect("due")[INIT_LEN - 16..] != [0; 16]);
    let next = world.client.initiator.poll_timeout().expect("a round");
    let init = world.client.init(next).expect("due");
    assert_eq!(init[INIT_LEN - 16..], [0; 16], "the other path has none");
    for byte in 0..cookie.len() {
        let mut bad = cookie.clone();
        bad[byte] ^= 1;
        assert_eq!(world.client.handle(at(0), &bad), None, "byte {byte}");
    }
    let mut idle = Client::new(&world.client_key, world.server_key.public(), &world.psk, 99);
    assert_eq!(idle.handle(at(0), &cookie), None);
    idle.initiator.start(at(0));
    assert_eq!(idle.handle(at(0), &cookie), None, "it is not for this INIT");
}

#[test]
fn cookies_do_not_make_a_client_send_without_end() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let cookie = challenge(&mut world, at(0), address(1), &init);
    let mut sent = 0;
    for _ in 0..100 {
        world.client.handle(at(0), &cookie).expect("it is one");
        sent += usize::from(world.client.init(at(0)).is_some());
    }
    assert_eq!(sent, 1);
}
