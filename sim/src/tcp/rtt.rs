//! Round-trip times and the retransmission time-out, as Linux keeps RFC 6298: the variance is the
//! largest of a round trip, falls slowly, and its floor is the minimum time-out, so that the
//! time-out is never under `srtt` + 200 ms.

/// The floor of the variance, in microseconds.
pub(super) const RTO_MIN: u64 = 200_000;
/// The time-out where no round trip was measured (RFC 6298 section 2.1).
pub(super) const RTO_INIT: u64 = 1_000_000;
/// The cap.
pub(super) const RTO_MAX: u64 = 120_000_000;
/// How long a minimum stands.
const MIN_WINDOW: u64 = 300_000_000;

/// All in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Rtt {
    /// Eight times the smoothed round trip; zero where none was measured.
    srtt8: u64,
    /// Four times the mean deviation, and its largest since `round`.
    mdev4: u64,
    mdev_max: u64,
    var: u64,
    /// The variance may fall when this is acknowledged.
    round: u64,
    min: Option<(u64, u64)>,
    rto: u64,
}

impl Rtt {
    pub(super) fn new() -> Self {
        Rtt { srtt8: 0, mdev4: 0, mdev_max: 0, var: 0, round: 0, min: None, rto: RTO_INIT }
    }

    /// A sample; `una` and `next` are the first unacknowledged and the next new sequence number.
    pub(super) fn sample(&mut self, rtt: u64, una: u64, next: u64) {
        if self.srtt8 == 0 {
            self.srtt8 = (rtt << 3).max(1);
            self.mdev4 = rtt << 1;
            self.var = self.mdev4.max(RTO_MIN);
            self.mdev_max = self.var;
            self.round = next;
        } else {
            let error = rtt as i64 - (self.srtt8 >> 3) as i64;
            self.srtt8 = self.srtt8.saturating_add_signed(error).max(1);
            let mut change = error.abs() - (self.mdev4 >> 2) as i64;
            // A round trip that got shorter does not make the time-out longer at once.
            if error < 0 && change > 0 {
                change >>= 3;
            }
            self.mdev4 = self.mdev4.saturating_add_signed(change);
            if self.mdev4 > self.mdev_max {
                self.mdev_max = self.mdev4;
                self.var = self.var.max(self.mdev_max);
            }
            if una > self.round {
                if self.mdev_max < self.var {
                    self.var -= (self.var - self.mdev_max) >> 2;
                }
                self.round = next;
                self.mdev_max = RTO_MIN;
            }
        }
        self.rto = ((self.srtt8 >> 3) + self.var).min(RTO_MAX);
    }

    /// A sample for the minimum alone: the newest segment of an ACK, and not one whose ACK was
    /// delayed.
    pub(super) fn sample_min(&mut self, now: u64, rtt: u64) {
        let rtt = rtt.max(1);
        if self.min.is_none_or(|(least, since)| rtt <= least || now - since > MIN_WINDOW) {
            self.min = Some((rtt, now));
        }
    }

    /// The time-out ran out: the next one is twice as long (RFC 6298 section 5.5).
    pub(super) fn back_off(&mut self) {
        self.rto = (self.rto << 1).min(RTO_MAX);
    }

    /// Eight times the smoothed round trip.
    pub(super) fn srtt8(&self) -> u64 {
        self.srtt8
    }

    pub(super) fn srtt(&self) -> u64 {
        self.srtt8 >> 3
    }

    pub(super) fn min(&self) -> Option<u64> {
        self.min.map(|(least, _)| least)
    }

    pub(super) fn rto(&self) -> u64 {
        self.rto
    }
}
