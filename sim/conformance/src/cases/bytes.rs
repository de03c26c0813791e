//! Every byte arrives, in its order, at its place, once.

use crate::client::{all, connect, connect_with, dial, exactly, narrow, pattern, visit};
use crate::proxy::{Proxy, eventually};
use crate::target::Target;
use crate::{AnyRuntime, script};
use rustix::net::{SendFlags, send};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Reads in pieces of odd sizes, with pauses.
fn sip(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut buf) = (Vec::new(), vec![0; 70_001]);
    let mut size = 1;
    // The kernel's buffers fill before the first byte is taken.
    thread::sleep(Duration::from_millis(200));
    loop {
        match stream.read(&mut buf[..size])? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&buf[..len]),
        }
        size = (size * 7 + 3) % 70_001 + 1;
        if size % 5 == 0 {
            thread::sleep(Duration::from_micros(300));
        }
    }
}

/// Writes are cut short by a peer that takes little at a time, in both directions, copied and
/// spliced.
pub(super) fn large_data_in_small_writes_arrives_byte_for_byte(runtime: &AnyRuntime) {
    let bytes = pattern(12 * MIB, 1);
    for splice_after in [0, 2] {
        let source = Target::source(bytes.clone());
        let expected = bytes.clone();
        let taster = Target::new(move |mut stream| {
            narrow(&stream, 128 * 1024)?;
            let came = sip(&mut stream)?;
            stream.write_all(if came == expected { b"same" } else { b"else" })
        });
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let mut down = connect(proxy.address, source.address).expect("answered").open();
        narrow(&down, 128 * 1024).expect("a socket option");
        let came = sip(&mut down).expect("an orderly end");
        assert!(came == bytes, "down, splice_after {splice_after}: {} of {} bytes", came.len(), bytes.len());
        let mut up = connect(proxy.address, taster.address).expect("answered").open();
        up.write_all(&bytes).expect("the target takes it");
        up.shutdown(Shutdown::Write).expect("the tunnel is open");
        assert_eq!(all(&mut up).expect("an orderly end"), b"same", "up, splice_after {splice_after}");
        drop((down, up));
        let partial = proxy.found().partial;
        println!("splice_after {splice_after}: {partial} writes were cut short");
        assert!(splice_after > 0 || partial > 0, "no write was cut short: nothing was shown");
        proxy.wait_for_sockets(0);
        proxy.finish();
    }
}

/// The source stands still while the client does, and what waits in between is bounded.
pub(super) fn a_slow_reader_stops_its_source(runtime: &AnyRuntime) {
    for splice_after in [0, 1] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let bytes = pattern(48 * MIB, 2);
        let expected = bytes.clone();
        let source = Target::new(move |mut stream| {
            narrow(&stream, 128 * 1024)?;
            for chunk in bytes.chunks(16 * 1024) {
                stream.write_all(chunk)?;
                count.fetch_add(chunk.len(), Ordering::Relaxed);
            }
            stream.shutdown(Shutdown::Write)?;
            stream.read(&mut [0]).map(|_| ())
        });
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let mut client = connect(proxy.address, source.address).expect("answered").open();
        narrow(&client, 128 * 1024).expect("a socket option");
        let mut waiting = 0;
        let stands = eventually(Duration::from_secs(8), || {
            let before = std::mem::replace(&mut waiting, sent.load(Ordering::Relaxed));
            thread::sleep(Duration::from_millis(400));
            waiting > 0 && before == waiting
        });
        assert!(stands, "the source does not stand still: it has sent {waiting} bytes");
        // Most of it is with the kernel, at its two sockets: 16 MiB and 4 MiB by Linux's defaults.
        assert!(waiting < 32 * MIB, "{waiting} bytes wait in between");
        let (_, most) = proxy.found().in_hand;
        assert!(most <= 2 * MIB as i64, "{most} bytes wait in the worker");
        let came = all(&mut client).expect("an orderly end");
        assert!(came == expected, "{} of {} bytes", came.len(), expected.len());
        drop(client);
        proxy.finish();
    }
}

