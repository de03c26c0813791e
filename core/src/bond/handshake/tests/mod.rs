//! What a handshake promises. Those of WireGuard implementations' bugs in the field that concern it
//! are named.

mod admission;
mod cookie;
mod retry;

use super::initiator::{CONFIRM_WITHIN, FIRST_ROUND, INIT_LIFE, LONGEST_ROUND};
use super::testing::*;
use super::*;
use crate::bond::crypto::{Cipher, CipherOrder, PresharedKey, PublicKey, Rng, SecretKey};
use crate::bond::session::SealError;
use crate::time::{Duration, Instant};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn both_sides_come_to_the_same_keys() {
    let mut world = World::new();
    let sent = world.handshake(at(0));
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>()[..], [INIT_LEN, 28, 30, RESPONSE_LEN]);
    assert_eq!((INIT_LEN, RESPONSE_LEN, COOKIE_LEN), (215, 86, 57), "as the module says");
    assert!(!world.client.initiator.is_active());
    assert_eq!(world.client.initiator.poll_timeout(), None);
    assert_eq!(world.client.keyring.cipher(), Some(Cipher::Aes256Gcm));
    assert!(world.client.keyring.is_confirmed());
    assert_eq!(world.client.restarts, 1);
}

#[test]
fn a_rekey_keeps_the_association() {
    let mut world = World::new();
    world.handshake(at(0));
    for generation in 1..10 {
        let now = at(u64::from(generation) * 120_000);
        assert!(world.client.keyring.wants_rekey(now));
        world.handshake(now);
        assert_eq!(world.client.keyring.generation(), Some(generation));
        assert_eq!(world.client.restarts, 1);
        assert_eq!(world.client.keyring.next_number(path(0)), u64::from(generation) + 1, "numbers count on");
    }
}

#[test]
fn another_life_of_the_client_takes_over_with_its_first_packet() {
    let mut world = World::new();
    world.handshake(at(0));
    let mut old = core::mem::replace(
        &mut world.client,
        Client::new(&world.client_key, world.server_key.public(), &world.psk, 99),
    );
    world.client.initiator.start(at(1000));
    let init = world.client.init(at(1000)).expect("an INIT is due");
    let response = world.server.handle(at(1000), address(2), &init).expect("a RESPONSE");
    let packet = seal(&mut old.keyring, at(1000), b"still here").expect("sealed");
    world.server.handle(at(1000), address(1), &packet);
    assert_eq!(world.server.opened.pop(), Some((CLIENT, b"still here".to_vec())), "the old life lives on");
    world.client.handle(at(1000), &response).expect("it is read");
    world.exchange(at(1000));
    let packet = seal(&mut old.keyring, at(1000), b"too late").expect("sealed");
    world.server.handle(at(1000), address(1), &packet);
    assert_eq!(world.server.opened, []);
}

#[test]
fn a_server_that_forgot_makes_the_client_begin_anew() {
    let mut world = World::new();
    world.handshake(at(0));
    world.exchange(at(0));
    let mut server = Server::new(&world.server_key, 50);
    assert!(server.responder.add_client(CLIENT, world.client_key.public(), world.psk.clone()));
    world.server = server;
    world.handshake(at(1000));
    assert_eq!(world.client.restarts, 2);
    assert_eq!(world.client.keyring.next_number(path(0)), 1, "numbers begin anew, under a new key");
}

#[test]
fn a_replayed_first_message_changes_nothing_that_lives() {
    let mut world = World::new();
    let first = world.handshake(at(0)).swap_remove(0);
    let second = world.handshake(at(120_000)).swap_remove(0);
    for n in 0..5 {
        for init in [&first, &second] {
            let answer = world.server.handle(at(130_000), address(20 + n), init);
            assert_eq!(answer, None, "of this life: older than what lives");
        }
    }
    assert_eq!(world.server.responder.counters().replayed, 10);
    world.exchange(at(130_000));

    // A message of a life that was never confirmed fills the slot for restarts, and stays there.
    let mut stillborn = Client::new(&world.client_key, world.server_key.public(), &world.psk, 98);
    stillborn.initiator.start(at(135_000));
    let unheard = stillborn.init(at(135_000)).expect("an INIT is due");
    world.client = Client::new(&world.client_key, world.server_key.public(), &world.psk, 99);
    world.handshake(at(140_000));
    assert!(world.server.handle(at(141_000), address(9), &unheard).is_some());
    world.exchange(at(141_000));
    world.handshake(at(260_000));
    assert_eq!(world.client.restarts, 1, "a rekey is a rekey, whatever is in the slot for restarts");
}

