//! How fast an uplink may carry, in virtual time: connections share what it may, whoever they are,
//! and other uplinks are as fast as they can.

mod util;

use ropewalk_core::dispatch::{ConfigError, Dispatch, Rate};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Duration;
use util::lab::Who;
use util::place::SpliceMode;
use util::{Act, End, Lab, Person, Setup, addr, pattern, same_bytes, say};

const FAR: &str = "192.0.2.7:80";
/// Bytes a second.
const RATE: u64 = 100_000;

fn rate(sent: Option<u64>, received: Option<u64>) -> Option<Rate> {
    Some(Rate { sent, received })
}

fn lab(uplinks: usize, rates: Vec<Option<Rate>>) -> Lab {
    let mut setup = Setup::new(uplinks).with(|config| config.rates = rates);
    // What could be spliced must be read all the same.
    setup.splice = SpliceMode::Pipe(65_536);
    setup.build()
}

/// When a client had all of it.
fn done(lab: &Lab, who: Who) -> Duration {
    let at = lab.sock(who).got.times.last().expect("it got something").0;
    at - ropewalk_core::time::Instant::ZERO
}

fn downloads(lab: &mut Lab) -> Who {
    lab.person(Person::new([Act::Send(say::socks5(addr(FAR))), Act::AwaitEnd]))
}

#[test]
fn a_download_takes_as_long_as_its_rate_says_and_loses_nothing() {
    for (received, seconds) in [(RATE, 10.0), (4 * RATE, 2.5)] {
        let mut lab = lab(1, vec![rate(None, Some(received))]);
        let body = pattern(1_000_000, 3);
        lab.serve(FAR, [Act::Send(body.clone()), Act::Fin, Act::AwaitEnd]);
        let who = downloads(&mut lab);
        lab.finish();
        same_bytes(&lab.got(who)[say::SOCKS5_GRANTED..], &body, "the download");
        assert_eq!(lab.end(who), End::Fin);
        let took = done(&lab, who).as_secs_f64();
        assert!((seconds * 0.95..seconds * 1.05).contains(&took), "expected {seconds} s, took {took} s");
    }
}

#[test]
fn each_direction_has_its_own() {
    let mut lab = lab(1, vec![rate(Some(RATE), None)]);
    let body = pattern(500_000, 3);
    lab.serve(FAR, [Act::AwaitTotal(body.len()), Act::Send(body.clone()), Act::Fin, Act::AwaitEnd]);
    let script = [Act::Send([say::socks5(addr(FAR)), body.clone()].concat()), Act::AwaitEnd];
    let who = lab.person(Person::new(script));
    lab.finish();
    same_bytes(&lab.got(who)[say::SOCKS5_GRANTED..], &body, "what came back");
    let took = done(&lab, who).as_secs_f64();
    // Up at the rate; down at once. What came with the request is not held back.
    assert!((4.6..5.5).contains(&took), "took {took} s");
}

#[test]
fn connections_share_it_alike_and_other_uplinks_are_as_fast_as_they_can() {
    let mut lab = lab(2, vec![rate(None, Some(RATE)), None]);
    let body = pattern(300_000, 3);
    lab.serve(FAR, [Act::Send(body.clone()), Act::Fin, Act::AwaitEnd]);
    let all: Vec<Who> = (0..8).map(|_| downloads(&mut lab)).collect();
    lab.finish();
    let took: Vec<f64> = all.iter().map(|who| done(&lab, *who).as_secs_f64()).collect();
    let (mut slow, fast): (Vec<f64>, Vec<f64>) = took.iter().partition(|took| **took > 2.0);
    // By turns of the uplinks: four each.
    assert_eq!((slow.len(), fast.len()), (4, 4), "{took:?}");
    slow.sort_by(f64::total_cmp);
    // Four times 300 kB at 100 kB/s; none is done long before the others.
    assert!((11.4..12.6).contains(&slow[3]) && slow[0] > 11.0, "{slow:?}");
}

#[test]
fn plain_http_is_held_to_it_too() {
    let mut lab = lab(1, vec![rate(None, Some(RATE))]);
    let body = pattern(500_000, 3);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [head.as_bytes(), &body].concat();
    lab.serve(FAR, [Act::AwaitText(b"\r\n\r\n".to_vec()), Act::Send(answer), Act::AwaitEnd]);
    let request = format!("GET http://{FAR}/ HTTP/1.1\r\nHost: {FAR}\r\nConnection: close\r\n\r\n");
    let who = lab.person(Person::new([Act::Send(request.into_bytes()), Act::AwaitEnd]));
    lab.finish();
    assert!(lab.got(who).ends_with(&body));
    let took = done(&lab, who).as_secs_f64();
    assert!((4.7..5.3).contains(&took), "took {took} s");
}

#[test]
fn a_rate_of_nothing_is_refused() {
    let config = Setup::new(1).with(|config| config.rates = vec![rate(Some(0), None)]).config;
    assert!(matches!(Dispatch::new(config), Err(ConfigError::Zero("rates"))));
}

#[test]
fn connections_that_are_held_back_are_told_of_once_a_second_and_others_are_not() {
    let mut lab = lab(2, vec![rate(None, Some(RATE)), None]);
    lab.serve(FAR, [Act::Send(pattern(500_000, 3)), Act::Fin, Act::AwaitEnd]);
    for _ in 0..4 {
        downloads(&mut lab);
    }
    lab.finish();
    let told: Vec<_> = lab.world.events.iter().filter(|(_, e)| matches!(e, Event::HeldBack { .. })).collect();
    // Two of the four, 10 s together.
    assert!((9..=11).contains(&told.len()), "{told:?}");
    for (_, event) in told {
        let Event::HeldBack { uplink, sent, count } = event else { unreachable!("filtered above") };
        assert_eq!((*uplink, *sent), (UplinkId(0), false));
        assert!(*count >= 1, "{count}");
    }
}
