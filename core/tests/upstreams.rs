//! Uplinks that are proxies, in virtual time: what they are told, what their answers become, and
//! whose fault a failure is.

mod util;

use ropewalk_core::dispatch::{Upstream, UpstreamProtocol};
use ropewalk_core::machine::event::{Event, Refusal};
use ropewalk_core::machine::{Fault, Report, UplinkId};
use ropewalk_core::uplink::UplinkConfig;
use util::asking::{FAR, asks, asks_with, code};
use util::lab::{Who, device};
use util::say;
use util::{Act, Answer, Behave, Lab, Person, Setup, Target, addr, ms, same_bytes, secs};

/// Where the proxies of uplinks 0 and 1 listen.
const PROXIES: [&str; 2] = ["198.51.100.1:1080", "198.51.100.2:1080"];
const GRANTED: [u8; 10] = [5, 0, 0, 1, 203, 0, 113, 1, 0, 80];

/// Proxies of this protocol behind so many uplinks, and as many uplinks without behind them.
fn lab(protocol: UpstreamProtocol, login: bool, proxies: usize, plain: usize) -> Lab {
    let mut setup = Setup::new(proxies + plain);
    for (uplink, proxy) in setup.uplinks.iter_mut().zip(PROXIES).take(proxies) {
        *uplink = UplinkConfig { endpoint: Some(addr(proxy)), upstream: true, ..uplink.clone() };
    }
    let login = login.then(|| (b"user".to_vec(), b"word".to_vec()));
    let upstreams = vec![Some(Upstream { protocol, login }); proxies];
    setup.with(|config| config.upstreams = upstreams).build()
}

fn socks5(proxies: usize, plain: usize) -> Lab {
    lab(UpstreamProtocol::Socks5, false, proxies, plain)
}

fn send(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Send(bytes.into())
}

/// A SOCKS5 proxy without passwords that answers a request of `len` bytes so, and then echoes.
fn answers(len: usize, answer: &[u8]) -> Vec<Act> {
    vec![Act::AwaitTotal(3), send([5, 0]), Act::AwaitTotal(3 + len), send(answer), Act::Echo]
}

const NAME: &str = "host.example";

fn name_request() -> Vec<u8> {
    say::socks5_name(NAME.as_bytes(), 443)
}

fn asks_name(lab: &mut Lab) -> Who {
    asks_with(lab, say::socks5_to_name(NAME, 443))
}

fn failed(lab: &Lab) -> Vec<(UplinkId, Fault)> {
    let each = |report: &Report| match report {
        Report::Failed { uplink, fault } => Some((*uplink, *fault)),
        _ => None,
    };
    lab.world.reports.iter().filter_map(each).collect()
}

fn rests(lab: &Lab) -> usize {
    lab.world.events.iter().filter(|(_, event)| matches!(event, Event::UplinkDown { .. })).count()
}

#[test]
fn a_name_goes_to_the_proxy_as_it_is_and_nobody_looks_it_up() {
    let mut lab = socks5(1, 0);
    lab.serve(PROXIES[0], answers(name_request().len(), &GRANTED));
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    assert!(lab.got(who).ends_with(b"ping"));
    let told = [&[5, 1, 0][..], &name_request(), b"ping"].concat();
    same_bytes(lab.got(lab.served(0)), &told, "what the proxy was told");
    assert!(lab.world.asked_names.is_empty());
    assert_eq!(lab.world.attempts[0].via.device, Some(device(0)), "through its interface");
}

#[test]
fn a_login_is_shown_and_an_address_goes_as_an_address() {
    let mut lab = lab(UpstreamProtocol::Socks5, true, 1, 0);
    let login = say::user_password(b"user", b"word");
    let request = say::socks5_request(1, addr(FAR));
    let script = [
        Act::AwaitTotal(4),
        send([5, 2]),
        Act::AwaitTotal(4 + login.len()),
        send([1, 0]),
        Act::AwaitTotal(4 + login.len() + request.len()),
        send(GRANTED),
        Act::Echo,
    ];
    lab.serve(PROXIES[0], script);
    let who = asks(&mut lab, FAR);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    let told = [&[5, 2, 0, 2][..], &login, &request, b"ping"].concat();
    same_bytes(lab.got(lab.served(0)), &told, "what the proxy was told");
}

