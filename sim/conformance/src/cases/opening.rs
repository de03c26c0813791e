//! Targets, names, and ways out.

use crate::AnyRuntime;
use crate::client::{all, connect, dial, exactly, request, reset, visit};
use crate::proxy::{Plan, Proxy};
use crate::target::{BlackHole, Target, nobody};
use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Device, Fault};
use ropewalk_core::uplink::UplinkConfig;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn a_refused_target_gives_05(runtime: &AnyRuntime) {
    let proxy = Proxy::start(runtime);
    for _ in 0..5 {
        let mut answer = connect(proxy.address, nobody()).expect("answered");
        assert_eq!(answer.code, 5);
        assert!(answer.took < Duration::from_secs(1), "took {:?}", answer.took);
        assert_eq!(all(&mut answer.stream).expect("an orderly end"), b"");
    }
    proxy.wait_for("the target refused", |event| {
        matches!(event, Event::AttemptFailed { fault: Fault::Refused, .. })
    });
    proxy.wait_for_sockets(0);
    proxy.finish();
}

pub(super) fn a_silent_target_gives_06_at_the_connect_deadline(runtime: &AnyRuntime) {
    let hole = BlackHole::new();
    let proxy = Proxy::with(runtime, |plan| plan.config.connect_timeout = Duration::from_millis(500));
    let answer = connect(proxy.address, hole.address).expect("answered");
    assert_eq!(answer.code, 6);
    let late = answer.took.checked_sub(Duration::from_millis(500));
    assert!(late.is_some_and(|late| late < Duration::from_millis(500)), "took {:?}", answer.took);
    drop(answer);
    proxy.wait_for_sockets(0);
    proxy.finish();
}

/// The attempt is given up, and its late outcome is ignored.
pub(super) fn a_client_that_leaves_while_its_target_is_silent_is_forgotten(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let hole = BlackHole::new();
    let proxy = Proxy::start(runtime);
    for _ in 0..5 {
        let mut stream = dial(proxy.address).expect("it listens");
        stream.write_all(&request(&hole.address.into())).expect("it is taken");
        thread::sleep(Duration::from_millis(60));
        reset(stream);
    }
    let left =
        |event: &Event| matches!(event, Event::Refused { why: Refusal::ClientFailed(Fault::Reset), .. });
    proxy.wait_for("the client has left", left);
    proxy.wait_for_sockets(0);
    // Attempts whose ids are used again while the kernel still tries the old ones.
    hole.open();
    for _ in 0..10 {
        visit(proxy.address, echo.address);
    }
    // A SYN is sent again after 1 s: what was given up would be open by then.
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(proxy.events().iter().filter(|event| left(event)).count(), 5);
    let ending = proxy.finish();
    let connected = ending.events.iter().filter(|event| matches!(event, Event::Connected { .. })).count();
    assert_eq!(connected, 10, "the visits and nobody else");
}

/// To the machine a name; to the system's resolver an address of this host, which needs no server
/// (inet_aton's short form). `localhost` would not be looked up.
const NAME: &str = "127.1";

pub(super) fn a_name_is_looked_up_and_reached(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let visitors: Vec<_> = (0..20)
        .map(|_| {
            let (at, port) = (proxy.address, echo.address.port());
            thread::spawn(move || visit(at, (NAME, port)))
        })
        .collect();
    for visitor in visitors {
        visitor.join().expect("each visit ends well");
    }
    proxy.finish();
}

/// An empty label is no name of the DNS: the system's resolver knows without asking anybody.
pub(super) fn a_name_that_does_not_exist_gives_04(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let mut answer = connect(proxy.address, ("no..such..host", 80)).expect("answered");
    assert_eq!(answer.code, 4);
    assert_eq!(all(&mut answer.stream).expect("an orderly end"), b"");
    visit(proxy.address, echo.address);
    drop(answer);
    proxy.wait_for_sockets(0);
    proxy.finish();
}

pub(super) fn clients_that_leave_while_their_names_are_looked_up_harm_nobody(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    for number in 0..200 {
        let mut stream = dial(proxy.address).expect("it listens");
        let name = format!("no..host{number}");
        stream.write_all(&request(&(name.as_str(), 80).into())).expect("it is taken");
        if number % 3 == 0 {
            thread::sleep(Duration::from_micros(300));
        }
        reset(stream);
    }
    visit(proxy.address, (NAME, echo.address.port()));
    proxy.wait_for_sockets(0);
    let ending = proxy.finish();
    let left = |event: &&Event| matches!(event, Event::Refused { why: Refusal::ClientFailed(_), .. });
    println!("{} left before their answer", ending.events.iter().filter(left).count());
}

