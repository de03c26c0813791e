//! TCP, from the header to the relay: port conflicts, servers that do not answer, and clients that
//! do not wait.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Close, Fault, Input, StreamId, Target, UplinkId};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, PortConflict};
use util::hand::{BALANCER, Hand, LISTEN, SERVER_V4, tcp};
use util::{addr, ms, secs};

const CLIENT: &str = "192.0.2.1:5000";

const CONFLICTS: [Fault; 3] = [Fault::AddressInUse, Fault::AddressNotAvailable, Fault::PermissionDenied];

fn named(client: &str) -> Vec<u8> {
    emit::v2(addr(client), addr(LISTEN), Transport::Stream, &[], false)
}

fn ephemeral() -> Config {
    Config { on_port_conflict: PortConflict::Ephemeral, ..tcp() }
}

/// A client whose server is being connected to: its stream, and the attempt's.
fn opening(config: Config) -> (Hand, StreamId, StreamId) {
    let mut hand = Hand::new(config);
    let client = hand.arrives(BALANCER, &[&named(CLIENT)[..], b"early"].concat());
    let server = hand.only_connect().stream;
    (hand, client, server)
}

/// Nothing is left of it, now and later.
#[track_caller]
fn gone(hand: &mut Hand, client: StreamId, how: Close) {
    assert_eq!(hand.how_closed(client), Some(how));
    let closed = hand.closed.len();
    hand.advance(secs(3600));
    assert_eq!(hand.closed.len(), closed);
    let machine = hand.machine.machine();
    assert_eq!((machine.counters().open, machine.buffers_taken()), (0, 0));
    assert!(hand.streams.values().all(Option::is_some), "streams are left: {:?}", hand.streams);
}

// ---- ports ----

#[test]
fn where_its_port_cannot_be_had_a_client_is_refused() {
    for fault in CONFLICTS {
        let (mut hand, client, server) = opening(tcp());
        hand.connect_failed(server, fault);
        assert_eq!(hand.refusals(), [Refusal::PortConflict(fault)]);
        assert_eq!(hand.connects.len(), 1);
        gone(&mut hand, client, Close::Reset);
    }
}

#[test]
fn where_its_port_cannot_be_had_and_another_will_do_it_gets_another() {
    for fault in CONFLICTS {
        let (mut hand, client, server) = opening(Config { mark: Some(5), ..ephemeral() });
        hand.connect_failed(server, fault);
        assert_eq!(hand.connects.len(), 2);
        let again = hand.connects[1].clone();
        assert_eq!(again.to, Target::Address(addr(SERVER_V4)));
        assert_eq!((again.via.transparent, again.via.mark), (Some(addr("192.0.2.1:0")), Some(5)));
        let told = |event: &Event| matches!(event, Event::PortChanged { client, fault: Some(why), .. } if *client == addr(CLIENT) && *why == fault);
        assert_eq!(hand.events.iter().filter(|event| told(event)).count(), 1, "{:?}", hand.events);
        hand.connected(again.stream);
        assert_eq!(hand.written(again.stream), b"early");
        assert_eq!(hand.how_closed(client), None);
    }
}

#[test]
fn there_is_one_retry_and_no_more() {
    for (fault, next) in CONFLICTS.into_iter().flat_map(|one| CONFLICTS.map(|two| (one, two))) {
        let (mut hand, client, server) = opening(ephemeral());
        hand.connect_failed(server, fault);
        hand.connect_failed(hand.connects[1].stream, next);
        assert_eq!((hand.connects.len(), hand.refusals()), (2, vec![Refusal::Unreachable(next)]));
        gone(&mut hand, client, Close::Reset);
    }
}

#[test]
fn other_faults_are_no_reason_for_another_port() {
    for fault in [Fault::Refused, Fault::TimedOut, Fault::NoDescriptors, Fault::Unsupported, Fault::Other(22)]
    {
        let (mut hand, client, server) = opening(ephemeral());
        hand.connect_failed(server, fault);
        assert_eq!((hand.connects.len(), hand.refusals()), (1, vec![Refusal::Unreachable(fault)]));
        gone(&mut hand, client, Close::Reset);
    }
}

#[test]
fn port_0_is_refused_or_told() {
    let mut hand = Hand::new(tcp());
    let client = hand.arrives(BALANCER, &named("192.0.2.1:0"));
    assert_eq!((hand.refusals(), hand.connects.len()), (vec![Refusal::NoPort], 0));
    gone(&mut hand, client, Close::Reset);

    let mut hand = Hand::new(ephemeral());
    let client = hand.arrives(BALANCER, &named("192.0.2.1:0"));
    let asked = hand.only_connect();
    assert_eq!(asked.via.transparent, Some(addr("192.0.2.1:0")));
    assert!(hand.events.iter().any(|event| matches!(event, Event::PortChanged { fault: None, .. })));
    // It had no port of its own to lose: no retry.
    hand.connect_failed(asked.stream, Fault::AddressInUse);
    assert_eq!(hand.connects.len(), 1);
    gone(&mut hand, client, Close::Reset);
}

#[test]
fn a_retry_does_not_begin_the_deadline_anew() {
    let (mut hand, client, server) = opening(Config { connect_timeout: secs(4), ..ephemeral() });
    hand.advance(secs(3));
    hand.connect_failed(server, Fault::AddressInUse);
    hand.advance(ms(999));
    assert_eq!(hand.how_closed(client), None);
    hand.advance(ms(1));
    assert_eq!(hand.refusals(), [Refusal::Unreachable(Fault::TimedOut)]);
    assert_eq!(hand.how_closed(hand.connects[1].stream), Some(Close::Reset));
    gone(&mut hand, client, Close::Reset);
}

