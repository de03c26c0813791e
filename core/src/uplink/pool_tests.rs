//! Who leaves by which uplink, and what the pool learns.

use super::*;
use crate::machine::event::DownReason;
use crate::machine::{ConnId, Device, Fault, HostKey, Report};
use alloc::vec;
use core::net::Ipv4Addr;

fn uplink(label: &str, weight: u32) -> UplinkConfig {
    UplinkConfig { weight, device: Device::new(label), ..UplinkConfig::new(label) }
}

fn pool(uplinks: Vec<UplinkConfig>) -> Pool {
    Pool::new(PoolConfig { uplinks, ..PoolConfig::default() }).expect("valid")
}

fn ask(pool: &mut Pool, now: Instant, to: &str, tried: &[u16]) -> Option<Option<u16>> {
    let mut set = UplinkSet::EMPTY;
    tried.iter().for_each(|t| set.insert(UplinkId(*t)));
    let destination = Some(to.parse().expect("literal"));
    let assign = Assign { conn: ConnId::from_parts(0, 0), destination, tried: set, host: HostKey::default() };
    pool.assign(now, &assign).map(|a| a.uplink.map(|u| u.0))
}

const FAR: &str = "192.0.2.1:80";

#[test]
fn weights_are_kept_over_all_connections() {
    let mut pool = pool(vec![uplink("a", 3), uplink("b", 2)]);
    let mut counts = [0; 2];
    for _ in 0..500 {
        let chosen = ask(&mut pool, Instant::ZERO, FAR, &[]).flatten().expect("two are up");
        counts[usize::from(chosen)] += 1;
    }
    assert_eq!(counts, [300, 200]);
}

#[test]
fn loopback_and_foreign_networks_leave_unbound_and_own_networks_through_their_uplink() {
    let on_link = Prefix::new("10.0.1.0".parse().expect("literal"), 24).expect("valid");
    let foreign = Prefix::new("172.17.0.0".parse().expect("literal"), 16).expect("valid");
    let networks = Networks { on_link: vec![on_link], ..Networks::default() };
    let b = UplinkConfig { networks, ..uplink("b", 1) };
    let config =
        PoolConfig { uplinks: vec![uplink("a", 1), b], unbound: vec![foreign], ..Default::default() };
    let mut pool = Pool::new(config).expect("valid");
    assert_eq!(ask(&mut pool, Instant::ZERO, "127.0.0.1:1", &[]), Some(None));
    assert_eq!(ask(&mut pool, Instant::ZERO, "[::1]:1", &[]), Some(None));
    assert_eq!(ask(&mut pool, Instant::ZERO, "[::ffff:127.0.0.1]:1", &[]), Some(None));
    assert_eq!(ask(&mut pool, Instant::ZERO, "172.17.0.9:1", &[]), Some(None));
    // Linux takes it for this host; a DNS filter answers with it for a host that it hides.
    for nowhere in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1"] {
        assert_eq!(ask(&mut pool, Instant::ZERO, nowhere, &[]), Some(None), "{nowhere}");
    }
    for _ in 0..3 {
        assert_eq!(ask(&mut pool, Instant::ZERO, "10.0.1.9:1", &[]), Some(Some(1)));
    }
    assert_eq!(ask(&mut pool, Instant::ZERO, "10.0.1.9:1", &[1]), None);
}

#[test]
fn a_backup_is_used_while_no_better_uplink_is_well_and_when_all_others_were_tried() {
    let backup = UplinkConfig { tier: 2, ..uplink("c", 9) };
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1), backup]);
    let probed = |pool: &mut Pool, uplink, result| {
        pool.report(Instant::ZERO, &Report::Probed { uplink: UplinkId(uplink), result, answered: false });
    };
    let all = |pool: &mut Pool| [(); 4].map(|()| ask(pool, Instant::ZERO, FAR, &[]).flatten());
    assert!(!all(&mut pool).contains(&Some(2)));
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[0, 1]), Some(Some(2)));
    (0..2).for_each(|_| probed(&mut pool, 0, Err(Fault::TimedOut)));
    assert_eq!(all(&mut pool), [Some(1); 4], "there is another of its tier");
    (0..2).for_each(|_| probed(&mut pool, 1, Err(Fault::TimedOut)));
    assert_eq!(all(&mut pool), [Some(2); 4]);
    probed(&mut pool, 1, Ok(Duration::ZERO));
    assert_eq!(all(&mut pool), [Some(1); 4]);
    let told: Vec<Event> = core::iter::from_fn(|| pool.poll_event()).collect();
    let left = |uplink| Event::ProbesFailed { uplink: UplinkId(uplink), failed: 2, fault: Fault::TimedOut };
    assert_eq!(told, [left(0), left(1), Event::UplinkUp { uplink: UplinkId(1) }]);
}

