//! Names that are looked up through the uplink that will carry their connection, in virtual time.

mod util;

use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::event::{Event, NamesNews, Refusal};
use ropewalk_core::machine::{Device, Fault, Input, Report, UplinkId};
use simple_dns::{RCODE, TYPE};
use util::asking::{FAR, FAR6, asks_with, code};
use util::lab::{Who, device};
use util::say;
use util::servers::{NameServer, Question, Serve};
use util::{Act, Answer, Lab, Link, Setup, addr, ms, secs};

/// The name servers of uplinks 0 and 1.
const SERVERS: [&str; 2] = ["198.51.100.1:53", "198.51.100.2:53"];
const NAME: &str = "host.example";

/// Two uplinks, each with name servers.
fn lab_of(servers: [&[&str]; 2]) -> Lab {
    let each = servers.map(|its| its.iter().map(|server| addr(server)).collect());
    let mut lab = Setup::new(2).with(|config| config.names.resolvers = each.into()).build();
    lab.serve(FAR, [Act::Echo]);
    lab.serve(FAR6, [Act::Echo]);
    lab
}

fn lab() -> Lab {
    lab_of([&SERVERS[..1], &SERVERS[1..]])
}

fn knows(lab: &mut Lab, server: &str, names: &[(&str, &[&str])]) {
    lab.world.name_servers.insert(addr(server), NameServer::new(names));
}

/// Both servers know the name, and that it leads to [`FAR`].
fn both_know(lab: &mut Lab) {
    SERVERS.iter().for_each(|server| knows(lab, server, &[(NAME, &["192.0.2.7"])]));
}

fn serves(lab: &mut Lab, server: &str, serve: Serve) {
    lab.world.name_servers.get_mut(&addr(server)).expect("it is there").serve = serve;
}

fn asks_name(lab: &mut Lab, name: &str) -> Who {
    asks_with(lab, say::socks5_to_name(name, 80))
}

/// The code of the reply to a request for a name, when all is over.
#[track_caller]
fn code_of(lab: &mut Lab, name: &str) -> u8 {
    let who = asks_name(lab, name);
    lab.finish();
    code(lab, who)
}

fn ways(lab: &Lab) -> Vec<Option<Device>> {
    lab.world.attempts.iter().map(|attempt| attempt.via.device).collect()
}

fn servers_of(questions: &[Question]) -> Vec<String> {
    questions.iter().map(|question| question.to.to_string()).collect()
}

fn news(lab: &Lab) -> Vec<NamesNews> {
    let of = |event: &Event| match event {
        Event::Names { news, .. } => Some(*news),
        _ => None,
    };
    lab.world.events.iter().filter_map(|(_, event)| of(event)).collect()
}

#[test]
fn a_name_is_asked_for_by_the_uplink_that_carries_its_connection() {
    let mut lab = lab();
    both_know(&mut lab);
    for n in 0..4usize {
        assert_eq!(code_of(&mut lab, NAME), 0);
        let of = device(n % 2);
        assert_eq!(lab.world.attempts[n].via.device, Some(of));
        // What each was told it keeps.
        let by_it = lab.world.questions.iter().filter(|question| question.device == Some(of));
        assert_eq!(by_it.count(), 2, "both families, once");
    }
    assert!(lab.world.asked_names.is_empty(), "the system is not asked");
    let strays =
        lab.world.questions.iter().filter(|q| (q.device == Some(device(0))) != (q.to == addr(SERVERS[0])));
    assert_eq!(strays.count(), 0);
}

#[test]
fn names_that_only_the_system_knows_go_to_the_system() {
    let mut lab = lab();
    both_know(&mut lab);
    for name in ["nas", "printer.local"] {
        lab.name(name, [Answer::ips(ms(1), &["192.0.2.7"])]);
        assert_eq!(code_of(&mut lab, name), 0);
    }
    assert_eq!(lab.world.asked_names, ["nas", "printer.local"]);
    assert!(lab.world.questions.is_empty());
}

