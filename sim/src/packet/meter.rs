//! What is measured while a world runs.

use ropewalk_core::time::{Duration, Instant};

/// Bytes are summed up in bins of this.
pub(crate) const BIN: Duration = Duration::from_millis(10);

/// Bytes over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes {
    bins: Vec<u64>,
    /// All of them.
    pub(crate) total: u64,
}

impl Bytes {
    pub(crate) fn add(&mut self, now: Instant, bytes: u64) {
        let bin = (now.as_nanos() / BIN.as_nanos() as u64) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += bytes;
        self.total += bytes;
    }

    /// Bytes from `from` to `to`, both rounded down to a bin.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> u64 {
        let bin = |at: Duration| ((at.as_nanos() / BIN.as_nanos()) as usize).min(self.bins.len());
        self.bins[bin(from)..bin(to).max(bin(from))].iter().sum()
    }

    /// Bits per second in that window.
    pub(crate) fn rate(&self, from: Duration, to: Duration) -> u64 {
        let nanos = to.saturating_sub(from).as_nanos().max(1);
        (u128::from(self.between(from, to)) * 8_000_000_000 / nanos) as u64
    }
}

/// A time at which something took a time: a round trip, a wait in a queue.
pub(crate) type Sample = (Duration, Duration);

/// The smallest of the samples in the window that `of` of `out_of` of them do not exceed; `None`
/// where there are none.
pub(crate) fn quantile(
    samples: &[Sample],
    from: Duration,
    to: Duration,
    of: usize,
    out_of: usize,
) -> Option<Duration> {
    let begin = samples.partition_point(|(at, _)| *at < from);
    let end = samples.partition_point(|(at, _)| *at < to);
    let mut window: Vec<Duration> = samples.get(begin..end)?.iter().map(|(_, time)| *time).collect();
    if window.is_empty() {
        return None;
    }
    let rank = (window.len() * of).div_ceil(out_of).clamp(1, window.len()) - 1;
    Some(*window.select_nth_unstable(rank).1)
}

/// What is known of one flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowMeter {
    /// Payload that came to the application at the receiving end.
    pub(crate) delivered: Bytes,
    /// When the last of it came.
    last: Option<Instant>,
    /// Silences between deliveries that were longer than [`BIN`]: begin, end.
    pub(crate) gaps: Vec<(Duration, Duration)>,
    /// When each datagram was sent, and whether it came; by number.
    pub(crate) datagrams: Vec<(Duration, bool)>,
    /// Datagrams that came after a later one.
    pub(crate) reordered: u64,
    highest: Option<u32>,
    /// Round trips, by the time the request was sent.
    pub(crate) round_trips: Vec<Sample>,
    /// Packets that the hosts sent for this flow, both ways, and that came.
    pub(crate) sent: u64,
    pub(crate) came: u64,
    /// The sender's window in bytes, where it has one.
    pub(crate) windows: Vec<(Duration, u64)>,
}

/// Since the beginning of the run.
pub(crate) fn since(now: Instant) -> Duration {
    now - Instant::ZERO
}

impl FlowMeter {
    pub(crate) fn deliver(&mut self, now: Instant, bytes: u64) {
        if let Some(last) = self.last.filter(|last| now - *last > BIN) {
            self.gaps.push((since(last), since(now)));
        }
        self.last = Some(now);
        self.delivered.add(now, bytes);
    }

    /// The flow was to go on until `end`.
    pub(crate) fn finish(&mut self, end: Instant) {
        match self.last {
            Some(last) if end - last > BIN => self.gaps.push((since(last), since(end))),
            Some(_) => {}
            None => self.gaps.push((Duration::ZERO, since(end))),
        }
    }

    /// Datagram number `number` is sent; numbers go up by one.
    pub(crate) fn send(&mut self, now: Instant) {
        self.datagrams.push((since(now), false));
    }

    /// Datagram number `number` has come; false if it had come before.
    pub(crate) fn receive(&mut self, number: u32) -> bool {
        let Some((_, came)) = self.datagrams.get_mut(number as usize) else { return false };
        let first = !*came;
        *came = true;
        if self.highest.is_some_and(|highest| highest > number) && first {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
        first
    }

    /// The longest silence in the window.
    pub(crate) fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let inside = self.gaps.iter().map(|(begin, end)| {
            let (begin, end) = ((*begin).clamp(from, to), (*end).clamp(from, to));
            end - begin
        });
        inside.max().unwrap_or_default()
    }

    /// Of the datagrams sent in the window: how many there were, how many never came.
    pub(crate) fn lost(&self, from: Duration, to: Duration) -> (u64, u64) {
        let window = self.datagrams.iter().filter(|(at, _)| (from..to).contains(at));
        window.fold((0, 0), |(sent, lost), (_, came)| (sent + 1, lost + u64::from(!came)))
    }
}

/// What is known of one direction of a link.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkMeter {
    /// IP bytes that came out.
    pub(crate) carried: Bytes,
    /// For each packet that was given: how long the queue was then, itself included.
    pub(crate) waits: Vec<Sample>,
    /// Packets given, and those of them that never came out: dropped by the queue or because the
    /// link was down; lost on the way.
    pub(crate) given: u64,
    pub(crate) dropped: u64,
    pub(crate) lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_gap_counts_by_its_part_inside_the_window() {
        let mut meter = FlowMeter::default();
        for at in [5, 100, 105, 400] {
            meter.deliver(Instant::ZERO + ms(at), 1000);
        }
        meter.finish(Instant::ZERO + ms(450));
        assert_eq!(meter.longest_gap(ms(0), ms(450)), ms(295));
        assert_eq!(meter.longest_gap(ms(0), ms(105)), ms(95));
        assert_eq!(meter.longest_gap(ms(390), ms(450)), ms(50));
        assert_eq!(meter.delivered.rate(ms(0), ms(200)), 3000 * 8 * 5);
    }

    #[test]
    fn a_quantile_is_a_sample_of_its_window() {
        let samples: Vec<Sample> = (0..200).map(|n| (ms(n), ms(n % 100 + 1))).collect();
        assert_eq!(quantile(&samples, ms(0), ms(100), 50, 100), Some(ms(50)));
        assert_eq!(quantile(&samples, ms(0), ms(200), 99, 100), Some(ms(99)));
        assert_eq!(quantile(&samples, ms(300), ms(400), 99, 100), None);
    }

    #[test]
    fn a_datagram_that_comes_twice_counts_once() {
        let mut meter = FlowMeter::default();
        (0..4).for_each(|n| meter.send(Instant::ZERO + ms(n)));
        assert_eq!([0, 2, 1, 2].map(|n| meter.receive(n)), [true, true, true, false]);
        assert_eq!((meter.reordered, meter.lost(ms(0), ms(9))), (1, (4, 1)));
    }
}
