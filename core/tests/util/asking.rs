//! SOCKS5 clients that ask for a target, and the codes of the replies.

use super::addr;
use super::lab::{Lab, Setup, Who};
use super::person::{Act, End, Person};
use super::place::Target;
use super::say::{self, SOCKS5_GRANTED};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Report, UplinkId};
use ropewalk_core::time::{Duration, Instant};

/// A target.
pub(crate) const FAR: &str = "192.0.2.7:80";
/// The same over IPv6.
pub(crate) const FAR6: &str = "[2001:db8::7]:80";

/// A SOCKS5 client that asks for `to`, says a word, and leaves when it has heard it.
pub(crate) fn asks(lab: &mut Lab, to: &str) -> Who {
    asks_with(lab, say::socks5(addr(to)))
}

pub(crate) fn asks_with(lab: &mut Lab, words: Vec<u8>) -> Who {
    let script =
        [Act::Send(words), Act::AwaitTotal(12), Act::Send(b"ping".to_vec()), Act::Fin, Act::AwaitEnd];
    lab.client(script)
}

/// The code of a SOCKS5 reply.
#[track_caller]
pub(crate) fn code(lab: &Lab, who: Who) -> u8 {
    let got = lab.got(who);
    assert!(got.len() >= 12 && got[..2] == [5, 0] && got[2] == 5, "no reply in {got:?}");
    got[3]
}

/// The code of the reply to a request for `to`, when all is over.
#[track_caller]
pub(crate) fn code_for(lab: &mut Lab, to: &str) -> u8 {
    let who = asks(lab, to);
    lab.finish();
    if code(lab, who) != 0 {
        assert_eq!(lab.got(who), [&[5, 0][..], &say::socks5_refusal(code(lab, who))].concat());
        assert_eq!(lab.end(who), End::Fin, "a refused client is closed in order");
    }
    code(lab, who)
}

/// The script of a client that is connected to `FAR` first.
pub(crate) fn connected(rest: impl IntoIterator<Item = Act>) -> Vec<Act> {
    let hello = [Act::Send(say::socks5(addr(FAR))), Act::AwaitTotal(SOCKS5_GRANTED)];
    hello.into_iter().chain(rest).collect()
}

pub(crate) fn payload(lab: &Lab, who: Who) -> &[u8] {
    lab.got(who).get(SOCKS5_GRANTED..).unwrap_or_default()
}

pub(crate) fn serve(lab: &mut Lab, person: Person) {
    lab.target(FAR, Target::new(person));
}

/// This many uplinks, and an echo at [`FAR`] and [`FAR6`].
pub(crate) fn lab_with_echoes(uplinks: usize) -> Lab {
    let mut lab = Setup::new(uplinks).build();
    lab.serve(FAR, [Act::Echo]);
    lab.serve(FAR6, [Act::Echo]);
    lab
}

/// How long after the start the byte at `offset` came to a client.
pub(crate) fn since_start(lab: &Lab, who: Who, offset: usize) -> Duration {
    lab.sock(who).got.byte_at(offset).expect("it came") - Instant::ZERO
}

/// How often the pool heard that an uplink was outpaced.
pub(crate) fn outpaced(lab: &Lab) -> usize {
    lab.world.reports.iter().filter(|report| matches!(report, Report::Outpaced { .. })).count()
}

/// The uplinks that began to rest.
pub(crate) fn downs(lab: &Lab) -> Vec<UplinkId> {
    let down = |(_, event): &(Instant, Event)| match event {
        Event::UplinkDown { uplink, .. } => Some(*uplink),
        _ => None,
    };
    lab.world.events.iter().filter_map(down).collect()
}
