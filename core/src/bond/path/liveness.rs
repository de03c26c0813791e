//! Is the sending direction alive? The probe time-out, suspicion, death and return.
//!
//! ```text
//!          time-out              third time-out, or 1 s
//! Live ---------------> Suspect ------------------------> Down
//!  ^  <----------------    |                               |
//!  |     any progress                                      |  probes answered in a row
//!  +-------------------------------------------------------+  (more of them after each recent death)
//! ```
//!
//! The time-out counts from the sending of the oldest packet above all that is acknowledged; what
//! is sent later never moves it. The receiving direction is judged by the peer, whose
//! acknowledgements for it we send.

use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `MARGIN` 5 ms | least allowance over the smoothed RTT; a steady path has no variance |
/// | `LIVES` 3 time-outs | the third is death; each waits twice as long as the one before |
/// | `DEATH` 1 s | or that long without progress |
/// | `PROBE` 250 ms | a dead path is asked that often: back within 1 s of its return, 3 kbit/s |
/// | `PROBE_LATER` 500 ms | after a minute of death |
/// | `ANSWERS` 3 | probes answered in a row before a path is believed again |
/// | `ANSWERS_CAP` 24, `MEMORY` 60 s | doubled for each death within a minute: no flapping |
const MARGIN: Duration = Duration::from_millis(5);
const LIVES: u32 = 3;
const DEATH: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(250);
const PROBE_LATER: Duration = Duration::from_millis(500);
const ANSWERS: u32 = 3;
const ANSWERS_CAP: u32 = 24;
const MEMORY: Duration = Duration::from_secs(60);

/// smoothed RTT + max(4 x variance, 5 ms) + the peer's acknowledgement delay (RFC 9002 section
/// 6.2.1).
pub(crate) fn probe_timeout(smoothed: Duration, variance: Duration, ack_delay: Duration) -> Duration {
    smoothed + (variance * 4).max(MARGIN) + ack_delay
}

/// What is thought of the sending direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum State {
    /// Packets are acknowledged, or none is missing.
    #[default]
    Live,
    /// A probe time-out passed: what is unacknowledged goes elsewhere too.
    Suspect,
    /// Only probes go this way.
    Down,
}

/// What a time-out means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The first time-out. A probe goes out too.
    Suspect,
    /// Another one: a probe goes out.
    Probe,
    /// No hope: the path is down.
    Down,
}

/// The liveness of one direction of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Liveness {
    state: State,
    /// Time-outs since the last progress, and when the next is.
    fired: u32,
    next: Instant,
    since: Instant,
    /// Probes answered in a row while down, and whether the last one was.
    answers: u32,
    answered: bool,
    deaths: u32,
    died: Option<Instant>,
}

impl Liveness {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Something new was acknowledged, of which the newest was sent at `sent`. True when the path
    /// has come back.
    pub(crate) fn feed_progress(&mut self, now: Instant, sent: Instant) -> bool {
        match self.state {
            State::Live => false,
            State::Suspect => {
                self.state = State::Live;
                self.fired = 0;
                true
            }
            // What was sent before it went down is no fresh evidence.
            State::Down if sent < self.since => false,
            State::Down => {
                self.answers += 1;
                let needed = (ANSWERS << (self.deaths.clamp(1, 8) - 1)).min(ANSWERS_CAP);
                if self.answers >= needed {
                    *self = Liveness { deaths: self.deaths, died: self.died, ..Liveness::default() };
                    return true;
                }
                (self.answered, self.next) = (true, now);
                false
            }
        }
    }

    /// The next time-out. `oldest` is the sending of the oldest packet above all that is
    /// acknowledged.
    pub(crate) fn deadline(&self, oldest: Option<Instant>, timeout: Duration) -> Option<Instant> {
        match self.state {
            State::Live => oldest.map(|sent| sent + timeout),
            State::Suspect => Some(self.next.min(self.since + DEATH)),
            State::Down => Some(self.next),
        }
    }

