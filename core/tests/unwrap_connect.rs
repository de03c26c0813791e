//! TCP, from the header to the relay: port conflicts, servers that do not answer, and clients that
//! do not wait.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Close, Fault, Input, StreamId, Target, UplinkId};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, PortConflict};
use util::manual::{BALANCER, LISTEN, ManualDriver, SERVER_V4, tcp};
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
fn opening(config: Config) -> (ManualDriver, StreamId, StreamId) {
    let mut driver = ManualDriver::new(config);
    let client = driver.arrives(BALANCER, &[&named(CLIENT)[..], b"early"].concat());
    let server = driver.only_connect().stream;
    (driver, client, server)
}

/// Nothing is left of it, now and later.
#[track_caller]
fn gone(driver: &mut ManualDriver, client: StreamId, how: Close) {
    assert_eq!(driver.how_closed(client), Some(how));
    let closed = driver.closed.len();
    driver.advance(secs(3600));
    assert_eq!(driver.closed.len(), closed);
    let machine = driver.machine.machine();
    assert_eq!((machine.counters().open, machine.buffers_taken()), (0, 0));
    assert!(driver.streams.values().all(Option::is_some), "streams are left: {:?}", driver.streams);
}

// ---- ports ----

#[test]
fn where_its_port_cannot_be_had_a_client_is_refused() {
    for fault in CONFLICTS {
        let (mut driver, client, server) = opening(tcp());
        driver.connect_failed(server, fault);
        assert_eq!(driver.refusals(), [Refusal::PortConflict(fault)]);
        assert_eq!(driver.connects.len(), 1);
        gone(&mut driver, client, Close::Reset);
    }
}

#[test]
fn where_its_port_cannot_be_had_and_another_will_do_it_gets_another() {
    for fault in CONFLICTS {
        let (mut driver, client, server) = opening(Config { mark: Some(5), ..ephemeral() });
        driver.connect_failed(server, fault);
        assert_eq!(driver.connects.len(), 2);
        let again = driver.connects[1].clone();
        assert_eq!(again.to, Target::Address(addr(SERVER_V4)));
        assert_eq!((again.via.transparent, again.via.mark), (Some(addr("192.0.2.1:0")), Some(5)));
        let told = |event: &Event| match event {
            Event::PortChanged { client, fault: why, .. } => *client == addr(CLIENT) && *why == Some(fault),
            _ => false,
        };
        assert_eq!(driver.events.iter().filter(|event| told(event)).count(), 1, "{:?}", driver.events);
        driver.connected(again.stream);
        assert_eq!(driver.written(again.stream), b"early");
        assert_eq!(driver.how_closed(client), None);
    }
}

#[test]
fn there_is_one_retry_and_no_more() {
    for (fault, next) in CONFLICTS.into_iter().flat_map(|one| CONFLICTS.map(|two| (one, two))) {
        let (mut driver, client, server) = opening(ephemeral());
        driver.connect_failed(server, fault);
        driver.connect_failed(driver.connects[1].stream, next);
        assert_eq!((driver.connects.len(), driver.refusals()), (2, vec![Refusal::Unreachable(next)]));
        gone(&mut driver, client, Close::Reset);
    }
}

#[test]
fn other_faults_are_no_reason_for_another_port() {
    for fault in [Fault::Refused, Fault::TimedOut, Fault::NoDescriptors, Fault::Unsupported, Fault::Other(22)]
    {
        let (mut driver, client, server) = opening(ephemeral());
        driver.connect_failed(server, fault);
        assert_eq!((driver.connects.len(), driver.refusals()), (1, vec![Refusal::Unreachable(fault)]));
        gone(&mut driver, client, Close::Reset);
    }
}

#[test]
fn port_0_is_refused_or_told() {
    let mut driver = ManualDriver::new(tcp());
    let client = driver.arrives(BALANCER, &named("192.0.2.1:0"));
    assert_eq!((driver.refusals(), driver.connects.len()), (vec![Refusal::NoPort], 0));
    gone(&mut driver, client, Close::Reset);

    let mut driver = ManualDriver::new(ephemeral());
    let client = driver.arrives(BALANCER, &named("192.0.2.1:0"));
    let asked = driver.only_connect();
    assert_eq!(asked.via.transparent, Some(addr("192.0.2.1:0")));
    assert!(driver.events.iter().any(|event| matches!(event, Event::PortChanged { fault: None, .. })));
    // It had no port of its own to lose: no retry.
    driver.connect_failed(asked.stream, Fault::AddressInUse);
    assert_eq!(driver.connects.len(), 1);
    gone(&mut driver, client, Close::Reset);
}

