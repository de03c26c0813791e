//! Which packets are lost, and what share of them (RFC 9002 section 6.1).
//!
//! A packet is lost when so many later ones are acknowledged, or when it is so much older than one
//! that is. Both limits widen on a path that has shown reordering, by as much as it showed, and
//! narrow again when it has not for a while. Loss here only starts repair: it is no reason to slow
//! down.

use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `PACKETS` 3 | RFC 9002 section 6.1.1 |
/// | `PACKETS_CAP` 1,000 | 20 ms of reordering at 500 Mbit/s; more is left to the time limit |
/// | `TIME` 9/8 | RFC 9002 section 6.1.2 |
/// | `LATE_CAP` 100 ms | later than that is repaired, not waited for |
/// | `MEMORY` 10 s | as the base delay: what a route did that long ago says little |
/// | `BLOCK` 128 packets | the share of loss is judged in blocks: 1% is one packet of it |
/// | `BAD` 4 rounds | of so many the worst counts: at 1 the inner window was too small for a repair that is lost too, 83 to 86% of the ceiling at 5% loss |
/// | `BLOCK_GAIN` 1/4 | a turn to 50% loss shows as 12% after one block, 34% after four |
const PACKETS: u64 = 3;
const PACKETS_CAP: u64 = 1000;
const LATE_CAP: Duration = Duration::from_millis(100);
const MEMORY: Duration = Duration::from_secs(10);
const BLOCK: u64 = 128;
const BLOCK_GAIN: u64 = 4;
const BAD: u64 = 4;

/// One whole of a share of loss.
pub(crate) const WHOLE: u64 = 1024;

/// How long repairs hold up a flow in its bad rounds, where `share` (of [`WHOLE`]) of its packets
/// are lost and `bytes` pass in a round trip of `rtt`: a loss is known and mended within one, and
/// so is the loss of the repair.
///
/// The mean is no measure: one wait in `BAD` empties a window that was made for the mean.
pub(crate) fn repair_delay(share: u64, bytes: u64, rtt: Duration) -> Duration {
    let packets = bytes / 1500;
    // A peer that acknowledges what it has not got makes up any rate.
    let lost = (share.saturating_mul(packets).saturating_mul(BAD) / 2).min(WHOLE);
    let twice = ((share * share).saturating_mul(packets).saturating_mul(BAD) / WHOLE).min(WHOLE);
    rtt * u32::try_from(lost + twice).expect("two wholes at most") / WHOLE as u32
}

/// When to call a packet lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reordering {
    packets: u64,
    late: Duration,
    seen: Instant,
}

impl Reordering {
    /// A packet was acknowledged after one `distance` numbers above it, and `late` over the
    /// smoothed RTT.
    pub(crate) fn feed(&mut self, now: Instant, distance: u64, late: Duration) {
        self.forget(now);
        self.packets = self.packets.max(distance.min(PACKETS_CAP));
        self.late = self.late.max(late.min(LATE_CAP));
        self.seen = now;
    }

    /// A packet is lost when this many later ones are acknowledged.
    pub(crate) fn packets(&self) -> u64 {
        (self.packets + 1).max(PACKETS)
    }

    /// A packet is lost this long after it left, when a later one is acknowledged.
    pub(crate) fn time(&self, smoothed: Duration, latest: Duration) -> Duration {
        let longer = smoothed.max(latest);
        longer + longer / 8 + self.late.min(smoothed)
    }

    /// How late a packet came that others overtook, over the smoothed RTT.
    pub(crate) fn late(&self) -> Duration {
        self.late
    }

    /// Halves what was seen after each quiet while.
    pub(crate) fn forget(&mut self, now: Instant) {
        if self.packets > 0 && now - self.seen > MEMORY {
            self.packets /= 2;
            self.late = if self.packets == 0 { Duration::ZERO } else { self.late / 2 };
            self.seen = now;
        }
    }
}

/// The share of packets lost, smoothed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LossShare {
    acknowledged: u32,
    lost: u32,
    /// Of `WHOLE` times `BLOCK_GAIN`.
    share: u32,
}

impl LossShare {
    pub(crate) fn feed(&mut self, acknowledged: u64, lost: u64) {
        let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.acknowledged = self.acknowledged.saturating_add(few(acknowledged));
        self.lost = self.lost.saturating_add(few(lost));
        let (lost, total) = (u64::from(self.lost), u64::from(self.acknowledged) + u64::from(self.lost));
        if total >= BLOCK {
            let share = u64::from(self.share);
            self.share = few(share - share / BLOCK_GAIN + lost * WHOLE / total);
            (self.acknowledged, self.lost) = (0, 0);
        }
    }

    /// A packet called lost came after all.
    pub(crate) fn feed_late(&mut self) {
        self.lost = self.lost.saturating_sub(1);
        self.acknowledged += 1;
    }

    /// Of [`WHOLE`].
    pub(crate) fn ask(&self) -> u64 {
        u64::from(self.share) / BLOCK_GAIN
    }

    pub(crate) fn clear(&mut self) {
        *self = LossShare::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn repairs_hold_a_flow_up_for_up_to_two_round_trips() {
        let rtt = Duration::from_millis(20);
        // The share of 1024, bytes in a round trip, microseconds
        for (share, bytes, held) in [
            (0, 125_000, 0),
            (1, 15_000, 390),
            (10, 125_000, 20_625),
            (51, 125_000, 36_464),
            (512, 125_000, 40_000),
        ] {
            assert_eq!(repair_delay(share, bytes, rtt).as_micros(), held, "{share} of 1024, {bytes} bytes");
        }
    }

    #[test]
    fn a_rate_that_a_peer_made_up_holds_nothing_up_for_longer() {
        let rtt = Duration::from_secs(8);
        assert_eq!(repair_delay(WHOLE, u64::MAX, rtt), rtt * 2);
    }

    #[test]
    fn limits_widen_by_what_was_seen_and_narrow_when_it_is_over() {
        let ms = Duration::from_millis;
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
        let mut reordering = Reordering::default();
        assert_eq!((reordering.packets(), reordering.time(ms(16), ms(8))), (3, ms(18)));
        let seen = [(0, 1, ms(0)), (1, 30, ms(5)), (2, 10, ms(90)), (3, 1 << 40, ms(0))];
        let expected = [(3, ms(18)), (31, ms(23)), (31, ms(34)), (1001, ms(34))];
        let got: Vec<_> = seen
            .iter()
            .map(|(secs, distance, late)| {
                reordering.feed(at(*secs), *distance, *late);
                (reordering.packets(), reordering.time(ms(16), ms(16)))
            })
            .collect();
        assert_eq!(got, expected);
        for secs in (20..200).step_by(11) {
            reordering.forget(at(secs));
        }
        assert_eq!((reordering.packets(), reordering.time(ms(16), ms(16))), (3, ms(18)));
    }

    #[test]
    fn the_share_follows_a_turn_and_its_end() {
        let mut share = LossShare::default();
        let mut after = |blocks: usize, lost: u64| {
            for _ in 0..blocks {
                share.feed(BLOCK - lost, lost);
            }
            share.ask() * 100 / WHOLE
        };
        // blocks, lost of 128 each, then per cent
        let series = [(8, 0, 0), (1, 64, 12), (3, 64, 34), (20, 64, 50), (4, 0, 15), (12, 0, 0), (30, 6, 4)];
        for (blocks, lost, expected) in series {
            assert_eq!(after(blocks, lost), expected, "{blocks} blocks with {lost} lost of each {BLOCK}");
        }
    }
}
