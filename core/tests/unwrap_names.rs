//! Servers known by name: looked up again when they cannot be reached.

mod util;

use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Close, Fault, Input, StreamId, Target};
use ropewalk_core::name::{Host, Name};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, UdpHeader};
use std::net::SocketAddr;
use util::manual::{BALANCER, LISTEN, ManualDriver, SERVER_V4, SERVER_V6, tcp, udp};
use util::{addr, ms, secs};

const CLIENT: &str = "192.0.2.1:5000";
const ELSEWHERE: &str = "172.20.0.3:25578";

fn name() -> Name {
    match Host::parse(b"mtg") {
        Ok(Host::Name(name)) => name,
        other => panic!("{other:?}"),
    }
}

fn by_name(mut config: Config) -> Config {
    config.names.add(name(), addr(SERVER_V4));
    config
}

fn arrives(driver: &mut ManualDriver) -> StreamId {
    driver.arrives(BALANCER, &emit::v2(addr(CLIENT), addr(LISTEN), Transport::Stream, &[], false))
}

fn to(driver: &ManualDriver, number: usize) -> Target {
    driver.connects[number].to.clone()
}

fn moved(driver: &ManualDriver) -> Vec<(SocketAddr, SocketAddr)> {
    let told = |event: &Event| match event {
        Event::TargetMoved { name: own, from, to } if *own == name() => Some((*from, *to)),
        _ => None,
    };
    driver.events.iter().filter_map(told).collect()
}

#[test]
fn a_server_that_refuses_is_looked_up_and_reached_where_it_is_now() {
    let mut driver = ManualDriver::new(by_name(tcp()));
    let client = arrives(&mut driver);
    driver.connect_failed(driver.connects[0].stream, Fault::Refused);
    assert_eq!(driver.queries[0].1, "mtg");
    // The family is the client's; an address that has just failed is not tried again.
    driver.looked_up(Ok(&["::1", "127.0.0.1", "172.20.0.3"]));
    assert_eq!(to(&driver, 1), Target::Address(addr(ELSEWHERE)));
    assert_eq!(driver.connects[1].via.transparent, Some(addr(CLIENT)));
    driver.connected(driver.connects[1].stream);
    assert_eq!((driver.how_closed(client), driver.refusals()), (None, vec![]));
    assert_eq!(moved(&driver), [(addr(SERVER_V4), addr(ELSEWHERE))]);
    // Who comes next goes there at once.
    arrives(&mut driver);
    assert_eq!((to(&driver, 2), driver.queries.len()), (Target::Address(addr(ELSEWHERE)), 0));
}

#[test]
fn a_server_that_is_silent_for_a_second_is_looked_up_beside_the_attempt() {
    let mut driver = ManualDriver::new(by_name(tcp()));
    arrives(&mut driver);
    driver.advance(ms(999));
    assert!(driver.queries.is_empty());
    driver.advance(ms(1));
    driver.looked_up(Ok(&["172.20.0.3"]));
    let (old, new) = (driver.connects[0].stream, driver.connects[1].stream);
    assert_eq!(
        (driver.how_closed(old), to(&driver, 1)),
        (Some(Close::Reset), Target::Address(addr(ELSEWHERE)))
    );
    driver.connected(new);
    assert_eq!(driver.refusals(), []);
}

#[test]
fn where_the_name_has_not_moved_the_fault_is_told_and_the_silent_attempt_goes_on() {
    for answer in [Ok(&["127.0.0.1"][..]), Ok(&["::1"]), Ok(&[]), Err(Fault::NameNotFound)] {
        let mut driver = ManualDriver::new(by_name(tcp()));
        let client = arrives(&mut driver);
        driver.connect_failed(driver.connects[0].stream, Fault::Refused);
        driver.looked_up(answer);
        assert_eq!(driver.refusals(), [Refusal::Unreachable(Fault::Refused)]);
        assert_eq!(driver.how_closed(client), Some(Close::Reset));

        let mut driver = ManualDriver::new(by_name(tcp()));
        let client = arrives(&mut driver);
        driver.advance(secs(1));
        driver.looked_up(answer);
        assert_eq!((driver.connects.len(), driver.how_closed(client)), (1, None));
        driver.advance(secs(9));
        assert_eq!(driver.refusals(), [Refusal::Unreachable(Fault::TimedOut)]);
        assert_eq!((moved(&driver), driver.machine.machine().counters().open), (vec![], 0));
    }
}