    /// The deadline has passed; `timeout` is the probe time-out.
    pub(crate) fn handle_timeout(&mut self, now: Instant, oldest: Instant, timeout: Duration) -> Verdict {
        self.fired += 1;
        match self.state {
            State::Live => {
                (self.state, self.since) = (State::Suspect, oldest);
                self.next = now + timeout * 2;
                Verdict::Suspect
            }
            State::Suspect if self.fired >= LIVES || now - self.since >= DEATH => {
                self.kill(now);
                Verdict::Down
            }
            State::Suspect => {
                self.next = now + timeout * 4;
                Verdict::Probe
            }
            State::Down => {
                if !core::mem::take(&mut self.answered) {
                    // The probe before was not answered in time: evidence starts again.
                    self.answers = 0;
                }
                let interval = if now - self.since > MEMORY { PROBE_LATER } else { PROBE };
                self.next = now + interval.max(timeout.min(DEATH));
                Verdict::Probe
            }
        }
    }

    /// The link is gone, says the operating system, or a time-out.
    pub(crate) fn kill(&mut self, now: Instant) {
        if self.state != State::Down {
            let recent = self.died.is_some_and(|died| now - died < MEMORY);
            self.deaths = if recent { self.deaths + 1 } else { 1 };
            self.died = Some(now);
        }
        (self.state, self.since, self.answers, self.answered) = (State::Down, now, 0, false);
        self.next = now + PROBE;
    }

    /// The link is back, says the operating system: asked at once.
    pub(crate) fn ask_now(&mut self, now: Instant) {
        if self.state == State::Down {
            self.next = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const TIMEOUT: Duration = Duration::from_millis(30);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Nothing is answered from `sent` on: each verdict and when (ms).
    fn silence(
        liveness: &mut Liveness,
        sent: u64,
        timeout: Duration,
        verdicts: usize,
    ) -> Vec<(u128, Verdict)> {
        let mut step = |_| {
            let now = liveness.deadline(Some(at(sent)), timeout).expect("something is outstanding");
            ((now - Instant::ZERO).as_millis(), liveness.handle_timeout(now, at(sent), timeout))
        };
        (0..verdicts).map(&mut step).collect()
    }

    #[test]
    fn suspect_at_the_first_time_out_and_down_at_the_third() {
        let expected = [
            (130, Verdict::Suspect),
            (190, Verdict::Probe),
            (310, Verdict::Down),
            (560, Verdict::Probe),
            (810, Verdict::Probe),
        ];
        assert_eq!(silence(&mut Liveness::default(), 100, TIMEOUT, 5), expected);
    }

    #[test]
    fn down_after_a_second_where_time_outs_are_long() {
        let expected = [(600, Verdict::Suspect), (1100, Verdict::Down)];
        assert_eq!(silence(&mut Liveness::default(), 100, Duration::from_millis(500), 2), expected);
    }

    #[test]
    fn nothing_outstanding_needs_no_time_out() {
        assert_eq!(Liveness::default().deadline(None, TIMEOUT), None);
    }

    #[test]
    fn progress_clears_suspicion() {
        let mut liveness = Liveness::default();
        silence(&mut liveness, 0, TIMEOUT, 2);
        assert!(liveness.feed_progress(at(100), at(95)));
        assert_eq!(
            (liveness.state(), liveness.deadline(Some(at(99)), TIMEOUT)),
            (State::Live, Some(at(129)))
        );
    }

    #[test]
    fn a_dead_path_must_answer_in_a_row_and_more_often_each_time() {
        let mut liveness = Liveness::default();
        let mut needed = Vec::new();
        for _ in 0..6 {
            let dead = (silence(&mut liveness, 0, TIMEOUT, 3)[2].0) as u64;
            assert!(!liveness.feed_progress(at(dead + 1), at(dead - 1)), "an old packet is no evidence");
            let mut answers = 0;
            loop {
                answers += 1;
                let now = liveness.deadline(None, TIMEOUT).expect("a dead path is probed");
                assert_eq!(liveness.handle_timeout(now, now, TIMEOUT), Verdict::Probe);
                if liveness.feed_progress(now + Duration::from_millis(10), now) {
                    break;
                }
            }
            needed.push(answers);
        }
        assert_eq!(needed, [3, 6, 12, 24, 24, 24]);
    }

    #[test]
    fn an_unanswered_probe_begins_the_count_again() {
        let mut liveness = Liveness::default();
        silence(&mut liveness, 0, TIMEOUT, 3);
        let mut back = Vec::new();
        for answered in [true, true, false, true, true, true] {
            let now = liveness.deadline(None, TIMEOUT).expect("a dead path is probed");
            liveness.handle_timeout(now, now, TIMEOUT);
            back.push(answered && liveness.feed_progress(now, now));
        }
        assert_eq!(back, [false, false, false, false, false, true]);
    }
}