#[test]
fn connect_of_an_http_proxy_loses_no_byte_that_comes_with_its_answer() {
    for pace in [1, 2, 1000] {
        let mut lab = lab(UpstreamProtocol::Http, true, 1, 0);
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0-early\r\n";
        let script =
            [Act::Pace(pace, ms(1)), Act::AwaitText(b"\r\n\r\n".to_vec()), send(&answer[..]), Act::Echo];
        lab.serve(PROXIES[0], script);
        let who = asks_name(&mut lab);
        lab.finish();
        assert_eq!(code(&lab, who), 0);
        assert_eq!(&lab.got(who)[12..], b"SSH-2.0-early\r\nping");
        let told = "CONNECT host.example:443 HTTP/1.1\r\nHost: host.example:443\r\n\
                    Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n\r\nping";
        same_bytes(lab.got(lab.served(0)), told.as_bytes(), "what the proxy was told");
        assert_eq!(lab.traffic(), (4, 15 + 4), "bytes behind the answer are the destination's");
    }
}

#[test]
fn plain_http_goes_through_either_proxy_by_a_connection_to_the_origin() {
    let origin = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let request = say::socks5_name(b"host.example", 80);
    for (protocol, script) in [
        (
            UpstreamProtocol::Socks5,
            vec![Act::AwaitTotal(3), send([5, 0]), Act::AwaitTotal(3 + request.len()), send(GRANTED)],
        ),
        (
            UpstreamProtocol::Http,
            vec![
                Act::AwaitText(b"CONNECT host.example:80 ".to_vec()),
                Act::AwaitText(b"\r\n\r\n".to_vec()),
                send("HTTP/1.0 200 x\r\n\r\n"),
            ],
        ),
    ] {
        let mut lab = lab(protocol, false, 1, 0);
        let rest = [
            Act::AwaitText(b"GET /x HTTP/1.1\r\n".to_vec()),
            Act::AwaitText(b"\r\n\r\n".to_vec()),
            send(&origin[..]),
        ];
        lab.serve(PROXIES[0], script.into_iter().chain(rest));
        let ask = b"GET http://host.example/x HTTP/1.1\r\nHost: host.example\r\nConnection: close\r\n\r\n";
        let who = lab.client([send(&ask[..]), Act::AwaitEnd]);
        lab.finish();
        assert_eq!(say::status(lab.got(who)), 200, "{protocol:?}");
        assert!(lab.got(who).ends_with(b"\r\n\r\nhi"));
    }
}

#[test]
fn what_the_proxy_answers_becomes_our_answer_and_its_uplink_stays_well() {
    for (theirs, ours, status) in
        [(1, 1, 502), (2, 2, 403), (3, 3, 502), (4, 4, 502), (5, 5, 502), (6, 6, 504), (99, 1, 502)]
    {
        let mut lab = socks5(1, 0);
        lab.serve(PROXIES[0], answers(name_request().len(), &say::socks5_refusal(theirs)));
        let who = asks_name(&mut lab);
        let web = lab.client([send(say::http_connect("host.example:443")), Act::AwaitEnd]);
        let old = lab.client([send(say::socks4a(b"host.example", 443, b"")), Act::AwaitEnd]);
        lab.finish();
        assert_eq!(code(&lab, who), ours, "{theirs}");
        assert_eq!(say::status(lab.got(web)), status, "{theirs}");
        assert_eq!(lab.got(old)[..2], [0, 91], "{theirs}");
        assert_eq!((failed(&lab).len(), rests(&lab)), (0, 0), "{theirs}: the destination's fault");
    }
    for (theirs, ours) in [(403, 2), (502, 1), (503, 1), (504, 6)] {
        let mut lab = lab(UpstreamProtocol::Http, false, 1, 0);
        let answer = format!("HTTP/1.1 {theirs} x\r\nContent-Length: 0\r\n\r\n");
        lab.serve(PROXIES[0], [Act::AwaitText(b"\r\n\r\n".to_vec()), send(answer), Act::Fin]);
        let who = asks_name(&mut lab);
        lab.finish();
        assert_eq!(code(&lab, who), ours, "{theirs}");
        assert_eq!((failed(&lab).len(), rests(&lab)), (0, 0), "{theirs}");
    }
}