/// Four connections by uplink 0 to three hosts that are never answered, while uplink 1 is.
fn mute(pool: &mut Pool, now: Instant) {
    for host in [1, 2, 3, 3] {
        let to = Ipv4Addr::new(192, 0, 2, host).into();
        pool.report(now, &Report::Mute { uplink: UplinkId(0), to });
        pool.report(now, &traffic(1, 10, 10));
    }
    pool.report(now, &Report::Mute { uplink: UplinkId(0), to: Ipv4Addr::new(192, 0, 2, 1).into() });
}

fn traffic(uplink: u16, sent: u64, received: u64) -> Report {
    Report::Traffic { uplink: UplinkId(uplink), sent, received, over: Duration::from_secs(1) }
}

fn news(pool: &mut Pool) -> Vec<Event> {
    core::iter::from_fn(|| pool.poll_event()).collect()
}

#[test]
fn one_that_lets_all_connect_and_carries_nothing_is_left_and_comes_back_by_a_byte() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let second = |n| Instant::ZERO + Duration::from_secs(n);
    let connected = Report::Connected { uplink: UplinkId(0), took: Duration::from_millis(1) };
    mute(&mut pool, second(0));
    let why = DownReason::Mute { connections: 5 };
    let rest = |n| Duration::from_secs(n);
    assert_eq!(news(&mut pool), [Event::UplinkDown { uplink: UplinkId(0), why, rest: rest(5) }]);
    pool.report(second(1), &connected);
    // A probe that only connects proves nothing either.
    let result = Ok(Duration::ZERO);
    pool.report(second(1), &Report::Probed { uplink: UplinkId(0), result, answered: false });
    assert!((0..4).all(|_| ask(&mut pool, second(1), FAR, &[]) == Some(Some(1))), "that is no proof");
    // After its rest one connection tries it, and others do not wait for what becomes of that.
    let tried = |pool: &mut Pool, now| (0..6).filter(|_| ask(pool, now, FAR, &[]) == Some(Some(0))).count();
    assert_eq!(tried(&mut pool, second(5)), 1);
    pool.report(second(5), &connected);
    pool.report(second(10), &Report::Mute { uplink: UplinkId(0), to: Ipv4Addr::new(192, 0, 2, 9).into() });
    let why = DownReason::Mute { connections: 1 };
    assert_eq!(news(&mut pool), [Event::UplinkDown { uplink: UplinkId(0), why, rest: rest(10) }]);
    assert_eq!(tried(&mut pool, second(20)), 1);
    pool.report(second(21), &traffic(0, 1, 1));
    assert_eq!(news(&mut pool), [Event::UplinkUp { uplink: UplinkId(0) }]);
    assert_eq!(tried(&mut pool, second(21)), 3);
}

#[test]
fn an_uplink_whose_silent_servers_are_few_or_that_carries_beside_them_is_well() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let to = |host| Ipv4Addr::new(192, 0, 2, host).into();
    for n in 0..100 {
        let now = Instant::ZERO + Duration::from_secs(n);
        // Long polls to three hosts, and a page now and then.
        pool.report(now, &Report::Mute { uplink: UplinkId(0), to: to((n % 3) as u8) });
        pool.report(now, &traffic(1, 10, 10));
        if n % 3 == 0 {
            pool.report(now, &traffic(0, 10, 10));
        }
    }
    // Nobody is answered: the internet is down, not the uplink.
    for n in 0..100 {
        pool.report(Instant::ZERO, &Report::Mute { uplink: UplinkId(n % 2), to: to(n as u8) });
    }
    assert_eq!(news(&mut pool), []);
}

