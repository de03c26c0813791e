//! What the system keeps in socket buffers has a bound: who stands still goes, the largest first.

mod util;

use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Fault, Input, Kept, StreamId};
use util::asking::{connected, payload, serve};
use util::lab::Who;
use util::say;
use util::{Act, Lab, Person, Reading, Setup, addr, ms, pattern, same_bytes, secs};

/// So much fits into the system's buffers of one connection: in front of the client, behind the
/// target.
const CLIENT: usize = 200_000;
const TARGET: usize = 60_000;

fn lab(bytes: &[u8]) -> Lab {
    let mut lab = Setup::new(1).with(|config| config.buffer_size = 4096).build();
    let sender = Person::new([Act::Send(bytes.to_vec()), Act::Fin, Act::AwaitEnd]);
    serve(&mut lab, sender.whole().windows(CLIENT, TARGET));
    lab
}

fn client(lab: &mut Lab, window: usize, rest: impl IntoIterator<Item = Act>) -> Who {
    lab.person(Person::new(connected(rest)).windows(window, 64 * 1024))
}

fn stalled(lab: &mut Lab, window: usize) -> Who {
    client(lab, window, [Act::Read(Reading::Stopped), Act::AwaitEnd])
}

/// What was said of memory: used, limit, ended.
fn told(lab: &Lab) -> Vec<(u64, u64, usize)> {
    let told = |event: &Event| match *event {
        Event::SocketMemory { used, limit, ended } => Some((used, limit, ended)),
        _ => None,
    };
    lab.world.events.iter().filter_map(|(_, event)| told(event)).collect()
}

fn is_reset(lab: &Lab, who: Who) -> bool {
    lab.sock(who).out_rst
}

#[test]
fn the_largest_of_those_that_stand_still_end_until_an_eighth_is_free() {
    let bytes = pattern(400_000, 3);
    let mut lab = lab(&bytes);
    let windows = [50_000, 200_000, 100_000, 150_000];
    let all: Vec<Who> = windows.iter().map(|window| stalled(&mut lab, *window)).collect();
    // It has read all there is, and is silent.
    lab.serve("192.0.2.8:80", [Act::Send(b"word".to_vec()), Act::AwaitEnd]);
    let idle = lab.client([Act::Send(say::socks5(addr("192.0.2.8:80"))), Act::AwaitEnd]);
    lab.run_for(secs(3));
    lab.measure(10_000_000);
    assert_eq!(told(&lab), [], "below the limit nothing is said");
    // 500,000 in front of the clients and 240,000 behind the targets; the two largest make room.
    lab.measure(500_000);
    let [(used, 500_000, 2)] = told(&lab)[..] else { panic!("{:?}", told(&lab)) };
    assert!((735_000..=745_000).contains(&used), "{used}");
    let gone: Vec<bool> = all.iter().map(|who| is_reset(&lab, *who)).collect();
    assert_eq!(gone, [false, true, false, true]);
    assert!(!is_reset(&lab, idle), "it keeps nothing");
    let ended =
        |(_, event): &&(_, Event)| matches!(event, Event::Closed { fault: Some(Fault::NoMemory), .. });
    assert_eq!(lab.world.events.iter().filter(ended).count(), 2);
    // Their room is free at once, so the next client is taken.
    let late = stalled(&mut lab, 10_000);
    lab.run_for(ms(500));
    assert!(!payload(&lab, late).is_empty() || !lab.sock(late).outbox.is_empty(), "it was not served");
    lab.measure(500_000);
    assert_eq!(told(&lab).len(), 1, "it is over");
}

