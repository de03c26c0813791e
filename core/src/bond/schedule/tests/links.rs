//! Two links, one flow whose window is what CoDel would leave it, everything in virtual time: are
//! the links full?
//!
//! The sender's view of a link can be wrong: its pacing and its predictions then are, and only the
//! measured one-way delay and the cap on what is in flight know better.

use super::*;
use crate::bond::ingress::Delays;
use crate::bond::order::{Config, Reorder};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

const PACKET: usize = 1500;
const BACK: Duration = Duration::from_millis(10);

struct Link {
    rate: Rate,
    delay: Duration,
    /// What the sender takes the rate for.
    believed: Rate,
    /// When the link has sent what it was given.
    busy_until: Instant,
    /// When the pacer lets the next one go.
    paced: Instant,
    in_flight: u64,
    measured: Option<Duration>,
    /// Bytes that came through while it was counted.
    counted: u64,
}

enum Event {
    Arrive { link: usize, sequence: u32, sent: Instant },
    Feedback { link: usize, delay: Duration },
    Credit,
    Timer,
}

struct World {
    now: Instant,
    links: Vec<Link>,
    events: BTreeMap<(Instant, u64), Event>,
    order: u64,
    scheduler: Scheduler,
    reorder: Reorder<u32>,
    sequence: u32,
    expected: u32,
    /// Packets that the flow may still send.
    credit: usize,
    /// When the sender wants to look again.
    timer: Option<Instant>,
}

/// Megabits, one-way delay in milliseconds, and by how many thousandths the view of the rate is
/// wrong.
type Spec = (u64, u64, i64);

impl World {
    fn new(specs: &[Spec], queue: Option<Duration>) -> World {
        let link = |&(megabits, delay, wrong): &Spec| {
            let rate = Rate::from_bits_per_second(megabits * 1_000_000);
            Link {
                rate,
                delay: Duration::from_millis(delay),
                believed: rate.scaled(1000u64.saturating_add_signed(wrong), 1000),
                busy_until: Instant::ZERO,
                paced: Instant::ZERO,
                in_flight: 0,
                measured: None,
                counted: 0,
            }
        };
        let links: Vec<Link> = specs.iter().map(link).collect();
        let slowest = links.iter().map(|link| link.delay).max().expect("some links");
        let fastest = links.iter().map(|link| link.delay).min().expect("some links");
        let sum: u64 = links.iter().map(|link| link.rate.bytes_per_second()).sum();
        let queue = queue.unwrap_or_else(|| Delays::suit(slowest + BACK, slowest - fastest).target);
        // What the round trip through the bond needs, and the queue that stands: what CoDel allows.
        let rtt = slowest + BACK;
        let window = Rate::from_bytes_per_second(sum).bytes_in(rtt + queue);
        let mut reorder = Reorder::new(Config::default());
        for link in 0..links.len() {
            reorder.set_path(Instant::ZERO, link as u8, Some(Duration::from_millis(200)));
        }
        World {
            now: Instant::ZERO,
            links,
            events: BTreeMap::new(),
            order: 0,
            scheduler: Scheduler::new(Strategy::Aggregate),
            reorder,
            sequence: 0,
            expected: 0,
            credit: window as usize / PACKET,
            timer: None,
        }
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.events.insert((at, self.order), event);
        self.order += 1;
    }

    fn views(&self) -> Vec<PathView> {
        let view = |(index, link): (usize, &Link)| {
            // One bandwidth-delay product of the view, and 5 ms.
            let cap = link.believed.bytes_in(link.delay + BACK + Duration::from_millis(5));
            let over = (link.in_flight + PACKET as u64).saturating_sub(cap);
            let drained = if over > 0 { self.now + link.believed.time_for(over) } else { self.now };
            PathView {
                fresh: link.measured.is_some(),
                loaded: link.measured.is_some(),
                found: true,
                rate: link.believed,
                delay: link.measured.unwrap_or_default(),
                far: link.measured.unwrap_or_default(),
                free_at: link.paced.max(drained),
                ..path(index as u8, 1, 0)
            }
        };
        self.links.iter().enumerate().map(view).collect()
    }

