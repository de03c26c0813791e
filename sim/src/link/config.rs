//! What a direction of a link is made of: plain values, each with its unit.

use super::rng::Chance;
use super::schedule::Schedule;
use ropewalk_core::time::Duration;

/// Bits of IP packets in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// A packet takes no time to serialise.
    pub const UNLIMITED: Rate = Rate(u64::MAX);

    /// A rate in bits a second. On a link of rate zero nothing moves and the queue stays.
    pub const fn bits(per_second: u64) -> Self {
        Rate(per_second)
    }

    /// A rate in millions of bits a second.
    pub const fn mbit(per_second: u64) -> Self {
        Rate(per_second.saturating_mul(1_000_000))
    }

    /// Bits in a second; `u64::MAX` where unlimited.
    pub const fn as_bits(self) -> u64 {
        self.0
    }
}

/// How the one-way delay varies: each packet draws from `delay - spread ..= delay + spread`,
/// uniformly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jitter {
    /// Half the width of the range. What would fall under a delay of zero is zero.
    pub spread: Duration,
    /// Whether a packet with a shorter delay may overtake. Where not, it waits for its predecessor:
    /// a queue in order.
    pub reorder: bool,
}

/// Which packets vanish on the way, after serialisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each packet with this chance, whatever befell the one before.
    Independent(Chance),
    /// Bursts, after Gilbert and Elliott: two states, and each packet first moves the state, then
    /// meets it. `ge P,Q` of the recordings is `burst(P, Q)`.
    GilbertElliott {
        /// From good to bad, for each packet.
        enter: Chance,
        /// From bad to good, for each packet. Its inverse is the mean length of a burst.
        leave: Chance,
        /// The chance of loss in the good state.
        good: Chance,
        /// The chance of loss in the bad state.
        bad: Chance,
    },
}

impl Loss {
    /// Bursts in which everything is lost.
    pub const fn burst(enter: Chance, leave: Chance) -> Self {
        Loss::GilbertElliott { enter, leave, good: Chance::NEVER, bad: Chance::ALWAYS }
    }
}

/// Where packets wait for the serialiser. Bytes count what is not yet serialised, the packet being
/// sent among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Queue {
    /// A packet that does not fit is dropped.
    TailDrop {
        /// IP bytes.
        limit: u64,
    },
    /// RFC 8289: a packet that comes to the head after a standing delay is dropped, or marked where
    /// it allows that.
    CoDel {
        /// IP bytes; a packet that does not fit is dropped.
        limit: u64,
        /// The delay that may stand. RFC 8289 section 4.4: 5 ms.
        target: Duration,
        /// How long it may stand before the first drop. RFC 8289 section 4.3: 100 ms.
        interval: Duration,
    },
}

impl Queue {
    /// IP bytes that fit.
    pub const fn limit(&self) -> u64 {
        match *self {
            Queue::TailDrop { limit } | Queue::CoDel { limit, .. } => limit,
        }
    }
}

/// One direction of a link. The default is a wire: unlimited, at once, without loss.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// How fast it serialises.
    pub rate: Rate,
    /// From the end of serialisation to arrival.
    pub delay: Duration,
    /// How that delay varies.
    pub jitter: Jitter,
    /// What vanishes.
    pub loss: Loss,
    /// Where packets wait.
    pub queue: Queue,
    /// A radio that is granted the air once in this period: what was serialised since the last
    /// grant leaves as one burst. On the way of the acks this is what aggregates them. Zero or
    /// none: no grants.
    pub grant: Option<Duration>,
    /// What changes with time, and a recorded trace.
    pub schedule: Schedule,
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            rate: Rate::UNLIMITED,
            delay: Duration::ZERO,
            jitter: Jitter::default(),
            loss: Loss::None,
            queue: Queue::TailDrop { limit: u64::MAX },
            grant: None,
            schedule: Schedule::default(),
        }
    }
}

impl LinkConfig {
    /// A rate, a one-way delay and a tail-drop queue of `queue` bytes, as the recordings have.
    pub fn new(rate: Rate, delay: Duration, queue: u64) -> Self {
        LinkConfig { rate, delay, queue: Queue::TailDrop { limit: queue }, ..LinkConfig::default() }
    }
}
