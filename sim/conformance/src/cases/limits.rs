//! What happens at the limits.

use crate::AnyRuntime;
use crate::client::{answer, connect, dial, exactly, impatient, is_deadline, request, visit};
use crate::process::{limit_descriptors, processor_time, skip};
use crate::proxy::Proxy;
use crate::target::Target;
use ropewalk_core::machine::Fault;
use ropewalk_core::machine::event::Event;
use rustix::net::{AddressFamily, SocketType, socket};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn at_the_connection_limit_the_next_waits_until_one_ends(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::with(runtime, |plan| plan.config.max_connections = 3);
    let mut open: Vec<_> =
        (0..3).map(|_| connect(proxy.address, echo.address).expect("answered").open()).collect();
    proxy.wait_for("the limit is reached", |event| matches!(event, Event::ConnectionLimit { limit: 3 }));
    let began = Instant::now();
    let mut next = dial(proxy.address).expect("the backlog takes it");
    next.write_all(&request(&echo.address.into())).expect("the kernel takes it");
    next.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
    let error = next.read(&mut [0]).expect_err("it waits");
    assert!(is_deadline(&error), "{error}");
    impatient(&next).expect("a socket option");
    drop(open.pop());
    let next = answer(next, began).expect("it is served now").open();
    drop((open, next));
    for _ in 0..5 {
        visit(proxy.address, echo.address);
    }
    proxy.wait_for_sockets(0);
    assert_eq!(proxy.finish().counters.accepted, 9);
}

/// The clients have their descriptors before the limit falls; four are left for the worker.
pub(super) fn without_descriptors_accepting_pauses_and_goes_on_later(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    // What a runtime opens only when it is needed is open now.
    visit(proxy.address, echo.address);
    visit(proxy.address, echo.address);
    proxy.wait_for_sockets(0);
    let made = |_| socket(AddressFamily::INET, SocketType::STREAM, None).expect("descriptors are left");
    let made: Vec<_> = (0..12).map(made).collect();
    limit_descriptors(Some(4));
    for socket in &made {
        rustix::net::connect(socket, &proxy.address).expect("the backlog takes it");
    }
    proxy.wait_for("accepting pauses", |event| {
        matches!(event, Event::AcceptPaused { fault: Fault::NoDescriptors, .. })
    });
    let before = proxy.found().inputs.get("AcceptFailed").copied().unwrap_or_default();
    let used = processor_time(Duration::from_secs(1));
    let tried = proxy.found().inputs.get("AcceptFailed").copied().unwrap_or_default() - before;
    println!("{used:?} of processor time, {tried} accepts failed in 1 s");
    assert!(used < Duration::from_millis(50), "{used:?} of processor time in one second");
    assert!((3..=20).contains(&tried), "{tried} accepts were tried in a second");
    limit_descriptors(None);
    for socket in made {
        let began = Instant::now();
        let mut stream = TcpStream::from(socket);
        impatient(&stream).expect("a socket option");
        stream.write_all(&request(&echo.address.into())).expect("it is taken");
        answer(stream, began).expect("it is served now").open();
    }
    proxy.wait_for_sockets(0);
    assert_eq!(proxy.finish().counters.accepted, 14);
}

/// Beside it there are one that reads slowly and one that is idle: nothing happens to either. What
/// is kept for the slow one is too much all the time.
pub(super) fn who_reads_nothing_ends_when_the_system_keeps_too_much(runtime: &AnyRuntime) {
    const LIMIT: u64 = 100_000;
    let spring = Target::new(|mut stream| {
        loop {
            stream.write_all(&[7; 64 * 1024])?;
        }
    });
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    if !proxy.can_measure() {
        return skip("a runtime that tells what the system keeps (Running::measuring)");
    }
    let stalled = connect(proxy.address, spring.address).expect("answered").open();
    let mut slow = connect(proxy.address, spring.address).expect("answered").open();
    let mut idle = connect(proxy.address, echo.address).expect("answered").open();
    let enough = Arc::new(AtomicBool::new(false));
    let has_enough = Arc::clone(&enough);
    let reader = thread::spawn(move || -> std::io::Result<()> {
        let mut buf = vec![0; 256 * 1024];
        while !has_enough.load(Ordering::Relaxed) {
            slow.read_exact(&mut buf)?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    proxy.measure(u64::MAX);
    // A stall is a second without a byte.
    thread::sleep(Duration::from_millis(1500));
    proxy.measure(LIMIT);
    proxy.wait_for("who stands still has ended", |event| {
        matches!(event, Event::SocketMemory { limit: LIMIT, ended: 1, .. })
    });
    // What was on its way comes first; it is less than that.
    let error = (&stalled).take(64 << 20).read_to_end(&mut Vec::new()).expect_err("it is reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    idle.write_all(b"ping").expect("the tunnel is open");
    assert_eq!(exactly(&mut idle, 4).expect("it is left alone"), b"ping");

    let began = Instant::now();
    let mut next = dial(proxy.address).expect("the backlog takes it");
    next.write_all(&request(&echo.address.into())).expect("the kernel takes it");
    next.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
    let error = next.read(&mut [0]).expect_err("it waits for room");
    assert!(is_deadline(&error), "{error}");
    impatient(&next).expect("a socket option");
    proxy.measure(u64::MAX);
    let next = answer(next, began).expect("there is room again").open();
    proxy.measure(u64::MAX);

    enough.store(true, Ordering::Relaxed);
    reader.join().expect("it has not panicked").expect("who reads is left alone");
    drop((idle, next, stalled));
    proxy.wait_for_sockets(0);
    let ending = proxy.finish();
    assert_eq!(ending.found.inputs.get("SocketMemory"), Some(&2), "too much, and room again");
}
