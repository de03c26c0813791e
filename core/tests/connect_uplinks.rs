//! Which uplinks carry connections, which are passed over, and which rest.

mod util;

use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Fault, Input, UplinkId};
use ropewalk_core::uplink::Prefix;
use std::net::IpAddr;
use util::asking::{FAR, FAR6, asks, asks_with, code, code_for, connected, downs, lab_with_echoes, outpaced};
use util::lab::device;
use util::{Act, Answer, Behave, End, Link, Person, Setup, Target, ms, say, secs};

// ---- those that fail ----

#[test]
fn a_destination_that_refuses_is_asked_once_and_no_uplink_suffers() {
    let mut lab = lab_with_echoes(4);
    lab.target(FAR, Target::that(Behave::Refuse));
    for n in 1..=20 {
        assert_eq!(code_for(&mut lab, FAR), 5);
        assert_eq!(lab.world.attempts.len(), n, "no retry storm");
    }
    assert!(downs(&lab).is_empty());
    assert_eq!(outpaced(&lab), 0);
    assert!(lab.world.pool.accounts(lab.now()).all(|(_, _, up)| up));
}

#[test]
fn a_black_holed_uplink_costs_one_stagger_and_rests_after_three() {
    let mut lab = lab_with_echoes(2);
    lab.link(0, Link::BlackHole);
    let mut slow = 0;
    for n in 0..12 {
        let began = lab.now();
        let who = asks(&mut lab, FAR);
        lab.run_for(secs(5));
        assert_eq!(code(&lab, who), 0);
        let took = lab.sock(who).got.byte_at(2).expect("a reply") - began;
        // The first stagger is 250 ms.
        assert!(took <= ms(750), "request {n} took {took:?}");
        slow += usize::from(took > ms(200));
        if downs(&lab).len() == 1 {
            break;
        }
    }
    assert_eq!(slow, 3, "three were slow, then the uplink rests");
    assert_eq!(downs(&lab), [UplinkId(0)]);
    // While it rests no client waits for it.
    lab.world.attempts.clear();
    let who = asks(&mut lab, FAR);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    assert!(lab.world.attempts.iter().all(|attempt| attempt.via.device == Some(device(1))));
}

#[test]
fn a_rested_uplink_is_tried_again_and_comes_back_by_carrying() {
    let mut lab = lab_with_echoes(2);
    lab.link(0, Link::BlackHole);
    for _ in 0..6 {
        asks(&mut lab, FAR);
        lab.run_for(ms(600));
    }
    assert_eq!(downs(&lab), [UplinkId(0)]);
    lab.link(0, Link::Up);
    lab.run_for(secs(10));
    for _ in 0..4 {
        let who = asks(&mut lab, FAR);
        lab.run_for(secs(1));
        assert_eq!(code(&lab, who), 0);
    }
    lab.finish();
    assert!(lab.world.events.iter().any(|(_, event)| *event == Event::UplinkUp { uplink: UplinkId(0) }));
}

/// The devices of the attempts for a name of two addresses that both fail so, where the first
/// uplink is by far the heaviest.
fn ways_of_two_addresses(fault: Fault) -> Vec<usize> {
    let mut setup = Setup::new(3);
    setup.uplinks[0].weight = 50;
    let mut lab = setup.build();
    lab.name("two.example", [Answer::ips(ms(5), &["192.0.2.7", "192.0.2.8"])]);
    for to in ["192.0.2.7:80", "192.0.2.8:80"] {
        lab.target(to, Target::that(Behave::Fail(fault, ms(30))));
    }
    asks_with(&mut lab, say::socks5_to_name("two.example", 80));
    lab.finish();
    let number = |attempt: &util::place::Attempt| {
        (0..3).find(|n| attempt.via.device == Some(device(*n))).expect("by an uplink")
    };
    lab.world.attempts.iter().map(number).collect()
}

#[test]
fn after_a_refusal_the_next_address_takes_any_uplink_and_after_another_fault_one_that_is_new() {
    assert_eq!(ways_of_two_addresses(Fault::Refused), [0, 0]);
    assert_eq!(ways_of_two_addresses(Fault::HostUnreachable)[..3], [0, 1, 2]);
}

#[test]
fn an_uplink_by_which_a_host_is_not_reached_is_outpaced_by_one_that_reaches_it() {
    for (fault, count) in [
        (Fault::TimedOut, 1),
        (Fault::HostUnreachable, 1),
        (Fault::NetworkUnreachable, 1),
        (Fault::ProxyFailed, 1),
        (Fault::AddressInUse, 0),
    ] {
        let mut lab = Setup::new(2).build();
        let mut target = Target::new(Person::new([Act::Echo]));
        target.through.insert(device(0), Behave::Fail(fault, ms(30)));
        lab.target(FAR, target);
        assert_eq!(code_for(&mut lab, FAR), 0, "{fault:?}");
        assert_eq!(outpaced(&lab), count, "{fault:?}");
    }
}

// ---- those that cannot carry ----

#[test]
fn an_uplink_without_route_is_passed_over_at_once() {
    for fault in [Fault::NoRoute, Fault::NoDevice, Fault::NetworkDown, Fault::AddressNotAvailable] {
        let mut lab = lab_with_echoes(3);
        lab.link(0, Link::Broken(fault));
        lab.link(1, Link::Broken(fault));
        for _ in 0..4 {
            let began = lab.now();
            let who = asks(&mut lab, FAR);
            lab.run_for(secs(2));
            assert_eq!(code(&lab, who), 0, "{fault:?}");
            let took = lab.sock(who).got.byte_at(2).expect("a reply") - began;
            assert!(took < ms(100), "{fault:?}: {took:?}");
        }
        lab.finish();
    }
}

