//! What the SACK blocks of an ACK say: what arrived (RFC 2018), what arrived twice (RFC 2883), and
//! what came late.

use super::recovery::State;
use super::sender::{Heard, News, Sender};

impl Sender {
    /// The blocks of an ACK: what they cover is sacked (RFC 2018), the first may report a duplicate
    /// (RFC 2883).
    pub(super) fn read_blocks(&mut self, heard: &Heard, news: &mut News) {
        let Some(&first) = heard.blocks.first() else {
            self.blocks.clear();
            return;
        };
        let inside = |block: (u64, u64), other: &(u64, u64)| block.0 >= other.0 && block.1 <= other.1;
        let dsack = first.0 < heard.ack || heard.blocks.get(1).is_some_and(|second| inside(first, second));
        if dsack {
            self.read_dsack(first, heard.ack, news);
        }
        // In order: of two new blocks of one ACK the lower one did not come late.
        let mut blocks = heard.blocks[usize::from(dsack)..].to_vec();
        blocks.sort_unstable();
        for &(start, end) in &blocks {
            if start >= end || end > self.next || end <= self.una {
                continue;
            }
            // What the ACK before said of the same range is known.
            let known = self.blocks.iter().find(|known| known.0 < end && start < known.1).copied();
            match known {
                Some((from, to)) => {
                    self.sack(start, from.min(end), news);
                    self.sack(to.max(start), end, news);
                }
                None => self.sack(start, end, news),
            }
        }
        self.blocks = blocks;
        if let Some(low) = news.reordered
            && (self.state != State::Loss || self.undo.marker.is_some())
        {
            self.check_reordering(low);
        }
    }

    fn read_dsack(&mut self, (start, end): (u64, u64), ack: u64, news: &mut News) {
        let segments = (end.saturating_sub(start)).div_ceil(u64::from(self.mss)).max(1);
        if self.probe.is_some_and(|(high, _)| high == end) {
            news.dsack_probe = true;
        }
        self.duplicates += segments;
        // The network made the copy, where this sender did not.
        if self.duplicates > self.retransmits {
            return;
        }
        news.dsack = true;
        // A needless retransmission was delivered: it counts for the window as every delivery does.
        self.delivered += segments;
        if !news.dsack_probe {
            self.rack.dsack_seen();
        }
        if end <= self.una {
            self.take_resent(end, segments);
            return;
        }
        for number in self.board.within(start, end) {
            let segment = *self.board.get(number).expect("within the board");
            if segment.ever_resent {
                self.take_resent(segment.end(), 1);
                if segment.sacked {
                    // The original came after all, behind what was sent later.
                    news.late(segment.seq);
                }
            }
            if segment.end() > ack {
                self.sack(segment.seq, segment.end(), news);
                self.board.forget_resent(number);
            }
        }
    }

    /// RFC 3708: a retransmission of this recovery was for nothing.
    fn take_resent(&mut self, end: u64, segments: u64) {
        if self.undo.resent > 0 && self.undo.marker.is_some_and(|marker| end > marker) {
            self.undo.resent = (self.undo.resent - segments as i64).max(0);
        }
    }

    fn sack(&mut self, start: u64, end: u64, news: &mut News) {
        if start >= end {
            return;
        }
        for number in self.board.within(start, end) {
            let segment = *self.board.get(number).expect("within the board");
            if segment.sacked {
                continue;
            }
            self.rack.arrived(news.now, &segment, self.rtt.min());
            news.note(&segment);
            if !segment.ever_resent {
                if self.board.high_sacked().is_some_and(|high| segment.seq < high) {
                    news.late(segment.seq);
                }
                news.original |= segment.end() <= self.high;
                let first = news.sacked_at.map_or(segment.at, |(first, _)| first);
                news.sacked_at = Some((first, segment.at));
            }
            self.board.sack(number);
            self.delivered += 1;
            news.sacked = true;
        }
    }

    /// Reordering reaches from `low` to the end of the highest segment that arrived.
    pub(super) fn check_reordering(&mut self, low: u64) {
        let high = self.board.high_sacked().unwrap_or(self.una);
        if low < high {
            self.rack.reordering_seen(high - low, self.mss);
        }
    }
}