#[test]
fn an_uplink_at_its_cap_takes_no_more_until_its_account_begins_anew() {
    let capped = UplinkConfig { cap: Some(1000), ..uplink("a", 9) };
    let mut pool = pool(vec![capped, uplink("b", 1)]);
    pool.set_used(UplinkId(0), 400);
    pool.report(Instant::ZERO, &traffic(0, 300, 299));
    assert_eq!(news(&mut pool), []);
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[]), Some(Some(0)));
    pool.report(Instant::ZERO, &traffic(0, 1, 0));
    pool.report(Instant::ZERO, &traffic(0, 50, 50));
    assert_eq!(news(&mut pool), [Event::CapReached { uplink: UplinkId(0), cap: 1000 }], "told once");
    assert!((0..20).all(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(1))));
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[1]), None, "better a refusal than a bill");
    let account = *pool.accounts(Instant::ZERO).next().expect("two").1;
    assert!(account.is_spent());
    assert_eq!((account.used, account.sent), (1100, 351));
    pool.set_used(UplinkId(0), 0);
    assert_eq!(news(&mut pool), [Event::CapReset { uplink: UplinkId(0) }]);
    assert!((0..20).any(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(0))));
}

#[test]
fn attempts_under_way_count_as_connections_until_they_are_over() {
    let config = PoolConfig {
        policy: Policy::LeastConnections,
        uplinks: vec![uplink("a", 1), uplink("b", 1)],
        ..PoolConfig::default()
    };
    let mut pool = Pool::new(config).expect("valid");
    let a = UplinkId(0);
    pool.report(Instant::ZERO, &Report::Attempting { uplink: a });
    pool.report(Instant::ZERO, &Report::Attempting { uplink: a });
    assert!((0..4).all(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(1))));
    pool.report(Instant::ZERO, &Report::AttemptOver { uplink: a });
    pool.report(Instant::ZERO, &Report::Connected { uplink: a, took: Duration::ZERO });
    let account = *pool.accounts(Instant::ZERO).next().expect("two").1;
    assert_eq!((account.attempts, account.open), (0, 1));
    assert!((0..4).all(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(1))));
    pool.report(Instant::ZERO, &Report::Ended { uplink: a });
    assert!((0..4).any(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(0))));
}

#[test]
fn the_policy_chooses_within_the_best_tier_only() {
    for policy in Policy::ALL {
        let backup = UplinkConfig { tier: 2, ..uplink("c", 100) };
        let uplinks = vec![uplink("a", 1), uplink("b", 1), backup];
        let mut pool = Pool::new(PoolConfig { policy, uplinks, ..PoolConfig::default() }).expect("valid");
        for n in 0..50u8 {
            let assign = Assign {
                conn: ConnId::from_parts(0, 0),
                destination: Some(FAR.parse().expect("literal")),
                tried: UplinkSet::EMPTY,
                host: HostKey::of_ip(Ipv4Addr::new(203, 0, 113, n).into()),
            };
            let now = Instant::ZERO + Duration::from_secs(n.into());
            let chosen = pool.assign(now, &assign).and_then(|given| given.uplink);
            assert!(chosen.is_some_and(|uplink| uplink.0 < 2), "{policy}: {chosen:?}");
        }
        assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[0, 1]), Some(Some(2)), "{policy}");
    }
}

#[test]
fn a_family_without_a_source_is_passed_over() {
    let v4 = UplinkConfig { source_v4: Some(Ipv4Addr::new(10, 0, 0, 1)), ..uplink("a", 9) };
    let mut pool = pool(vec![v4, uplink("b", 1)]);
    assert_eq!(ask(&mut pool, Instant::ZERO, "[2001:db8::1]:80", &[]), Some(Some(1)));
    assert_eq!(ask(&mut pool, Instant::ZERO, "[2001:db8::1]:80", &[1]), None);
}

#[test]
fn an_interface_that_loses_its_address_is_passed_over_until_it_has_one_again() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let without = Networks { v4: false, ..Networks::default() };
    pool.set_networks(vec![without.clone(), Networks::default()], Vec::new());
    assert!((0..4).all(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(1))));
    assert!((0..4).any(|_| ask(&mut pool, Instant::ZERO, "[2001:db8::1]:80", &[]) == Some(Some(0))));
    pool.set_networks(vec![without.clone(), without], Vec::new());
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[]), None);
    pool.set_networks(vec![Networks::default(); 2], Vec::new());
    assert!((0..4).any(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(0))));
}

