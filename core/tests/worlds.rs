//! Random worlds: clients and targets that come, go, stall, refuse and reset, uplinks that die and
//! come back. Each world is made of one seed, which proptest prints when it fails.

mod util;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ropewalk_core::machine::Fault;
use util::lab::Who;
use util::place::Ev;
use util::rng::Rng;
use util::say;
use util::{
    Act, Answer, Behave, End, Lab, Link, Person, Reading, Setup, SpliceMode, Target, addr, ms, pattern,
    same_bytes, secs,
};

/// Cases of a property; PROPTEST_CASES overrides the number for a long night.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(usual);
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::with_cases(cases) }
}

const ECHO: &str = "192.0.2.1:80";

// ---- worlds ----

/// The plan of one client, and its target.
struct Plan {
    who: Who,
    payload: Vec<u8>,
    /// Bytes before the payload.
    words: usize,
    /// The length of a good answer, the last byte of which is the handshake's end.
    granted: Vec<u8>,
    socks5: bool,
}

/// Where the targets are, and how they are. All bytes from a client begin with its number, those of
/// a target that speaks first are `pattern(.., 99)`.
const SPEAKS: &str = "192.0.2.3:80";
const SINK: &str = "192.0.2.4:80";
const LEAVES: &str = "192.0.2.5:80";
const RESETS: &str = "192.0.2.6:80";
const PLACES: [&str; 8] =
    [ECHO, SPEAKS, SINK, LEAVES, RESETS, "192.0.2.7:80", "192.0.2.8:80", "[2001:db8::3]:80"];

fn a_person(rng: &mut Rng, script: Vec<Act>) -> Person {
    let mut person = Person::new(script);
    person.segment = [1, 100, 1448, 9000, usize::MAX][rng.below(5)];
    person.gap = ms([0, 0, 1][rng.below(3)]);
    person.latency = ms(rng.below(40) as u64);
    person.window = [50, 1000, 20_000, 200_000][rng.below(4)];
    person.inbox = [50, 1000, 20_000, 200_000][rng.below(4)];
    person.reading = match rng.below(4) {
        0 => Reading::Slow(1 + rng.below(3000), ms(1 + rng.below(30) as u64)),
        _ => Reading::Fast,
    };
    person
}

fn a_world(seed: u64) -> (Lab, Vec<Plan>) {
    let mut rng = Rng::new(seed);
    let uplinks = rng.below(4);
    let mut setup = Setup::new(uplinks);
    setup.seed = seed;
    setup.fuel = [1, 3, 64, 1000][rng.below(4)];
    setup.exact_more = rng.one_in(2);
    setup.rumours = rng.one_in(3);
    setup.splice = match rng.below(3) {
        0 => SpliceMode::Never,
        1 => SpliceMode::Pipe(1 + rng.below(60_000)),
        _ => SpliceMode::Moody(1 + rng.below(60_000)),
    };
    setup.config.idle_timeout = Some(secs(120));
    setup.config.buffer_size = [1024, 1025, 4096, 65_536][rng.below(4)];
    setup.config.buffer_limit = [1, 2, 8, 512][rng.below(4)];
    setup.config.max_connections = [1, 3, 100][rng.below(3)];
    setup.config.splice_after = rng.below(3) as u8;
    let mut lab = setup.build();

    let speech = pattern(1 + rng.below(120_000), 99);
    lab.serve(ECHO, [Act::Echo]);
    for (place, script) in [
        (SPEAKS, vec![Act::Send(speech.clone()), Act::Fin, Act::AwaitEnd]),
        (SINK, vec![Act::AwaitEnd, Act::Pause(secs(6)), Act::Send(speech.clone()), Act::Fin]),
        (LEAVES, vec![Act::AwaitTotal(500), Act::Send(speech.clone()), Act::Close]),
        (RESETS, vec![Act::AwaitTotal(500), Act::Send(speech.clone()), Act::Reset]),
    ] {
        let person = a_person(&mut rng, script);
        lab.target(place, Target { answers: ms(rng.below(600) as u64), ..Target::new(person) });
    }
    lab.target(PLACES[5], Target::that(Behave::Refuse));
    lab.target(PLACES[6], Target::that(Behave::Silent));
    lab.serve(PLACES[7], [Act::Echo]);
    let slow = ms(rng.below(3000) as u64);
    lab.name(
        "some.example",
        [
            Answer::ips(slow, &["2001:db8::9", "192.0.2.1"]),
            Answer { after: slow, result: Err(Fault::NameNotFound) },
            Answer::ips(slow, &["192.0.2.7", "192.0.2.1"]),
        ],
    );
    for link in 0..uplinks {
        for _ in 0..rng.below(3) {
            let bad = [
                Link::BlackHole,
                Link::Broken(Fault::NoDevice),
                Link::Broken(Fault::NetworkUnreachable),
                Link::OnlyV4,
            ];
            let at = ms(rng.below(5000) as u64);
            lab.link_at(at, link, bad[rng.below(4)]);
            lab.link_at(at + ms(rng.below(20_000) as u64), link, Link::Up);
        }
    }
    if rng.one_in(3) {
        let at = ms(rng.below(3000) as u64);
        lab.world.after(at, Ev::SetFdLimit(rng.below(6)));
        lab.world.after(at + ms(rng.below(9000) as u64), Ev::SetFdLimit(10_000));
    }
    let plans = (0..1 + rng.below(8)).map(|n| a_client(&mut lab, &mut rng, n as u8)).collect();
    if rng.one_in(4) {
        lab.drain_at(ms(rng.below(10_000) as u64));
    }
    (lab, plans)
}