#[test]
fn a_refused_destination_is_asked_of_one_proxy_only() {
    let mut lab = socks5(2, 1);
    for proxy in PROXIES {
        lab.serve(proxy, answers(name_request().len(), &say::socks5_refusal(5)));
    }
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 5);
    assert_eq!(lab.world.attempts.len(), 1);
}

#[test]
fn a_proxy_that_fails_is_left_and_the_request_moves_on_by_itself() {
    let login = [Act::AwaitTotal(3), send([5, 255]), Act::Fin];
    let web = [Act::AwaitTotal(3), send("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Fin];
    let ends = [Act::AwaitTotal(3), Act::Fin];
    for (target, fault) in [
        (Target::that(Behave::Refuse), Fault::Refused),
        (Target::that(Behave::Fail(Fault::HostUnreachable, ms(30))), Fault::HostUnreachable),
        (Target::new(Person::new(login)), Fault::ProxyLogin),
        (Target::new(Person::new(web)), Fault::Malformed),
        (Target::new(Person::new(ends)), Fault::Reset),
    ] {
        let mut lab = socks5(2, 0);
        lab.target(PROXIES[0], target);
        lab.serve(PROXIES[1], answers(name_request().len(), &GRANTED));
        let clients: Vec<Who> = (0..3).map(|_| asks_name(&mut lab)).collect();
        lab.finish();
        for who in clients {
            assert_eq!(code(&lab, who), 0, "{fault:?}");
        }
        assert!(failed(&lab).iter().all(|told| *told == (UplinkId(0), fault)), "{:?}", failed(&lab));
        assert_eq!(rests(&lab), 1, "{fault:?}");
    }
}

#[test]
fn a_mute_proxy_gets_company_and_one_that_dribbles_ends_by_the_deadline() {
    let mut lab = socks5(2, 0);
    lab.serve(PROXIES[0], [Act::AwaitEnd]);
    lab.serve(PROXIES[1], answers(name_request().len(), &GRANTED));
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    let took = lab.sock(who).got.byte_at(2).expect("an answer") - ropewalk_core::time::Instant::ZERO;
    assert!(took < ms(500), "{took:?}");

    let mut lab = lab_of_http_alone();
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 9_000]].concat();
    lab.serve(
        PROXIES[0],
        [Act::Pace(1, ms(5)), Act::AwaitText(b"\r\n\r\n".to_vec()), send(endless), Act::AwaitEnd],
    );
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 6);
    assert!(lab.sock(who).got.ended_at.expect("ended") - ropewalk_core::time::Instant::ZERO < secs(21));
}

fn lab_of_http_alone() -> Lab {
    lab(UpstreamProtocol::Http, false, 1, 0)
}

#[test]
fn a_huge_answer_is_cut_off_and_is_the_proxys_fault() {
    let mut lab = lab_of_http_alone();
    let huge = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 60_000]].concat();
    lab.serve(PROXIES[0], [Act::AwaitText(b"\r\n\r\n".to_vec()), send(huge), Act::AwaitEnd]);
    let who = asks_name(&mut lab);
    lab.finish();
    assert_ne!(code(&lab, who), 0);
    assert_eq!(failed(&lab), [(UplinkId(0), Fault::Malformed)]);
}