#[test]
fn an_interface_without_a_carrier_is_tried_when_no_other_uplink_is_left() {
    let backup = UplinkConfig { tier: 2, ..uplink("c", 1) };
    let mut pool = pool(vec![uplink("a", 9), uplink("b", 1), backup]);
    let (has, lost) = (Networks::default(), Networks { up: false, ..Networks::default() });
    pool.set_networks(vec![lost.clone(), has.clone(), has.clone()], Vec::new());
    let all =
        |pool: &mut Pool, tried: &[u16]| [(); 4].map(|()| ask(pool, Instant::ZERO, FAR, tried).flatten());
    assert_eq!(all(&mut pool, &[]), [Some(1); 4]);
    assert_eq!(pool.views(Instant::ZERO).map(|view| view.usable).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(all(&mut pool, &[1]), [Some(2); 4], "the backup comes before it");
    // So does one that rests.
    for _ in 0..3 {
        pool.report(Instant::ZERO, &Report::Outpaced { uplink: UplinkId(1) });
    }
    assert_eq!((all(&mut pool, &[2]), all(&mut pool, &[1, 2])), ([Some(1); 4], [Some(0); 4]));
    pool.set_networks(vec![lost; 3], Vec::new());
    assert_eq!(all(&mut pool, &[]), [Some(0); 4], "better a try than a refusal: it may be back in a second");
    pool.set_networks(vec![has; 3], Vec::new());
    assert_eq!(all(&mut pool, &[]), [Some(0); 4]);
}

#[test]
fn a_refusing_destination_never_hurts_an_uplink() {
    let mut pool = pool(vec![uplink("a", 1)]);
    for _ in 0..100 {
        pool.report(Instant::ZERO, &Report::Failed { uplink: UplinkId(0), fault: Fault::Refused });
    }
    assert_eq!(pool.poll_event(), None);
    assert_eq!(pool.accounts(Instant::ZERO).next().map(|(_, _, up)| up), Some(true));
}

#[test]
fn a_silent_uplink_rests_longer_each_time_and_comes_back_by_carrying() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let outpaced = Report::Outpaced { uplink: UplinkId(0) };
    let mut now = Instant::ZERO;
    (0..2).for_each(|_| pool.report(now, &outpaced));
    assert_eq!(pool.poll_event(), None);
    pool.report(now, &outpaced);
    assert!(matches!(pool.poll_event(), Some(Event::UplinkDown { rest, .. }) if rest.as_secs() == 5));
    assert!((0..4).all(|_| ask(&mut pool, now, FAR, &[]) == Some(Some(1))));
    assert_eq!(ask(&mut pool, now, FAR, &[1]), Some(Some(0)), "better a try than a refusal");
    now += Duration::from_secs(5);
    assert!((0..4).any(|_| ask(&mut pool, now, FAR, &[]) == Some(Some(0))));
    pool.report(now, &outpaced);
    assert!(matches!(pool.poll_event(), Some(Event::UplinkDown { rest, .. }) if rest.as_secs() == 10));
    now += Duration::from_secs(10);
    pool.report(now, &Report::Connected { uplink: UplinkId(0), took: Duration::from_millis(20) });
    assert_eq!(pool.poll_event(), Some(Event::UplinkUp { uplink: UplinkId(0) }));
    (0..2).for_each(|_| pool.report(now, &outpaced));
    assert_eq!(pool.poll_event(), None, "its record is clean again");
}

#[test]
fn an_uplink_that_stays_down_is_told_again_with_what_was_tried_until_it_carries() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let outpaced = Report::Outpaced { uplink: UplinkId(0) };
    let failed = Report::Failed { uplink: UplinkId(0), fault: Fault::NoRoute };
    let told = |pool: &mut Pool, second: u64, report: &Report| {
        pool.report(Instant::ZERO + Duration::from_secs(second), report);
        let mut told = Vec::new();
        while let Some(event) = pool.poll_event() {
            if let Event::UplinkStillDown { uplink: UplinkId(0), lasts, tried } = event {
                told.push((lasts.as_secs(), tried.outpaced, tried.failed, tried.fault));
            }
        }
        told
    };
    assert!((0..60).all(|_| told(&mut pool, 0, &outpaced).is_empty()));
    // The first three brought it down.
    assert_eq!(told(&mut pool, 60, &outpaced), [(60, 58, 0, None)]);
    assert_eq!(told(&mut pool, 179, &failed), []);
    assert_eq!(told(&mut pool, 180, &failed), [(180, 58, 2, Some(Fault::NoRoute))]);
    let carried = Report::Connected { uplink: UplinkId(0), took: Duration::from_millis(1) };
    assert_eq!(told(&mut pool, 181, &carried), []);
    assert_eq!(told(&mut pool, 9000, &failed), [], "a failure while it is well is none of it");
}