#[test]
fn an_uplink_without_name_servers_has_names_looked_up_by_the_system() {
    let mut lab = lab_of([&SERVERS[..1], &[]]);
    both_know(&mut lab);
    lab.name(NAME, [Answer::ips(ms(1), &["192.0.2.7"])]);
    assert_eq!((code_of(&mut lab, NAME), code_of(&mut lab, NAME)), (0, 0));
    assert_eq!(ways(&lab), [Some(device(0)), Some(device(1))]);
    assert_eq!(lab.world.asked_names, [NAME]);
    assert_eq!(lab.world.questions.len(), 2);
}

#[test]
fn where_the_system_does_not_answer_another_uplinks_servers_do() {
    let mut lab = lab_of([&[], &SERVERS[1..]]);
    both_know(&mut lab);
    lab.name(NAME, [Answer::ips(secs(600), &["192.0.2.8"])]);
    assert_eq!(code_of(&mut lab, NAME), 0);
    // It goes by the uplink that was chosen for it.
    assert_eq!((ways(&lab), lab.world.asked_names.len()), (vec![Some(device(0))], 1));
    assert!(lab.world.questions.iter().all(|question| question.to == addr(SERVERS[1])));
}

#[test]
fn what_the_guard_forbids_is_forbidden_whoever_says_so() {
    let mut lab = Setup::new(1).with(|config| config.names.resolvers = vec![vec![addr(SERVERS[0])]]).build();
    for (name, ip) in
        [("a.example", "127.0.0.1"), ("b.example", "192.168.1.1"), ("c.example", "::ffff:10.0.0.1")]
    {
        knows(&mut lab, SERVERS[0], &[(name, &[ip])]);
        let hello = say::socks5_to_name(name, 80);
        let script = [Act::Send(hello), Act::AwaitEnd];
        lab.visitor(ms(0), 0, "203.0.113.9", util::Person::new(script));
        lab.finish();
    }
    assert!(lab.world.attempts.is_empty(), "{:?}", lab.world.attempts);
    assert_eq!(lab.refusals().len(), 3);
}

#[test]
fn both_families_are_asked_for_and_a_late_one_is_not_waited_for() {
    let mut lab = lab();
    both_know(&mut lab);
    SERVERS.iter().for_each(|server| serves(&mut lab, server, Serve::Half(TYPE::A)));
    let who = asks_name(&mut lab, NAME);
    lab.run_for(ms(100));
    assert_eq!(code(&lab, who), 0, "the family that has answered is used after 50 ms");
    lab.finish();
    assert_eq!(lab.world.questions.iter().filter(|question| question.is_v6()).count(), 1);
}

#[test]
fn a_name_that_is_not_there_is_asked_for_once_and_is_not_there() {
    let mut lab = lab();
    both_know(&mut lab);
    let began = lab.now();
    assert_eq!(code_of(&mut lab, "missing.example"), 4);
    assert!(lab.now() - began < ms(100), "it is believed");
    assert_eq!(lab.refusals(), [Refusal::Name(Fault::NameNotFound)]);
    assert_eq!(servers_of(&lab.world.questions), [SERVERS[0]; 2]);
}

#[test]
fn a_black_holed_uplink_costs_less_than_half_a_second_and_is_left() {
    let mut lab = lab();
    both_know(&mut lab);
    lab.link(0, Link::BlackHole);
    let mut worst = ms(0);
    for _ in 0..12 {
        let began = lab.now();
        let who = asks_name(&mut lab, NAME);
        lab.run_for(secs(3));
        assert_eq!(code(&lab, who), 0);
        let connected = lab.world.events.iter().rev().find_map(|(at, event)| match event {
            Event::Connected { .. } => Some(*at - began),
            _ => None,
        });
        worst = worst.max(connected.expect("it is connected"));
    }
    lab.finish();
    assert!(worst < ms(500), "{worst:?}");
    let outpaced = |report: &&Report| matches!(report, Report::Outpaced { uplink: UplinkId(0) });
    assert!(lab.world.reports.iter().filter(outpaced).count() >= 3, "its connections show that it is left");
    let down = |event: &Event| matches!(event, Event::UplinkDown { uplink: UplinkId(0), .. });
    assert!(lab.world.events.iter().any(|(_, event)| down(event)));
}

