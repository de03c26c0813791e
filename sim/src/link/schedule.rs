//! What changes on a link with time: single changes, and a trace that was recorded on a real one.

use super::config::{Jitter, Loss, Queue, Rate};
use ropewalk_core::time::{Duration, Instant};
use std::fmt;

/// One change. It concerns what is not yet serialised (rate, queue, down) or what is serialised
/// from then on (the others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkChange {
    /// The rate, at once: the rest of a packet being sent goes at the new one.
    Rate(Rate),
    /// The one-way delay.
    Delay(Duration),
    /// Its jitter.
    Jitter(Jitter),
    /// The loss.
    Loss(Loss),
    /// The queue. What waits stays, even over a smaller limit.
    Queue(Queue),
    /// The period of the grants, or none.
    Grant(Option<Duration>),
    /// The link carries nothing: what waits and what comes is dropped; what is serialised still
    /// arrives.
    Down,
    /// The link carries again.
    Up,
}

/// Changes in order of time, perhaps for ever again.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    changes: Vec<(Duration, LinkChange)>,
    period: Option<Duration>,
    next: usize,
    round: u32,
}

impl Schedule {
    /// These changes, each at its time after the epoch, once. They are sorted by time; changes of
    /// one instant keep their order.
    pub fn new(mut changes: Vec<(Duration, LinkChange)>) -> Self {
        changes.sort_by_key(|&(at, _)| at);
        Schedule { changes, period: None, next: 0, round: 0 }
    }

    /// The same again after each `period`. A change at or after `period` would overlap its next
    /// round and is left out; a period of zero repeats nothing.
    pub fn repeated(mut self, period: Duration) -> Self {
        if period > Duration::ZERO {
            self.changes.retain(|&(at, _)| at < period);
            self.period = Some(period);
        }
        self
    }

    /// A recorded trace: a line is `seconds,megabits per second,one-way delay in milliseconds`,
    /// decimals allowed (six digits); the delay may be left out. Empty lines and lines that begin
    /// with `#` are skipped.
    pub fn trace(text: &str) -> Result<Self, TraceError> {
        let mut changes = Vec::new();
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || TraceError { line: at, found: line.chars().take(60).collect() };
            let mut fields = line.split(',').map(|field| millionths(field.trim()).ok_or_else(wrong));
            let when = fields.next().ok_or_else(wrong)??;
            let rate = fields.next().ok_or_else(wrong)??;
            let delay = fields.next().transpose()?;
            if fields.next().is_some() {
                return Err(wrong());
            }
            let when = Duration::from_micros(when);
            changes.push((when, LinkChange::Rate(Rate::bits(rate))));
            changes.extend(delay.map(|delay| (when, LinkChange::Delay(Duration::from_nanos(delay)))));
        }
        Ok(Schedule::new(changes))
    }

    /// When the next change is due.
    pub fn due(&self) -> Option<Instant> {
        let &(at, _) = self.changes.get(self.next)?;
        let round = self.period.unwrap_or_default().saturating_mul(self.round);
        Some(Instant::ZERO + at.saturating_add(round))
    }

    /// The next change, taken, where it is due at or before `now`.
    pub fn take(&mut self, now: Instant) -> Option<(Instant, LinkChange)> {
        let due = self.due().filter(|&due| due <= now)?;
        let (_, change) = *self.changes.get(self.next)?;
        self.next += 1;
        if self.next == self.changes.len() && self.period.is_some() {
            self.next = 0;
            self.round = self.round.saturating_add(1);
        }
        Some((due, change))
    }
}

/// A decimal number, in millionths.
fn millionths(field: &str) -> Option<u64> {
    let (whole, part) = field.split_once('.').unwrap_or((field, ""));
    if part.len() > 6 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10u64.pow(6 - u32::try_from(part.len()).ok()?);
    let part = if part.is_empty() { 0 } else { part.parse::<u64>().ok()?.checked_mul(scale)? };
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// A line of a trace that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// Its number, from one.
    pub line: usize,
    /// What it began with.
    pub found: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceError { line, found } = self;
        write!(
            f,
            "line {line} of the trace: expected seconds,mbit_s[,delay_ms] in decimals, found \"{found}\""
        )
    }
}

impl std::error::Error for TraceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_in_whole_units() {
        let mut trace = Schedule::trace("# LTE\n0,12.5,30\n\n0.1, 0.064 ,45.25\n0.25,3\n").expect("a trace");
        let end = Instant::ZERO + Duration::from_secs(1);
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        assert_eq!(trace.take(end), Some((at(0), LinkChange::Rate(Rate::bits(12_500_000)))));
        assert_eq!(trace.take(end), Some((at(0), LinkChange::Delay(Duration::from_millis(30)))));
        assert_eq!(trace.take(end), Some((at(100), LinkChange::Rate(Rate::bits(64_000)))));
        assert_eq!(trace.take(end), Some((at(100), LinkChange::Delay(Duration::from_micros(45_250)))));
        assert_eq!(trace.take(end), Some((at(250), LinkChange::Rate(Rate::mbit(3)))));
        assert_eq!(trace.take(end), None);
    }

    #[test]
    fn a_line_that_is_no_trace_is_named() {
        for wrong in ["0", "a,1", "0,-1", "0,1,2,3", "0,1.1234567", "0,99999999999999999999"] {
            let error = Schedule::trace(&format!("0,1\n{wrong}")).expect_err(wrong);
            assert_eq!(error.line, 2, "{error}");
        }
    }

    #[test]
    fn a_repeated_schedule_begins_again_after_its_period() {
        let changes =
            vec![(Duration::from_secs(3), LinkChange::Up), (Duration::from_secs(1), LinkChange::Down)];
        let mut schedule = Schedule::new(changes).repeated(Duration::from_secs(4));
        let end = Instant::ZERO + Duration::from_secs(8);
        let times: Vec<_> = std::iter::from_fn(|| schedule.take(end)).map(|(at, _)| at.as_nanos()).collect();
        assert_eq!(times, [1, 3, 5, 7].map(|s| s * 1_000_000_000));
        assert_eq!(schedule.due(), Some(Instant::ZERO + Duration::from_secs(9)));
    }
}
