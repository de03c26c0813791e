//! One worker, many duties: none at the cost of another.

use crate::client::{all, dial, pattern};
use crate::endless::{EndlessSender, TICK};
use crate::flows::{Flows, HERE, Peer};
use crate::process::processor_time;
use crate::run::Run;
use crate::target::Target;
use crate::{AnyRuntime, Listeners};
use ropewalk_core::machine::Target as Server;
use ropewalk_core::unwrap::{Listener, emit};
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Its sink does not read either.
pub(super) fn who_always_has_more_to_send_starves_nobody(runtime: &AnyRuntime) {
    let (sink, client) = (Peer::on(HERE), Peer::on(HERE));
    let listener = (runtime.listen_datagrams)((HERE, 0).into()).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let listeners = Listeners { datagrams: vec![listener], ..Listeners::default() };
    let pool = Pool::new(PoolConfig::default()).expect("a valid pool");
    let run = Run::start(runtime, EndlessSender::new(sink.address), listeners, pool);
    let began = Instant::now();
    sink.hear();
    let mut took = Vec::new();
    for round in 0..100u8 {
        let asked = Instant::now();
        client.send(address, &[round]);
        assert_eq!(client.hear().bytes, [round]);
        took.push(asked.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    let lasted = began.elapsed();
    took.sort();
    let end = run.finish(EndlessSender::new(sink.address));
    let EndlessSender { sent, failed, ticks, .. } = end.machine;
    println!(
        "{sent} sent, {failed} failed, {ticks} ticks in {lasted:?}; answers after {:?} to {:?}, half of \
         them {:?}",
        took[0], took[99], took[50]
    );
    assert!(sent > 1000, "there was always more: {sent}");
    assert_eq!(failed, sent / 64, "each that is too large is told, and no other");
    assert!(took[50] < Duration::from_millis(15), "half of the answers took {:?}", took[50]);
    let due = lasted.as_millis() / TICK.as_millis();
    assert!(u128::from(ticks) > due / 2, "{ticks} ticks of {due}");
    assert!(end.found.latest.as_millis() < 150, "a timer was late by {:?}", end.found.latest);
}

pub(super) fn streams_and_datagrams_run_side_by_side(runtime: &AnyRuntime) {
    let echo = Target::echo();
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::with(runtime, HERE, server.address, |config| {
        config.listeners.push(Listener {
            address: (HERE, 0).into(),
            allowed: Arc::clone(&config.datagram_listeners[0].allowed),
            target_v4: Some(Server::Address(echo.address)),
            target_v6: None,
            to_header: None,
        });
    });
    let bytes = pattern(32 << 20, 5);
    let mut stream = dial(proxy.streams[0]).expect("it listens");
    stream.write_all(&emit::v2_local(&[])).expect("it is taken");
    let mut reader = stream.try_clone().expect("descriptors are left");
    let sent = bytes.clone();
    let writer = thread::spawn(move || {
        stream.write_all(&sent).expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("the tunnel is open");
    });
    let bulk = thread::spawn(move || all(&mut reader).expect("an orderly end"));
    let mut during = 0;
    for round in 0..300u32 {
        client.say(proxy.address, &round.to_be_bytes());
        let came = server.hear();
        assert_eq!(came.bytes, round.to_be_bytes());
        server.send(came.from, &came.bytes);
        assert_eq!(client.hear().bytes, round.to_be_bytes());
        during += u32::from(!bulk.is_finished());
    }
    writer.join().expect("all was written");
    assert!(bulk.join().expect("all was read") == bytes, "the stream's bytes came back");
    println!("{during} of 300 answers came while the stream ran");
    assert!(during > 10, "the case shows nothing: {during} answers while the stream ran");
    let counters = proxy.finish();
    assert_eq!((counters.sent, counters.received, counters.dropped), (300, 300, 0));
}

pub(super) fn idle_flows_cost_no_processor_time(runtime: &AnyRuntime) {
    let server = Peer::on(HERE);
    let clients: Vec<Peer> = (0..20).map(|_| Peer::on(HERE)).collect();
    let proxy = Flows::with(runtime, HERE, server.address, |config| {
        config.flow_idle_timeout = ropewalk_core::time::Duration::from_millis(3000);
    });
    for client in &clients {
        client.say(proxy.address, b"hello");
        let came = server.hear();
        server.send(came.from, b"hello");
        client.hear();
    }
    // For half of them the last event was "connection refused".
    drop(server);
    clients[..10].iter().for_each(|client| client.say(proxy.address, b"to nobody"));
    thread::sleep(Duration::from_millis(300));
    let before = proxy.found().looks;
    let used = processor_time(Duration::from_secs(1));
    let looks = proxy.found().looks - before;
    println!("{used:?} of 1 s, {looks} looks");
    assert!(looks < 100, "the driver came back {looks} times in one second");
    assert!(used < Duration::from_millis(50), "{used:?} of processor time in one second");
    proxy.finish();
}
