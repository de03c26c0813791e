//! The receiver: what came, what is acknowledged, and when.
//!
//! | what came | the ACK |
//! | --- | --- |
//! | the second full segment | at once (RFC 5681 section 4.2) |
//! | one segment | after 40 ms, or at once in the first 16 segments and after duplicates (quick ACK) |
//! | a segment behind a gap | at once for the first three, then one for each 5% of a round trip, at most 1 ms (SACK compression) |
//! | the segment that fills the last gap | at once |
//! | what is there already | at once, with a DSACK (RFC 2883) |

use super::window::Window;
use std::collections::BTreeMap;

/// The delay of an ACK, in microseconds.
const ATO_MIN: u64 = 40_000;
const ATO_MAX: u64 = 200_000;
const QUICK: u32 = 16;
/// Blocks that are remembered; three fit next to timestamps.
const BLOCKS: usize = 4;
/// Duplicate ACKs before they are compressed, and how many at most.
const DUPLICATES: u32 = 3;
const COMPRESSED: u32 = 44;
const COMPRESSION: u64 = 1_000;

/// What the receiver counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) bytes: u64,
    pub(super) duplicates: u64,
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
    pub(super) gap: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Receiver {
    next: u64,
    /// Where the last ACK stood, and the right edge that it offered.
    acked: u64,
    edge: u64,
    /// What waits behind a gap: start and end.
    held: BTreeMap<u64, u64>,
    held_bytes: u64,
    /// The latest ranges first.
    blocks: Vec<(u64, u64)>,
    dsack: Option<(u64, u64)>,
    quick: u32,
    ato: u64,
    last_came: Option<u64>,
    largest: u32,
    now_due: bool,
    delayed: Option<u64>,
    compressed: u32,
    compressed_due: Option<u64>,
    duplicates: u32,
    duplicates_at: u64,
    window: Window,
    received: Received,
}

