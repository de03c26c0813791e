//! Datagrams that wait to be sent on one socket, most often for no longer than one turn.

use crate::machine::{MAX_SEGMENTS, Transmit};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// The receiver of a datagram, and how it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    pub(crate) to: Option<SocketAddr>,
    pub(crate) from: Option<IpAddr>,
    pub(crate) ecn: u8,
}

#[derive(Debug)]
struct Entry {
    address: Address,
    len: usize,
}

/// Bytes in the order of their sending, and what they are.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    sent: usize,
    entries: VecDeque<Entry>,
}

/// The datagrams of one socket. Nothing is owned while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    batch: Option<Box<Batch>>,
    /// Its socket is in the list of those that have something to send.
    listed: bool,
}

/// Memory that outboxes use in turns.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    #[expect(clippy::vec_box, reason = "outboxes own boxes: they are handed over, not copied")]
    free: Vec<Box<Batch>>,
    /// Bytes that wait in all outboxes.
    waiting: usize,
}

/// Batches kept for the next.
const KEEP: usize = 8;
/// What was larger than this goes back to the allocator.
const KEEP_BYTES: usize = 128 * 1024;
/// The sent bytes are freed when they are at least this many and at least as many as those that
/// wait: otherwise a batch that never runs empty would grow without bound.
const SHED: usize = 64 * 1024;
/// The most datagrams that may wait: one for this many bytes of the limit, because each datagram
/// takes memory however short it is.
const LEAST: usize = 16;
/// The largest payload of a UDP datagram over IPv4, in bytes: what is sent in one go must not be
/// larger either.
const MAX_RUN: usize = 65_507;

