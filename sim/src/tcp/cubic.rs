//! CUBIC (RFC 9438) in the integers and units of Linux: windows in segments, time in 1024ths of a
//! second, the clock in ticks of 4 ms.
//!
//! | constant | value | is |
//! | --- | --- | --- |
//! | `BETA` | 717 / 1024 | what a loss leaves of the window (RFC 9438 section 4.6: 0.7) |
//! | `C` | 41 * 10 / 1024 | the curve, 0.4 per second cubed (RFC 9438 section 5) |
//! | `FRIENDLY` | 15 / 8 | segments acknowledged per segment of Reno's growth, 3 (1 + b) / (1 - b) turned over |

use super::hystart::{HyStart, Sample};

const BETA: u64 = 717;
const SCALE: u64 = 1024;
const C: u64 = 410;
const FRIENDLY: u64 = 8 * (SCALE + BETA) / 3 / (SCALE - BETA);
/// The clock's tick in microseconds: HZ is 250.
pub(super) const TICK: u64 = 4_000;
const HZ: u64 = 1_000_000 / TICK;

#[derive(Clone, Debug, Default)]
pub(super) struct Cubic {
    /// One more segment is due for each of this many acknowledged.
    count: u32,
    last_max: u32,
    last_cwnd: u32,
    last_tick: u64,
    origin: u32,
    /// From the beginning of the epoch to the plateau, in 1024ths of a second.
    k: u64,
    /// The shortest round trip in microseconds; zero where none.
    delay_min: u64,
    /// The tick at which the epoch began.
    epoch: Option<u64>,
    acked: u32,
    reno: u32,
    hystart: HyStart,
}

impl Cubic {
    pub(super) fn new(now: u64, next: u64) -> Self {
        let mut cubic = Cubic::default();
        cubic.hystart.reset(now, next);
        cubic
    }

    /// A round trip was measured. True where slow start is to end at this window.
    pub(super) fn measured(&mut self, mut sample: Sample, slow_start: bool) -> bool {
        // Delays right after a fast recovery show the queue that it left.
        if self.epoch.is_some_and(|epoch| (sample.now / TICK).saturating_sub(epoch) < HZ) {
            return false;
        }
        sample.rtt = sample.rtt.max(1);
        if self.delay_min == 0 || self.delay_min > sample.rtt {
            self.delay_min = sample.rtt;
        }
        sample.delay_min = self.delay_min;
        slow_start && self.hystart.ack(&sample)
    }

    /// Segments were acknowledged in congestion avoidance. One more segment is due for each of this
    /// many acknowledged.
    pub(super) fn update(&mut self, now: u64, cwnd: u32, acked: u32) -> u32 {
        let tick = now / TICK;
        self.acked = self.acked.saturating_add(acked);
        if self.last_cwnd == cwnd && tick.saturating_sub(self.last_tick) <= HZ / 32 {
            return self.count;
        }
        // The curve is asked once a tick.
        if self.epoch.is_none() || tick != self.last_tick {
            self.last_cwnd = cwnd;
            self.last_tick = tick;
            let epoch = match self.epoch {
                Some(epoch) => epoch,
                None => {
                    self.begin(cwnd, acked);
                    *self.epoch.insert(tick)
                }
            };
            self.count = self.curve(tick - epoch, cwnd);
        }
        self.friendly(cwnd);
        self.count
    }

    fn begin(&mut self, cwnd: u32, acked: u32) {
        self.acked = acked;
        self.reno = cwnd;
        if self.last_max <= cwnd {
            self.k = 0;
            self.origin = cwnd;
        } else {
            self.k = cube_root((1 << 40) / C * u64::from(self.last_max - cwnd));
            self.origin = self.last_max;
        }
    }