fn endpoint(label: &str, to: SocketAddr) -> UplinkConfig {
    UplinkConfig { endpoint: Some(to), ..UplinkConfig::new(label) }
}

/// Loopback destinations leave unbound; an uplink with an endpoint binds whatever the address is.
fn tunnel(plan: &mut Plan, uplinks: Vec<UplinkConfig>) {
    plan.config.tunnel = true;
    plan.pool.uplinks = uplinks;
}

fn greet(proxy: &Proxy) {
    let mut stream = dial(proxy.address).expect("it listens");
    stream.write_all(b"hello").expect("it is taken");
    assert_eq!(exactly(&mut stream, 5).expect("it comes back"), b"hello");
}

fn no_device() -> Device {
    Device::new("rw-none0").expect("a device's name")
}

/// TEST-NET-1 (RFC 5737): of no host.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

fn passed_over(runtime: &AnyRuntime, bad: impl Fn(SocketAddr) -> UplinkConfig, fault: Fault) {
    let echo = Target::echo();
    let to = echo.address;
    let proxy = Proxy::with(runtime, |plan| tunnel(plan, vec![bad(to), endpoint("good", to)]));
    (0..6).for_each(|_| greet(&proxy));
    proxy.wait_for(
        "the binding failed",
        |event| matches!(event, Event::AttemptFailed { fault: why, .. } if *why == fault),
    );
    proxy.wait_for("the uplink is left", |event| matches!(event, Event::UplinkDown { .. }));
    proxy.wait_for_sockets(1);
    proxy.finish();
}

pub(super) fn a_device_that_does_not_exist_is_passed_over(runtime: &AnyRuntime) {
    let bad = |to| UplinkConfig { device: Some(no_device()), ..endpoint("bad", to) };
    passed_over(runtime, bad, Fault::NoDevice);
}

pub(super) fn a_source_address_of_another_host_is_passed_over(runtime: &AnyRuntime) {
    let bad = |to| UplinkConfig { source_v4: Some(FOREIGN), ..endpoint("bad", to) };
    passed_over(runtime, bad, Fault::AddressNotAvailable);
}

/// No byte leaves by another uplink than the assigned one.
pub(super) fn without_any_way_that_exists_the_client_is_let_go(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let to = echo.address;
    let proxy = Proxy::with(runtime, |plan| {
        let device = UplinkConfig { device: Some(no_device()), ..endpoint("device", to) };
        let source = UplinkConfig { source_v4: Some(FOREIGN), ..endpoint("source", to) };
        tunnel(plan, vec![device, source]);
    });
    let began = Instant::now();
    let mut stream = dial(proxy.address).expect("it listens");
    assert_eq!(all(&mut stream).expect("an orderly end"), b"");
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    drop(stream);
    proxy.wait_for_sockets(1);
    let ending = proxy.finish();
    assert!(!ending.events.iter().any(|event| matches!(event, Event::Connected { .. })));
}

/// On Linux all of 127.0.0.0/8 is this host's.
pub(super) fn a_bound_source_address_is_what_the_target_sees(runtime: &AnyRuntime) {
    let mirror = Target::mirror();
    let sources = if cfg!(target_os = "linux") { ["127.0.0.77", "127.0.0.78"] } else { ["127.0.0.1"; 2] };
    let proxy = Proxy::with(runtime, |plan| {
        let uplink = |source: &str| UplinkConfig {
            source_v4: Some(source.parse().expect("a literal")),
            ..endpoint(source, mirror.address)
        };
        tunnel(plan, sources.iter().map(|source| uplink(source)).collect());
    });
    let seen = |_| {
        let mut stream = dial(proxy.address).expect("it listens");
        String::from_utf8(all(&mut stream).expect("an orderly end")).expect("an address")
    };
    let seen: Vec<String> = (0..4).map(seen).collect();
    let count = |source: &str| seen.iter().filter(|seen| *seen == source).count();
    let share = if sources[0] == sources[1] { 4 } else { 2 };
    assert!(sources.iter().all(|source| count(source) == share), "the target saw {seen:?}");
    proxy.wait_for_sockets(0);
    proxy.finish();
}

pub(super) fn a_bound_device_carries(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let lo = if cfg!(target_os = "linux") { "lo" } else { "lo0" };
    let proxy = Proxy::with(runtime, |plan| {
        let uplink = UplinkConfig { device: Device::new(lo), ..endpoint("lo", echo.address) };
        tunnel(plan, vec![uplink]);
    });
    (0..3).for_each(|_| greet(&proxy));
    // A runtime may keep the socket with which it asks for routes.
    proxy.wait_for_sockets(1);
    let ending = proxy.finish();
    assert!(!ending.events.iter().any(|event| matches!(event, Event::AttemptFailed { .. })));
}
