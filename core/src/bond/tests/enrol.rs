//! Invitations: who comes in, and what is said of who does not.

use super::pair::{INSIDE, Pair, client, key};
use crate::bond::Invitation;
use crate::machine::event::{BondNews, BondRefusal};
use crate::time::{Duration, Instant};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

const TOKEN: [u8; 16] = [0xa5; 16];
const SECOND: Duration = Duration::from_secs(1);

fn invitation(number: u32, token: [u8; 16], until: Duration) -> Invitation {
    let address = Ipv4Addr::from_bits(INSIDE.to_bits() + number);
    let until = Instant::ZERO + until;
    Invitation { number, token: token.to_vec(), until, addresses: Vec::from([IpAddr::V4(address)]) }
}

/// Why somebody was not let in, in the order in which it was told, each once.
fn refusals(pair: &mut Pair) -> Vec<BondRefusal> {
    let news = core::mem::take(&mut pair.events);
    let mut all: Vec<BondRefusal> = Vec::new();
    for (_, news) in news {
        if let BondNews::Refused { why, .. } = news
            && !all.contains(&why)
        {
            all.push(why);
        }
    }
    all
}

#[test]
fn an_invitation_lets_in_the_first_key_that_comes_with_it() {
    let mut pair = Pair::new(&[], 2, &TOKEN);
    pair.server.invite(invitation(7, TOKEN, SECOND)).expect("it may be");
    pair.run(SECOND);
    let enrolled = BondNews::Enrolled { invitation: 7, key: *key(2).public().as_bytes() };
    assert_eq!(pair.events[0], (Some(0), enrolled));
    let status = pair.client.status(pair.now);
    assert_eq!(status.addresses, [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9))]);
    assert!(status.established && refusals(&mut pair).is_empty());

    // The same key needs no invitation any more, though it still has one; another key cannot use
    // it.
    pair.replace(client(2, 12, &TOKEN));
    pair.run(SECOND);
    assert!(pair.client.status(pair.now).established);
    pair.replace(client(3, 13, &TOKEN));
    pair.run(SECOND);
    assert!(!pair.client.status(pair.now).established);
    assert_eq!(refusals(&mut pair), [BondRefusal::UsedInvitation]);
}

#[test]
fn who_is_not_invited_is_told_by_name_and_not_answered() {
    let mut pair = Pair::new(&[], 2, &[]);
    pair.server.invite(invitation(1, TOKEN, SECOND * 2)).expect("it may be");
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::Stranger]);
    pair.replace(client(2, 22, &[1; 16]));
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::UnknownInvitation]);
    pair.replace(client(2, 32, &TOKEN));
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::ExpiredInvitation]);
    pair.server.invite_no_more(invitation(2, [2; 16], SECOND * 60)).expect("it may be");
    pair.replace(client(2, 42, &[2; 16]));
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::UsedInvitation]);
    assert!(pair.server.status(pair.now).is_empty());
}

#[test]
fn a_number_that_comes_again_with_another_token_is_another_invitation() {
    let mut pair = Pair::new(&[], 2, &TOKEN);
    pair.server.invite_no_more(invitation(1, [1; 16], SECOND * 60)).expect("it may be");
    pair.server.invite(invitation(1, TOKEN, SECOND * 60)).expect("it may be");
    pair.run(SECOND);
    assert!(pair.client.status(pair.now).established, "{:?}", pair.events);
    // Told again it is the same: a used one.
    pair.server.invite(invitation(1, TOKEN, SECOND * 60)).expect("it may be");
    pair.replace(client(3, 13, &TOKEN));
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::UsedInvitation]);
}

#[test]
fn nobody_is_let_in_by_the_address_that_another_has() {
    let mut pair = Pair::new(&[], 2, &TOKEN);
    let first = invitation(1, TOKEN, SECOND * 60);
    // Two processes that gave the same place, or one whose files somebody has changed.
    let second = Invitation { number: 2, token: [2; 16].to_vec(), ..first.clone() };
    pair.server.invite(first).expect("it may be");
    pair.server.invite(second).expect("it may be");
    pair.run(SECOND);
    assert!(pair.client.status(pair.now).established);
    pair.replace(client(3, 13, &[2; 16]));
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::UsedInvitation]);
    assert_eq!(pair.server.status(pair.now).len(), 1);
}

#[test]
fn an_invitation_that_nobody_could_live_by_is_refused_and_changes_nothing() {
    let mut pair = Pair::new(&[], 2, &TOKEN);
    let good = invitation(1, TOKEN, SECOND * 60);
    let ip = |text: &str| text.parse::<IpAddr>().expect("a literal");
    for (addresses, expected) in [
        (&["224.0.0.5"][..], "224.0.0.5/32"),
        (&["::1"], "::1/128"),
        (&["10.77.0.9", "10.77.0.10"], "got 10.77.0.10 too"),
        (&["10.77.0.1"], "10.77.0.1 is given twice"),
    ] {
        let addresses = addresses.iter().map(|text| ip(text)).collect();
        let told = pair.server.invite(Invitation { addresses, ..good.clone() }).expect_err(expected);
        assert!(told.to_string().contains(expected), "{told}");
    }
    for len in [0, 15, 65] {
        let told = pair.server.invite_no_more(Invitation { token: [7; 65][..len].to_vec(), ..good.clone() });
        let told = told.expect_err("no token").to_string();
        assert_eq!(told, alloc::format!("token: expected 16 to 64 bytes, got {len}"));
    }
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::UnknownInvitation]);
    pair.server.invite(good).expect("it may be");
    pair.run(SECOND * 5);
    assert!(pair.client.status(pair.now).established);
}

#[test]
fn a_server_that_is_full_takes_nobody_and_keeps_the_invitation() {
    let mut pair = Pair::new(&[key(4).public(), key(5).public()], 2, &TOKEN);
    pair.server.invite(invitation(3, TOKEN, SECOND * 60)).expect("it may be");
    pair.run(SECOND);
    assert_eq!(refusals(&mut pair), [BondRefusal::Full]);
    assert!(!pair.client.status(pair.now).established);
}

#[test]
fn a_client_that_is_revoked_hears_of_it_and_stays_outside() {
    let mut pair = Pair::new(&[], 2, &TOKEN);
    pair.server.invite(invitation(7, TOKEN, SECOND * 60)).expect("it may be");
    pair.run(SECOND);
    assert!(pair.client.status(pair.now).established);
    pair.download(40);
    pair.events.clear();
    assert!(pair.server.revoke(pair.now, 0));
    assert!(!pair.server.revoke(pair.now, 0), "it is gone");
    pair.run(SECOND);
    assert!(pair.events.contains(&(Some(0), BondNews::Closed)), "{:?}", pair.events);
    assert!(!pair.client.status(pair.now).established, "it was told, and did not wait for silence");
    assert!(pair.server.status(pair.now).is_empty());
    assert_eq!(refusals(&mut pair), [BondRefusal::UsedInvitation]);

    // The next who is invited comes in.
    pair.server.invite(invitation(8, [8; 16], SECOND * 60)).expect("it may be");
    pair.replace(client(3, 13, &[8; 16]));
    pair.run(SECOND);
    assert!(pair.client.status(pair.now).established);
}
