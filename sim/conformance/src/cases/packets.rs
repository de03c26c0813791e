//! Packets of TUN devices, through stand-ins: what the system does to them is done by the case.

use crate::ferry::{Ferry, Plan, TICK};
use crate::process::processor_time;
use crate::run::{End, Run};
use crate::tuns::{PLAIN, System, Tun, header};
use crate::{AnyRuntime, Listeners};
use ropewalk_core::machine::{Fault, TunConfiguration, TunId};
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A worker whose machine is a ferry.
struct Ferried {
    run: Run,
    plan: Plan,
}

impl Ferried {
    fn start(runtime: &AnyRuntime, plan: Plan, tuns: Vec<Tun>) -> Self {
        let pool = Pool::new(PoolConfig::default()).expect("a valid pool");
        let listeners = Listeners { tuns, ..Listeners::default() };
        Ferried { run: Run::start(runtime, Ferry::new(plan.clone()), listeners, pool), plan }
    }

    fn finish(self) -> End<Ferry> {
        self.run.finish(Ferry::new(self.plan))
    }
}

impl Deref for Ferried {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

/// One device, whose packets come back.
fn mirror(runtime: &AnyRuntime) -> (System, Ferried) {
    let (system, tun) = System::pair();
    (system, Ferried::start(runtime, Plan::ways(&[0]), vec![tun]))
}

/// `len` bytes that begin as an IPv4 packet does and differ by `tag`.
fn packet(len: usize, tag: u32) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|at| (at as u32 ^ tag) as u8).collect();
    packet[0] = 0x45;
    packet[4..8].copy_from_slice(&tag.to_be_bytes());
    packet
}

/// An IP packet of `len` bytes with a TCP header of 32 bytes behind `ip` bytes.
fn segments(ip: usize, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = if ip == 20 { 0x45 } else { 0x60 };
    packet[ip + 12] = 0x80;
    packet
}

pub(super) fn a_packet_comes_back_whole_and_alone(runtime: &AnyRuntime) {
    let (system, ferried) = mirror(runtime);
    let mut tag = 0;
    for _ in 0..20 {
        for len in [20, 21, 100, 576, 1280, 1500, 9000, 65_534, 65_535] {
            tag += 1;
            system.send(&packet(len, tag));
            assert!(system.hear_plain() == packet(len, tag), "a packet of {len} bytes");
        }
    }
    assert!(system.rest(Duration::from_millis(100)).is_empty(), "no packet comes twice");
    let end = ferried.finish();
    assert_eq!((end.machine.taken.0, end.machine.given), (u64::from(tag), u64::from(tag)));
}

pub(super) fn packets_stay_in_order(runtime: &AnyRuntime) {
    const PACKETS: u32 = 5000;
    let (system, ferried) = mirror(runtime);
    let far = system.again();
    let sender = thread::spawn(move || {
        (0..PACKETS).for_each(|tag| far.send(&packet(40 + tag as usize * 7 % 1400, tag)));
    });
    for tag in 0..PACKETS {
        assert!(
            system.hear_plain() == packet(40 + tag as usize * 7 % 1400, tag),
            "expected packet {tag}, got another"
        );
    }
    sender.join().expect("all were taken");
    assert!(system.rest(Duration::from_millis(100)).is_empty(), "nothing more comes");
    assert_eq!(ferried.finish().machine.given, u64::from(PACKETS));
}

pub(super) fn two_devices_hear_each_their_own(runtime: &AnyRuntime) {
    let ((one, first), (two, second)) = (System::pair(), System::pair());
    let ferried = Ferried::start(runtime, Plan::ways(&[0, 1]), vec![first, second]);
    for tag in 0..200 {
        one.send(&packet(100, tag));
        two.send(&packet(200, tag));
        assert!(one.hear_plain() == packet(100, tag), "what is the first one's own");
        assert!(two.hear_plain() == packet(200, tag), "what is the second one's own");
    }
    ferried.finish();
}

pub(super) fn what_is_left_to_do_with_a_packet_is_told_both_ways(runtime: &AnyRuntime) {
    let (system, ferried) = mirror(runtime);
    let headers = [
        (segments(20, 9000), header(1, 1, [52, 1448, 20, 16])),
        (segments(20, 65_535), header(1, 1, [52, 1448, 20, 16])),
        (segments(40, 9000), header(1, 4, [72, 1428, 40, 16])),
        (segments(20, 9000), header(1, 5, [28, 1200, 20, 6])),
        (segments(20, 1000), header(1, 0, [0, 0, 20, 16])),
        (segments(20, 1000), PLAIN),
    ];
    for (packet, header) in &headers {
        system.send_with(header, packet);
        let (came, bytes) = system.hear();
        assert_eq!(came, *header, "{} bytes", packet.len());
        assert!(bytes == *packet, "the bytes behind {header:?}");
    }
    let end = ferried.finish();
    assert_eq!(end.machine.taken, (6, 4), "four of six are superpackets");
}