#[test]
fn a_vanished_device_is_left_at_once_and_tried_again_after_a_second() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    pool.report(Instant::ZERO, &Report::Failed { uplink: UplinkId(0), fault: Fault::NoDevice });
    assert!(matches!(pool.poll_event(), Some(Event::UplinkDown { .. })));
    assert!((0..4).all(|_| ask(&mut pool, Instant::ZERO, FAR, &[]) == Some(Some(1))));
    let later = Instant::ZERO + Duration::from_secs(1);
    assert!((0..4).any(|_| ask(&mut pool, later, FAR, &[]) == Some(Some(0))));
}

#[test]
fn a_slow_uplink_is_given_more_time() {
    let mut pool = pool(vec![uplink("a", 1)]);
    let assign = Assign {
        conn: ConnId::from_parts(0, 0),
        destination: Some(FAR.parse().expect("literal")),
        tried: UplinkSet::EMPTY,
        host: HostKey::default(),
    };
    let patience = |pool: &mut Pool| pool.assign(Instant::ZERO, &assign).expect("up").patience;
    assert_eq!(patience(&mut pool), Duration::from_millis(250));
    pool.report(Instant::ZERO, &Report::Connected { uplink: UplinkId(0), took: Duration::from_millis(200) });
    assert_eq!(patience(&mut pool), Duration::from_millis(600));
    pool.report(Instant::ZERO, &Report::Connected { uplink: UplinkId(0), took: Duration::from_secs(9) });
    assert_eq!(patience(&mut pool), Duration::from_secs(1));
}

#[test]
fn a_bad_configuration_is_named() {
    let many = (0..65).map(|i| uplink(&alloc::format!("u{i}"), 1)).collect();
    let config = |uplinks| PoolConfig { uplinks, ..PoolConfig::default() };
    assert_eq!(Pool::new(config(many)).err(), Some(PoolError::TooMany(65)));
    assert_eq!(Pool::new(config(vec![uplink("z", 0)])).err(), Some(PoolError::ZeroWeight("z".into())));
    let endpoint = UplinkConfig { endpoint: Some(FAR.parse().expect("literal")), ..uplink("e", 1) };
    let mixed = Pool::new(config(vec![uplink("a", 1), endpoint]));
    assert_eq!(mixed.err(), Some(PoolError::MixedEndpoints("e".into())));
}

#[test]
fn what_this_process_lacks_is_no_fault_of_an_endpoint() {
    for (fault, rests) in [
        (Fault::NoDescriptors, false),
        (Fault::NoMemory, false),
        (Fault::AddressInUse, false),
        (Fault::Refused, true),
        (Fault::TimedOut, true),
    ] {
        let endpoint = UplinkConfig { endpoint: Some(FAR.parse().expect("literal")), ..uplink("e", 1) };
        let mut pool = pool(vec![endpoint]);
        pool.report(Instant::ZERO, &Report::Failed { uplink: UplinkId(0), fault });
        let usable = pool.accounts(Instant::ZERO).map(|(.., usable)| usable).next();
        assert_eq!(usable, Some(!rests), "{fault:?}");
        assert_eq!(pool.poll_event().is_some(), rests, "{fault:?}");
    }
}

#[test]
fn other_uplinks_keep_ids_and_accounts_of_those_that_stay() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let config = |uplinks| PoolConfig { uplinks, ..PoolConfig::default() };
    let report = Report::Connected { uplink: UplinkId(1), took: Duration::from_millis(5) };
    pool.report(Instant::ZERO, &report);

    let ids = pool.reconfigure(config(vec![uplink("c", 1), uplink("b", 3)]));
    assert_eq!(ids, Ok(vec![UplinkId(2), UplinkId(1)]));
    let chosen: Vec<_> = (0..8).filter_map(|_| ask(&mut pool, Instant::ZERO, FAR, &[]).flatten()).collect();
    assert_eq!([0, 1, 2].map(|id| chosen.iter().filter(|c| **c == id).count()), [0, 6, 2]);
    let views: Vec<_> = pool.views(Instant::ZERO).map(|v| (v.label, v.retired, v.account.open)).collect();
    assert_eq!(views, [("a", true, 0), ("b", false, 1), ("c", false, 0)]);

    // One that comes back is the one that it was.
    assert_eq!(pool.reconfigure(config(vec![uplink("a", 1)])), Ok(vec![UplinkId(0)]));
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[]), Some(Some(0)));
    // Those that were taken out do not step in.
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[0]), None);
    // Without any, all leaves unbound.
    assert_eq!(pool.reconfigure(config(vec![])), Ok(vec![]));
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[]), Some(None));
}

