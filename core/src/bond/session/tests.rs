//! Sessions and keyrings of two sides that met, without the handshake: its secrets are made up
//! here.

use super::*;
use crate::bond::crypto::aead::Cipher;
use crate::bond::wire::{HEADER, MAX_PATHS, PathId, TAG};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use proptest::prelude::*;

fn path(id: u8) -> PathId {
    PathId::new(id).expect("below MAX_PATHS")
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// The client's and the server's half of handshake number `generation`.
fn secrets(cipher: Cipher, generation: u32) -> (Secrets, Secrets) {
    let (up, down) = ([generation as u8; 32], [!(generation as u8); 32]);
    let (client, server) = (1000 + generation, 2000 + generation);
    (
        Secrets { cipher, seal: up, open: down, local: client, remote: server, generation },
        Secrets { cipher, seal: down, open: up, local: server, remote: client, generation },
    )
}

struct Pair {
    client: Keyring,
    server: Keyring,
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair { client: Keyring::new(Role::Initiator), server: Keyring::new(Role::Responder) };
        pair.rekey(Instant::ZERO, 0);
        pair
    }

    fn rekey(&mut self, now: Instant, generation: u32) {
        let (client, server) = secrets(Cipher::ChaCha20Poly1305, generation);
        self.server.install(Session::new(now, &server));
        self.client.install(Session::new(now, &client));
    }
}

/// A packet with this text, sealed.
fn seal(keyring: &mut Keyring, now: Instant, id: u8, text: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut buf = alloc::vec![0; HEADER + text.len() + TAG];
    buf[HEADER..HEADER + text.len()].copy_from_slice(text);
    let sealed = keyring.seal(now, path(id), &mut buf, text.len())?;
    assert_eq!(sealed.len, buf.len());
    Ok(buf)
}

fn open(keyring: &mut Keyring, now: Instant, packet: &[u8]) -> Result<(u64, Vec<u8>), OpenError> {
    let mut packet = packet.to_vec();
    let opened = keyring.open(now, &mut packet)?;
    Ok((opened.number, packet[opened.plain].to_vec()))
}

#[test]
fn what_one_side_seals_the_other_opens_once() {
    for cipher in Cipher::ALL {
        let (mut client, mut server) = (Keyring::new(Role::Initiator), Keyring::new(Role::Responder));
        let halves = secrets(cipher, 0);
        client.install(Session::new(at(0), &halves.0));
        server.install(Session::new(at(0), &halves.1));
        let packet = seal(&mut client, at(1), 3, b"to the server").expect("sealed");
        assert_eq!(open(&mut server, at(1), &packet), Ok((0, b"to the server".to_vec())));
        assert_eq!(open(&mut server, at(1), &packet), Err(OpenError::Replayed));
        let packet = seal(&mut server, at(1), 3, b"to the client").expect("sealed");
        assert_eq!(open(&mut client, at(1), &packet), Ok((0, b"to the client".to_vec())));
        assert_eq!(open(&mut server, at(1), &packet), Err(OpenError::NoSession), "reflected");
    }
}

#[test]
fn a_responder_is_silent_until_the_initiator_has_proved_its_keys() {
    let mut pair = Pair::new();
    assert_eq!(seal(&mut pair.server, at(0), 0, b"too early"), Err(SealError::NoSession));
    assert!(!pair.server.is_usable(at(0)));
    let mut packet = seal(&mut pair.client, at(0), 0, b"here I am").expect("sealed");
    assert!(pair.server.open(at(0), &mut packet).expect("opened").confirms);
    let mut packet = seal(&mut pair.client, at(0), 0, b"again").expect("sealed");
    assert!(!pair.server.open(at(0), &mut packet).expect("opened").confirms);
    assert!(pair.server.is_confirmed() && !pair.client.is_confirmed());
    let mut packet = seal(&mut pair.server, at(0), 0, b"welcome").expect("sealed");
    assert!(pair.client.open(at(0), &mut packet).expect("opened").confirms);
    assert!(pair.client.is_confirmed());
}

#[test]
fn a_replayed_first_message_changes_no_live_session() {
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(0), 0, b"a").expect("sealed");
    open(&mut pair.server, at(0), &packet).expect("opened");
    // A replay makes the responder offer keys that no client has, again and again.
    for generation in 1..20 {
        pair.server.install(Session::new(at(1), &secrets(Cipher::Aes256Gcm, generation).1));
        let gone: Vec<u32> = core::iter::from_fn(|| pair.server.poll_retired()).collect();
        assert_eq!(gone, if generation == 1 { Vec::new() } else { alloc::vec![2000 + generation - 1] });
    }
    let packet = seal(&mut pair.client, at(1), 0, b"b").expect("sealed");
    assert_eq!(open(&mut pair.server, at(1), &packet), Ok((1, b"b".to_vec())));
    let packet = seal(&mut pair.server, at(1), 0, b"c").expect("sealed");
    assert_eq!(open(&mut pair.client, at(1), &packet), Ok((0, b"c".to_vec())));
}