#[test]
fn a_dead_name_server_is_no_fault_of_its_uplink() {
    let mut lab = lab();
    both_know(&mut lab);
    serves(&mut lab, SERVERS[0], Serve::Silent);
    for _ in 0..6 {
        let who = asks_name(&mut lab, NAME);
        lab.run_for(secs(2));
        assert_eq!(code(&lab, who), 0);
    }
    lab.finish();
    let by_first = ways(&lab).iter().filter(|way| **way == Some(device(0))).count();
    assert_eq!(by_first, 3, "it carries its share");
    let down = |event: &Event| matches!(event, Event::UplinkDown { .. });
    assert!(!lab.world.events.iter().any(|(_, event)| down(event)));
}

#[test]
fn a_server_that_cannot_say_or_is_not_there_is_passed_over_at_once() {
    for serve in [Serve::Fail(RCODE::ServerFailure), Serve::Fail(RCODE::Refused), Serve::Nobody] {
        let mut lab = lab_of([&SERVERS, &[]]);
        both_know(&mut lab);
        serves(&mut lab, SERVERS[0], serve);
        let who = asks_name(&mut lab, NAME);
        lab.run_for(ms(100));
        assert_eq!(code(&lab, who), 0, "{serve:?}");
        lab.finish();
        let asked = servers_of(&lab.world.questions);
        assert_eq!(asked.last().map(String::as_str), Some(SERVERS[1]), "{serve:?}");
    }
}

#[test]
fn a_silent_server_gets_company_after_a_second_and_the_one_that_answers_is_asked_first_from_then_on() {
    let mut lab = lab_of([&SERVERS, &SERVERS]);
    both_know(&mut lab);
    serves(&mut lab, SERVERS[0], Serve::Silent);
    let mut lab_one = Setup::new(1)
        .with(|config| config.names.resolvers = vec![SERVERS.iter().map(|server| addr(server)).collect()])
        .build();
    std::mem::swap(&mut lab_one.world.name_servers, &mut lab.world.name_servers);
    lab_one.serve(FAR, [Act::Echo]);
    assert_eq!(code_of(&mut lab_one, NAME), 0);
    let questions = &lab_one.world.questions;
    assert_eq!(servers_of(questions), [SERVERS[0], SERVERS[0], SERVERS[1], SERVERS[1]]);
    assert_eq!(questions[2].at - questions[0].at, secs(1));
    knows(&mut lab_one, SERVERS[1], &[("other.example", &["192.0.2.7"])]);
    assert_eq!(code_of(&mut lab_one, "other.example"), 0);
    assert_eq!(servers_of(&lab_one.world.questions)[4..], [SERVERS[1], SERVERS[1]]);
}

#[test]
fn where_nobody_answers_the_client_hears_so_in_time_and_nothing_is_left() {
    let mut lab = lab();
    both_know(&mut lab);
    SERVERS.iter().for_each(|server| serves(&mut lab, server, Serve::Silent));
    let began = lab.now();
    assert_eq!(code_of(&mut lab, NAME), 4);
    assert!(lab.now() - began <= secs(9), "{:?}", lab.now() - began);
    assert!(lab.world.asked_names.is_empty(), "no question leaves by another way");
}

#[test]
fn forged_answers_change_nothing() {
    let mut lab = lab();
    both_know(&mut lab);
    SERVERS.iter().for_each(|server| serves(&mut lab, server, Serve::Forged));
    assert_eq!(code_of(&mut lab, NAME), 0);
    let strays = news(&lab).iter().filter(|news| matches!(news, NamesNews::Stray { .. })).count();
    assert!(strays >= 4, "{:?}", news(&lab));
}

