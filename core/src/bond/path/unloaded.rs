//! The round trip without the queue ahead of it: what the path itself holds at a rate.
//!
//! ```text
//! RTT = forward base + forward queue + back (its base, queue, grants, batches of acknowledgements)
//! unloaded = RTT - forward excess, smoothed
//! ```
//!
//! The smallest RTT would be too little: a slow or aggregating way back keeps packets in flight
//! without any queue of ours. The smoothed RTT would be too much: it grows with our own queue, and
//! a cap made from it would feed it.

use crate::time::Duration;

/// | constant | reason |
/// | --- | --- |
/// | `GAIN` 1/8 | as the smoothed RTT and the smoothed one-way delay |
const GAIN: u32 = 8;

/// The unloaded round-trip time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unloaded {
    smoothed: Option<Duration>,
}

impl Unloaded {
    /// A sample of the RTT, and the forward excess of the same packet.
    pub(crate) fn feed(&mut self, rtt: Duration, excess: Duration) {
        let sample = rtt.saturating_sub(excess);
        self.smoothed = Some(match self.smoothed {
            None => sample,
            Some(smoothed) => smoothed - smoothed / GAIN + sample / GAIN,
        });
    }

    /// The way is longer: what was excess belongs to it.
    pub(crate) fn rebase(&mut self, rtt: Duration) {
        self.smoothed = Some(rtt);
    }

    pub(crate) fn ask(&self) -> Option<Duration> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_forward_queue_does_not_count_and_a_slow_way_back_does() {
        let ms = Duration::from_millis;
        let mut unloaded = Unloaded::default();
        // RTT, forward excess, then the unloaded RTT (ms)
        let series = [(20, 0, 20), (60, 40, 20), (300, 280, 20), (60, 0, 25), (60, 0, 29), (60, 0, 33)];
        let mut got = Vec::new();
        for (rtt, excess, _) in series {
            unloaded.feed(ms(rtt), ms(excess));
            got.push(unloaded.ask().expect("fed").as_millis());
        }
        assert_eq!(got, series.map(|(_, _, expected)| expected));
        unloaded.rebase(ms(70));
        assert_eq!(unloaded.ask(), Some(ms(70)));
    }
}
