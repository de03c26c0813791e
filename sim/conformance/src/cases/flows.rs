//! Datagram sockets that come and go.

use crate::AnyRuntime;
use crate::flows::{Flows, HERE, Peer};
use crate::process::{limit_descriptors, sockets};
use crate::run::eventually;
use ropewalk_core::machine::Fault;
use ropewalk_core::machine::event::{Event, FlowEnd};
use std::thread;
use std::time::Duration;

/// A question of `client`, and its answer.
fn visit(proxy: &Flows, client: &Peer, server: &Peer, text: &[u8]) {
    client.say(proxy.address, text);
    let came = server.hear();
    assert_eq!(came.bytes, text);
    server.send(came.from, text);
    assert_eq!(client.hear().bytes, text);
}

fn idle_after(runtime: &AnyRuntime, server: &Peer, millis: u64) -> Flows {
    Flows::with(runtime, HERE, server.address, |config| {
        config.flow_idle_timeout = ropewalk_core::time::Duration::from_millis(millis);
    })
}

pub(super) fn nobody_listens_and_then_somebody_does(runtime: &AnyRuntime) {
    let (server, client) = (Peer::on(HERE), Peer::on(HERE));
    let address = server.address;
    let proxy = Flows::start(runtime, &server);
    visit(&proxy, &client, &server, b"before");
    drop(server);
    for _ in 0..20 {
        client.say(proxy.address, b"to nobody");
    }
    proxy.wait_for(
        "nobody listens",
        |event| matches!(event, Event::FlowFault { fault: Fault::Refused, to, .. } if *to == address),
    );
    // None of them has reached a server.
    assert!(eventually(Duration::from_secs(5), || proxy.found().sent.0 >= 21), "{:?}", proxy.found().sent);
    let server = Peer::at(address);
    for round in 0..10 {
        visit(&proxy, &client, &server, &[round]);
    }
    assert_eq!(proxy.finish().opened, 1, "the flow has gone on");
}

pub(super) fn idle_flows_give_their_descriptors_back(runtime: &AnyRuntime) {
    const CLIENTS: usize = 20;
    let server = Peer::on(HERE);
    let clients: Vec<Peer> = (0..CLIENTS).map(|_| Peer::on(HERE)).collect();
    let proxy = idle_after(runtime, &server, 400);
    for _ in 0..2 {
        let before = sockets();
        for client in &clients {
            visit(&proxy, client, &server, b"hello");
        }
        if cfg!(target_os = "linux") {
            assert!(sockets() >= before + CLIENTS, "each flow has a socket");
        }
        proxy.wait_for_sockets(0);
        let idle = |event: &&Event| matches!(event, Event::FlowClosed { why: FlowEnd::Idle, .. });
        assert!(
            eventually(Duration::from_secs(5), || proxy.events().iter().filter(idle).count() % CLIENTS == 0),
            "all are idle"
        );
    }
    assert_eq!(proxy.finish().opened, 2 * CLIENTS as u64);
}

pub(super) fn a_drained_worker_ends_with_its_last_flow(runtime: &AnyRuntime) {
    let (server, old, new) = (Peer::on(HERE), Peer::on(HERE), Peer::on(HERE));
    let proxy = idle_after(runtime, &server, 600);
    visit(&proxy, &old, &server, b"before");
    proxy.drain();
    for round in 0..10 {
        new.say(proxy.address, b"too late");
        visit(&proxy, &old, &server, &[round]);
        thread::sleep(Duration::from_millis(100));
        assert!(!proxy.has_ended(), "a flow is open");
    }
    assert!(eventually(Duration::from_secs(5), || proxy.has_ended()), "it ends when the flow was idle");
    assert_eq!(server.rest(Duration::from_millis(100)), [], "nothing new was taken");
    let counters = proxy.finish();
    assert_eq!((counters.opened, counters.dropped), (1, 10));
}

/// There is room for one flow: each client pushes out the other's, to which its server still talks.
/// The next flow has the same place in the driver's table.
pub(super) fn late_events_of_closed_sockets_do_nothing(runtime: &AnyRuntime) {
    let server = Peer::on(HERE);
    let clients = [Peer::on(HERE), Peer::on(HERE)];
    let proxy = Flows::with(runtime, HERE, server.address, |config| config.max_flows = 1);
    let mut last = None;
    for round in 0..200u8 {
        let own = usize::from(round % 2);
        if let Some(flow) = last {
            (0..8).for_each(|_| server.send(flow, &[1 - own as u8]));
        }
        clients[own].say(proxy.address, &[round]);
        let came = server.hear();
        assert_eq!(came.bytes, [round]);
        last = Some(came.from);
    }
    for (own, client) in clients.iter().enumerate() {
        for came in client.rest(Duration::from_millis(150)) {
            assert_eq!(came.bytes, [own as u8], "what was for the other flow");
        }
    }
    let found = proxy.found();
    let counters = proxy.finish();
    assert_eq!((counters.opened, counters.evicted), (200, 199));
    println!("{} datagrams received for 200 flows", found.received.0);
}

pub(super) fn five_hundred_flows_are_not_mixed_up(runtime: &AnyRuntime) {
    limit_descriptors(None);
    let server = Peer::on(HERE);
    let clients: Vec<Peer> = (0..500).map(|_| Peer::on(HERE)).collect();
    let proxy = idle_after(runtime, &server, 3000);
    for round in 0..3 {
        let tags = (0..clients.len() as u32).map(|tag| tag.to_be_bytes());
        let clients: Vec<(&Peer, [u8; 4])> = clients.iter().zip(tags).collect();
        // No more at once than a small buffer of the server's holds.
        for clients in clients.chunks(50) {
            for (client, tag) in clients {
                client.say(proxy.address, tag);
            }
            for _ in clients {
                let came = server.hear();
                server.send(came.from, &came.bytes);
            }
        }
        for (client, tag) in &clients {
            assert_eq!(client.hear().bytes, *tag, "round {round}");
        }
    }
    let counters = proxy.finish();
    assert_eq!((counters.opened, counters.evicted, counters.dropped), (500, 0, 0));
}

pub(super) fn without_descriptors_a_flow_fails_and_the_next_stands(runtime: &AnyRuntime) {
    let (server, one, two) = (Peer::on(HERE), Peer::on(HERE), Peer::on(HERE));
    let proxy = Flows::start(runtime, &server);
    // What a runtime opens only when it is needed is open now.
    visit(&proxy, &one, &server, b"before");
    limit_descriptors(Some(0));
    two.say(proxy.address, b"no room");
    proxy.wait_for("the flow has failed", |event| {
        matches!(event, Event::FlowClosed { why: FlowEnd::Failed(Fault::NoDescriptors), .. })
    });
    visit(&proxy, &one, &server, b"meanwhile");
    limit_descriptors(None);
    visit(&proxy, &two, &server, b"after");
    proxy.finish();
}