#[test]
fn a_server_that_is_down_is_looked_up_once_a_second_and_a_connection_twice_never() {
    let mut driver = ManualDriver::new(by_name(tcp()));
    let mut asked = 0;
    for number in 0..30 {
        arrives(&mut driver);
        driver.connect_failed(driver.connects[number].stream, Fault::Refused);
        if !driver.queries.is_empty() {
            asked += 1;
            driver.looked_up(Ok(&["127.0.0.1"]));
        }
        driver.advance(ms(100));
    }
    assert_eq!((asked, driver.refusals().len(), driver.connects.len()), (3, 30, 30));
    // It moves, and is not there either.
    driver.advance(secs(1));
    arrives(&mut driver);
    driver.connect_failed(driver.connects[30].stream, Fault::Refused);
    driver.looked_up(Ok(&["172.20.0.3"]));
    driver.connect_failed(driver.connects[31].stream, Fault::Refused);
    assert_eq!((driver.refusals().len(), driver.queries.len()), (31, 0));
}

#[test]
fn a_client_that_leaves_meanwhile_leaves_no_question() {
    let mut driver = ManualDriver::new(by_name(tcp()));
    let client = arrives(&mut driver);
    driver.connect_failed(driver.connects[0].stream, Fault::Refused);
    assert_eq!(driver.queries.len(), 1);
    driver.input(Input::Failed { stream: client, fault: Fault::Reset });
    assert!(driver.queries.is_empty());
    // An attempt that succeeds while the name is being looked up ends the question too.
    let mut driver = ManualDriver::new(by_name(tcp()));
    arrives(&mut driver);
    driver.advance(secs(1));
    driver.connected(driver.connects[0].stream);
    assert!(driver.queries.is_empty());
}

#[test]
fn a_server_without_a_name_is_never_looked_up() {
    let mut driver = ManualDriver::new(by_name(tcp()));
    driver.arrives(
        BALANCER,
        &emit::v2(addr("[2001:db8::1]:1"), addr("[2001:db8::2]:1"), Transport::Stream, &[], false),
    );
    assert_eq!(to(&driver, 0), Target::Address(addr(SERVER_V6)));
    driver.connect_failed(driver.connects[0].stream, Fault::Refused);
    assert_eq!((driver.queries.len(), driver.refusals().len()), (0, 1));
}

fn datagram(driver: &mut ManualDriver, payload: &[u8]) {
    let header = emit::v2(addr(CLIENT), addr(LISTEN), Transport::Datagram, &[], true);
    driver.datagram(BALANCER, &[&header, payload]);
}

#[test]
fn flows_follow_a_server_that_has_moved() {
    for header in [UdpHeader::Each, UdpHeader::First] {
        let mut driver = ManualDriver::new(by_name(udp(header)));
        datagram(&mut driver, b"1");
        let flow = driver.only_flow();
        assert_eq!(driver.said_to(), [(addr(SERVER_V4), b"1".to_vec())]);
        driver.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
        driver.input(Input::SocketFailed { socket: flow, fault: Fault::Refused });
        driver.looked_up(Ok(&["172.20.0.3"]));
        assert_eq!(driver.closed_sockets, [flow]);
        assert_eq!(moved(&driver), [(addr(SERVER_V4), addr(ELSEWHERE))]);
        match header {
            UdpHeader::Each => datagram(&mut driver, b"2"),
            UdpHeader::First => driver.datagram(BALANCER, &[b"2"]),
        }
        assert_eq!(driver.said_to(), [(addr(ELSEWHERE), b"2".to_vec())], "{header:?}");
        let anew = driver.only_flow();
        assert_eq!(driver.via(anew).transparent, Some(addr(CLIENT)));
        driver.answer(anew, b"3");
        assert_eq!(driver.sent().last().map(|sent| sent.to), Some(addr(BALANCER)));
        assert_eq!((driver.counters().open, driver.counters().opened), (1, 1));
        driver.drain();
        driver.advance(secs(60));
        assert_eq!(driver.finished, 1);
    }
}
