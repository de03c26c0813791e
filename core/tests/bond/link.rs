//! One direction of a link, and what a hostile network does to it.

use ropewalk_core::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: u8,
    pub(crate) data: Vec<u8>,
}

/// Numbers that follow from a seed alone (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn happens(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// What a direction is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    /// Bytes per second.
    pub(crate) rate: u64,
    pub(crate) delay: Duration,
    /// Up to so much more, drawn for each: packets overtake each other.
    pub(crate) jitter: Duration,
    /// Of a hundred.
    pub(crate) loss: u8,
    pub(crate) twice: u8,
    /// It carries.
    pub(crate) up: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) nature: Nature,
    free: Instant,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    count: u64,
    /// Datagrams that found its queue full.
    pub(crate) overflowed: u64,
}

/// Bytes of the queue in front of a link, beside 100 ms of its rate.
const QUEUE: u64 = 30_000;

impl Link {
    pub(crate) fn new(nature: Nature) -> Link {
        Link { nature, free: Instant::ZERO, under_way: BTreeMap::new(), count: 0, overflowed: 0 }
    }

    /// Bytes that wait.
    fn queued(&self, now: Instant) -> u64 {
        (self.free - now).as_nanos() as u64 * self.nature.rate / 1_000_000_000
    }

    pub(crate) fn send(&mut self, now: Instant, dice: &mut Dice, datagram: Datagram) {
        let Nature { rate, delay, jitter, loss, twice, up } = self.nature;
        let bytes = datagram.data.len() as u64 + 28;
        let full = self.queued(now) > QUEUE + rate / 10;
        self.overflowed += u64::from(up && full);
        if !up || full || bytes > 1500 || dice.happens(loss) {
            return;
        }
        self.free = self.free.max(now) + Duration::from_nanos(bytes * 1_000_000_000 / rate);
        for _ in 0..1 + u64::from(dice.happens(twice)) {
            let late = Duration::from_nanos(dice.below(jitter.as_nanos() as u64 + 1));
            self.count += 1;
            self.under_way.insert((self.free + delay + late, self.count), datagram.clone());
        }
    }

    /// Whether it is under way.
    pub(crate) fn carries(&self, data: &[u8]) -> bool {
        self.under_way.values().any(|datagram| datagram.data == data)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Option<Datagram> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
