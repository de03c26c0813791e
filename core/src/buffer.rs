//! Pooled buffers. An idle connection holds no buffer.
//!
//! A driver reads into the pool's scratch buffer; only when bytes came does a connection take that
//! buffer, and it gives it back once they have left. The same few hot buffers serve all busy
//! connections, an idle one holds nothing. Slow readers may hold a limited number of them; what is
//! read beyond that is held in pieces of at most 4 KiB each.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes on their way: a pool's buffer and the part of it that is still to go.
///
/// Each connection has room for two, so the numbers are small ones: no buffer has 4 GiB.
#[derive(Debug)]
pub(crate) struct Filled {
    data: Box<[u8]>,
    start: u32,
    end: u32,
}

fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Filled {
    /// What is still to go.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start as usize..self.end as usize]
    }

    /// Marks `len` bytes as gone.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(short(len)).min(self.end);
    }

    /// Keeps the first `len` bytes of what is to go.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(short(len)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// A pool of equal buffers. Up to `limit` of them are taken at once; beyond that bytes are carried
/// in small pieces. So a slow reader is throttled, and other connections are not.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Vec<Box<[u8]>>,
    size: usize,
    taken: usize,
    /// The bytes of the taken.
    held: usize,
    /// Those of the taken that are of full size.
    large: usize,
    limit: usize,
    /// The scratch buffer while the limit is reached.
    small: Box<[u8]>,
    /// The last scratch was the small one.
    use_small: bool,
    /// How often a read had to do with the small one.
    pub(crate) exhausted: u64,
}

/// Free buffers beyond this many go back to the allocator.
const KEEP_FREE: usize = 4;
/// What one read takes while the limit is reached.
const SMALL: usize = 4096;

impl Buffers {
    /// Buffers of `size` bytes, `limit` of them.
    pub(crate) fn new(size: usize, limit: usize) -> Self {
        Buffers {
            free: Vec::new(),
            size,
            taken: 0,
            held: 0,
            large: 0,
            limit,
            small: Box::default(),
            use_small: false,
            exhausted: 0,
        }
    }

    /// Another number of buffers; those that are taken beyond it come back in their time.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// As many buffers are taken as may be.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.large >= self.limit
    }

    /// The buffer to read into next, never empty.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.use_small = self.is_exhausted();
        if self.use_small {
            self.exhausted += 1;
            if self.small.is_empty() {
                self.small = vec![0; SMALL.min(self.size)].into_boxed_slice();
            }
            return &mut self.small;
        }
        if self.free.is_empty() {
            self.free.push(vec![0; self.size].into_boxed_slice());
        }
        self.free.last_mut().map(|buffer| &mut buffer[..]).unwrap_or_default()
    }

    /// The first `len` bytes last read into the scratch buffer.
    pub(crate) fn peek(&self, len: usize) -> &[u8] {
        let scratch = match self.free.last() {
            Some(buffer) if !self.use_small => buffer,
            _ => &self.small,
        };
        &scratch[..len.min(scratch.len())]
    }

    /// Takes the scratch buffer with the first `len` bytes read into it.
    pub(crate) fn take(&mut self, len: usize) -> Filled {
        let data = match self.free.pop() {
            Some(buffer) if !self.use_small => buffer,
            other => {
                self.free.extend(other);
                self.peek(len).into()
            }
        };
        let end = short(len.min(data.len()));
        Filled { end, ..self.own(data) }
    }

    /// A buffer that holds a copy of `bytes`, no larger than needed.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Filled {
        self.own(bytes.into())
    }

    /// A buffer made of these bytes.
    pub(crate) fn own(&mut self, data: Box<[u8]>) -> Filled {
        self.taken += 1;
        self.held += data.len();
        self.large += usize::from(data.len() == self.size);
        Filled { start: 0, end: short(data.len()), data }
    }

    /// Gives a buffer back.
    pub(crate) fn give(&mut self, filled: Filled) {
        self.taken -= 1;
        self.held -= filled.data.len();
        if filled.data.len() != self.size {
            return;
        }
        self.large -= 1;
        if self.free.len() < KEEP_FREE {
            self.free.push(filled.data);
        }
    }

    /// Whether a read of `len` bytes filled the last scratch buffer.
    pub(crate) fn was_filled(&self, len: usize) -> bool {
        len >= if self.use_small { self.small.len() } else { self.size }
    }

    /// The bytes of the buffers that connections hold now.
    pub(crate) fn held(&self) -> usize {
        self.held
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
    fn beyond_the_limit_reads_go_on_in_small_pieces() {
        let mut pool = Buffers::new(8192, 1);
        pool.scratch()[..3].copy_from_slice(b"abc");
        let first = pool.take(3);
        assert_eq!(first.bytes(), b"abc");
        assert_eq!(pool.scratch().len(), SMALL);
        pool.scratch()[..3].copy_from_slice(b"xyz");
        assert_eq!(pool.peek(3), b"xyz");
        let second = pool.take(3);
        assert_eq!((second.bytes(), second.data.len(), pool.exhausted), (&b"xyz"[..], 3, 2));
        assert_eq!(pool.held(), 8192 + 3);
        pool.give(first);
        assert_eq!(pool.scratch().len(), 8192, "a small piece does not count");
        pool.give(second);
        assert_eq!((pool.taken(), pool.held()), (0, 0));
    }

    #[test]
    fn a_copy_is_no_larger_than_its_bytes() {
        let mut pool = Buffers::new(4, 1);
        let mut filled = pool.copy(b"0123456789");
        filled.consume(3);
        assert_eq!(filled.bytes(), b"3456789");
        filled.truncate(2);
        assert_eq!(filled.bytes(), b"34");
        pool.give(filled);
        assert_eq!((pool.taken(), pool.free.len()), (0, 0));
    }

    #[test]
    fn a_small_piece_is_read_where_a_large_buffer_is_spare() {
        let mut pool = Buffers::new(8192, 2);
        pool.scratch();
        let first = pool.take(1);
        pool.scratch();
        let second = pool.take(1);
        pool.give(first);
        // A reload may lower the limit: one is spare, and as many are taken as may be.
        pool.set_limit(1);
        pool.scratch()[..3].copy_from_slice(b"new");
        assert_eq!(pool.peek(3), b"new");
        let third = pool.take(3);
        assert_eq!(third.bytes(), b"new");
        [second, third].into_iter().for_each(|filled| pool.give(filled));
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn another_limit_holds_for_what_is_taken_next() {
        let mut pool = Buffers::new(4, 1);
        let filled = pool.own(b"abcd"[..].into());
        assert!(pool.is_exhausted());
        pool.set_limit(2);
        assert!(!pool.is_exhausted());
        pool.set_limit(1);
        assert!(pool.is_exhausted());
        pool.give(filled);
    }

    #[test]
    fn bytes_as_many_as_a_buffer_has_count_as_one() {
        let mut pool = Buffers::new(4, 1);
        let filled = pool.own(b"abcd"[..].into());
        assert!(pool.is_exhausted());
        pool.give(filled);
        assert!(!pool.is_exhausted());
    }
}
