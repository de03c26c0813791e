//! The mailbox of a worker: what the reactor and other threads leave for its owner.
//!
//! Each socket direction has one waker, which says where it belongs. A direction is woken at most
//! once each time it is armed, so the list of the ready is never longer than the list of the armed.

use ropewalk_core::machine::ListenerId;
#[cfg(all(unix, feature = "tun"))]
use ropewalk_core::machine::TunId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// What may have become possible. By index, without a generation: a stale one is a hint for the
/// next tenant.
#[derive(Clone, Copy)]
pub(crate) enum Ready {
    Listener(ListenerId),
    Readable(u32),
    Writable(u32),
    SocketReadable(u32),
    SocketWritable(u32),
    #[cfg(all(unix, feature = "tun"))]
    TunReadable(TunId),
    #[cfg(all(unix, feature = "tun"))]
    TunWritable(TunId),
}

#[derive(Default)]
struct State {
    ready: Vec<Ready>,
    /// The waker of the owner; none while it is awake already.
    owner: Option<Waker>,
}

#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
}

impl Mailbox {
    /// A waker that says `ready` to the owner of `mailbox`.
    pub(crate) fn waker(mailbox: &Arc<Mailbox>, ready: Ready) -> Waker {
        Waker::from(Arc::new(Bell { mailbox: Arc::clone(mailbox), ready }))
    }

    /// There is something elsewhere.
    pub(crate) fn nudge(&self) {
        self.leave(|_| ());
    }

    /// Takes all there is: `ready`, which must be empty, is filled. From now on the owner is woken
    /// by what comes.
    pub(crate) fn take(&self, owner: &Waker, ready: &mut Vec<Ready>) {
        let mut state = self.lock();
        state.owner.get_or_insert_with(|| owner.clone()).clone_from(owner);
        std::mem::swap(&mut state.ready, ready);
    }

    fn leave(&self, what: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        what(&mut state);
        let owner = state.owner.take();
        drop(state);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bell {
    mailbox: Arc<Mailbox>,
    ready: Ready,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.mailbox.leave(|state| state.ready.push(self.ready));
    }
}
