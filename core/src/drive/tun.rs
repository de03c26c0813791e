//! The TUN half of a turn.

use super::io::{Io, TryError};
use super::turn::{COPIED, Drive};
use crate::machine::{Application, TunId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

#[derive(Clone, Copy)]
struct Slot {
    readable: bool,
    writable: bool,
    queued: bool,
}

/// Nothing is known of a device that was not named before, so everything is tried.
const FRESH: Slot = Slot { readable: true, writable: true, queued: false };

/// What is known of the TUN devices, by their place in the configuration.
#[derive(Default)]
pub(super) struct Tuns {
    slots: Vec<Slot>,
    queue: VecDeque<TunId>,
}

/// How many packets one device may move before the others have their turn, and bytes. What a device
/// without offload took leaves in one call, where the path allows it: fewer than a call holds (44)
/// would cost more calls.
const SHARE: usize = 64;
const SHARE_BYTES: usize = 1 << 20;
/// Bytes that are taken before the machine may send what it makes of them: then what leaves is in
/// full groups, and little packets that came together leave together.
const TAKEN: usize = 256 * 1024;

impl Tuns {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<TunId> {
        let tun = self.queue.pop_front()?;
        self.slot(tun).queued = false;
        Some(tun)
    }

    fn slot(&mut self, tun: TunId) -> &mut Slot {
        let at = usize::from(tun.0);
        if self.slots.len() <= at {
            self.slots.resize(at + 1, FRESH);
        }
        &mut self.slots[at]
    }

    fn enqueue(&mut self, tun: TunId) {
        let slot = self.slot(tun);
        if !slot.queued {
            slot.queued = true;
            self.queue.push_back(tun);
        }
    }
}

impl Drive {
    /// `tun` may have a packet to take, or room for one that is given. A hint, as in
    /// [`Drive::ready`].
    pub fn tun_ready(&mut self, tun: TunId, readable: bool, writable: bool) {
        let slot = self.tuns.slot(tun);
        slot.readable |= readable;
        slot.writable |= writable;
        self.tuns.enqueue(tun);
    }

    /// The machine's wishes have changed: what it has to give goes first, what it may take waits
    /// for its turn.
    pub(super) fn tun_dirty<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, tun: TunId) {
        // A device that waits for its turn gives then: otherwise a machine that names it each time
        // could hold the turn.
        if self.tuns.slot(tun).queued {
            return;
        }
        self.give(machine, io, tun);
        let readable = self.tuns.slot(tun).readable;
        if readable && !machine.take_buf(tun).is_empty() {
            self.tuns.enqueue(tun);
        }
    }

    /// Lets one device give and take packets, up to its share. Returns what it cost.
    pub(super) fn pump_tun<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        tun: TunId,
    ) -> usize {
        let mut cost = self.give(machine, io, tun);
        self.settle(machine, io);
        let (mut bytes, mut all) = (0, 0);
        for taken in 0.. {
            if !self.tuns.slot(tun).readable {
                break;
            }
            let buf = machine.take_buf(tun);
            if buf.is_empty() {
                break;
            }
            if taken == SHARE || all >= SHARE_BYTES {
                self.tuns.enqueue(tun);
                break;
            }
            match io.try_take(tun, buf) {
                Ok((len, offload)) => {
                    cost += 1 + len / COPIED;
                    bytes += len;
                    all += len;
                    if len > 0 {
                        machine.handle_packet(io.now(), tun, len, offload);
                    }
                }
                Err(TryError::WouldBlock) => self.tuns.slot(tun).readable = false,
                // The device is gone or down. The runtime says when it may be back.
                Err(TryError::Fault(_)) => self.tuns.slot(tun).readable = false,
            }
            if bytes >= TAKEN {
                bytes = 0;
                self.settle(machine, io);
            }
        }
        self.settle(machine, io);
        cost
    }

    /// Gives what the machine has for `tun`, up to the device's share. Returns what it cost.
    fn give<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, tun: TunId) -> usize {
        let (mut cost, mut bytes) = (0, 0);
        for given in 0.. {
            if !self.tuns.slot(tun).writable {
                break;
            }
            let Some((packet, offload)) = machine.give_buf(tun) else { break };
            if given == SHARE || bytes >= SHARE_BYTES {
                self.tuns.enqueue(tun);
                break;
            }
            cost += 1 + packet.len() / COPIED;
            bytes += packet.len();
            let result = match io.try_give(tun, packet, offload) {
                Ok(()) => Ok(()),
                Err(TryError::WouldBlock) => {
                    self.tuns.slot(tun).writable = false;
                    break;
                }
                Err(TryError::Fault(fault)) => Err(fault),
            };
            machine.handle_given(io.now(), tun, result);
        }
        cost
    }
}