#[test]
fn what_is_under_way_survives_a_rekey() {
    let mut pair = Pair::new();
    let first = seal(&mut pair.client, at(0), 0, b"first").expect("sealed");
    open(&mut pair.server, at(0), &first).expect("opened");
    let late_up = seal(&mut pair.client, at(119), 0, b"late up").expect("sealed");
    let late_down = seal(&mut pair.server, at(119), 0, b"late down").expect("sealed");
    pair.rekey(at(120), 1);
    let new = seal(&mut pair.client, at(121), 0, b"new").expect("sealed");
    assert_eq!(open(&mut pair.server, at(121), &new), Ok((2, b"new".to_vec())), "numbers count on");
    assert_eq!(open(&mut pair.server, at(121), &late_up), Ok((1, b"late up".to_vec())));
    assert_eq!(open(&mut pair.client, at(121), &late_down), Ok((0, b"late down".to_vec())));
    assert_eq!(open(&mut pair.server, at(121), &late_up), Err(OpenError::Replayed));
    assert_eq!(pair.server.generation(), Some(1));
    // The first session is 180 s old.
    assert_eq!(pair.server.poll_timeout(), Some(at(180)));
    pair.server.handle_timeout(at(180));
    assert_eq!(pair.server.poll_retired(), Some(2000));
    assert_eq!(pair.server.poll_retired(), None);
    assert_eq!(open(&mut pair.server, at(180), &first), Err(OpenError::NoSession));
}

#[test]
fn an_initiator_whose_new_keys_were_never_confirmed_keeps_the_ones_before() {
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(0), 0, b"a").expect("sealed");
    open(&mut pair.server, at(0), &packet).expect("opened");
    let under_way = seal(&mut pair.server, at(0), 0, b"b").expect("sealed");
    let packet = seal(&mut pair.server, at(0), 0, b"c").expect("sealed");
    open(&mut pair.client, at(0), &packet).expect("opened");
    for generation in 1..4 {
        pair.client.install(Session::new(at(1), &secrets(Cipher::Aes256Gcm, generation).0));
    }
    assert_eq!(open(&mut pair.client, at(1), &under_way), Ok((0, b"b".to_vec())));
    let gone: Vec<u32> = core::iter::from_fn(|| pair.client.poll_retired()).collect();
    assert_eq!(gone, [1001, 1002]);
}

#[test]
fn nonce_counters_have_64_bits_on_any_machine() {
    // GotaTun 0.4.1: a counter of the machine's width repeated on 32 bits. Here the number is a u64
    // by type; what is on the wire is 32 bits of it, and both sides count on.
    let (client, server) = secrets(Cipher::Aes256Gcm, 0);
    let (mut client, mut server) = (Session::new(at(0), &client), Session::new(at(0), &server));
    let mut packets = BTreeSet::new();
    let mut largest = None;
    let around = |wrap: u64| (0..20).map(move |n| (wrap << 32) - 10 + n);
    // An honest peer never skips half of the number space.
    for number in
        around(1).chain([(1 << 32) + (1 << 31) - 5]).chain(around(2)).chain([u64::from(u32::MAX) * 2 + 99])
    {
        let mut buf = [0; HEADER + 4 + TAG];
        let len = client.seal(at(0), path(0), number, &mut buf, 4).expect("sealed");
        assert!(packets.insert(buf[HEADER..len].to_vec()), "one number, one nonce");
        let header = crate::bond::wire::Header::parse(&buf).expect("a header");
        let opened = server.open(at(0), &header, largest.or(Some(1 << 31)), &mut buf).expect("opened");
        assert_eq!(opened.0, number);
        largest = Some(number);
    }
}