#[test]
fn beside_other_uplinks_each_has_its_share_and_only_theirs_is_looked_up() {
    let mut lab = socks5(1, 1);
    lab.serve(PROXIES[0], answers(name_request().len(), &GRANTED));
    lab.name(NAME, [Answer::ips(ms(5), &["192.0.2.7"])]);
    lab.serve("192.0.2.7:443", [Act::Echo]);
    for _ in 0..10 {
        let who = asks_name(&mut lab);
        lab.run();
        assert_eq!(code(&lab, who), 0);
    }
    lab.finish();
    assert_eq!(lab.world.asked_names.len(), 5);
    let by_proxy = lab.world.attempts.iter().filter(|attempt| attempt.to == addr(PROXIES[0])).count();
    assert_eq!((by_proxy, lab.world.attempts.len()), (5, 10));
    for attempt in &lab.world.attempts {
        let proxy = attempt.to == addr(PROXIES[0]);
        assert_eq!(attempt.via.device, Some(device(usize::from(!proxy))), "bound to its own uplink");
    }
}

#[test]
fn a_name_moves_on_from_a_dead_proxy_to_an_uplink_and_back() {
    // The proxy is dead: the name is looked up for the other uplink.
    let mut lab = socks5(1, 1);
    lab.target(PROXIES[0], Target::that(Behave::Refuse));
    lab.name(NAME, [Answer::ips(ms(5), &["192.0.2.7"])]);
    lab.serve("192.0.2.7:443", [Act::Echo]);
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    // Nobody here can look it up: the proxy can.
    for answer in
        [Answer { after: ms(5), result: Err(Fault::NameUnavailable) }, Answer::ips(secs(60), &["192.0.2.7"])]
    {
        let mut lab = socks5(1, 1);
        lab.name(NAME, [answer]);
        lab.serve(PROXIES[0], answers(name_request().len(), &GRANTED));
        for _ in 0..2 {
            let who = asks_name(&mut lab);
            lab.run();
            assert_eq!(code(&lab, who), 0);
        }
    }
    // Neither can.
    let mut lab = socks5(1, 1);
    lab.name(NAME, [Answer { after: ms(5), result: Err(Fault::NameNotFound) }]);
    lab.target(PROXIES[0], Target::that(Behave::Refuse));
    for _ in 0..2 {
        let who = asks_name(&mut lab);
        lab.run();
        assert_ne!(code(&lab, who), 0);
    }
    lab.finish();
}

#[test]
fn a_name_whose_addresses_lead_nowhere_is_told_to_the_proxy() {
    let mut lab = socks5(1, 1);
    lab.serve(PROXIES[0], answers(name_request().len(), &GRANTED));
    lab.name(NAME, [Answer::ips(ms(5), &["192.0.2.7"])]);
    lab.target("192.0.2.7:443", Target::that(Behave::Fail(Fault::HostUnreachable, ms(30))));
    for _ in 0..2 {
        let who = asks_name(&mut lab);
        lab.run();
        assert_eq!(code(&lab, who), 0);
    }
    lab.finish();
    assert_eq!(lab.world.asked_names.len(), 1, "one of them began with the uplink");
    assert_eq!(lab.world.attempts.len(), 3);
    // Where the proxy is dead too, nobody is asked for the name again.
    let mut lab = socks5(1, 1);
    lab.target(PROXIES[0], Target::that(Behave::Refuse));
    lab.name(NAME, [Answer::ips(ms(5), &["192.0.2.7"])]);
    lab.target("192.0.2.7:443", Target::that(Behave::Fail(Fault::HostUnreachable, ms(30))));
    let who = asks_name(&mut lab);
    lab.finish();
    assert_ne!(code(&lab, who), 0);
    assert_eq!(lab.world.asked_names.len(), 1);
}