#[test]
fn an_uplink_without_an_address_of_the_family_is_passed_over() {
    let mut setup = Setup::new(2);
    setup.uplinks[0].source_v4 = Some([10, 0, 0, 2].into());
    setup.uplinks[1].source_v6 = Some("2001:db8:1::2".parse().expect("literal"));
    let mut lab = setup.build();
    lab.serve(FAR, [Act::Echo]);
    lab.serve(FAR6, [Act::Echo]);
    for _ in 0..3 {
        assert_eq!(code_for(&mut lab, FAR), 0);
        assert_eq!(code_for(&mut lab, FAR6), 0);
    }
    assert_eq!(lab.world.attempts.len(), 6);
    for attempt in &lab.world.attempts {
        let uplink = usize::from(attempt.to.is_ipv6());
        assert_eq!(attempt.via.device, Some(device(uplink)));
        assert_eq!(attempt.via.source.map(|ip| ip.is_ipv6()), Some(attempt.to.is_ipv6()));
    }
}

#[test]
fn an_uplink_that_the_host_gives_no_route_of_the_family_is_passed_over() {
    let mut setup = Setup::new(2);
    (setup.uplinks[0].networks.v6, setup.uplinks[1].networks.v4) = (false, false);
    let mut lab = setup.build();
    lab.serve(FAR, [Act::Echo]);
    lab.serve(FAR6, [Act::Echo]);
    for _ in 0..3 {
        assert_eq!(code_for(&mut lab, FAR), 0);
        assert_eq!(code_for(&mut lab, FAR6), 0);
    }
    assert_eq!(lab.world.attempts.len(), 6);
    for attempt in &lab.world.attempts {
        assert_eq!(attempt.via.device, Some(device(usize::from(attempt.to.is_ipv6()))));
    }
}

#[test]
fn where_no_uplink_carries_the_family_there_is_a_reply() {
    let mut setup = Setup::new(2);
    setup.uplinks.iter_mut().for_each(|uplink| uplink.source_v4 = Some([10, 0, 0, 2].into()));
    let mut lab = setup.build();
    let who = asks(&mut lab, FAR6);
    lab.run_for(secs(1));
    assert_eq!(code(&lab, who), 3);
    assert_eq!(lab.refusals(), [Refusal::NoUplink]);
    lab.finish();
}

#[test]
fn with_all_uplinks_down_each_client_gets_a_reply_in_time() {
    for link in [Link::Broken(Fault::NoDevice), Link::Broken(Fault::NetworkDown), Link::BlackHole] {
        let mut lab = lab_with_echoes(3);
        (0..3).for_each(|i| lab.link(i, link));
        for _ in 0..5 {
            let who = asks(&mut lab, FAR);
            lab.run_for(secs(25));
            assert_ne!(code(&lab, who), 0, "{link:?}");
        }
        lab.finish();
    }
}

#[test]
fn loopback_and_foreign_networks_leave_unbound_and_an_uplinks_own_network_through_it() {
    let prefix = |ip: &str, bits| Prefix::new(ip.parse::<IpAddr>().expect("literal"), bits).expect("valid");
    let mut setup = Setup::new(3);
    setup.unbound = vec![prefix("172.17.0.0", 16)];
    setup.uplinks[2].networks.on_link = vec![prefix("192.0.2.0", 24)];
    let mut lab = setup.build();
    for (to, via) in [("127.0.0.1:99", None), ("172.17.0.5:99", None), (FAR, Some(device(2)))] {
        lab.serve(to, [Act::Echo]);
        for _ in 0..3 {
            assert_eq!(code_for(&mut lab, to), 0);
            assert_eq!(lab.world.attempts.last().map(|attempt| attempt.via.device), Some(via), "{to}");
        }
    }
}

#[test]
fn three_to_two_is_exact_over_any_five() {
    let mut setup = Setup::new(2);
    setup.uplinks[0].weight = 3;
    setup.uplinks[1].weight = 2;
    let mut lab = setup.build();
    lab.serve(FAR, [Act::Echo]);
    for _ in 0..10 {
        assert_eq!(code_for(&mut lab, FAR), 0);
    }
    let first: Vec<bool> = lab.world.attempts.iter().map(|a| a.via.device == Some(device(0))).collect();
    for five in first.windows(5) {
        assert_eq!(five.iter().filter(|first| **first).count(), 3, "{first:?}");
    }
}

// ---- those whose interface vanishes ----

#[test]
fn an_attempt_by_an_interface_that_vanishes_is_over_at_once() {
    let mut lab = lab_with_echoes(2);
    lab.link(0, Link::BlackHole);
    let who = asks(&mut lab, FAR);
    lab.run_for(ms(100));
    assert_eq!(lab.world.attempts.len(), 1, "another would begin after 250 ms");
    lab.input(Input::UplinkGone { uplink: UplinkId(0) });
    lab.run_for(ms(100));
    assert_eq!(code(&lab, who), 0);
    assert!(lab.world.attempts[0].closed.is_some());
    lab.finish();
}

#[test]
fn connections_by_an_interface_that_vanishes_are_reset_and_no_others() {
    let mut lab = lab_with_echoes(2);
    let all = [0, 1].map(|_| lab.client(connected([Act::AwaitEnd])));
    lab.run_for(secs(1));
    lab.input(Input::UplinkGone { uplink: UplinkId(1) });
    lab.run_for(secs(1));
    assert_eq!(all.map(|who| lab.end(who)), [End::Open, End::Reset]);
}
