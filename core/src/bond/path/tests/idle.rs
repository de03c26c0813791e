//! An idle path: pings, and nothing that answers them but acknowledgements.

use super::super::{Arrived, Event, Path, PathConfig, SentInfo, timestamp};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// A control packet: IPv4, UDP, 10 bytes clear, 32 sealed, the tag.
const CONTROL: u32 = 28 + 10 + 32 + 16;

/// One packet from `ends[from]` arrives 10 ms later, and so do the acknowledgements it draws. How
/// many were sent.
fn exchange(ends: &mut [Path; 2], from: usize, now: Instant, eliciting: bool, sent: &mut [u64; 2]) {
    let later = now + Duration::from_millis(10);
    let number = ends[from].next_number();
    ends[from].handle_sent(now, number, CONTROL, SentInfo { eliciting, ..SentInfo::default() });
    sent[from] += 1;
    let arrived = Arrived { number, timestamp: timestamp(now), bytes: CONTROL, ce: false, eliciting };
    let to = 1 - from;
    ends[to].handle_received(later, &arrived);
    if let Some(ack) = ends[to].poll_ack(later) {
        exchange(ends, to, later, false, sent);
        ends[from].handle_ack(later + Duration::from_millis(10), &ack, &mut |_| ());
    }
}

#[test]
fn one_end_pings_and_the_other_acknowledges_and_nothing_else() {
    let start = Instant::from_nanos(1_000_000_000);
    let idle = [20, 22].map(Duration::from_secs);
    let mut ends = idle.map(|idle| Path::new(start, PathConfig { idle, ..PathConfig::default() }));
    let mut sent = [0, 0];
    let end = start + Duration::from_secs(600);
    loop {
        let at = ends.iter().filter_map(Path::poll_timeout).min().expect("a ping is always to come");
        if at > end {
            break;
        }
        for from in 0..2 {
            let mut events = Vec::new();
            ends[from].handle_timeout(at, &mut |event| events.push(event));
            for event in events {
                assert_eq!(event, Event::Ping, "nothing is wrong");
                exchange(&mut ends, from, at, true, &mut sent);
            }
        }
    }
    // One in 20 s and a round trip.
    assert_eq!(sent, [29, 29]);
    // 40 bit/s for each path and direction.
    let bits = sent.map(|packets| packets * u64::from(CONTROL) * 8 / 600);
    assert!(bits.iter().all(|bits| *bits < 40), "{bits:?} bit/s");
}

#[test]
fn a_busy_path_needs_no_ping() {
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut ends = [0, 1].map(|_| Path::new(now, PathConfig::default()));
    let mut sent = [0, 0];
    for _ in 0..60 {
        now += Duration::from_secs(1);
        for end in &mut ends {
            end.handle_timeout(now, &mut |event| assert_ne!(event, Event::Ping));
        }
        exchange(&mut ends, 0, now, true, &mut sent);
    }
}

#[test]
fn an_idle_path_is_small() {
    assert!(size_of::<Path>() < 4096, "{} bytes", size_of::<Path>());
}

#[test]
fn the_way_back_of_an_address_that_was_left_is_forgotten() {
    let start = Instant::from_nanos(1_000_000_000);
    let mut ends = [0, 1].map(|_| Path::new(start, PathConfig::default()));
    let info = SentInfo { eliciting: true, ..SentInfo::default() };
    ends[0].handle_sent(start, 0, CONTROL, info);
    let arrived =
        Arrived { number: 0, timestamp: timestamp(start), bytes: CONTROL, ce: false, eliciting: true };
    ends[1].handle_received(start + Duration::from_millis(10), &arrived);
    let ack = ends[1].poll_ack(start + Duration::from_millis(20)).expect("it is due");
    // By the nearest path at once, and by its own way a second later.
    ends[0].handle_ack(start + Duration::from_millis(25), &ack, &mut |_| ());
    let near = ends[0].probe_timeout();
    ends[0].handle_own_way(start + Duration::from_millis(1000), &ack);
    assert!(ends[0].probe_timeout() > Duration::from_millis(900));
    ends[0].handle_moved(start + Duration::from_millis(1000));
    assert_eq!(ends[0].probe_timeout(), near);
}
