//! A toy world in virtual time: a sender's path, one link, a receiver's path, and the way back. The
//! simulator has the real one; core cannot depend on it.

use super::super::{Ack, Arrived, Blocked, Event, Path, PathConfig, SentInfo, timestamp};
use crate::bond::rate::Rate;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

pub(super) const MTU: u32 = 1400;

/// The link and the way back. Change it while the world runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) rate: Rate,
    /// One way, each way.
    pub(super) delay: Duration,
    /// Added to the delay, evenly between zero and this.
    pub(super) jitter: Duration,
    pub(super) reorders: bool,
    /// Percent lost behind the queue.
    pub(super) loss: u64,
    /// The queue's room.
    pub(super) queue: Duration,
    /// A radio: what has gathered goes out at multiples of this, and so do acknowledgements.
    pub(super) grant: Option<Duration>,
    pub(super) dead: bool,
}

/// What wants to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Greedy,
    Rate(Rate),
    Silent,
}

#[derive(Debug)]
enum Next {
    Departs,
    Arrives(Frame),
    Acks(Ack),
    Wakes,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u64,
    bytes: u32,
    timestamp: u32,
    queued: Instant,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) link: Link,
    pub(super) source: Source,
    /// The driver's timer wakes only at multiples of this.
    pub(super) timer: Duration,
    pub(super) sender: Path,
    pub(super) receiver: Path,
    pub(super) events: Vec<(Instant, Event)>,
    /// When each packet left the queue, how long it stood there, and what it carried.
    pub(super) departed: Vec<(Instant, Duration, u32)>,
    pub(super) dropped: u64,
    next: BTreeMap<(Instant, u64), Next>,
    order: u64,
    queue: VecDeque<Frame>,
    last_arrival: Instant,
    random: u64,
    offered: u64,
    wake: Option<Instant>,
}

impl World {
    pub(super) fn new(mbit: u64, rtt_ms: u64) -> World {
        let link = Link {
            rate: Rate::from_bits_per_second(mbit * 1_000_000),
            delay: Duration::from_millis(rtt_ms) / 2,
            jitter: Duration::ZERO,
            reorders: false,
            loss: 0,
            queue: Duration::from_millis(rtt_ms.max(20) * 3 / 2)
                .max(Duration::from_millis(12_000 / (mbit * 8).min(12_000) * 20)),
            grant: None,
            dead: false,
        };
        let now = Instant::from_nanos(1_000_000_000);
        World {
            now,
            link,
            source: Source::Greedy,
            timer: Duration::from_millis(1),
            sender: Path::new(now, PathConfig::default()),
            receiver: Path::new(now, PathConfig::default()),
            events: Vec::new(),
            departed: Vec::new(),
            dropped: 0,
            next: BTreeMap::new(),
            order: 0,
            queue: VecDeque::new(),
            last_arrival: now,
            random: 0x9e37_79b9_7f4a_7c15,
            offered: 0,
            wake: None,
        }
    }