impl Spare {
    /// Bytes that wait in all outboxes that it serves.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn take(&mut self) -> Box<Batch> {
        self.free.pop().unwrap_or_default()
    }

    fn give(&mut self, mut batch: Box<Batch>) {
        let entries = batch.entries.capacity() * size_of::<Entry>();
        if self.free.len() < KEEP && batch.bytes.capacity() <= KEEP_BYTES && entries <= KEEP_BYTES {
            batch.bytes.clear();
            batch.sent = 0;
            self.free.push(batch);
        }
    }
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_none()
    }

    /// Whether its socket is to be listed: there is something to send, and it is not in the list.
    pub(crate) fn list(&mut self) -> bool {
        !self.is_empty() && !core::mem::replace(&mut self.listed, true)
    }

    /// Its socket is not in the list any more; whether there is something to send.
    pub(crate) fn unlist(&mut self) -> bool {
        self.listed = false;
        !self.is_empty()
    }

    /// Adds a datagram made of two parts; false where more than `limit` bytes would wait, or very
    /// many datagrams.
    #[must_use]
    pub(crate) fn push(
        &mut self,
        address: Address,
        [head, body]: [&[u8]; 2],
        limit: usize,
        spare: &mut Spare,
    ) -> bool {
        let len = head.len() + body.len();
        let waiting = |batch: &Batch| (batch.bytes.len() - batch.sent, batch.entries.len());
        let (bytes, count) = self.batch.as_deref().map_or((0, 0), waiting);
        if bytes + len > limit || count >= MAX_SEGMENTS + limit / LEAST {
            return false;
        }
        let batch = self.batch.get_or_insert_with(|| spare.take());
        if batch.sent >= SHED.max(bytes) {
            batch.bytes.drain(..batch.sent);
            batch.sent = 0;
        }
        batch.bytes.extend_from_slice(head);
        batch.bytes.extend_from_slice(body);
        batch.entries.push_back(Entry { address, len });
        spare.waiting += len;
        true
    }

    /// Writes the next datagram to `buf`, with those behind it that may go along.
    pub(crate) fn pop(&mut self, buf: &mut [u8], spare: &mut Spare) -> Option<Transmit> {
        let batch = self.batch.as_mut()?;
        let (mut run, mut count, mut first) = (0, 0, None);
        while let Some(entry) = batch.entries.front() {
            let (address, size) = *first.get_or_insert((entry.address, entry.len));
            // udp(7), UDP_SEGMENT: all of one length, only the last may be shorter; an empty one
            // would be lost.
            let joins = count == 0
                || (entry.address == address
                    && entry.len <= size
                    && entry.len > 0
                    && count < MAX_SEGMENTS
                    && run + entry.len <= MAX_RUN);
            if count == 0 && entry.len > buf.len() {
                // The buffer has room for what can be sent at all.
                batch.sent += entry.len;
                spare.waiting -= entry.len;
                batch.entries.pop_front();
                first = None;
                continue;
            }
            if !joins || run + entry.len > buf.len() {
                break;
            }
            run += entry.len;
            count += 1;
            let last = entry.len < size;
            batch.entries.pop_front();
            if last {
                break;
            }
        }
        let out = first.filter(|_| count > 0).map(|(Address { to, from, ecn }, size)| {
            buf[..run].copy_from_slice(&batch.bytes[batch.sent..batch.sent + run]);
            batch.sent += run;
            spare.waiting -= run;
            let segment = (count > 1).then_some(size);
            Transmit { id: 0, to, from, ecn, len: run, segment }
        });
        if batch.entries.is_empty()
            && let Some(batch) = self.batch.take()
        {
            spare.give(batch);
        }
        out
    }

    /// Gives its memory back.
    pub(crate) fn clear(&mut self, spare: &mut Spare) {
        if let Some(mut batch) = self.batch.take() {
            spare.waiting -= batch.bytes.len() - batch.sent;
            batch.entries.clear();
            spare.give(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const HERE: Address = Address { to: None, from: None, ecn: 0 };

    fn filled(datagrams: &[(Address, &[u8])]) -> (Outbox, Spare) {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        for (address, bytes) in datagrams {
            assert!(outbox.push(*address, [b"", bytes], 1 << 20, &mut spare));
        }
        (outbox, spare)
    }

    fn runs(datagrams: &[(Address, &[u8])], room: usize) -> Vec<(usize, Option<usize>)> {
        let (mut outbox, mut spare) = filled(datagrams);
        let mut buf = vec![0; room];
        let runs = core::iter::from_fn(|| outbox.pop(&mut buf, &mut spare));
        let runs: Vec<_> = runs.map(|transmit| (transmit.len, transmit.segment)).collect();
        assert!(outbox.is_empty());
        assert_eq!(spare.waiting(), 0);
        runs
    }

    #[test]
    fn equal_datagrams_to_one_receiver_go_together_and_a_shorter_one_ends_the_run() {
        let other = Address { to: Some("192.0.2.1:1".parse().expect("literal")), ..HERE };
        let all: [(Address, &[u8]); 6] =
            [(HERE, b"abc"), (HERE, b"def"), (HERE, b"g"), (HERE, b"hij"), (other, b"klm"), (HERE, b"nop")];
        assert_eq!(runs(&all, 100), [(7, Some(3)), (3, None), (3, None), (3, None)]);
        assert_eq!(runs(&all, 6), [(6, Some(3)), (1, None), (3, None), (3, None), (3, None)]);
    }

    #[test]
    fn an_empty_datagram_goes_alone() {
        let all: [(Address, &[u8]); 4] = [(HERE, b""), (HERE, b""), (HERE, b"a"), (HERE, b"")];
        assert_eq!(runs(&all, 100), [(0, None), (0, None), (1, None), (0, None)]);
    }

    #[test]
    fn a_run_is_no_larger_than_a_datagram_can_be_and_no_longer_than_the_kernel_takes() {
        let large = vec![7; 30_000];
        let all = vec![(HERE, &large[..]); 3];
        assert_eq!(runs(&all, 1 << 17), [(60_000, Some(30_000)), (30_000, None)]);
        let all = vec![(HERE, &large[..1]); 70];
        assert_eq!(runs(&all, 1 << 17), [(64, Some(1)), (6, Some(1))]);
    }

    #[test]
    fn what_would_be_too_much_is_refused_and_an_empty_box_owns_nothing() {
        let (mut outbox, mut spare) = filled(&[(HERE, b"abcd")]);
        assert!(!outbox.push(HERE, [b"ab", b"cd"], 7, &mut spare));
        assert!(outbox.push(HERE, [b"ab", b"c"], 7, &mut spare));
        assert_eq!(spare.waiting(), 7);
        let mut buf = [0; 16];
        assert!(outbox.pop(&mut buf, &mut spare).is_some_and(|t| t.len == 7));
        assert_eq!(&buf[..7], b"abcdabc");
        assert!(outbox.is_empty() && outbox.pop(&mut buf, &mut spare).is_none());
        assert!(!outbox.push(HERE, [b"", b"12345678"], 7, &mut spare));
        assert!(outbox.is_empty(), "what was refused leaves nothing behind");
        assert_eq!(spare.waiting(), 0);
        assert!(outbox.push(HERE, [b"", b"1234"], 7, &mut spare));
        outbox.clear(&mut spare);
        assert_eq!(spare.waiting(), 0, "what is lost does not wait");
    }

    #[test]
    fn a_box_that_never_runs_empty_keeps_its_size() {
        let (mut outbox, mut spare) = filled(&[(HERE, &[1; 1000])]);
        let mut buf = vec![0; 1000];
        for n in 0..10_000u32 {
            assert!(outbox.push(HERE, [&n.to_be_bytes(), &[7; 996]], 1 << 20, &mut spare));
            assert!(outbox.pop(&mut buf, &mut spare).is_some());
            assert!(n == 0 || buf[..4] == (n - 1).to_be_bytes());
        }
        let capacity = outbox.batch.as_ref().map(|batch| batch.bytes.capacity());
        assert!(capacity.is_some_and(|capacity| capacity <= 4 * SHED), "{capacity:?}");
    }

    #[test]
    fn what_is_larger_than_the_buffer_is_left_out_and_waits_no_more() {
        let all: [(Address, &[u8]); 4] =
            [(HERE, b"12345678"), (HERE, b"abc"), (HERE, b"12345"), (HERE, b"d")];
        assert_eq!(runs(&all, 4), [(3, None), (1, None)]);
    }

    #[test]
    fn a_few_batches_are_kept_for_the_next_and_none_that_is_large() {
        let mut spare = Spare::default();
        (0..KEEP + 3).for_each(|_| spare.give(Box::default()));
        assert_eq!(spare.free.len(), KEEP);
        let mut spare = Spare::default();
        let sized = |bytes, entries| Batch {
            bytes: Vec::with_capacity(bytes),
            entries: VecDeque::with_capacity(entries),
            sent: 7,
        };
        spare.give(Box::new(sized(KEEP_BYTES + 1, 0)));
        spare.give(Box::new(sized(0, KEEP_BYTES / size_of::<Entry>() + 1)));
        assert!(spare.free.is_empty());
        spare.give(Box::new(sized(1000, 10)));
        assert!(spare.free.pop().is_some_and(|batch| batch.sent == 0 && batch.bytes.capacity() >= 1000));
    }
}
