//! Lines on their way to a writer, bounded by bytes.
//!
//! ```text
//! push ──▶ [ line line line ] ──▶ take      full: push counts what it drops, until half of the room is free;
//!                                           then take puts one line in the place of all that was lost
//! ```
//!
//! Invariants: lines come out in the order in which they went in; nothing waits to put one in; a
//! line reports dropped lines at the place where they are missing.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes that wait.
const ROOM: usize = 256 * 1024;
/// The most that is taken at once: pipe(7) keeps a write of this size in one piece.
const PIECE: usize = 4096;
/// What stays allocated once a burst is over.
const IDLE: usize = 8 * 1024;

pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to take.
    news: Condvar,
    /// All was written.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Lines dropped since the last line that reported any.
    missing: u64,
    /// Lines dropped ever.
    lost: u64,
    /// What was taken last is not written yet.
    writing: bool,
}

impl Queue {
    pub(super) const fn new() -> Self {
        let state = State { bytes: VecDeque::new(), missing: 0, lost: 0, writing: false };
        Queue { state: Mutex::new(state), news: Condvar::new(), idle: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line in, with its line feed, or counts it as lost.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.lock();
        // What comes after a lost line must come after the line that reports it.
        if state.missing > 0 || state.bytes.len() + line.len() > ROOM {
            state.missing += 1;
            state.lost += 1;
        } else {
            state.bytes.extend(line.as_bytes());
        }
        drop(state);
        self.news.notify_one();
    }

    /// Waits for lines and puts some of them into `piece`, whole ones. `tell` writes the line about
    /// lost ones.
    pub(super) fn take(&self, piece: &mut Vec<u8>, tell: impl Fn(u64) -> String) {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if state.missing > 0 && state.bytes.len() <= ROOM / 2 {
                let missing = std::mem::take(&mut state.missing);
                state.bytes.extend(tell(missing).as_bytes());
            }
            if !state.bytes.is_empty() {
                break;
            }
            state.bytes.shrink_to(IDLE);
            self.idle.notify_all();
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let upto = state.bytes.len().min(PIECE);
        let last = (0..upto).rev().find(|at| state.bytes[*at] == b'\n');
        // A line longer than a piece goes in pieces.
        let len = last.map_or(upto, |at| at + 1);
        piece.clear();
        piece.extend(state.bytes.drain(..len));
        state.writing = true;
    }

    /// Waits until all is written, or for this long at most. Returns whether it is.
    pub(super) fn flush(&self, most: Duration) -> bool {
        let deadline = Instant::now() + most;
        let mut state = self.lock();
        while state.writing || state.missing > 0 || !state.bytes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines dropped so far.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(missing: u64) -> String {
        format!("lost {missing}\n")
    }

    /// All that can be taken without waiting.
    fn drain(queue: &Queue) -> Vec<String> {
        let (mut all, mut piece) = (Vec::new(), Vec::new());
        while !queue.lock().bytes.is_empty() {
            queue.take(&mut piece, tell);
            assert!(piece.len() <= PIECE, "{}", piece.len());
            all.extend_from_slice(&piece);
        }
        String::from_utf8(all).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let queue = Queue::new();
        let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
        lines.iter().for_each(|line| queue.push(&format!("{line}\n")));
        let mut piece = Vec::new();
        queue.take(&mut piece, tell);
        assert!(piece.len() > PIECE / 2 && piece.ends_with(b"\n"), "{}", piece.len());
        let first = String::from_utf8(piece).expect("text");
        let got: Vec<String> = first.lines().map(str::to_owned).chain(drain(&queue)).collect();
        assert_eq!(got, lines);
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn what_was_lost_is_told_once_and_in_its_place() {
        let queue = Queue::new();
        let line = |n: usize| format!("{n:>99}\n");
        let fit = ROOM / 100;
        (0..fit + 10).for_each(|n| queue.push(&line(n)));
        assert_eq!(queue.lost(), 10);
        let mut piece = Vec::new();
        queue.take(&mut piece, tell);
        // There is room, but a new line must stand behind the line that reports the loss.
        queue.push(&line(0));
        assert_eq!(queue.lost(), 11);
        let rest = drain(&queue);
        assert_eq!(rest.last().map(String::as_str), Some("lost 11"));
        assert_eq!(rest.iter().filter(|line| line.starts_with("lost")).count(), 1);
        queue.push("after\n");
        assert_eq!(drain(&queue), ["after"]);
        assert_eq!(queue.lost(), 11);
    }

    #[test]
    fn a_line_longer_than_a_piece_goes_in_pieces() {
        let queue = Queue::new();
        let line = "x".repeat(3 * PIECE);
        queue.push(&format!("{line}\n"));
        assert_eq!(drain(&queue), [line]);
    }

    #[test]
    fn a_line_longer_than_the_queue_is_lost_and_no_other() {
        let queue = Queue::new();
        queue.push(&"x".repeat(ROOM + 1));
        let mut piece = Vec::new();
        queue.take(&mut piece, tell);
        assert_eq!(piece, b"lost 1\n");
        queue.push("after\n");
        assert_eq!(drain(&queue), ["after"]);
    }

    #[test]
    fn a_burst_leaves_little_memory_behind() {
        let queue = Queue::new();
        (0..ROOM / 10).for_each(|_| queue.push("123456789\n"));
        assert!(queue.lock().bytes.capacity() <= 2 * ROOM);
        drain(&queue);
        queue.push("last\n");
        let mut piece = Vec::new();
        std::thread::scope(|scope| {
            // The second take finds nothing, gives memory back and waits.
            scope.spawn(|| (0..2).for_each(|_| queue.take(&mut piece, tell)));
            assert!(queue.flush(Duration::from_secs(20)));
            assert!(queue.lock().bytes.capacity() <= 2 * IDLE);
            queue.push("so that it ends\n");
        });
    }

    #[test]
    fn a_flush_waits_no_longer_than_it_may() {
        let queue = Queue::new();
        assert!(queue.flush(Duration::ZERO), "there is nothing to write");
        queue.push("nobody takes this\n");
        assert!(!queue.flush(Duration::from_millis(10)));
        queue.take(&mut Vec::new(), tell);
        assert!(!queue.flush(Duration::from_millis(10)), "taken is not written");
    }
}