    /// Runs on for so long.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        self.send();
        while let Some(at) = self.next.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= end) {
            assert!(at >= self.now, "time goes on");
            self.now = at;
            // All that happens at one instant is one batch.
            while let Some(entry) = self.next.first_entry().filter(|entry| entry.key().0 == at) {
                let next = entry.remove();
                self.step(next);
            }
            let acks: Vec<Ack> = self.receiver.poll_ack(at).into_iter().collect();
            for ack in acks {
                let back = self.granted(at) + self.link.delay;
                if !self.link.dead {
                    self.at(back, Next::Acks(ack));
                }
            }
            self.send();
        }
        self.now = end;
    }

    fn step(&mut self, next: Next) {
        let (now, mut events) = (self.now, Vec::new());
        match next {
            Next::Departs => self.depart(),
            Next::Arrives(frame) => {
                let Frame { number, bytes, timestamp, .. } = frame;
                self.receiver
                    .handle_received(now, &Arrived { number, timestamp, bytes, ce: false, eliciting: true });
            }
            Next::Acks(ack) => self.sender.handle_ack(now, &ack, &mut |event| events.push(event)),
            Next::Wakes => {
                self.wake = None;
                if self.sender.poll_timeout().is_some_and(|at| at <= now) {
                    self.sender.handle_timeout(now, &mut |event| events.push(event));
                }
            }
        }
        for event in events {
            self.events.push((now, event));
            if matches!(event, Event::Probe | Event::Ping) {
                self.emit(100, None);
            }
        }
    }

    fn send(&mut self) {
        let mut wake = self.sender.poll_timeout();
        loop {
            let ready = match self.source {
                Source::Greedy => true,
                Source::Rate(rate) => {
                    wake = Some(self.now + Duration::from_millis(1));
                    rate.bytes_in(self.now - Instant::from_nanos(1_000_000_000))
                        >= self.offered + u64::from(MTU)
                }
                Source::Silent => false,
            };
            if !ready {
                break;
            }
            match self.sender.may_send(self.now, 0, u64::from(MTU)) {
                Ok(()) => {
                    let in_flight = self.sender.in_flight();
                    assert!(
                        in_flight == 0 || in_flight + u64::from(MTU) <= self.sender.cap(),
                        "in flight under the cap"
                    );
                    self.emit(MTU, Some(0));
                }
                Err(blocked) => {
                    if let Blocked::Paced(until) = blocked {
                        assert!(until > self.now);
                        wake = Some(wake.map_or(until, |wake| wake.min(until)));
                    }
                    break;
                }
            }
        }
        let due = self.receiver.ack_due();
        let Some(wake) = wake.into_iter().chain(due).min() else { return };
        let tick = self.timer.as_nanos() as u64;
        let wake = Instant::from_nanos(wake.as_nanos().div_ceil(tick) * tick)
            .max(self.now + Duration::from_nanos(1));
        if self.wake.is_none_or(|known| wake < known) {
            self.wake = Some(wake);
            self.at(wake, Next::Wakes);
        }
    }

    fn emit(&mut self, bytes: u32, sequence: Option<u32>) {
        let (now, number) = (self.now, self.sender.next_number());
        self.sender.handle_sent(now, number, bytes, SentInfo { sequence, eliciting: true, mtu_probe: false });
        self.offered += u64::from(bytes);
        let waiting: u64 = self.queue.iter().map(|frame| u64::from(frame.bytes)).sum();
        if waiting > self.link.rate.bytes_in(self.link.queue) {
            self.dropped += 1;
            return;
        }
        self.queue.push_back(Frame { number, bytes, timestamp: timestamp(now), queued: now });
        if self.queue.len() == 1 {
            self.at(now + self.link.rate.time_for(u64::from(bytes)), Next::Departs);
        }
    }

    fn depart(&mut self) {
        let Some(frame) = self.queue.pop_front() else { return };
        let took = self.link.rate.time_for(u64::from(frame.bytes));
        let stood = (self.now - frame.queued).saturating_sub(took);
        self.departed.push((self.now, stood, frame.bytes));
        let random = self.random();
        if random % 100 >= self.link.loss && !self.link.dead {
            let jitter = self.link.jitter * u32::try_from(random >> 8 & 0xffff).expect("masked") / 0xffff;
            let mut arrival = self.granted(self.now) + self.link.delay + jitter;
            if !self.link.reorders {
                arrival = arrival.max(self.last_arrival);
                self.last_arrival = arrival;
            }
            self.at(arrival, Next::Arrives(frame));
        }
        if let Some(next) = self.queue.front() {
            self.at(self.now + self.link.rate.time_for(u64::from(next.bytes)), Next::Departs);
        }
    }

    fn granted(&self, at: Instant) -> Instant {
        let grant = self.link.grant.map_or(1, |grant| grant.as_nanos() as u64);
        Instant::from_nanos(at.as_nanos().div_ceil(grant) * grant)
    }

    fn at(&mut self, at: Instant, next: Next) {
        self.order += 1;
        self.next.insert((at, self.order), next);
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20
    }

    /// Kilobits per second that left the queue in the last so many milliseconds.
    pub(super) fn carried(&self, ms: u64) -> u64 {
        let from = Instant::from_nanos(self.now.as_nanos() - ms * 1_000_000);
        let bytes: u64 = self
            .departed
            .iter()
            .rev()
            .take_while(|(at, _, _)| *at > from)
            .map(|(_, _, bytes)| u64::from(*bytes))
            .sum();
        bytes * 8 / ms
    }

    /// The queue, in microseconds, that so many percent of the packets of the last milliseconds
    /// found at most.
    pub(super) fn stood(&self, ms: u64, percent: usize) -> u128 {
        let from = Instant::from_nanos(self.now.as_nanos() - ms * 1_000_000);
        let mut stood: Vec<u128> = self
            .departed
            .iter()
            .rev()
            .take_while(|(at, _, _)| *at > from)
            .map(|(_, stood, _)| stood.as_micros())
            .collect();
        stood.sort_unstable();
        stood.get((stood.len() * percent / 100).min(stood.len().saturating_sub(1))).copied().unwrap_or(0)
    }

    pub(super) fn count(&self, which: fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| which(event)).count()
    }
}