#[test]
fn an_answer_longer_than_any_datagram_that_we_take_changes_nothing() {
    let mut lab = lab();
    both_know(&mut lab);
    SERVERS.iter().for_each(|server| serves(&mut lab, server, Serve::Huge));
    assert_eq!(code_of(&mut lab, NAME), 0);
    let strays = news(&lab).iter().filter(|news| matches!(news, NamesNews::Stray { .. })).count();
    assert!(strays >= 1, "{:?}", news(&lab));
    assert!(lab.world.attempts.iter().all(|attempt| attempt.to == addr(FAR)), "{:?}", lab.world.attempts);
}

#[test]
fn many_who_ask_for_one_name_share_one_question() {
    let mut lab = Setup::new(1).with(|config| config.names.resolvers = vec![vec![addr(SERVERS[0])]]).build();
    lab.serve(FAR, [Act::Echo]);
    knows(&mut lab, SERVERS[0], &[(NAME, &["192.0.2.7"])]);
    let all: Vec<Who> = (0..10).map(|_| asks_name(&mut lab, NAME)).collect();
    lab.finish();
    assert!(all.iter().all(|who| code(&lab, *who) == 0));
    assert_eq!(lab.world.questions.len(), 2);
}

#[test]
fn an_answer_is_kept_for_as_long_as_it_says() {
    let mut lab = Setup::new(1).with(|config| config.names.resolvers = vec![vec![addr(SERVERS[0])]]).build();
    lab.serve(FAR, [Act::Echo]);
    knows(&mut lab, SERVERS[0], &[(NAME, &["192.0.2.7"])]);
    lab.world.name_servers.get_mut(&addr(SERVERS[0])).expect("it is there").ttl = 20;
    for (wait, questions) in [(secs(0), 2), (secs(19), 2), (secs(2), 4)] {
        lab.run_for(wait);
        assert_eq!(code_of(&mut lab, NAME), 0);
        assert_eq!(lab.world.questions.len(), questions, "after {wait:?} more");
    }
}

/// An uplink whose server says one family at once, and nothing of the other. The client has asked.
fn half_known() -> (Lab, Config) {
    let setup = Setup::new(1).with(|config| config.names.resolvers = vec![vec![addr(SERVERS[0])]]);
    let config = setup.config.clone();
    let mut lab = setup.build();
    lab.serve(FAR, [Act::Echo]);
    both_know(&mut lab);
    serves(&mut lab, SERVERS[0], Serve::Half(TYPE::A));
    asks_name(&mut lab, NAME);
    lab.run_for(ms(20));
    (lab, config)
}

#[test]
fn what_was_half_known_when_the_uplink_vanished_is_not_kept() {
    let (mut lab, _) = half_known();
    lab.input(Input::UplinkGone { uplink: UplinkId(0) });
    lab.finish();
    serves(&mut lab, SERVERS[0], Serve::Answer);
    assert_eq!(code_of(&mut lab, NAME), 0);
    assert_eq!(lab.world.questions.len(), 4, "it is asked for anew");
}

#[test]
fn what_other_servers_still_answer_after_a_reload_is_not_kept() {
    let (mut lab, mut config) = half_known();
    config.names.resolvers = vec![vec![addr(SERVERS[1])]];
    let now = lab.now();
    lab.machine.inner.reconfigure(now, config).expect("it is dispatch's").expect("it is well formed");
    lab.finish();
    assert_eq!(code_of(&mut lab, NAME), 0);
    let to = servers_of(&lab.world.questions);
    assert_eq!(to, [SERVERS[0], SERVERS[0], SERVERS[1], SERVERS[1]], "it is asked for anew");
}