#[test]
fn a_number_is_sealed_once() {
    let mut session = Session::new(at(0), &secrets(Cipher::Aes256Gcm, 0).0);
    let mut buf = [0; 64];
    assert!(session.seal(at(0), path(1), 5, &mut buf, 8).is_ok());
    assert_eq!(session.seal(at(0), path(1), 5, &mut buf, 8), Err(SealError::Number));
    assert_eq!(session.seal(at(0), path(1), 4, &mut buf, 8), Err(SealError::Number));
    assert!(session.seal(at(0), path(2), 5, &mut buf, 8).is_ok(), "another path, another nonce");
    assert!(session.seal(at(0), path(1), MAX_NUMBER, &mut buf, 8).is_ok());
    assert_eq!(session.seal(at(0), path(1), MAX_NUMBER + 1, &mut buf, 8), Err(SealError::Number));
    assert_eq!(session.seal(at(0), path(3), 1 << 57, &mut buf, 8), Err(SealError::Number));
    assert_eq!(session.seal(at(0), path(3), 1, &mut buf, 64 - HEADER - TAG + 1), Err(SealError::Room));
    assert_eq!(session.seal(at(0), path(3), 1, &mut buf, usize::MAX), Err(SealError::Room));
    assert!(session.seal(at(0), path(3), 1, &mut buf, 64 - HEADER - TAG).is_ok());
}

#[test]
fn the_message_limit_is_enforced() {
    let mut session = Session::new(at(0), &secrets(Cipher::Aes256Gcm, 0).0);
    let mut buf = [0; 10_000];
    assert!(!session.is_worn());
    session.wear(REKEY_AFTER_PACKETS - 1);
    session.seal(at(0), path(0), 0, &mut buf, 100).expect("sealed");
    assert!(session.is_worn(), "a rekey is wanted");
    session.wear(MOST_PACKETS - 5);
    session.seal(at(0), path(0), 1, &mut buf, 9000).expect("five units of 2 KiB");
    assert_eq!(session.seal(at(0), path(0), 2, &mut buf, 1), Err(SealError::Exhausted));
    session.wear(MOST_PACKETS - 4);
    assert_eq!(session.seal(at(0), path(0), 2, &mut buf, 9000), Err(SealError::Exhausted));
    assert!(session.seal(at(0), path(0), 2, &mut buf, 100).is_ok(), "and a refusal uses nothing up");
}

#[test]
fn forgeries_are_counted_and_end_a_session() {
    let (client, server) = secrets(Cipher::ChaCha20Poly1305, 0);
    let (mut client, mut server) = (Session::new(at(0), &client), Session::new(at(0), &server));
    let mut good = [0; 64];
    client.seal(at(0), path(0), 0, &mut good, 64 - HEADER - TAG).expect("sealed");
    let header = crate::bond::wire::Header::parse(&good).expect("a header");
    server.embitter(MOST_FORGERIES - 1);
    assert!(server.is_worn(), "a rekey was wanted long before");
    let mut bad = good;
    bad[63] ^= 1;
    assert_eq!(server.open(at(0), &header, None, &mut bad), Err(OpenError::Forged));
    assert_eq!(server.open(at(0), &header, None, &mut good), Err(OpenError::Exhausted));
}

#[test]
fn a_session_ends_with_its_time() {
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(179), 0, b"a").expect("sealed");
    let late = seal(&mut pair.client, at(179), 0, b"b").expect("sealed");
    assert_eq!(open(&mut pair.server, at(179), &packet), Ok((0, b"a".to_vec())));
    assert_eq!(open(&mut pair.server, at(180), &late), Err(OpenError::Exhausted));
    assert_eq!(seal(&mut pair.client, at(180), 0, b"c"), Err(SealError::Exhausted));
    assert!(pair.client.is_usable(at(179)) && !pair.client.is_usable(at(180)));
    pair.client.handle_timeout(at(180));
    assert_eq!(seal(&mut pair.client, at(180), 0, b"c"), Err(SealError::NoSession));
    assert_eq!(pair.client.next_number(path(0)), 2, "what was refused used no number up");
    assert!(pair.client.wants_rekey(at(180)));
    assert_eq!(pair.client.poll_timeout(), None);
}

#[test]
fn a_rekey_is_wanted_after_two_minutes() {
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(0), 0, b"a").expect("sealed");
    open(&mut pair.server, at(0), &packet).expect("opened");
    assert!(!pair.client.wants_rekey(at(119)) && pair.client.wants_rekey(at(120)));
    assert!(!pair.server.wants_rekey(at(129)) && pair.server.wants_rekey(at(130)), "the server asks later");
    pair.rekey(at(131), 1);
    assert!(!pair.client.wants_rekey(at(131)) && !pair.server.wants_rekey(at(131)), "one is under way");
}

