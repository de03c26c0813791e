//! The sender's scoreboard (RFC 6675): each segment in flight, what became of it, and the counts
//! that follow.
//!
//! ```text
//!   una                                                next
//!    │ sacked │ lost │ lost, sent again │ in flight │ ··· │
//! ```
//!
//! Invariants: segments lie one behind the other from `una` to `next`; a segment is never sacked
//! and lost; the counts are the counts of the marks; `in_flight` = all - sacked - lost + sent
//! again.

use std::collections::VecDeque;

/// A segment in flight. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) len: u32,
    /// When it was sent last.
    pub(super) at: u64,
    /// The number of that transmission.
    pub(super) serial: u64,
    /// Segments that were delivered when it was sent.
    pub(super) delivered: u64,
    pub(super) sacked: bool,
    pub(super) lost: bool,
    /// A retransmission of it is in flight.
    pub(super) resent: bool,
    /// It was sent more than once.
    pub(super) ever_resent: bool,
}

impl Sent {
    pub(super) fn end(&self) -> u64 {
        self.seq + u64::from(self.len)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Scoreboard {
    segments: VecDeque<Sent>,
    /// The number of the first segment, counted from the beginning of the connection.
    first: u64,
    /// Transmissions in order of time, as number of the segment and serial. What was sacked,
    /// acknowledged, marked lost or sent again is skipped.
    order: VecDeque<(u64, u64)>,
    serial: u64,
    sacked: u32,
    lost: u32,
    resent: u32,
    /// No segment before this one waits for retransmission.
    hint: u64,
    /// Where the highest segment that was sacked ends.
    high_sacked: Option<u64>,
}

impl Scoreboard {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.segments.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    pub(super) fn resent(&self) -> u32 {
        self.resent
    }

    pub(super) fn in_flight(&self) -> u32 {
        (self.len() + self.resent).saturating_sub(self.sacked + self.lost)
    }

    pub(super) fn head(&self) -> Option<&Sent> {
        self.segments.front()
    }

    pub(super) fn high_sacked(&self) -> Option<u64> {
        self.high_sacked
    }

    pub(super) fn get(&self, number: u64) -> Option<&Sent> {
        self.segments.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn at(&mut self, number: u64) -> &mut Sent {
        let at = usize::try_from(number - self.first).expect("a window fits in memory");
        &mut self.segments[at]
    }

    /// A new segment was sent.
    pub(super) fn push(&mut self, now: u64, seq: u64, len: u32, delivered: u64) {
        self.serial += 1;
        let serial = self.serial;
        self.order.push_back((self.first + self.segments.len() as u64, serial));
        self.segments.push_back(Sent {
            seq,
            len,
            at: now,
            serial,
            delivered,
            sacked: false,
            lost: false,
            resent: false,
            ever_resent: false,
        });
    }

    /// A segment was sent again as a probe of the tail: nothing is thought lost by it, so nothing
    /// more is counted as in flight.
    pub(super) fn probe(&mut self, now: u64, number: u64, delivered: u64) {
        self.serial += 1;
        let serial = self.serial;
        let segment = self.at(number);
        *segment = Sent { at: now, serial, delivered, ever_resent: true, ..*segment };
        self.order.push_back((number, serial));
    }

    /// A segment was sent again.
    pub(super) fn resend(&mut self, now: u64, number: u64, delivered: u64) {
        self.serial += 1;
        let serial = self.serial;
        let segment = self.at(number);
        let again = segment.resent;
        *segment = Sent { at: now, serial, delivered, resent: true, ever_resent: true, ..*segment };
        self.resent += u32::from(!again);
        self.order.push_back((number, serial));
    }

    /// Takes the first segment where `ack` covers it, as it was.
    pub(super) fn pop(&mut self, ack: u64) -> Option<Sent> {
        let segment = *self.segments.front().filter(|head| head.end() <= ack)?;
        self.segments.pop_front();
        self.first += 1;
        self.sacked -= u32::from(segment.sacked);
        self.lost -= u32::from(segment.lost);
        self.resent -= u32::from(segment.resent);
        if self.sacked == 0 {
            self.high_sacked = None;
        }
        Some(segment)
    }

    /// The numbers of the segments that lie wholly in `start..end`.
    pub(super) fn within(&self, start: u64, end: u64) -> std::ops::Range<u64> {
        let from = self.segments.partition_point(|segment| segment.seq < start);
        let to = self.segments.partition_point(|segment| segment.end() <= end);
        self.first + from as u64..self.first + to.max(from) as u64
    }

    pub(super) fn last(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.first + self.segments.len() as u64 - 1)
    }

    /// The receiver holds this segment.
    pub(super) fn sack(&mut self, number: u64) {
        let segment = self.at(number);
        if segment.sacked {
            return;
        }
        let before = *segment;
        segment.sacked = true;
        segment.lost = false;
        // A retransmission of a segment that was not thought lost any more stays in flight until it
        // is acknowledged.
        segment.resent = before.resent && !before.lost;
        let (end, resent) = (before.end(), segment.resent);
        self.sacked += 1;
        self.lost -= u32::from(before.lost);
        self.resent -= u32::from(before.resent && !resent);
        self.high_sacked = Some(self.high_sacked.map_or(end, |high| high.max(end)));
    }

    /// A DSACK showed that a retransmission of it arrived.
    pub(super) fn forget_resent(&mut self, number: u64) {
        let segment = self.at(number);
        if segment.resent && segment.sacked {
            segment.resent = false;
            self.resent -= 1;
        }
    }

    /// This segment is thought lost; again, where its retransmission was in flight. True where that
    /// is news.
    pub(super) fn mark_lost(&mut self, number: u64) -> bool {
        let segment = self.at(number);
        let before = *segment;
        if before.sacked || (before.lost && !before.resent) {
            return false;
        }
        segment.lost = true;
        if before.lost {
            segment.resent = false;
            self.resent -= 1;
        } else {
            self.lost += 1;
        }
        self.hint = self.hint.min(number);
        true
    }

    /// Nothing was lost after all.
    pub(super) fn unmark_lost(&mut self) {
        for segment in &mut self.segments {
            segment.lost = false;
        }
        self.lost = 0;
    }

    /// The next segment that is lost and not sent again.
    pub(super) fn next_lost(&mut self) -> Option<u64> {
        if self.resent >= self.lost {
            return None;
        }
        self.hint = self.hint.max(self.first);
        let mut number = self.hint;
        while let Some(segment) = self.get(number) {
            if segment.lost && !segment.resent {
                self.hint = number;
                return Some(number);
            }
            number += 1;
        }
        self.hint = number;
        None
    }

    /// Asks `lost` of each transmission in flight in order of time, until it answers `Stop`; marks
    /// what it says. True where something was marked.
    pub(super) fn scan(&mut self, mut lost: impl FnMut(&Sent) -> Verdict) -> bool {
        let (mut at, mut any) = (0, false);
        while let Some(&(number, serial)) = self.order.get(at) {
            let stale = self.get(number).is_none_or(|segment| {
                segment.serial != serial || segment.sacked || (segment.lost && !segment.resent)
            });
            if stale {
                // What is stale at the front is dropped; in the middle it waits until it comes
                // there.
                if at == 0 {
                    self.order.pop_front();
                } else {
                    at += 1;
                }
                continue;
            }
            match lost(self.get(number).expect("it is there")) {
                Verdict::Stop => break,
                Verdict::Wait => at += 1,
                Verdict::Lost => {
                    any |= self.mark_lost(number);
                }
            }
        }
        any
    }

    /// All segments with their numbers.
    pub(super) fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.segments.len() as u64
    }
}

/// What a law of loss says of a transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Lost,
    /// Not yet, but perhaps later.
    Wait,
    /// Nor any that was sent after it.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Ack(u8),
        Sack(u8),
        Lose(u8),
        Resend,
        Unmark,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            1 => (0u8..8).prop_map(Step::Ack),
            3 => any::<u8>().prop_map(Step::Sack),
            2 => any::<u8>().prop_map(Step::Lose),
            2 => Just(Step::Resend),
            1 => Just(Step::Unmark),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_counts_are_the_counts_of_the_marks(steps in steps()) {
            let mut board = Scoreboard::default();
            let (mut una, mut next) = (0u64, 0u64);
            for step in steps {
                let pick = |n: u8, board: &Scoreboard| {
                    board.numbers().nth(usize::from(n) % (board.len() as usize).max(1))
                };
                match step {
                    Step::Push => {
                        board.push(next, next, 10, 0);
                        next += 10;
                    }
                    Step::Ack(n) => {
                        una = (una + 10 * u64::from(n)).min(next);
                        while board.pop(una).is_some() {}
                    }
                    Step::Sack(n) => if let Some(number) = pick(n, &board) { board.sack(number) },
                    Step::Lose(n) => if let Some(number) = pick(n, &board) { board.mark_lost(number); },
                    Step::Resend => if let Some(number) = board.next_lost() { board.resend(next, number, 0) },
                    Step::Unmark => board.unmark_lost(),
                }
                let count = |mark: fn(&Sent) -> bool| board.segments.iter().filter(|s| mark(s)).count() as u32;
                prop_assert_eq!(board.sacked, count(|s| s.sacked));
                prop_assert_eq!(board.lost, count(|s| s.lost));
                prop_assert_eq!(board.resent, count(|s| s.resent));
                prop_assert!(board.segments.iter().all(|s| !(s.sacked && s.lost)));
                let waits = board.segments.iter().position(|s| s.lost && !s.resent);
                let waits = waits.map(|at| board.first + at as u64);
                // Where retransmissions of what is not lost any more are in flight, it may wait for
                // them.
                let found = board.next_lost();
                prop_assert!(found == waits || (found.is_none() && board.resent >= board.lost));
            }
        }
    }
}