#[test]
fn a_retry_does_not_begin_the_deadline_anew() {
    let (mut driver, client, server) = opening(Config { connect_timeout: secs(4), ..ephemeral() });
    driver.advance(secs(3));
    driver.connect_failed(server, Fault::AddressInUse);
    driver.advance(ms(999));
    assert_eq!(driver.how_closed(client), None);
    driver.advance(ms(1));
    assert_eq!(driver.refusals(), [Refusal::Unreachable(Fault::TimedOut)]);
    assert_eq!(driver.how_closed(driver.connects[1].stream), Some(Close::Reset));
    gone(&mut driver, client, Close::Reset);
}

// ---- servers ----

#[test]
fn a_server_that_does_not_answer_is_given_up_at_the_deadline() {
    let (mut driver, client, server) = opening(tcp());
    driver.advance(ms(9_999));
    assert_eq!((driver.how_closed(client), driver.how_closed(server)), (None, None));
    driver.advance(ms(1));
    assert_eq!(driver.refusals(), [Refusal::Unreachable(Fault::TimedOut)]);
    assert_eq!(driver.how_closed(server), Some(Close::Reset), "the attempt is given up");
    gone(&mut driver, client, Close::Reset);
}

#[test]
fn a_server_that_was_down_is_reached_when_it_is_up_again() {
    let mut driver = ManualDriver::new(tcp());
    for _ in 0..3 {
        let client = driver.arrives(BALANCER, &named(CLIENT));
        driver.connect_failed(driver.connects.last().expect("asked").stream, Fault::Refused);
        assert_eq!(driver.how_closed(client), Some(Close::Reset));
    }
    let client = driver.arrives(BALANCER, &named(CLIENT));
    let server = driver.connects.last().expect("asked").stream;
    driver.connected(server);
    driver.read(server, b"back");
    assert_eq!(driver.written(client), b"back");
    assert_eq!(driver.refusals(), [Refusal::Unreachable(Fault::Refused); 3]);
}

// ---- clients that do not wait ----

#[test]
fn a_client_that_fails_while_its_server_is_connected_to_takes_the_attempt_with_it() {
    for write in [false, true] {
        let (mut driver, client, server) = opening(tcp());
        driver.input(match write {
            true => Input::WriteFailed { stream: client, fault: Fault::Reset },
            false => Input::Failed { stream: client, fault: Fault::Reset },
        });
        assert_eq!(driver.refusals(), [Refusal::ClientFailed(Fault::Reset)]);
        assert_eq!(driver.how_closed(server), Some(Close::Reset));
        gone(&mut driver, client, Close::Reset);
        // The answer that was on its way.
        driver.connected(server);
        driver.connect_failed(server, Fault::AddressInUse);
        assert_eq!((driver.connects.len(), driver.closed.len()), (1, 2));
    }
}

#[test]
fn a_client_that_fails_within_its_header_is_closed() {
    let mut driver = ManualDriver::new(tcp());
    let client = driver.arrives(BALANCER, &named(CLIENT)[..9]);
    driver.input(Input::Failed { stream: client, fault: Fault::Reset });
    assert_eq!(driver.refusals(), [Refusal::ClientFailed(Fault::Reset)]);
    gone(&mut driver, client, Close::Reset);
}

#[test]
fn a_client_that_has_ended_its_half_while_connecting_is_served_to_the_end() {
    let (mut driver, client, server) = opening(tcp());
    assert!(!driver.wants_read(client), "the end is not looked for yet");
    driver.connected(server);
    assert_eq!(driver.written(server), b"early");
    driver.input(Input::ReadClosed { stream: client });
    assert_eq!(driver.shut, [server]);
    driver.read(server, b"answer");
    assert_eq!(driver.written(client), b"answer");
    driver.input(Input::ReadClosed { stream: server });
    gone(&mut driver, client, Close::Graceful);
}

// ---- what comes too late ----

proptest! {
    #![proptest_config(util::cases(200))]

    #[test]
    fn inputs_with_dead_or_unknown_ids_change_nothing(
        inputs in proptest::collection::vec((0usize..9, 0usize..6, 1usize..9), 1..40),
        stage in 0usize..3,
    ) {
        let (mut driver, client, server) = opening(tcp());
        if stage > 0 {
            driver.connected(server);
            driver.written(server);
        }
        let dead: Vec<StreamId> = [client, server]
            .into_iter()
            .flat_map(|id| [1, 2].map(|more| StreamId::from_parts(id.index(), id.generation() + more)))
            .chain([StreamId::from_parts(500, 0), StreamId::from_parts(u32::MAX, u32::MAX)])
            .collect();
        let before = (driver.streams.clone(), driver.closed.len(), driver.events.len(), driver.connects.len());
        for (kind, which, len) in inputs {
            let stream = dead[which % dead.len()];
            let (peer, fault) = (addr(BALANCER), Fault::Reset);
            driver.input(match kind {
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
            driver.machine_is_deaf_to(stream);
        }
        let after = (driver.streams.clone(), driver.closed.len(), driver.events.len(), driver.connects.len());
        prop_assert_eq!(before, after);
        if stage > 0 {
            driver.read(client, b"still here");
            prop_assert_eq!(driver.written(server), b"still here");
        }
    }
}
