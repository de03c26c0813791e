//! Uplinks that carry IPv6 alone, and what their networks make of IPv4 destinations (RFC 7050, RFC
//! 6052), in virtual time.

mod util;

use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Input, Report, UplinkId, UplinkSet};
use ropewalk_core::uplink::Networks;
use simple_dns::RCODE;
use util::asking::{asks, asks_with, code};
use util::desk::{CLIENT, Desk, PORT, Sent, uplinks, wrapped};
use util::lab::device;
use util::say;
use util::servers::{NameServer, Serve};
use util::{Act, Lab, Setup, addr, ms, secs};

const SERVER: &str = "[2001:db8:53::1]:53";
const NAME: &str = "ipv4only.arpa";
/// What a network says that translates under 2001:db8:64::/96.
const SYNTHESISED: [&str; 3] = ["2001:db8:64::192.0.0.170", "2001:db8:64::192.0.0.171", "192.0.0.170"];
const FAR: &str = "192.0.2.7:80";
/// The same, as its translator is told it.
const FAR64: &str = "[2001:db8:64::c000:207]:80";

const V6_ONLY: Networks = Networks { v4: false, v6: true, up: true, on_link: Vec::new() };

fn only(uplink: u16) -> UplinkSet {
    let mut set = UplinkSet::EMPTY;
    set.insert(UplinkId(uplink));
    set
}

/// Uplink 0 carries IPv6 alone and has a name server, which says this; the others carry both.
fn lab(uplinks: usize, says: &[&str]) -> Lab {
    let mut setup = Setup::new(uplinks).with(|config| {
        config.names.resolvers = vec![vec![addr(SERVER)]];
        config.names.v6_only = only(0);
    });
    setup.uplinks[0].networks = V6_ONLY;
    let mut lab = setup.build();
    let a_only: &[&str] = &["192.0.2.7"];
    let server = NameServer::new(&[(NAME, says), ("four.example", a_only)]);
    lab.world.name_servers.insert(addr(SERVER), server);
    [FAR, FAR64].iter().for_each(|far| lab.serve(far, [Act::Echo]));
    lab.run_for(secs(1));
    lab
}

fn server(lab: &mut Lab) -> &mut NameServer {
    lab.world.name_servers.get_mut(&addr(SERVER)).expect("it is there")
}

fn serves(lab: &mut Lab, serve: Serve) {
    server(lab).serve = serve;
}

/// The code of the reply to a request for `to`, soon.
#[track_caller]
fn code_for(lab: &mut Lab, to: &str) -> u8 {
    let who = asks(lab, to);
    lab.run_for(secs(2));
    code(lab, who)
}

/// Whether the pool was told of a prefix, each time.
fn told(lab: &Lab) -> Vec<bool> {
    let of = |report: &Report| match report {
        Report::Prefix64 { uplink: UplinkId(0), prefix } => Some(prefix.is_some()),
        _ => None,
    };
    lab.world.reports.iter().filter_map(of).collect()
}

fn destinations(lab: &Lab) -> Vec<String> {
    lab.world.attempts.iter().map(|attempt| attempt.to.to_string()).collect()
}

#[test]
fn an_ipv4_destination_goes_through_a_network_that_translates() {
    let mut lab = lab(1, &SYNTHESISED);
    assert_eq!(code_for(&mut lab, FAR), 0);
    let who = asks_with(&mut lab, say::socks5_to_name("four.example", 80));
    lab.run_for(secs(2));
    assert_eq!(code(&lab, who), 0, "a name that has IPv4 addresses only");
    assert_eq!(destinations(&lab), [FAR64, FAR64]);
    let news = lab.world.events.iter().filter(|(_, event)| matches!(event, Event::Translates { .. })).count();
    assert_eq!((told(&lab), news), (vec![true], 1), "said once");
}

#[test]
fn it_takes_its_share_beside_an_uplink_with_ipv4() {
    let mut lab = lab(2, &SYNTHESISED);
    for _ in 0..4 {
        assert_eq!(code_for(&mut lab, FAR), 0);
    }
    assert_eq!(destinations(&lab), [FAR64, FAR, FAR64, FAR]);
    let way = |n: usize| lab.world.attempts[n].via.device;
    assert_eq!([way(0), way(1)], [Some(device(0)), Some(device(1))]);
}

#[test]
fn where_nothing_is_translated_it_is_passed_over_and_asked_again_after_five_minutes() {
    for says in [&["192.0.0.170", "192.0.0.171"][..], &["2001:db8::1"], &[]] {
        let mut lab = lab(2, says);
        assert_eq!(code_for(&mut lab, FAR), 0);
        assert_eq!(destinations(&lab), [FAR], "{says:?}");
        lab.run_for(secs(290));
        assert_eq!(lab.world.questions.len(), 2, "both families, once: {says:?}");
        lab.run_for(secs(20));
        assert_eq!(lab.world.questions.len(), 4, "{says:?}");
        assert_eq!(told(&lab), []);
    }
    let mut alone = lab(1, &[]);
    let who = asks(&mut alone, FAR);
    alone.run_for(secs(2));
    assert_eq!(code(&alone, who), 3);
    assert_eq!(alone.refusals(), [Refusal::NoUplink]);
}

