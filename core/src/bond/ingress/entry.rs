//! A packet or superpacket in the queue: bytes of any owner, cut as they leave.

use super::Item;
use crate::bond::inner::{Ecn, Malformed, Packet, Segments, Sums, mark_ce};
use crate::machine::Offload;

/// A packet or superpacket, of which the first packets may have left.
#[derive(Debug)]
pub(crate) struct Entry<B> {
    bytes: B,
    segments: Segments,
    /// The packet that is next.
    index: usize,
    /// Whether its transport knows ECN.
    capable: bool,
    /// Whether the next one is to be marked.
    marked: bool,
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// An entry of what a TUN gave, its checksum [prepared](crate::bond::inner::prepare).
    pub(crate) fn new(bytes: B, offload: Offload) -> Result<Self, Malformed> {
        let segments = Segments::of(bytes.as_ref(), offload)?;
        let capable = Packet::parse_with(bytes.as_ref(), offload)?.ecn() != Ecn::NotEct;
        Ok(Entry { bytes, segments, index: 0, capable, marked: false })
    }

    /// Writes the next packet to the front of `out`; its length. `None` where none is left, or
    /// `out` is too short.
    pub(crate) fn write(&self, out: &mut [u8], sums: Sums) -> Option<usize> {
        let len = self.segments.write(self.bytes.as_ref(), self.index, out, sums)?;
        if self.marked {
            mark_ce(&mut out[..len]);
        }
        Some(len)
    }

    /// The bytes back, when it is spent.
    pub(crate) fn into_bytes(self) -> B {
        self.bytes
    }
}

impl<B> Item for Entry<B> {
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
