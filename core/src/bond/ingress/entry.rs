//! A packet or superpacket in the queue: which of its packets is next. The bytes stay with their
//! owner.

use super::Item;
use crate::bond::inner::{Ecn, Segments};

/// One packet of a packet or superpacket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its place.
    pub(crate) index: u16,
    /// It is to be marked with "congestion experienced" when it is written.
    pub(crate) marked: bool,
}

/// A packet or superpacket, of which the first packets may have left.
#[derive(Debug)]
pub(crate) struct Entry {
    segments: Segments,
    /// The packet that is next.
    index: usize,
    /// Whether its transport knows ECN.
    capable: bool,
    /// Whether the next one is to be marked.
    marked: bool,
}

impl Entry {
    /// An entry of what a TUN gave, which is cut like this and says this of ECN.
    pub(crate) fn new(segments: Segments, ecn: Ecn) -> Self {
        Entry { segments, index: 0, capable: ecn != Ecn::NotEct, marked: false }
    }

    /// The packet that is next.
    pub(crate) fn next(&self) -> Piece {
        // There are fewer than bytes in a packet: the lengths of IP have 16 bits.
        Piece { index: self.index as u16, marked: self.marked }
    }
}

impl Item for Entry {
    fn next_len(&self) -> usize {
        self.segments.len(self.index).unwrap_or(0)
    }

    fn bytes_left(&self) -> usize {
        self.segments.len_from(self.index)
    }

    fn advance(&mut self) {
        self.index += 1;
        self.marked = false;
    }

    fn mark(&mut self) -> bool {
        self.marked = self.capable;
        self.capable
    }
}