#[test]
fn a_change_with_an_error_changes_nothing() {
    let mut pool = pool(vec![uplink("a", 1)]);
    let uplinks = vec![uplink("b", 1), uplink("c", 0)];
    let config = PoolConfig { uplinks, ..PoolConfig::default() };
    assert_eq!(pool.reconfigure(config), Err(PoolError::ZeroWeight("c".into())));
    let many = (0..UplinkSet::CAPACITY).map(|n| uplink(&alloc::format!("u{n}"), 1)).collect();
    let config = PoolConfig { uplinks: many, ..PoolConfig::default() };
    assert_eq!(pool.reconfigure(config), Err(PoolError::TooMany(UplinkSet::CAPACITY + 1)));
    assert_eq!(ask(&mut pool, Instant::ZERO, FAR, &[]), Some(Some(0)));
    assert_eq!(pool.views(Instant::ZERO).count(), 1);
}

#[test]
fn what_has_passed_by_an_uplink_is_in_its_account() {
    let mut pool = pool(vec![uplink("a", 1), uplink("b", 1)]);
    let of_a = UplinkId(0);
    let probed = |result| Report::Probed { uplink: of_a, result, answered: true };
    let took = Duration::from_millis(1);
    let mut reports = vec![Report::Attempting { uplink: of_a }; 6];
    reports.extend([Report::AttemptOver { uplink: of_a }; 2]);
    reports.extend([Report::Connected { uplink: of_a, took }; 3]);
    reports.extend([Report::Ended { uplink: of_a }; 2]);
    reports.extend([Report::Failed { uplink: of_a, fault: Fault::Refused }; 2]);
    reports.extend([Report::Outpaced { uplink: of_a }; 2]);
    reports.extend([probed(Ok(took)); 3]);
    reports.extend([probed(Err(Fault::TimedOut)); 2]);
    reports.extend([traffic(0, 5, 70); 2]);
    reports.iter().for_each(|report| pool.report(Instant::ZERO, report));
    let accounts: Vec<Account> = pool.accounts(Instant::ZERO).map(|(_, account, _)| *account).collect();
    let expected = Account {
        connected: 3,
        failed: 2,
        outpaced: 2,
        probes_passed: 3,
        probes_failed: 2,
        open: 1,
        sent: 10,
        received: 140,
        attempts: 1,
        used: 150,
        cap: None,
    };
    assert_eq!(accounts, [expected, Account::default()]);
}

#[test]
fn a_policy_and_the_address_of_a_proxy_are_those_that_were_set_last() {
    let proxy = |endpoint| UplinkConfig { endpoint, upstream: true, ..uplink("a", 1) };
    let at = |text: &str| Some(text.parse().expect("literal"));
    let mut pool = pool(vec![proxy(at("192.0.2.1:1080")), uplink("b", 1)]);
    assert_eq!(pool.policy(), Policy::RoundRobin);
    pool.set_endpoint(UplinkId(0), at("192.0.2.2:1080"));
    // One that is no proxy has none.
    pool.set_endpoint(UplinkId(1), at("192.0.2.3:1080"));
    pool.set_endpoint(UplinkId(9), at("192.0.2.3:1080"));
    assert_eq!([0, 1, 9].map(|id| pool.endpoint(UplinkId(id))), [at("192.0.2.2:1080"), None, None]);
    let uplinks = vec![proxy(at("192.0.2.4:1080"))];
    let config = PoolConfig { uplinks, policy: Policy::Sticky, ..PoolConfig::default() };
    assert_eq!(pool.reconfigure(config), Ok(vec![UplinkId(0)]));
    assert_eq!((pool.policy(), pool.endpoint(UplinkId(0))), (Policy::Sticky, at("192.0.2.4:1080")));
    assert_eq!((pool.label(UplinkId(0)), pool.label(UplinkId(7))), (Some("a"), None));
}
