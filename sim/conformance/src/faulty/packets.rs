//! What a broken driver would do to packets of TUN devices.

use super::{Faulty, Kind};
use ropewalk_core::machine::{Application, Fault, Offload, TunId};
use ropewalk_core::time::Instant;
use std::cell::Cell;
use std::time::Duration;

/// What the faults remember.
#[derive(Default)]
pub(super) struct Kept {
    /// A packet that comes after its successor.
    late: Option<(Vec<u8>, Offload)>,
    /// A device that was asked what to give, and not told what became of it.
    asked: Cell<Option<TunId>>,
    /// What a machine that takes nothing is lent.
    own: Vec<u8>,
    /// Random bytes that were given before.
    pub(super) entropy: Option<[u8; 32]>,
}

/// What the layer does otherwise with packets.
impl<M: Application> Faulty<M> {
    pub(super) fn next_dirty_tun(&mut self) -> Option<TunId> {
        loop {
            let dirty = self.machine.poll_dirty_tun()?;
            if self.kind != Kind::LoseDirtyTun || !self.each(2) {
                return Some(dirty);
            }
        }
    }

    pub(super) fn lend(&mut self, tun: TunId) -> &mut [u8] {
        if self.kind == Kind::TakeAnyway && self.machine.take_buf(tun).is_empty() {
            self.packets.own.resize(65_535, 0);
            return &mut self.packets.own;
        }
        self.machine.take_buf(tun)
    }

    pub(super) fn take_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        self.now = now;
        let (mut tun, mut len, mut offload) = (tun, len, offload);
        let kind = self.kind;
        match kind {
            Kind::LosePacket if self.each(3) => return,
            Kind::CutPacket => len -= usize::from(len > 1),
            Kind::NoOffloadTold => offload = Offload::None,
            Kind::DoubtfulOffload => offload = Offload::Tcp { header: 0, size: 0, v6: false },
            Kind::WrongTun => tun = TunId(tun.0 ^ 1),
            Kind::PacketTwice => {
                let packet = self.machine.take_buf(tun)[..len].to_vec();
                self.machine.handle_packet(now, tun, len, offload);
                self.put(now, tun, &packet, offload);
                return;
            }
            Kind::TurnPackets => {
                if self.packets.late.is_none() {
                    self.packets.late = Some((self.machine.take_buf(tun)[..len].to_vec(), offload));
                    return;
                }
                self.machine.handle_packet(now, tun, len, offload);
                let late = self.packets.late.take();
                late.into_iter().for_each(|(packet, offload)| self.put(now, tun, &packet, offload));
                return;
            }
            _ => {}
        }
        self.machine.handle_packet(now, tun, len, offload);
    }

    /// As if it had been taken, where the machine takes one more.
    fn put(&mut self, now: Instant, tun: TunId, packet: &[u8], offload: Offload) {
        let buf = self.machine.take_buf(tun);
        if buf.len() >= packet.len() {
            buf[..packet.len()].copy_from_slice(packet);
            self.machine.handle_packet(now, tun, packet.len(), offload);
        }
    }

    pub(super) fn next_given(&self, tun: TunId) -> Option<(&[u8], Offload)> {
        let (packet, offload) = self.machine.give_buf(tun)?;
        self.packets.asked.set(Some(tun));
        Some((packet, if self.kind == Kind::NoOffloadGiven { Offload::None } else { offload }))
    }

    /// What would have blocked is told as given: asked for, and the turn goes on without a word.
    pub(super) fn forget_blocked(&mut self) {
        if self.kind == Kind::ForgetBlocked
            && let Some(tun) = self.packets.asked.take()
        {
            self.machine.handle_given(self.now, tun, Ok(()));
        }
    }

    pub(super) fn tell_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        self.now = now;
        self.packets.asked.set(None);
        let kind = self.kind;
        match kind {
            Kind::SwallowGiven if self.each(5) => return,
            Kind::BlockGive if self.each(8) => std::thread::sleep(Duration::from_millis(20)),
            Kind::LostAsGiven => return self.machine.handle_given(now, tun, Ok(())),
            _ => {}
        }
        self.machine.handle_given(now, tun, result);
    }
}