/// Bulk, then small messages, then bulk again and an end in the middle of each mode.
pub(super) fn splice_and_copy_carry_the_same(runtime: &AnyRuntime) {
    let bulk = pattern(4 * MIB, 3);
    for splice_after in [0, 1] {
        let echo = Target::echo();
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let mut stream = connect(proxy.address, echo.address).expect("answered").open();
        for round in 0..2 {
            let mut out = stream.try_clone().expect("descriptors are left");
            let copy = bulk.clone();
            let writer = thread::spawn(move || out.write_all(&copy));
            let came = exactly(&mut stream, bulk.len()).expect("it comes back");
            assert!(came == bulk, "splice_after {splice_after}, round {round}");
            writer.join().expect("no panic").expect("it is taken");
            for small in 0..20u8 {
                stream.write_all(&[small; 3]).expect("it is taken");
                assert_eq!(exactly(&mut stream, 3).expect("it comes back"), [small; 3]);
            }
        }
        let mut out = stream.try_clone().expect("descriptors are left");
        let copy = bulk.clone();
        let writer = thread::spawn(move || out.write_all(&copy).and_then(|()| out.shutdown(Shutdown::Write)));
        let came = all(&mut stream).expect("an orderly end");
        assert!(came == bulk, "splice_after {splice_after}: {} bytes before the end", came.len());
        writer.join().expect("no panic").expect("it is taken");
        let found = proxy.found();
        let spliced = found.inputs.get("Spliced").copied().unwrap_or_default();
        assert!(splice_after == 1 || spliced == 0, "spliced without being asked: {spliced}");
        println!("splice_after {splice_after}: {spliced} splices");
        drop(stream);
        proxy.finish();
    }
}

/// 50 connections, each with bytes of its own.
pub(super) fn many_at_once_are_not_mixed_up(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let (at, to) = (proxy.address, echo.address);
    let visitors: Vec<_> = (0..50u8)
        .map(|number| {
            thread::spawn(move || {
                let bytes = pattern(150_000 + usize::from(number) * 31, number.wrapping_mul(5));
                let mut stream = connect(at, to).expect("answered").open();
                let mut out = stream.try_clone().expect("descriptors are left");
                let copy = bytes.clone();
                let writer = thread::spawn(move || {
                    copy.chunks(7_001).try_for_each(|chunk| out.write_all(chunk))?;
                    out.shutdown(Shutdown::Write)
                });
                let came = all(&mut stream).expect("an orderly end");
                writer.join().expect("no panic").expect("it is taken");
                assert!(came == bytes, "connection {number}: {} of {} bytes", came.len(), bytes.len());
            })
        })
        .collect();
    for visitor in visitors {
        visitor.join().expect("a visitor found its own bytes");
    }
    proxy.wait_for_sockets(0);
    let ending = proxy.finish();
    assert_eq!(ending.counters.accepted, 50);
}

/// Greeting, request and payload in one segment; and a byte at a time.
pub(super) fn payload_in_the_segment_of_the_request_is_not_lost(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let mut stream = connect_with(proxy.address, echo.address, b"early bird").expect("answered").open();
    assert_eq!(exactly(&mut stream, 10).expect("it comes back"), b"early bird");
    stream.write_all(b", late bird").expect("it is taken");
    stream.shutdown(Shutdown::Write).expect("the tunnel is open");
    assert_eq!(all(&mut stream).expect("an orderly end"), b", late bird");

    let mut stream = dial(proxy.address).expect("it listens");
    let mut bytes = crate::client::request(&echo.address.into());
    bytes.extend_from_slice(b"by bytes");
    for byte in bytes {
        stream.write_all(&[byte]).expect("it is taken");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(exactly(&mut stream, 12 + 8).expect("it comes back")[12..], *b"by bytes");
    drop(stream);
    proxy.finish();
}

/// Connections that send nothing, connections reset in the backlog, and urgent bytes, which wake a
/// reader and at whose mark a read stops though more is there.
pub(super) fn wakes_without_data_break_nothing(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = 0);
    let silent: Vec<_> = (0..5).map(|_| dial(proxy.address).expect("it listens")).collect();
    let mut stream = connect(proxy.address, echo.address).expect("answered").open();
    for round in 0..40u8 {
        // tcp(7): the reader is woken for it. It comes in its place among the others
        // (SO_OOBINLINE).
        send(&stream, b"!", SendFlags::OOB).expect("it is taken");
        if round % 4 == 0 {
            crate::client::reset(dial(proxy.address).expect("it listens"));
        }
        stream.write_all(&[round; 100]).expect("it is taken");
        let echoed = exactly(&mut stream, 101).expect("it comes back");
        assert_eq!((echoed[0], &echoed[1..]), (b'!', &[round; 100][..]));
    }
    drop(silent);
    visit(proxy.address, echo.address);
    drop(stream);
    proxy.wait_for_sockets(0);
    proxy.finish();
}

/// Inputs and outputs, without ids, ports and times, are the same in each run and with each
/// runtime.
pub(super) fn one_connection_step_by_step_says_what_it_always_says(runtime: &AnyRuntime) {
    let lines = script::lines(runtime);
    if std::env::var_os("ROPEWALK_PRINT").is_some() {
        println!("{}", lines.join("\n"));
    }
    let expected: Vec<&str> = script::EXPECTED.lines().collect();
    let differs = lines.iter().zip(&expected).position(|(line, expected)| line != expected);
    assert!(
        differs.is_none() && lines.len() == expected.len(),
        "line {differs:?} of {} ({} expected): {:#?}",
        lines.len(),
        expected.len(),
        lines
    );
}
