//! Acknowledgements from somebody who lies.

use super::super::{Ack, Arrived, Event, Path, PathConfig, RawDelay, SentInfo, timestamp};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeSet;
use proptest::prelude::*;

fn ack() -> impl Strategy<Value = Ack> {
    // Half of the numbers near what was sent, half anywhere.
    let near = prop_oneof![0u32..300, any::<u32>()];
    let times = (any::<u16>(), prop_oneof![0u32..4_000_000, any::<u32>()], any::<u32>(), any::<u16>());
    let ranges = (prop_oneof![0u16..50, any::<u16>()], any::<u8>(), any::<[(u16, u16); 3]>(), any::<bool>());
    let received = prop_oneof![0u32..400_000, any::<u32>()];
    (near, times, ranges, received).prop_map(
        |(largest, (delay, echo, raw, ce), (first, more_len, more, small), received)| {
            let more = if small { more.map(|(gap, len)| (gap % 8, len % 8)) } else { more };
            Ack { largest, delay, echo, raw_delay: RawDelay(raw), ce, received, first, more_len, more }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn nothing_is_acknowledged_that_was_not_sent_and_nothing_twice(
        steps in prop::collection::vec((0u64..20_000, 0usize..20, prop::option::weighted(0.7, ack())), 1..80),
        honest in any::<bool>(),
    ) {
        let mut now = Instant::from_nanos(1_000_000_000);
        let mut path = Path::new(now, PathConfig::default());
        let (mut sent, mut settled, mut bytes) = (BTreeSet::new(), BTreeSet::new(), 0u64);
        for (step, send, ack) in steps {
            now += Duration::from_micros(step);
            let mut events = alloc::vec::Vec::new();
            for _ in 0..send {
                if path.may_send(now, 0, 1200).is_ok() {
                    let number = path.next_number();
                    let eliciting = !number.is_multiple_of(7);
                    let info = SentInfo { sequence: None, eliciting, mtu_probe: false };
                    path.handle_sent(now, number, 1200, info);
                    bytes += 1200;
                    if eliciting {
                        sent.insert(number);
                    }
                }
            }
            if let Some(mut ack) = ack {
                if honest {
                    ack.echo = timestamp(now).wrapping_sub(20_000) & 0xff_ffff;
                }
                path.handle_ack(now, &ack, &mut |event| events.push(event));
            }
            if path.poll_timeout().is_some_and(|at| at <= now) {
                path.handle_timeout(now, &mut |event| events.push(event));
            }
            for event in events {
                if let Event::Acked(packet) | Event::Late(packet) = event {
                    prop_assert!(sent.contains(&packet.number), "{:?} was not sent", packet);
                    prop_assert!(settled.insert(packet.number), "{:?} was acknowledged before", packet);
                }
            }
            let outstanding: u64 = path.outstanding().map(|packet| u64::from(packet.bytes)).sum();
            prop_assert_eq!(path.in_flight(), outstanding);
            prop_assert!(path.delivered <= bytes, "delivered {} of {}", path.delivered, bytes);
            prop_assert!(path.poll_timeout().is_none_or(|at| at + Duration::from_secs(40) > now));
        }
    }

    #[test]
    fn any_arrival_is_taken(
        packets in prop::collection::vec(
            (any::<u64>(), any::<u32>(), any::<u32>(), any::<bool>(), 0u64..50_000),
            1..200,
        ),
    ) {
        let mut now = Instant::ZERO;
        let mut path = Path::new(now, PathConfig::default());
        for (number, timestamp, bytes, flag, step) in packets {
            now += Duration::from_micros(step);
            let number = if flag { number } else { number % 1000 };
            path.handle_received(now, &Arrived { number, timestamp, bytes, ce: flag, eliciting: !flag });
            let due = path.ack_due();
            let mut acks = 0;
            while let Some(ack) = path.poll_ack(now) {
                prop_assert!(due.is_some_and(|due| due <= now) && usize::from(ack.more_len) <= 3);
                acks += 1;
                prop_assert!(acks < 64, "acknowledgements without end");
            }
        }
    }
}

#[test]
fn a_path_that_only_answers_may_send_however_long_ago_its_last_loss_is() {
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut path = Path::new(now, PathConfig::default());
    let info = SentInfo { sequence: None, eliciting: true, mtu_probe: false };
    (0..2).for_each(|number| path.handle_sent(now, number, 100, info));
    let echo = timestamp(now);
    now += Duration::from_millis(20);
    path.handle_ack(now, &Ack { largest: 1, echo, received: 100, ..Ack::default() }, &mut |_| ());
    now = path.poll_timeout().expect("the first packet is overdue");
    let mut lost = 0;
    path.handle_timeout(now, &mut |event| lost += u32::from(matches!(event, Event::Lost(_))));
    assert_eq!(lost, 1);
    for number in 2..40_000 {
        path.handle_sent(now, number, 100, SentInfo { eliciting: false, ..info });
    }
    now += Duration::from_secs(3600);
    assert_eq!(path.may_send(now, 0, 1200), Ok(()));
}