/// A message of a life that was never confirmed: the server cannot know that it is a recording.
fn recording(world: &World, seed: u8, now: Instant) -> Vec<u8> {
    let mut stillborn = Client::new(&world.client_key, world.server_key.public(), &world.psk, seed);
    stillborn.initiator.start(now);
    stillborn.init(now).expect("an INIT is due")
}

#[test]
fn recordings_do_not_keep_a_client_out_however_often_they_come() {
    let mut world = World::new();
    let recordings: Vec<Vec<u8>> = (50..60).map(|seed| recording(&world, seed, at(0))).collect();
    // They come first, and before and after each datagram of the client, from many places.
    let mut from = 100;
    let mut flood = |world: &mut World| {
        for recording in &recordings {
            from += 1;
            let answer = world.server.handle(at(10), address(from), recording);
            assert!(answer.is_none_or(|answer| answer.len() <= RESPONSE_LEN));
        }
    };
    flood(&mut world);
    world.client.initiator.start(at(10));
    let init = world.client.init(at(10)).expect("an INIT is due");
    let cookie = world.server.handle(at(10), address(1), &init).expect("a COOKIE: another life is there");
    assert_eq!(cookie.len(), COOKIE_LEN);
    flood(&mut world);
    world.client.handle(at(10), &cookie).expect("it is one");
    let init = world.client.init(at(10)).expect("at once");
    let response = world.server.handle(at(10), address(1), &init).expect("a RESPONSE");
    flood(&mut world);
    world.client.handle(at(10), &response).expect("it is read");
    world.exchange(at(10));
    flood(&mut world);
    world.exchange(at(10));
}

#[test]
fn a_life_that_waited_in_vain_costs_the_next_one_nothing_after_a_while() {
    let mut world = World::new();
    let stillborn = recording(&world, 50, at(0));
    world.server.handle(at(0), address(2), &stillborn).expect("a RESPONSE");
    world.handshake(Instant::ZERO + responder::RESPONSE_LIFE);
}

#[test]
fn a_first_message_that_displaced_the_answered_one_costs_the_client_one_more_handshake() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let response = world.server.handle(at(0), address(1), &init).expect("a RESPONSE");
    // Another host with the same key, at an address of its own.
    let mut other = Client::new(&world.client_key, world.server_key.public(), &world.psk, 99);
    other.initiator.start(at(1));
    let asks = other.init(at(1)).expect("an INIT is due");
    let cookie = world.server.handle(at(1), address(9), &asks).expect("a COOKIE");
    other.handle(at(1), &cookie).expect("it is one");
    let asks = other.init(at(1)).expect("at once");
    let answer = world.server.handle(at(1), address(9), &asks).expect("it has another life's slot now");
    assert_eq!(answer.len(), RESPONSE_LEN);
    world.client.handle(at(2), &response).expect("it is read");
    let packet = seal(&mut world.client.keyring, at(2), b"lost").expect("sealed");
    world.server.handle(at(2), address(1), &packet);
    assert_eq!(world.server.opened, []);
    let retry = world.client.initiator.poll_timeout().expect("keys must be confirmed");
    assert!(retry >= at(2) + CONFIRM_WITHIN && retry <= at(2) + CONFIRM_WITHIN + LONGEST_ROUND);
    let init = world.client.init(retry).expect("due");
    let cookie = world.server.handle(retry, address(1), &init).expect("a COOKIE");
    world.client.handle(retry, &cookie).expect("it is one");
    let init = world.client.init(retry).expect("at once");
    let response = world.server.handle(retry, address(1), &init).expect("a RESPONSE");
    world.client.handle(retry, &response).expect("it is read");
    world.exchange(retry);
}

#[test]
fn a_forged_response_changes_nothing() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    let response = world.server.handle(at(0), address(1), &init).expect("a RESPONSE");
    let macs = message::MacKeys::of(&world.client_key.public());
    for byte in 5..response.len() - 16 {
        // With a right mac1, which every holder of the client's public key can make.
        let receiver = u32::from_be_bytes([response[1], response[2], response[3], response[4]]);
        let (forged, ()) = message::Response::new(&macs, receiver, |out| {
            out.copy_from_slice(&response[5..response.len() - 16]);
            out[byte - 5] ^= 1;
        });
        assert_eq!(world.client.handle(at(0), &forged.0), None, "byte {byte}");
    }
    assert!(world.client.handle(at(0), &response).is_some(), "the true one is read after them all");
    assert_eq!(world.client.handle(at(0), &response), None, "once");
    world.exchange(at(0));
}