#[test]
fn a_prefix_is_asked_for_again_before_its_time_is_over_and_not_used_beyond() {
    let mut lab = lab(1, &SYNTHESISED);
    assert_eq!(lab.world.questions.len(), 2);
    // For a minute it holds.
    lab.run_for(secs(50));
    assert_eq!(lab.world.questions.len(), 2);
    serves(&mut lab, Serve::Fail(RCODE::ServerFailure));
    lab.run_for(secs(4));
    assert!(lab.world.questions.len() > 2, "7/8 of its time");
    assert_eq!((told(&lab), code_for(&mut lab, FAR)), (vec![true], 0), "it holds all the same");
    lab.run_for(secs(10));
    assert_eq!((told(&lab), code_for(&mut lab, FAR)), (vec![true, false], 3));
    // Who answers again is heard within 10 s.
    serves(&mut lab, Serve::Answer);
    lab.run_for(secs(11));
    assert_eq!((told(&lab), code_for(&mut lab, FAR)), (vec![true, false, true], 0));
}

#[test]
fn another_prefix_takes_the_place_of_the_first() {
    let mut lab = lab(1, &SYNTHESISED);
    server(&mut lab).names.insert(NAME.into(), vec!["64:ff9b::c000:aa".parse().expect("literal")]);
    lab.run_for(secs(60));
    assert_eq!(told(&lab), [true, true]);
    lab.serve("[64:ff9b::192.0.2.7]:80", [Act::Echo]);
    assert_eq!(code_for(&mut lab, FAR), 0);
    assert_eq!(destinations(&lab), ["[64:ff9b::c000:207]:80"]);
    // RFC 6052 section 3.1: private addresses are not known under the common prefix.
    assert_eq!(code_for(&mut lab, "10.1.2.3:80"), 3);
}

#[test]
fn one_that_vanishes_or_gets_ipv4_translates_no_more() {
    let mut lab = lab(1, &SYNTHESISED);
    lab.input(Input::UplinkGone { uplink: UplinkId(0) });
    lab.run_for(ms(1));
    assert_eq!(told(&lab), [true, false]);
    lab.run_for(secs(11));
    assert_eq!((told(&lab), code_for(&mut lab, FAR)), (vec![true, false, true], 0));
    lab.world.pool.set_networks(vec![Networks::default()], Vec::new());
    assert_eq!(code_for(&mut lab, FAR), 0);
    assert_eq!(destinations(&lab), [FAR64, FAR]);
    let views = lab.world.pool.views(lab.world.now);
    assert_eq!(views.map(|view| view.prefix64).collect::<Vec<_>>(), [None]);
}

#[test]
fn what_drains_asks_no_more() {
    let mut lab = lab(1, &SYNTHESISED);
    lab.drain_at(ms(0));
    lab.finish();
    assert!(lab.finished && lab.now() < ropewalk_core::time::Instant::ZERO + secs(10), "{:?}", lab.now());
}

#[test]
fn datagrams_are_translated_both_ways() {
    let mut config = Config::default();
    config.names.resolvers = vec![vec![addr(SERVER)]];
    config.names.v6_only = only(0);
    let mut pool = uplinks(&[("a", 1)]);
    pool.uplinks[0].networks = V6_ONLY;
    let mut desk = Desk::new(config, pool);
    // Its name server says so.
    let server = NameServer::new(&[(NAME, &SYNTHESISED)]);
    for Sent { socket, data, .. } in desk.sent() {
        for reply in server.replies(&data) {
            if desk.sockets.contains_key(&socket) {
                desk.datagram(socket, SERVER, &reply);
            }
        }
    }
    let (_, socket) = desk.associate(CLIENT);
    desk.datagram(socket, PORT, &wrapped("192.0.2.1:53", b"question"));
    assert_eq!(desk.said_to(), [(addr("[2001:db8:64::192.0.2.1]:53"), b"question".to_vec())]);
    let way = desk.way("a");
    // The client hears whom it has spoken to.
    desk.datagram(way, "[2001:db8:64::192.0.2.1]:53", b"answer");
    assert_eq!(desk.said_to(), [(addr(PORT), wrapped("192.0.2.1:53", b"answer"))]);
    desk.datagram(way, "[2001:db8:64::192.0.2.2]:53", b"stranger");
    desk.datagram(way, "[2001:db8::1]:53", b"stranger");
    assert_eq!((desk.said_to().len(), desk.drops().len()), (0, 2));
    // One that it names by the address itself is heard as that.
    desk.datagram(socket, PORT, &wrapped("[2001:db8:64::192.0.2.9]:53", b"six"));
    assert_eq!(desk.said_to().len(), 1);
    desk.datagram(way, "[2001:db8:64::192.0.2.9]:53", b"answer");
    assert_eq!(desk.said_to(), [(addr(PORT), wrapped("[2001:db8:64::192.0.2.9]:53", b"answer"))]);
    assert_eq!(desk.sockets.values().filter(|bound| bound.only.is_none()).count(), 2, "one way for both");
}
