//! Which connections count as not answered: evidence that an uplink carries nothing.

mod util;

use ropewalk_core::machine::{Report, UplinkId};
use ropewalk_core::time::Duration;
use std::net::IpAddr;
use util::asking::{FAR, connected};
use util::say::{self, SOCKS5_GRANTED};
use util::{Act, Lab, Person, Setup, addr, ms, secs};

fn lab(target: impl IntoIterator<Item = Act>) -> Lab {
    let mut lab = Setup::new(1).build();
    lab.serve(FAR, target);
    lab
}

fn mute(lab: &Lab) -> Vec<(UplinkId, IpAddr)> {
    let mute = |report: &Report| match *report {
        Report::Mute { uplink, to } => Some((uplink, to)),
        _ => None,
    };
    lab.world.reports.iter().filter_map(mute).collect()
}

/// What is told within this time, and after a minute more.
#[track_caller]
fn told(lab: &mut Lab, within: Duration) -> (usize, usize) {
    lab.run_for(within);
    let first = mute(lab);
    lab.run_for(secs(60));
    assert!(mute(lab).iter().all(|told| *told == (UplinkId(0), addr(FAR).ip())), "{:?}", mute(lab));
    (first.len(), mute(lab).len())
}

fn hello() -> Act {
    Act::Send(b"hello".to_vec())
}

#[test]
fn who_waits_for_an_answer_for_five_seconds_is_told_once() {
    let mut lab = lab([Act::AwaitEnd]);
    lab.client(connected([hello(), Act::AwaitEnd]));
    assert_eq!(told(&mut lab, ms(4_500)), (0, 1));
}

#[test]
fn what_was_sent_with_the_request_waits_for_an_answer_too() {
    let mut lab = lab([Act::AwaitEnd]);
    let asks = [say::socks5(addr(FAR)), b"hello".to_vec()].concat();
    lab.client([Act::Send(asks), Act::AwaitEnd]);
    assert_eq!(told(&mut lab, ms(4_500)), (0, 1));
}

#[test]
fn who_is_silent_or_answered_or_goes_on_sending_waits_for_nothing() {
    let mut silent = lab([Act::AwaitEnd]);
    silent.client(connected([Act::AwaitEnd]));
    assert_eq!(told(&mut silent, secs(10)), (0, 0));

    let mut answered = lab([Act::AwaitTotal(5), Act::Pause(secs(3)), hello(), Act::AwaitEnd]);
    answered.client(connected([hello(), Act::AwaitEnd]));
    assert_eq!(told(&mut answered, secs(10)), (0, 0));

    // An upload of half a minute, and then its answer.
    let mut upload = lab([Act::AwaitTotal(30_000), hello(), Act::AwaitEnd]);
    let sends = [Act::AwaitTotal(SOCKS5_GRANTED), Act::Pace(500, ms(500)), Act::Send(vec![7; 30_000])];
    let script = [Act::Send(say::socks5(addr(FAR)))].into_iter().chain(sends).chain([Act::AwaitEnd]);
    upload.person(Person::new(script.collect::<Vec<_>>()));
    assert_eq!(told(&mut upload, secs(20)), (0, 0));
}