fn a_client(lab: &mut Lab, rng: &mut Rng, n: u8) -> Plan {
    let to = PLACES[rng.below(8)];
    let four = !to.starts_with('[');
    let (words, granted) = match rng.below(5) {
        0 if four => (say::socks4(1, [192, 0, 2, to.as_bytes()[8] - b'0'], 80, b"u"), vec![0; 8]),
        1 => (say::http_connect(to), say::HTTP_GRANTED.to_vec()),
        2 => (say::socks5_to_name("some.example", 80), vec![0; say::SOCKS5_GRANTED]),
        _ if four => (say::socks5(addr(to)), vec![0; say::SOCKS5_GRANTED]),
        _ => (say::socks5(addr(to)), vec![0; 2 + 22]),
    };
    let (socks5, handshake) = (words[0] == 5, words.len());
    let mut payload = pattern(2 + rng.below(100_000), n);
    payload[0] = n;
    payload[1] = 0xaa;
    let mut script = Vec::new();
    let at = rng.below(payload.len());
    if rng.one_in(2) {
        // All in one go.
        script.push(Act::Send([&words, &payload[..at]].concat()));
    } else {
        script.extend([Act::Send(words), Act::AwaitTotal(granted.len()), Act::Send(payload[..at].to_vec())]);
    }
    match rng.below(8) {
        0 => script.extend([Act::Pause(ms(rng.below(3000) as u64)), Act::Reset]),
        1 => script.extend([Act::Pause(ms(rng.below(3000) as u64)), Act::Close]),
        2 => script.extend([
            Act::Read(Reading::Stopped),
            Act::Pause(secs(rng.below(200) as u64)),
            Act::Read(Reading::Fast),
        ]),
        3 => script.push(Act::Pause(secs(rng.below(20) as u64))),
        _ => {}
    }
    script.extend([Act::Send(payload[at..].to_vec()), Act::Fin, Act::AwaitEnd]);
    let person = a_person(rng, script);
    let who = lab.visitor(ms(rng.below(4000) as u64), 0, "127.0.0.1", person);
    Plan { who, payload, words: handshake, granted, socks5 }
}

/// Delivered bytes are a prefix of what was sent; all of it where the end was a clean one.
fn check_delivery(lab: &Lab, plans: &[Plan]) {
    for (place, sock) in &lab.world.served {
        let got = lab.got(*sock);
        let Some(plan) = got.first().map(|n| &plans[usize::from(*n)]) else { continue };
        let prefix = &plan.payload[..got.len().min(plan.payload.len())];
        same_bytes(got, prefix, &format!("up to {place}"));
        if lab.end(*sock) == End::Fin {
            let sent = lab.sock(plan.who).got.sent - plan.words;
            assert_eq!(got.len(), sent, "a clean end at {place} in the midst of the bytes");
            assert!(lab.sock(plan.who).fin_sent, "a clean end that the client never said");
        }
        // Downwards.
        let client = lab.got(plan.who);
        let refused = plan.socks5 && client.get(3).is_some_and(|code| *code != 0);
        if refused || client.len() < plan.granted.len() {
            continue;
        }
        let (client, sent) = (&client[plan.granted.len()..], lab.sock(*sock).got.sent);
        let said = if lab.world.targets[place].rest.script.iter().any(|act| matches!(act, Act::Echo)) {
            got.to_vec()
        } else {
            pattern(120_000, 99)
        };
        same_bytes(client, &said[..client.len().min(said.len())], &format!("down from {place}"));
        assert!(client.len() <= sent, "more than was sent");
        if lab.end(plan.who) == End::Fin {
            assert_eq!(client.len(), sent, "a clean end in the midst of what {place} sent");
        }
    }
}