    /// RFC 9438 section 4.2: where the window should be one round trip from now.
    fn curve(&self, ticks: u64, cwnd: u32) -> u32 {
        let t = ((ticks + self.delay_min.div_ceil(TICK)) << 10) / HZ;
        let off = u128::from(t.abs_diff(self.k));
        let delta = u32::try_from((u128::from(C) * off * off * off) >> 40).unwrap_or(u32::MAX);
        let target =
            if t < self.k { self.origin.saturating_sub(delta) } else { self.origin.saturating_add(delta) };
        let count = if target > cwnd { cwnd / (target - cwnd) } else { cwnd.saturating_mul(100) };
        // Before the first loss: at least 5% a round trip.
        if self.last_max == 0 { count.min(20) } else { count }
    }

    /// RFC 9438 section 4.3: never slower than Reno.
    fn friendly(&mut self, cwnd: u32) {
        let delta = u32::try_from((u64::from(cwnd) * FRIENDLY) >> 3).unwrap_or(u32::MAX).max(1);
        while self.acked > delta {
            self.acked -= delta;
            self.reno = self.reno.saturating_add(1);
        }
        if self.reno > cwnd {
            self.count = self.count.min(cwnd / (self.reno - cwnd));
        }
        self.count = self.count.max(2);
    }

    /// A loss: the epoch ends. The threshold that the window falls to (RFC 9438 sections 4.6 and
    /// 4.7).
    pub(super) fn reduce(&mut self, cwnd: u32) -> u32 {
        self.epoch = None;
        let part = |of: u64| u32::try_from(u64::from(cwnd) * of / SCALE).unwrap_or(u32::MAX);
        self.last_max = if cwnd < self.last_max { part(SCALE + BETA) / 2 } else { cwnd };
        part(BETA).max(2)
    }

    /// A time-out: nothing is known any more.
    pub(super) fn forget(&mut self, now: u64, next: u64) {
        self.hystart.search();
        *self = Cubic { hystart: self.hystart.clone(), ..Cubic::default() };
        self.hystart.reset(now, next);
    }

    /// The sender sends again after a pause in which it had nothing to send: the curve does not
    /// count it.
    pub(super) fn resume(&mut self, now: u64, last_sent: u64) {
        let (tick, last) = (now / TICK, last_sent / TICK);
        if let Some(epoch) = &mut self.epoch {
            *epoch = (*epoch + tick.saturating_sub(last)).min(tick);
        }
    }
}

/// The largest number whose cube is not above `of`.
fn cube_root(of: u64) -> u64 {
    let (mut low, mut high) = (0u64, 1u64 << 21);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if u128::from(middle).pow(3) <= u128::from(of) { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_comes_back_to_where_the_loss_was_after_k() {
        let mut cubic = Cubic::new(0, 1);
        let mut cwnd = 300;
        cwnd = cubic.reduce(cwnd);
        assert_eq!(cwnd, 210);
        // RFC 9438: K = cbrt(90 / 0.4) = 6.08 s. A round trip of 50 ms acknowledges a window.
        let (mut now, mut credit) = (0, 0);
        let mut seen = Vec::new();
        for _ in 0..160 {
            let round = cwnd;
            for _ in 0..round {
                now += 50_000 / u64::from(cwnd);
                credit += 1;
                if credit >= cubic.update(now, cwnd, 1) {
                    credit = 0;
                    cwnd += 1;
                }
            }
            seen.push(cwnd);
        }
        // 90 segments below at the beginning, flat near K, then above.
        assert!((296..=300).contains(&seen[115]), "{}", seen[115]);
        assert!((299..=306).contains(&seen[135]), "{}", seen[135]);
        assert!(seen[158] > 301, "{}", seen[158]);
    }

    #[test]
    fn a_second_loss_below_the_first_gives_room() {
        let mut cubic = Cubic::new(0, 1);
        cubic.reduce(1000);
        cubic.reduce(800);
        assert_eq!(cubic.last_max, 680);
    }

    #[test]
    fn cube_roots_are_exact() {
        for (of, root) in [(0, 0), (1, 1), (7, 1), (8, 2), (26, 2), (27, 3), (1 << 60, 1 << 20)] {
            assert_eq!(cube_root(of), root);
        }
    }
}