    /// Sends what may be sent.
    fn pump(&mut self) {
        while self.credit > 0 {
            let views = self.views();
            let head = bulk(self.credit * PACKET);
            match self.scheduler.decide(self.now, &head, &views) {
                Decision::Send(path) => self.send(usize::from(path), &views[usize::from(path)]),
                Decision::Wait(Some(until)) => {
                    if self.timer.is_none_or(|timer| until < timer) {
                        self.timer = Some(until);
                        self.at(until, Event::Timer);
                    }
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn send(&mut self, index: usize, view: &PathView) {
        self.scheduler.handle_sent(view, PACKET, false);
        self.credit -= 1;
        let (now, sequence) = (self.now, self.sequence);
        self.sequence += 1;
        let link = &mut self.links[index];
        link.in_flight += PACKET as u64;
        // Late by a timer, the pacer catches up on at most a packet.
        link.paced = link.paced.max(now) + link.believed.time_for(PACKET as u64);
        link.busy_until = link.busy_until.max(now) + link.rate.time_for(PACKET as u64);
        let arrival = link.busy_until + link.delay;
        self.at(arrival, Event::Arrive { link: index, sequence, sent: now });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Timer => self.timer = self.timer.filter(|timer| *timer > self.now),
            Event::Credit => self.credit += 1,
            Event::Feedback { link, delay } => {
                let link = &mut self.links[link];
                link.in_flight -= PACKET as u64;
                // RFC 6298's weight.
                link.measured = Some(link.measured.map_or(delay, |before| (before * 7 + delay) / 8));
            }
            Event::Arrive { link, sequence, sent } => {
                if self.now >= milliseconds(500) {
                    self.links[link].counted += PACKET as u64;
                }
                self.at(self.now + BACK, Event::Feedback { link, delay: self.now - sent });
                let distance = u16::from(sequence > 0);
                let taken = self.reorder.push(self.now, link as u8, sequence, distance, PACKET, sequence);
                taken.expect("each comes once");
            }
        }
        self.reorder.handle_timeout(self.now);
        while let Some(sequence) = self.reorder.poll() {
            assert_eq!(sequence, self.expected, "nothing is lost, so nothing is out of order");
            self.expected += 1;
            self.at(self.now + BACK, Event::Credit);
        }
    }
}

/// Runs a second and a half; how full each link was in the last second, in thousandths.
fn fill(specs: &[Spec], queue: Option<Duration>) -> Vec<u64> {
    let mut world = World::new(specs, queue);
    world.pump();
    while let Some(((at, _), event)) = world.events.pop_first() {
        if at > milliseconds(1500) {
            break;
        }
        world.now = at;
        world.handle(event);
        world.pump();
    }
    let full = |link: &Link| link.counted * 1000 / link.rate.bytes_in(Duration::from_secs(1));
    world.links.iter().map(full).collect()
}

/// The same for all links together.
fn fill_all(specs: &[Spec]) -> u64 {
    let all: u64 = specs.iter().map(|(megabits, ..)| megabits).sum();
    fill(specs, None).iter().zip(specs).map(|(full, (megabits, ..))| full * megabits).sum::<u64>() / all
}

#[test]
fn with_exact_views_both_links_are_full() {
    for (name, specs) in [
        ("S1", [(50, 10, 0), (50, 10, 0)]),
        ("S2", [(50, 10, 0), (20, 40, 0)]),
        ("S8", [(100, 10, 0), (10, 10, 0)]),
        ("as S2, the fat one far", [(20, 10, 0), (50, 40, 0)]),
    ] {
        let full = fill(&specs, None);
        assert!(full.iter().all(|full| *full >= 990), "{name}: {full:?}");
    }
}

#[test]
fn views_wrong_by_a_twentieth_cost_less_than_three_hundredths() {
    for (one, other) in [(50, -50), (-50, 50), (50, 50)] {
        for (name, specs) in [
            ("S1", [(50, 10, one), (50, 10, other)]),
            ("S2", [(50, 10, one), (20, 40, other)]),
            ("S8", [(100, 10, one), (10, 10, other)]),
        ] {
            // A link that is taken for slower than it is gets no more than that.
            let paced: u64 =
                specs.iter().map(|spec| spec.0 * 1000u64.saturating_add_signed(spec.2.min(0))).sum();
            let possible = paced / specs.iter().map(|spec| spec.0).sum::<u64>();
            let full = fill_all(&specs);
            assert!(full >= 970 * possible / 1000, "{name} {one} {other}: {full} of {possible}");
        }
    }
}

#[test]
fn the_far_link_is_fed_by_a_queue_as_long_as_the_skew() {
    // S2, whose skew is 30 ms: why the target of CoDel has the skew in it.
    let far = |queue| fill(&[(50, 10, 0), (20, 40, 0)], Some(Duration::from_millis(queue)))[1];
    assert!(far(5) < 500, "{}", far(5));
    assert!(far(30) >= 990, "{}", far(30));
}