pub(super) fn a_header_that_cannot_be_true_costs_its_packet_only(runtime: &AnyRuntime) {
    let (system, ferried) = mirror(runtime);
    let nonsense = [
        (vec![0x45; 52], header(1, 1, [52, 0, 20, 16])),
        (segments(20, 52), header(1, 1, [52, 1448, 20, 16])),
        (vec![0x45; 30], header(1, 0, [0, 0, 20, 16])),
        (vec![0x45; 900], header(0, 3, [28, 1200, 0, 0])),
        (vec![0x45; 900], header(1, 5, [u16::MAX; 4])),
    ];
    for (tag, (bytes, header)) in (1..).zip(&nonsense) {
        system.send_with(header, bytes);
        let good = segments(20, 3000 + tag);
        let true_one = crate::tuns::header(1, 1, [52, 1448, 20, 16]);
        system.send_with(&true_one, &good);
        assert!(system.hear() == (true_one, good), "what comes after {header:?}");
    }
    // Not even a header.
    system.send_with(&[1, 1, 1], &[]);
    system.send(&packet(100, 1));
    assert!(system.hear_plain() == packet(100, 1));
    let end = ferried.finish();
    assert_eq!(end.machine.taken.0, nonsense.len() as u64 + 1);
}

pub(super) fn a_blocked_device_loses_nothing_and_costs_no_processor_time(runtime: &AnyRuntime) {
    const PACKETS: u32 = 2000;
    let (system, tun) = System::pair();
    let ferried = Ferried::start(runtime, Plan { room: 16, ..Plan::ways(&[0]) }, vec![tun]);
    let far = system.again();
    let sender = thread::spawn(move || (0..PACKETS).for_each(|tag| far.send(&packet(1400, tag))));
    // Nobody reads: the way back fills up, then the machine, then the way there.
    thread::sleep(Duration::from_millis(300));
    let before = ferried.found();
    let used = processor_time(Duration::from_secs(1));
    let now = ferried.found();
    println!("{used:?} of 1 s, {} looks, {} packets taken", now.looks - before.looks, now.taken.0);
    assert!(!sender.is_finished(), "the case shows nothing: all {PACKETS} packets were taken");
    assert!(now.looks - before.looks < 100, "the driver came back {} times", now.looks - before.looks);
    assert!(used < Duration::from_millis(50), "{used:?} of processor time in one second");
    for tag in 0..PACKETS {
        assert!(system.hear_plain() == packet(1400, tag), "expected packet {tag}, got another");
    }
    sender.join().expect("all were taken in the end");
    let end = ferried.finish();
    assert_eq!((end.machine.given, end.machine.lost), (u64::from(PACKETS), Vec::new()));
}

pub(super) fn a_machine_that_takes_nothing_costs_no_processor_time(runtime: &AnyRuntime) {
    const PACKETS: u32 = 20;
    let (system, tun) = System::pair();
    let rest = ropewalk_core::time::Duration::from_millis(1500);
    let ferried = Ferried::start(runtime, Plan { rest, ..Plan::ways(&[0]) }, vec![tun]);
    (0..PACKETS).for_each(|tag| system.send(&packet(1400, tag)));
    thread::sleep(Duration::from_millis(100));
    let before = ferried.found().looks;
    let used = processor_time(Duration::from_secs(1));
    let found = ferried.found();
    println!("{used:?} of 1 s, {} looks", found.looks - before);
    assert_eq!(found.taken.0, 0, "the machine takes nothing");
    assert!(found.looks - before < 100, "the driver came back {} times", found.looks - before);
    assert!(used < Duration::from_millis(50), "{used:?} of processor time in one second");
    for tag in 0..PACKETS {
        assert!(system.hear_plain() == packet(1400, tag), "expected packet {tag}, got another");
    }
    ferried.finish();
}

