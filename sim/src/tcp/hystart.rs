//! HyStart as Linux has it: slow start ends where the train of ACKs of a round is as long as the
//! path, or where the round trips of a round stand above the shortest one.

/// ACKs that come closer than this belong to one train.
const ACK_DELTA: u64 = 2_000;
/// Samples of a round before its delay counts.
const MIN_SAMPLES: u32 = 8;
/// No exit below this window.
const LOW_WINDOW: u32 = 16;

/// All in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct HyStart {
    round_start: u64,
    last_ack: u64,
    /// The round ends when this is acknowledged.
    end: u64,
    /// The shortest round trip of this round.
    least: Option<u64>,
    samples: u32,
    found: bool,
}

impl HyStart {
    /// A new round; `next` is the next new sequence number.
    pub(super) fn reset(&mut self, now: u64, next: u64) {
        *self =
            HyStart { round_start: now, last_ack: now, end: next, found: self.found, ..HyStart::default() };
    }

    /// Looks for an exit again: after a time-out.
    pub(super) fn search(&mut self) {
        self.found = false;
    }

    /// An ACK in slow start. True where slow start is to end at this window.
    pub(super) fn ack(&mut self, sample: &Sample) -> bool {
        if self.found {
            return false;
        }
        // Rounds begin below the low window too: one that began in the middle of a train would see
        // its queue.
        if sample.una > self.end {
            self.reset(sample.now, sample.next);
        }
        if sample.cwnd < LOW_WINDOW {
            return false;
        }
        if sample.now - self.last_ack <= ACK_DELTA {
            self.last_ack = sample.now;
            // Linux halves this on sockets that were never marked as paced. Those of the recordings
            // are not halved: with half of it slow start ends a round trip before theirs (15
            // retransmissions where they have 55).
            let threshold = sample.delay_min + sample.cushion;
            self.found |= sample.now - self.round_start > threshold;
        }
        self.least = Some(self.least.map_or(sample.rtt, |least| least.min(sample.rtt)));
        if self.samples < MIN_SAMPLES {
            self.samples += 1;
        } else {
            let slack = (sample.delay_min >> 3).clamp(4_000, 16_000);
            self.found |= self.least.is_some_and(|least| least > sample.delay_min + slack);
        }
        self.found
    }
}

/// What an ACK in slow start tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) now: u64,
    pub(super) rtt: u64,
    /// The shortest round trip so far.
    pub(super) delay_min: u64,
    /// What the batching of segments may add to it, at most 1 ms.
    pub(super) cushion: u64,
    pub(super) cwnd: u32,
    pub(super) una: u64,
    pub(super) next: u64,
}
