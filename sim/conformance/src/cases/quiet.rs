//! Waiting is free: no processor time is spent while nothing happens.

use crate::AnyRuntime;
use crate::client::{all, connect, dial, narrow, pattern, visit};
use crate::process::processor_time;
use crate::proxy::Proxy;
use crate::target::Target;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

/// Of one second.
const LITTLE: Duration = Duration::from_millis(50);

/// A driver may come back so often in that second.
const FEW: u64 = 100;

fn quiet(proxy: &Proxy, what: &str) {
    thread::sleep(Duration::from_millis(300));
    let before = proxy.found().looks;
    let used = processor_time(Duration::from_secs(1));
    let looks = proxy.found().looks - before;
    println!("{what}: {used:?} of 1 s, {looks} looks");
    assert!(looks < FEW, "{what}: the driver came back {looks} times in one second");
    assert!(used < LITTLE, "{what}: {used:?} of processor time in one second");
}

pub(super) fn idle_connections_cost_no_processor_time(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::start(runtime);
    let open: Vec<_> =
        (0..20).map(|_| connect(proxy.address, echo.address).expect("answered").open()).collect();
    let silent: Vec<_> = (0..5).map(|_| dial(proxy.address).expect("it listens")).collect();
    quiet(&proxy, "20 idle tunnels and 5 silent clients");
    drop((open, silent));
    proxy.wait_for_sockets(0);
    quiet(&proxy, "nobody is there");
    proxy.finish();
}

pub(super) fn a_blocked_write_costs_no_processor_time(runtime: &AnyRuntime) {
    let bytes = pattern(24 << 20, 9);
    for splice_after in [0, 1] {
        let source = Target::source(bytes.clone());
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let mut stream = connect(proxy.address, source.address).expect("answered").open();
        narrow(&stream, 128 * 1024).expect("a socket option");
        quiet(&proxy, "a client that does not read");
        assert!(all(&mut stream).expect("an orderly end") == bytes);
        drop(stream);
        proxy.finish();
    }
}

/// One end is there to be seen all the time.
pub(super) fn a_half_closed_stream_costs_no_processor_time(runtime: &AnyRuntime) {
    let target = Target::new(|mut stream| {
        stream.shutdown(Shutdown::Write)?;
        stream.read(&mut [0]).map(|_| ())
    });
    let sink = Target::sink();
    let waiting = Target::new(|stream| {
        thread::sleep(Duration::from_secs(3));
        drop(stream);
        Ok(())
    });
    let proxy = Proxy::start(runtime);
    let mut ended = connect(proxy.address, target.address).expect("answered").open();
    assert_eq!(ended.read(&mut [0]).expect("an orderly end"), 0);
    quiet(&proxy, "the target has ended its half");
    let mut ending = connect(proxy.address, sink.address).expect("answered").open();
    ending.write_all(b"all I say").expect("it is taken");
    let half = connect(proxy.address, waiting.address).expect("answered").open();
    half.shutdown(Shutdown::Write).expect("the tunnel is open");
    quiet(&proxy, "a client has ended its half");
    drop((ended, ending, half));
    proxy.wait_for_sockets(0);
    proxy.finish();
}

pub(super) fn a_full_worker_with_a_backlog_costs_no_processor_time(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let proxy = Proxy::with(runtime, |plan| plan.config.max_connections = 2);
    let open: Vec<_> =
        (0..2).map(|_| connect(proxy.address, echo.address).expect("answered").open()).collect();
    let waiting: Vec<_> = (0..5).map(|_| dial(proxy.address).expect("the backlog takes it")).collect();
    quiet(&proxy, "a backlog of 5 that is not served");
    drop((open, waiting));
    visit(proxy.address, echo.address);
    proxy.wait_for_sockets(0);
    proxy.finish();
}