#[test]
fn bytes_that_move_are_left_alone_and_new_clients_wait() {
    let bytes = pattern(3_000_000, 3);
    let mut lab = lab(&bytes);
    let slow = Act::Read(Reading::Slow(20_000, ms(200)));
    let reader = client(&mut lab, CLIENT, [slow, Act::AwaitEnd]);
    lab.run_for(secs(3));
    lab.measure(100_000);
    let late = client(&mut lab, CLIENT, [Act::AwaitEnd]);
    lab.run_for(secs(2));
    lab.measure(100_000);
    assert!(!is_reset(&lab, reader), "it reads");
    assert!(told(&lab).iter().all(|(_, _, ended)| *ended == 0) && told(&lab).len() == 2, "{:?}", told(&lab));
    assert!(lab.got(late).is_empty(), "no connection is taken while that is so");
    // The next look finds room.
    lab.measure(10_000_000);
    lab.finish();
    for who in [reader, late] {
        same_bytes(payload(&lab, who), &bytes, "down");
    }
}

#[test]
fn a_stall_is_a_second_without_a_byte() {
    let bytes = pattern(400_000, 3);
    let mut lab = lab(&bytes);
    let who = stalled(&mut lab, CLIENT);
    lab.run_for(ms(900));
    lab.measure(1_000);
    assert!(!is_reset(&lab, who));
    lab.run_for(ms(1_100));
    lab.measure(1_000);
    assert!(is_reset(&lab, who));
}

/// The target sends a little now and then, so bytes move into the system's buffer all the time.
#[test]
fn who_takes_nothing_stands_still_though_its_buffer_still_fills() {
    let mut lab = Setup::new(1).build();
    let sender = Person::new([Act::Send(pattern(2_000_000, 3)), Act::AwaitEnd]);
    serve(&mut lab, sender.segments(2_000, ms(50)));
    let who = stalled(&mut lab, 1_000_000);
    let reader = client(&mut lab, 1_000_000, [Act::AwaitEnd]);
    lab.run_for(secs(3));
    lab.measure(20_000);
    assert!(!is_reset(&lab, who), "the first look does not know how long");
    lab.run_for(ms(1_200));
    lab.measure(20_000);
    assert!(is_reset(&lab, who));
    assert!(!is_reset(&lab, reader), "it reads");
    lab.run_for(secs(2));
    let before = payload(&lab, reader).len();
    lab.run_for(secs(2));
    assert!(payload(&lab, reader).len() > before);
}

#[test]
fn a_response_that_nobody_reads_goes_too() {
    let mut lab = Setup::new(1).build();
    let mut response = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n".to_vec();
    response.extend(pattern(900_000, 1));
    let origin = Person::new([Act::AwaitText(b"\r\n\r\n".to_vec()), Act::Send(response), Act::AwaitEnd]);
    lab.target("192.0.2.9:80", util::Target::new(origin.whole()));
    let request = b"GET http://192.0.2.9/ HTTP/1.1\r\nHost: 192.0.2.9\r\n\r\n".to_vec();
    let script = [Act::Read(Reading::Stopped), Act::Send(request), Act::AwaitEnd];
    let who = lab.person(Person::new(script).windows(CLIENT, 64 * 1024));
    lab.run_for(secs(4));
    lab.measure(1_000);
    assert!(is_reset(&lab, who));
    assert!(is_reset(&lab, lab.served(0)));
    lab.finish();
}

#[test]
fn who_has_left_meanwhile_and_ids_that_never_were_are_nobodys() {
    let bytes = pattern(400_000, 3);
    let mut lab = lab(&bytes);
    let who = stalled(&mut lab, CLIENT);
    lab.run_for(secs(3));
    let stream = |index| Kept { stream: StreamId::from_parts(index, 9), bytes: u32::MAX, stuck: secs(9) };
    lab.input(Input::SocketMemory { used: u64::MAX, limit: 1, streams: &[stream(0), stream(1), stream(77)] });
    assert!(!is_reset(&lab, who));
    assert_eq!(told(&lab), [(u64::MAX, 1, 0)]);
    // A driver that says so is believed.
    lab.input(Input::SocketMemory { used: 1, limit: 1, streams: &[] });
    assert_eq!(told(&lab).len(), 1, "as much as may be is not too much");
    let late = client(&mut lab, CLIENT, [Act::AwaitEnd]);
    lab.run_for(secs(3));
    same_bytes(payload(&lab, late), &bytes, "down");
}