/// What comes from the second device is for the first, which is gone; the third one's comes back.
pub(super) fn a_device_that_is_gone_loses_by_name_and_harms_nobody(runtime: &AnyRuntime) {
    const PACKETS: u32 = 10;
    let [(one, first), (two, second), (three, third)] = [System::pair(), System::pair(), System::pair()];
    let ferried = Ferried::start(runtime, Plan::ways(&[0, 0, 2]), vec![first, second, third]);
    two.send(&packet(100, 0));
    assert!(one.hear_plain() == packet(100, 0));
    drop(one);
    for tag in 1..=PACKETS {
        two.send(&packet(100, tag));
        three.send(&packet(200, tag));
        assert!(three.hear_plain() == packet(200, tag), "the third goes on");
    }
    let gone =
        crate::run::eventually(Duration::from_secs(5), || ferried.found().given.0 > 2 * u64::from(PACKETS));
    assert!(gone, "all were given or lost: {:?}", ferried.found().given);
    let looks = ferried.found().looks;
    thread::sleep(Duration::from_millis(500));
    assert!(ferried.found().looks - looks < 50, "nothing is left to do");
    let machine = ferried.finish().machine;
    assert_eq!(machine.given, 1 + u64::from(PACKETS));
    let lost = machine.lost.iter().map(|(tun, _)| *tun);
    assert!(lost.eq([TunId(0); PACKETS as usize]), "lost by name: {:?}", machine.lost);
}

/// Its device takes all there is.
pub(super) fn who_always_has_more_to_give_starves_nobody(runtime: &AnyRuntime) {
    let ((sink, first), (system, second)) = (System::pair(), System::pair());
    let plan = Plan { endless: Some(TunId(0)), ..Plan::ways(&[0, 1]) };
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let drinker = thread::spawn(move || {
        sink.wait_for(Duration::from_millis(50));
        while !stop.load(Ordering::Relaxed) {
            sink.next();
        }
    });
    let ferried = Ferried::start(runtime, plan, vec![first, second]);
    let began = Instant::now();
    let mut took = Vec::new();
    for tag in 0..100 {
        let asked = Instant::now();
        system.send(&packet(100, tag));
        assert!(system.hear_plain() == packet(100, tag));
        took.push(asked.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    let lasted = began.elapsed();
    took.sort();
    let end = ferried.finish();
    done.store(true, Ordering::Relaxed);
    drinker.join().expect("it only reads");
    let (given, ticks) = (end.machine.given, end.machine.ticks);
    println!("{given} given, {ticks} ticks in {lasted:?}; half of the answers after {:?}", took[50]);
    assert!(given > 1000, "there was always more: {given}");
    assert!(took[50] < Duration::from_millis(15), "half of the answers took {:?}", took[50]);
    let due = lasted.as_millis() / TICK.as_millis();
    assert!(u128::from(ticks) > due / 2, "{ticks} ticks of {due}");
    assert!(end.found.latest.as_millis() < 150, "a timer was late by {:?}", end.found.latest);
}

pub(super) fn addresses_and_mtu_are_set_and_what_fails_is_told(runtime: &AnyRuntime) {
    let configuration = |number: u8, mtu| TunConfiguration {
        addresses: vec![([10, 77, 0, number].into(), 24), ([0xfd, 0, 0, 0, 0, 0, 0, 7].into(), 64)],
        mtu,
    };
    let configurations = vec![configuration(1, 1436), configuration(2, 65_535), configuration(3, 1280)];
    let heard: Arc<Mutex<Vec<TunConfiguration>>> = Arc::default();
    let set = Arc::clone(&heard);
    let (system, tun) = System::configured_by(Box::new(move |configuration| {
        set.lock().unwrap_or_else(PoisonError::into_inner).push(configuration.clone());
        if configuration.mtu > 9000 { Err(Fault::TooLarge) } else { Ok(()) }
    }));
    let plan = Plan { configurations: configurations.clone(), ..Plan::ways(&[0]) };
    let ferried = Ferried::start(runtime, plan, vec![tun]);
    for tag in 0..2 {
        system.send(&packet(100, tag));
        system.hear();
    }
    let end = ferried.finish();
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*heard, configurations);
    assert_eq!(end.machine.not_configured, [(TunId(0), Fault::TooLarge)]);
}

pub(super) fn random_bytes_come_at_once_and_are_never_the_same(runtime: &AnyRuntime) {
    let (system, tun) = System::pair();
    let ferried = Ferried::start(runtime, Plan { curious: true, ..Plan::ways(&[0]) }, vec![tun]);
    for tag in 0..10 {
        system.send(&packet(100, tag));
        system.hear();
    }
    let mut bytes = ferried.finish().machine.entropy;
    assert_eq!(bytes.len(), 11, "each question is answered");
    bytes.push([0; 32]);
    bytes.sort_unstable();
    bytes.dedup();
    assert_eq!(bytes.len(), 12, "no answer is another's, or zeros");
}

pub(super) fn a_drained_worker_closes_its_devices(runtime: &AnyRuntime) {
    let (system, ferried) = mirror(runtime);
    system.send(&packet(100, 1));
    assert!(system.hear_plain() == packet(100, 1));
    ferried.finish();
    assert!(system.is_closed(), "somebody holds the device");
}