#[test]
fn what_does_not_fit_into_a_datagram_is_asked_for_over_tcp() {
    let mut lab = Setup::new(1).with(|config| config.names.resolvers = vec![vec![addr(SERVERS[0])]]).build();
    lab.serve(FAR, [Act::Echo]);
    knows(&mut lab, SERVERS[0], &[(NAME, &["192.0.2.7"])]);
    let whole = lab.world.name_servers[&addr(SERVERS[0])].clone();
    serves(&mut lab, SERVERS[0], Serve::Truncate);
    // The world's numbers are always the same: so is what is asked.
    let who = asks_name(&mut lab, NAME);
    lab.run_for(ms(5));
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    for question in lab.world.questions.clone() {
        let asked = framed(&question.bytes);
        let reply = framed(&whole.replies(&question.bytes)[0]);
        let (head, tail) = reply.split_at(7);
        let script = [Act::AwaitTotal(asked.len()), Act::Send(head.to_vec()), Act::Send(tail.to_vec())];
        let person = util::Person::new(script);
        let target =
            lab.world.targets.entry(addr(SERVERS[0])).or_insert_with(|| util::Target::new(person.clone()));
        target.first.push_back(person);
    }
    lab.finish();
    assert_eq!(code(&lab, who), 0, "{:?}", news(&lab));
    let truncated = news(&lab).iter().filter(|news| matches!(news, NamesNews::Truncated { .. })).count();
    assert_eq!(truncated, 2);
    assert_eq!(lab.world.attempts[0].via.device, Some(device(0)), "by the same uplink");
}

#[test]
fn a_client_that_leaves_takes_its_question_along() {
    let mut lab = lab();
    both_know(&mut lab);
    SERVERS.iter().for_each(|server| serves(&mut lab, server, Serve::Silent));
    lab.client([Act::Send(say::socks5_to_name(NAME, 80)), Act::Pause(ms(20)), Act::Reset]);
    lab.run_for(ms(100));
    assert!(lab.world.askers.is_empty());
    lab.finish();
    assert_eq!(lab.world.questions.len(), 2);
}

#[test]
fn a_drain_waits_for_those_who_wait_for_a_name() {
    let mut lab = lab();
    both_know(&mut lab);
    let who = asks_name(&mut lab, NAME);
    lab.drain_at(ms(5));
    lab.finish();
    assert_eq!((code(&lab, who), lab.finished), (0, true));
}

/// Two uplinks with name servers that both know the name by these addresses; the first has no
/// address of one family.
fn ways_without(v6: bool, addresses: &[&str]) -> Vec<(std::net::SocketAddr, Option<Device>)> {
    let each = SERVERS.map(|server| vec![addr(server)]);
    let mut setup = Setup::new(2).with(|config| config.names.resolvers = each.into());
    match v6 {
        true => setup.uplinks[0].networks.v6 = false,
        false => setup.uplinks[0].networks.v4 = false,
    }
    let mut lab = setup.build();
    lab.serve(FAR, [Act::Echo]);
    lab.serve(FAR6, [Act::Echo]);
    SERVERS.iter().for_each(|server| knows(&mut lab, server, &[(NAME, addresses)]));
    assert_eq!(code_of(&mut lab, NAME), 0);
    lab.world.attempts.iter().map(|attempt| (attempt.to, attempt.via.device)).collect()
}

#[test]
fn an_address_that_the_chosen_uplink_does_not_carry_gives_way_to_the_next_and_then_to_another_uplink() {
    let (far, far6) = ("192.0.2.7", "2001:db8::7");
    let by = |to: &str, uplink: usize| (addr(to), Some(device(uplink)));
    assert_eq!(ways_without(true, &[far6, far]), [by(FAR, 0)]);
    assert_eq!(ways_without(false, &[far, far6]), [by(FAR6, 0)]);
    assert_eq!(ways_without(true, &[far6]), [by(FAR6, 1)]);
    assert_eq!(ways_without(false, &[far]), [by(FAR, 1)]);
}