impl Receiver {
    /// `next` is the first sequence number of data.
    pub(super) fn new(now: u64, next: u64, mut window: Window, mss: u32) -> Self {
        window.begin(now, next);
        let edge = next + window.offer(0);
        Receiver {
            next,
            acked: next,
            edge,
            held: BTreeMap::new(),
            held_bytes: 0,
            blocks: Vec::new(),
            dsack: None,
            quick: 0,
            ato: 0,
            last_came: None,
            largest: mss,
            now_due: false,
            delayed: None,
            compressed: 0,
            compressed_due: None,
            duplicates: 0,
            duplicates_at: next,
            window,
            received: Received::default(),
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Where the last ACK stood: a timestamp of a segment at or before it is echoed (RFC 7323
    /// section 4.3).
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) fn received(&self) -> &Received {
        &self.received
    }

    pub(super) fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Bytes `start..end` came. `srtt`: as the sender of this end knows it, where it does.
    pub(super) fn data(&mut self, now: u64, start: u64, end: u64, srtt: Option<u64>) {
        if end <= start || start > self.edge {
            // Beyond the window, or an old probe: it is answered.
            self.now_due = true;
            return;
        }
        if end <= self.next {
            self.received.duplicates += end - start;
            self.dsack = Some((start, end));
            self.enter_quick();
            self.now_due = true;
            return;
        }
        let len = end - start;
        if start <= self.next {
            if start < self.next {
                self.dsack = Some((start, self.next));
                self.enter_quick();
            }
            let before = !self.held.is_empty();
            self.advance(now, end);
            if before && self.held.is_empty() {
                self.now_due = true;
            }
        } else {
            self.hold(start, end);
        }
        self.came(now, len);
        let behind = self.held.last_key_value().map_or(0, |(_, &stop)| stop - self.next);
        self.window.read(now, self.next, behind);
        self.decide(now, srtt);
    }

    /// Bytes `start..end` came with a timestamp that is too old: they are not taken. What is there
    /// already is reported as a duplicate.
    pub(super) fn reject(&mut self, start: u64, end: u64) {
        if start < self.next {
            self.dsack = Some((start, end.min(self.next)));
            self.enter_quick();
        }
        self.now_due = true;
    }

    fn advance(&mut self, now: u64, end: u64) {
        let from = self.next;
        self.next = end;
        while let Some((&start, &stop)) = self.held.first_key_value() {
            if start > self.next {
                break;
            }
            self.held.pop_first();
            self.held_bytes -= stop - start;
            self.next = self.next.max(stop);
        }
        let next = self.next;
        self.blocks.retain(|&(_, stop)| stop > next);
        let received = &mut self.received;
        received.bytes += self.next - from;
        received.first.get_or_insert(now);
        received.gap = received.gap.max(now - received.last.unwrap_or(now));
        received.last = Some(now);
    }

    /// Keeps what came behind a gap, and puts its range first.
    fn hold(&mut self, mut start: u64, mut end: u64) {
        if let Some((&before, &stop)) = self.held.range(..=start).next_back()
            && stop >= end
        {
            self.received.duplicates += end - start;
            self.dsack = Some((start, end));
            let block = (before, stop);
            self.blocks.retain(|&other| other != block);
            self.blocks.insert(0, block);
            self.blocks.truncate(BLOCKS);
            return;
        }
        // Joins what touches.
        let touching: Vec<u64> = self
            .held
            .range(..=end)
            .rev()
            .take_while(|&(_, &stop)| stop >= start)
            .map(|(&begin, _)| begin)
            .collect();
        for begin in touching {
            if let Some(stop) = self.held.remove(&begin) {
                self.held_bytes -= stop - begin;
                self.blocks.retain(|&block| block != (begin, stop));
                start = start.min(begin);
                end = end.max(stop);
            }
        }
        self.held.insert(start, end);
        self.held_bytes += end - start;
        self.blocks.insert(0, (start, end));
        if self.blocks.len() > BLOCKS {
            self.blocks.truncate(BLOCKS);
            // A block falls out: what was compressed is said before it does.
            self.now_due |= self.compressed > 0;
        }
    }

    /// The estimator of the sender's pace, and the window.
    fn came(&mut self, now: u64, len: u64) {
        match self.last_came {
            None => {
                self.quick = self.quick_acks();
                self.ato = ATO_MIN;
            }
            Some(last) => {
                let pause = now - last;
                if pause <= ATO_MIN / 2 {
                    self.ato = self.ato / 2 + ATO_MIN / 2;
                } else if pause < self.ato {
                    self.ato = self.ato / 2 + pause;
                } else if pause > ATO_MAX {
                    self.quick = self.quick.max(self.quick_acks());
                }
            }
        }
        self.last_came = Some(now);
        if len >= 128 {
            self.window.grow(self.held_bytes);
        }
    }

    /// One ACK for each of the next segments: as many as half a window holds.
    fn quick_acks(&self) -> u32 {
        let half = (self.edge - self.acked) / (2 * u64::from(self.largest.max(1)));
        u32::try_from(half).unwrap_or(QUICK).clamp(2, QUICK)
    }

    fn enter_quick(&mut self) {
        self.quick = self.quick.max(self.quick_acks());
        self.ato = ATO_MIN;
    }

    fn decide(&mut self, now: u64, srtt: Option<u64>) {
        if self.now_due || self.quick > 0 || self.next - self.acked > u64::from(self.largest) {
            self.now_due = true;
        } else if self.held.is_empty() {
            let due = now + self.ato.min(ATO_MAX);
            self.delayed = Some(self.delayed.map_or(due, |delayed| delayed.min(due)));
        } else if self.compressed >= COMPRESSED {
            self.now_due = true;
        } else {
            if self.duplicates_at != self.next {
                self.duplicates_at = self.next;
                self.duplicates = 0;
            }
            if self.duplicates < DUPLICATES {
                self.duplicates += 1;
                self.now_due = true;
                return;
            }
            self.compressed += 1;
            let rtt = self.window.rtt().into_iter().chain(srtt).min().unwrap_or(0);
            self.compressed_due.get_or_insert(now + (rtt / 20).min(COMPRESSION));
        }
    }

    /// The segment's congestion mark wants an answer at once (RFC 3168).
    pub(super) fn answer(&mut self) {
        self.now_due = true;
    }

    /// When an ACK is due without anything coming.
    pub(super) fn timeout(&self) -> Option<u64> {
        [self.delayed, self.compressed_due].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: u64) {
        if self.compressed_due.is_some_and(|due| due <= now) {
            self.compressed_due = None;
            self.now_due |= self.compressed > 0;
        }
        if self.delayed.is_some_and(|due| due <= now) {
            self.delayed = None;
            self.now_due = true;
        }
    }

    /// Whether an ACK is due.
    pub(super) fn due(&self) -> bool {
        self.now_due
    }

    /// An ACK is being sent: where it stands, the window, and the blocks, the DSACK first.
    /// With data there is no room for blocks; they stay due.
    pub(super) fn ack(&mut self, room: bool) -> (u64, u64, Vec<(u64, u64)>) {
        self.delayed = None;
        self.now_due = false;
        if !room {
            self.acked = self.next;
            self.edge = self.edge.max(self.next + self.window.offer(self.held_bytes));
            return (self.next, self.edge - self.next, Vec::new());
        }
        self.compressed = 0;
        self.compressed_due = None;
        self.quick = self.quick.saturating_sub(1);
        self.acked = self.next;
        // The right edge never moves back (RFC 9293 section 3.8.6).
        self.edge = self.edge.max(self.next + self.window.offer(self.held_bytes));
        let mut blocks: Vec<_> = self.dsack.take().into_iter().collect();
        blocks.extend(self.blocks.iter().copied().take(3 - blocks.len()));
        (self.next, self.edge - self.next, blocks)
    }
}