fn trace(seed: u64) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut lab, plans) = a_world(seed);
    lab.finish();
    let bytes = plans.iter().map(|plan| lab.got(plan.who).to_vec()).collect();
    (lab.machine.trace, bytes)
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn in_any_weather_bytes_are_whole_and_everything_ends(seed in any::<u64>()) {
        let (mut lab, plans) = a_world(seed);
        lab.machine.quiet = true;
        lab.finish();
        check_delivery(&lab, &plans);
        for plan in &plans {
            let sock = lab.sock(plan.who);
            let left = sock.stopped_reading || lab.end(plan.who) != End::Open;
            prop_assert!(left || sock.person.reading == Reading::Stopped, "a client was left hanging");
        }
    }
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn the_same_seed_gives_the_same_trace(seed in any::<u64>()) {
        let (first, second) = (trace(seed), trace(seed));
        prop_assert_eq!(first.0.len(), second.0.len());
        let differs = first.0.iter().zip(&second.0).find(|(a, b)| a != b);
        prop_assert!(differs.is_none(), "{:?}", differs);
        prop_assert_eq!(first.1, second.1);
    }
}

// ---- fair weather ----

/// A client, what it says and what it is to hear.
type Talk = (Who, Vec<u8>, Vec<u8>);

/// Peers that read and speak, however slowly, and end in order; no timeout that could hide a stall.
fn a_fair_world(seed: u64) -> (Lab, Vec<Talk>) {
    let mut rng = Rng::new(seed);
    let mut setup = Setup::new(rng.below(3));
    setup.seed = seed;
    setup.fuel = [1, 2, 9, 64, 1000][rng.below(5)];
    setup.exact_more = rng.one_in(2);
    setup.rumours = rng.one_in(4);
    setup.splice = match rng.below(3) {
        0 => SpliceMode::Never,
        1 => SpliceMode::Pipe(1 + rng.below(60_000)),
        _ => SpliceMode::Moody(1 + rng.below(60_000)),
    };
    setup.config.handshake_timeout = secs(50_000);
    setup.config.connect_timeout = secs(50_000);
    setup.config.buffer_size = [1024, 1025, 4096, 65_536][rng.below(4)];
    setup.config.buffer_limit = [1, 2, 3, 8, 512][rng.below(5)];
    setup.config.max_connections = [1, 3, 100][rng.below(3)];
    setup.config.splice_after = rng.below(3) as u8;
    let mut lab = setup.build();
    lab.machine.quiet = true;
    let speech = pattern(rng.below(100_000), 99);
    for (place, script) in [
        (ECHO, vec![Act::Echo, Act::Fin]),
        (SPEAKS, vec![Act::Send(speech.clone()), Act::Fin, Act::AwaitEnd]),
        (SINK, vec![Act::AwaitEnd, Act::Pause(secs(6)), Act::Send(speech.clone()), Act::Fin]),
    ] {
        let person = a_person(&mut rng, script);
        lab.target(place, Target { answers: ms(rng.below(600) as u64), ..Target::new(person) });
    }
    let plans = (0..1 + rng.below(6)).map(|n| {
        let place = [ECHO, SPEAKS, SINK][rng.below(3)];
        let mut payload = pattern(1 + rng.below(100_000), n as u8);
        payload[0] = n as u8;
        let hello = Act::Send(say::socks5(addr(place)));
        let pause = Act::Pause(ms(rng.below(3) as u64 * 500));
        let script = vec![hello, pause.clone(), Act::Send(payload.clone()), pause, Act::Fin, Act::AwaitEnd];
        let person = a_person(&mut rng, script);
        let who = lab.visitor(ms(rng.below(2000) as u64), 0, "127.0.0.1", person);
        let answer = if place == ECHO { payload.clone() } else { speech.clone() };
        (who, payload, answer)
    });
    let plans = plans.collect();
    (lab, plans)
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn in_fair_weather_nothing_stalls_and_all_arrives(seed in any::<u64>()) {
        let (mut lab, plans) = a_fair_world(seed);
        lab.finish();
        prop_assert_eq!(lab.world.served.len(), plans.len());
        for (who, payload, answer) in &plans {
            let served = lab.world.served.iter().map(|(_, sock)| *sock);
            let target = served.into_iter().find(|sock| lab.got(*sock).first() == payload.first());
            same_bytes(lab.got(target.expect("each has its target")), payload, "up");
            same_bytes(&lab.got(*who)[say::SOCKS5_GRANTED..], answer, "down");
            prop_assert_eq!(lab.end(*who), End::Fin);
        }
    }
}