#[test]
fn a_name_that_a_proxy_has_refused_is_told_to_no_other_when_its_addresses_come() {
    // Uplink 1 is no proxy; the name is looked up for it while the first proxy thinks.
    let mut setup = Setup::new(3);
    for (uplink, proxy) in [0, 2].into_iter().zip(PROXIES) {
        let uplink = &mut setup.uplinks[uplink];
        *uplink = UplinkConfig { endpoint: Some(addr(proxy)), upstream: true, ..uplink.clone() };
    }
    let proxy = Some(Upstream { protocol: UpstreamProtocol::Socks5, login: None });
    let mut lab = setup.with(|config| config.upstreams = vec![proxy.clone(), None, proxy]).build();
    let len = name_request().len();
    let refuses =
        [Act::AwaitTotal(3 + len), Act::Pause(ms(270)), send(say::socks5_refusal(5)), Act::AwaitEnd];
    lab.serve(PROXIES[0], [Act::AwaitTotal(3), send([5, 0])].into_iter().chain(refuses));
    lab.serve(PROXIES[1], answers(len, &GRANTED));
    lab.name(NAME, [Answer::ips(secs(1), &["192.0.2.7"])]);
    lab.target("192.0.2.7:443", Target::that(Behave::Fail(Fault::HostUnreachable, ms(30))));
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 5);
    let to: Vec<_> = lab.world.attempts.iter().map(|attempt| attempt.to).collect();
    assert_eq!(to, [addr(PROXIES[0]), addr("192.0.2.7:443")]);
}

#[test]
fn an_address_that_the_client_gives_is_guarded_and_a_name_of_loopback_is_never_sent() {
    let mut lab = socks5(1, 0);
    lab.serve(PROXIES[0], answers(name_request().len(), &GRANTED));
    let ask = |words: Vec<u8>| Person::new([send(words), Act::AwaitEnd]);
    let address = lab.visitor(ms(0), 0, "203.0.113.5", ask(say::socks5(addr("10.1.2.3:80"))));
    let name = lab.visitor(ms(0), 0, "203.0.113.5", ask(say::socks5_to_name("a.localhost", 80)));
    lab.finish();
    assert_eq!((code(&lab, address), code(&lab, name)), (2, 2));
    assert!(lab.refusals().iter().all(|why| matches!(why, Refusal::NotAllowed(_))));
    assert!(lab.world.attempts.is_empty());
}

#[test]
fn a_proxy_whose_address_is_not_known_is_passed_over_until_it_is() {
    let mut lab = socks5(2, 0);
    for proxy in PROXIES {
        lab.serve(proxy, answers(name_request().len(), &GRANTED));
    }
    lab.world.pool.set_endpoint(UplinkId(0), None);
    for _ in 0..3 {
        let who = asks_name(&mut lab);
        lab.run();
        assert_eq!(code(&lab, who), 0);
    }
    assert!(lab.world.attempts.iter().all(|attempt| attempt.to == addr(PROXIES[1])));
    lab.world.pool.set_endpoint(UplinkId(1), None);
    let who = asks_name(&mut lab);
    lab.run();
    assert_eq!(code(&lab, who), 3, "no uplink is left");
    lab.world.pool.set_endpoint(UplinkId(0), Some(addr(PROXIES[0])));
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
}

#[test]
fn a_proxy_that_is_this_proxy_is_no_circle() {
    let mut lab = socks5(2, 0);
    lab.world.pool.set_endpoint(UplinkId(0), Some(addr("127.0.0.1:1080")));
    lab.serve(PROXIES[1], answers(name_request().len(), &GRANTED));
    let who = asks_name(&mut lab);
    lab.finish();
    assert_eq!(code(&lab, who), 0);
    assert!(lab.world.attempts.iter().all(|attempt| attempt.to == addr(PROXIES[1])));
}

#[test]
fn a_client_that_leaves_early_ends_the_talk_with_the_proxy() {
    let mut lab = socks5(1, 0);
    lab.serve(PROXIES[0], [Act::AwaitTotal(3), Act::AwaitEnd]);
    lab.client([send(say::socks5_to_name(NAME, 443)), Act::Pause(ms(500)), Act::Reset]);
    lab.run_for(secs(1));
    assert!(lab.world.attempts.iter().all(|attempt| attempt.closed.is_some()));
    lab.finish();
}
