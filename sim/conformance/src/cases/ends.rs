//! Ends, resets, and the end of the worker itself.

use crate::AnyRuntime;
use crate::client::{all, connect, dial, exactly, pattern, reset, visit};
use crate::proxy::{Proxy, eventually};
use crate::target::Target;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(600);

/// The client sends, ends its half, and the answer comes after a pause; small, and spliced.
pub(super) fn a_half_close_from_the_client_waits_for_its_answer(runtime: &AnyRuntime) {
    for (len, splice_after) in [(0, 2), (100, 2), (2 * MIB, 0), (2 * MIB, 1)] {
        let question = pattern(len, 4);
        let answer = pattern(MIB / 2, 5);
        let (expected, reply) = (question.clone(), answer.clone());
        let target = Target::new(move |mut stream| {
            let came = all(&mut stream)?;
            thread::sleep(PAUSE);
            stream.write_all(if came == expected { &reply } else { b"other bytes came" })
        });
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let mut stream = connect(proxy.address, target.address).expect("answered").open();
        stream.write_all(&question).expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("the tunnel is open");
        let came = all(&mut stream).expect("an orderly end");
        assert!(came == answer, "{len} bytes up, and {} came down", came.len());
        drop(stream);
        proxy.wait_for_sockets(0);
        proxy.finish();
    }
}

/// The target sends and ends its half; what the client says after a pause still arrives.
pub(super) fn a_half_close_from_the_target_lets_the_client_finish(runtime: &AnyRuntime) {
    for (len, splice_after) in [(0, 2), (100, 2), (2 * MIB, 0), (2 * MIB, 1)] {
        let first = pattern(len, 6);
        let last = pattern(MIB / 2, 7);
        let (tell, told) = mpsc::channel();
        let sent = first.clone();
        let target = Target::new(move |mut stream| {
            stream.write_all(&sent)?;
            stream.shutdown(Shutdown::Write)?;
            let came = all(&mut stream)?;
            tell.send(came).map_err(std::io::Error::other)
        });
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let mut stream = connect(proxy.address, target.address).expect("answered").open();
        let came = all(&mut stream).expect("an orderly end");
        assert!(came == first, "{} of {len} bytes came down", came.len());
        thread::sleep(PAUSE);
        stream.write_all(&last).expect("our half is open");
        stream.shutdown(Shutdown::Write).expect("our half is open");
        let came = told.recv_timeout(Duration::from_secs(5)).expect("the target has seen our end");
        assert!(came == last, "{} bytes came up", came.len());
        drop(stream);
        proxy.wait_for_sockets(0);
        proxy.finish();
    }
}

pub(super) fn a_targets_reset_reaches_the_client_as_a_reset(runtime: &AnyRuntime) {
    let target = Target::new(|mut stream| {
        exactly(&mut stream, 2)?;
        reset(stream);
        Ok(())
    });
    let proxy = Proxy::start(runtime);
    for _ in 0..5 {
        let mut stream = connect(proxy.address, target.address).expect("answered").open();
        stream.write_all(b"go").expect("it is taken");
        let error = stream.read(&mut [0]).expect_err("a reset is no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    proxy.wait_for_sockets(0);
    proxy.finish();
}

pub(super) fn a_clients_reset_reaches_the_target_as_a_reset(runtime: &AnyRuntime) {
    let (tell, told) = mpsc::channel();
    let target = Target::new(move |mut stream| {
        let end = all(&mut stream).map_err(|error| error.kind());
        tell.send(end).map_err(std::io::Error::other)
    });
    let proxy = Proxy::start(runtime);
    for _ in 0..5 {
        let mut stream = connect(proxy.address, target.address).expect("answered").open();
        stream.write_all(b"never mind").expect("it is taken");
        thread::sleep(Duration::from_millis(20));
        reset(stream);
        let end = told.recv_timeout(Duration::from_secs(5)).expect("the target sees an end");
        assert_eq!(end.expect_err("a reset is no end"), ErrorKind::ConnectionReset);
    }
    proxy.wait_for_sockets(0);
    proxy.finish();
}

/// What the target wrote before its reset has been delivered.
pub(super) fn the_last_bytes_before_a_reset_are_delivered(runtime: &AnyRuntime) {
    let target = Target::new(|mut stream| {
        exactly(&mut stream, 2)?;
        stream.write_all(&pattern(40_000, 8))?;
        reset(stream);
        Ok(())
    });
    let proxy = Proxy::start(runtime);
    for _ in 0..20 {
        let mut stream = connect(proxy.address, target.address).expect("answered").open();
        stream.write_all(b"go").expect("it is taken");
        let came = exactly(&mut stream, 40_000).expect("what was written arrives");
        assert!(came == pattern(40_000, 8));
        let error = stream.read(&mut [0]).expect_err("a reset is no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    proxy.wait_for_sockets(0);
    proxy.finish();
}

/// Ids are used again, sockets are closed, nothing piles up.
pub(super) fn five_hundred_short_connections_leave_nothing_behind(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let (at, to) = (proxy.address, echo.address);
    let visitors: Vec<_> =
        (0..10).map(|_| thread::spawn(move || (0..50).for_each(|_| visit(at, to)))).collect();
    for visitor in visitors {
        visitor.join().expect("each visit ends well");
    }
    proxy.wait_for_sockets(0);
    let found = proxy.found();
    assert!(found.highest.0 < 64 && found.highest.1 > 10, "ids are used again: {:?}", found.highest);
    assert_eq!(proxy.finish().counters.accepted, 500);
}

pub(super) fn a_drained_worker_finishes_what_is_open_and_refuses_the_rest(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let mut stream = connect(proxy.address, echo.address).expect("answered").open();
    proxy.drain();
    let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    let closed = eventually(Duration::from_secs(2), || TcpStream::connect(proxy.address).is_err_and(refused));
    assert!(closed, "connections are still taken");
    thread::sleep(Duration::from_millis(300));
    assert!(!proxy.has_ended(), "a connection is open");
    stream.write_all(b"still here").expect("it is taken");
    assert_eq!(exactly(&mut stream, 10).expect("it comes back"), b"still here");
    stream.shutdown(Shutdown::Write).expect("the tunnel is open");
    assert_eq!(all(&mut stream).expect("an orderly end"), b"");
    assert!(eventually(Duration::from_secs(2), || proxy.has_ended()), "nothing is open any more");
    proxy.finish();
    // And one with nothing open ends at once.
    Proxy::start(runtime).finish();
}

pub(super) fn a_stopped_worker_ends_in_the_middle(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let silent = dial(proxy.address).expect("it listens");
    let mut stream = connect(proxy.address, echo.address).expect("answered").open();
    stream.write_all(b"x").expect("it is taken");
    assert_eq!(exactly(&mut stream, 1).expect("it comes back"), b"x");
    proxy.stop();
    for mut stream in [stream, silent] {
        let end = stream.read(&mut [0]);
        let over = match &end {
            Ok(len) => *len == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(over, "the sockets went with the worker: {end:?}");
    }
}
