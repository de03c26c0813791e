//! The receive window as Linux grows it: by two segments for each that comes, up to a limit that
//! follows what is read in a round trip (dynamic right-sizing), so that the sender can always
//! double its window.

/// What the window is before anything was received: half of the default buffer of 128 KiB, in whole
/// segments of an MTU of 1500.
const INITIAL: u64 = 64_240;
const CLAMP: u64 = 65_536;
const INIT_CWND: u64 = 10;

#[derive(Clone, Debug)]
pub(super) struct Window {
    mss: u64,
    most: u64,
    /// The window may not be larger than this; it grows with what is read.
    clamp: u64,
    /// What is offered at present.
    threshold: u64,
    /// What was read in the last round trip, and the beginning of this one: time and sequence
    /// number.
    space: u64,
    round: (u64, u64),
    /// The round trip as the receiver sees it by timestamps, in microseconds.
    rtt: Option<u64>,
}

impl Window {
    pub(super) fn new(mss: u32, most: u64) -> Self {
        let mss = u64::from(mss);
        Window {
            mss,
            most,
            clamp: CLAMP.min(most),
            threshold: INITIAL.min(most),
            space: INIT_CWND * mss,
            round: (0, 0),
            rtt: None,
        }
    }

    /// The first sequence number that is to come, at `now`.
    pub(super) fn begin(&mut self, now: u64, next: u64) {
        self.round = (now, next);
    }

    /// A segment that echoes a timestamp this long ago.
    pub(super) fn sample(&mut self, rtt: u64) {
        let rtt = rtt.max(1_000);
        self.rtt =
            Some(self.rtt.map_or(rtt, |least| if rtt < least { rtt } else { least - least / 8 + rtt / 8 }));
    }

    pub(super) fn rtt(&self) -> Option<u64> {
        self.rtt
    }

    /// A segment came.
    pub(super) fn grow(&mut self, held: u64) {
        let room = self.clamp.saturating_sub(held).saturating_sub(self.threshold);
        self.threshold += room.min(2 * self.mss);
    }

    /// What came in order was read up to `next`. What waits behind gaps reaches `held` bytes
    /// further.
    pub(super) fn read(&mut self, now: u64, next: u64, held: u64) {
        let (since, from) = self.round;
        let Some(rtt) = self.rtt.filter(|&rtt| now - since >= rtt) else { return };
        let _ = rtt;
        let read = next - from;
        if read > self.space {
            // A round trip late: the sender may have doubled since, and may double again.
            let mut window = read << 1;
            window += (window * (read - self.space) / self.space.max(1)) << 1;
            window += held;
            self.space = read;
            self.clamp = self.clamp.max(window.min(self.most));
        }
        self.round = (now, next);
    }

    /// What to offer, while `held` bytes wait behind a gap.
    pub(super) fn offer(&self, held: u64) -> u64 {
        self.threshold.min(self.clamp.saturating_sub(held))
    }
}