#[test]
fn session_ids_do_not_count_up() {
    // GotaTun 0.3.0: an observer of one index knew the next.
    let mut world = World::new();
    let mut indexes = Vec::new();
    for n in 0..30 {
        let sent = world.handshake(at(n * 120_000));
        for packet in &sent[1..3] {
            indexes.push(u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]]));
        }
    }
    let distinct: BTreeSet<u32> = indexes.iter().copied().collect();
    assert_eq!(distinct.len(), 60);
    let near =
        indexes.windows(3).filter(|w| w[0].abs_diff(w[2]) < 1 << 16 || w[0].abs_diff(w[1]) < 1 << 16).count();
    assert_eq!(near, 0, "{indexes:x?}");
    assert!(world.server.live[&CLIENT].indexes().count() <= 3);
}

#[test]
fn receiver_indexes_are_given_back() {
    let mut world = World::new();
    let mut seen = BTreeSet::new();
    for n in 0..50 {
        for packet in &world.handshake(at(n * 120_000))[1..2] {
            seen.insert(u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]]));
        }
    }
    let owned = seen.iter().filter(|index| world.server.responder.owner(**index) == Some(CLIENT)).count();
    assert_eq!((seen.len(), owned), (50, 2), "current and previous");
}

#[test]
fn the_server_sends_nothing_before_the_client_proved_its_keys() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("due");
    world.server.handle(at(0), address(1), &init).expect("a RESPONSE");
    let waiting = world.server.waiting.get_mut(&CLIENT).expect("in waiting");
    let mut buf = [0; 100];
    assert_eq!(waiting.seal(at(0), path(0), &mut buf, 50), Err(SealError::NoSession));
}

#[test]
fn the_same_seeds_make_the_same_handshake() {
    assert_eq!(World::new().handshake(at(0)), World::new().handshake(at(0)));
    let mut mixed = World::new();
    mixed.client.initiator.mix(&[1; 32]);
    assert_ne!(mixed.handshake(at(0)), World::new().handshake(at(0)), "entropy makes it another");
    let _: fn([u8; 32]) -> Rng = Rng::new;
}

proptest::proptest! {
    /// Invariant 6: unauthenticated input changes no state and draws at most 3x its bytes; no input
    /// panics.
    #[test]
    fn any_input_leaves_the_handshake_and_the_session_as_they_were(
        script in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..600)
    ) {
        laws::hold_for_script(&script);
    }
}

#[test]
fn the_laws_hold_for_some_scripts() {
    laws::hold_for_script(&[]);
    for op in 0..=255 {
        laws::hold_for_script(&[op, 40, 3, 7, op.wrapping_add(3), 9, 9, 9]);
    }
    laws::hold_for_script(&vec![0x48; 2000]);
}

#[test]
fn a_first_message_of_a_former_life_takes_no_slot() {
    let mut world = World::new();
    let mut former = world.handshake(at(0)).swap_remove(0);
    for life in 0..20u8 {
        let now = at(10_000 + 10_000 * u64::from(life));
        world.client = Client::new(&world.client_key, world.server_key.public(), &world.psk, 100 + life);
        world.client.initiator.start(now);
        let init = world.client.init(now).expect("an INIT is due");
        let response = world.server.handle(now, address(1), &init).expect("a RESPONSE");
        // Whoever heard the client's former life says what it said, again and again.
        for n in 0..3 {
            assert_eq!(world.server.handle(now, address(50 + n), &former), None, "life {life}");
        }
        world.client.handle(now, &response).expect("it is read");
        world.exchange(now);
        if life % 2 == 0 {
            // The association ends, by farewell or by silence: its messages are old all the same.
            world.server.responder.forget(CLIENT);
            world.server.live.remove(&CLIENT);
            assert_eq!(world.server.handle(now, address(60), &init), None, "life {life}");
        }
        former = init;
    }
    // The same life may come back.
    world.server.responder.forget(CLIENT);
    world.server.live.remove(&CLIENT);
    world.client.initiator.stop();
    world.handshake(at(400_000));
}
