//! Pooled buffers: who has nothing to carry owns none.
//!
//! A driver reads into the pool's scratch buffer; only when bytes came does a connection take that buffer,
//! and it gives it back once they have left. The same few hot buffers serve all busy connections, an idle
//! one holds nothing, and one cap bounds the memory of all slow readers together.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes on their way: a pool's buffer and the part of it that is still to go.
#[derive(Debug)]
pub(crate) struct Filled {
    data: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Filled {
    /// What is still to go.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Marks `len` bytes as gone.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }

    /// Keeps the first `len` bytes of what is to go.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// A pool of equal buffers with a cap.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Vec<Box<[u8]>>,
    size: usize,
    taken: usize,
    limit: usize,
    /// How often a read had to wait because all buffers were taken.
    pub(crate) exhausted: u64,
}

/// Free buffers beyond this many go back to the allocator.
const KEEP_FREE: usize = 4;

impl Buffers {
    /// Buffers of `size` bytes, at most `limit` of them taken at once (handshake replies and left-over bytes
    /// of a handshake may exceed it: they are bounded by the number of connections and small).
    pub(crate) fn new(size: usize, limit: usize) -> Self {
        Buffers { free: Vec::new(), size, taken: 0, limit, exhausted: 0 }
    }

    /// The buffer to read into next; `None` when all are taken.
    pub(crate) fn scratch(&mut self) -> Option<&mut [u8]> {
        if self.taken >= self.limit {
            self.exhausted += 1;
            return None;
        }
        if self.free.is_empty() {
            self.free.push(vec![0; self.size].into_boxed_slice());
        }
        self.free.last_mut().map(|buffer| &mut buffer[..])
    }

    /// The first `len` bytes last read into the scratch buffer.
    pub(crate) fn peek(&self, len: usize) -> &[u8] {
        match self.free.last() {
            Some(buffer) => &buffer[..len.min(buffer.len())],
            None => &[],
        }
    }

    /// Takes the scratch buffer with the first `len` bytes read into it.
    pub(crate) fn take(&mut self, len: usize) -> Filled {
        let data = self.free.pop().unwrap_or_else(|| vec![0; self.size].into_boxed_slice());
        self.taken += 1;
        let end = len.min(data.len());
        Filled { data, start: 0, end }
    }

    /// A buffer filled with a copy of `bytes`, beyond the cap if need be.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Filled {
        if bytes.len() > self.size {
            self.taken += 1;
            return Filled { data: bytes.into(), start: 0, end: bytes.len() };
        }
        let mut filled = self.take(self.size);
        filled.data[..bytes.len()].copy_from_slice(bytes);
        filled.end = bytes.len();
        filled
    }

    /// Gives a buffer back.
    pub(crate) fn give(&mut self, filled: Filled) {
        self.taken -= 1;
        if self.free.len() < KEEP_FREE && filled.data.len() == self.size {
            self.free.push(filled.data);
        }
    }

    /// How many buffers connections hold now.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_and_a_returned_buffer_lifts_it() {
        let mut pool = Buffers::new(8, 2);
        pool.scratch().expect("free")[..3].copy_from_slice(b"abc");
        let first = pool.take(3);
        assert_eq!(first.bytes(), b"abc");
        let second = pool.copy(b"xyz");
        assert!(pool.scratch().is_none());
        assert_eq!(pool.exhausted, 1);
        pool.give(second);
        assert!(pool.scratch().is_some());
        pool.give(first);
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn a_copy_larger_than_a_buffer_keeps_every_byte() {
        let mut pool = Buffers::new(4, 1);
        let mut filled = pool.copy(b"0123456789");
        filled.consume(3);
        assert_eq!(filled.bytes(), b"3456789");
        filled.truncate(2);
        assert_eq!(filled.bytes(), b"34");
        pool.give(filled);
    }
}
