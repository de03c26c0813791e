//! The list by which wakers notify the one task that owns the machine of what may have become
//! possible.
//!
//! Each waker stands for one side of one stream, or for one listener: being woken means an entry in
//! the list and a wake of the task. Nothing is scanned, and entries are taken in the order in which
//! they came.

use ropewalk_core::machine::ListenerId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What may have become possible, or is asked from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ready {
    Stream { index: u32, readable: bool, writable: bool },
    Listener(ListenerId),
    Drain,
    Stop,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Ready>,
    task: Option<Waker>,
}

/// The list.
#[derive(Default)]
pub(super) struct ReadyList {
    state: Mutex<State>,
}

impl ReadyList {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, ready: Ready) {
        let mut state = self.lock();
        state.entries.push_back(ready);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    pub(super) fn pop(&self) -> Option<Ready> {
        self.lock().entries.pop_front()
    }

    /// Waits until there is an entry.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.entries.is_empty() {
            return Poll::Ready(());
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A waker that puts `ready` into the list.
    pub(super) fn waker(self: &Arc<Self>, ready: Ready) -> Waker {
        Waker::from(Arc::new(Entry { ready, list: Arc::clone(self) }))
    }
}

struct Entry {
    ready: Ready,
    list: Arc<ReadyList>,
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        self.list.push(self.ready);
    }
}
