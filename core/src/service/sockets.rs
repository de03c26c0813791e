//! The datagram sockets of a machine: whose each is, and what waits to be sent on it.
//!
//! Invariant: a socket is in the list of those with something to send at most once, and what has
//! nothing to send is not told.

use super::outbox::{Address, Outbox, Spare};
use crate::machine::{SocketId, Transmit};
use crate::slab::Slab;
use alloc::collections::VecDeque;

#[derive(Debug)]
struct Entry<T> {
    owner: T,
    outbox: Outbox,
}

/// Datagram sockets, each with an owner.
#[derive(Debug)]
pub(crate) struct Sockets<T> {
    entries: Slab<Entry<T>>,
    /// Those that may have something to send.
    dirty: VecDeque<SocketId>,
    spare: Spare,
}

impl<T> Sockets<T> {
    pub(crate) fn new() -> Self {
        Sockets { entries: Slab::new(), dirty: VecDeque::new(), spare: Spare::default() }
    }

    /// A new socket of `owner`, with nothing to send.
    pub(crate) fn insert(&mut self, owner: T) -> SocketId {
        self.entries.insert(Entry { owner, outbox: Outbox::default() })
    }

    /// Whose it is; `None`: it is not open any more.
    pub(crate) fn owner(&self, socket: SocketId) -> Option<&T> {
        self.entries.get(socket).map(|entry| &entry.owner)
    }

    /// Forgets a socket. What waits to be sent on it is lost.
    pub(crate) fn remove(&mut self, socket: SocketId) -> Option<T> {
        let mut entry = self.entries.remove(socket)?;
        entry.outbox.clear(&mut self.spare);
        Some(entry.owner)
    }

    /// A new socket takes the place of one that is dead, with all that waits there.
    pub(crate) fn replace(&mut self, socket: SocketId) -> Option<SocketId> {
        let mut entry = self.entries.remove(socket)?;
        // The dirty list holds the old id: the new one is not in it.
        entry.outbox.unlist();
        Some(self.entries.insert(entry))
    }

    /// Queues a datagram made of two parts; false where more than `limit` bytes would wait, or very
    /// many datagrams.
    #[must_use]
    pub(crate) fn push(
        &mut self,
        socket: SocketId,
        address: Address,
        parts: [&[u8]; 2],
        limit: usize,
    ) -> bool {
        let Some(Entry { outbox, .. }) = self.entries.get_mut(socket) else { return false };
        let was_empty = outbox.is_empty();
        let taken = outbox.push(address, parts, limit, &mut self.spare);
        if taken && was_empty && outbox.list() {
            self.dirty.push_back(socket);
        }
        taken
    }

    /// The driver has opened it: what it was opened for waits already.
    pub(crate) fn opened(&mut self, socket: SocketId) {
        if let Some(entry) = self.entries.get_mut(socket)
            && entry.outbox.list()
        {
            self.dirty.push_back(socket);
        }
    }

    /// The next that has something to send.
    pub(crate) fn poll_dirty(&mut self) -> Option<SocketId> {
        loop {
            let socket = self.dirty.pop_front()?;
            if self.entries.get_mut(socket).is_some_and(|entry| entry.outbox.unlist()) {
                return Some(socket);
            }
        }
    }

    /// Bytes that wait on all of them.
    pub(crate) fn waiting(&self) -> usize {
        self.spare.waiting()
    }

    /// Writes what `socket` sends next to `buf`.
    pub(crate) fn poll_transmit(&mut self, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.entries.get_mut(socket)?.outbox.pop(buf, &mut self.spare)
    }
}
