//! What a direction of a link has done: packets and bytes by fate, and how long they waited.

use ropewalk_core::time::Duration;

/// Packets and their IP bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Every packet that was pushed is in exactly one of `delivered`, `tail`, `codel`, `down` and
/// `lost`, or still on the way.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Given to the link.
    pub pushed: Count,
    /// Given out by `poll`.
    pub delivered: Count,
    /// Dropped because the queue was full.
    pub tail: Count,
    /// Dropped by CoDel.
    pub codel: Count,
    /// Dropped because the link was down, in the queue or before it.
    pub down: Count,
    /// Lost on the way, after serialisation.
    pub lost: Count,
    /// Marked by CoDel, and carried on.
    pub marked: Count,
    /// How long packets waited for the serialiser, those that it began.
    pub waits: Waits,
}

impl Counters {
    /// All drops of the queue: tail, CoDel and down.
    pub fn dropped(&self) -> u64 {
        self.tail.packets + self.codel.packets + self.down.packets
    }
}

/// Sixteen steps to each doubling.
const STEPS: u64 = 16;

/// A histogram of waiting times, in steps of a sixteenth: 16 buckets for each doubling, from one
/// microsecond.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    buckets: Vec<u64>,
    total: u64,
}

impl Waits {
    pub(super) fn add(&mut self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let index = Waits::index(micros);
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        self.buckets[index] += 1;
        self.total += 1;
    }

    /// The bucket of this many microseconds: exact under 16, then the top five bits.
    fn index(micros: u64) -> usize {
        if micros < STEPS {
            return micros as usize;
        }
        let shift = micros.ilog2() - 4;
        (u64::from(shift) * STEPS + (micros >> shift)) as usize
    }

    /// The largest value of a bucket, in microseconds.
    fn most(index: usize) -> u64 {
        let index = index as u64;
        if index < 2 * STEPS {
            return index;
        }
        let shift = index / STEPS - 1;
        ((index % STEPS + STEPS + 1) << shift) - 1
    }

    /// The wait that this share of the packets (in thousandths) did not exceed, up to a sixteenth
    /// too long; zero without packets.
    pub fn quantile(&self, thousandths: u16) -> Duration {
        let wanted = (self.total.saturating_mul(u64::from(thousandths))).div_ceil(1000);
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if count > 0 && seen >= wanted {
                return Duration::from_micros(Waits::most(index));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_sixteenth_too_long() {
        for micros in (0..2_000).chain([5_000, 65_535, 65_536, 1_000_000, u64::from(u32::MAX)]) {
            let mut waits = Waits::default();
            waits.add(Duration::from_micros(micros));
            let shown = waits.quantile(990).as_micros() as u64;
            assert!((micros..=micros + micros / 16).contains(&shown), "{micros} shown as {shown}");
        }
    }

    #[test]
    fn quantiles_are_in_order() {
        let mut waits = Waits::default();
        (1..=1000).for_each(|ms| waits.add(Duration::from_millis(ms)));
        let shown = [0, 500, 990, 1000].map(|q| waits.quantile(q).as_millis());
        assert_eq!(shown[0], 1);
        assert!((500..=532).contains(&shown[1]) && (990..=1052).contains(&shown[2]), "{shown:?}");
        assert!(shown[3] >= shown[2]);
    }
}
