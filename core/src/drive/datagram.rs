//! The datagram half of a turn.

use super::io::{Io, Received, TransmitError, TryError};
use super::turn::{COPIED, Drive};
use crate::machine::{Application, Input, SocketId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

#[derive(Clone, Copy, Default)]
struct Slot {
    generation: u32,
    open: bool,
    readable: bool,
    writable: bool,
    queued: bool,
}

/// What is known of the datagram sockets, by index.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    queue: VecDeque<u32>,
}

/// How many calls one socket may make before the others have theirs.
const SHARE: usize = 4;

impl Sockets {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        let index = self.queue.pop_front()?;
        self.slots[index as usize].queued = false;
        Some(index)
    }

    /// Whether it is queued already: it is flushed when its turn comes.
    pub(super) fn is_queued(&self, socket: SocketId) -> bool {
        self.live(socket) && self.slots[socket.index() as usize].queued
    }

    fn enqueue(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.open && !slot.queued {
            slot.queued = true;
            self.queue.push_back(index);
        }
    }

    /// A new socket; nothing is known of it, so everything is tried.
    pub(super) fn open(&mut self, socket: SocketId) {
        let at = socket.index() as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Slot::default());
        }
        let queued = self.slots[at].queued;
        let generation = socket.generation();
        self.slots[at] = Slot { generation, open: true, readable: true, writable: true, queued };
        self.enqueue(socket.index());
    }

    pub(super) fn close(&mut self, socket: SocketId) -> bool {
        let live = self.live(socket);
        if live {
            self.slots[socket.index() as usize].open = false;
        }
        live
    }

    fn live(&self, socket: SocketId) -> bool {
        let slot = self.slots.get(socket.index() as usize);
        slot.is_some_and(|slot| slot.open && slot.generation == socket.generation())
    }
}

impl Drive {
    /// Datagram socket number `index` may be readable or writable. A hint, as in [`Drive::ready`].
    pub fn socket_ready(&mut self, index: u32, readable: bool, writable: bool) {
        let Some(slot) = self.sockets.slots.get_mut(index as usize) else { return };
        slot.readable |= readable;
        slot.writable |= writable;
        self.sockets.enqueue(index);
    }

    /// Lets one socket receive and send, up to its share. Returns how many operations it made.
    pub(super) fn pump_socket<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        index: u32,
    ) -> usize {
        let Slot { generation, open: true, .. } = self.sockets.slots[index as usize] else { return 0 };
        let socket = SocketId::from_parts(index, generation);
        let mut operations = self.flush_socket(machine, io, socket);
        // A send that failed is an input too.
        self.settle(machine, io);
        let mut calls = 0;
        while self.sockets.live(socket) && self.sockets.slots[index as usize].readable {
            if calls == SHARE {
                self.sockets.enqueue(index);
                break;
            }
            calls += 1;
            let now = io.now();
            let mut bytes = 0;
            let received = io.try_receive(socket, &mut |rx| {
                bytes += rx.iter().map(|rx| rx.data.len()).sum::<usize>();
                machine.handle_datagrams(now, socket, rx);
            });
            match received {
                Ok(Received { count, more }) => {
                    self.sockets.slots[index as usize].readable = more;
                    operations += count + bytes / COPIED;
                }
                Err(TryError::WouldBlock) => self.sockets.slots[index as usize].readable = false,
                Err(TryError::Fault(fault)) => {
                    machine.handle_input(io.now(), Input::SocketFailed { socket, fault });
                }
            }
            self.settle(machine, io);
        }
        operations + calls
    }

    /// Sends what the machine has for `socket`, up to its share. Returns how many operations it
    /// made.
    pub(super) fn flush_socket<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        socket: SocketId,
    ) -> usize {
        let mut operations = 0;
        let mut calls = 0;
        while self.sockets.live(socket) && self.sockets.slots[socket.index() as usize].writable {
            if calls == SHARE {
                self.sockets.enqueue(socket.index());
                break;
            }
            calls += 1;
            let now = io.now();
            let mut bytes = 0;
            let sent = io.try_transmit(socket, &mut |buf| {
                let transmit = machine.poll_transmit(now, socket, buf)?;
                bytes += transmit.len;
                Some(transmit)
            });
            match sent {
                Ok(0) => break,
                Ok(count) => operations += count + bytes / COPIED,
                Err(TransmitError::WouldBlock) => {
                    self.sockets.slots[socket.index() as usize].writable = false;
                }
                Err(TransmitError::Failed { id, sent, fault }) => {
                    machine.handle_input(io.now(), Input::SendFailed { socket, id, sent, fault });
                }
            }
        }
        operations
    }
}