#[test]
fn a_server_asks_for_new_keys_less_and_less_often() {
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(0), 0, b"a").expect("sealed");
    open(&mut pair.server, at(0), &packet).expect("opened");
    let asked: Vec<u64> = (0..180).filter(|second| pair.server.asks_rekey(at(*second))).collect();
    assert_eq!(asked, [130, 131, 133, 137, 145, 161]);
    // Each new key begins anew.
    pair.rekey(at(170), 1);
    let packet = seal(&mut pair.client, at(170), 0, b"b").expect("sealed");
    open(&mut pair.server, at(170), &packet).expect("opened");
    let asked: Vec<u64> = (170..304).filter(|second| pair.server.asks_rekey(at(*second))).collect();
    assert_eq!(asked, [300, 301, 303]);
}

#[test]
fn forged_bytes_change_nothing() {
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(0), 0, b"a").expect("sealed");
    for at_byte in 0..packet.len() {
        let mut bad = packet.clone();
        bad[at_byte] ^= 0x10;
        assert!(pair.server.open(at(0), &mut bad).is_err(), "byte {at_byte}");
    }
    for len in 0..packet.len() {
        assert!(pair.server.open(at(0), &mut packet[..len].to_vec()).is_err());
    }
    assert!(!pair.server.is_confirmed());
    assert_eq!(open(&mut pair.server, at(0), &packet), Ok((0, b"a".to_vec())));
}

#[test]
fn an_oversized_datagram_does_not_panic() {
    // GotaTun 0.7.2: a datagram longer than the buffer for its plaintext panicked the receiver.
    // Here it opens in place, whatever its length.
    let mut pair = Pair::new();
    let packet = seal(&mut pair.client, at(0), 0, &alloc::vec![7; 70_000]).expect("sealed");
    assert_eq!(open(&mut pair.server, at(0), &packet), Ok((0, alloc::vec![7; 70_000])));
    assert_eq!(
        open(&mut pair.server, at(0), &alloc::vec![0x48; 70_000]),
        Err(OpenError::Malformed(crate::bond::wire::Malformed::Value { what: "path id", got: 0x48 }))
    );
}

#[derive(Clone, Debug)]
enum Step {
    Send { from_client: bool, path: u8 },
    Deliver { nth: usize, again: bool },
    Rekey { answered: bool },
    Wait { seconds: u64 },
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..MAX_PATHS as u8)
            .prop_map(|(from_client, path)| Step::Send { from_client, path }),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(nth, again)| Step::Deliver { nth, again }),
        1 => any::<bool>().prop_map(|answered| Step::Rekey { answered }),
        1 => (0u64..100).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    /// Invariant 5: no (key, path, number) twice, across rekeys and whatever the order; replays are
    /// rejected.
    #[test]
    fn no_key_path_and_number_come_twice(steps in proptest::collection::vec(a_step(), 1..200)) {
        let mut pair = Pair::new();
        let (mut now, mut generation) = (at(0), 0);
        let mut used = BTreeSet::new();
        let mut network: Vec<(bool, u64, Vec<u8>)> = Vec::new();
        let mut opened = BTreeSet::new();
        for step in steps {
            match step {
                Step::Send { from_client, path: id } => {
                    let side = if from_client { &mut pair.client } else { &mut pair.server };
                    let number = side.next_number(path(id));
                    if let Ok(packet) = seal(side, now, id, &network.len().to_be_bytes()) {
                        let key = side.generation().expect("it sealed");
                        prop_assert!(used.insert((from_client, key, id, number)), "{key} {id} {number}");
                        network.push((from_client, number, packet));
                    }
                }
                Step::Deliver { nth, again } if !network.is_empty() => {
                    let nth = nth % network.len();
                    let (from_client, number, packet) = network[nth].clone();
                    let side = if from_client { &mut pair.server } else { &mut pair.client };
                    if let Ok((got, text)) = open(side, now, &packet) {
                        prop_assert_eq!(got, number);
                        prop_assert_eq!(text, nth.to_be_bytes().to_vec());
                        prop_assert!(opened.insert(nth), "opened twice");
                    }
                    if again {
                        prop_assert!(open(side, now, &packet).is_err());
                    }
                }
                Step::Deliver { .. } => {}
                Step::Rekey { answered } => {
                    generation += 1;
                    let (client, server) = secrets(Cipher::ChaCha20Poly1305, generation);
                    pair.server.install(Session::new(now, &server));
                    if answered {
                        pair.client.install(Session::new(now, &client));
                    }
                }
                Step::Wait { seconds } => {
                    now += Duration::from_secs(seconds);
                    pair.client.handle_timeout(now);
                    pair.server.handle_timeout(now);
                }
            }
            while pair.client.poll_retired().is_some() {}
            while pair.server.poll_retired().is_some() {}
        }
    }
}