// ---- servers ----

#[test]
fn a_server_that_does_not_answer_is_given_up_at_the_deadline() {
    let (mut hand, client, server) = opening(tcp());
    hand.advance(ms(9_999));
    assert_eq!((hand.how_closed(client), hand.how_closed(server)), (None, None));
    hand.advance(ms(1));
    assert_eq!(hand.refusals(), [Refusal::Unreachable(Fault::TimedOut)]);
    assert_eq!(hand.how_closed(server), Some(Close::Reset), "the attempt is given up");
    gone(&mut hand, client, Close::Reset);
}

#[test]
fn a_server_that_was_down_is_reached_when_it_is_up_again() {
    let mut hand = Hand::new(tcp());
    for _ in 0..3 {
        let client = hand.arrives(BALANCER, &named(CLIENT));
        hand.connect_failed(hand.connects.last().expect("asked").stream, Fault::Refused);
        assert_eq!(hand.how_closed(client), Some(Close::Reset));
    }
    let client = hand.arrives(BALANCER, &named(CLIENT));
    let server = hand.connects.last().expect("asked").stream;
    hand.connected(server);
    hand.read(server, b"back");
    assert_eq!(hand.written(client), b"back");
    assert_eq!(hand.refusals(), [Refusal::Unreachable(Fault::Refused); 3]);
}

// ---- clients that do not wait ----

#[test]
fn a_client_that_fails_while_its_server_is_connected_to_takes_the_attempt_with_it() {
    for write in [false, true] {
        let (mut hand, client, server) = opening(tcp());
        hand.input(match write {
            true => Input::WriteFailed { stream: client, fault: Fault::Reset },
            false => Input::Failed { stream: client, fault: Fault::Reset },
        });
        assert_eq!(hand.refusals(), [Refusal::ClientFailed(Fault::Reset)]);
        assert_eq!(hand.how_closed(server), Some(Close::Reset));
        gone(&mut hand, client, Close::Reset);
        // The answer that was on its way.
        hand.connected(server);
        hand.connect_failed(server, Fault::AddressInUse);
        assert_eq!((hand.connects.len(), hand.closed.len()), (1, 2));
    }
}

#[test]
fn a_client_that_fails_within_its_header_is_closed() {
    let mut hand = Hand::new(tcp());
    let client = hand.arrives(BALANCER, &named(CLIENT)[..9]);
    hand.input(Input::Failed { stream: client, fault: Fault::Reset });
    assert_eq!(hand.refusals(), [Refusal::ClientFailed(Fault::Reset)]);
    gone(&mut hand, client, Close::Reset);
}

#[test]
fn a_client_that_has_ended_its_half_while_connecting_is_served_to_the_end() {
    let (mut hand, client, server) = opening(tcp());
    assert!(!hand.wants_read(client), "the end is not looked for yet");
    hand.connected(server);
    assert_eq!(hand.written(server), b"early");
    hand.input(Input::ReadClosed { stream: client });
    assert_eq!(hand.shut, [server]);
    hand.read(server, b"answer");
    assert_eq!(hand.written(client), b"answer");
    hand.input(Input::ReadClosed { stream: server });
    gone(&mut hand, client, Close::Graceful);
}

// ---- what comes too late ----

proptest! {
    #![proptest_config(util::cases(200))]

    #[test]
    fn inputs_with_dead_or_unknown_ids_change_nothing(
        inputs in proptest::collection::vec((0usize..9, 0usize..6, 1usize..9), 1..40),
        stage in 0usize..3,
    ) {
        let (mut hand, client, server) = opening(tcp());
        if stage > 0 {
            hand.connected(server);
            hand.written(server);
        }
        let dead: Vec<StreamId> = [client, server]
            .into_iter()
            .flat_map(|id| [1, 2].map(|more| StreamId::from_parts(id.index(), id.generation() + more)))
            .chain([StreamId::from_parts(500, 0), StreamId::from_parts(u32::MAX, u32::MAX)])
            .collect();
        let before = (hand.streams.clone(), hand.closed.len(), hand.events.len(), hand.connects.len());
        for (kind, which, len) in inputs {
            let stream = dead[which % dead.len()];
            let (peer, fault) = (addr(BALANCER), Fault::Reset);
            hand.input(match kind {
                0 => Input::Accepted { stream, peer, local: peer },
                1 => Input::Connected { stream, local: peer },
                2 => Input::ConnectFailed { stream, fault: Fault::AddressInUse },
                3 => Input::UplinkGone { uplink: UplinkId(0) },
                4 => Input::ReadClosed { stream },
                5 => Input::Spliced { from: stream, to: client, taken: len, given: len, eof: true },
                6 => Input::Failed { stream, fault },
                7 => Input::WriteFailed { stream, fault },
                _ => Input::AcceptFailed { stream, fault },
            });
            hand.machine_is_deaf_to(stream);
        }
        let after = (hand.streams.clone(), hand.closed.len(), hand.events.len(), hand.connects.len());
        prop_assert_eq!(before, after);
        if stage > 0 {
            hand.read(client, b"still here");
            prop_assert_eq!(hand.written(server), b"still here");
        }
    }
}