// ---- HTTP exchanges ----

/// One exchange: the request and the response as they are sent, and the last bytes of each.
struct Exchange {
    request: Vec<u8>,
    request_ends: Vec<u8>,
    response: Vec<u8>,
    passed: Vec<u8>,
}

fn a_body(rng: &mut Rng, mark: &str) -> (String, Vec<u8>, Vec<u8>) {
    let mut body = pattern(rng.below(5000), rng.below(200) as u8);
    body.extend(mark.as_bytes());
    if rng.one_in(2) {
        return (format!("Content-Length: {}\r\n", body.len()), body, mark.into());
    }
    let mut chunked = Vec::new();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + rng.below(rest.len()));
        chunked.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
        rest = after;
    }
    let last = format!("0\r\nMark: {mark}\r\n\r\n").into_bytes();
    chunked.extend(&last);
    ("Transfer-Encoding: chunked\r\n".into(), chunked, last)
}

fn an_exchange(rng: &mut Rng, n: usize) -> Exchange {
    let mark = format!("<end of {n}>");
    let bare = (String::new(), Vec::new(), b"\r\n\r\n".to_vec());
    let (fields, body, request_ends) = if rng.one_in(3) { bare } else { a_body(rng, &mark) };
    let head = format!("POST http://192.0.2.1/{n} HTTP/1.1\r\n{fields}\r\n");
    let interim = if rng.one_in(3) { "HTTP/1.1 103 Hints\r\n" } else { "" };
    let (fields, answer, _) = a_body(rng, &mark);
    let text = |via: &str| {
        let interim = if interim.is_empty() { String::new() } else { format!("{interim}{via}\r\n") };
        [format!("{interim}HTTP/1.1 200 OK\r\n{fields}{via}\r\n").as_bytes(), &answer].concat()
    };
    let (response, passed) = (text(""), text("Via: 1.1 ropewalk\r\n"));
    Exchange { request: [head.as_bytes(), &body].concat(), request_ends, response, passed }
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn any_row_of_exchanges_passes_whole_and_in_order(seed in any::<u64>()) {
        let mut rng = Rng::new(seed);
        let mut setup = Setup::new(1);
        (setup.seed, setup.fuel, setup.rumours) = (seed, [1, 5, 64][rng.below(3)], rng.one_in(3));
        setup.config.buffer_size = [1024, 3000, 65_536][rng.below(3)];
        setup.config.buffer_limit = [2, 3, 100][rng.below(3)];
        let mut lab = setup.build();
        lab.machine.quiet = true;
        let all: Vec<Exchange> = (0..1 + rng.below(6)).map(|n| an_exchange(&mut rng, n)).collect();
        let answer = |e: &Exchange| [Act::AwaitText(e.request_ends.clone()), Act::Send(e.response.clone())];
        let answers = all.iter().flat_map(answer);
        let origin = a_person(&mut rng, answers.chain([Act::AwaitEnd]).collect());
        lab.target(ECHO, Target::new(origin));
        let pipelined = rng.one_in(2);
        let mut script = Vec::new();
        let mut total = 0;
        for exchange in &all {
            script.push(Act::Send(exchange.request.clone()));
            total += exchange.passed.len();
            if !pipelined {
                script.push(Act::AwaitTotal(total));
            }
        }
        script.extend([Act::AwaitTotal(total), Act::Fin, Act::AwaitEnd]);
        let client = a_person(&mut rng, script);
        let who = lab.person(client);
        lab.finish();
        let wanted: Vec<u8> = all.iter().flat_map(|e| e.passed.clone()).collect();
        same_bytes(lab.got(who), &wanted, "responses");
        prop_assert_eq!(lab.end(who), End::Fin);
    }
}
