//! A path that loses too much is sick: it carries nothing, and is asked until it has answered for
//! long enough.
//!
//! ```text
//!             share of loss over SICK, or
//!             FEW of the last 32 lost, here and there
//!   healthy -------------------------> sick     asked every ASK while data moves
//!      ^                                |  answers in a row; one lost: from the beginning
//!      +--------------------------------+
//! ```
//!
//! Where no other path is usable a sick one is better than none: a path that is alone does not fall
//! sick, and a sick one carries data at once when the last other path falls silent.
//!
//! An idle path loses nothing, so only the answers count. A path that is left out because it is too
//! far is asked too, less often: what was measured when it was last used says nothing of now.

use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `SICK` 15% | repairs are a tenth of what is sent: a path with 5% loss is worth having, one with 20% costs the others more than it gives. Half of all lost shows as that after 128 to 256 packets, 50 to 100 ms at 30 Mbit/s |
/// | `FEW` 15 of 32, in `RUNS` 5 | a turn to half of all lost is seen after 30 packets, 12 ms at 30 Mbit/s. At 10% loss that is bad luck once in hours; what one outage took is one run |
/// | `ANSWERS` 16 | at 50% loss one of 65,000 such rows is luck |
/// | `ASK` 100 ms | 16 answers in under 2 s; 10 kbit/s |
/// | `IDLE` 1 s | without data nobody asks |
const SICK: u64 = 1024 * 15 / 100;
const FEW: u32 = 15;
const RUNS: u32 = 5;
const ANSWERS: u32 = 16;
const ASK: Duration = Duration::from_millis(100);
pub(super) const IDLE: Duration = Duration::from_secs(1);

/// A change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Sick,
    Healed,
}

/// Whether one path loses too much.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::bond) struct Health {
    sick: bool,
    /// Since when it is sick.
    since: Instant,
    answers: u32,
    ask_at: Instant,
    /// What became of the last 32 packets that asked for no more than the path has: one bit each,
    /// set where it was lost. The last one is the lowest.
    last: u32,
}

impl Health {
    pub(super) fn is_sick(&self) -> bool {
        self.sick
    }

    /// A packet came, or was lost: as [`Health::feed`] is to be told next.
    pub(super) fn note(&mut self, came: bool) {
        self.last = self.last << 1 | u32::from(!came);
    }

    /// The last that was called lost came after all.
    pub(super) fn forgive(&mut self) {
        self.last &= self.last.wrapping_sub(1);
    }

    /// Half of the last few were lost, and not all at once.
    fn has_turned(&self) -> bool {
        let runs = self.last & !(self.last << 1);
        self.last.count_ones() >= FEW && runs.count_ones() >= RUNS
    }

    /// A packet that was sent at `sent` came, or was lost; `share` of 1024 were lost of late.
    pub(super) fn feed(&mut self, now: Instant, sent: Instant, came: bool, share: u64) -> Option<Verdict> {
        match (self.sick, came) {
            (false, false) if share > SICK || self.has_turned() => {
                *self = Health { sick: true, since: now, ask_at: now, ..Health::default() };
                Some(Verdict::Sick)
            }
            (false, _) => None,
            // Packets that were under way when it fell sick are no answers: some of them arrive in
            // a row by chance.
            (true, _) if sent < self.since => None,
            (true, false) => {
                self.answers = 0;
                None
            }
            (true, true) => {
                self.answers += 1;
                let healed = self.answers >= ANSWERS;
                self.sick = !healed;
                if healed {
                    self.last = 0;
                }
                healed.then_some(Verdict::Healed)
            }
        }
    }

    /// There is no other path: it carries data whatever it loses.
    pub(super) fn heal(&mut self) {
        (self.sick, self.last) = (false, 0);
    }

    /// When it is asked next.
    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    /// Whether it is to be asked now.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let due = self.ask_at <= now;
        if due {
            self.ask_at = now + ASK;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sick_path_is_healed_by_answers_in_a_row() {
        let now = Instant::ZERO;
        let mut health = Health::default();
        assert_eq!(health.feed(now, now, false, SICK), None, "as much is borne");
        assert_eq!(health.feed(now, now, true, SICK + 1), None, "a packet that comes is no evidence");
        assert_eq!(health.feed(now, now, false, SICK + 1), Some(Verdict::Sick));
        // 15 answers and a loss, then 16: the share of loss says nothing of a path that carries
        // nothing.
        let series = [true; 15].into_iter().chain([false]).chain([true; 16]);
        let verdicts: std::vec::Vec<_> = series.filter_map(|came| health.feed(now, now, came, 512)).collect();
        assert_eq!(verdicts, [Verdict::Healed]);
        assert!(!health.is_sick());
    }

    #[test]
    fn what_was_under_way_when_it_fell_sick_is_no_answer() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut health = Health::default();
        assert_eq!(health.feed(at(50), at(30), false, SICK + 1), Some(Verdict::Sick));
        for sent in 31..50 {
            assert_eq!(health.feed(at(sent + 20), at(sent), true, 512), None, "sent at {sent} ms");
        }
        let mut asked = (50..).find(|sent| health.feed(at(sent + 20), at(*sent), true, 512).is_some());
        assert_eq!(asked.take(), Some(50 + 15), "the sixteenth");
    }

    /// Packets until the path is called sick, of a series that repeats: true came.
    fn until_sick(series: &[bool]) -> Option<usize> {
        let mut health = Health::default();
        (0..200).find(|at| {
            let came = series[at % series.len()];
            health.note(came);
            health.feed(Instant::ZERO, Instant::ZERO, came, 0) == Some(Verdict::Sick)
        })
    }

    #[test]
    fn a_turn_for_the_worse_is_seen_at_once_and_an_outage_is_none() {
        let (came, lost) = (true, false);
        assert_eq!(until_sick(&[came, lost]), Some(29));
        assert_eq!(until_sick(&[came, came, lost]), None, "a third is seen by its share");
        let outage = [[lost; 20].as_slice(), &[came; 20]].concat();
        assert_eq!(until_sick(&outage), None, "it is one run");
    }

    #[test]
    fn what_comes_after_all_was_not_lost() {
        let mut health = Health::default();
        for at in 0..200 {
            let came = at % 2 == 0;
            health.note(came);
            assert_eq!(health.feed(Instant::ZERO, Instant::ZERO, came, 0), None);
            if !came {
                health.forgive();
            }
        }
    }

    #[test]
    fn it_is_asked_ten_times_a_second() {
        let mut health = Health::default();
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let asked = (0..1000).filter(|ms| health.ask(at(*ms))).count();
        assert_eq!(asked, 10);
    }
}
